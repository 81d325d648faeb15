//! Who woke whom, when, on one vCPU: about six bytes each.
//!
//! Invariant: wakes lie in time order. The oldest can be given up, in pieces of 512; never full, the tracks' budget counts them.

use crate::columns::packed::Packed;
use crate::columns::{FAN_OUT, from_small, small};
use crate::time::Nanos;
use crate::trace::{Actor, TaskRef};

/// One wake.
type Stored = (Nanos, u32, u32);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Wakes {
    /// Distances from the group's first time, who, whom.
    groups: Packed<3>,
    /// The wakes of the group that is not complete.
    tail: [Stored; FAN_OUT],
    len: usize,
}

impl Wakes {
    pub(crate) const fn new() -> Self {
        Wakes { groups: Packed::new(), tail: [(0, 0, 0); FAN_OUT], len: 0 }
    }

    /// Adds one, by whom [packed](Actor::pack); an earlier time than the last is forged and moved forward.
    #[inline]
    pub(crate) fn push(&mut self, time: Nanos, from: u32, to: TaskRef) {
        if let Some(place) = self.tail.get_mut(self.len) {
            *place = (time, small(from), to.0);
            self.len += 1;
        }
        if self.len == FAN_OUT {
            let mut columns = [[0; FAN_OUT]; 3];
            let start = self.tail[0].0;
            for (i, &(time, from, to)) in self.tail.iter().enumerate() {
                columns[0][i] = (time - start).max(0).cast_unsigned();
                columns[1][i] = from.into();
                columns[2][i] = to.into();
            }
            self.groups.push(start, &columns);
            self.len = 0;
        }
    }

    /// The wakes within a time range, in time order.
    pub(crate) fn between(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = (Nanos, Actor, TaskRef)> {
        let first = self.groups.first_from(from).saturating_sub(1);
        let groups = (first..=self.groups.groups()).map_while(move |group| {
            // What was forgotten has no wakes.
            (self.groups.base(group).is_none_or(|base| base < to)).then(|| self.group(group))
        });
        groups
            .flatten()
            .map(|(time, from, to)| (time, Actor::unpack(from_small(from)), TaskRef(to)))
            .skip_while(move |wake| wake.0 < from)
            .take_while(move |wake| wake.0 < to)
    }

    fn group(&self, group: usize) -> impl Iterator<Item = Stored> + use<> {
        let (mut wakes, mut len) = (self.tail, if group == self.groups.groups() { self.len } else { 0 });
        if let Some((start, [times, from, to])) = self.groups.get(group) {
            let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            for (i, wake) in wakes.iter_mut().enumerate() {
                *wake = (start + times[i].cast_signed(), narrow(from[i]), narrow(to[i]));
            }
            len = FAN_OUT;
        }
        wakes.into_iter().take(len)
    }

    /// Gives up wakes before `time`, and returns how many.
    pub(crate) fn forget_before(&mut self, time: Nanos) -> usize {
        let group = self.groups.first_from(time).saturating_sub(1);
        self.groups.forget_before(group) * FAN_OUT
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_wakes_of_a_range_are_those_that_a_list_has() {
        let mut random = Random::new(8);
        let (mut wakes, mut list, mut time) = (Wakes::new(), Vec::new(), 0);
        for i in 0..3000u32 {
            time += random.below(50).cast_signed();
            let actors = [Actor::Scheduler, Actor::Interrupt, Actor::Unknown, Actor::Task(TaskRef(i))];
            let wake = (time, actors[usize::try_from(random.below(4)).unwrap()], TaskRef(i * 80));
            wakes.push(wake.0, wake.1.pack(), wake.2);
            list.push(wake);
        }
        let ranges = |list: &[(Nanos, Actor, TaskRef)], wakes: &Wakes, random: &mut Random| {
            for _ in 0..200 {
                let (a, b) = (random.below(80_000).cast_signed(), random.below(80_000).cast_signed());
                let found: Vec<_> = wakes.between(a, b).collect();
                let expected: Vec<_> = list.iter().filter(|wake| (a..b).contains(&wake.0)).copied().collect();
                assert_eq!(found, expected, "{a}..{b}");
            }
        };
        ranges(&list, &wakes, &mut random);
        let forgotten = wakes.forget_before(time / 2);
        assert!(forgotten > 500 && list[forgotten - 1].0 < time / 2);
        ranges(&list[forgotten..], &wakes, &mut random);
    }
}
