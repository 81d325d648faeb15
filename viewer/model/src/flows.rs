//! Causal arrows: the points that one flow passes, joined by its id within its category.
//!
//! Invariant: a point knows the one before it in its flow, which has a smaller index. An id that begins anew is another
//! flow (15-bit packet ids are used again). As many points are kept as [`Limits`](crate::ingest::Limits) say, and, beside
//! those of 15-bit ids, [`MAX_LIVE`] flows are joined at a time; beyond that points are instants without arrows, and counted.

use foldhash::HashMap;

use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::Actor;

/// Flows with wide ids that have begun and not ended.
pub const MAX_LIVE: usize = 1 << 18;

/// A point that a flow passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPoint {
    /// When.
    pub time: Nanos,
    /// In whose track of instants the event is.
    pub actor: Actor,
    /// The event's callsite.
    pub callsite: u16,
    /// The vCPU.
    pub cpu: u32,
    /// The index of the point before it.
    pub previous: Option<u32>,
    /// The flow's id.
    pub id: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    time: Nanos,
    /// Below [`WIDE`] itself; else where it is among the wide ones.
    id: u32,
    actor: u32,
    previous: u32,
    callsite: u16,
    cpu: u16,
}

const NONE: u32 = u32::MAX;
/// Set in what stands for an id that has more bits than this.
const WIDE: u32 = 1 << 31;

/// Flows by category and id. Ids of packets have 15 bits: those of each guest's first categories are looked up in tables.
#[derive(Clone, Debug, Default)]
struct Live {
    tables: Vec<Vec<u32>>,
    others: HashMap<(u16, u64), u32>,
}

/// Categories of a guest that have a table, 128 KiB each.
const TABLES: usize = 4;
const TABLE: usize = fata_wire::event::ARG_LIMIT as usize;

impl Live {
    /// What is known of a flow in a table; [`NONE`] where it has not begun. `None` for flows that no table has.
    #[inline]
    fn place(&mut self, category: u16, id: u64) -> Option<&mut u32> {
        let guest = GuestId::of_callsite(category);
        let own = usize::from(category ^ guest.callsite(0));
        let table = guest.index() * TABLES + own;
        if own >= TABLES || id >= TABLE as u64 {
            return None;
        }
        if self.tables.get(table).is_none_or(Vec::is_empty) {
            self.add(table);
        }
        self.tables.get_mut(table)?.get_mut(usize::try_from(id).ok()?)
    }

    #[cold]
    fn add(&mut self, table: usize) {
        self.tables.resize(self.tables.len().max(table + 1), Vec::new());
        if let Some(table) = self.tables.get_mut(table) {
            table.resize(TABLE, NONE);
        }
    }

    /// A flow passes the point of this index, if there is one: returns the index of its last point before, and whether it is
    /// followed from here on.
    #[inline]
    fn pass(&mut self, passage: Passage, (category, id): (u16, u64), point: Option<u32>) -> (u32, bool) {
        let Some(place) = self.place(category, id) else { return self.pass_other(passage, (category, id), point) };
        let previous = if passage == Passage::Begin { NONE } else { *place };
        match (passage, point) {
            (Passage::End, _) => *place = NONE,
            (_, Some(point)) => *place = point,
            (_, None) => {}
        }
        (previous, true)
    }

    #[inline(never)]
    fn pass_other(&mut self, passage: Passage, flow: (u16, u64), point: Option<u32>) -> (u32, bool) {
        let known = match passage {
            Passage::End => self.others.remove(&flow),
            _ => self.others.get(&flow).copied(),
        };
        let fits = self.others.len() < MAX_LIVE || known.is_some();
        if let Some(point) = point.filter(|_| fits && passage != Passage::End) {
            self.others.insert(flow, point);
        }
        (known.filter(|_| passage != Passage::Begin).unwrap_or(NONE), fits || passage == Passage::End)
    }

    fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.capacity() * 4).sum::<usize>() + self.others.capacity() * 24
    }
}

/// What a flow event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Begin,
    Step,
    End,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    points: Vec<Stored>,
    /// The ids that do not fit into a point.
    wide: Vec<u64>,
    /// The last point of each flow that has begun and not ended.
    live: Live,
    max_points: usize,
    refused: u64,
}

impl Flows {
    pub(crate) fn new(max_points: usize) -> Self {
        Flows { max_points, ..Flows::default() }
    }

    /// How many points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Points beyond the limit.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The point at `index`.
    #[must_use]
    pub fn point(&self, index: u32) -> Option<FlowPoint> {
        let stored = self.points.get(index as usize)?;
        Some(FlowPoint {
            time: stored.time,
            actor: Actor::unpack(stored.actor),
            callsite: stored.callsite,
            cpu: GuestId::of_callsite(stored.callsite).cpu(stored.cpu.into()),
            previous: (stored.previous != NONE).then_some(stored.previous),
            id: match stored.id {
                narrow @ ..WIDE => narrow.into(),
                wide => *self.wide.get((wide ^ WIDE) as usize)?,
            },
        })
    }

    /// The point of the event of `callsite` at exactly `time`.
    #[must_use]
    pub fn point_at(&self, time: Nanos, callsite: u16) -> Option<u32> {
        let first = self.points.partition_point(|point| point.time < time);
        let same = self.points.get(first..)?.iter().take_while(|point| point.time == time);
        let offset = same.enumerate().find(|(_, point)| point.callsite == callsite)?.0;
        u32::try_from(first + offset).ok()
    }

    /// The points of the flow that passes `index`, oldest first; at most `limit` after it are looked for among the next
    /// 65,536 points.
    #[must_use]
    pub fn flow_of(&self, index: u32, limit: usize) -> Vec<FlowPoint> {
        let mut flow = Vec::new();
        let mut at = Some(index);
        while let Some(point) = at.and_then(|at| self.point(at)).filter(|_| flow.len() < limit) {
            flow.push(point);
            at = point.previous;
        }
        flow.reverse();
        let (mut last, before) = (index, flow.len());
        let rest = self.points.get(index as usize + 1..).unwrap_or(&[]);
        for (point, at) in rest.iter().take(1 << 16).zip(index + 1..) {
            if point.previous == last && flow.len() - before < limit {
                flow.extend(self.point(at));
                last = at;
            }
        }
        flow
    }

    /// The arrows that end within a time range: from each point to the one after it. In time order for one stream.
    pub fn arrows(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = (FlowPoint, FlowPoint)> {
        let first = self.points.partition_point(|point| point.time < from);
        let last = self.points.partition_point(|point| point.time < to).max(first);
        (first..last).filter_map(|index| {
            let end = self.point(u32::try_from(index).ok()?)?;
            Some((self.point(end.previous?)?, end))
        })
    }

    /// A flow passes a point; which point is before it is found out here.
    #[inline(always)]
    pub(crate) fn pass(&mut self, passage: Passage, category: u16, mut point: FlowPoint) {
        let fits = self.points.len() < self.max_points;
        let index = u32::try_from(self.points.len()).ok().filter(|_| fits);
        let (previous, is_followed) = self.live.pass(passage, (category, point.id), index);
        self.refused += u64::from(!fits || !is_followed);
        if !fits {
            return;
        }
        // Points of several streams are sorted as well as packets are.
        if let Some(last) = self.points.last() {
            point.time = point.time.max(last.time);
        }
        let id = match u32::try_from(point.id) {
            Ok(narrow) if narrow < WIDE => narrow,
            _ => self.keep_wide(point.id),
        };
        self.points.push(Stored {
            time: point.time,
            id,
            actor: point.actor.pack(),
            previous,
            callsite: point.callsite,
            cpu: u16::try_from(GuestId::own_cpu(point.cpu)).unwrap_or(u16::MAX),
        });
    }

    /// Keeps an id that does not fit into a point, and returns what stands for it.
    #[inline(never)]
    fn keep_wide(&mut self, id: u64) -> u32 {
        let place = u32::try_from(self.wide.len()).unwrap_or(0) & !WIDE;
        self.wide.push(id);
        place | WIDE
    }

    /// Gives back the room for what does not come any more.
    pub(crate) fn shrink(&mut self) {
        self.points.shrink_to_fit();
        self.wide.shrink_to_fit();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.points.capacity() * size_of::<Stored>()
            + self.wide.capacity() * size_of::<u64>()
            + self.live.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_in_tables_and_beside_them_are_those_of_a_map() {
        let mut random = crate::random::Random::new(3);
        let (mut live, mut map) = (Live::default(), HashMap::default());
        for point in 0..40_000u32 {
            let guest = GuestId::new(u16::try_from(random.below(3)).unwrap());
            let flow =
                (guest.callsite(u16::try_from(random.below(6)).unwrap()), random.below(3) * 32_767 + random.below(20));
            let passage = [Passage::Begin, Passage::Step, Passage::End][usize::try_from(random.below(3)).unwrap()];
            let index = (random.below(10) > 0).then_some(point);
            let before = match passage {
                Passage::End => map.remove(&flow),
                _ => map.get(&flow).copied(),
            };
            if let Some(point) = index.filter(|_| passage != Passage::End) {
                map.insert(flow, point);
            }
            let expected = if passage == Passage::Begin { None } else { before };
            assert_eq!(live.pass(passage, flow, index), (expected.unwrap_or(NONE), true));
        }
    }

    #[test]
    fn wide_ids_are_joined_up_to_a_limit_and_narrow_ones_beyond_it_too() {
        let mut flows = Flows::new(usize::MAX);
        let wide = |id: u64| FlowPoint { id: id << 20, ..point(0) };
        (1..=MAX_LIVE as u64 + 1).for_each(|id| flows.pass(Passage::Begin, 0, wide(id)));
        assert_eq!(flows.refused(), 1);
        flows.pass(Passage::Begin, 0, FlowPoint { id: 7, ..point(1) });
        flows.pass(Passage::End, 0, FlowPoint { id: 7, ..point(2) });
        flows.pass(Passage::End, 0, wide(1));
        flows.pass(Passage::End, 0, wide(MAX_LIVE as u64 + 1));
        assert_eq!((flows.refused(), flows.arrows(0, 3).count()), (1, 2));
    }

    fn point(time: Nanos) -> FlowPoint {
        FlowPoint { time, actor: Actor::Scheduler, callsite: 9, cpu: 0, previous: None, id: 0 }
    }

    #[test]
    fn points_of_one_id_are_joined_and_a_new_begin_is_another_flow() {
        let mut flows = Flows::new(100);
        flows.pass(Passage::Begin, 1, FlowPoint { id: 7, ..point(10) });
        flows.pass(Passage::Begin, 2, FlowPoint { id: 7, ..point(11) });
        flows.pass(Passage::Step, 1, FlowPoint { id: 7, ..point(12) });
        flows.pass(Passage::End, 1, FlowPoint { id: 7, ..point(13) });
        flows.pass(Passage::Begin, 1, FlowPoint { id: 7, ..point(14) });
        flows.pass(Passage::Step, 1, FlowPoint { id: 7, ..point(15) });
        let times = |index| flows.flow_of(index, 100).iter().map(|point| point.time).collect::<Vec<_>>();
        assert_eq!(times(0), [10, 12, 13]);
        assert_eq!(times(2), [10, 12, 13]);
        assert_eq!(times(1), [11]);
        assert_eq!(times(5), [14, 15]);
        let arrows: Vec<_> = flows.arrows(0, 20).map(|(a, b)| (a.time, b.time)).collect();
        assert_eq!(arrows, [(10, 12), (12, 13), (14, 15)]);
    }
}
