//! What Xen says of the time of a vCPU, as numbers: what the system time was at some tick, and what a tick is worth from there on.
//!
//! Xen says so anew all the time, and each time a little differently, since it corrects its clock: it gives a tick another worth
//! from there on. As long as that stays near to what an earlier word foretold it is the same clock. What is far from it is another
//! one: the counter runs at another rate, as after a move to another machine ([`Sample::goes_on`]). That the counter was set shows
//! sooner: a word then does not begin where the word before it had come to ([`Sample::follows`]). Mostly it is the same word of Xen's, of
//! the same moment, at another value of the counter; and then there is no doubt.
//!
//! Source: Xen, `xen/include/public/xen.h`, `struct vcpu_time_info`.

/// How far a word may be from what was foretold: in an emulated machine that is busy Xen is wrong by as much as it waits for a
/// processor between reading two clocks, and corrects that later.
const TOLERANCE_NANOS: u64 = 2_000_000_000;
/// And by which part of the time between the two.
const TOLERANCE_PART: u64 = 8;

/// How far two words of the same moment may be apart: processors' counters differ by less.
const SAME_NANOS: u64 = 1_000_000;
/// How far a word of a later moment may begin from where the latest had come to: a quarter of a second was seen in an emulated machine
/// that had a tenth of a processor. And by which part of the time between the two.
const STEP_NANOS: u64 = 500_000_000;
const STEP_PART: u64 = 4;

/// What Xen said when the ring began to be recorded by its clock, and what it said last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    first: Sample,
    latest: Sample,
}

impl Followed {
    pub(crate) fn new(word: Sample) -> Self {
        Followed { first: word, latest: word }
    }

    /// Takes the next word; whether it is of another clock, which is followed from now on.
    pub(crate) fn is_changed_by(&mut self, word: Sample) -> bool {
        let is_changed = !(word.goes_on(self.first) && word.follows(self.latest));
        *self = Followed { first: if is_changed { word } else { self.first }, latest: word };
        is_changed
    }
}

/// What Xen says of the time, read in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) tsc: u64,
    pub(crate) nanos: u64,
    pub(crate) scale: u32,
    pub(crate) shift: i8,
}

impl Sample {
    /// How far this value of the TSC is behind the sample's. Where the counter was set after the moment of the sample, that is below 0
    /// by the counter that there is now, and Xen writes it modulo 2^64.
    pub(crate) fn since(self, ticks: u64) -> i64 {
        ticks.wrapping_sub(self.tsc).cast_signed()
    }

    /// The system time at this value of the TSC, which may be a little before the sample's.
    pub(crate) fn nanos_at(self, ticks: u64) -> u64 {
        let scaled = |ticks: u64| {
            let shifted = if self.shift < 0 { ticks >> -self.shift } else { ticks << self.shift };
            u64::try_from((u128::from(shifted) * u128::from(self.scale)) >> 32).unwrap_or(u64::MAX)
        };
        let since = self.since(ticks);
        let nanos = scaled(since.unsigned_abs());
        if since >= 0 { self.nanos.saturating_add(nanos) } else { self.nanos.saturating_sub(nanos) }
    }

    /// Ticks per second.
    pub(crate) fn hz(self) -> u64 {
        let one = (1_000_000_000u128 << 32) / u128::from(self.scale.max(1));
        let hz = if self.shift < 0 { one << -self.shift } else { one >> self.shift };
        u64::try_from(hz).unwrap_or(u64::MAX)
    }

    /// Whether this begins where the `latest` word had come to.
    fn follows(self, latest: Sample) -> bool {
        let tolerance = match self.nanos.abs_diff(latest.nanos) {
            0 => SAME_NANOS,
            between => STEP_NANOS + between / STEP_PART,
        };
        self.nanos.abs_diff(latest.nanos_at(self.tsc)) <= tolerance
    }

    /// Whether this is what the `earlier` word foretold, so that ticks are worth what they were worth by that one.
    fn goes_on(self, earlier: Sample) -> bool {
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
    fn a_counter_that_began_anew_after_the_moment_of_a_word_has_its_time_by_that_word() {
        const HZ: u64 = 2_000_000_000;
        // Xen has read its clocks a second before the counter was set to 0.
        let word = sample(0u64.wrapping_sub(HZ), 13_000_000_000, HZ);
        assert_eq!(word.nanos_at(0), 14_000_000_000);
        assert_eq!(word.nanos_at(HZ / 2), 14_500_000_000);
        let before = sample(26 * HZ, 13_000_000_000, HZ);
        assert!(!word.follows(before) && !word.goes_on(before), "it is another clock");
        assert!(sample(HZ, 15_000_000_000, HZ).follows(word));
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

    #[test]
    fn a_counter_that_was_set_by_little_is_told_from_a_clock_that_is_corrected_by_much() {
        const HZ: u64 = 2_000_000_000;
        let first = sample(100 * HZ, 50_000_000_000, HZ);
        // Xen has read its clocks badly, lets ticks be worth half and then twice as much, and has caught up.
        let mut followed = Followed::new(first);
        let corrected = [(101, 51_000_000_000, 2 * HZ), (102, 51_500_000_000, HZ / 2), (103, 53_500_000_000, HZ)];
        for (seconds, nanos, hz) in corrected {
            assert!(!followed.is_changed_by(sample(seconds * HZ, nanos, hz)), "{seconds}");
        }
        // Of the same moment a word differs by nothing, of a later one by what was seen.
        for (between, set) in [(0, HZ / 500), (1, HZ)] {
            let (ticks, nanos) = ((103 + between) * HZ, 53_500_000_000 + between * 1_000_000_000);
            for set in [ticks + set, ticks - set] {
                let mut followed = followed;
                assert!(!followed.is_changed_by(sample(ticks, nanos, HZ)));
                assert!(followed.is_changed_by(sample(set, nanos, HZ)), "{set}");
                // By the new clock it goes on.
                assert!(!followed.is_changed_by(sample(set + HZ, nanos + 1_000_000_000, HZ)));
            }
            let mut followed = followed;
            assert!(
                !followed.is_changed_by(sample(ticks + between * HZ / 4, nanos, HZ)),
                "Xen has read its clocks late"
            );
        }
    }
}
