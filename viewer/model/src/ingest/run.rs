//! Runs of spans: begins and ends that follow one another in one stack, which is what most events are.
//!
//! A run decodes an event, and changes the stack; what has ended is put into its row later, many at a time. Invariant: a run
//! takes what [`Trace::span_begin`] and [`Trace::span_end`] would do the same with, and ends before all else: other events, a
//! stack that must grow, an end that is not the innermost span's, a gap since its begin, a row that is not there yet, a list that is full.

use fata_wire::event::{Header, extend_ticks};

use super::cursor::Place;
use super::plan::Plans;
use crate::spans::{Ended, Level, Pending, Tag};
use crate::streams::Stream;
use crate::trace::Trace;

/// Follows spans from `place` on, and returns where they end.
#[inline(never)]
pub(super) fn run<'a>(trace: &mut Trace, stream: &mut Stream, plans: &Plans, place: Place<'a>) -> Place<'a> {
    let Trace { stacks, touched, args, pending, .. } = trace;
    let (scale, owner, gaps, mut last) = (stream.scale, Trace::owner(stream), stream.gap_count(), stream.last);
    let guest = stream.guest;
    let phases = stream.phases.len();
    if scale.nanos_from_ticks(place.ticks) < last {
        // Times before the stream's last are moved to it, one by one. From there on they only grow.
        return place;
    }
    let Pending { list, len } = pending;
    let Some(stack) = Trace::touch((stacks, touched), stream, owner) else { return place };
    let (levels, mut depth) = (&mut stack.levels[..], stack.depth);
    let mut free = list.get_mut(*len..).unwrap_or(&mut []).iter_mut();
    let room = free.len();
    let Place { mut words, mut ticks, mut events } = place;
    while let Some((&first, rest)) = words.split_first() {
        let word = u64::from_le_bytes(first);
        let Header { ticks_low, id, arg, .. } = Header::unpack(word);
        let plan = plans.get(id);
        if plan.run_shape != Header::shape(word) {
            break;
        }
        let now = extend_ticks(ticks, ticks_low);
        let time = scale.nanos_from_ticks(now);
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
            level.begin(below, tag, time, plan.category, args.keep(plan.packing, arg, payload.as_flattened()));
            depth += 1;
            words = rest;
        }
        (last, ticks) = (time, now);
        events += 1;
    }
    *len += room - free.len();
    stack.depth = depth;
    stream.last = last;
    Place { words, ticks, events }
}

const _: () = assert!(size_of::<Level>() == 48);
