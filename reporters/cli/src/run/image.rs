//! The bootable ELF that holds the samples: built with cargo where the source is at hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::output::say;
use anyhow::{Context, bail};

/// Builds the image, or finds that nothing has changed, and says where it is.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let Some(root) = source_root() else {
        bail!(
            "the samples' bootable image is built from Fata's source, and this is no checkout of it: \
             run inside one, or name an image with --image (or FATA_IMAGE)"
        );
    };
    let manifest = root.join("kernel/image/Cargo.toml");
    let target = target_dir(&root);
    say!("Building the bootable image…");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("cannot run cargo, which builds the image")?;
    if !status.success() {
        bail!("the bootable image could not be built: cargo says why above");
    }
    Ok(target.join("release/fata-image"))
}

/// Beside the host programs' own target directory.
fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("kernel")
}

/// The checkout that the working directory, or this program's file, lies in.
fn source_root() -> Option<PathBuf> {
    let is_root = |dir: &&Path| dir.join("kernel/image/Cargo.toml").is_file();
    let from = |start: Option<PathBuf>| start?.ancestors().find(is_root).map(Path::to_owned);
    from(std::env::current_dir().ok()).or_else(|| from(std::env::current_exe().ok()))
}
