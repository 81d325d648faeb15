//! What an earlier recording describes already: a recording that is gone on with is told everything anew, and to CTF an event that
//! is declared twice is an error.
//!
//! Invariant: what has been described stays, whatever the guest says of itself by now; only what is new comes behind it. Full:
//! a guest has so many callsites and names as their numbers have room; of its facts the first [`MAX_FACTS`] are known again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use fata_wire::describe::Record;
use fata_wire::metadata::Line;

/// So many facts are known again; a guest has fewer.
const MAX_FACTS: usize = 1024;
/// A longer line is none of ours.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// The description of a recording's one guest, by what tells its records apart.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// The format's version.
    pub(super) version: u32,
    /// Whether more guests than number 0 are described.
    pub(super) several: bool,
    /// The guest had measured its clock.
    has_clock: bool,
    callsites: HashSet<u16>,
    names: HashSet<u16>,
    facts: HashSet<String>,
    /// Whose turn it is in what is told anew.
    guest: u16,
    /// Whether the line before was new: declarations in TSDL belong to the line of ours before them.
    is_new: bool,
}

impl Described {
    /// What a metadata file describes.
    pub(super) fn read(metadata: &Path) -> io::Result<Self> {
        let mut described = Described::default();
        let mut file = BufReader::new(File::open(metadata)?);
        let mut line = Vec::new();
        while file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            match Line::parse(&text) {
                Some(Line::Version(version)) => described.version = version,
                Some(Line::Guest(guest)) => described.several |= guest != 0,
                Some(Line::Record(record)) => drop(described.add(&record, &text)),
                Some(Line::Clock(clock)) => described.has_clock |= clock.hz != 0,
                Some(Line::Account { .. }) | None => {}
            }
            line.clear();
        }
        Ok(described)
    }

    /// Of `text`, which ends with a whole line, what is not described yet.
    pub(super) fn new_in(&mut self, text: &str) -> String {
        let mut new = String::new();
        let mut turn = None;
        for line in text.split_inclusive('\n') {
            match Line::parse(line) {
                Some(Line::Guest(guest)) => {
                    self.guest = guest;
                    turn = Some(line);
                    continue;
                }
                // Declared it is already, but a reader of ours takes what was measured since.
                Some(Line::Clock(clock)) if self.guest == 0 => {
                    self.is_new = false;
                    if clock.hz != 0 && !std::mem::replace(&mut self.has_clock, true) {
                        new.extend(turn.take());
                        new.push_str(line);
                    }
                }
                // Another guest begins with its clock; the trace's begin before that is there.
                Some(Line::Clock(_)) => self.is_new = true,
                Some(Line::Version(_)) => self.is_new = false,
                Some(Line::Record(record)) => self.is_new = self.guest != 0 || self.add(&record, line),
                // The last one counts.
                Some(Line::Account { .. }) => self.is_new = true,
                // What every trace begins with.
                None if line.starts_with("/* CTF ") => self.is_new = false,
                None => {}
            }
            if self.is_new {
                new.extend(turn.take());
                new.push_str(line);
            }
        }
        new
    }

    /// Adds a record of guest 0, and says whether it is new.
    fn add(&mut self, record: &Record<'_>, line: &str) -> bool {
        match record {
            Record::Callsite(callsite) => self.callsites.insert(callsite.id),
            Record::Name { id, .. } => self.names.insert(*id),
            Record::Env { .. } => self.facts.len() < MAX_FACTS && self.facts.insert(line.trim_end().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use fata_wire::describe::Callsite;
    use fata_wire::field::{Fields, Kind, Level};
    use fata_wire::metadata;
    use fata_wire::shared::Clock;

    use super::*;

    fn text(turn: u16, ids: std::ops::Range<u16>) -> String {
        let mut text = String::new();
        let clock = Clock { hz: 1_000_000_000, ..Clock::default() };
        metadata::write_trace(&mut text, [7; 16]).unwrap();
        metadata::write_turn(&mut text, turn).unwrap();
        metadata::write_guest(&mut text, turn, &clock, None).unwrap();
        metadata::write_record_of(&mut text, turn, &Record::Env { key: "guest", value: "*" }).unwrap();
        for id in ids {
            let callsite = Callsite {
                id,
                kind: Kind::Span,
                level: Level::Info,
                line: 1,
                category: "c",
                name: "n",
                file: "f",
                fields: Fields::EMPTY,
            };
            metadata::write_record_of(&mut text, turn, &Record::Callsite(callsite)).unwrap();
            metadata::write_record_of(&mut text, turn, &Record::Name { id, text: "x" }).unwrap();
        }
        text
    }

    fn described(text: &str) -> Described {
        let dir = std::env::temp_dir().join(format!("fata-described-{}-{}", std::process::id(), text.len()));
        std::fs::write(&dir, text).unwrap();
        let described = Described::read(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        described
    }

    #[test]
    fn what_is_told_again_adds_nothing_and_what_is_new_comes_with_its_declarations_in_whatever_pieces() {
        let (old, all) = (text(0, 10..20), text(0, 10..22));
        assert_eq!(described(&old).new_in(&old), "");
        let whole = described(&old).new_in(&all);
        assert_eq!(whole.matches("event {").count(), 4, "a begin and an end of two callsites: {whole}");
        assert_eq!(whole.matches("/* fata name").count(), 2);
        assert!(whole.starts_with("/* fata guest 0 */\n/* fata callsite 20 "), "{whole}");
        // Told line by line, only the turn is not said again.
        let mut known = described(&old);
        let by_lines: String = all.split_inclusive('\n').map(|line| known.new_in(line)).collect();
        assert_eq!(whole.strip_prefix("/* fata guest 0 */\n"), Some(&*by_lines));
        assert_eq!(known.new_in(&all), "", "what came meanwhile is known too");
    }

    #[test]
    fn another_guest_is_new_from_its_first_line_on_and_says_whose_it_is() {
        let next = text(1, 10..11);
        let mut known = described(&text(0, 10..20));
        assert!(!known.several);
        let new = known.new_in(&next);
        assert_eq!(new, next[next.find("/* fata guest 1 */").unwrap()..]);
        assert!(described(&new).several);
    }

    #[test]
    fn a_clock_that_was_measured_since_is_told_once_and_declared_no_second_time() {
        let measured = text(0, 10..12);
        let clock = measured.lines().find(|line| line.starts_with("/* fata clock")).unwrap();
        let mut known = described(&measured.replace("/* fata clock 1000000000 ", "/* fata clock 0 "));
        assert_eq!(known.new_in(&measured), format!("/* fata guest 0 */\n{clock}\n"));
        assert_eq!(known.new_in(&measured), "");
    }

    #[test]
    fn lines_without_end_take_no_memory() {
        let long = format!("{}{}", text(0, 10..12), "*".repeat(3 << 20));
        assert_eq!(described(&long).callsites.len(), 2);
    }
}
