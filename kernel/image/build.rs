//! The link: a static ELF at a fixed address, laid out by `linker.ld`, with none of the host's start-up code.
//!
//! The options stand here and not in `.cargo/config.toml`, which Cargo looks up by working directory and not by package.

use std::env;

fn main() {
    // The kernel saves and restores SSE state alone (fxsave). With AVX, the first instruction that uses it would fault.
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    assert!(
        !features.split(',').any(|feature| feature.starts_with("avx")),
        "the image cannot be built with AVX: take `-C target-cpu` out of RUSTFLAGS"
    );
    let directory = env::var("CARGO_MANIFEST_DIR").expect("Cargo sets CARGO_MANIFEST_DIR for build scripts");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,norelro",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--no-eh-frame-hdr",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{directory}/linker.ld");
    println!("cargo:rerun-if-changed=linker.ld");
}
