//! An item that is kept for a while: what `fata-reporters` only borrows, owned.

use fata_reporters::loss::{Cause, Counts, Length, Loss};
use fata_reporters::record::{Field, Record, Span, Value};
use fata_reporters::reporter::Item;
use fata_reporters::time::Time;
use fata_wire::field::Level;

/// How many records of a guest were shown: its decoder has the one end, each entry another.
pub(super) type Shown = std::rc::Rc<std::cell::Cell<u64>>;

/// A record or a loss of one guest.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where it is counted when it is shown, if the guest has counted it: what was lost, the guest has counted otherwise.
    pub(super) counted: Option<Shown>,
    pub(super) time: Time,
    /// The guest's name, as shown.
    pub(super) guest: std::rc::Rc<str>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Record(Box<Said>),
    Loss { cause: Cause, place: String, counts: Counts, length: Length, first: Time },
}

/// A record.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) sequence: u64,
    pub(super) level: Level,
    pub(super) stream: u32,
    pub(super) task: u16,
    pub(super) task_name: String,
    pub(super) target: String,
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: u32,
    /// The spans around it, outermost first, with their fields.
    pub(super) spans: Vec<(String, Fields)>,
    pub(super) fields: Fields,
    pub(super) late: bool,
    pub(super) history: bool,
}

impl Said {
    /// Its own fields, and those of the spans around it.
    pub(super) fn all_fields(&self) -> impl Iterator<Item = &(String, Owned)> {
        self.fields.iter().chain(self.spans.iter().flat_map(|(_, fields)| fields))
    }
}

/// Fields by name, in their order.
pub(super) type Fields = Vec<(String, Owned)>;

/// The value of a field.
#[derive(Clone, Debug)]
pub(super) enum Owned {
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Str(Vec<u8>),
}

impl Owned {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Owned::U64(value) => Value::U64(*value),
            Owned::I64(value) => Value::I64(*value),
            Owned::F64(value) => Value::F64(*value),
            Owned::Bool(value) => Value::Bool(*value),
            Owned::Str(bytes) => Value::Str(bytes),
        }
    }
}

fn lent(fields: &Fields) -> Vec<Field<'_>> {
    fields.iter().map(|(name, value)| Field { name, value: value.value() }).collect()
}

impl Entry {
    /// Hands the entry to `take` as what reporters know.
    pub(super) fn with<T>(&self, take: impl FnOnce(&Item<'_>) -> T) -> T {
        match &self.what {
            What::Record(said) => {
                let fields = lent(&said.fields);
                let of_spans: Vec<_> = said.spans.iter().map(|(_, fields)| lent(fields)).collect();
                let spans: Vec<_> =
                    said.spans.iter().zip(&of_spans).map(|((name, _), fields)| Span { name, fields }).collect();
                take(&Item::Record(Record {
                    time: self.time,
                    sequence: said.sequence,
                    level: said.level,
                    guest: &self.guest,
                    stream: said.stream,
                    task: &said.task_name,
                    target: &said.target,
                    name: &said.name,
                    file: &said.file,
                    line: said.line,
                    spans: &spans,
                    fields: &fields,
                    late: said.late,
                    history: said.history,
                }))
            }
            What::Loss { cause, place, counts, length, first } => take(&Item::Loss(Loss {
                guest: &self.guest,
                ..Loss::of_length(*cause, place, *counts, *length, (*first, self.time))
            })),
        }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &String| text.capacity();
        size_of::<Self>()
            + match &self.what {
                What::Loss { place, .. } => text(place),
                What::Record(said) => {
                    let in_fields = |fields: &Fields| {
                        let bytes = fields.iter().map(|(name, value)| {
                            size_of::<(String, Owned)>()
                                + text(name)
                                + if let Owned::Str(bytes) = value { bytes.capacity() } else { 0 }
                        });
                        bytes.sum::<usize>()
                    };
                    let in_span = |(name, fields): &_| size_of::<(String, Fields)>() + text(name) + in_fields(fields);
                    size_of::<Said>()
                        + [&said.task_name, &said.target, &said.name, &said.file].into_iter().map(text).sum::<usize>()
                        + said.spans.iter().map(in_span).sum::<usize>()
                        + in_fields(&said.fields)
                }
            }
    }
}
