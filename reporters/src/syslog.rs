//! An item as a syslog message, of RFC 5424 or of the older form that RFC 3164 describes.
//!
//! Invariant: a message is one line of UTF-8 without control characters, and its header has only printable ASCII, so a guest
//! cannot begin a message of its own inside of one.
//!
//! ```
//! use fata_reporters::syslog::{Facility, Form, write};
//! use fata_reporters::{Item, Level, Record};
//! let record = Record { level: Level::Warn, guest: "http0", target: "net.tcp", task: "conn-7", sequence: 9, ..Record::BLANK };
//! let mut message = String::new();
//! write(&mut message, &Item::Record(record), Form::Rfc5424, Facility::USER, "dom0").unwrap();
//! assert_eq!(message, "<12>1 1970-01-01T00:00:00.000000Z http0 net.tcp conn-7 - [meta sequenceId=\"9\"] ");
//! ```

#[cfg(feature = "std")]
mod send;

use core::fmt::{self, Write};

use fata_wire::field::Level;

use crate::console::Words;
use crate::reporter::Item;
use crate::time::{Civil, Epoch, Time};

#[cfg(feature = "std")]
pub use crate::net::tls::TrustError;
#[cfg(feature = "std")]
pub use send::{Destination, Options, Syslog};

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// RFC 5424: full time, structured data.
    Rfc5424,
    /// The older form, RFC 3164. Its times have no year and no zone; ours are UTC.
    Rfc3164,
    /// As RFC 3164 without the host, which is what a system's own socket `/dev/log` expects.
    Local,
}

/// What part of a system a message is about: a number below 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// Programs of users.
    pub const USER: Self = Facility(1);

    /// The facility of this name: `user`, `daemon`, `local0` to `local7`, and the others of RFC 5424.
    #[must_use]
    pub fn from_text(name: &str) -> Option<Self> {
        const NAMES: [&str; 24] = [
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
            "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
            "local7",
        ];
        let number = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Facility)
    }

    /// Facility and severity as one number.
    #[must_use]
    pub const fn priority(self, level: Level) -> u8 {
        self.0 * 8 + severity(level)
    }
}

/// The severity that stands for a level: errors are 3, warnings 4, the program's own words 5 (notice), 6 and 7 the rest.
#[must_use]
pub const fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::App => 5,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Writes the message of `item`, without framing. `host` is what stands for the host where the item names no guest.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, item: &Item<'_>, form: Form, facility: Facility, host: &str) -> fmt::Result {
    let (guest, target, task) = match item {
        Item::Record(record) => (record.guest, record.target, record.task),
        Item::Loss(loss) => (loss.guest, crate::combine::OWN_TARGET, ""),
    };
    let host = if guest.is_empty() { host } else { guest };
    let target = if target.is_empty() { "fata" } else { target };
    write!(out, "<{}>", facility.priority(item.level()))?;
    match form {
        Form::Rfc5424 => {
            out.write_str("1 ")?;
            // A guest that does not know the time of day has none to tell.
            match item.time() {
                Time { nanos, epoch: Epoch::Unix } => write!(out, "{}", Civil::from_unix_nanos(nanos))?,
                Time { epoch: Epoch::Start, .. } => out.write_char('-')?,
            }
            let (host, target, task) = (Header(host, 255), Header(target, 48), Header(task, 128));
            write!(out, " {host} {target} {task} ")?;
            match item {
                Item::Record(record) => {
                    // 1 to 2^31 - 1, and then from the start, as the RFC says.
                    let sequence = record.sequence.wrapping_sub(1) % 0x7fff_ffff + 1;
                    write!(out, "{} [meta sequenceId=\"{sequence}\"] ", Header(record.name, 32))?;
                }
                Item::Loss(loss) => write!(out, "discarded-{} - ", loss.cause.text())?,
            }
        }
        Form::Rfc3164 | Form::Local => {
            write_short_time(out, item.time())?;
            if form == Form::Rfc3164 {
                write!(out, " {}", Header(host, 255))?;
            }
            write!(out, " {}", Header(target, 32))?;
            if !task.is_empty() {
                write!(out, "[{}]", Header(task, 32))?;
            }
            out.write_str(": ")?;
            if form == Form::Local && !guest.is_empty() {
                write!(out, "{}: ", Header(guest, 255))?;
            }
        }
    }
    match item {
        Item::Record(record) => write!(out, "{}", Words(record)),
        Item::Loss(loss) => write!(out, "{loss}"),
    }
}

/// `Jul 14 12:34:56`.
fn write_short_time(out: &mut dyn Write, time: Time) -> fmt::Result {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // The form has no way to leave the time out; seconds since the guest's start are better than a time that is made up.
    let Civil { month, day, hour, minute, second, .. } = Civil::from_unix_nanos(time.nanos);
    let month = MONTHS.get(usize::from(month) - 1).unwrap_or(&"Jan");
    write!(out, "{month} {day:2} {hour:02}:{minute:02}:{second:02}")
}

/// A name in a header: at most so many characters, none of them a blank or beyond ASCII; `-` where it is empty.
struct Header<'a>(&'a str, usize);

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']' | '"');
        self.0.chars().take(self.1).try_for_each(|c| f.write_char(if fits(c) { c } else { '_' }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Cause, Loss};
    use crate::record::{Field, Record, Value};
    use std::string::String;

    fn message(item: &Item<'_>, form: Form) -> String {
        let mut message = String::new();
        write(&mut message, item, form, Facility::from_text("local3").unwrap(), "dom0").unwrap();
        message
    }

    #[test]
    fn a_record_is_what_the_rfcs_say() {
        let fields =
            [Field { name: "message", value: Value::Str(b"up") }, Field { name: "mtu", value: Value::U64(1500) }];
        let time = Time::wall(1_000_000_000_123_456_789);
        let record = Record { time, level: Level::Error, guest: "g", target: "net", fields: &fields, ..Record::BLANK };
        let item = Item::Record(Record { sequence: 0x8000_0000, name: "src/x.rs:4", ..record });
        assert_eq!(
            message(&item, Form::Rfc5424),
            "<155>1 2001-09-09T01:46:40.123456Z g net - src/x.rs:4 [meta sequenceId=\"1\"] up mtu=1500"
        );
        assert_eq!(message(&item, Form::Rfc3164), "<155>Sep  9 01:46:40 g net: up mtu=1500");
        let item = Item::Record(Record { task: "t 1", ..record });
        assert_eq!(message(&item, Form::Local), "<155>Sep  9 01:46:40 net[t_1]: g: up mtu=1500");
        let item = Item::Record(Record { time: Time::since_start(5), guest: "", target: "", ..record });
        assert!(message(&item, Form::Rfc5424).starts_with("<155>1 - dom0 fata - - [meta "));
    }

    #[test]
    fn a_loss_is_a_message_too() {
        let mut loss = Loss::new(Cause::Full, "the ring", Time::wall(0));
        loss.add(Level::Debug, 10, Time::wall(0));
        assert_eq!(
            message(&Item::Loss(loss), Form::Rfc5424),
            "<156>1 1970-01-01T00:00:00.000000Z dom0 fata.reporters - discarded-full - \
             discarded 1 record (1 DEBUG; 10 bytes): the ring was full"
        );
    }

    #[test]
    fn no_guest_begins_a_message_of_its_own() {
        let evil = "x\n<0>1 - - - - - - \x1b[2J\u{202e}";
        let fields = [Field { name: evil, value: Value::Str(evil.as_bytes()) }];
        let record = Record { guest: evil, target: evil, task: evil, name: evil, fields: &fields, ..Record::BLANK };
        for form in [Form::Rfc5424, Form::Rfc3164, Form::Local] {
            let message = message(&Item::Record(record), form);
            assert!(!message.contains(crate::text::is_interpreted), "{message:?}");
        }
    }

    #[test]
    fn every_sequence_number_is_one_that_the_rfc_allows() {
        for sequence in [0, 1, 0x7fff_ffff, 0x8000_0000, u64::MAX] {
            let message = message(&Item::Record(Record { sequence, ..Record::BLANK }), Form::Rfc5424);
            let (_, rest) = message.split_once("sequenceId=\"").unwrap();
            let number: u64 = rest.split_once('"').unwrap().0.parse().unwrap();
            assert!((1..=0x7fff_ffff).contains(&number), "{number}");
        }
    }
}
