//! Key-values of the crate `log`, as fields with their types: `log::info!(user = 7, path = "/"; "served")`.
//!
//! `log` knows no callsites, so what a record's fields are is found out anew each time: level, names and types together are a
//! *shape*, known by a hash of 64 bits, which gets an id and a description when it is first seen.
//!
//! **When it is full**: the first [`TYPED`] of a record's pairs have fields of their own; the others, and pairs whose name is
//! taken, or too long, are one text (`fata.more`). Of shapes at most [`SHAPES`] are known: records of a further one are
//! counted as discarded.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use fata_wire::describe::{Callsite as Description, Record};
use fata_wire::event::EventId;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::log::{FILE, FIRST_FIELDS, LINE, MESSAGE, MORE, SPANS, TARGET};
use log::kv::{Error, Key, Source, Value, VisitSource, VisitValue};

use super::payload::Missing;
use super::summary::TARGET as TARGET_OF_ALL;
use super::text::Text;
use crate::describe::exclusive;
use crate::region::{self, Region};

/// How many pairs have fields of their own.
const TYPED: usize = 4;
/// What the names of a shape's fields take, a NUL after each.
const NAME_WORDS: usize = 12;
/// How many shapes are known.
const SHAPES: usize = if cfg!(feature = "std") { 256 } else { 32 };
/// So many places are tried before one counts as unknown.
const TRIES: usize = 8;
/// The room for the pairs of one record; each text gets at most a share of it.
pub(super) const WORDS: usize = 96;
const SHARE: usize = WORDS / (TYPED + 1);

/// The pairs of one record, encoded.
pub(super) struct Pairs {
    words: [AtomicU64; WORDS],
    used: usize,
    names: [AtomicU64; NAME_WORDS],
    names_len: usize,
    /// The types of the fields, three bits each, the first lowest; then that of the rest, if there is one.
    types: u64,
    count: usize,
    hash: u64,
    pub(super) is_cut: bool,
}

/// Level, names and types that a record came with.
#[derive(Debug)]
struct Shape {
    /// 0 is a free place.
    hash: AtomicU64,
    /// The upper half of its records' headers; 0 until it is described, and [`REFUSED`] where there is no room for that.
    template: AtomicU32,
    level: AtomicU8,
    types: AtomicU64,
    names: [AtomicU64; NAME_WORDS],
}

static TABLE: [Shape; SHAPES] = [const { Shape::free() }; SHAPES];
/// What the table takes.
pub(super) const BYTES: usize = size_of::<[Shape; SHAPES]>();

/// By their numbers, of which 0 is none.
const TYPES: [FieldType; 5] = [FieldType::U64, FieldType::I64, FieldType::F64, FieldType::Bool, FieldType::Str];

/// In place of a template: there was no room to describe it.
const REFUSED: u32 = 1 << 31;

fn number_of(ty: FieldType) -> u64 {
    TYPES.iter().position(|&known| known == ty).map_or(0, |at| at as u64 + 1)
}

impl Pairs {
    /// The pairs of a record of this level.
    pub(super) fn of(level: Level, source: &dyn Source) -> Self {
        let mut pairs = Pairs {
            words: [const { AtomicU64::new(0) }; WORDS],
            used: 0,
            names: [const { AtomicU64::new(0) }; NAME_WORDS],
            names_len: 0,
            types: 0,
            count: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            is_cut: false,
        };
        pairs.mix(level as u64);
        let mut rest = 0;
        let mut at = 0;
        // Whatever a source of the program's own says went wrong, what it gave until then is kept.
        let _ = source.visit(&mut Each(|key: &str, value: Value<'_>| {
            match pairs.name(key) {
                true => pairs.value(value),
                false if at < u64::BITS => rest |= 1u64 << at,
                false => {}
            }
            at += 1;
        }));
        if rest != 0 {
            pairs.join(source, rest);
        }
        pairs
    }

    /// One text of the pairs whose bits are set.
    #[cold]
    fn join(&mut self, source: &dyn Source, which: u64) {
        let mut text = Text::new(&self.words[self.used..]);
        let mut at = 0;
        let _ = source.visit(&mut Each(|key: &str, value: Value<'_>| {
            if at < u64::BITS && which >> at & 1 == 1 {
                // A text that is full takes no more, which its mark says.
                let _ = write!(text, "{key}={value} ");
            }
            at += 1;
        }));
        let (words, is_cut) = text.end();
        self.used += words;
        self.is_cut |= is_cut;
        self.types |= number_of(FieldType::Str) << (3 * TYPED);
        self.mix(u64::MAX);
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    /// Whether a pair of this name has a field of its own; remembers the name.
    fn name(&mut self, name: &str) -> bool {
        let is_taken = name == MESSAGE || name.is_empty() || name.starts_with("fata.") || name.contains('\0');
        let is_known = (0..self.count).any(|place| NameBytes::of(&self.names).nth(place) == Some(name));
        let end = self.names_len + name.len() + 1;
        if self.count == TYPED || is_taken || is_known || end > NAME_WORDS * 8 {
            return false;
        }
        for (i, byte) in name.bytes().enumerate() {
            let at = self.names_len + i;
            self.names[at / 8].fetch_or(u64::from(byte) << (at % 8 * 8), Ordering::Relaxed);
            self.mix(u64::from(byte));
        }
        self.names_len = end;
        true
    }

    /// The value of the pair whose name was remembered last.
    fn value(&mut self, value: Value<'_>) {
        let mut typed = Typed { words: &self.words[self.used..][..SHARE], ty: FieldType::Str, used: 0, is_cut: false };
        let _ = value.visit(&mut typed);
        let Typed { ty, used, is_cut, .. } = typed;
        // A value that says nothing of itself is an empty text.
        self.used += used.max(1);
        self.is_cut |= is_cut;
        self.types |= number_of(ty) << (3 * self.count);
        self.count += 1;
        self.mix(number_of(ty) | 0x100);
    }

    /// What lies behind the record's other fields.
    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.words[..self.used]
    }

    /// The upper half of the headers of records with these pairs.
    pub(super) fn template(&self, level: Level) -> Result<u32, Missing> {
        let hash = self.hash | 1;
        let start = usize::try_from(hash >> 32).unwrap_or(0);
        let places = || (0..TRIES).map(|i| &TABLE[(start + i) % SHAPES]);
        let known = || {
            let shape = places().find(|shape| shape.hash.load(Ordering::Relaxed) == hash)?;
            // Acquire: pairs with the Release below: it is described.
            Some(shape.template.load(Ordering::Acquire)).filter(|&template| template != 0)
        };
        let template = match known() {
            Some(template) => template,
            None => exclusive(|| {
                known().unwrap_or_else(|| {
                    let Some(shape) = places().find(|shape| [0, hash].contains(&shape.hash.load(Ordering::Relaxed)))
                    else {
                        return REFUSED;
                    };
                    shape.hash.store(hash, Ordering::Relaxed);
                    shape.level.store(level as u8, Ordering::Relaxed);
                    shape.types.store(self.types, Ordering::Relaxed);
                    for (to, from) in shape.names.iter().zip(&self.names) {
                        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                    let id =
                        super::ids::give(|id| region::all().filter(|region| !shape.append(region, id)).count() == 0);
                    let template = id.map_or(REFUSED, |id| u32::from(EventId::begin(id).0));
                    // Release: pairs with the Acquire above.
                    shape.template.store(template, Ordering::Release);
                    template
                })
            })
            .ok_or(Missing::Busy)?,
        };
        if template == REFUSED { Err(Missing::NoRoom) } else { Ok(template) }
    }
}

impl Shape {
    const fn free() -> Self {
        Shape {
            hash: AtomicU64::new(0),
            template: AtomicU32::new(0),
            level: AtomicU8::new(0),
            types: AtomicU64::new(0),
            names: [const { AtomicU64::new(0) }; NAME_WORDS],
        }
    }

    /// Writes its description into a region. The caller is inside `exclusive`.
    fn append(&self, region: &Region, id: u16) -> bool {
        let mut fields = Fields::new(&FIRST_FIELDS);
        let own = [
            (SPANS, FieldType::U64),
            (LINE, FieldType::U64),
            (FILE, FieldType::Str),
            (TARGET, FieldType::Str),
            (MESSAGE, FieldType::Str),
        ];
        let names = NameBytes::of(&self.names);
        let types = self.types.load(Ordering::Relaxed);
        let typed = (0..=TYPED).filter_map(|place| {
            let number = usize::try_from(types >> (3 * place) & 7).ok()?;
            let ty = *TYPES.get(number.checked_sub(1)?)?;
            Some((if place == TYPED { MORE } else { names.nth(place)? }, ty))
        });
        for (name, ty) in own.into_iter().chain(typed) {
            let is_number = !matches!(ty, FieldType::Str | FieldType::Bool) && name != SPANS && name != LINE;
            fields.push(Field { name, ty, unit: if is_number { Unit::of_name(name) } else { Unit::None } });
        }
        let level = Level::from_u8(self.level.load(Ordering::Relaxed)).unwrap_or(Level::Info);
        let (kind, category) = (Kind::Log, TARGET_OF_ALL);
        region.append(&Record::Callsite(Description {
            id,
            kind,
            level,
            line: 0,
            category,
            name: "log",
            file: "",
            fields,
        }))
    }
}

/// Writes the descriptions of all shapes into a new region. The caller is inside `exclusive`.
pub(crate) fn describe_all(region: &Region) {
    let is_described = |shape: &&Shape| ![0, REFUSED].contains(&shape.template.load(Ordering::Relaxed));
    for shape in TABLE.iter().filter(is_described) {
        let template = shape.template.load(Ordering::Relaxed);
        shape.append(region, EventId((template & 0x1fff) as u16).callsite());
    }
}

/// Names that lie one after another, a NUL after each.
struct NameBytes([u8; NAME_WORDS * 8]);

impl NameBytes {
    fn of(words: &[AtomicU64; NAME_WORDS]) -> Self {
        let mut bytes = [0; NAME_WORDS * 8];
        for (to, from) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = from.load(Ordering::Relaxed).to_le_bytes();
        }
        NameBytes(bytes)
    }

    fn nth(&self, place: usize) -> Option<&str> {
        core::str::from_utf8(self.0.split(|&byte| byte == 0).nth(place)?).ok()
    }
}

/// Calls what it holds for each pair.
struct Each<F>(F);

impl<'kvs, F: FnMut(&str, Value<'kvs>)> VisitSource<'kvs> for Each<F> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0(key.as_str(), value);
        Ok(())
    }
}

/// Takes one value: a number into one word, anything else as text.
struct Typed<'a> {
    words: &'a [AtomicU64],
    ty: FieldType,
    used: usize,
    is_cut: bool,
}

impl Typed<'_> {
    fn number(&mut self, ty: FieldType, word: u64) -> Result<(), Error> {
        self.words[0].store(word, Ordering::Relaxed);
        (self.ty, self.used) = (ty, 1);
        Ok(())
    }

    fn text(&mut self, write: impl FnOnce(&mut Text<'_>)) -> Result<(), Error> {
        let mut text = Text::new(self.words);
        write(&mut text);
        (self.used, self.is_cut) = text.end();
        self.ty = FieldType::Str;
        Ok(())
    }
}

impl VisitValue<'_> for &mut Typed<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.text(|text| {
            // A text that is full ends the formatting.
            let _ = write!(text, "{value}");
        })
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.number(FieldType::U64, value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.number(FieldType::I64, value.cast_unsigned())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.number(FieldType::F64, value.to_bits())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.number(FieldType::Bool, u64::from(value))
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.text(|text| text.add(value))
    }
}
