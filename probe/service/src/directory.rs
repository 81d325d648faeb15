//! The ring directory: one file per guest, whose memory it is; the file outlives the guest, for whoever wants to know why.
//!
//! `$FATA_DIR`, or else `/dev/shm/fata-<uid>`, for its owner alone. A guest's file is called `<name>.<pid>.<platform>`.
//! When more than [`KEPT`] dead guests' files lie there, a starting guest removes the oldest.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// So many files of dead guests stay.
pub(crate) const KEPT: usize = 8;

/// Where the rings of this user lie.
///
/// # Errors
/// Where the process cannot look at itself, since there is no `/proc`.
pub(crate) fn path() -> io::Result<PathBuf> {
    match env::var_os("FATA_DIR").filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => Ok(format!("/dev/shm/fata-{}", fs::metadata("/proc/self")?.uid()).into()),
    }
}

/// Makes the file for the ring of this process's guest `name`, of `len_bytes` zeros, and removes the oldest of the dead.
///
/// # Errors
/// Where the directory or the file cannot be made: the error says which by [`io::Error`]'s own words.
pub(crate) fn create_ring(directory: &Path, name: &str, len_bytes: u64) -> io::Result<(File, PathBuf)> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    prune(directory);
    let path = directory.join(format!("{}.{}.host", file_name(name), std::process::id()));
    // A dead process of our number may have left a file of this name.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    file.set_len(len_bytes)?;
    Ok((file, path))
}

/// The guest's name as part of a file name: what is not a letter, digit, `-` or `_` becomes `_`.
fn file_name(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// Removes the files of dead guests but the youngest [`KEPT`]. What cannot be removed stays: somebody else may be at it.
fn prune(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut dead: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = pid_of(path.file_name()?.to_str()?)?;
            let is_dead = !Path::new(&format!("/proc/{pid}")).exists();
            is_dead.then(|| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))?
        })
        .collect();
    dead.sort();
    dead.truncate(dead.len().saturating_sub(KEPT));
    for (_, path) in dead {
        let _ = fs::remove_file(path);
    }
}

/// The process id in a ring file's name.
fn pid_of(name: &str) -> Option<u32> {
    let (rest, platform) = name.rsplit_once('.')?;
    let (_, pid) = rest.rsplit_once('.')?;
    matches!(platform, "host" | "qemu").then(|| pid.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn scratch(test: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("fata-service-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn the_newest_dead_stay_with_the_living_and_with_what_is_not_ours() {
        let directory = scratch("prune");
        fs::create_dir_all(&directory).unwrap();
        // Above the largest process id of Linux.
        let dead = |n: u64| format!("guest.{}.host", 5_000_000 + n);
        for n in 0..12 {
            let file = File::create(directory.join(dead(n))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(n)).unwrap();
        }
        let alive = format!("old.{}.qemu", std::process::id());
        for name in [&alive, "notes.txt", "guest.5000000.log"] {
            let file = File::create(directory.join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        prune(&directory);
        let mut left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut expected: Vec<_> = (4..12).map(dead).collect();
        expected.extend([alive, "notes.txt".into(), "guest.5000000.log".into()]);
        expected.sort();
        assert_eq!(left, expected);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_ring_is_for_its_owner_alone_and_replaces_one_that_a_dead_process_left() {
        let directory = scratch("create");
        let (_, path) = create_ring(&directory, "a/../b", 4096).unwrap();
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("a____b.{}.host", std::process::id()));
        fs::write(&path, "old").unwrap();
        let (file, _) = create_ring(&directory, "a/../b", 8192).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8192);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        fs::remove_dir_all(&directory).unwrap();
    }
}
