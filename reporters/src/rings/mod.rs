//! A program's own log records, read back from its rings in the order of time: for reporters within the program.
//!
//! Invariant: a record is given out once, and only if its packet was still the same after it had been copied; records that are
//! missing are given out as a loss of so many of each level, found by the numbers that every record carries. Nothing here
//! changes what a collector sees: its cursor is not moved.
//!
//! The rings are kept: what was recorded before there was a reader is read first. When they are full meanwhile, the reader
//! finds out what they wrote over. Its own memory is one packet for each ring, and 32 bytes for each description:
//! [`Reader::worst_case_bytes`].
//!
//! The writers go on while the reader reads, in an interrupt or in other threads. The order of what is given out is that of what
//! had been committed when it was looked for; across threads, [`Order`](crate::order::Order) puts right what was committed
//! later than what is younger.

mod known;
mod relay;
mod stream;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use fata_wire::describe::{self, MAX_RECORD_BYTES};
use fata_wire::event::LEDGER;
use fata_wire::field::{self, Kind};
use fata_wire::log::ledger::Ledger;
use fata_wire::log::summary::{Summarised, Summary};
use fata_wire::log::{MAX_SPANS, SEQ, SPAN};
use fata_wire::shared::{self, Geometry};

use crate::loss::{Cause, Counts, Loss};
use crate::reporter::Item;
use crate::time::Time;
use known::{Known, read_record};
pub use relay::Relay;
use stream::{CONTEXT_BYTES, Context, Stream};

/// No description is shorter: length and kind, a number, a text.
const LEAST_RECORD_BYTES: u64 = 16;
/// What noting a description takes at most: an entry of a tree whose nodes are half full at least.
const NOTE_BYTES: usize = 32;
/// The names of so many tasks are kept.
const MAX_TASKS: usize = 256;
/// Where records are lost that the program itself reads.
const PLACE: &str = "the log ring";
/// Where those are that could not be described.
const DESCRIPTIONS: &str = "the area of descriptions";

/// Copies the whole words at an offset of the program's region; `false`, and nothing copied, where they do not lie within it.
/// Each word is read once, and whatever was published before it is seen by the next.
pub type CopyOut = Box<dyn Fn(u64, &mut [u8]) -> bool + Send>;

/// Reads the log rings of the program that it is part of.
pub struct Reader {
    memory: Memory,
    streams: Vec<Stream>,
    /// Where the description of each callsite lies that logs, or that is a span around records.
    callsites: BTreeMap<u16, u64>,
    /// Where each name lies that tasks may have.
    names: BTreeMap<u16, u64>,
    /// The numbers of the names of tasks whose records were shown, for those that have ended since.
    tasks: BTreeMap<u16, u16>,
    /// How much of the description area has been looked at.
    described: u64,
}

/// The region that is read.
struct Memory {
    geometry: Geometry,
    copy_out: CopyOut,
}

impl Memory {
    fn word(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        if (self.copy_out)(offset, &mut bytes) { u64::from_le_bytes(bytes) } else { 0 }
    }

    /// Wall time where the program knows it, else time since the anchor, which is its start.
    fn time_from_ticks(&self, ticks: u64) -> Time {
        let clock = |at: usize| self.word(at as u64);
        let since = i128::from(ticks) - i128::from(clock(shared::at::ANCHOR_TICKS));
        let nanos = i64::try_from(since * 1_000_000_000 / self.hz()).unwrap_or(i64::MAX);
        match clock(shared::at::ANCHOR_UNIX_NANOS) {
            0 => Time::since_start(nanos),
            anchor => Time::wall(i64::try_from(anchor).unwrap_or(i64::MAX).saturating_add(nanos)),
        }
    }

    fn nanos_from_ticks(&self, ticks: u64) -> i64 {
        i64::try_from(i128::from(ticks) * 1_000_000_000 / self.hz()).unwrap_or(i64::MAX)
    }

    fn hz(&self) -> i128 {
        i128::from(self.word(shared::at::CLOCK_HZ as u64).max(1))
    }
}

impl Reader {
    /// A reader from the oldest record that is still there, of the region that `geometry` tells of and `copy_out` reads;
    /// `None` where it has no log rings.
    #[must_use]
    pub fn new(geometry: Geometry, copy_out: CopyOut) -> Option<Self> {
        let numbers = geometry.stream_count..geometry.stream_count + geometry.log_streams;
        let streams: Vec<_> = numbers.map(|number| Stream::new(number, &geometry)).collect();
        (!streams.is_empty()).then(|| Reader {
            memory: Memory { geometry, copy_out },
            streams,
            callsites: BTreeMap::new(),
            names: BTreeMap::new(),
            tasks: BTreeMap::new(),
            described: 0,
        })
    }

    /// When the clock stood at `ticks`, as records say it.
    #[must_use]
    pub fn time_from_ticks(&self, ticks: u64) -> Time {
        self.memory.time_from_ticks(ticks)
    }

    /// The most memory it takes.
    #[must_use]
    pub fn worst_case_bytes(&self) -> usize {
        let geometry = &self.memory.geometry;
        let described = usize::try_from(geometry.description_capacity / LEAST_RECORD_BYTES).unwrap_or(usize::MAX);
        let stream = geometry.log_packet_bytes as usize + size_of::<Stream>() + MAX_SPANS * CONTEXT_BYTES;
        let streams = self.streams.len() * stream;
        streams + (described + MAX_TASKS) * NOTE_BYTES + 4 * MAX_RECORD_BYTES
    }

    /// Gives the oldest record, or the loss in its place, to `with`, with the number of the task that made it; `None` where
    /// there is nothing new. `task_name` knows the numbers of the names of tasks.
    pub fn next<T>(
        &mut self,
        task_name: &dyn Fn(u16) -> Option<u16>,
        with: impl FnOnce(u16, &Item<'_>) -> T,
    ) -> Option<T> {
        loop {
            for stream in &mut self.streams {
                stream.refill(&self.memory);
            }
            // Of records of one time the urgent ones go first, whose rings have the odd numbers.
            let first = self.streams.iter().enumerate().filter_map(|(i, stream)| Some((stream.next_ticks()?, i ^ 1)));
            let (_, index) = first.min()?;
            let index = index ^ 1;
            self.look_at_descriptions();
            let Reader { memory, streams, callsites, names, tasks, .. } = self;
            let stream = streams.get_mut(index)?;
            let (before, event) = (stream.ticks, stream::peek(&stream.events, stream.at, stream.ticks)?);
            let mut description = [0; MAX_RECORD_BYTES];
            let described = callsites.get(&event.id.callsite()).copied();
            if event.id.callsite() == LEDGER {
                stream.balance.ledger(&Ledger::parse(event.payload));
            }
            let callsite = described.and_then(|at| known::read_callsite(memory, at, &mut description));
            if let (Some(callsite), Some(described)) = (&callsite, described)
                && callsite.kind == Kind::Context
            {
                let span = callsite.fields.values(event.arg, event.payload).find_map(|(field, value)| match value {
                    field::Value::Object(span) if field.name == SPAN => Some(span),
                    _ => None,
                });
                stream.around.context(span.unwrap_or(0), Context::of(&event, described));
            }
            let Some(callsite) = callsite.filter(|callsite| callsite.kind == Kind::Log) else {
                // What a span's fields are, a clock event, a ledger, or one that was never described.
                stream.pass();
                continue;
            };
            let time = memory.time_from_ticks(event.ticks);
            let number = callsite.fields.values(event.arg, event.payload).find_map(|(field, value)| match value {
                field::Value::U64(number) if field.name == SEQ => Some(number),
                _ => None,
            });
            if let Some(number) = number {
                let missing = stream.numbers.missing_before(callsite.level, number);
                if missing > 0 {
                    let mut counts = Counts::default();
                    counts.by_level[callsite.level as usize] = missing;
                    stream.balance.settle();
                    let share = stream.balance.take(missing);
                    let cause = stream.cause_of_loss(memory, missing, share.undescribed);
                    let place = if cause == Cause::Undescribed { DESCRIPTIONS } else { PLACE };
                    let times = (memory.time_from_ticks(before), time);
                    return Some(with(0, &Item::Loss(Loss::of_length(cause, place, counts, share.into(), times))));
                }
                stream.numbers.seen(callsite.level, number);
            }
            stream.balance.read(8 + event.payload.len() as u64);
            stream.discarded = stream.discarded_since;
            note_task(tasks, event.arg, task_name);
            let known = Known { memory, callsites, names, tasks, stream: u32::try_from(index / 2).unwrap_or(0) };
            let values = callsite.fields.values(event.arg, event.payload).map(|(field, value)| (field.name, value));
            let given = match Summary::of(callsite.category, callsite.name, values) {
                Some(said) if said.what == Summarised::Suppressed => {
                    known.give_suppressed(&said, time, |item| with(event.arg, item))
                }
                _ => known.give(&callsite, &event, &mut stream.around, time, |item| with(event.arg, item)),
            };
            stream.pass();
            return Some(given);
        }
    }

    /// Notes where the callsites are described that came since the last look.
    fn look_at_descriptions(&mut self) {
        let geometry = self.memory.geometry;
        let used = self.memory.word(shared::at::DESCRIPTION_USED as u64).min(geometry.description_capacity);
        let mut bytes = [0; MAX_RECORD_BYTES];
        while self.described < used {
            let at = geometry.description_offset + self.described;
            let Some(consumed) = read_record(&self.memory, at, &mut bytes, |record, consumed| {
                match record {
                    describe::Record::Callsite(callsite)
                        if matches!(callsite.kind, Kind::Log | Kind::Span | Kind::Context) =>
                    {
                        self.callsites.insert(callsite.id, at);
                    }
                    describe::Record::Callsite(callsite) if callsite.kind == Kind::Name => {
                        self.names.insert(callsite.id, at);
                    }
                    describe::Record::Name { id, .. } => {
                        self.names.insert(id, at);
                    }
                    _ => {}
                }
                consumed
            }) else {
                return;
            };
            self.described += consumed as u64;
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

/// Notes what a task is called as long as it lives.
fn note_task(tasks: &mut BTreeMap<u16, u16>, number: u16, task_name: &dyn Fn(u16) -> Option<u16>) {
    if let Some(name) = task_name(number) {
        if tasks.len() == MAX_TASKS {
            tasks.clear();
        }
        tasks.insert(number, name);
    }
}
