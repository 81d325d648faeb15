//! Causal arrows: the points that one flow passes, joined by its id within its category.
//!
//! Invariant: a point knows the one before it in its flow, which has a smaller index. An id that begins anew is another
//! flow (15-bit packet ids are used again). As many points are kept as [`Limits`](crate::ingest::Limits) say, and
//! [`MAX_LIVE`] flows are joined at a time; beyond that points are instants without arrows, and counted.

use foldhash::HashMap;

use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::Actor;

/// Flows that have begun and not ended.
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
    id: u64,
    actor: u32,
    previous: u32,
    callsite: u16,
    cpu: u16,
}

const NONE: u32 = u32::MAX;

/// Flows by category and id. Ids of packets have 15 bits: those of the first categories are looked up in tables.
#[derive(Clone, Debug, Default)]
struct Live {
    tables: Vec<Vec<u32>>,
    others: HashMap<(u16, u64), u32>,
    /// Flows in the tables.
    in_tables: usize,
}

/// Categories that have a table, 128 KiB each.
const TABLES: usize = 16;
const TABLE: usize = fata_wire::event::ARG_LIMIT as usize;

impl Live {
    fn place(&mut self, category: u16, id: u64) -> Option<&mut u32> {
        let (category, id) = (usize::from(category), usize::try_from(id).ok().filter(|&id| id < TABLE)?);
        if category >= TABLES {
            return None;
        }
        while self.tables.len() <= category {
            self.tables.push(Vec::new());
        }
        let table = self.tables.get_mut(category)?;
        if table.is_empty() {
            table.resize(TABLE, NONE);
        }
        table.get_mut(id)
    }

    fn len(&self) -> usize {
        self.in_tables + self.others.len()
    }

    fn get(&mut self, category: u16, id: u64) -> Option<u32> {
        match self.place(category, id) {
            Some(&mut point) => (point != NONE).then_some(point),
            None => self.others.get(&(category, id)).copied(),
        }
    }

    fn remove(&mut self, category: u16, id: u64) -> Option<u32> {
        let Some(place) = self.place(category, id) else { return self.others.remove(&(category, id)) };
        let point = std::mem::replace(place, NONE);
        self.in_tables -= usize::from(point != NONE);
        (point != NONE).then_some(point)
    }

    fn insert(&mut self, category: u16, id: u64, point: u32) {
        match self.place(category, id) {
            Some(place) => {
                let new = std::mem::replace(place, point) == NONE;
                self.in_tables += usize::from(new);
            }
            None => {
                self.others.insert((category, id), point);
            }
        }
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
            id: stored.id,
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

    pub(crate) fn pass(&mut self, passage: Passage, category: u16, id: u64, mut point: FlowPoint) {
        let index = u32::try_from(self.points.len()).unwrap_or(NONE);
        let previous = match passage {
            Passage::Begin => None,
            Passage::Step => self.live.get(category, id),
            Passage::End => self.live.remove(category, id),
        };
        if self.points.len() >= self.max_points {
            self.refused += 1;
            return;
        }
        // Points of several streams are sorted as well as packets are.
        if let Some(last) = self.points.last() {
            point.time = point.time.max(last.time);
        }
        self.points.push(Stored {
            time: point.time,
            id,
            actor: point.actor.pack(),
            previous: previous.unwrap_or(NONE),
            callsite: point.callsite,
            cpu: u16::try_from(GuestId::own_cpu(point.cpu)).unwrap_or(u16::MAX),
        });
        if passage != Passage::End {
            if self.live.len() < MAX_LIVE || self.live.get(category, id).is_some() {
                self.live.insert(category, id, index);
            } else {
                self.refused += 1;
            }
        }
    }

    /// Gives back the room for what does not come any more.
    pub(crate) fn shrink(&mut self) {
        self.points.shrink_to_fit();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.points.capacity() * size_of::<Stored>() + self.live.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_in_tables_and_beside_them_are_those_of_a_map() {
        let mut random = crate::random::Random::new(3);
        let (mut live, mut map) = (Live::default(), HashMap::default());
        for point in 0..20_000u32 {
            let category = u16::try_from(random.below(20)).unwrap();
            let id = random.below(3) * 32_767 + random.below(20);
            match random.below(3) {
                0 => assert_eq!(live.remove(category, id), map.remove(&(category, id))),
                1 => {
                    live.insert(category, id, point);
                    map.insert((category, id), point);
                }
                _ => assert_eq!(live.get(category, id), map.get(&(category, id)).copied()),
            }
            assert_eq!(live.len(), map.len());
        }
    }

    fn point(time: Nanos) -> FlowPoint {
        FlowPoint { time, actor: Actor::Scheduler, callsite: 9, cpu: 0, previous: None, id: 0 }
    }

    #[test]
    fn points_of_one_id_are_joined_and_a_new_begin_is_another_flow() {
        let mut flows = Flows::new(100);
        flows.pass(Passage::Begin, 1, 7, point(10));
        flows.pass(Passage::Begin, 2, 7, point(11));
        flows.pass(Passage::Step, 1, 7, point(12));
        flows.pass(Passage::End, 1, 7, point(13));
        flows.pass(Passage::Begin, 1, 7, point(14));
        flows.pass(Passage::Step, 1, 7, point(15));
        let times = |index| flows.flow_of(index, 100).iter().map(|point| point.time).collect::<Vec<_>>();
        assert_eq!(times(0), [10, 12, 13]);
        assert_eq!(times(2), [10, 12, 13]);
        assert_eq!(times(1), [11]);
        assert_eq!(times(5), [14, 15]);
        let arrows: Vec<_> = flows.arrows(0, 20).map(|(a, b)| (a.time, b.time)).collect();
        assert_eq!(arrows, [(10, 12), (12, 13), (14, 15)]);
    }
}
