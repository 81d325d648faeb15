//! What a record's numbers stand for: the words of its callsite, of its task, and of the spans around it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use fata_wire::describe::{self, Callsite, MAX_RECORD_BYTES, Records};
use fata_wire::event::Event;
use fata_wire::field;
use fata_wire::log::context::Group;
use fata_wire::log::summary::Summary;
use fata_wire::log::{FILE, LINE, MAX_SPANS, MORE_SPANS, SEQ, SPAN, SPANS, TARGET, TASK, span_ids};

use super::Memory;
use super::stream::Context;
use crate::loss::{Cause, Counts, Loss};
use crate::record::{Field, Record, Span, Value};
use crate::reporter::Item;
use crate::time::Time;

/// What is known when a record is given out.
pub(super) struct Known<'a> {
    pub(super) memory: &'a Memory,
    pub(super) callsites: &'a BTreeMap<u16, u64>,
    pub(super) names: &'a BTreeMap<u16, u64>,
    pub(super) tasks: &'a BTreeMap<u16, u16>,
    pub(super) stream: u32,
}

impl Known<'_> {
    /// Makes a record of `event`, and gives it to `with`.
    pub(super) fn give<T>(
        &self,
        callsite: &Callsite<'_>,
        event: &Event<'_>,
        around: &mut Group<Context>,
        time: Time,
        with: impl FnOnce(&Item<'_>) -> T,
    ) -> T {
        let mut fields = Vec::new();
        let mut word = 0;
        let mut task = String::new();
        let mut sequence = 0;
        let (mut target, mut file, mut line) = (callsite.category, callsite.file, callsite.line);
        for (field, value) in callsite.fields.values(event.arg, event.payload) {
            match (field.name, value) {
                (SEQ, field::Value::U64(number)) => sequence = number,
                (TASK, field::Value::Task(number)) if number > 0 => task = self.task(number),
                (TASK, _) => {}
                (SPANS, field::Value::U64(spans)) => word = spans,
                (TARGET, field::Value::Str(text)) => target = core::str::from_utf8(text).unwrap_or(target),
                (FILE, field::Value::Str(text)) => file = core::str::from_utf8(text).unwrap_or(file),
                (LINE, field::Value::U64(number)) => line = u32::try_from(number).unwrap_or(0),
                (name, value) => fields.push(Field { name, value: reported(value) }),
            }
        }
        // A description is long, and few records have spans with fields.
        let mut descriptions = [const { None }; MAX_SPANS];
        let contexts = around.of_record(word).zip(&mut descriptions);
        let of_spans: Vec<_> = contexts.map(|(context, description)| self.fields_of(context, description)).collect();
        let names = self.span_names(word);
        let mut of_spans = of_spans.iter();
        let more = usize::from(word & MORE_SPANS != 0);
        let spans: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Span {
                name,
                fields: if i < more { &[] } else { of_spans.next().map_or(&[], Vec::as_slice) },
            })
            .collect();
        with(&Item::Record(Record {
            time,
            sequence,
            level: callsite.level,
            stream: self.stream,
            task: &task,
            target,
            name: callsite.name,
            file,
            line,
            spans: &spans,
            fields: &fields,
            ..Record::BLANK
        }))
    }

    /// Gives what the log says of a callsite that made too many records as the loss that it tells.
    pub(super) fn give_suppressed<T>(&self, said: &Summary, time: Time, with: impl FnOnce(&Item<'_>) -> T) -> T {
        let mut description = [0; MAX_RECORD_BYTES];
        let of = self.callsites.get(&said.callsite);
        let of = of.and_then(|at| read_callsite(self.memory, *at, &mut description));
        let mut counts = Counts::default();
        let place = match of {
            Some(of) => {
                counts.by_level[of.level as usize] = said.count;
                format!("{} of {}", of.name, of.category)
            }
            None => {
                counts.unknown = said.count;
                "a callsite".to_string()
            }
        };
        let nanos = self.memory.nanos_from_ticks(said.within_ticks);
        let first = Time { nanos: time.nanos.saturating_sub(nanos), ..time };
        with(&Item::Loss(Loss::of_length(Cause::Limited, &place, counts, said.into(), (first, time))))
    }

    /// What the task is called; its number where that is not known, as of one that ended before its first record was shown.
    fn task(&self, number: u16) -> String {
        let named = || {
            let mut description = [0; MAX_RECORD_BYTES];
            let at = self.names.get(self.tasks.get(&number)?)?;
            read_record(self.memory, *at, &mut description, |record, _| match record {
                describe::Record::Callsite(callsite) => Some(callsite.name.to_string()),
                describe::Record::Name { text, .. } => Some(text.to_string()),
                describe::Record::Env { .. } => None,
            })?
        };
        named().unwrap_or_else(|| format!("#{number}"))
    }

    /// What a context says of a span. Its callsite is read into `description`.
    fn fields_of<'b>(
        &self,
        context: &'b Context,
        description: &'b mut Option<Box<[u8; MAX_RECORD_BYTES]>>,
    ) -> Vec<Field<'b>> {
        let bytes = description.insert(Box::new([0; MAX_RECORD_BYTES]));
        let Some(callsite) = read_callsite(self.memory, context.described, bytes) else { return Vec::new() };
        let values = callsite.fields.values(context.arg, &context.payload);
        let fields = values.filter(|(field, _)| field.name != SPAN);
        fields.map(|(field, value)| Field { name: field.name, value: reported(value) }).collect()
    }

    /// The names of the spans in the word, outermost first; `…` where there were more further out.
    fn span_names(&self, spans: u64) -> Vec<String> {
        let more = (spans & MORE_SPANS != 0).then(|| String::from("…"));
        let named = span_ids(spans).filter_map(|id| {
            let mut description = [0; MAX_RECORD_BYTES];
            let at = self.callsites.get(&id)?;
            Some(String::from(read_callsite(self.memory, *at, &mut description)?.name))
        });
        more.into_iter().chain(named).collect()
    }
}

fn reported(value: field::Value<'_>) -> Value<'_> {
    match value {
        field::Value::U64(value) | field::Value::Flow(value) => Value::U64(value),
        field::Value::I64(value) => Value::I64(value),
        field::Value::F64(value) => Value::F64(value),
        field::Value::Bool(value) => Value::Bool(value),
        field::Value::Str(text) => Value::Str(text),
        field::Value::Task(value) | field::Value::Name(value) | field::Value::Object(value) => Value::U64(value.into()),
    }
}

/// The callsite that is described at the offset `at`.
pub(super) fn read_callsite<'a>(
    memory: &Memory,
    at: u64,
    bytes: &'a mut [u8; MAX_RECORD_BYTES],
) -> Option<Callsite<'a>> {
    read_record(memory, at, bytes, |record, _| match record {
        describe::Record::Callsite(callsite) => Some(callsite),
        _ => None,
    })?
}

/// Gives the record that lies at the offset `at` of the description area, and its length, to `with`.
pub(super) fn read_record<'a, T>(
    memory: &Memory,
    at: u64,
    bytes: &'a mut [u8; MAX_RECORD_BYTES],
    with: impl FnOnce(describe::Record<'a>, usize) -> T,
) -> Option<T> {
    let end = memory.geometry.description_offset + memory.geometry.description_capacity;
    let len = usize::try_from(end.checked_sub(at)?).ok()?.min(MAX_RECORD_BYTES);
    let bytes = bytes.get_mut(..len)?;
    if !(memory.copy_out)(at, bytes) {
        return None;
    }
    let mut records = Records::new(bytes);
    let record = records.next()?.ok()?;
    Some(with(record, records.consumed_bytes()))
}
