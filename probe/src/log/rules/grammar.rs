//! The words of rules, read and shown: which target may say how much.
//!
//! Invariant: what is shown is read back as the same rules; a text that does not parse changes nothing.

use core::fmt;

use fata_wire::field::Level;

/// How many targets may have a rule.
pub const MAX_RULES: usize = 32;
/// The longest name of a target.
pub const MAX_NAME_BYTES: usize = 63;

/// What is made where no rule says otherwise.
const DEFAULT: Option<Level> = Some(Level::Info);

/// A level, or off.
pub(super) type Threshold = Option<Level>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    name: [u8; MAX_NAME_BYTES],
    len: u8,
    pub(super) threshold: Threshold,
}

/// Rules by themselves, for who shows records instead of making them.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    list: [Rule; MAX_RULES],
    len: usize,
    pub(super) others: Threshold,
}

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

impl Rule {
    const NONE: Rule = Rule { name: [0; MAX_NAME_BYTES], len: 0, threshold: None };

    pub(super) fn name(&self) -> &str {
        self.name.get(..usize::from(self.len)).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("")
    }

    /// Whether `target` is what the rule names, or below it.
    pub(super) fn fits(&self, target: &str) -> bool {
        is_within(target, self.name())
    }
}

/// Whether `target` is `above` or below it: `net.tcp` and `net::udp` are within `net`, `network` is not.
#[must_use]
pub fn is_within(target: &str, above: &str) -> bool {
    let rest = target.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('.'))
}

impl Rules {
    /// No rule but that for all: up to INFO.
    pub const NONE: Rules = Rules { list: [Rule::NONE; MAX_RULES], len: 0, others: DEFAULT };

    pub(super) fn all(&self) -> &[Rule] {
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
            None if word.contains("::") || super::targets().any(|target| target == word) => (word, Some(Level::Trace)),
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
