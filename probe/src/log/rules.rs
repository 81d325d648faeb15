//! Which records are made: a level for each target, and one for all others.
//!
//! Rules are words, separated by commas, semicolons or blanks; both grammars that people know are read:
//!
//! | word | meaning |
//! |---|---|
//! | `info`, `*:info`, `*=info` | everything that no other rule speaks of is made up to INFO |
//! | `net:debug`, `net=debug` | the target `net` and all below it (`net::tcp`, `net.tcp`) up to DEBUG |
//! | `tcp:-`, `tcp:quiet`, `tcp=off` | nothing of it; WARN and ERROR are still counted |
//! | `my_crate::net`, or `net` where something logs as `net` | all of it |
//! | `reset` | first forget every rule |
//!
//! Levels are `app`, `error`, `warn` or `warning`, `info`, `debug`, `trace`, in any case. The longest target that fits a
//! record decides. New rules are added to those that hold, and replace those of the same target; they hold for targets that
//! register later too.
//!
//! When it is full: there is room for [`MAX_RULES`] targets of up to [`MAX_NAME_BYTES`]; what does not fit is refused with a
//! sentence, and nothing of the text is taken.
//!
//! ```
//! use fata_probe::log::rules;
//! let applied = rules::set("*:info, net:debug, tcp:-").map_err(|error| error.to_string())?;
//! assert!(applied.to_string().starts_with("ok: *:info net:debug tcp:off"));
//! assert_eq!(rules::set("net:loud").unwrap_err().to_string(), "column 5: \"loud\" is no level: write app, error, warn, info, debug, trace or off, or target:level");
//! # Ok::<(), String>(())
//! ```
#![expect(unsafe_code, reason = "the rules are a static, written under the describing lock")]

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use fata_wire::field::{Kind, Level};

use crate::callsite;
use crate::describe::exclusive;

/// How many targets may have a rule.
pub const MAX_RULES: usize = 32;
/// The longest name of a target.
pub const MAX_NAME_BYTES: usize = 63;

/// What is made where no rule says otherwise.
const DEFAULT: Option<Level> = Some(Level::Info);

/// A level, or off.
type Threshold = Option<Level>;

#[derive(Clone, Copy, Debug)]
struct Rule {
    name: [u8; MAX_NAME_BYTES],
    len: u8,
    threshold: Threshold,
}

/// Rules by themselves, for who shows records instead of making them.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    list: [Rule; MAX_RULES],
    len: usize,
    others: Threshold,
}

struct Place(UnsafeCell<Rules>);

// SAFETY: it is only touched inside `exclusive`, which lets one at a time in.
unsafe impl Sync for Place {}

static RULES: Place = Place(UnsafeCell::new(Rules::NONE));
/// The host has stopped all recording.
static FROZEN: AtomicBool = AtomicBool::new(false);
/// The callsites' flags are not what they should be.
static STALE: AtomicBool = AtomicBool::new(false);
/// Changes with each change of the rules; never 0.
#[cfg(feature = "log")]
static GENERATION: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(1);
/// The most talkative level of any rule, as its number plus one; 0 is off.
static MOST: AtomicU8 = AtomicU8::new(Level::Info as u8 + 1);

/// Why rules were refused; the column counts characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError<'a> {
    /// What follows a target is no level: write one.
    NoLevel {
        /// The word.
        word: &'a str,
        /// Where it begins.
        column: usize,
    },
    /// A rule without a target: write one before the level.
    NoTarget {
        /// Where the rule begins.
        column: usize,
    },
    /// A filter by span, field or text, which `RUST_LOG` may have: leave it out.
    Unsupported {
        /// The word.
        word: &'a str,
        /// Where it begins.
        column: usize,
    },
    /// A target longer than there is room for: name one above it.
    TooLong {
        /// The word.
        word: &'a str,
        /// Where it begins.
        column: usize,
    },
    /// More targets than there is room for: `reset` first, or name one above several.
    TooMany {
        /// The first word that found no room.
        word: &'a str,
        /// Where it begins.
        column: usize,
    },
    /// The rules are being changed, or a callsite described, by the code that was interrupted: ask again.
    Busy,
}

impl fmt::Display for RuleError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleError::NoLevel { word, column } => {
                write!(
                    f,
                    "column {column}: {word:?} is no level: write app, error, warn, info, debug, trace or off, or target:level"
                )
            }
            RuleError::NoTarget { column } => {
                write!(f, "column {column}: a target is missing: write target:level, or *:level for all others")
            }
            RuleError::Unsupported { word, column } => {
                write!(
                    f,
                    "column {column}: {word:?} filters by more than a target, which is not done here: write target:level"
                )
            }
            RuleError::TooLong { word, column } => {
                write!(f, "column {column}: {word:?} is longer than {MAX_NAME_BYTES} bytes: name a target above it")
            }
            RuleError::TooMany { word, column } => write!(
                f,
                "column {column}: {word:?} would be one target more than {MAX_RULES}: begin with reset, or name one target above several"
            ),
            RuleError::Busy => f.write_str("the rules are in use by code that was interrupted: ask again"),
        }
    }
}

impl core::error::Error for RuleError<'_> {}

/// What holds after [`set`]. Shown as one line: `ok: *:info net:debug`, and which targets nobody has so far.
#[derive(Clone, Copy)]
pub struct Applied {
    rules: Rules,
    /// A bit for each rule of whose target no callsite is known.
    unknown: u32,
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Applied {
    /// The targets of which no callsite is known; their rules are kept for when there is one.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let unknown = self.unknown;
        self.rules.all().iter().enumerate().filter(move |(i, _)| unknown >> i & 1 == 1).map(|(_, rule)| rule.name())
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ok: {}", self.rules)?;
        let mut names = self.unknown();
        if let Some(first) = names.next() {
            write!(f, "; nobody logs as {first}")?;
            names.try_for_each(|name| write!(f, ", {name}"))?;
            f.write_str(" so far: kept")?;
        }
        Ok(())
    }
}

impl Rule {
    const NONE: Rule = Rule { name: [0; MAX_NAME_BYTES], len: 0, threshold: None };

    fn name(&self) -> &str {
        self.name.get(..usize::from(self.len)).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("")
    }

    /// Whether `target` is what the rule names, or below it.
    fn fits(&self, target: &str) -> bool {
        target
            .strip_prefix(self.name())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('.'))
    }
}

impl Rules {
    /// No rule but that for all: up to INFO.
    pub const NONE: Rules = Rules { list: [Rule::NONE; MAX_RULES], len: 0, others: DEFAULT };

    fn all(&self) -> &[Rule] {
        self.list.get(..self.len).unwrap_or(&[])
    }

    fn threshold(&self, target: &str) -> Threshold {
        let best = self.all().iter().filter(|rule| rule.fits(target)).max_by_key(|rule| rule.len);
        best.map_or(self.others, |rule| rule.threshold)
    }

    /// Whether a record of `target` passes.
    #[must_use]
    pub fn allow(&self, target: &str, level: Level) -> bool {
        self.threshold(target).is_some_and(|threshold| level <= threshold)
    }

    /// These with those of `text` added.
    ///
    /// # Errors
    /// [`RuleError`], with the word and its column.
    pub fn with<'a>(mut self, text: &'a str) -> Result<Self, RuleError<'a>> {
        let mut end = 0;
        for word in text.split([',', ';', ' ', '\t', '\n', '\r']) {
            let start = end;
            end += word.len() + 1;
            if !word.is_empty() {
                let column = |at: usize| text.get(..start + at).map_or(0, |before| before.chars().count()) + 1;
                self.add(word, &column)?;
            }
        }
        Ok(self)
    }

    fn add<'a>(&mut self, word: &'a str, column: &impl Fn(usize) -> usize) -> Result<(), RuleError<'a>> {
        if word == "reset" {
            *self = Rules::NONE;
            return Ok(());
        }
        if word.contains(['[', '{', '/']) {
            return Err(RuleError::Unsupported { word, column: column(0) });
        }
        if let Some(threshold) = threshold_of(word) {
            self.others = threshold;
            return Ok(());
        }
        // The last colon that is none of a path's.
        let at = word.find('=').or_else(|| {
            word.match_indices(':').map(|(at, _)| at).find(|&at| {
                let neighbour = |at: Option<usize>| at.and_then(|at| word.as_bytes().get(at)) == Some(&b':');
                !neighbour(at.checked_sub(1)) && !neighbour(at.checked_add(1))
            })
        });
        let (name, threshold) = match at {
            Some(at) => {
                let level = &word[at + 1..];
                let threshold =
                    threshold_of(level).ok_or(RuleError::NoLevel { word: level, column: column(at + 1) })?;
                (&word[..at], threshold)
            }
            // MirageOS's own example of all off.
            None if word == "*-" => ("*", None),
            None if word.contains("::") || targets().any(|target| target == word) => (word, Some(Level::Trace)),
            None => return Err(RuleError::NoLevel { word, column: column(0) }),
        };
        match name {
            "" => return Err(RuleError::NoTarget { column: column(0) }),
            "*" => {
                self.others = threshold;
                return Ok(());
            }
            _ if name.len() > MAX_NAME_BYTES => return Err(RuleError::TooLong { word: name, column: column(0) }),
            _ => {}
        }
        let known = self.all().iter().position(|rule| rule.name() == name);
        let slot = self.list.get_mut(known.unwrap_or(self.len));
        let rule = slot.ok_or(RuleError::TooMany { word: name, column: column(0) })?;
        rule.name = [0; MAX_NAME_BYTES];
        rule.name[..name.len()].copy_from_slice(name.as_bytes());
        rule.len = u8::try_from(name.len()).unwrap_or(0);
        rule.threshold = threshold;
        if known.is_none() {
            self.len += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |threshold: Threshold| threshold.map_or("off", Level::text);
        write!(f, "*:{}", text(self.others))?;
        self.all().iter().try_for_each(|rule| write!(f, " {}:{}", rule.name(), text(rule.threshold)))
    }
}

/// A level by its name; `None` where it is none.
fn threshold_of(word: &str) -> Option<Threshold> {
    let names: [(&str, Threshold); 10] = [
        ("off", None),
        ("quiet", None),
        ("-", None),
        ("app", Some(Level::App)),
        ("error", Some(Level::Error)),
        ("warn", Some(Level::Warn)),
        ("warning", Some(Level::Warn)),
        ("info", Some(Level::Info)),
        ("debug", Some(Level::Debug)),
        ("trace", Some(Level::Trace)),
    ];
    names.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, threshold)| *threshold)
}

/// Adds rules to those that hold, or none of them where one does not parse. In force when this returns.
///
/// Not for interrupt handlers: it looks at every callsite.
///
/// # Errors
/// [`RuleError`], with the word and its column.
pub fn set(text: &str) -> Result<Applied, RuleError<'_>> {
    let applied = exclusive(|| {
        // SAFETY: nobody else is inside `exclusive`.
        let changed = unsafe { *RULES.0.get() }.with(text)?;
        // SAFETY: as before.
        unsafe { *RULES.0.get() = changed };
        let most = changed.all().iter().fold(changed.others, |most, rule| most.max(rule.threshold));
        MOST.store(most.map_or(0, |level| level as u8 + 1), Ordering::Relaxed);
        apply_to_callsites();
        let is_unknown = |rule: &Rule| !targets().any(|target| rule.fits(target));
        let unknown = changed.all().iter().enumerate().filter(|(_, rule)| is_unknown(rule));
        Ok(Applied { rules: changed, unknown: unknown.fold(0, |bits, (i, _)| bits | 1 << i) })
    })
    .unwrap_or(Err(RuleError::Busy))?;
    #[cfg(feature = "tracing")]
    super::subscriber::rules_changed();
    #[cfg(feature = "log")]
    super::facade::rules_changed();
    Ok(applied)
}

/// Every target that has a callsite.
fn targets() -> impl Iterator<Item = &'static str> {
    let linked = callsite::all().iter().filter(|callsite| callsite.kind == Kind::Log).map(|callsite| callsite.category);
    #[cfg(feature = "tracing")]
    let linked = linked.chain(super::table::targets());
    linked
}

/// Whether the rules let a record through; `None` inside of code that holds the describing lock.
#[cfg(feature = "tracing")]
pub(crate) fn allow(target: &str, level: Level) -> Option<bool> {
    // SAFETY: nobody else is inside `exclusive`, so nobody writes.
    exclusive(|| unsafe { (*RULES.0.get()).allow(target, level) })
}

/// Whether a record is made; `None` inside of code that holds the describing lock.
#[cfg(feature = "log")]
pub(crate) fn made_now(target: &str, level: Level) -> Option<bool> {
    exclusive(|| is_made(target, level))
}

/// Changes with each change of the rules.
#[cfg(feature = "log")]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Whether a record is made, now that the host may have stopped all. For who is inside `exclusive`.
pub(crate) fn is_made(target: &str, level: Level) -> bool {
    // SAFETY: the caller is inside `exclusive`, so nobody writes.
    let rules = unsafe { &*RULES.0.get() };
    !FROZEN.load(Ordering::Relaxed) && (target == super::summary::TARGET || rules.allow(target, level))
}

/// The most talkative level that any rule lets through; `None` is off.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) fn most() -> Threshold {
    MOST.load(Ordering::Relaxed).checked_sub(1).and_then(Level::from_u8)
}

/// Turns the log callsites off where the host has stopped all recording, and on again.
pub(crate) fn freeze(frozen: bool) {
    FROZEN.store(frozen, Ordering::Relaxed);
    // Where a description is being written beneath us, the next look at the host's wishes is soon enough.
    STALE.store(exclusive(apply_to_callsites).is_none(), Ordering::Relaxed);
}

/// Does what an interrupt could not.
pub(crate) fn refresh() {
    if STALE.load(Ordering::Relaxed) {
        freeze(FROZEN.load(Ordering::Relaxed));
    }
}

/// Sets every log callsite to what the rules say. The caller is inside `exclusive`.
fn apply_to_callsites() {
    #[cfg(feature = "log")]
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for callsite in callsite::all().iter().filter(|callsite| callsite.kind == Kind::Log) {
        let on = callsite.id().filter(|_| is_made(callsite.category, callsite.level));
        callsite.set_template(on.map_or(0, |id| callsite.on_template(id)));
    }
    #[cfg(feature = "tracing")]
    super::table::apply();
    // A callsite that is off now is not one that makes too many.
    crate::region::all().flat_map(crate::region::Region::slots).for_each(|slot| slot.floods.clear());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn rules(text: &str) -> Rules {
        Rules::NONE.with(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn both_grammars_say_the_same() {
        for text in
            ["*:info,net:debug,tcp:-", "info net=debug tcp=off", "tcp:quiet;net=DEBUG,*=info", "net:debug,tcp:OFF"]
        {
            let mut words: std::vec::Vec<_> = std::vec::Vec::new();
            let shown = rules(text).to_string();
            words.extend(shown.split(' '));
            words.sort_unstable();
            assert_eq!(words, ["*:info", "net:debug", "tcp:off"], "{text}");
        }
        assert_eq!(rules("*-,foo:debug").to_string(), "*:off foo:debug");
        assert_eq!(rules("hyper::client").to_string(), "*:info hyper::client:trace");
        assert_eq!(rules("fata.log").to_string(), "*:info fata.log:trace");
        assert_eq!(rules("my_crate::net=warn").to_string(), "*:info my_crate::net:warn");
        assert_eq!(rules("my_crate::net:warn").to_string(), "*:info my_crate::net:warn");
    }

    #[test]
    fn the_longest_target_decides_and_a_part_of_a_word_is_no_target() {
        let rules = rules("warn,net:info,net::tcp:trace,net.tcp:debug");
        let made = |target, level| rules.allow(target, level);
        assert!(made("net::tcp::segment", Level::Trace));
        assert!(made("net.tcp", Level::Debug) && !made("net.tcp", Level::Trace));
        assert!(made("net", Level::Info) && !made("net::udp", Level::Debug));
        assert!(!made("network", Level::Info) && made("network", Level::Warn));
    }

    #[test]
    fn app_is_shown_unless_its_target_is_off() {
        let rules = rules("error,noisy:off");
        assert!(
            rules.allow("any", Level::App) && !rules.allow("noisy", Level::App) && !rules.allow("noisy", Level::Error)
        );
    }

    #[test]
    fn an_error_names_the_word_and_its_column() {
        let errors = [
            ("info,loud", "column 6: \"loud\" is no level"),
            ("info,net:loud", "column 10: \"loud\" is no level"),
            ("ä:off,net=", "column 11: \"\" is no level"),
            ("  :debug", "column 3: a target is missing"),
            ("net[span]=debug", "column 1: \"net[span]=debug\" filters by more"),
            ("info /regex", "column 6: \"/regex\" filters by more"),
        ];
        for (text, sentence) in errors {
            let Err(error) = Rules::NONE.with(text) else { panic!("{text}") };
            assert!(error.to_string().starts_with(sentence), "{text}: {error}");
        }
        let long = "x".repeat(64) + ":info";
        assert!(matches!(Rules::NONE.with(&long), Err(RuleError::TooLong { column: 1, .. })));
        let many: std::string::String = (0..=MAX_RULES).map(|i| std::format!("t{i}:info,")).collect();
        assert!(matches!(Rules::NONE.with(&many), Err(RuleError::TooMany { word: "t32", .. })));
    }

    #[test]
    fn rules_add_up_until_they_are_reset() {
        let first = rules("warn,a:debug");
        let second = first.with("a:trace b:off").map(|rules| rules.to_string());
        assert_eq!(second.as_deref(), Ok("*:warn a:trace b:off"));
        assert_eq!(first.with("reset c=app").map(|rules| rules.to_string()).as_deref(), Ok("*:info c:app"));
    }
}
