//! One event to what it means: the hot path looks up its plan and does what the kind says.

use fata_wire::event::{Event, EventError, EventId, Header, MAX_CALLSITES};
use fata_wire::field::{Kind, Value};
use fata_wire::log::ledger::Ledger;
use fata_wire::packet::{HEADER_BYTES, Packet};
use fata_wire::u64_at;

use super::plan::{FlowAt, Plan};
use super::run::{self, Pace};
use super::{Ingest, cursor};
use crate::flows::{FlowPoint, Passage};
use crate::guests::GuestId;
use crate::log_losses::Follow;
use crate::logs::LogRecord;
use crate::streams::Stream;
use crate::time::Nanos;
use crate::trace::{Actor, Trace, TrackKind, Tracks};

impl Ingest {
    /// Follows the events of a packet behind the first `repeated`: how many there were, and why there are no more, if that is
    /// no good reason.
    pub(super) fn events(
        &mut self,
        stream: &mut Stream,
        packet: &Packet<'_>,
        repeated: u64,
    ) -> (u64, Option<EventError>) {
        let Ingest { trace, plans, one_by_one, .. } = self;
        let Some(plans) = plans.get(stream.guest.index()) else { return (0, None) };
        let content_bytes = usize::try_from(packet.header.content_size / 8).unwrap_or(0);
        let content = packet.bytes.get(HEADER_BYTES..content_bytes).unwrap_or(&[]);
        let (mut words, mut ticks, mut events) = (content.as_chunks().0, packet.header.timestamp_begin, 0);
        for _ in 0..repeated {
            match cursor::next(words, ticks, plans) {
                Ok((_, _, rest, now)) => (words, ticks) = (rest, now),
                Err(error) => return (0, Some(error)),
            }
        }
        let one_by_one = *one_by_one;
        let pace_of = |trace: &Trace, stream: &Stream, words: usize, ticks| match one_by_one {
            false => Pace::of(trace, stream, words, ticks),
            true => None,
        };
        let mut pace = pace_of(trace, stream, words.len(), ticks);
        while let Some((&first, rest)) = words.split_first() {
            if let Some(pace) = &pace {
                let word = u64::from_le_bytes(first);
                let Header { ticks_low, id, arg, .. } = Header::unpack(word);
                let plan = plans.get(id);
                if plan.run_shape == Header::shape(word) {
                    let after = run::run((trace, stream, pace), plans, words, ticks);
                    if after.events > 0 {
                        (words, ticks) = (after.words, after.ticks);
                        events += after.events;
                        continue;
                    }
                }
                // No clock event has a shape, so that the pace stays.
                if let Some((payload, rest)) = plan.payload(word, rest) {
                    let time;
                    (ticks, time) = pace.next(ticks, ticks_low);
                    stream.last = time;
                    trace.event(stream, plan, time, Event { ticks, id, arg, payload: payload.as_flattened() });
                    words = rest;
                    events += 1;
                    continue;
                }
            }
            let (plan, event, rest, now) = match cursor::next(words, ticks, plans) {
                Ok(next) => next,
                Err(error) => return (events, Some(error)),
            };
            let sets_clock = now != event.ticks;
            let time = stream.scale.nanos_from_ticks(event.ticks).max(stream.last);
            stream.last = time;
            trace.event(stream, plan, time, event);
            (words, ticks) = (rest, now);
            events += 1;
            if sets_clock {
                pace = pace_of(trace, stream, words.len(), ticks);
            }
        }
        (events, None)
    }
}

impl Trace {
    /// Any event. It is in registers; who wants it in memory gets a copy.
    #[inline(always)]
    fn event(&mut self, stream: &mut Stream, plan: &Plan, time: Nanos, event: Event<'_>) {
        let Some(kind) = plan.kind else {
            self.unknown_events += 1;
            return;
        };
        let guest = stream.guest;
        let callsite = plan.tag.callsite();
        if plan.is_counted {
            self.count(callsite);
        }
        match kind {
            Kind::Clock | Kind::Name | Kind::Context => {}
            Kind::Ledger => follow(stream).ledger(&Ledger::parse(event.payload)),
            Kind::Span if event.id.is_end() => self.span_end(stream, time, callsite, plan.category),
            Kind::Span => {
                let extra = self.args.keep(plan.packing, event.arg, event.payload.as_chunks().0);
                self.span_begin(stream, time, callsite, plan.category, extra);
            }
            Kind::Poll => self.on_poll(stream, time, event.arg),
            Kind::Switch => {
                self.on_waits(stream, plan, event.id);
                self.on_poll(stream, time, event.arg);
            }
            Kind::Pending => {
                self.on_waits(stream, plan, event.id);
                self.on_pending(stream, time, event.arg);
            }
            Kind::Done => self.on_done(stream, time, event.arg),
            Kind::Ready => self.on_ready(stream, time, event.arg),
            Kind::Spawn => {
                let (name, parent) = name_and_parent(self, guest, &{ event });
                self.on_spawn(stream, time, event.arg, name, parent);
            }
            Kind::Alive => {
                let (name, parent) = name_and_parent(self, guest, &{ event });
                self.on_alive(stream, time, event.arg, name, parent);
            }
            Kind::Exists => {
                let name = names(self, guest, &{ event }).next();
                self.objects.exists(guest, event.arg, callsite, name);
            }
            Kind::Counter => self.sample(stream, plan, time, event.arg, event.payload),
            Kind::Log => self.log(stream, time, plan, &{ event }),
            Kind::FlowBegin | Kind::FlowStep | Kind::FlowEnd => self.flow(stream, plan, time, event.arg, event.payload),
            _ => {
                let extra = self.args.keep(plan.packing, event.arg, event.payload.as_chunks().0);
                self.instant(stream, time, callsite, extra);
                if kind != Kind::Instant {
                    self.other(stream, time, kind, &{ event });
                }
            }
        }
    }

    /// An instant that a flow passes.
    #[inline(never)]
    fn flow(&mut self, stream: &mut Stream, plan: &Plan, time: Nanos, arg: u16, payload: &[u8]) {
        let callsite = plan.tag.callsite();
        let extra = self.args.keep(plan.packing, arg, payload.as_chunks().0);
        self.instant(stream, time, callsite, extra);
        let passage = match plan.kind {
            Some(Kind::FlowBegin) => Passage::Begin,
            Some(Kind::FlowEnd) => Passage::End,
            _ => Passage::Step,
        };
        let id = if plan.flow == FlowAt::Arg {
            arg.into()
        } else if plan.flow == FlowAt::Payload && !payload.is_empty() {
            u64_at(payload, 0)
        } else {
            return self.wire_end(passage, stream, plan, time, first_value(plan, arg, payload));
        };
        let point = FlowPoint { time, actor: stream.actor(), callsite, cpu: stream.cpu, previous: None, id };
        self.flows.pass(passage, plan.flow_category, point);
    }

    /// A packet is sent to another guest or has come from one; any other flow says nothing that could be an id.
    #[inline(never)]
    fn wire_end(&mut self, passage: Passage, stream: &Stream, plan: &Plan, time: Nanos, value: Option<Value<'_>>) {
        let Some(Value::Flow(id) | Value::U64(id)) = value.filter(|_| plan.flow == FlowAt::Wire) else { return };
        let callsite = plan.tag.callsite();
        let point = FlowPoint { time, actor: stream.actor(), callsite, cpu: stream.cpu, previous: None, id };
        self.wire(passage == Passage::End, point);
    }

    /// What an instant means besides.
    #[inline(never)]
    fn other(&mut self, stream: &mut Stream, time: Nanos, kind: Kind, event: &Event<'_>) {
        let (actor, guest) = (stream.actor(), stream.guest);
        let callsite = guest.callsite(event.id.callsite());
        match kind {
            Kind::WaitFor => self.on_wait_for(stream, guest.name(event.arg), false),
            Kind::Create => {
                let name = names(self, guest, event).next();
                self.objects.create(guest, event.arg, callsite, name, actor, time);
            }
            Kind::Try => {
                self.objects.attempt(guest, event.arg, actor, time);
                if let Some(name) = self.objects.name_of(guest, event.arg) {
                    self.on_wait_for(stream, name, true);
                }
            }
            Kind::Read => self.objects.read(guest, event.arg, actor, time),
            Kind::Resolve => self.objects.resolve(guest, event.arg, actor, time),
            Kind::Fail => self.objects.fail(guest, event.arg, time),
            Kind::Signal => self.objects.signal(guest, event.arg, time),
            Kind::Drop => self.objects.drop_object(guest, event.arg),
            _ => {}
        }
    }

    /// What the end of a poll says that its task waits for.
    #[inline]
    fn on_waits(&mut self, stream: &mut Stream, plan: &Plan, id: EventId) {
        if plan.waits {
            self.on_wait_for(stream, stream.guest.name(id.callsite()), false);
        }
    }

    #[inline(never)]
    fn log(&mut self, stream: &mut Stream, time: Nanos, plan: &Plan, event: &Event<'_>) {
        let callsite = stream.guest.callsite(event.id.callsite());
        let extra = self.args.keep(plan.packing, event.arg, event.payload.as_chunks().0);
        let task = if plan.numbered.is_some() { event.arg } else { self.task_number(stream.actor()) };
        if self.tracks.take_room() {
            self.logs.push(LogRecord { time, callsite, task, extra });
        }
        let Some(level) = plan.numbered else {
            // A log stream has no tasks, and its records come late among those of the others: this one is of another.
            self.instant(stream, time, callsite, extra);
            return;
        };
        let described = self.description.callsite(callsite);
        let number = described
            .and_then(|site| site.wire_fields().values(event.arg, event.payload).next().map(|(_, value)| value));
        if let Some(Value::U64(number)) = number {
            follow(stream).take(level, number, time, 8 + event.payload.len() as u64);
        }
    }

    #[inline(never)]
    fn sample(&mut self, stream: &mut Stream, plan: &Plan, time: Nanos, arg: u16, payload: &[u8]) {
        let value = match first_value(plan, arg, payload) {
            Some(Value::U64(number) | Value::Flow(number)) => number as f64,
            Some(Value::I64(number)) => number as f64,
            Some(Value::F64(number)) => number,
            Some(Value::Bool(flag)) => f64::from(u8::from(flag)),
            Some(Value::Task(number) | Value::Name(number) | Value::Object(number)) => f64::from(number),
            Some(Value::Str(_)) | None => return,
        };
        let (callsite, cpu) = (plan.tag.callsite(), stream.cpu);
        let index = usize::from(callsite % MAX_CALLSITES);
        if stream.counters.len() <= index {
            stream.counters.resize(index + 1, Tracks::NONE);
        }
        if let Some(id) = stream.counters.get_mut(index) {
            if *id == Tracks::NONE {
                *id = self.tracks.add(TrackKind::Counter { cpu, callsite });
            }
            if let Some(samples) = self.tracks.samples(*id) {
                samples.push(time, value);
            }
        }
    }

    /// The number of a task, 0 for what is none.
    fn task_number(&self, actor: Actor) -> u16 {
        match actor {
            Actor::Task(task) => self.task(task).map_or(0, |task| task.number),
            _ => 0,
        }
    }
}

/// What is known of the records of a log stream.
fn follow(stream: &mut Stream) -> &mut Follow {
    let (from_start, begin) = (stream.from_start, stream.first);
    stream.log.get_or_insert_with(|| Box::new(Follow::new(from_start, begin)))
}

/// The value of the first field, where it is a number.
#[inline]
fn first_value<'a>(plan: &Plan, arg: u16, payload: &[u8]) -> Option<Value<'a>> {
    let ty = plan.first?;
    if ty.is_narrow() {
        return Some(Value::of(ty, arg.into()));
    }
    (!payload.is_empty()).then(|| Value::of(ty, u64_at(payload, 0)))
}

/// The values of the fields of an event of `guest`.
fn values<'a>(trace: &'a Trace, guest: GuestId, event: &Event<'a>) -> impl Iterator<Item = Value<'a>> + use<'a> {
    let callsite = trace.description.callsite(guest.callsite(event.id.callsite()));
    let (arg, payload) = (event.arg, event.payload);
    callsite.into_iter().flat_map(move |callsite| {
        callsite.wire_fields().values(arg, payload).map(|(_, value)| value).collect::<Vec<_>>()
    })
}

/// The ids of the names among them.
fn names<'a>(trace: &'a Trace, guest: GuestId, event: &Event<'a>) -> impl Iterator<Item = u32> + use<'a> {
    let name = move |value| if let Value::Name(id) = value { Some(guest.name(id)) } else { None };
    values(trace, guest, event).filter_map(name)
}

/// What a spawn says of its task.
fn name_and_parent(trace: &Trace, guest: GuestId, event: &Event<'_>) -> (Option<u32>, Option<u16>) {
    // The first task field is the new task, the second its parent.
    let task = |value| if let Value::Task(task) = value { Some(task) } else { None };
    let parent = values(trace, guest, event).filter_map(task).nth(1);
    (names(trace, guest, event).next(), parent.filter(|&number| number != 0))
}
