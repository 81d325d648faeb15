//! What Xen says of the time of a vCPU, as numbers: what the system time was at some tick, and what a tick is worth from there on.
//!
//! Xen says so anew all the time, and each time a little differently, since it corrects its clock. As long as that stays near to
//! what an earlier word foretold it is the same clock ([`Sample::goes_on`]). What is far from it is another one: the counter was
//! set, or runs at another rate, as after a move to another machine.
//!
//! Source: Xen, `xen/include/public/xen.h`, `struct vcpu_time_info`.

/// How far a word may be from what was foretold: in an emulated machine that is busy Xen is wrong by as much as it waits for a
/// processor between reading two clocks, and corrects that later.
const TOLERANCE_NANOS: u64 = 2_000_000_000;
/// And by which part of the time between the two.
const TOLERANCE_PART: u64 = 8;

/// What Xen says of the time, read in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) tsc: u64,
    pub(crate) nanos: u64,
    pub(crate) scale: u32,
    pub(crate) shift: i8,
}

impl Sample {
    /// The system time at this value of the TSC, which may be a little before the sample's.
    pub(crate) fn nanos_at(self, ticks: u64) -> u64 {
        let scaled = |ticks: u64| {
            let shifted = if self.shift < 0 { ticks >> -self.shift } else { ticks << self.shift };
            u64::try_from((u128::from(shifted) * u128::from(self.scale)) >> 32).unwrap_or(u64::MAX)
        };
        if ticks >= self.tsc {
            self.nanos.saturating_add(scaled(ticks - self.tsc))
        } else {
            self.nanos.saturating_sub(scaled(self.tsc - ticks))
        }
    }

    /// Ticks per second.
    pub(crate) fn hz(self) -> u64 {
        let one = (1_000_000_000u128 << 32) / u128::from(self.scale.max(1));
        let hz = if self.shift < 0 { one << -self.shift } else { one >> self.shift };
        u64::try_from(hz).unwrap_or(u64::MAX)
    }

    /// Whether this is what the `earlier` word foretold, so that ticks are worth what they were worth by that one.
    pub(crate) fn goes_on(self, earlier: Sample) -> bool {
        let between = self.nanos.saturating_sub(earlier.nanos);
        self.nanos.abs_diff(earlier.nanos_at(self.tsc)) <= TOLERANCE_NANOS + between / TOLERANCE_PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a counter with `hz` ticks per second, as Xen scales it: 2^31 <= scale < 2^32.
    fn sample(tsc: u64, nanos: u64, hz: u64) -> Sample {
        let mut shift = 0;
        let mut scale = (1_000_000_000u128 << 32) / u128::from(hz);
        while scale >> 32 != 0 {
            scale >>= 1;
            shift += 1;
        }
        while scale >> 31 == 0 {
            scale <<= 1;
            shift -= 1;
        }
        Sample { tsc, nanos, scale: u32::try_from(scale).unwrap(), shift }
    }

    #[test]
    fn a_tick_has_its_time_before_and_behind_the_sample_whatever_it_is_worth() {
        for hz in [100_000_000, 999_999_999, 1_000_000_000, 2_400_000_000, 5_000_000_000u64] {
            let sample = sample(10 * hz, 3_000_000_000, hz);
            assert!(sample.hz().abs_diff(hz) <= hz / 1_000_000_000 + 1, "{hz}: {}", sample.hz());
            for (ticks, nanos) in [(10 * hz, 3_000_000_000), (13 * hz, 6_000_000_000), (8 * hz, 1_000_000_000u64)] {
                assert!(sample.nanos_at(ticks).abs_diff(nanos) <= 10, "{hz}: {}", sample.nanos_at(ticks));
            }
            assert_eq!(sample.nanos_at(0), 0, "before Xen's clock began there is no time");
        }
    }

    #[test]
    fn corrections_are_the_same_clock_and_jumps_are_another() {
        const HZ: u64 = 2_000_000_000;
        let earlier = sample(100 * HZ, 50_000_000_000, HZ);
        for (what, later, goes_on) in [
            ("the same word", earlier, true),
            ("a second later", sample(101 * HZ, 51_000_000_000, HZ), true),
            ("an hour later, 50 ppm off", sample(3700 * HZ, 3_650_180_000_000, HZ + HZ / 20_000), true),
            ("for once a second off", sample(101 * HZ, 52_000_000_000, HZ / 2), true),
            ("the counter was set back", sample(91 * HZ, 51_000_000_000, HZ), false),
            ("the counter was set forward", sample(111 * HZ, 51_000_000_000, HZ), false),
            ("the counter begins anew", sample(0, 51_000_000_000, HZ), false),
            ("the system time went back", sample(101 * HZ, 20_000_000_000, HZ), false),
            ("another rate for half a minute", sample(145 * HZ, 80_000_000_000, 3 * HZ / 2), false),
            ("another machine", sample(7, 9_000_000_000_000, HZ), false),
        ] {
            assert_eq!(later.goes_on(earlier), goes_on, "{what}");
        }
    }
}
