//! What the log says of itself: how many records the rate limit kept out, or were the same as the one before.

use super::{REPEATED, SUPPRESSED};
use crate::field::Value;

/// The target of what the log says of itself.
pub const OWN_TARGET: &str = "fata.log";

/// What the log says of itself in a record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What happened to the records.
    pub what: Summarised,
    /// The callsite of the records.
    pub callsite: u16,
    /// How many there were.
    pub count: u64,
    /// From the first to this record, at most.
    pub within_ticks: u64,
    /// How long the records would have been that were kept out; `None` where it is not said, as in older traces and of those that
    /// were repeated, which are not lost.
    pub bytes: Option<u64>,
    /// Whether that is an estimate, by how long the last record of the callsite was.
    pub is_about: bool,
}

/// What happened to records that are told by a [`Summary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summarised {
    /// The rate limit of their callsite kept them out.
    Suppressed,
    /// They were the same as the record before.
    Repeated,
}

impl Summary {
    /// What a record of this target and name, with these fields, says of the log; `None` where it is the program that speaks.
    pub fn of<'a>(target: &str, name: &str, fields: impl Iterator<Item = (&'a str, Value<'a>)>) -> Option<Self> {
        let what = match name {
            _ if target != OWN_TARGET => return None,
            SUPPRESSED => Summarised::Suppressed,
            REPEATED => Summarised::Repeated,
            _ => return None,
        };
        let (mut callsite, mut count, mut within_ticks) = (None, None, 0);
        let (mut bytes, mut is_about) = (None, false);
        for (field, value) in fields {
            match (field, value) {
                ("callsite", Value::U64(id)) => callsite = u16::try_from(id).ok(),
                ("count", Value::U64(number)) => count = Some(number),
                ("within_ticks", Value::U64(ticks)) => within_ticks = ticks,
                ("bytes", Value::U64(number)) => bytes = Some(number),
                ("is_about", Value::Bool(flag)) => is_about = flag,
                _ => {}
            }
        }
        Some(Summary { what, callsite: callsite?, count: count?, within_ticks, bytes, is_about })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_logs_own_records_are_summaries() {
        let fields =
            || [("callsite", Value::U64(12)), ("count", Value::U64(41)), ("within_ticks", Value::U64(900))].into_iter();
        let (what, bytes) = (Summarised::Repeated, None);
        let summary = Summary { what, callsite: 12, count: 41, within_ticks: 900, bytes, is_about: false };
        assert_eq!(Summary::of(OWN_TARGET, REPEATED, fields()), Some(summary));
        let with_bytes = fields().chain([("bytes", Value::U64(1640)), ("is_about", Value::Bool(true))]);
        let summary = Summary { what: Summarised::Suppressed, bytes: Some(1640), is_about: true, ..summary };
        assert_eq!(Summary::of(OWN_TARGET, SUPPRESSED, with_bytes), Some(summary));
        assert_eq!(Summary::of("app", REPEATED, fields()), None);
        assert_eq!(Summary::of(OWN_TARGET, "src/a.rs:3", fields()), None);
        assert_eq!(Summary::of(OWN_TARGET, SUPPRESSED, fields().skip(1)), None);
    }
}
