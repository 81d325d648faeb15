//! The description as CTF's TSDL text, written and read back.
//!
//! Every fact is written twice: as TSDL for any CTF reader, and as a comment line `/* fata … */` that says what TSDL has no
//! words for (kind, category, units, names). [`Line::parse`] reads the comment lines alone, so a trace directory is one
//! `metadata` file and its streams, and a stream of text can be read line by line as it grows.
//!
//! ```text
//! /* fata version 1.0 */
//! /* fata clock 2600000000 81276365 1700000000000000000 9500 10000 */      hz, ticks, unix ns, costs in ps
//! /* fata env "guest" "http" */
//! /* fata callsite 9 span info 42 "net" "net.rx" "src/net.rs" "bytes":u64:bytes */
//! /* fata name 4096 "conn-17" */
//! /* fata guest 1 */
//! /* fata account 2 1 5 0 3 0 0 0 0 0 0 0 0 0 0 0 0 0 48 0 */  stream, class, then the counters of its account
//! ```
//!
//! A trace may hold several guests, or lives of one: each is a stream class of CTF with a clock of its own, all of which count
//! from 1970 and so lie on one axis. The line `guest N` says that what follows it is guest N's; what stands before the first is
//! guest 0's. Numbers of callsites and names are a guest's own.
//!
//! An `account` line says what became of the records of a log stream until it was written ([`Account`]); of two of the same
//! stream the later one holds. Older ones end before the counters of bytes.

mod line;

use core::fmt::{self, Write};

use crate::VERSION;
use crate::describe::{Callsite, Record};
use crate::event::{CLOCK, EXTENDED, EventId, Header, LEDGER, MAX_INLINE_WORDS, UNFINISHED};
use crate::field::{FieldType, Kind, Level, Place};
use crate::log::{Account, LostBytes, ledger};
use crate::shared::Clock;

pub use line::Line;

/// How many guests a trace can hold.
pub const MAX_GUESTS: u16 = 15;

/// Writes what a trace of one guest begins with: types, trace, clock and stream, and the format's own callsites.
///
/// # Errors
/// Those of `out`.
pub fn write_preamble(out: &mut impl Write, uuid: [u8; 16], clock: &Clock) -> fmt::Result {
    write_trace(out, uuid)?;
    write_guest(out, 0, clock, None)
}

/// Writes what every trace begins with, before any guest.
///
/// # Errors
/// Those of `out`.
pub fn write_trace(out: &mut impl Write, uuid: [u8; 16]) -> fmt::Result {
    writeln!(out, "/* CTF 1.8 */")?;
    writeln!(out, "/* fata version {}.{} */", VERSION >> 16, VERSION & 0xffff)?;
    out.write_str("\ntrace {\n    major = 1;\n    minor = 8;\n    uuid = \"")?;
    write_uuid(out, uuid)?;
    out.write_str(
        "\";\n    byte_order = le;\n    packet.header := struct {\n        integer { size = 32; align = 8; base = 16; } magic;\n        \
         integer { size = 8; align = 8; } uuid[16];\n        integer { size = 16; align = 8; } stream_id;\n        \
         integer { size = 16; align = 8; } stream_instance_id;\n    };\n};\n\
         \ntypealias integer { size = 64; align = 64; } := u64;\ntypealias integer { size = 64; align = 64; signed = true; } := i64;\n\
         typealias integer { size = 64; align = 64; base = 16; } := hex64;\n\
         typealias floating_point { exp_dig = 11; mant_dig = 53; align = 64; } := f64;\n",
    )
}

/// Writes that what follows is `guest`'s.
///
/// # Errors
/// Those of `out`.
pub fn write_turn(out: &mut impl Write, guest: u16) -> fmt::Result {
    writeln!(out, "/* fata guest {guest} */")
}

/// Writes what each guest of a trace begins with: its clock, of which `error_nanos` says how far it may be from that of the
/// other guests, its stream class, and the format's own callsites.
///
/// # Errors
/// Those of `out`.
pub fn write_guest(out: &mut impl Write, guest: u16, clock: &Clock, error_nanos: Option<u64>) -> fmt::Result {
    writeln!(
        out,
        "/* fata clock {} {} {} {} {} */",
        clock.hz, clock.anchor_ticks, clock.anchor_unix_nanos, clock.clock_cost_picos, clock.probe_cost_picos
    )?;
    // CTF wants the clock's value at the epoch; ours is an anchor somewhere else.
    let (offset_s, offset) = epoch_of_tick_zero(clock);
    writeln!(out, "\nclock {{\n    name = {};\n    freq = {};", ClockName(guest), clock.hz.max(1))?;
    if let Some(nanos) = error_nanos {
        let ticks = (u128::from(nanos) * u128::from(clock.hz)).div_ceil(1_000_000_000);
        writeln!(out, "    precision = {};", u64::try_from(ticks).unwrap_or(u64::MAX))?;
    }
    if clock.anchor_unix_nanos != 0 {
        // The clocks of several guests can be compared: all of them count from 1970.
        writeln!(out, "    absolute = true;")?;
    }
    writeln!(out, "    offset_s = {offset_s};\n    offset = {offset};\n}};")?;
    let clock = ClockName(guest);
    writeln!(
        out,
        "\ntypealias integer {{ size = 64; align = 64; map = clock.{clock}.value; }} := {clock}64;\n\
         \nstream {{\n    id = {guest};\n    packet.context := struct {{\n        u64 content_size;\n        u64 packet_size;\n        \
         {clock}64 timestamp_begin;\n        {clock}64 timestamp_end;\n        u64 packet_seq_num;\n        u64 events_discarded;\n        \
         u64 guest_lock;\n        u64 events_before;\n        u64 events;\n        integer {{ size = 32; align = 32; }} cpu_id;\n        \
         integer {{ size = 32; align = 32; }} flags;\n        u64 discarded_full;\n        u64 discarded_nested;\n        \
         u64 discarded_too_big;\n        u64 discarded_overwritten;\n        u64 discarded_refused;\n    }};\n    \
         event.header := struct {{\n        integer {{ size = 32; align = 64; map = clock.{clock}.value; }} timestamp;\n        \
         integer {{ size = 17; align = 1; }} id;\n    }} align(64);\n    \
         event.context := struct {{\n        integer {{ size = 15; align = 1; }} arg;\n    }};\n}};",
    )?;
    for words in 0..=EXTENDED {
        let id = Header::ctf_id(EventId::begin(UNFINISHED), words);
        write!(out, "\nevent {{ name = \"fata.unfinished\"; id = {id}; stream_id = {guest}; fields := struct {{")?;
        match words {
            0 => {}
            EXTENDED => out.write_str(
                " integer { size = 32; align = 64; } _words; integer { size = 32; align = 32; } _written_words; \
                 hex64 _written[_written_words];",
            )?,
            _ => write!(out, " hex64 _written[{words}];")?,
        }
        out.write_str(" } align(64); };")?;
    }
    let id = Header::ctf_id(EventId::begin(CLOCK), 1);
    writeln!(
        out,
        "\nevent {{ name = \"fata.clock\"; id = {id}; stream_id = {guest}; fields := struct {{ {clock}64 _ticks; }} align(64); }};"
    )?;
    let id = Header::ctf_id(EventId::begin(LEDGER), LEDGER_WORDS);
    write!(out, "\nevent {{ name = \"fata.ledger\"; id = {id}; stream_id = {guest}; fields := struct {{")?;
    ledger::FIELDS.iter().try_for_each(|field| write!(out, " u64 _{};", field.name))?;
    out.write_str(" } align(64); };\n")
}

#[expect(clippy::cast_possible_truncation, reason = "the assertion")]
const LEDGER_WORDS: u8 = {
    assert!(ledger::WORDS <= MAX_INLINE_WORDS, "the header says how long a ledger is");
    ledger::WORDS as u8
};

/// A guest's clock as TSDL calls it.
struct ClockName(u16);

impl fmt::Display for ClockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("tsc"),
            guest => write!(f, "tsc_{guest}_"),
        }
    }
}

/// Writes one record of guest 0.
///
/// # Errors
/// Those of `out`.
pub fn write_record(out: &mut impl Write, record: &Record<'_>) -> fmt::Result {
    write_record_of(out, 0, record)
}

/// Writes one record of a guest: its comment line, and for a callsite its event declarations.
///
/// # Errors
/// Those of `out`.
pub fn write_record_of(out: &mut impl Write, guest: u16, record: &Record<'_>) -> fmt::Result {
    match record {
        Record::Callsite(callsite) => {
            let Callsite { id, kind, level, line, category, name, file, fields } = callsite;
            write!(
                out,
                "/* fata callsite {id} {} {} {line} {} {} {}",
                kind.text(),
                level.text(),
                Quoted(category),
                Quoted(name),
                Quoted(file)
            )?;
            for field in fields.as_slice() {
                write!(out, " {}:{}:{}", Quoted(field.name), field.ty.text(), field.unit.text())?;
            }
            out.write_str(" */\n")?;
            write_events(out, guest, callsite)
        }
        Record::Name { id, text } => writeln!(out, "/* fata name {id} {} */", Quoted(text)),
        Record::Env { key, value } => writeln!(out, "/* fata env {} {} */", Quoted(key), Quoted(value)),
    }
}

/// Writes what became of the records of the log stream `stream`, of this class, until now.
///
/// # Errors
/// Those of `out`.
pub fn write_account(out: &mut impl Write, stream: u32, class: u32, account: &Account) -> fmt::Result {
    write!(out, "/* fata account {stream} {class}")?;
    account.counters().iter().try_for_each(|count| write!(out, " {count}"))?;
    if let Some(LostBytes { discarded, suppressed }) = account.bytes {
        write!(out, " {discarded} {suppressed}")?;
    }
    out.write_str(" */\n")
}

/// The event declarations of a callsite: one, or a begin and an end.
fn write_events(out: &mut impl Write, guest: u16, callsite: &Callsite<'_>) -> fmt::Result {
    let fields = &callsite.fields;
    let words = match fields.fixed_words() {
        Some(words) if words <= MAX_INLINE_WORDS => u8::try_from(words).unwrap_or(EXTENDED),
        _ => EXTENDED,
    };
    let loglevel = match callsite.level {
        Level::App => 5,
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 14,
        Level::Trace => 14,
    };
    let (begin, end) = match callsite.kind {
        Kind::Name => return Ok(()),
        Kind::Span => ("_begin", Some("_end")),
        _ => ("", None),
    };
    let name = Quoted(callsite.name);
    write!(
        out,
        "event {{ name = \"{}{begin}\"; id = {}; stream_id = {guest}; loglevel = {loglevel}; fields := struct {{",
        name.bare(),
        Header::ctf_id(EventId::begin(callsite.id), words)
    )?;
    if words == EXTENDED {
        out.write_str(" u64 _payload_words;")?;
    }
    let mut after_text = None;
    for (index, (field, place)) in fields.places().enumerate() {
        if place == Place::Arg {
            continue;
        }
        if let (Some(text), FieldType::Str) = (after_text.take(), field.ty) {
            // A text begins at a word, and to CTF it has no alignment.
            write!(out, " struct {{ }} align(64) _end_{text};")?;
        }
        after_text = (field.ty == FieldType::Str).then_some(index);
        let ty = match field.ty {
            FieldType::I64 => "i64",
            FieldType::F64 => "f64",
            FieldType::Str => "string",
            _ => "u64",
        };
        write!(out, " {ty} _{};", Identifier(field.name))?;
    }
    if after_text.is_some() {
        // A text ends at its NUL; where it is the packet's last, a reader would take the NULs after it for another event.
        out.write_str(" struct { } align(64) _end;")?;
    }
    out.write_str(" } align(64); };\n")?;
    if let Some(end) = end {
        let id = Header::ctf_id(EventId::end(callsite.id), 0);
        writeln!(
            out,
            "event {{ name = \"{}{end}\"; id = {id}; stream_id = {guest}; loglevel = {loglevel}; fields := struct {{ }} align(64); }};",
            name.bare()
        )?;
    }
    Ok(())
}

/// Seconds and ticks from 1970 to tick 0, as CTF's `offset_s` and `offset`.
fn epoch_of_tick_zero(clock: &Clock) -> (i64, i64) {
    let hz = i128::from(clock.hz.max(1));
    if clock.anchor_unix_nanos == 0 {
        return (0, 0);
    }
    // Unsigned, the product of any two numbers that a guest may write fits; divided, it fits the signed type.
    let anchor_ticks_since_epoch = u128::from(clock.anchor_unix_nanos) * hz.cast_unsigned() / 1_000_000_000;
    let zero = anchor_ticks_since_epoch.cast_signed() - i128::from(clock.anchor_ticks);
    let second = i64::try_from(zero.div_euclid(hz)).unwrap_or(0);
    (second, i64::try_from(zero.rem_euclid(hz)).unwrap_or(0))
}

fn write_uuid(out: &mut impl Write, uuid: [u8; 16]) -> fmt::Result {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// A text between quotes, with everything that would end the quotes, the comment or the line replaced.
struct Quoted<'a>(&'a str);

impl<'a> Quoted<'a> {
    fn bare(&self) -> Bare<'a> {
        Bare(self.0)
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Bare(self.0))
    }
}

struct Bare<'a>(&'a str);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            f.write_char(match c {
                '"' => '\'',
                '\\' => '/',
                '*' => '\u{b7}',
                c if c.is_control() => '?',
                c => c,
            })?;
        }
        Ok(())
    }
}

/// A field's name as TSDL accepts one.
struct Identifier<'a>(&'a str);

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_ascii_alphanumeric() { c } else { '_' }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Field, Fields, Unit};
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn callsite(name: &'static str) -> Callsite<'static> {
        Callsite {
            id: 9,
            kind: Kind::Span,
            level: Level::Debug,
            line: 42,
            category: "net",
            name,
            file: "src/net.rs",
            fields: Fields::new(&[
                Field { name: "bytes", ty: FieldType::U64, unit: Unit::Bytes },
                Field { name: "ok", ty: FieldType::Bool, unit: Unit::None },
            ]),
        }
    }

    #[test]
    fn every_record_is_read_back_from_its_text() {
        let records = [
            Record::Callsite(callsite("net.rx")),
            Record::Name { id: 4100, text: "a name with spaces: 4:5" },
            Record::Env { key: "guest", value: "" },
        ];
        let mut text = String::new();
        let clock = Clock { hz: 3, anchor_ticks: 4, anchor_unix_nanos: 5, clock_cost_picos: 6, probe_cost_picos: 7 };
        write_preamble(&mut text, [0xab; 16], &clock).unwrap();
        for record in &records {
            write_record(&mut text, record).unwrap();
        }
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        assert_eq!(lines[0], Line::Version(VERSION));
        assert_eq!(lines[1], Line::Clock(clock));
        let read: Vec<_> =
            lines[2..].iter().filter_map(|line| if let Line::Record(r) = line { Some(*r) } else { None }).collect();
        assert_eq!(read, records);
    }

    #[test]
    fn an_account_is_read_back_and_one_that_is_cut_or_of_no_stream_is_none() {
        let old = Account::of_counters(&core::array::from_fn(|i| 10 + i as u64));
        let account = Account { bytes: Some(LostBytes { discarded: 26, suppressed: 27 }), ..old };
        let mut text = String::new();
        write_account(&mut text, 15, 1, &account).unwrap();
        let line = text.trim_end();
        assert_eq!(Line::parse(line), Some(Line::Account { stream: 15, class: 1, account }));
        assert_eq!(line, "/* fata account 15 1 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 */");
        // As it was before bytes were counted.
        let line = &line.replace(" 26 27 ", " ");
        assert_eq!(Line::parse(line), Some(Line::Account { stream: 15, class: 1, account: old }));
        for wrong in [line.replace("15 1 ", "16 1 "), line.replace("15 1 ", "15 2 "), line.replace(" 25 ", " ")] {
            assert_eq!(Line::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_quotes_or_its_comment() {
        let mut text = String::new();
        write_record(&mut text, &Record::Callsite(callsite("x\" */ trace { */\n\\"))).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("/* fata")).count(), 1);
        assert_eq!(text.matches("*/").count(), 1);
        let Some(Line::Record(Record::Callsite(read))) = text.lines().next().and_then(Line::parse) else {
            panic!("{text}")
        };
        assert_eq!(read.name, "x' \u{b7}/ trace { \u{b7}/?/");
    }

    #[test]
    fn each_guest_of_a_trace_has_a_clock_and_a_stream_class_of_its_own_and_its_turn_is_read_back() {
        let mut text = String::new();
        let clock = |hz| Clock { hz, anchor_ticks: 4, anchor_unix_nanos: 5_000_000_000, ..Clock::default() };
        write_trace(&mut text, [1; 16]).unwrap();
        for (guest, hz) in [(0, 1_000_000_000), (1, 2_000_000_000)] {
            write_turn(&mut text, guest).unwrap();
            write_guest(&mut text, guest, &clock(hz), Some(150)).unwrap();
            write_record_of(&mut text, guest, &Record::Callsite(callsite("net.rx"))).unwrap();
        }
        let turns: Vec<_> = text
            .lines()
            .filter_map(Line::parse)
            .filter_map(|line| match line {
                Line::Guest(guest) => Some((guest, 0)),
                Line::Clock(clock) => Some((u16::MAX, clock.hz)),
                _ => None,
            })
            .collect();
        assert_eq!(turns, [(0, 0), (u16::MAX, 1_000_000_000), (1, 0), (u16::MAX, 2_000_000_000)]);
        for guest in 0..2 {
            assert_eq!(text.matches(&format!("stream {{\n    id = {guest};")).count(), 1);
            // The format's own seven, and the begin and end of a span.
            assert!(text.matches(&format!("stream_id = {guest}; ")).count() >= 4);
        }
        assert!(text.contains("precision = 150;") && text.contains("precision = 300;"), "ticks, not nanoseconds");
        assert_eq!(Line::parse("/* fata guest 15 */"), None);
    }

    #[test]
    fn tick_zero_lies_before_the_anchor() {
        let clock = Clock { hz: 1000, anchor_ticks: 2500, anchor_unix_nanos: 10_000_000_000, ..Clock::default() };
        assert_eq!(epoch_of_tick_zero(&clock), (7, 500));
    }

    #[test]
    fn every_cut_of_a_line_is_no_line_or_a_shorter_one_and_never_a_panic() {
        let mut text = String::new();
        write_record(&mut text, &Record::Callsite(callsite("net.rx"))).unwrap();
        let line = text.lines().next().unwrap();
        for cut in 0..line.len() {
            assert_eq!(Line::parse(&line[..cut]), None);
        }
    }
}
