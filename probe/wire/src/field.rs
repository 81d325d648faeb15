//! What an event says: its kind, level, and typed fields with units, and where each field's value lies.
//!
//! Invariant: where a value lies follows from the field types alone, by the rule of [`Fields::places`], so that writer and
//! reader can never disagree. The first *narrow* field rides in the 15 spare bits of the header word; every other field
//! takes one payload word, a string as many as it needs.
//!
//! ```
//! use fata_wire::field::{Field, FieldType, Fields, Unit};
//! let fields = Fields::new(&[
//!     Field { name: "ok", ty: FieldType::Bool, unit: Unit::None },
//!     Field { name: "len_bytes", ty: FieldType::U64, unit: Unit::Bytes },
//! ]);
//! assert_eq!(fields.fixed_words(), Some(1)); // `ok` is in the header word
//! ```

use crate::event::MAX_INLINE_WORDS;

/// The most fields one callsite may declare; the probe macros refuse more at compile time.
pub const MAX_FIELDS: usize = 12;

macro_rules! byte_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $value),+ }

        impl $name {
            /// Every value, in the order of the wire numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The value with this wire number, `None` where the format has no such number.
            #[must_use]
            pub const fn from_u8(byte: u8) -> Option<Self> {
                match byte { $($value => Some($name::$variant),)+ _ => None }
            }

            /// The word that stands for the value in metadata text.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The value whose [`text`](Self::text) this is.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

byte_enum! {
    /// What an event of a callsite means to the timeline.
    ///
    /// `arg` is the narrow value in the header word. "The current task" is the one whose poll encloses the event in the
    /// same stream; outside of any poll it is the scheduler itself, task 0.
    Kind {
        /// Something happened, with no duration.
        Instant = 1 "instant",
        /// A begin event of this callsite, and an end event with the id's low bit set and no fields.
        /// Spans nest per task.
        Span = 2 "span",
        /// The first field is the new absolute value.
        Counter = 3 "counter",
        /// The first field is the flow's id; arrows join begin, steps and end of one id within one category.
        FlowBegin = 4 "flow_begin",
        /// A point that the flow passes.
        FlowStep = 5 "flow_step",
        /// The last point of the flow.
        FlowEnd = 6 "flow_end",
        /// A log record: fields of a `tracing` event.
        Log = 7 "log",
        /// In a log stream: one of the spans around the records behind it, with its fields; see
        /// [`log::context`](crate::log::context).
        Context = 8 "context",
        /// Task `arg` begins to exist; fields: its name ([`FieldType::Name`]) and its parent ([`FieldType::Task`]).
        Spawn = 16 "spawn",
        /// Task `arg` was woken by what is running now (the current task, an interrupt, a timer) and is ready.
        Ready = 17 "ready",
        /// The scheduler begins to poll task `arg`.
        Poll = 18 "poll",
        /// The poll of task `arg` ended and the task is idle; the callsite's name says what it waits for ([`Kind::waits_for`]).
        Pending = 19 "pending",
        /// The poll of task `arg` ended and the task is done.
        Done = 20 "done",
        /// The current poll ended with its task idle, and the poll of task `arg` begins at the same instant. The callsite's
        /// name says what the task that is idle now waits for ([`Kind::waits_for`]).
        Switch = 21 "switch",
        /// The current task is about to wait for what the name `arg` says.
        WaitFor = 22 "wait_for",
        /// Task `arg` began to exist before now, and lives; fields as for [`Kind::Spawn`]. For who joins late: says again
        /// what the spawn said, and nothing of the task's state.
        Alive = 23 "alive",
        /// Object `arg` (a promise, channel, condition, semaphore) begins to exist; field: its name.
        Create = 24 "create",
        /// The current task found object `arg` not ready, and waits for it.
        Try = 25 "try",
        /// The current task obtained the value of object `arg`.
        Read = 26 "read",
        /// The current task resolved the promise `arg`, or put a value into it.
        Resolve = 27 "resolve",
        /// Object `arg` was given up before it was resolved.
        Fail = 28 "fail",
        /// The current task signalled the object `arg`; a field says how many waiters that woke.
        Signal = 29 "signal",
        /// Object `arg` exists no more.
        Drop = 30 "drop",
        /// Object `arg` began to exist before now, and exists; fields and name of the callsite as for [`Kind::Create`]. For who
        /// joins late: says again what the create event said, and nothing of the object's state.
        Exists = 31 "exists",
        /// A record whose writer had not finished when it was read; the payload is whatever it had written.
        Unfinished = 60 "unfinished",
        /// The full clock, after a silence of more than 2^31 ticks.
        Clock = 61 "clock",
        /// Not an event: a text known at link time, to which [`FieldType::Name`] fields refer by the callsite's id.
        Name = 62 "name",
        /// What a log stream held and discarded until now: see [`log::ledger`](crate::log::ledger).
        Ledger = 63 "ledger",
    }
}

impl Kind {
    /// What a task waits for whose poll ended with an event of this kind: the part of the callsite's name behind its first `/`.
    /// `None` where nothing is said, or where no poll ends with the event.
    ///
    /// ```
    /// # use fata_wire::field::Kind;
    /// assert_eq!(Kind::Switch.waits_for("task.switch/tcp.read"), Some("tcp.read"));
    /// assert_eq!(Kind::Instant.waits_for("http.get/index"), None);
    /// ```
    #[must_use]
    pub fn waits_for(self, name: &str) -> Option<&str> {
        let (_, wait) = name.split_once('/')?;
        matches!(self, Kind::Pending | Kind::Switch).then_some(wait)
    }
}

byte_enum! {
    /// How much an event matters. The numbers follow `tracing`, with `App` for the program's own words.
    Level {
        /// Always shown: what the program says to its user.
        App = 0 "app",
        /// A failure.
        Error = 1 "error",
        /// Something a person should look at.
        Warn = 2 "warn",
        /// The ordinary level of a probe.
        Info = 3 "info",
        /// For whoever debugs this part.
        Debug = 4 "debug",
        /// Everything.
        Trace = 5 "trace",
    }
}

byte_enum! {
    /// The type of a field.
    FieldType {
        /// An unsigned integer, one word.
        U64 = 1 "u64",
        /// A signed integer, one word.
        I64 = 2 "i64",
        /// A double, one word.
        F64 = 3 "f64",
        /// Text: bytes up to a NUL, padded with NULs to whole words.
        Str = 4 "str",
        /// A flow's id, one word.
        Flow = 5 "flow",
        /// True or false. Narrow.
        Bool = 16 "bool",
        /// An unsigned integer below 2^15. Narrow.
        Small = 17 "small",
        /// A task's number; 0 is the scheduler. Narrow.
        Task = 18 "task",
        /// A text: a [`Kind::Name`] callsite's id below 4096, else a name of the description area. Narrow.
        Name = 19 "name",
        /// A promise's or other synchronisation object's number. Narrow.
        Object = 20 "object",
        /// A flow's id of 15 bits, reused: it means the youngest flow of that number. Narrow.
        Packet = 21 "packet",
    }
}

impl FieldType {
    /// Whether a value fits the 15 bits of the header word.
    #[must_use]
    pub const fn is_narrow(self) -> bool {
        self as u8 >= 16
    }
}

byte_enum! {
    /// What a number counts.
    Unit {
        /// A bare number.
        None = 0 "none",
        /// Bytes.
        Bytes = 1 "bytes",
        /// Nanoseconds.
        Nanos = 2 "nanos",
        /// Ticks of the guest's clock.
        Ticks = 3 "ticks",
        /// Hundredths.
        Percent = 4 "percent",
    }
}

impl Unit {
    /// The unit that a field's own name states: `bytes` or `…_bytes`, `…_nanos` or `…_ns`, `…_ticks`, `…_percent`.
    #[must_use]
    pub const fn of_name(name: &str) -> Self {
        let name = name.as_bytes();
        if ends_with_word(name, b"bytes") {
            Unit::Bytes
        } else if ends_with_word(name, b"nanos") || ends_with_word(name, b"ns") {
            Unit::Nanos
        } else if ends_with_word(name, b"ticks") {
            Unit::Ticks
        } else if ends_with_word(name, b"percent") {
            Unit::Percent
        } else {
            Unit::None
        }
    }
}

const fn ends_with_word(name: &[u8], word: &[u8]) -> bool {
    if name.len() < word.len() {
        return false;
    }
    let start = name.len() - word.len();
    let mut i = 0;
    while i < word.len() {
        if name[start + i] != word[i] {
            return false;
        }
        i += 1;
    }
    start == 0 || name[start - 1] == b'_' || name[start - 1] == b'.'
}

/// One field of a callsite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as the program writes it.
    pub name: &'a str,
    /// How the value is encoded.
    pub ty: FieldType,
    /// What the value counts.
    pub unit: Unit,
}

/// The fields of a callsite, in order; at most [`MAX_FIELDS`], further ones are cut off.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    list: [Field<'a>; MAX_FIELDS],
    len: usize,
}

impl PartialEq for Fields<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

/// Where a field's value lies in its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the header word's `arg`.
    Arg,
    /// In the payload, after the fields before it.
    Payload,
}

impl<'a> Fields<'a> {
    const BLANK: Field<'static> = Field { name: "", ty: FieldType::U64, unit: Unit::None };

    /// No fields.
    pub const EMPTY: Fields<'static> = Fields { list: [Self::BLANK; MAX_FIELDS], len: 0 };

    /// The fields of `list`.
    #[must_use]
    pub fn new(list: &[Field<'a>]) -> Self {
        let mut fields = Self::EMPTY;
        for field in list {
            fields.push(*field);
        }
        fields
    }

    /// Adds a field at the end; beyond [`MAX_FIELDS`] it is not added.
    pub fn push(&mut self, field: Field<'a>) {
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = field;
            self.len += 1;
        }
    }

    /// The fields as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Field<'a>] {
        self.list.get(..self.len).unwrap_or(&[])
    }

    /// Each field with its [`Place`]: the first narrow one is in the header word, all others in the payload.
    pub fn places(&self) -> impl Iterator<Item = (&Field<'a>, Place)> {
        let arg = arg_index(self.as_slice());
        self.as_slice()
            .iter()
            .enumerate()
            .map(move |(i, field)| (field, if arg == Some(i) { Place::Arg } else { Place::Payload }))
    }

    /// The payload's length in words, `None` where a string makes it vary.
    #[must_use]
    pub fn fixed_words(&self) -> Option<usize> {
        let mut words = 0;
        for (field, place) in self.places() {
            match (place, field.ty) {
                (Place::Arg, _) => {}
                (Place::Payload, FieldType::Str) => return None,
                (Place::Payload, _) => words += 1,
            }
        }
        Some(words)
    }

    /// Whether the payload begins with its own length in words, because the header's three bits cannot say it.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.fixed_words().is_none_or(|words| words > MAX_INLINE_WORDS)
    }

    /// The values of an event with these fields, in field order.
    ///
    /// A payload that ends early ends the iteration: the missing fields have no value.
    pub fn values<'b>(&self, arg: u16, payload: &'b [u8]) -> impl Iterator<Item = (Field<'a>, Value<'b>)> {
        let mut rest = if self.is_extended() { payload.get(8..).unwrap_or(&[]) } else { payload };
        let arg_index = arg_index(self.as_slice());
        let fields = *self;
        (0..self.len).map_while(move |i| {
            let field = *fields.as_slice().get(i)?;
            let word = if arg_index == Some(i) {
                u64::from(arg)
            } else if field.ty == FieldType::Str {
                let end = rest.iter().position(|&byte| byte == 0)?;
                let text = rest.get(..end)?;
                rest = rest.get((end / 8 + 1) * 8..).unwrap_or(&[]);
                return Some((field, Value::Str(text)));
            } else {
                let word = u64::from_le_bytes(*rest.first_chunk::<8>()?);
                rest = rest.get(8..)?;
                word
            };
            Some((field, Value::of(field.ty, word)))
        })
    }
}

/// Which field rides in the header word: the first whose type is narrow.
#[must_use]
pub const fn arg_index(fields: &[Field<'_>]) -> Option<usize> {
    let mut i = 0;
    while i < fields.len() {
        if fields[i].ty.is_narrow() {
            return Some(i);
        }
        i += 1;
    }
    None
}

/// The value of one field of one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An unsigned number.
    U64(u64),
    /// A signed number.
    I64(i64),
    /// A double.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// The bytes of a text; not necessarily UTF-8, never to be shown unescaped.
    Str(&'a [u8]),
    /// A task's number.
    Task(u16),
    /// A name's number.
    Name(u16),
    /// A synchronisation object's number.
    Object(u16),
    /// A flow's id: wide ([`FieldType::Flow`]) or narrow ([`FieldType::Packet`]).
    Flow(u64),
}

impl Value<'_> {
    /// The value of a field that is no text, from its payload word or its narrow value.
    #[must_use]
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "narrow types have 15 bits; a hostile wider word is cut on purpose"
    )]
    pub const fn of(ty: FieldType, word: u64) -> Self {
        match ty {
            FieldType::U64 | FieldType::Small | FieldType::Str => Value::U64(word),
            FieldType::I64 => Value::I64(word.cast_signed()),
            FieldType::F64 => Value::F64(f64::from_bits(word)),
            FieldType::Bool => Value::Bool(word != 0),
            FieldType::Flow | FieldType::Packet => Value::Flow(word),
            FieldType::Task => Value::Task(word as u16),
            FieldType::Name => Value::Name(word as u16),
            FieldType::Object => Value::Object(word as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn field(name: &'static str, ty: FieldType) -> Field<'static> {
        Field { name, ty, unit: Unit::of_name(name) }
    }

    #[test]
    fn the_first_narrow_field_rides_in_the_header_word_and_the_second_takes_a_payload_word() {
        let fields =
            Fields::new(&[field("n", FieldType::U64), field("a", FieldType::Task), field("b", FieldType::Task)]);
        let mut payload = 7u64.to_le_bytes().to_vec();
        payload.extend(9u64.to_le_bytes());
        let values: Vec<_> = fields.values(3, &payload).map(|(_, value)| value).collect();
        assert_eq!(values, [Value::U64(7), Value::Task(3), Value::Task(9)]);
        assert_eq!(fields.fixed_words(), Some(2));
    }

    #[test]
    fn a_string_ends_at_its_nul_and_the_next_field_begins_at_a_word() {
        let fields = Fields::new(&[field("s", FieldType::Str), field("n", FieldType::U64)]);
        let mut payload = 4u64.to_le_bytes().to_vec();
        payload.extend(b"nine char\0\0\0\0\0\0\0");
        payload.extend(5u64.to_le_bytes());
        let values: Vec<_> = fields.values(0, &payload).map(|(_, value)| value).collect();
        assert_eq!(values, [Value::Str(b"nine char"), Value::U64(5)]);
    }

    #[test]
    fn a_payload_that_ends_early_has_no_value_for_the_rest() {
        let fields = Fields::new(&[field("a", FieldType::U64), field("b", FieldType::U64)]);
        assert_eq!(fields.values(0, &[0; 15]).count(), 1);
        assert_eq!(fields.values(0, &[]).count(), 0);
    }

    #[test]
    fn a_name_states_its_unit() {
        assert_eq!(Unit::of_name("bytes"), Unit::Bytes);
        assert_eq!(Unit::of_name("heap.live_bytes"), Unit::Bytes);
        assert_eq!(Unit::of_name("kilobytes"), Unit::None);
        assert_eq!(Unit::of_name("wait_ns"), Unit::Nanos);
    }
}
