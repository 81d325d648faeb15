//! What a field may hold, and how a list of fields becomes the payload of an event.
//!
//! A [`Value`] knows its wire type; a field list is built by the macros as nested [`Cons`] cells, so that every length and
//! place is a constant by the time the optimiser is done. The rule of `fata_wire::field` holds: the first narrow value
//! rides in the header word, every other takes payload words.

use fata_wire::event::{ARG_LIMIT, EXTENDED, MAX_INLINE_WORDS, MAX_PAYLOAD_WORDS};
use fata_wire::field::{FieldType, MAX_FIELDS, Unit};

use crate::bytes::{without_nul, word_of};
use crate::name::Name;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// A number of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

/// A number below 2^15, which takes no payload when it is the event's first narrow field; larger ones are shown as 32767.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Small(pub u16);

/// A task's number, below 2^15; 0 is the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TaskId(pub u16);

/// A synchronisation object's number, below 2^15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ObjectId(pub u16);

/// A flow's id, unique within its category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FlowId(pub u64);

/// A flow's id below 2^15 that is reused: it means the youngest flow of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Packet(pub u16);

/// A value that a field may hold.
pub trait Value {
    /// How it is encoded.
    const TYPE: FieldType;
    /// The unit its type implies; [`Unit::None`] leaves it to the field's name.
    const UNIT: Unit = Unit::None;

    /// The value as a word: all of it, or for text its length.
    fn word(&self) -> u64;

    /// The text, where the value is one.
    fn text(&self) -> Option<&str> {
        None
    }
}

macro_rules! value {
    ($($type:ty: $wire:ident $($unit:ident)? = |$value:ident| $word:expr;)+) => {
        $(impl Value for $type {
            const TYPE: FieldType = FieldType::$wire;
            $(const UNIT: Unit = Unit::$unit;)?
            #[inline(always)]
            fn word(&self) -> u64 {
                let $value = *self;
                $word
            }
        })+
    };
}

value! {
    u8: Small = |v| u64::from(v);
    u16: U64 = |v| u64::from(v);
    u32: U64 = |v| u64::from(v);
    u64: U64 = |v| v;
    usize: U64 = |v| v as u64;
    i8: I64 = |v| i64::from(v).cast_unsigned();
    i16: I64 = |v| i64::from(v).cast_unsigned();
    i32: I64 = |v| i64::from(v).cast_unsigned();
    i64: I64 = |v| v.cast_unsigned();
    isize: I64 = |v| (v as i64).cast_unsigned();
    f32: F64 = |v| f64::from(v).to_bits();
    f64: F64 = |v| v.to_bits();
    bool: Bool = |v| u64::from(v);
    Bytes: U64 Bytes = |v| v.0;
    Nanos: U64 Nanos = |v| v.0;
    Small: Small = |v| u64::from(if v.0 < ARG_LIMIT { v.0 } else { ARG_LIMIT - 1 });
    TaskId: Task = |v| u64::from(v.0);
    ObjectId: Object = |v| u64::from(v.0);
    FlowId: Flow = |v| v.0;
    Packet: Packet = |v| u64::from(v.0);
    Name: Name = |v| u64::from(v.id());
}

impl Value for &str {
    const TYPE: FieldType = FieldType::Str;

    #[inline(always)]
    fn word(&self) -> u64 {
        self.len() as u64
    }

    #[inline(always)]
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

/// No (further) field.
#[derive(Clone, Copy, Debug)]
pub struct Nil;

/// A field before the others.
#[derive(Clone, Copy, Debug)]
pub struct Cons<V, R>(pub V, pub R);

/// The types and units of a field list, in order.
pub(crate) struct Types {
    pub(crate) list: [(FieldType, Unit); MAX_FIELDS],
    pub(crate) len: usize,
}

/// A list of fields.
pub trait FieldSet {
    /// How many fields.
    const LEN: usize;
    /// Whether one of them is narrow.
    const NARROW: bool;
    /// Whether one of them is a text.
    const TEXT: bool;
    /// Payload words if every narrow field took one, texts left out.
    const WORDS: usize;

    /// The first narrow value, 0 without one.
    fn arg(&self) -> u16;
    /// The words that the texts take.
    fn text_words(&self) -> usize;
    /// Stores the payload from `slot` on; `narrow_taken` says that a field before these rides in the header word.
    fn put(&self, slot: &mut impl FnMut(u64), narrow_taken: bool, text_words_left: usize);
    /// Appends the types.
    fn types(types: &mut impl FnMut(FieldType, Unit));

    /// What the list takes in the ring; a constant unless it holds text. Text that would make the event longer than the
    /// format allows is cut.
    #[inline(always)]
    fn extent(&self) -> Extent {
        let fixed = Self::WORDS - if Self::NARROW { 1 } else { 0 };
        if Self::TEXT {
            let text_words = self.text_words().min(MAX_PAYLOAD_WORDS - 1 - fixed);
            return Extent { words: 1 + fixed + text_words, code: EXTENDED, text_words };
        }
        Extent::of_fixed(fixed)
    }
}

impl FieldSet for Nil {
    const LEN: usize = 0;
    const NARROW: bool = false;
    const TEXT: bool = false;
    const WORDS: usize = 0;

    #[inline(always)]
    fn arg(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn text_words(&self) -> usize {
        0
    }

    #[inline(always)]
    fn put(&self, _slot: &mut impl FnMut(u64), _narrow_taken: bool, _text_words_left: usize) {}

    fn types(_types: &mut impl FnMut(FieldType, Unit)) {}
}

impl<V: Value, R: FieldSet> FieldSet for Cons<V, R> {
    const LEN: usize = 1 + R::LEN;
    const NARROW: bool = V::TYPE.is_narrow() || R::NARROW;
    const TEXT: bool = matches!(V::TYPE, FieldType::Str) || R::TEXT;
    const WORDS: usize = R::WORDS + if matches!(V::TYPE, FieldType::Str) { 0 } else { 1 };

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "narrow values have 15 bits, cut here so that a wrong one spoils no other field"
    )]
    fn arg(&self) -> u16 {
        if V::TYPE.is_narrow() { self.0.word() as u16 & (ARG_LIMIT - 1) } else { self.1.arg() }
    }

    #[inline(always)]
    fn text_words(&self) -> usize {
        self.0.text().map_or(0, |text| text.len() / 8 + 1) + self.1.text_words()
    }

    #[inline(always)]
    fn put(&self, slot: &mut impl FnMut(u64), narrow_taken: bool, text_words_left: usize) {
        let in_arg = V::TYPE.is_narrow() && !narrow_taken;
        let mut left = text_words_left;
        if let Some(text) = self.0.text() {
            left -= put_text(text.as_bytes(), slot, left - R::texts());
        } else if !in_arg {
            slot(self.0.word());
        }
        self.1.put(slot, narrow_taken || in_arg, left);
    }

    fn types(types: &mut impl FnMut(FieldType, Unit)) {
        types(V::TYPE, V::UNIT);
        R::types(types);
    }
}

/// How many words each list keeps free for the texts after the first: one NUL word each.
trait Texts {
    fn texts() -> usize;
}

impl<F: FieldSet> Texts for F {
    #[inline(always)]
    fn texts() -> usize {
        let mut count = 0;
        F::types(&mut |ty, _| count += usize::from(ty == FieldType::Str));
        count
    }
}

/// Stores `text` as NUL-terminated, NUL-padded words, cut to `max_words`; a NUL within it becomes U+001A (substitute).
/// Returns how many words it took.
#[inline]
fn put_text(text: &[u8], slot: &mut impl FnMut(u64), max_words: usize) -> usize {
    if text.len() >= max_words * 8 {
        return put_cut(text, slot, max_words);
    }
    let (whole, rest) = text.as_chunks::<8>();
    for chunk in whole {
        slot(without_nul(u64::from_le_bytes(*chunk), 8));
    }
    slot(without_nul(word_of(rest), rest.len()));
    whole.len() + 1
}

/// As [`put_text`], for a text that is longer than `max_words`: its begin, between two characters, and the mark of a cut.
#[cold]
fn put_cut(text: &[u8], slot: &mut impl FnMut(u64), max_words: usize) -> usize {
    const MARK: &[u8] = fata_wire::log::CUT.as_bytes();
    let mut len = (max_words * 8 - 1).saturating_sub(MARK.len());
    // The bytes of a character after its first begin with the bits 10.
    while len > 0 && text[len] & 0xc0 == 0x80 {
        len -= 1;
    }
    for word in 0..max_words {
        let mut bytes = [0; 8];
        let kept = text[..len].iter().chain(MARK).skip(word * 8);
        for (byte, &from) in bytes.iter_mut().zip(kept) {
            *byte = if from == 0 { 0x1a } else { from };
        }
        slot(u64::from_le_bytes(bytes));
    }
    max_words
}

/// What a field list takes in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Payload words, the length word of an extended payload included.
    pub(crate) words: usize,
    /// The header's three bits.
    pub(crate) code: u8,
    /// The words among them that hold text.
    pub(crate) text_words: usize,
}

impl Extent {
    /// The extent of so many words without text.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_INLINE_WORDS")]
    pub(crate) const fn of_fixed(words: usize) -> Self {
        if words <= MAX_INLINE_WORDS {
            Extent { words, code: words as u8, text_words: 0 }
        } else {
            Extent { words: 1 + words, code: EXTENDED, text_words: 0 }
        }
    }

    /// The extent of so many words that were encoded before, with or without text among them.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(crate) const fn of_words(words: usize, text: bool) -> Self {
        if text { Extent { words: 1 + words, code: EXTENDED, text_words: 0 } } else { Self::of_fixed(words) }
    }
}

/// The types of a field list whose names are `names`, each with the unit of its type or else of its name.
pub(crate) fn types<F: FieldSet>(names: &[&str]) -> Types {
    let mut types = Types { list: [(FieldType::U64, Unit::None); MAX_FIELDS], len: 0 };
    F::types(&mut |ty, unit| {
        if let (Some(slot), Some(name)) = (types.list.get_mut(types.len), names.get(types.len)) {
            *slot = (ty, if unit == Unit::None { Unit::of_name(name) } else { unit });
            types.len += 1;
        }
    });
    types
}

#[cfg(test)]
mod tests {
    use super::*;
    use fata_wire::field::Value as Decoded;
    use fata_wire::field::{Field, Fields};
    use std::vec::Vec;

    fn encode<F: FieldSet>(fields: &F) -> (u16, Vec<u8>) {
        let extent = fields.extent();
        let mut payload = Vec::new();
        if extent.code == EXTENDED {
            payload.extend((extent.words as u64).to_le_bytes());
        }
        fields.put(&mut |word| payload.extend(word.to_le_bytes()), false, extent.text_words);
        assert_eq!(payload.len(), extent.words * 8);
        (fields.arg(), payload)
    }

    fn fields<F: FieldSet>(_: &F) -> Fields<'static> {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let types = types::<F>(&names);
        let mut fields = Fields::EMPTY;
        for (i, (ty, unit)) in types.list[..types.len].iter().enumerate() {
            fields.push(Field { name: names[i], ty: *ty, unit: *unit });
        }
        fields
    }

    #[test]
    fn what_the_probe_puts_is_what_the_wire_reads() {
        let list = Cons(7u64, Cons(TaskId(3), Cons(-5i32, Cons(true, Cons("twelve chars", Cons(1.5f64, Nil))))));
        let (arg, payload) = encode(&list);
        let values: Vec<_> = fields(&list).values(arg, &payload).map(|(_, value)| value).collect();
        assert_eq!(
            values,
            [
                Decoded::U64(7),
                Decoded::Task(3),
                Decoded::I64(-5),
                Decoded::Bool(true),
                Decoded::Str(b"twelve chars"),
                Decoded::F64(1.5)
            ]
        );
    }

    #[test]
    fn more_words_than_the_header_can_say_are_preceded_by_their_number() {
        let list = Cons(1u64, Cons(2u64, Cons(3u64, Cons(4u64, Cons(5u64, Cons(6u64, Cons(7u64, Nil)))))));
        let (arg, payload) = encode(&list);
        assert_eq!(payload.len(), 64);
        let values: Vec<_> = fields(&list).values(arg, &payload).map(|(_, value)| value).collect();
        assert_eq!(values[6], Decoded::U64(7));
    }

    #[test]
    fn texts_too_long_for_an_event_are_cut_and_the_others_keep_their_place() {
        let long = "x".repeat(10_000);
        let list = Cons(long.as_str(), Cons("end\0", Cons(9u64, Nil)));
        let (arg, payload) = encode(&list);
        assert!(payload.len() <= MAX_PAYLOAD_WORDS * 8);
        let values: Vec<_> = fields(&list).values(arg, &payload).map(|(_, value)| value).collect();
        assert_eq!(values[1..], [Decoded::Str(b"end\x1a"), Decoded::U64(9)]);
    }
}
