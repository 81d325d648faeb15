//! One event to what it means: the hot path looks up its callsite's plan and does what the kind says.

use fata_wire::event::Event;
use fata_wire::field::{Kind, Value};

use super::Ingest;
use crate::flows::{FlowPoint, Passage};
use crate::logs::LogRecord;
use crate::time::Nanos;
use crate::trace::{Actor, Trace, TrackKind, Tracks};

impl Ingest {
    #[inline]
    pub(super) fn event(&mut self, at: usize, event: &Event<'_>) {
        let callsite = event.id.callsite();
        let trace = &mut self.trace;
        let plan = self.plans.get(usize::from(callsite)).copied().unwrap_or_default();
        let (Some(kind), Some(stream)) = (plan.kind, trace.streams.get_mut(at)) else {
            trace.unknown_events += 1;
            return;
        };
        let time = trace.scale.nanos_from_ticks(event.ticks).max(stream.last);
        stream.last = time;
        // Most events are ends and begins of spans: they are told apart before the table of all kinds is asked.
        if kind == Kind::Span && event.id.is_end() {
            trace.span_end(at, time, callsite, plan.category);
            return;
        }
        if !event.id.is_end()
            && let Some(times) = trace.times.get_mut(usize::from(callsite))
        {
            times.count += 1;
        }
        if kind == Kind::Span {
            let extra = trace.args.keep(plan.packing, event.arg, event.payload);
            trace.span_begin(at, time, callsite, plan.category, extra);
            return;
        }
        match kind {
            Kind::Clock | Kind::Name => {}
            Kind::Poll => trace.on_poll(at, time, event.arg),
            Kind::Pending => trace.on_pending(at, time, event.arg),
            Kind::Done => trace.on_done(at, time, event.arg),
            Kind::Switch => trace.on_switch(at, time, event.arg),
            Kind::Ready => trace.on_ready(at, time, event.arg),
            Kind::Spawn => self.spawn(at, time, event),
            Kind::Alive => self.alive(at, time, event),
            Kind::Exists => {
                let name = names(trace, event).next();
                trace.objects.exists(event.arg, callsite, name);
            }
            Kind::Counter => self.counter(at, time, event),
            Kind::Log => {
                let extra = trace.args.keep(plan.packing, event.arg, event.payload);
                let task = match stream_task(trace, at) {
                    _ if plan.numbered => event.arg,
                    task => task,
                };
                if trace.tracks.take_room() {
                    trace.logs.push(LogRecord { time, callsite, task, extra });
                }
                // A log stream has no tasks, and its records come late among those of the others.
                if !plan.numbered {
                    trace.instant(at, time, callsite, extra);
                }
            }
            _ => {
                let extra = trace.args.keep(plan.packing, event.arg, event.payload);
                trace.instant(at, time, callsite, extra);
                self.other(at, time, kind, plan.flow_category, event);
            }
        }
    }

    /// What an instant means besides.
    fn other(&mut self, at: usize, time: Nanos, kind: Kind, flow_category: u16, event: &Event<'_>) {
        let trace = &mut self.trace;
        let Some(stream) = trace.streams.get(at) else { return };
        let (actor, cpu) = (stream.actor(), stream.cpu);
        match kind {
            Kind::FlowBegin | Kind::FlowStep | Kind::FlowEnd => {
                let Some(id) = first_value(trace, event).and_then(flow_id) else { return };
                let passage = match kind {
                    Kind::FlowBegin => Passage::Begin,
                    Kind::FlowEnd => Passage::End,
                    _ => Passage::Step,
                };
                let point = FlowPoint { time, actor, callsite: event.id.callsite(), cpu, previous: None, id };
                trace.flows.pass(passage, flow_category, id, point);
            }
            Kind::WaitFor => trace.on_wait_for(at, event.arg, false),
            Kind::Create => {
                let name = names(trace, event).next();
                trace.objects.create(event.arg, event.id.callsite(), name, actor, time);
            }
            Kind::Try => {
                trace.objects.attempt(event.arg, actor, time);
                if let Some(name) = trace.objects.name_of(event.arg) {
                    trace.on_wait_for(at, name, true);
                }
            }
            Kind::Read => trace.objects.read(event.arg, actor, time),
            Kind::Resolve => trace.objects.resolve(event.arg, actor, time),
            Kind::Fail => trace.objects.fail(event.arg, time),
            Kind::Signal => trace.objects.signal(event.arg, time),
            Kind::Drop => trace.objects.drop_object(event.arg),
            _ => {}
        }
    }

    fn spawn(&mut self, at: usize, time: Nanos, event: &Event<'_>) {
        let (name, parent) = name_and_parent(&self.trace, event);
        self.trace.on_spawn(at, time, event.arg, name, parent);
    }

    fn alive(&mut self, at: usize, time: Nanos, event: &Event<'_>) {
        let (name, parent) = name_and_parent(&self.trace, event);
        self.trace.on_alive(at, time, event.arg, name, parent);
    }

    fn counter(&mut self, at: usize, time: Nanos, event: &Event<'_>) {
        let trace = &mut self.trace;
        let value = match first_value(trace, event) {
            Some(Value::U64(number) | Value::Flow(number)) => number as f64,
            Some(Value::I64(number)) => number as f64,
            Some(Value::F64(number)) => number,
            Some(Value::Bool(flag)) => f64::from(u8::from(flag)),
            Some(Value::Task(number) | Value::Name(number) | Value::Object(number)) => f64::from(number),
            Some(Value::Str(_)) | None => return,
        };
        let Some(stream) = trace.streams.get_mut(at) else { return };
        let (callsite, cpu) = (event.id.callsite(), stream.cpu);
        let index = usize::from(callsite);
        if stream.counters.len() <= index {
            stream.counters.resize(index + 1, Tracks::NONE);
        }
        if let Some(id) = stream.counters.get_mut(index) {
            if *id == Tracks::NONE {
                *id = trace.tracks.add(TrackKind::Counter { cpu, callsite });
            }
            if let Some(samples) = trace.tracks.samples(*id) {
                samples.push(time, value);
            }
        }
    }
}

/// The number of the task that runs in a stream, 0 for none.
fn stream_task(trace: &Trace, at: usize) -> u16 {
    match trace.streams.get(at).map(|stream| stream.actor()) {
        Some(Actor::Task(task)) => trace.task(task).map_or(0, |task| task.number),
        _ => 0,
    }
}

/// The values of an event's fields.
fn values<'a>(trace: &'a Trace, event: &Event<'a>) -> impl Iterator<Item = Value<'a>> + use<'a> {
    let callsite = trace.description.callsite(event.id.callsite());
    let (arg, payload) = (event.arg, event.payload);
    callsite.into_iter().flat_map(move |callsite| {
        callsite.wire_fields().values(arg, payload).map(|(_, value)| value).collect::<Vec<_>>()
    })
}

fn first_value<'a>(trace: &'a Trace, event: &Event<'a>) -> Option<Value<'a>> {
    values(trace, event).next()
}

fn names<'a>(trace: &'a Trace, event: &Event<'a>) -> impl Iterator<Item = u16> + use<'a> {
    values(trace, event).filter_map(|value| if let Value::Name(id) = value { Some(id) } else { None })
}

/// What a spawn says of its task.
fn name_and_parent(trace: &Trace, event: &Event<'_>) -> (Option<u16>, Option<u16>) {
    // The first task field is the new task, the second its parent.
    let parent =
        values(trace, event).filter_map(|value| if let Value::Task(task) = value { Some(task) } else { None }).nth(1);
    (names(trace, event).next(), parent.filter(|&number| number != 0))
}

fn flow_id(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Flow(id) | Value::U64(id) => Some(id),
        _ => None,
    }
}
