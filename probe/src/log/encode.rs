//! The fields of a `tracing` event or span as typed words, in the order in which they are visited.
//!
//! Invariant: what is encoded always fits [`SCRATCH_WORDS`], and each later field keeps the room that it needs at least; so a
//! message of a megabyte takes what is left of a record and not a field of it.
//!
//! When a callsite has more fields than a description may name, the last place holds the rest as text.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::field::{FieldType, Fields, Kind, MAX_FIELDS, Unit};
use fata_wire::log::MORE;
use tracing_core::field::{Field, Visit};
use tracing_core::{Event, Metadata};

use super::context::SCRATCH_WORDS;
use super::payload::Payload;
use super::text::Text;

/// How many fields a record has before the program's.
pub(crate) const OWN_FIELDS: usize = 3;
/// How many fields of the program are recorded with their types.
const TYPED: usize = MAX_FIELDS - OWN_FIELDS;
/// What each field that is still to come may count on.
const LEAST_WORDS: usize = 3;

/// Takes the values of one event or span.
pub(crate) struct Encoder<'a> {
    words: &'a [AtomicU64],
    used: usize,
    /// How many fields have a place of their own.
    typed: usize,
    /// How many fields come at most, and how many of them did.
    fields: usize,
    seen: usize,
    signature: Signature,
    has_text: bool,
    /// The text of the fields for which there is no place of their own.
    more: Option<Text<'a>>,
    cut: bool,
}

/// Which fields an event has, and of which types: four bits for each, by its place in the callsite's field set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signature(pub(crate) u64);

impl Signature {
    /// Whether a text is among the fields.
    pub(crate) fn has_text(self) -> bool {
        let is_text = |place: usize| self.0 >> (4 * place) & 15 == Number::Str as u64;
        self.0 & JOINED == JOINED || (0..TYPED).any(is_text)
    }
}

/// Marks a signature as that of values which a span was given after it began: they are an instant within it.
const LATER: u64 = 1 << 48;
/// Marks a signature as that of what a log stream says of a span.
const CONTEXT: u64 = 1 << 49;
const _: () = assert!(4 * TYPED <= 48, "the marks lie behind the fields");

impl Signature {
    /// The signature of the same fields as values that came later.
    pub(crate) fn later(self) -> Self {
        Signature(self.0 | LATER)
    }

    /// The signature of the same fields in a context: [`fata_wire::log::context`].
    pub(crate) fn context(self) -> Self {
        Signature(self.0 | CONTEXT)
    }

    /// What events with this signature are, of a callsite whose own are of the kind `own`.
    pub(crate) fn kind(self, own: Kind) -> Kind {
        match self.0 & (LATER | CONTEXT) {
            0 => own,
            LATER => Kind::Instant,
            _ => Kind::Context,
        }
    }

    /// The type of the field at `place`, if it is there.
    fn type_of(self, place: usize) -> Option<FieldType> {
        let number = usize::try_from(self.0 >> (4 * place) & 15).unwrap_or(0);
        TYPES.get(number.checked_sub(1)?).copied()
    }
}

/// The fields of `old` and of `new`, of which both may have some: `new` wins. `None` where they do not fit `words`, or where
/// fields without a place of their own are among them.
pub(crate) fn merge(
    words: &[AtomicU64],
    (old, old_words): (Signature, &[AtomicU64]),
    (new, new_words): (Signature, &[AtomicU64]),
) -> Option<(Signature, usize)> {
    if (old.0 | new.0) >> (4 * TYPED) != 0 {
        return None;
    }
    let (mut old_at, mut new_at, mut used, mut merged) = (0, 0, 0, 0);
    for place in 0..TYPED {
        let mut take = |signature: Signature, from: &[AtomicU64], at: &mut usize, is_kept: bool| {
            let Some(ty) = signature.type_of(place) else { return Some(false) };
            let rest = from.get(*at..)?;
            let len = if ty == FieldType::Str { text_words(rest) } else { 1 };
            *at += len;
            if is_kept {
                let room = words.get(used..used + len)?;
                room.iter().zip(rest).for_each(|(to, from)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
                used += len;
                merged |= signature.0 & 15 << (4 * place);
            }
            Some(is_kept)
        };
        let is_new = take(new, new_words, &mut new_at, true)?;
        take(old, old_words, &mut old_at, !is_new)?;
    }
    Some((Signature(merged), used))
}

/// How many words the text at their beginning takes: up to the first with a NUL.
fn text_words(words: &[AtomicU64]) -> usize {
    let has_nul = |word: &AtomicU64| word.load(Ordering::Relaxed).to_le_bytes().contains(&0);
    words.iter().position(has_nul).map_or(words.len(), |at| at + 1)
}

/// The types that values of `tracing` have, by the number that stands in a signature, from 1 on.
const TYPES: [FieldType; 5] = [FieldType::U64, FieldType::I64, FieldType::F64, FieldType::Bool, FieldType::Str];

/// The number of a type in a signature.
#[derive(Clone, Copy)]
enum Number {
    U64 = 1,
    I64 = 2,
    F64 = 3,
    Bool = 4,
    Str = 5,
}

const _: () = assert!(
    matches!(TYPES[Number::U64 as usize - 1], FieldType::U64)
        && matches!(TYPES[Number::I64 as usize - 1], FieldType::I64)
        && matches!(TYPES[Number::F64 as usize - 1], FieldType::F64)
        && matches!(TYPES[Number::Bool as usize - 1], FieldType::Bool)
        && matches!(TYPES[Number::Str as usize - 1], FieldType::Str)
);
/// Says that fields were joined into one text, in the place of the last.
const JOINED: u64 = 15 << 60;

/// What was encoded.
pub(crate) struct Encoded {
    pub(crate) words: usize,
    pub(crate) signature: Signature,
    /// Whether a text is among the fields.
    pub(crate) has_text: bool,
    pub(crate) cut: bool,
}

impl<'a> Encoder<'a> {
    /// Takes up to `fields` values into `words`.
    pub(crate) fn new(words: &'a [AtomicU64], fields: usize) -> Self {
        let words = words.get(..SCRATCH_WORDS.min(words.len())).unwrap_or(words);
        let typed = if fields > TYPED { TYPED - 1 } else { TYPED };
        Encoder {
            words,
            used: 0,
            typed,
            fields: fields.min(TYPED),
            seen: 0,
            signature: Signature::default(),
            has_text: false,
            more: None,
            cut: false,
        }
    }

    pub(crate) fn end(mut self) -> Encoded {
        if let Some(more) = self.more.take() {
            let (words, cut) = more.end();
            self.used += words;
            self.cut |= cut;
            self.signature.0 |= JOINED;
        }
        Encoded { words: self.used, signature: self.signature, has_text: self.has_text, cut: self.cut }
    }

    /// The last place is kept for the rest where there are more fields than places.
    #[inline(always)]
    fn is_typed(&self, field: &Field) -> bool {
        field.index() < self.typed
    }

    #[inline(always)]
    fn note(&mut self, field: &Field, number: Number) {
        self.signature.0 |= (number as u64) << (4 * field.index());
        self.seen += 1;
    }

    #[inline(always)]
    fn number(&mut self, field: &Field, number: Number, word: u64, shown: &dyn fmt::Display) {
        if !self.is_typed(field) {
            return self.join(field, format_args!("{shown}"));
        }
        self.note(field, number);
        if let Some(slot) = self.words.get(self.used) {
            slot.store(word, Ordering::Relaxed);
            self.used += 1;
        }
    }

    /// The words that a text may take: all but what later fields may count on.
    fn room(&self) -> &'a [AtomicU64] {
        let kept = LEAST_WORDS * self.fields.saturating_sub(self.seen + 1);
        let end = self.words.len().saturating_sub(kept).max(self.used + 1).min(self.words.len());
        self.words.get(self.used..end).unwrap_or(&[])
    }

    #[inline(always)]
    fn text(&mut self, field: &Field, write: impl FnOnce(&mut Text<'_>)) {
        let mut text = Text::new(self.room());
        write(&mut text);
        let (words, cut) = text.end();
        self.note(field, Number::Str);
        self.has_text = true;
        self.used += words;
        self.cut |= cut;
    }

    #[cold]
    fn join(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let room = self.room();
        self.has_text = true;
        let text = self.more.get_or_insert_with(|| Text::new(room));
        // A text that is full takes no more, which its mark says.
        let _ = write!(text, "{}={value} ", field.name());
    }
}

impl Visit for Encoder<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, Number::F64, value.to_bits(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, Number::I64, value.cast_unsigned(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, Number::U64, value, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, Number::Bool, u64::from(value), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.is_typed(field) {
            self.text(field, |text| text.add(value));
        } else {
            self.join(field, format_args!("{value:?}"));
        }
    }

    /// The error and what it came from, to the first cause. Without its `std`, `tracing` takes no errors as they are: there,
    /// programs write `error = %Chain(&error)`.
    #[cfg(feature = "std")]
    fn record_error(&mut self, field: &Field, value: &(dyn core::error::Error + 'static)) {
        if self.is_typed(field) {
            self.text(field, |text| {
                let _ = write!(text, "{}", super::error::Chain(value));
            });
        } else {
            self.join(field, format_args!("{}", super::error::Chain(value)));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.is_typed(field) {
            self.text(field, |text| {
                let _ = write!(text, "{value:?}");
            });
        } else {
            self.join(field, format_args!("{value:?}"));
        }
    }
}

/// How many words the record of an event takes, where there is no room to put it together; at least that, where a text would have to
/// be formatted: it is taken for a short one.
pub(crate) fn least_length(event: &Event<'_>) -> usize {
    #[derive(Default)]
    struct Least {
        words: usize,
        has_text: bool,
    }

    impl Least {
        fn text(&mut self, len_bytes: usize) {
            self.words += len_bytes / 8 + 1;
            self.has_text = true;
        }
    }

    impl Visit for Least {
        fn record_f64(&mut self, _: &Field, _: f64) {
            self.words += 1;
        }

        fn record_str(&mut self, _: &Field, value: &str) {
            self.text(value.len());
        }

        fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {
            self.text(0);
        }

        fn record_i64(&mut self, _: &Field, _: i64) {
            self.words += 1;
        }

        fn record_u64(&mut self, _: &Field, _: u64) {
            self.words += 1;
        }

        fn record_bool(&mut self, _: &Field, _: bool) {
            self.words += 1;
        }
    }

    let mut least = Least::default();
    event.record(&mut least);
    Payload::words_of(least.words.min(SCRATCH_WORDS), least.has_text)
}

/// The fields that events of `meta` with this signature have, after those in `first`.
pub(crate) fn fields(
    meta: &'static Metadata<'static>,
    signature: Signature,
    first: Fields<'static>,
) -> Fields<'static> {
    let mut fields = first;
    let typed = if signature.0 & JOINED == JOINED { TYPED - 1 } else { TYPED };
    for field in meta.fields().iter().take(typed) {
        let number = signature.0 >> (4 * field.index()) & 15;
        let ty = usize::try_from(number).ok().and_then(|number| TYPES.get(number.checked_sub(1)?));
        if let Some(&ty) = ty {
            let name = field.name();
            let unit = if matches!(ty, FieldType::Str | FieldType::Bool) { Unit::None } else { Unit::of_name(name) };
            fields.push(fata_wire::field::Field { name, ty, unit });
        }
    }
    if signature.0 & JOINED == JOINED {
        fields.push(fata_wire::field::Field { name: MORE, ty: FieldType::Str, unit: Unit::None });
    }
    fields
}
