//! Reporters as words of a command line: `--to file:/var/log/http.log,level=info,rotate=10M,compress`.
//!
//! Invariant: a word that nobody knows is named, with what would be right; nothing is guessed.
//!
//! | destination | options of its own |
//! |---|---|
//! | `console` | `color=auto\|always\|never` |
//! | `json` | |
//! | `file:PATH` | `json`, `rotate=BYTES`, `age=TIME`, `keep=N`, `compress`, `fsync=never\|done\|always` |
//! | `syslog:udp://HOST[:514]`, `syslog:tcp://HOST[:514]`, `syslog:tls://HOST[:6514]`, `syslog:/dev/log` | `rfc=5424\|3164`, `facility=NAME`, `ca=PATH` |
//! | `journald`, `journald:PATH` of its socket | |
//! | `trace:DIR`, which must not hold one already | |
//! | `otlp:http://HOST:4318/v1/logs`, or `https` | `ca=PATH` |
//!
//! Every destination takes `level=LEVEL` (records of this level and more severe ones). All but the first two, which are as
//! slow as whoever reads them, stand behind a bounded queue: `buffer=BYTES`, `policy=oldest|newest|block` say how much waits
//! and what goes when that is full. `A else B` goes to `B` while `A` fails; what the first says of the queue holds for both.
//! `A and B` goes to both, each with a queue of its own.
//!
//! ```
//! use fata_reporters::spec;
//! assert!(spec::open("console,level=warn").is_ok());
//! assert_eq!(
//!     spec::open("console,level=loud").err().unwrap().to_string(),
//!     "`level=loud`: a level is one of app, error, warn, info, debug, trace"
//! );
//! ```

use std::boxed::Box;
use std::io;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

use fata_wire::field::Level;

use crate::combine::{Fallback, Filter, Tee, UpTo};
use crate::console::Console;
use crate::file::{self, Fsync};
use crate::front::{Front, Options};
use crate::journald::{self, Journald};
use crate::lines::{Format, Lines};
use crate::otlp::{self, Otlp};
use crate::queue::Policy;
use crate::reporter::Reporter;
use crate::syslog::{self, Destination, Facility, Form, Syslog};
use crate::trace::Trace;

/// What a command line asked for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A destination that nobody knows.
    #[error("`{0}`: a destination is one of {KINDS}")]
    UnknownDestination(String),
    /// A destination whose place is missing.
    #[error("`{0}`: {1}")]
    Incomplete(String, &'static str),
    /// An option that this destination does not have.
    #[error("`{option}`: {kind} has no such option, only {known}")]
    UnknownOption {
        /// The word.
        option: String,
        /// The destination.
        kind: String,
        /// What it has.
        known: String,
    },
    /// A value that the option does not take.
    #[error("`{0}`: {1}")]
    BadValue(String, &'static str),
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] file::OpenError),
    /// The directory cannot be written.
    #[error(transparent)]
    Trace(#[from] crate::trace::CreateError),
    /// No receiver can be at this URL.
    #[error(transparent)]
    Otlp(#[from] otlp::UrlError),
    /// Nobody to trust.
    #[error(transparent)]
    Trust(#[from] crate::net::tls::TrustError),
    /// No thread for the reporter.
    #[error("no thread for {0}: {1}")]
    Thread(String, io::Error),
}

/// A reporter that may go to another thread.
pub type Boxed = Box<dyn Reporter + Send>;

const KINDS: &str = "console, json, file:PATH, syslog:udp://HOST:PORT, journald, otlp:URL, trace:DIR";

/// Opens the reporters that `spec` asks for.
///
/// # Errors
/// See [`OpenError`]; each names the word.
pub fn open(spec: &str) -> Result<Boxed, OpenError> {
    open_around(spec, &mut |reporter| reporter)
}

/// The same, where `around` is put around what stands behind each queue, and so runs in the same thread.
///
/// # Errors
/// See [`OpenError`]; each names the word.
pub fn open_around(spec: &str, around: &mut dyn FnMut(Boxed) -> Boxed) -> Result<Boxed, OpenError> {
    let mut all = None::<Boxed>;
    for part in spec.split(" and ") {
        let reporter = open_chain(part.trim(), around)?;
        all = Some(match all {
            None => reporter,
            Some(others) => Box::new(Tee::new(others, reporter)),
        });
    }
    all.ok_or_else(|| OpenError::UnknownDestination(spec.into()))
}

fn open_chain(spec: &str, around: &mut dyn FnMut(Boxed) -> Boxed) -> Result<Boxed, OpenError> {
    let parts: Vec<_> = spec.split(" else ").map(str::trim).collect();
    let (first, fallbacks) = parts.split_first().ok_or_else(|| OpenError::UnknownDestination(spec.into()))?;
    let (mut chain, mut level) = open_one(first)?;
    if !fallbacks.is_empty() {
        let mut rest = None::<Boxed>;
        for part in fallbacks.iter().rev() {
            let (reporter, level) = open_one(part)?;
            let reporter = with_threshold(reporter, level);
            rest = Some(match rest {
                None => reporter,
                Some(fallback) => Box::new(Fallback::new(reporter, fallback)),
            });
        }
        chain = with_threshold(chain, level.take());
        if let Some(fallback) = rest {
            chain = Box::new(Fallback::new(chain, fallback));
        }
    }
    // The queue stands before the whole chain, since a fallback must hear of each failure itself; and behind the threshold of
    // a single reporter, so that what is not wanted takes no room.
    let words = Words::parse(first, options_of)?;
    let chain = around(chain);
    let as_slow_as_its_reader = matches!(words.kind, "console" | "json");
    let chain = if as_slow_as_its_reader { chain } else { front(&words, spec, chain)? };
    Ok(with_threshold(chain, level))
}

fn with_threshold(reporter: Boxed, level: Option<Level>) -> Boxed {
    match level {
        Some(level) => Box::new(Filter::new(reporter, UpTo(level))),
        None => reporter,
    }
}

/// A destination and its options, taken apart.
struct Words<'a> {
    kind: &'a str,
    place: &'a str,
    options: Vec<(&'a str, &'a str)>,
}

const COMMON: &[&str] = &["level", "buffer", "policy"];

impl<'a> Words<'a> {
    /// A part after a comma belongs to the place unless it is an option's word, so that paths may have commas.
    fn parse(spec: &'a str, known: impl Fn(&str) -> &'static [&'static str]) -> Result<Self, OpenError> {
        let kind = spec.split([':', ',']).next().unwrap_or_default();
        let known: Vec<_> = COMMON.iter().chain(known(kind)).copied().collect();
        let mut rest = &spec[kind.len()..];
        let mut options = Vec::new();
        while let Some((before, last)) = rest.rsplit_once(',') {
            let (name, value) = last.split_once('=').unwrap_or((last, ""));
            if !known.contains(&name) {
                if rest.starts_with(',') || last.contains('=') {
                    let known = known.join(", ");
                    return Err(OpenError::UnknownOption { option: last.into(), kind: kind.into(), known });
                }
                break;
            }
            options.push((name, value));
            rest = before;
        }
        Ok(Words { kind, place: rest.strip_prefix(':').unwrap_or(rest), options })
    }

    /// Reads the option `name`, if it is there.
    fn get<T>(
        &self,
        name: &str,
        should: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, OpenError> {
        let Some((_, value)) = self.options.iter().find(|(option, _)| *option == name) else { return Ok(None) };
        let word = || if value.is_empty() { name.to_string() } else { std::format!("{name}={value}") };
        read(value).map(Some).ok_or_else(|| OpenError::BadValue(word(), should))
    }

    fn flag(&self, name: &str) -> Result<bool, OpenError> {
        Ok(self.get(name, "takes no value", |value| value.is_empty().then_some(()))?.is_some())
    }

    fn place(&self, should: &'static str) -> Result<&'a str, OpenError> {
        if self.place.is_empty() { Err(OpenError::Incomplete(self.kind.into(), should)) } else { Ok(self.place) }
    }
}

fn options_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "console" => &["color"],
        "file" => &["json", "rotate", "age", "keep", "compress", "fsync"],
        "syslog" => &["rfc", "facility", "ca"],
        "otlp" => &["ca"],
        _ => &[],
    }
}

/// A destination, and the threshold it asks for.
fn open_one(spec: &str) -> Result<(Boxed, Option<Level>), OpenError> {
    let words = Words::parse(spec, options_of)?;
    let reporter: Boxed = match words.kind {
        "console" => Box::new(Lines::new(io::stdout(), "standard output", console_format(&words)?)),
        "json" => Box::new(Lines::new(io::stdout(), "standard output", Format::Json)),
        "file" => Box::new(open_file(&words)?),
        "syslog" => Box::new(open_syslog(&words)?),
        "trace" => Box::new(Trace::create(Path::new(words.place("a trace needs a directory: trace:DIR")?))?),
        "otlp" => {
            let url = words.place("an OTLP receiver is http://HOST:4318/v1/logs, or https")?;
            Box::new(Otlp::new(url, authorities(&words)?.as_deref())?)
        }
        "journald" if words.place.is_empty() => Box::new(Journald::new(Path::new(journald::SOCKET))),
        "journald" => Box::new(Journald::new(Path::new(words.place))),
        _ => return Err(OpenError::UnknownDestination(spec.into())),
    };
    let level = words.get("level", "a level is one of app, error, warn, info, debug, trace", Level::from_text)?;
    Ok((reporter, level))
}

fn front(words: &Words<'_>, name: &str, reporter: Boxed) -> Result<Boxed, OpenError> {
    let mut options = Options::default();
    if let Some(policy) = words.get("policy", "a policy is one of oldest, newest, block", policy_of)? {
        options.bounds.policy = policy;
    }
    if let Some(bytes) = words.get("buffer", "a buffer is from 64K to 1G long", buffer_of)? {
        options.bounds.bytes = bytes;
        options.bounds.reserved_bytes = options.bounds.bytes / 4;
    }
    let name = name.split(',').next().unwrap_or(name);
    let front = Front::spawn(name, reporter, options).map_err(|error| OpenError::Thread(name.into(), error))?;
    Ok(Box::new(front))
}

fn policy_of(word: &str) -> Option<Policy> {
    match word {
        "oldest" => Some(Policy::KeepOldest),
        "newest" => Some(Policy::KeepNewest),
        "block" => Some(Policy::Block),
        _ => None,
    }
}

fn console_format(words: &Words<'_>) -> Result<Format, OpenError> {
    let color = words.get("color", "it is one of auto, always, never", |word| match word {
        "auto" => Some(Format::for_people_at(&io::stdout())),
        "always" => Some(Format::Text(Console::coloured())),
        "never" => Some(Format::plain()),
        _ => None,
    })?;
    Ok(color.unwrap_or_else(|| Format::for_people_at(&io::stdout())))
}

fn open_file(words: &Words<'_>) -> Result<file::File, OpenError> {
    let path: PathBuf = Path::new(words.place("a file needs a path: file:PATH")?).into();
    let mut options = file::Options::default();
    if words.flag("json")? {
        options.format = Format::Json;
    }
    if let Some(bytes) = words.get("rotate", BYTES, bytes_of)? {
        options.rotate_bytes = bytes;
    }
    options.rotate_age = words.get("age", TIME, time_of)?;
    if let Some(keep) =
        words.get("keep", "it is a number of files below 1000", |word| word.parse().ok().filter(|&keep| keep < 1000))?
    {
        options.keep = keep;
    }
    options.compress = words.flag("compress")?;
    if let Some(fsync) = words.get("fsync", "it is one of never, done, always", |word| match word {
        "never" => Some(Fsync::Never),
        "done" => Some(Fsync::Done),
        "always" => Some(Fsync::Always),
        _ => None,
    })? {
        options.fsync = fsync;
    }
    Ok(file::File::open(&path, options)?)
}

fn authorities(words: &Words<'_>) -> Result<Option<PathBuf>, OpenError> {
    words.get("ca", "it is the path of a PEM file", |path| (!path.is_empty()).then(|| path.into()))
}

fn open_syslog(words: &Words<'_>) -> Result<Syslog, OpenError> {
    const SHOULD: &str = "a syslog needs udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or the path of a socket";
    let place = words.place(SHOULD)?;
    let authorities = authorities(words)?;
    let (destination, form) = match place.split_once("://") {
        Some(("udp", host)) => (Destination::udp(&with_port(host, 514)), Form::Rfc5424),
        Some(("tcp", host)) => (Destination::tcp(&with_port(host, 514)), Form::Rfc5424),
        Some(("tls", host)) => (Destination::tls(&with_port(host, 6514), authorities.as_deref())?, Form::Rfc5424),
        None if place.starts_with('/') => (Destination::unix(place), Form::Local),
        _ => return Err(OpenError::BadValue(place.into(), SHOULD)),
    };
    let form = words
        .get("rfc", "it is one of 5424, 3164", |word| match (word, form) {
            ("5424", _) => Some(Form::Rfc5424),
            ("3164", Form::Local) => Some(Form::Local),
            ("3164", _) => Some(Form::Rfc3164),
            _ => None,
        })?
        .unwrap_or(form);
    let facility = words.get(
        "facility",
        "it is one of user, daemon, local0 to local7, or another of RFC 5424",
        Facility::from_text,
    )?;
    Ok(Syslog::new(destination, syslog::Options { form, facility: facility.unwrap_or(Facility::USER) }))
}

/// `HOST:PORT` of `HOST` or `HOST:PORT`; an IPv6 address stands between brackets.
fn with_port(host: &str, port: u16) -> String {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    if after.contains(':') { host.into() } else { std::format!("{host}:{port}") }
}

const BYTES: &str = "a size is a number of bytes, or of K, M or G: 64K, 10M";
const TIME: &str = "a time is a number of s, m, h or d: 90s, 24h";

fn bytes_of(word: &str) -> Option<u64> {
    scaled(word, &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)]).filter(|&bytes| bytes > 0)
}

fn buffer_of(word: &str) -> Option<usize> {
    bytes_of(word).filter(|bytes| (1 << 16..=1 << 30).contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok())
}

fn time_of(word: &str) -> Option<Duration> {
    scaled(word, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]).map(Duration::from_secs)
}

fn scaled(word: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::reporter::{Item, finish};

    fn error(spec: &str) -> String {
        open(spec).err().unwrap().to_string()
    }

    #[test]
    fn every_word_that_is_wrong_is_named_with_what_would_be_right() {
        let wrong = [
            ("fiel:x", "`fiel:x`: a destination is one of console"),
            ("", "``: a destination is one of"),
            ("file", "`file`: a file needs a path: file:PATH"),
            ("console,colour=never", "`colour=never`: console has no such option, only level, buffer, policy, color"),
            ("console,color=blue", "`color=blue`: it is one of auto, always, never"),
            ("file:/tmp/x,rotate=10Q", "`rotate=10Q`: a size is a number of bytes, or of K, M or G"),
            ("file:/tmp/x,rotate=99999999999G", "`rotate=99999999999G`: a size is"),
            ("file:/tmp/x,compress=yes", "`compress=yes`: takes no value"),
            ("file:/tmp/x,policy=", "`policy`: a policy is one of oldest, newest, block"),
            ("file:/dev/null,buffer=9999G", "`buffer=9999G`: a buffer is from 64K to 1G long"),
            ("file:/nowhere/x", "/nowhere/x: "),
            ("syslog:ftp://x", "`ftp://x`: a syslog needs udp://HOST:PORT"),
            ("syslog:udp://x,facility=local9", "`facility=local9`: it is one of user"),
            ("syslog:tls://x,ca=/nowhere", "/nowhere: "),
            ("console else cnsole", "`cnsole`: a destination"),
            ("console and ", "``: a destination"),
        ];
        for (spec, sentence) in wrong {
            assert!(error(spec).starts_with(sentence), "{spec}: {}", error(spec));
        }
    }

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!((bytes_of("64K"), bytes_of("7"), bytes_of("0")), (Some(65536), Some(7), None));
        assert_eq!(
            (time_of("90s"), time_of("2d"), time_of("2")),
            (Some(Duration::from_secs(90)), Some(Duration::from_secs(172_800)), None)
        );
    }

    #[test]
    fn a_port_is_added_where_there_is_none() {
        let known = [
            ("h", "h:514"),
            ("h:1", "h:1"),
            ("[::1]", "[::1]:514"),
            ("[::1]:1", "[::1]:1"),
            ("1.2.3.4", "1.2.3.4:514"),
        ];
        for (host, full) in known {
            assert_eq!(with_port(host, 514), full);
        }
    }

    #[test]
    fn a_path_may_have_commas_and_the_threshold_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a,b.log");
        let mut reporter = open(&std::format!("file:{},json,level=warn", path.display())).unwrap();
        for level in [Level::Info, Level::Error, Level::Debug, Level::App] {
            reporter.report(&Item::Record(Record { level, ..Record::BLANK })).unwrap();
        }
        finish(&mut reporter, Duration::from_secs(20)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let levels: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["level"].as_str().unwrap().to_string())
            .collect();
        assert_eq!(levels, ["error", "app"]);
    }

    #[test]
    fn several_destinations_each_get_everything_that_they_want() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let spec =
            std::format!("file:{} and file:/dev/full else file:{} and file:{},level=warn", at("a"), at("b"), at("c"));
        let mut threads = Vec::new();
        let mut reporter = open_around(&spec, &mut |reporter| {
            threads.push(reporter.worst_case_bytes());
            reporter
        })
        .unwrap();
        assert_eq!(threads.len(), 3, "one for each queue");
        for level in [Level::Info, Level::Error] {
            reporter.report(&Item::Record(Record { level, name: "kept", ..Record::BLANK })).unwrap();
        }
        finish(&mut reporter, Duration::from_secs(20)).unwrap();
        let kept = |name| std::fs::read_to_string(at(name)).unwrap().matches("kept").count();
        assert_eq!((kept("a"), kept("b"), kept("c")), (2, 2, 1));
    }

    #[test]
    fn a_fallback_takes_what_a_full_disk_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("second.log");
        let mut reporter = open(&std::format!("file:/dev/full else file:{}", path.display())).unwrap();
        for sequence in 0..3 {
            reporter.report(&Item::Record(Record { sequence, name: "kept", ..Record::BLANK })).unwrap();
        }
        finish(&mut reporter, Duration::from_secs(20)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("/dev/full: no space left"), "{text}");
        assert_eq!(text.matches("kept").count(), 3);
    }
}
