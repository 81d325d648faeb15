//! An item as an entry of systemd's journal, over its native protocol.
//!
//! Invariant: a value arrives byte for byte, whatever is in it, because values with anything but printable ASCII go with
//! their length. See <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! What a record says becomes `MESSAGE`; its parts have fields of their own: `FATA_GUEST`, `FATA_TARGET`, `FATA_TASK`,
//! `FATA_SEQUENCE`, `FATA_NANOS`, and `F_NAME` for a field `name` of the record. So `journalctl F_PEER=10.0.0.2` finds it.
//!
//! Nothing waits here: a journal that takes nothing makes [`Reporter::report`] say `Later`. An entry too long for a datagram
//! goes as a sealed file in memory, as long as the front let it become.
//!
//! ```
//! use fata_reporters::journald::encode;
//! use fata_reporters::{Item, Level, Record};
//! let mut entry = Vec::new();
//! encode(&mut entry, &Item::Record(Record { level: Level::Warn, target: "net", name: "up", ..Record::BLANK }));
//! assert!(entry.starts_with(b"MESSAGE=up\nPRIORITY=4\nSYSLOG_IDENTIFIER=net\n"));
//! ```

use core::task::{Context, Poll};
use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::vec::Vec;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::console::Words;
use crate::net::{Backoff, CALL_TIME, is_timeout};
use crate::record::{Field, Value};
use crate::reporter::{Item, ReportError, Reporter};
use crate::syslog::severity;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// The longest name of a field that the journal takes.
const MAX_NAME: usize = 64;

/// Replaces `out` by the entry of `item`.
pub fn encode(out: &mut Vec<u8>, item: &Item<'_>) {
    out.clear();
    match item {
        Item::Record(record) => {
            let words = Words(record).to_string();
            let message = if words.is_empty() { record.name } else { &words };
            put(out, "MESSAGE", message.as_bytes());
        }
        Item::Loss(loss) => put(out, "MESSAGE", loss.to_string().as_bytes()),
    }
    put(out, "PRIORITY", severity(item.level()).to_string().as_bytes());
    match item {
        Item::Record(record) => {
            put(out, "SYSLOG_IDENTIFIER", if record.target.is_empty() { "fata" } else { record.target }.as_bytes());
            let texts = [
                ("FATA_GUEST", record.guest),
                ("FATA_TARGET", record.target),
                ("FATA_TASK", record.task),
                ("FATA_NAME", record.name),
                ("CODE_FILE", record.file),
            ];
            for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
                put(out, name, text.as_bytes());
            }
            if record.line > 0 {
                put(out, "CODE_LINE", record.line.to_string().as_bytes());
            }
            put(out, "FATA_LEVEL", record.level.text().as_bytes());
            put(out, "FATA_STREAM", record.stream.to_string().as_bytes());
            put(out, "FATA_SEQUENCE", record.sequence.to_string().as_bytes());
            for (name, set) in [("FATA_LATE", record.late), ("FATA_HISTORY", record.history)] {
                if set {
                    put(out, name, b"1");
                }
            }
            for span in record.spans {
                put(out, "FATA_SPAN", span.to_string().as_bytes());
            }
            record.fields.iter().for_each(|field| put_field(out, field));
        }
        Item::Loss(loss) => {
            put(out, "SYSLOG_IDENTIFIER", b"fata.reporters");
            if !loss.guest.is_empty() {
                put(out, "FATA_GUEST", loss.guest.as_bytes());
            }
            put(out, "FATA_DISCARDED", loss.counts.total().to_string().as_bytes());
            put(out, "FATA_CAUSE", loss.cause.text().as_bytes());
            put(out, "FATA_PLACE", loss.place.as_bytes());
            for (name, count) in loss.counts.named() {
                let name = std::format!("FATA_DISCARDED_{}", name.to_ascii_uppercase());
                put(out, &name, count.to_string().as_bytes());
            }
            if let Some(bytes) = loss.bytes {
                put(out, "FATA_DISCARDED_BYTES", bytes.to_string().as_bytes());
            }
            if loss.is_about {
                put(out, "FATA_DISCARDED_BYTES_ARE_ABOUT", b"1");
            }
            put(out, "FATA_LAST_NANOS", loss.last.nanos.to_string().as_bytes());
        }
    }
    put(out, "FATA_NANOS", item.time().nanos.to_string().as_bytes());
}

fn put_field(out: &mut Vec<u8>, field: &Field<'_>) {
    // Capitals, digits and underscores, and none of the journal's own names, which begin with an underscore.
    let name =
        field.name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' });
    let name: Vec<u8> = b"F_".iter().copied().chain(name).take(MAX_NAME).collect();
    let name = core::str::from_utf8(&name).unwrap_or("F_");
    match field.value {
        Value::Str(text) => put(out, name, text),
        number => put(out, name, number.to_string().as_bytes()),
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        out.push(b'=');
    } else {
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Sends to the journal.
#[derive(Debug)]
pub struct Journald {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    backoff: Backoff,
    failure: Option<ReportError>,
    entry: Vec<u8>,
}

impl Journald {
    /// A reporter to the journal that listens at `path` ([`SOCKET`] is the system's), which connects when there is something.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let backoff = Backoff::default();
        Journald { path: path.into(), socket: None, backoff, failure: None, entry: Vec::new() }
    }

    fn send(&mut self) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(CALL_TIME))?;
                socket.connect(&self.path)?;
                self.socket.insert(socket)
            }
        };
        match socket.send(&self.entry) {
            Ok(_) => Ok(()),
            // Too long for a datagram.
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::MSGSIZE) => {
                send_as_file(socket, &self.entry)
            }
            Err(error) => Err(error),
        }
    }
}

/// Hands over a file in memory that nobody can change any more, which is what the journal insists on.
fn send_as_file(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    let file = rustix::fs::memfd_create("fata-log", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(entry)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let fds = [file.as_fd()];
    let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(&[])], &mut control, SendFlags::empty())?;
    Ok(())
}

impl Reporter for Journald {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        if let (Some(_), Some(failure)) = (self.backoff.left(), self.failure) {
            return Err(failure);
        }
        encode(&mut self.entry, item);
        let sent = self.send();
        self.entry.shrink_to(64 << 10);
        let path = self.path.display();
        match sent {
            Ok(()) => {
                self.backoff.worked();
                Ok(())
            }
            Err(error) if is_timeout(&error) => {
                Err(ReportError::later(format_args!("journal {path}: takes nothing now")))
            }
            Err(error) => {
                let failure = ReportError::later(format_args!("journal {path}: {error}"));
                self.socket = None;
                self.backoff.failed();
                Err(*self.failure.insert(failure))
            }
        }
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        // A datagram that was sent is in the journal's own socket.
        Poll::Ready(Ok(()))
    }

    fn worst_case_bytes(&self) -> usize {
        // The entry, and a file in memory of the same length, which the system charges to us until the journal has read it.
        2 * (64 << 10)
    }
}

/// The entry that `bytes` encode, as names and values: the receiver's side of the protocol, for tests.
#[cfg(test)]
fn decode(mut bytes: &[u8]) -> Option<Vec<(std::string::String, Vec<u8>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|&byte| byte == b'=' || byte == b'\n')?;
        let name = std::string::String::from_utf8(bytes[..end].to_vec()).ok()?;
        let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with('_') || !name.chars().all(valid) {
            return None;
        }
        let (value, rest) = if bytes[end] == b'=' {
            let len = bytes[end + 1..].iter().position(|&byte| byte == b'\n')?;
            (&bytes[end + 1..end + 1 + len], &bytes[end + 2 + len..])
        } else {
            let len = usize::try_from(u64::from_le_bytes(*bytes[end + 1..].first_chunk()?)).ok()?;
            let (value, rest) = bytes[end + 9..].split_at_checked(len)?;
            (value, rest.strip_prefix(b"\n")?)
        };
        fields.push((name, value.to_vec()));
        bytes = rest;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Cause, Loss};
    use crate::record::Record;
    use crate::time::Time;
    use fata_wire::field::Level;
    use std::string::String;

    fn entry(item: &Item<'_>) -> Vec<(String, Vec<u8>)> {
        let mut bytes = Vec::new();
        encode(&mut bytes, item);
        decode(&bytes).unwrap()
    }

    fn value<'a>(entry: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
        entry.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    #[test]
    fn every_value_arrives_byte_for_byte_and_no_name_is_one_that_the_journal_refuses() {
        let evil = b"two\nlines\nPRIORITY=0\n\xff";
        let long = "n".repeat(100);
        let fields = [
            Field { name: "message", value: Value::Str(evil) },
            Field { name: "peer.address-é", value: Value::Str(evil) },
            Field { name: "_PID", value: Value::U64(1) },
            Field { name: &long, value: Value::Bool(true) },
            Field { name: "", value: Value::I64(-1) },
        ];
        let record = Record { guest: "g\nX=1", level: Level::Error, sequence: 7, fields: &fields, ..Record::BLANK };
        let entry = entry(&Item::Record(record));
        assert_eq!(value(&entry, "F_MESSAGE"), Some(&evil[..]));
        assert_eq!(value(&entry, "F_PEER_ADDRESS___"), Some(&evil[..]));
        assert_eq!(value(&entry, "FATA_GUEST"), Some(&b"g\nX=1"[..]));
        assert_eq!((value(&entry, "PRIORITY"), value(&entry, "X")), (Some(&b"3"[..]), None));
        assert_eq!(value(&entry, "F__PID"), Some(&b"1"[..]));
    }

    #[test]
    fn a_loss_is_an_entry_with_its_numbers() {
        let mut loss = Loss { guest: "g", ..Loss::new(Cause::Full, "the ring", Time::wall(9)) };
        loss.add(Level::Debug, 3, Time::wall(9));
        loss.add(Level::Warn, 4, Time::wall(12));
        let known = entry(&Item::Loss(loss));
        for (name, expected) in [
            ("FATA_DISCARDED", "2"),
            ("FATA_DISCARDED_WARN", "1"),
            ("FATA_DISCARDED_DEBUG", "1"),
            ("FATA_DISCARDED_BYTES", "7"),
            ("FATA_CAUSE", "full"),
            ("FATA_PLACE", "the ring"),
            ("FATA_GUEST", "g"),
            ("FATA_NANOS", "9"),
            ("FATA_LAST_NANOS", "12"),
        ] {
            assert_eq!(value(&known, name), Some(expected.as_bytes()), "{name}");
        }
        assert_eq!(value(&known, "FATA_DISCARDED_ERROR"), None);
        let unknown = entry(&Item::Loss(Loss { bytes: None, ..loss }));
        assert_eq!(value(&unknown, "FATA_DISCARDED_BYTES"), None);
        let about = entry(&Item::Loss(Loss { is_about: true, ..loss }));
        let is_about = |entry| value(entry, "FATA_DISCARDED_BYTES_ARE_ABOUT");
        assert_eq!((is_about(&about), is_about(&known)), (Some(&b"1"[..]), None));
    }

    #[test]
    fn an_entry_too_long_for_a_datagram_arrives_as_a_sealed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let text = std::vec![b'x'; 4 << 20];
        let fields = [Field { name: "message", value: Value::Str(&text) }];
        Journald::new(&path).report(&Item::Record(Record { fields: &fields, ..Record::BLANK })).unwrap();
        let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 16];
        let got = rustix::net::recvmsg(
            &receiver,
            &mut [std::io::IoSliceMut::new(&mut bytes)],
            &mut control,
            rustix::net::RecvFlags::empty(),
        );
        assert_eq!(got.unwrap().bytes, 0);
        let Some(rustix::net::RecvAncillaryMessage::ScmRights(mut fds)) = control.drain().next() else {
            panic!("no file came")
        };
        let fd = fds.next().unwrap();
        assert!(
            rustix::fs::fcntl_get_seals(&fd).unwrap().contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)
        );
        let mut file = std::fs::File::from(fd);
        let mut entry = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        io::Read::read_to_end(&mut file, &mut entry).unwrap();
        assert_eq!(value(&decode(&entry).unwrap(), "F_MESSAGE"), Some(&text[..]));
    }

    #[test]
    fn a_journal_that_is_not_there_is_named_and_asked_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut reporter = Journald::new(&path);
        let item = Item::Record(Record::BLANK);
        let error = reporter.report(&item).unwrap_err();
        assert!(matches!(error, ReportError::Later(_)) && error.to_string().contains("socket: "), "{error}");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        let start = std::time::Instant::now();
        while reporter.report(&item).is_err() {
            assert!(start.elapsed() < core::time::Duration::from_secs(10));
        }
    }
}
