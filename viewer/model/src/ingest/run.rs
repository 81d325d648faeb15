//! Runs of spans: begins and ends that follow one another in one stack, which is what most events are.
//!
//! A run decodes an event, and changes the stack; what has ended is put into its row later, many at a time. Invariant: a run
//! takes what [`Trace::span_begin`] and [`Trace::span_end`] would do the same with, and ends before all else: other events, a
//! stack that must grow, an end that is not the innermost span's, a gap since its begin, a row that is not there yet, a list that is full.

use fata_wire::event::Header;

use super::plan::Plans;
use crate::spans::{Ended, Level, Pending, Tag};
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
    let Trace { stacks, touched, args, pending, .. } = trace;
    let nothing = After { words, ticks, events: 0 };
    // Times before the stream's last are moved to it, one by one. From there on they only grow, and in one packet by less than
    // a day of ticks.
    let Some((mut after, multiplier)) = stream.scale.simple(ticks) else { return nothing };
    let time_of = |after: u64| high_half(u128::from(after) * u128::from(multiplier));
    if time_of(after) < stream.last {
        return nothing;
    }
    let (before, guest) = (after, stream.guest);
    let (owner, gaps, phases) = (Trace::owner(stream), stream.gap_count(), stream.phases.len());
    let Some(stack) = Trace::touch((stacks, touched), stream, owner) else { return nothing };
    let Pending { list, len } = pending;
    let mut free = list.get_mut(*len..).unwrap_or(&mut []).iter_mut();
    let room = free.len();
    let (levels, mut depth) = (&mut stack.levels[..], stack.depth);
    let mut low = low_half(ticks);
    while let Some((&first, rest)) = words.split_first() {
        let word = u64::from_le_bytes(first);
        let Header { ticks_low, id, arg, .. } = Header::unpack(word);
        let plan = plans.get(id);
        if plan.run_shape != Header::shape(word) {
            break;
        }
        // As `extend_ticks` has it.
        let now = after + u64::from(ticks_low.wrapping_sub(low));
        let time = time_of(now);
        let tag = Tag::new(guest.callsite(id.callsite()), gaps);
        if id.is_end() {
            let two = depth.checked_sub(1).and_then(|below| levels.get_mut(below..)?.first_chunk_mut());
            let Some([below, level]) = two else { break };
            if level.tag != tag || below.tag.is_hole() || level.phases() > phases {
                break;
            }
            let Some(ended) = free.next() else { break };
            below.covered += time - level.counted_from;
            *ended = Ended::of(level, time);
            depth -= 1;
            words = rest;
        } else {
            let Some((payload, rest)) = rest.split_at_checked(plan.words.into()) else { break };
            let Some([below, level]) = levels.get_mut(depth..).and_then(|levels| levels.first_chunk_mut()) else {
                break;
            };
            let extra = args.keep(plan.packing, arg, payload.as_flattened());
            level.begin(below, tag, time, plan.category, extra);
            depth += 1;
            words = rest;
        }
        (after, low) = (now, ticks_low);
    }
    let ended = room - free.len();
    *len += ended;
    // Each end took a level away, each begin added one.
    let begun = depth + ended - stack.depth;
    stack.depth = depth;
    if ended + begun > 0 {
        stream.last = time_of(after);
    }
    After { words, ticks: ticks + (after - before), events: (ended + begun) as u64 }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low_half(ticks: u64) -> u32 {
    ticks as u32
}

const _: () = assert!(size_of::<Level>() == 48);
