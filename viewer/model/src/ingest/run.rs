//! Runs of spans: begins and ends that follow one another in one stack, which is what most events are.
//!
//! A run decodes an event, changes the stack, and puts what has ended into its row and its callsite's account. Invariant: a run
//! takes what [`Trace::span_begin`] and [`Trace::span_end`] would do the same with, and ends before all else: other events,
//! the begin of an interrupt, a stack that must grow, an end that is not the innermost span's, a gap since its begin, a
//! row that is not there, a time before its begin. It ends behind the last of the interrupts, since what it interrupted goes on in another stack.

use fata_wire::event::Header;

use super::plan::{IDS, Plans};
use crate::spans::{Category, Level, Tag};
use crate::stats::{CALLSITES, CallsiteTimes};
use crate::streams::{Current, Stream};
use crate::time::{Nanos, high_half};
use crate::trace::Trace;

/// How far a run has come.
pub(super) struct After<'a> {
    /// What comes next.
    pub(super) words: &'a [[u8; 8]],
    /// The full clock that the next stamp is extended from.
    pub(super) ticks: u64,
    /// How many events it took.
    pub(super) events: u64,
}

/// What all runs of a packet have in common, up to a clock event.
pub(super) struct Pace {
    /// The clock at time 0.
    origin: u64,
    /// What the upper half of the product with it and ticks since the origin is their time.
    multiplier: u64,
    /// How many gaps the stream has had.
    gaps: u32,
}

impl Pace {
    /// That of the next `words` of a packet, before which the clock was `ticks`; `None` where each event is to be taken by
    /// itself.
    pub(super) fn of(trace: &Trace, stream: &Stream, words: usize, ticks: u64) -> Option<Self> {
        let (after, multiplier) = stream.scale.simple(ticks)?;
        let pace = Pace { origin: ticks.wrapping_sub(after), multiplier, gaps: stream.gap_count() };
        // Times before the stream's last are moved to it, one by one. From there on they only grow, and in one packet by less
        // than a day of ticks, but for what a clock event says. Each event is a word, and
        // ends one interval at most, which is in one row or, as a phase, in two.
        (pace.time(after) >= stream.last && trace.tracks.room >= 2 * words as u64).then_some(pace)
    }

    /// The full clock of the next stamp after `ticks`, as `extend_ticks` has it, and its time.
    #[inline]
    pub(super) fn next(&self, ticks: u64, low: u32) -> (u64, Nanos) {
        let ticks = ticks + u64::from(low.wrapping_sub(low_half(ticks)));
        (ticks, self.time(ticks.wrapping_sub(self.origin)))
    }

    #[inline]
    fn time(&self, after: u64) -> Nanos {
        high_half(u128::from(after) * u128::from(self.multiplier))
    }
}

/// Follows spans from the begin of `words` on, where the clock was `ticks` before them.
#[inline(always)]
pub(super) fn run<'a>(
    (trace, stream, pace): (&mut Trace, &mut Stream, &Pace),
    plans: &Plans,
    mut words: &'a [[u8; 8]],
    ticks: u64,
) -> After<'a> {
    let nothing = After { words, ticks, events: 0 };
    let mut now = ticks.wrapping_sub(pace.origin);
    let (plans, owner) = (plans.table(), Trace::owner(stream));
    let Trace { stacks, touched, args, tracks, times, .. } = trace;
    let Stream { stack, phases, cpu, last, irq_depth, current, guest, .. } = stream;
    let Some(times) = CallsiteTimes::of_guest(times, *guest) else { return nothing };
    let Some(stack) = Trace::touch((stacks, touched), stack, owner) else { return nothing };
    let levels = &mut stack.levels[..];
    let (mut depth, mut ends, mut interrupted) = (stack.depth, 0, None);
    let mut low = low_half(ticks);
    while let Some(&first) = words.first() {
        let word = u64::from_le_bytes(first);
        let Header { ticks_low, id, arg, words: payload_words, .. } = Header::unpack(word);
        let plan = &plans[usize::from(id.0) % IDS];
        if plan.run_shape != Header::shape(word) {
            break;
        }
        // As `extend_ticks` has it, counted from the origin.
        let then = now + u64::from(ticks_low.wrapping_sub(low));
        let (time, tag) = (pace.time(then), Tag::new(plan.tag, pace.gaps));
        if id.is_end() {
            let two = levels.get_mut(depth.wrapping_sub(1)..).and_then(|levels| levels.first_chunk_mut());
            let Some([below, level]) = two else { break };
            let Level { tag: begun, start, covered, counted_from, what, row } = *level;
            if begun != tag || below.tag.is_hole() || time < start {
                break;
            }
            let Some(row) = tracks.row_with_open(row) else { break };
            below.covered += time - counted_from;
            row.append(start, time, what);
            times[usize::from(id.callsite()) % CALLSITES].timed((time - start).cast_unsigned(), covered);
            if !tag.is(Category::Ordinary) {
                if tag.is(Category::Heap) {
                    Trace::show_phase(tracks, (phases, *cpu), (levels, depth), time);
                } else {
                    *irq_depth = irq_depth.saturating_sub(1);
                    interrupted = (*irq_depth == 0).then_some(time - start);
                }
            }
            (depth, ends) = (depth - 1, ends + 1);
            words = words.get(1..).unwrap_or(&[]);
            (now, low) = (then, ticks_low);
            if interrupted.is_some() {
                break;
            }
        } else {
            let Some((head, rest)) = words.split_at_checked(1 + usize::from(payload_words)) else { break };
            let Some(level) = levels.get_mut(depth + 1) else { break };
            let word = head.last().map_or(0, |word| u64::from_le_bytes(*word));
            let extra = plan.packing.keep_simple(word);
            let extra = extra.unwrap_or_else(|| args.keep(plan.packing, arg, head.get(1..).unwrap_or(&[])));
            level.begin(tag, time, extra);
            depth += 1;
            words = rest;
            (now, low) = (then, ticks_low);
        }
    }
    // Each end took a level away, each begin added one.
    let events = (2 * ends + depth - stack.depth) as u64;
    stack.depth = depth;
    tracks.room -= ends as u64;
    if events > 0 {
        *last = pace.time(now);
    }
    // What an interrupt ran over was not running meanwhile.
    if let (Some(nanos), Current::Task(task)) = (interrupted, *current)
        && let Some(stack) = stacks.get_mut(task.0 as usize)
    {
        stack.cover(nanos);
    }
    After { words, ticks: pace.origin.wrapping_add(now), events }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low_half(ticks: u64) -> u32 {
    ticks as u32
}
