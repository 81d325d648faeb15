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
        for (field, value) in fields {
            match (field, value) {
                ("callsite", Value::U64(id)) => callsite = u16::try_from(id).ok(),
                ("count", Value::U64(number)) => count = Some(number),
                ("within_ticks", Value::U64(ticks)) => within_ticks = ticks,
                _ => {}
            }
        }
        Some(Summary { what, callsite: callsite?, count: count?, within_ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_logs_own_records_are_summaries() {
        let fields =
            || [("callsite", Value::U64(12)), ("count", Value::U64(41)), ("within_ticks", Value::U64(900))].into_iter();
        let summary = Summary { what: Summarised::Repeated, callsite: 12, count: 41, within_ticks: 900 };
        assert_eq!(Summary::of(OWN_TARGET, REPEATED, fields()), Some(summary));
        assert_eq!(Summary::of("app", REPEATED, fields()), None);
        assert_eq!(Summary::of(OWN_TARGET, "src/a.rs:3", fields()), None);
        assert_eq!(Summary::of(OWN_TARGET, SUPPRESSED, fields().skip(1)), None);
    }
}
