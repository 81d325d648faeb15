//! What the numbers in events mean: callsites, names, facts about the guest, its clock. Read from metadata text.
//!
//! Bounded: callsites and names by their number's range, facts and texts by count and length; what is beyond is left out
//! and counted in [`Description::refused`]. What was described once never changes.
//!
//! ```
//! use fata_model::description::Description;
//! let mut description = Description::new();
//! description.metadata("/* fata version 1.0 */\n/* fata name 4096 \"conn-17\" */\n")?;
//! assert_eq!(description.name(4096), Some("conn-17"));
//! # Ok::<(), fata_model::description::MetadataError>(())
//! ```

use std::collections::{BTreeMap, HashMap};

use fata_wire::VERSION;
use fata_wire::describe::Record;
use fata_wire::event::{CLOCK, LEDGER, MAX_CALLSITES, UNFINISHED};
use fata_wire::field::{Field as WireField, FieldType, Fields, Kind, Level, Unit};
use fata_wire::log::{Account, Fates, ledger};
use fata_wire::metadata::Line;
use fata_wire::shared::Clock;

use crate::guests::GuestId;

const MAX_ENV: usize = 256;
const MAX_TEXT_BYTES: usize = 256;
const MAX_LINE_BYTES: usize = 8192;

/// Why metadata cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A format of another major number: what follows cannot be read.
    #[error(
        "the trace has format version {}.{}, this program reads {}.x: use the `fata` that recorded it",
        .0 >> 16, .0 & 0xffff, VERSION >> 16
    )]
    UnknownVersion(u32),
}

/// One field of a callsite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the program.
    pub name: Box<str>,
    /// How its value is encoded.
    pub ty: FieldType,
    /// What its value counts.
    pub unit: Unit,
}

impl Field {
    fn of(field: &WireField<'_>) -> Self {
        Field { name: text(field.name), ty: field.ty, unit: field.unit }
    }
}

/// One instrumentation point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callsite {
    /// Its number in the trace: [`GuestId::callsite`] of its number in events, which is below 4096.
    pub id: u16,
    /// What its events mean.
    pub kind: Kind,
    /// How much they matter.
    pub level: Level,
    /// Its category.
    pub category: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The source file.
    pub file: Box<str>,
    /// The line in it.
    pub line: u32,
    /// Its fields.
    pub fields: Box<[Field]>,
}

impl Callsite {
    /// The fields as the format's own type, which decodes their values.
    #[must_use]
    pub fn wire_fields(&self) -> Fields<'_> {
        let mut fields = Fields::EMPTY;
        for Field { name, ty, unit } in &self.fields {
            fields.push(WireField { name, ty: *ty, unit: *unit });
        }
        fields
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Description {
    callsites: Vec<Option<Callsite>>,
    names: HashMap<u32, Box<str>>,
    env: Vec<(GuestId, Box<str>, Box<str>)>,
    /// By guest.
    clocks: Vec<Option<Clock>>,
    /// What became of the records of log streams: by guest and stream, with the stream's class.
    accounts: BTreeMap<(GuestId, u32), (u32, Account)>,
    /// Whose the lines are that come now.
    turn: GuestId,
    version: Option<u32>,
    /// A line whose end has not come yet.
    partial: String,
    /// Records beyond a limit, or that contradict an earlier one.
    pub refused: u64,
}

impl Description {
    /// Knows the format's own callsites alone.
    #[must_use]
    pub fn new() -> Self {
        let mut description = Description::default();
        description.take_turn(GuestId::default());
        description
    }

    /// What comes now is `guest`'s, of which the format's own callsites are known.
    fn take_turn(&mut self, guest: GuestId) {
        self.turn = guest;
        if self.clocks.len() <= guest.index() {
            self.clocks.resize(guest.index() + 1, None);
        }
        if self.callsite(guest.callsite(CLOCK)).is_some() {
            return;
        }
        for (id, kind, name, fields) in [
            (UNFINISHED, Kind::Unfinished, "fata.unfinished", &[][..]),
            (CLOCK, Kind::Clock, "fata.clock", &[]),
            (LEDGER, Kind::Ledger, "fata.ledger", &ledger::FIELDS),
        ] {
            self.add(Callsite {
                id: guest.callsite(id),
                kind,
                level: Level::Trace,
                category: "fata".into(),
                name: name.into(),
                file: "".into(),
                line: 0,
                fields: fields.iter().map(Field::of).collect(),
            });
        }
    }

    /// Reads metadata text, which may be cut anywhere: a line goes on in the next call.
    ///
    /// # Errors
    /// [`MetadataError::UnknownVersion`].
    pub fn metadata(&mut self, text: &str) -> Result<(), MetadataError> {
        let mut joined = std::mem::take(&mut self.partial);
        joined.push_str(text);
        for line in joined.split_inclusive('\n') {
            if let Some(parsed) = Line::parse(line) {
                self.line(&parsed)?;
            } else if !line.ends_with('\n') && line.len() <= MAX_LINE_BYTES {
                self.partial = line.to_owned();
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), MetadataError> {
        match line {
            Line::Version(version) => {
                self.version = Some(*version);
                if version >> 16 != VERSION >> 16 {
                    return Err(MetadataError::UnknownVersion(*version));
                }
            }
            Line::Guest(number) => self.take_turn(GuestId::new(*number)),
            Line::Account { stream, class, account } => {
                self.accounts.insert((self.turn, *stream), (*class, *account));
            }
            Line::Clock(clock) => {
                // A guest that had not calibrated its clock says so with 0 Hz, and again when it has.
                if let Some(known) = self.clocks.get_mut(self.turn.index())
                    && known.is_none_or(|known| known.hz == 0)
                {
                    *known = Some(*clock);
                }
            }
            Line::Record(Record::Env { key, value }) => {
                let turn = self.turn;
                if self.env.iter().filter(|(guest, ..)| *guest == turn).count() < MAX_ENV {
                    self.env.push((turn, text(key), text(value)));
                } else {
                    self.refused += 1;
                }
            }
            Line::Record(Record::Name { id, text: name }) => {
                if *id < MAX_CALLSITES {
                    self.refused += 1;
                } else {
                    self.names.entry(self.turn.name(*id)).or_insert_with(|| text(name));
                }
            }
            Line::Record(Record::Callsite(callsite)) => {
                if callsite.id == 0 || callsite.id >= MAX_CALLSITES {
                    self.refused += 1;
                    return Ok(());
                }
                self.add(Callsite {
                    id: self.turn.callsite(callsite.id),
                    kind: callsite.kind,
                    level: callsite.level,
                    category: text(callsite.category),
                    name: text(callsite.name),
                    file: text(callsite.file),
                    line: callsite.line,
                    fields: callsite.fields.as_slice().iter().map(Field::of).collect(),
                });
            }
        }
        Ok(())
    }

    /// What became of all log records of `guest`, those that no reader ever saw included; `None` where the trace does not say,
    /// as one that is still being recorded.
    #[must_use]
    pub fn log_fates(&self, guest: GuestId) -> Option<Fates> {
        let own = self.accounts.iter().filter(|((of, _), _)| *of == guest);
        own.fold(None, |fates: Option<Fates>, (_, (class, account))| {
            let mut fates = fates.unwrap_or_default();
            fates.add(*class, account);
            Some(fates)
        })
    }

    fn add(&mut self, callsite: Callsite) {
        let id = usize::from(callsite.id);
        if self.callsites.len() <= id {
            self.callsites.resize_with(id + 1, || None);
        }
        if let Some(slot) = self.callsites.get_mut(id) {
            match slot {
                None => *slot = Some(callsite),
                Some(known) if *known != callsite => self.refused += 1,
                Some(_) => {}
            }
        }
    }

    /// The callsite of this number.
    #[must_use]
    pub fn callsite(&self, id: u16) -> Option<&Callsite> {
        self.callsites.get(usize::from(id))?.as_ref()
    }

    /// All callsites, by number.
    pub fn callsites(&self) -> impl Iterator<Item = &Callsite> {
        self.callsites.iter().flatten()
    }

    /// The text that a [`FieldType::Name`] value stands for, by its [`GuestId::name`]; what is waited for, where that is the
    /// number of a callsite that says so.
    #[must_use]
    pub fn name(&self, id: u32) -> Option<&str> {
        match GuestId::of_name(id) {
            (guest, own) if own < MAX_CALLSITES => {
                let callsite = self.callsite(guest.callsite(own))?;
                callsite.kind.waits_for(&callsite.name).or(Some(&callsite.name))
            }
            _ => self.names.get(&id).map(|name| &**name),
        }
    }

    /// Facts about a guest, those that its collector knows first.
    pub fn env(&self, guest: GuestId) -> impl Iterator<Item = (&str, &str)> {
        let of_guest = self.env.iter().filter(move |(of, ..)| *of == guest);
        of_guest.map(|(_, key, value)| (&**key, &**value))
    }

    /// A guest's clock; `None` until metadata has come.
    #[must_use]
    pub fn clock(&self, guest: GuestId) -> Option<Clock> {
        *self.clocks.get(guest.index())?
    }

    /// How many guests are described; 1 before anything is.
    #[must_use]
    pub fn guests(&self) -> u16 {
        u16::try_from(self.clocks.len()).unwrap_or(1)
    }

    /// The version of the format; `None` where the metadata is not ours.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.version
    }
}

/// A text of ours, cut at the limit.
fn text(text: &str) -> Box<str> {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "/* fata version 1.0 */\n/* fata clock 1000000000 5 6 7 8 */\ntrace { };\n\
        /* fata callsite 9 span info 42 \"net\" \"net.rx\" \"src/net.rs\" \"bytes\":u64:bytes */\n\
        /* fata name 4096 \"conn-17\" */\n/* fata env \"guest\" \"http\" */\n";

    #[test]
    fn text_cut_at_any_byte_says_the_same_in_two_pieces() {
        for cut in 0..=TEXT.len() {
            let mut description = Description::new();
            description.metadata(&TEXT[..cut]).unwrap();
            description.metadata(&TEXT[cut..]).unwrap();
            assert_eq!(description.callsite(9).map(|callsite| callsite.fields.len()), Some(1), "{cut}");
            assert_eq!(description.name(4096), Some("conn-17"), "{cut}");
            assert_eq!(description.env(GuestId::default()).collect::<Vec<_>>(), [("guest", "http")]);
            assert_eq!(description.clock(GuestId::default()).map(|clock| clock.anchor_ticks), Some(5));
        }
    }

    #[test]
    fn a_callsite_is_never_described_anew() {
        let mut description = Description::new();
        description.metadata(TEXT).unwrap();
        description.metadata(&TEXT.replace("net.rx", "net.tx")).unwrap();
        assert_eq!(description.callsite(9).map(|callsite| &*callsite.name), Some("net.rx"));
        assert_eq!(description.refused, 1);
    }

    #[test]
    fn the_same_numbers_of_two_guests_are_two_callsites_and_two_names_wherever_the_text_is_cut() {
        let text = format!(
            "{TEXT}/* fata guest 1 */\n/* fata clock 7 7 7 7 7 */\n/* fata name 4096 \"disk-1\" */\n/* fata guest 0 */\n\
             /* fata name 4097 \"conn-18\" */\n/* fata guest 1 */\n{}",
            TEXT.replace("net.rx", "disk.read").replace("1000000000", "3")
        );
        for cut in 0..=text.len() {
            let mut description = Description::new();
            description.metadata(&text[..cut]).unwrap();
            description.metadata(&text[cut..]).unwrap();
            let other = GuestId::new(1);
            let names: Vec<_> = [9, other.callsite(9)]
                .iter()
                .map(|&id| description.callsite(id).map(|callsite| callsite.name.to_string()).unwrap())
                .collect();
            assert_eq!(names, ["net.rx", "disk.read"], "{cut}");
            assert_eq!(description.name(other.name(4096)), Some("disk-1"));
            assert_eq!(description.name(other.name(9)), Some("disk.read"));
            assert_eq!((description.name(4097), description.name(other.name(4097))), (Some("conn-18"), None));
            assert_eq!(
                [GuestId::default(), other].map(|guest| description.clock(guest).unwrap().hz),
                [1_000_000_000, 7]
            );
            assert_eq!(description.guests(), 2);
        }
    }

    #[test]
    fn the_last_account_of_a_stream_holds_and_those_of_a_guest_add_up() {
        let account = |stream: u32, class: u32, errors: u64| {
            let mut line = String::new();
            let account = Account { filtered: [0, errors, 0], ..Account::default() };
            fata_wire::metadata::write_account(&mut line, stream, class, &account).unwrap();
            line
        };
        let mut description = Description::new();
        description.metadata(TEXT).unwrap();
        assert_eq!(description.log_fates(GuestId::default()), None);
        let lines =
            [account(2, 1, 5), account(4, 1, 1), account(2, 1, 7), "/* fata guest 1 */\n".into(), account(2, 1, 50)];
        description.metadata(&lines.concat()).unwrap();
        let errors = |guest| description.log_fates(guest).map(|fates| fates.of(Level::Error).made());
        assert_eq!((errors(GuestId::default()), errors(GuestId::new(1))), (Some(8), Some(50)));
    }

    #[test]
    fn another_major_version_is_refused_with_a_sentence() {
        let error = Description::new().metadata("/* fata version 2.1 */\n").unwrap_err();
        assert!(error.to_string().starts_with("the trace has format version 2.1, this program reads 1.x"));
    }
}
