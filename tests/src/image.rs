//! What tests start outside of themselves, built as people build it: the bootable image, and `fata` for a bare dom0.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test's helpers fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// The image as people build it, built once.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| build(&[]).unwrap())
}

/// The image without probes, built once.
pub fn plain_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let image = build(&["--no-default-features"]).unwrap();
        // Who looks into the target folder is to find the image as people build it.
        build(&[]).unwrap();
        image
    })
}

/// Builds the image into `target/kernel`, and copies it, since another build with other features takes its place.
fn build(features: &[&str]) -> std::io::Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let root = root()?;
    let target = target(&root).join("kernel");
    let mut cargo = cargo();
    let manifest = root.join("kernel/image/Cargo.toml");
    let status = cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .args(features)
        .status()?;
    assert!(status.success(), "the image does not build");
    let copy = target.join(format!("release/fata-image-{}", if features.is_empty() { "tested" } else { "plain" }));
    // Another name, then a rename: an image that a machine of another test has open stays whole.
    let new = copy.with_extension(std::process::id().to_string());
    std::fs::copy(target.join("release/fata-image"), &new)?;
    std::fs::rename(&new, &copy)?;
    Ok(copy)
}

/// The command without its viewer, which needs no library but C's. Built once, into `target/slim`, of what was built for the tests
/// as far as both ask for the same.
pub fn slim_fata() -> &'static Path {
    static FATA: OnceLock<PathBuf> = OnceLock::new();
    FATA.get_or_init(|| {
        let root = root().unwrap();
        let target = target(&root);
        let slim = target.join("slim");
        let status = cargo()
            .args(["build", "--release", "--locked", "--package", "fata", "--no-default-features"])
            .arg("--config")
            .arg(root.join("tests/checked.toml"))
            .arg("--manifest-path")
            .arg(root.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&slim)
            .env("CARGO_BUILD_BUILD_DIR", &target)
            .status();
        assert!(status.unwrap().success(), "fata does not build without its viewer");
        slim.join("release/fata")
    })
}

/// The whole command, with its viewer. Built once, as `tests/run` builds the tests, which have mostly built it then.
pub fn fata() -> &'static Path {
    static FATA: OnceLock<PathBuf> = OnceLock::new();
    FATA.get_or_init(|| {
        let root = root().unwrap();
        let target = target(&root);
        let status = cargo()
            .args([
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--exclude",
                "fata-bench",
                "--no-run",
                "--test",
                "pictures",
            ])
            .arg("--config")
            .arg(root.join("tests/checked.toml"))
            .arg("--manifest-path")
            .arg(root.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        assert!(status.unwrap().success(), "fata does not build");
        target.join("release/fata")
    })
}

fn root() -> std::io::Result<PathBuf> {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize()
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Cargo, to which what the surrounding Cargo says of the tests is not meant. (RUSTUP_* stays: it chooses the compiler.)
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if (name.starts_with("CARGO") && name != "CARGO_HOME") || name.starts_with("RUSTC") || name == "RUSTFLAGS" {
            cargo.env_remove(key);
        }
    }
    cargo
}
