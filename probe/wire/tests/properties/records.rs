//! Descriptions: records of the description area, and the lines of metadata text that they become.

use fata_wire::VERSION;
use fata_wire::describe::{Callsite, MAX_RECORD_BYTES, MAX_TEXT_BYTES, Record, Records};
use fata_wire::event::MAX_CALLSITES;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, MAX_FIELDS, Unit};
use fata_wire::log::{Account, COUNTERS};
use fata_wire::metadata::{Line, write_account, write_preamble, write_record};
use fata_wire::shared::Clock;
use proptest::collection::vec;
use proptest::prelude::*;

use super::mutations::{mutate, mutations};
use super::{pick, text};

type OwnedField = (String, FieldType, Unit);

#[derive(Clone, Debug)]
enum OwnedRecord {
    Callsite(u16, Kind, Level, u32, [String; 3], Vec<OwnedField>),
    Name(u16, String),
    Env(String, String),
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let field = (text(), pick(FieldType::ALL), pick(Unit::ALL));
    let callsite = (
        0..MAX_CALLSITES,
        pick(Kind::ALL),
        pick(Level::ALL),
        any::<u32>(),
        [text(), text(), text()],
        vec(field, 0..=MAX_FIELDS),
    );
    prop_oneof![
        3 => callsite.prop_map(|(id, kind, level, line, texts, fields)| OwnedRecord::Callsite(id, kind, level, line, texts, fields)),
        1 => (any::<u16>(), text()).prop_map(|(id, text)| OwnedRecord::Name(id, text)),
        1 => (text(), text()).prop_map(|(key, value)| OwnedRecord::Env(key, value)),
    ]
}

impl OwnedRecord {
    fn record(&self) -> Record<'_> {
        match self {
            OwnedRecord::Callsite(id, kind, level, line, [category, name, file], list) => {
                let mut fields = Fields::EMPTY;
                for (name, ty, unit) in list {
                    fields.push(Field { name, ty: *ty, unit: *unit });
                }
                Record::Callsite(Callsite {
                    id: *id,
                    kind: *kind,
                    level: *level,
                    line: *line,
                    category,
                    name,
                    file,
                    fields,
                })
            }
            OwnedRecord::Name(id, text) => Record::Name { id: *id, text },
            OwnedRecord::Env(key, value) => Record::Env { key, value },
        }
    }

    /// The record as its texts are after they were cut to what a record may hold.
    fn cut(&self) -> Self {
        let cut = |text: &str, max| text[..text.floor_char_boundary(max)].to_owned();
        match self {
            OwnedRecord::Callsite(id, kind, level, line, [category, name, file], fields) => {
                let start = file.ceil_char_boundary(file.len().saturating_sub(MAX_TEXT_BYTES));
                let texts = [cut(category, MAX_TEXT_BYTES), cut(name, MAX_TEXT_BYTES), file[start..].to_owned()];
                let fields = fields.iter().map(|(name, ty, unit)| (cut(name, 38), *ty, *unit)).collect();
                OwnedRecord::Callsite(*id, *kind, *level, *line, texts, fields)
            }
            OwnedRecord::Name(id, text) => OwnedRecord::Name(*id, cut(text, MAX_TEXT_BYTES)),
            OwnedRecord::Env(key, value) => OwnedRecord::Env(cut(key, MAX_TEXT_BYTES), cut(value, MAX_TEXT_BYTES)),
        }
    }

    /// The record as metadata text gives it back: without the characters that would end the text.
    fn quoted(&self) -> Self {
        let quote = |text: &String| {
            text.chars()
                .map(|c| match c {
                    '"' => '\'',
                    '\\' => '/',
                    '*' => '\u{b7}',
                    c if c.is_control() => '?',
                    c => c,
                })
                .collect::<String>()
        };
        match self {
            OwnedRecord::Callsite(id, kind, level, line, texts, fields) => OwnedRecord::Callsite(
                *id,
                *kind,
                *level,
                *line,
                texts.each_ref().map(quote),
                fields.iter().map(|(name, ty, unit)| (quote(name), *ty, *unit)).collect(),
            ),
            OwnedRecord::Name(id, text) => OwnedRecord::Name(*id, quote(text)),
            OwnedRecord::Env(key, value) => OwnedRecord::Env(quote(key), quote(value)),
        }
    }
}

fn area(records: &[OwnedRecord]) -> Vec<u8> {
    let mut area = Vec::new();
    for record in records {
        let mut buffer = [0; MAX_RECORD_BYTES];
        let len = record.record().encode(&mut buffer);
        area.extend_from_slice(&buffer[..len]);
    }
    area
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_survive_their_bytes_with_texts_cut_to_what_a_record_may_hold(records in vec(record(), 0..8)) {
        let area = area(&records);
        let read: Vec<_> = Records::new(&area).map(Result::unwrap).collect();
        let cut: Vec<_> = records.iter().map(OwnedRecord::cut).collect();
        prop_assert_eq!(read, cut.iter().map(OwnedRecord::record).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_the_record_decoder_panic_or_read_past_what_it_has_consumed(
        records in vec(record(), 0..8),
        mutations in mutations(),
    ) {
        let mut area = area(&records);
        mutate(&mut area, &mutations);
        let mut decoder = Records::new(&area);
        let mut good = 0;
        let mut errors = 0;
        for record in decoder.by_ref() {
            prop_assert_eq!(errors, 0, "nothing follows an error");
            match record {
                Ok(record) => {
                    good += 1;
                    if let Record::Callsite(callsite) = record {
                        prop_assert!(callsite.id < MAX_CALLSITES && callsite.name.len() <= MAX_TEXT_BYTES);
                    }
                }
                Err(_) => errors += 1,
            }
        }
        prop_assert!(decoder.consumed_bytes() <= area.len() && decoder.consumed_bytes() >= good * 16);
        prop_assert_eq!(decoder.consumed_bytes() == area.len(), errors == 0);
    }

    #[test]
    fn a_record_becomes_one_line_that_gives_it_back_whatever_its_texts_hold(record in record()) {
        let mut text = String::new();
        write_record(&mut text, &record.record()).unwrap();
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        let quoted = record.quoted();
        prop_assert_eq!(lines, [Line::Record(quoted.record())]);
        prop_assert_eq!(text.matches("/*").count(), 1);
        prop_assert_eq!(text.matches("*/").count(), 1);
        let events = match &record {
            OwnedRecord::Callsite(_, Kind::Span, ..) => 2,
            OwnedRecord::Callsite(_, kind, ..) if *kind != Kind::Name => 1,
            _ => 0,
        };
        prop_assert_eq!(text.lines().filter(|line| line.starts_with("event { name = \"")).count(), events);
        prop_assert_eq!(text.lines().count(), 1 + events);
    }

    #[test]
    fn the_preamble_gives_the_clock_back(uuid: [u8; 16], hz: u64, ticks: u64, nanos: u64, costs: (u64, u64)) {
        let clock = Clock {
            hz, anchor_ticks: ticks, anchor_unix_nanos: nanos, clock_cost_picos: costs.0, probe_cost_picos: costs.1,
        };
        let mut text = String::new();
        write_preamble(&mut text, uuid, &clock).unwrap();
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        prop_assert_eq!(lines, [Line::Version(VERSION), Line::Clock(clock)]);
    }

    #[test]
    fn every_account_is_read_back_from_its_line(stream in 0..16u32, class in 0..2u32, counters: [u64; COUNTERS]) {
        let account = Account::of_counters(&counters);
        prop_assert_eq!(account.counters(), counters);
        let mut text = String::new();
        write_account(&mut text, stream, class, &account).unwrap();
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        prop_assert_eq!(lines, [Line::Account { stream, class, account }]);
    }

    #[test]
    fn no_text_makes_the_line_parser_panic(record in record(), cut: usize, noise in any::<String>(), at: usize) {
        let mut text = String::new();
        write_record(&mut text, &record.record()).unwrap();
        let line = text.lines().next().unwrap();
        let mut line = line[..line.floor_char_boundary(cut % (line.len() + 1))].to_owned();
        let at = line.floor_char_boundary(at % (line.len() + 1));
        line.insert_str(at, &noise);
        for text in [&line, &noise, &format!("/* fata {noise} */"), &format!("/* fata callsite {noise} */"), &format!("/* fata account {noise} */")] {
            if let Some(Line::Record(Record::Callsite(callsite))) = Line::parse(text) {
                prop_assert!(callsite.id < MAX_CALLSITES);
            }
        }
    }
}
