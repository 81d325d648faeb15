//! A guest that is an ordinary process on this machine.
//!
//! It lives exactly as long as it has its ring's file mapped: a zombie has nothing mapped, and a later process with the
//! same id has other files mapped.

/// Whether process `pid` has the file of this inode mapped.
#[must_use]
pub fn is_alive(pid: u32, inode: u64) -> bool {
    if pid == 0 {
        return false;
    }
    // address permissions offset device inode path: the fifth word.
    std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| {
        maps.lines().any(|line| line.split_ascii_whitespace().nth(4).and_then(|word| word.parse().ok()) == Some(inode))
    })
}

/// Whether process `pid` has the file at `path` mapped, whichever part of it.
#[must_use]
pub fn has_mapped(pid: u64, path: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/maps"))
        .is_ok_and(|maps| maps.lines().any(|line| line.trim_end().ends_with(path)))
}
