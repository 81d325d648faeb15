//! Peers in C and C++: a program of ours is compiled for the occasion, where the machine has what it needs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory for what is compiled, which goes when this is dropped. A program that was started from it goes on.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A directory of this process for the peer of this name.
    pub(super) fn new(peer: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("fata-bench-{}-{peer}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The program that `compiler` makes of the arguments, or the first thing that it does not like, and `hint`.
    pub(super) fn compile(&self, compiler: &str, args: &[&OsStr], hint: &str) -> Result<PathBuf, String> {
        let program = self.0.join("bench");
        let output = Command::new(compiler)
            .arg("-o")
            .arg(&program)
            .args(args)
            .output()
            .map_err(|error| format!("no compiler {compiler}: {error}"))?;
        if output.status.success() {
            return Ok(program);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().find(|line| line.contains("error")).unwrap_or("the compiler refuses its program");
        Err(format!("{why} ({hint})"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
