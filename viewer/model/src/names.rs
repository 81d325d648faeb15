//! What things are called: tasks, tracks, keys, actors, and the fields of events.

use fata_wire::event::MAX_CALLSITES;
use fata_wire::field::{Field, Value};
use fata_wire::log::context::Of;
use fata_wire::log::{self, MORE_SPANS, SPAN, SPANS};

use crate::description::Callsite;
use crate::guests::GuestId;
use crate::tasks::State;
use crate::time::Nanos;
use crate::trace::{Actor, TaskRef, Trace, TrackKind};

impl Trace {
    /// What a key in a track of this kind is called; that of a poll, which is a task's number, by the last task that has it.
    #[must_use]
    pub fn key_name(&self, kind: TrackKind, key: u16) -> String {
        match kind {
            TrackKind::Task { .. } => State::from_key(key).text().to_owned(),
            TrackKind::Cpu { cpu } => self.task_by_number(GuestId::of_cpu(cpu), key, self.end),
            _ => self.description.callsite(key).map_or_else(|| format!("callsite {key}"), |c| c.name.to_string()),
        }
    }

    /// What a task is called, if it was named.
    #[must_use]
    pub fn task_name(&self, task: TaskRef) -> Option<&str> {
        self.description.name(self.task(task)?.name?)
    }

    /// What tasks like this one are called, with the guest's name before it where there are several.
    #[must_use]
    pub fn task_kind(&self, task: TaskRef) -> String {
        let guest = self.task(task).map_or_else(GuestId::default, |task| task.guest());
        self.of_guest(guest, self.task_name(task).unwrap_or("task").to_owned())
    }

    /// A task as people call it: `http.connection #17`.
    #[must_use]
    pub fn task_label(&self, task: TaskRef) -> String {
        let (guest, number) = self.task(task).map_or_else(Default::default, |task| (task.guest(), task.number));
        let name = self.task_name(task).unwrap_or("task");
        self.of_guest(guest, format!("{name} #{number}"))
    }

    /// An actor as people call it.
    #[must_use]
    pub fn actor_label(&self, actor: Actor) -> String {
        match actor {
            Actor::Task(task) => self.task_label(task),
            Actor::Scheduler => "scheduler".to_owned(),
            Actor::Interrupt => "interrupt".to_owned(),
            Actor::Unknown => "unknown (events were discarded)".to_owned(),
        }
    }

    /// A track's own label, as for a lane's head.
    #[must_use]
    pub fn track_label(&self, kind: TrackKind) -> String {
        match kind {
            TrackKind::Cpu { cpu } => self.cpu_label(cpu),
            TrackKind::CpuSpans { cpu, depth } => format!("{} spans {depth}", self.cpu_label(cpu)),
            TrackKind::CpuInstants { cpu } => format!("{} instants", self.cpu_label(cpu)),
            TrackKind::Phases { cpu, .. } if self.streams.len() > 1 => format!("heap on {}", self.cpu_label(cpu)),
            TrackKind::Phases { .. } => "heap".to_owned(),
            TrackKind::Task { task } | TrackKind::TaskSpans { task, .. } | TrackKind::TaskInstants { task } => {
                self.task_label(task)
            }
            TrackKind::Counter { callsite, .. } => {
                self.of_guest(GuestId::of_callsite(callsite), self.key_name(kind, callsite))
            }
        }
    }

    /// The name and values of an event's fields, from an interval's key, extra and begin; empty where it has none.
    #[must_use]
    pub fn fields(&self, callsite: u16, extra: u32, time: Nanos) -> Vec<FieldValue> {
        let (Some(callsite), Some((arg, payload))) = (self.description.callsite(callsite), self.args.get(extra)) else {
            return Vec::new();
        };
        self.decode_fields(callsite, arg, &payload, time)
    }

    pub(crate) fn decode_fields(&self, callsite: &Callsite, arg: u16, payload: &[u8], time: Nanos) -> Vec<FieldValue> {
        let guest = GuestId::of_callsite(callsite.id);
        let fields = callsite.wire_fields();
        let one = |(field, value): (Field<'_>, Value<'_>)| FieldValue {
            name: field.name.to_owned(),
            text: match (field.name, value) {
                (SPANS, Value::U64(word)) => self.span_names(guest, word),
                (SPAN, Value::Object(span)) => self.span_name(guest, Of::from_arg(span).callsite),
                (_, value) => crate::text::value(&value, field.unit, self, guest, time),
            },
        };
        fields.values(arg, payload).map(one).collect()
    }

    /// The spans around a log record, the outermost first.
    fn span_names(&self, guest: GuestId, word: u64) -> String {
        let more = (word & MORE_SPANS != 0).then(|| "…".to_owned());
        let names = log::span_ids(word).map(|span| self.span_name(guest, span));
        more.into_iter().chain(names).collect::<Vec<_>>().join(":")
    }

    fn span_name(&self, guest: GuestId, span: u16) -> String {
        let callsite = (span < MAX_CALLSITES).then(|| self.description.callsite(guest.callsite(span))).flatten();
        callsite.map_or_else(|| format!("#{span}"), |callsite| callsite.name.to_string())
    }
}

/// A field of an event as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue {
    /// The field's name.
    pub name: String,
    /// Its value with its unit, names resolved.
    pub text: String,
}
