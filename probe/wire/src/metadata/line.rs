//! Metadata text read back: the comment lines, each of which says one thing.

use super::MAX_GUESTS;
use crate::describe::{Callsite, Record};
use crate::field::{Field, FieldType, Fields, Kind, Level, Unit};
use crate::log::{Account, COUNTERS, LostBytes};
use crate::shared::{Clock, MAX_STREAMS};

/// What one comment line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line<'a> {
    /// The format's version; of another major number, nothing after it can be read.
    Version(u32),
    /// What follows is this guest's.
    Guest(u16),
    /// The clock.
    Clock(Clock),
    /// A record of the description area.
    Record(Record<'a>),
    /// What became of the records of a log stream, until this was written.
    Account {
        /// The stream's number in its guest.
        stream: u32,
        /// 0 for the ordinary stream of a vCPU, 1 for the reserved one.
        class: u32,
        /// The account.
        account: Account,
    },
}

impl<'a> Line<'a> {
    /// Reads one line of metadata text: `None` where it is not one of ours, which is no error (TSDL, other comments, lines
    /// of a newer minor version).
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut words = Words { rest: line.trim().strip_prefix("/* fata ")?.strip_suffix(" */")? };
        Some(match words.word()? {
            "version" => {
                let (major, minor) = words.word()?.split_once('.')?;
                Line::Version(major.parse::<u32>().ok()?.checked_mul(1 << 16)?.checked_add(minor.parse().ok()?)?)
            }
            "guest" => Line::Guest(u16::try_from(words.number()?).ok().filter(|&guest| guest < MAX_GUESTS)?),
            "clock" => Line::Clock(Clock {
                hz: words.number()?,
                anchor_ticks: words.number()?,
                anchor_unix_nanos: words.number()?,
                clock_cost_picos: words.number()?,
                probe_cost_picos: words.number()?,
            }),
            "env" => Line::Record(Record::Env { key: words.quoted()?, value: words.quoted()? }),
            "name" => Line::Record(Record::Name { id: u16::try_from(words.number()?).ok()?, text: words.quoted()? }),
            "callsite" => Line::Record(Record::Callsite(words.callsite()?)),
            "account" => words.account()?,
            _ => return None,
        })
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(' ').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn number(&mut self) -> Option<u64> {
        self.word()?.parse().ok()
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let (text, rest) = self.rest.trim_start().strip_prefix('"')?.split_once('"')?;
        self.rest = rest;
        Some(text)
    }

    fn account(&mut self) -> Option<Line<'a>> {
        let stream = u32::try_from(self.number()?).ok().filter(|&stream| stream < MAX_STREAMS)?;
        let class = u32::try_from(self.number()?).ok().filter(|&class| class < 2)?;
        let mut counters = [0; COUNTERS];
        for count in &mut counters {
            *count = self.number()?;
        }
        let bytes = self.number().zip(self.number());
        let bytes = bytes.map(|(discarded, suppressed)| LostBytes { discarded, suppressed });
        Some(Line::Account { stream, class, account: Account { bytes, ..Account::of_counters(&counters) } })
    }

    fn callsite(&mut self) -> Option<Callsite<'a>> {
        let id = u16::try_from(self.number()?).ok().filter(|&id| id < crate::event::MAX_CALLSITES)?;
        let kind = Kind::from_text(self.word()?)?;
        let level = Level::from_text(self.word()?)?;
        let line = u32::try_from(self.number()?).ok()?;
        let (category, name, file) = (self.quoted()?, self.quoted()?, self.quoted()?);
        let mut fields = Fields::EMPTY;
        while let Some(name) = self.quoted() {
            let (ty, unit) = self.word()?.strip_prefix(':')?.split_once(':')?;
            fields.push(Field { name, ty: FieldType::from_text(ty)?, unit: Unit::from_text(unit)? });
        }
        Some(Callsite { id, kind, level, line, category, name, file, fields })
    }
}
