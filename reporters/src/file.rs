//! Items as lines in a file that is rotated by size and age, the older ones compressed.
//!
//! Invariant: the file ends with a whole line; what could not be written whole is cut off again. Together the files take at
//! most `rotate_bytes × (keep + 1)`, and the longest line.
//!
//! When the disk is full, nothing is taken ([`ReportError::Later`], with a sentence): the front before it keeps or counts
//! what comes, and the loss stands in the file where it goes on. A file that another program moved away is opened anew.
//!
//! ```
//! use fata_reporters::file::{File, Options};
//! use fata_reporters::{Item, Record, Reporter};
//! let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("guest.log");
//! let mut file = File::open(&path, Options::default()).unwrap();
//! file.report(&Item::Record(Record { target: "net", name: "up", ..Record::BLANK })).unwrap();
//! assert!(std::fs::read_to_string(&path).unwrap().ends_with("net: up\n"));
//! ```

use core::task::{Context, Poll};
use std::borrow::ToOwned as _;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::string::String;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::lines::{Format, WORST_LINE_BYTES};
use crate::reporter::{Item, ReportError, Reporter};

/// How often it is looked whether the file is still where its name is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When written lines are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the system likes: a crash of the machine may cost the last half minute.
    Never,
    /// Whenever nothing more waits, before the completion signal.
    Done,
    /// After every line.
    Always,
}

/// How to write a file.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What a line looks like.
    pub format: Format,
    /// The file is rotated before it becomes longer.
    pub rotate_bytes: u64,
    /// The file is rotated when it is older.
    pub rotate_age: Option<Duration>,
    /// So many rotated files are kept.
    pub keep: u32,
    /// Rotated files are compressed with gzip.
    pub compress: bool,
    /// When lines are forced to the disk.
    pub fsync: Fsync,
}

impl Default for Options {
    /// Lines for people, 16 MiB, 4 older files, not compressed.
    fn default() -> Self {
        Options {
            format: Format::plain(),
            rotate_bytes: 16 << 20,
            rotate_age: None,
            keep: 4,
            compress: false,
            fsync: Fsync::Never,
        }
    }
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Writes lines to a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    options: Options,
    file: fs::File,
    len: u64,
    born: SystemTime,
    looked: Instant,
    unsynced: bool,
    line: String,
}

impl File {
    /// Opens `path`, and goes on behind what is there.
    ///
    /// # Errors
    /// Those of the system, with the path.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let (file, len) = open(path).map_err(|source| OpenError { path: path.to_owned(), source })?;
        // The age of a file that was there before counts from its own beginning, as far as the system knows that.
        let born = file.metadata().and_then(|data| data.created()).unwrap_or_else(|_| SystemTime::now());
        let (looked, line) = (Instant::now(), String::new());
        Ok(File { path: path.to_owned(), options, file, len, born, looked, unsynced: false, line })
    }

    fn rotated(&self, number: u32, compressed: bool) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(std::format!(".{number}{}", if compressed { ".gz" } else { "" }));
        name.into()
    }

    /// Makes `.1` out of the file, and `.2` out of what was `.1`, up to what is kept.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..=self.options.keep).rev() {
            for compressed in [false, true] {
                let from = if number > 0 { self.rotated(number, compressed) } else { self.path.clone() };
                let to = self.rotated(number + 1, compressed);
                let moved = match number {
                    0 if compressed => continue,
                    number if number == self.options.keep => fs::remove_file(from),
                    _ => fs::rename(from, to),
                };
                if let Err(error) = moved
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
            }
        }
        self.reopen()?;
        self.born = SystemTime::now();
        if self.options.compress && self.options.keep > 0 {
            let (plain, packed) = (self.rotated(1, false), self.rotated(1, true));
            if let Err(error) = compress(&plain, &packed) {
                // The plain file is whole, and half of a compressed one is of no use.
                let _ = fs::remove_file(&packed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.len) = open(&self.path)?;
        Ok(())
    }

    /// Whether the name now means another file, or none.
    fn was_moved(&mut self) -> bool {
        if self.looked.elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked = Instant::now();
        let (Ok(named), Ok(ours)) = (fs::metadata(&self.path), self.file.metadata()) else { return true };
        (named.dev(), named.ino()) != (ours.dev(), ours.ino())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.was_moved() {
            self.reopen()?;
        }
        let bytes = self.line.len() as u64;
        let too_long = self.len > 0 && self.len + bytes > self.options.rotate_bytes;
        let too_old = self.len > 0
            && self.options.rotate_age.is_some_and(|age| self.born.elapsed().is_ok_and(|elapsed| elapsed >= age));
        if too_long || too_old {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all_at(self.line.as_bytes(), self.len) {
            // Half a line would be taken for a line.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += bytes;
        self.unsynced = true;
        if self.options.fsync == Fsync::Always { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced && self.options.fsync != Fsync::Never {
            self.file.sync_data()?;
        }
        self.unsynced = false;
        Ok(())
    }

    fn error(&self, error: &io::Error) -> ReportError {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ReportError::later(format_args!("{path}: no space left; goes on when there is"))
            }
            _ => ReportError::later(format_args!("{path}: {error}")),
        }
    }
}

impl Reporter for File {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let mut line = core::mem::take(&mut self.line);
        self.options.format.line(&mut line, item);
        self.line = line;
        self.write().map_err(|error| self.error(&error))
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        Poll::Ready(self.sync().map_err(|error| self.error(&error)))
    }

    fn worst_case_bytes(&self) -> usize {
        // A line's buffer; while a file is compressed, the tables of deflate and of the copy.
        WORST_LINE_BYTES + if self.options.compress { 512 << 10 } else { 0 }
    }
}

/// Opens for writing behind what is there; a line that was not ended, by a machine that went down, is ended.
fn open(path: &Path) -> io::Result<(fs::File, u64)> {
    let file = fs::OpenOptions::new().read(true).create(true).write(true).truncate(false).open(path)?;
    let mut len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 && file.read_at(&mut last, len - 1)? == 1 && last != *b"\n" {
        file.write_all_at(b"\n", len)?;
        len += 1;
    }
    Ok((file, len))
}

fn compress(plain: &Path, packed: &Path) -> io::Result<()> {
    let mut encoder = GzEncoder::new(fs::File::create(packed)?, Compression::default());
    io::copy(&mut fs::File::open(plain)?, &mut encoder)?;
    encoder.finish()?.sync_data()?;
    fs::remove_file(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use std::io::Read as _;
    use std::string::ToString;
    use std::vec::Vec;

    fn report(file: &mut File, sequence: u64) -> Result<(), ReportError> {
        let name = std::format!("record-{sequence:04}");
        file.report(&Item::Record(Record { sequence, name: &name, ..Record::BLANK }))
    }

    fn names(text: &str) -> Vec<u64> {
        text.lines().map(|line| line.rsplit_once('-').unwrap().1.parse().unwrap()).collect()
    }

    #[test]
    fn rotation_keeps_the_newest_lines_in_order_over_all_files_and_drops_the_oldest_file() {
        for compress in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.log");
            let options = Options { rotate_bytes: 1000, keep: 2, compress, ..Options::default() };
            let mut file = File::open(&path, options).unwrap();
            (0..200).for_each(|sequence| report(&mut file, sequence).unwrap());
            let mut text = String::new();
            for number in [2, 1] {
                let rotated = fs::File::open(file.rotated(number, compress)).unwrap();
                if compress {
                    flate2::read::GzDecoder::new(rotated).read_to_string(&mut text).unwrap();
                } else {
                    (&rotated).read_to_string(&mut text).unwrap();
                }
            }
            fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
            let names = names(&text);
            assert_eq!(names, (names[0]..200).collect::<Vec<_>>());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
            assert!(names.len() * 45 > 2000 && names.len() * 45 < 3100, "{}", names.len());
        }
    }

    #[test]
    fn a_file_that_is_too_old_is_rotated_and_an_empty_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let options = Options { rotate_age: Some(Duration::ZERO), ..Options::default() };
        let mut file = File::open(&path, options).unwrap();
        report(&mut file, 1).unwrap();
        assert!(!file.rotated(1, false).exists());
        report(&mut file, 2).unwrap();
        assert_eq!(names(&fs::read_to_string(file.rotated(1, false)).unwrap()), [1]);
        assert_eq!(names(&fs::read_to_string(&path).unwrap()), [2]);
    }

    #[test]
    fn a_half_line_of_an_earlier_run_does_not_swallow_the_first_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        fs::write(&path, "half a li").unwrap();
        report(&mut File::open(&path, Options::default()).unwrap(), 7).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().next(), text.lines().count()), (Some("half a li"), 2));
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("x.log"), dir.path().join("moved"));
        let mut file = File::open(&path, Options::default()).unwrap();
        report(&mut file, 1).unwrap();
        fs::rename(&path, &moved).unwrap();
        file.looked -= LOOK_EVERY;
        report(&mut file, 2).unwrap();
        assert_eq!(names(&fs::read_to_string(&moved).unwrap()), [1]);
        assert_eq!(names(&fs::read_to_string(&path).unwrap()), [2]);
    }

    #[test]
    fn a_full_disk_is_named_in_a_sentence_and_taken_for_temporary() {
        let mut file = File::open(Path::new("/dev/full"), Options::default()).unwrap();
        let error = report(&mut file, 1).unwrap_err();
        assert!(matches!(error, ReportError::Later(_)));
        assert!(error.to_string().contains("/dev/full: no space left"), "{error}");
    }

    #[test]
    fn lines_are_forced_to_the_disk_when_the_policy_says_and_at_no_other_time() {
        // What has no disk behind it takes lines, and refuses to be forced: each attempt is seen.
        let forced = |fsync| {
            let mut file = File::open(Path::new("/dev/null"), Options { fsync, ..Options::default() }).unwrap();
            let mut cx = Context::from_waker(core::task::Waker::noop());
            let nothing_yet = file.poll_done(&mut cx) == Poll::Ready(Ok(()));
            assert!(nothing_yet, "where nothing was written nothing is forced");
            let line = report(&mut file, 1).is_err();
            (line, file.poll_done(&mut cx) != Poll::Ready(Ok(())))
        };
        assert_eq!(forced(Fsync::Never), (false, false));
        assert_eq!(forced(Fsync::Done), (false, true));
        assert_eq!(forced(Fsync::Always), (true, true));
        // A line that could not be forced is still to be: the completion signal does not come by itself.
        let mut file =
            File::open(Path::new("/dev/null"), Options { fsync: Fsync::Done, ..Options::default() }).unwrap();
        report(&mut file, 1).unwrap();
        let mut done = || file.poll_done(&mut Context::from_waker(core::task::Waker::noop()));
        assert!(matches!(done(), Poll::Ready(Err(ReportError::Later(_)))));
        assert!(matches!(done(), Poll::Ready(Err(ReportError::Later(_)))));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = File::open(Path::new("/nowhere/x.log"), Options::default()).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/x.log: "), "{error}");
    }
}
