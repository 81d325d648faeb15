//! Runs of spans: begins and ends that follow one another in one stack, which is what most events are.
//!
//! A run decodes an event, and changes the stack; what has ended is put into its row later, many at a time. Invariant: a run
//! takes what [`Trace::span_begin`] and [`Trace::span_end`] would do the same with, and ends before all else: other events, a
//! stack that must grow, an end that is not the innermost span's, a gap since its begin, a row that is not there yet, a list that is full.

use fata_wire::event::Header;

use super::plan::Plans;
use crate::spans::{Ended, Pending, Tag};
use crate::streams::Stream;
use crate::time::high_half;
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

/// Follows spans from the begin of `words` on, where the clock was `ticks` before them.
#[inline(never)]
pub(super) fn run<'a>(
    trace: &mut Trace,
    stream: &mut Stream,
    plans: &Plans,
    mut words: &'a [[u8; 8]],
    ticks: u64,
) -> After<'a> {
    let nothing = After { words, ticks, events: 0 };
    // Times before the stream's last are moved to it, one by one. From there on they only grow, and in one packet by less than
    // a day of ticks.
    let Some((after, multiplier)) = stream.scale.simple(ticks) else { return nothing };
    let (origin, mut now) = (ticks.wrapping_sub(after), ticks);
    let time_of = |ticks: u64| high_half(u128::from(ticks.wrapping_sub(origin)) * u128::from(multiplier));
    if time_of(now) < stream.last {
        return nothing;
    }
    if trace.pending.is_full() {
        trace.settle_pending(stream);
    }
    let Trace { stacks, touched, args, pending, .. } = trace;
    let tags = Tag::new(stream.guest.callsite(0), stream.gap_count());
    let (owner, phases) = (Trace::owner(stream), stream.phases.len());
    let Some(stack) = Trace::touch((stacks, touched), stream, owner) else { return nothing };
    let Pending { list, len } = pending;
    let (levels, list) = (&mut stack.levels[..], &mut list[..]);
    let (mut depth, mut full) = (stack.depth, *len);
    while let Some((&first, rest)) = words.split_first() {
        let word = u64::from_le_bytes(first);
        let Header { ticks_low, id, arg, .. } = Header::unpack(word);
        let plan = plans.get(id);
        if plan.run_shape != Header::shape(word) {
            break;
        }
        // As `extend_ticks` has it.
        let then = now + u64::from(ticks_low.wrapping_sub(low_half(now)));
        let (time, tag) = (time_of(then), tags.of(id.callsite()));
        if id.is_end() {
            let two = depth.checked_sub(1).and_then(|below| levels.get_mut(below..)?.first_chunk_mut());
            let Some([below, level]) = two else { break };
            if level.tag != tag || below.tag.is_hole() || level.phases() > phases {
                break;
            }
            let Some(ended) = list.get_mut(full) else { break };
            below.covered += time - level.counted_from;
            *ended = Ended::of(level, tag, time);
            (depth, full) = (depth - 1, full + 1);
            words = rest;
        } else {
            let Some((payload, rest)) = rest.split_at_checked(plan.words.into()) else { break };
            let Some([below, level]) = levels.get_mut(depth..).and_then(|levels| levels.first_chunk_mut()) else {
                break;
            };
            let extra = args.keep(plan.packing, arg, payload.as_flattened());
            level.begin(below, tag, time, plan.special, extra);
            depth += 1;
            words = rest;
        }
        now = then;
    }
    // Each end took a level away, each begin added one.
    let events = 2 * (full - *len) + depth - stack.depth;
    (stack.depth, *len) = (depth, full);
    if events > 0 {
        stream.last = time_of(now);
    }
    After { words, ticks: now, events: events as u64 }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low_half(ticks: u64) -> u32 {
    ticks as u32
}
