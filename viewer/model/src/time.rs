//! Time as the model counts it: `i64` nanoseconds since the first packet that was read began.
//!
//! Invariant: a guest's ticks are converted once, here, and never later; every [`Nanos`] lies within ±36 years, so sums and
//! differences of two of them cannot overflow.
//!
//! ```
//! use fata_model::time::TickScale;
//! let scale = TickScale::new(2_500_000_000, 1000);
//! assert_eq!(scale.nanos_from_ticks(3500), 1000);
//! assert_eq!(scale.nanos_from_ticks(0), -400);
//! ```

/// Nanoseconds since the trace's origin.
pub type Nanos = i64;

/// No time is further from the origin than this: a forged clock cannot make arithmetic overflow.
pub const MAX_NANOS: Nanos = 1 << 60;

/// Turns ticks into [`Nanos`] with one multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickScale {
    origin_ticks: u64,
    multiplier: u64,
    shift: u32,
    /// Below it a distance from the origin is converted by one multiplication; 0 where none is.
    simple: u64,
}

impl TickScale {
    /// The scale of a clock of `hz` ticks per second whose tick `origin_ticks` is time 0. A clock of 0 Hz counts as 1 GHz.
    #[must_use]
    pub fn new(hz: u64, origin_ticks: u64) -> Self {
        const GIGA: u128 = 1_000_000_000;
        let hz = if hz == 0 { GIGA } else { u128::from(hz) };
        // The largest shift whose multiplier still fits. Rounded up, so that a whole nanosecond never becomes the one before.
        let mut shift = 64;
        while (GIGA << shift).div_ceil(hz) > u128::from(u64::MAX) {
            shift -= 1;
        }
        let multiplier = u64::try_from((GIGA << shift).div_ceil(hz)).unwrap_or(u64::MAX);
        // A clock of more than 1 GHz, in the trace's first years.
        TickScale { origin_ticks, multiplier, shift, simple: if shift == 64 { 1 << 60 } else { 0 } }
    }

    /// The scale of a clock of `hz` that read `ticks` at `unix_nanos` since 1970, on an axis whose time 0 was at `origin` since
    /// 1970.
    #[must_use]
    pub fn with_anchor(hz: u64, ticks: u64, unix_nanos: u64, origin: Nanos) -> Self {
        let after = i128::from(unix_nanos) - i128::from(origin);
        let after = Nanos::try_from(after.clamp(i128::from(-MAX_NANOS), i128::from(MAX_NANOS))).unwrap_or(0);
        TickScale::new(hz, ticks.wrapping_sub(Self::ticks_from_nanos(hz, after)))
    }

    /// How many ticks of a clock of `hz` such a time is; fewer than none wrap, as clocks do.
    #[must_use]
    pub fn ticks_from_nanos(hz: u64, nanos: Nanos) -> u64 {
        let hz = if hz == 0 { 1_000_000_000 } else { hz };
        let ticks = u128::from(nanos.unsigned_abs()) * u128::from(hz) / 1_000_000_000;
        // More than the clock counts goes round.
        let ticks = u64::try_from(ticks % (1 << 64)).unwrap_or(0);
        if nanos < 0 { ticks.wrapping_neg() } else { ticks }
    }

    /// The time of a full clock value. Rounded towards the origin, monotonic, never beyond [`MAX_NANOS`].
    #[must_use]
    #[inline]
    pub fn nanos_from_ticks(&self, ticks: u64) -> Nanos {
        let after = ticks.wrapping_sub(self.origin_ticks);
        if after < self.simple {
            return high_half(u128::from(after) * u128::from(self.multiplier));
        }
        self.nanos_from_any(after)
    }

    /// Where ticks of the next two centuries after `ticks` become times by one multiplication: their distance from the
    /// origin's, and what the upper half of the product with it is their time.
    #[inline]
    pub(crate) fn simple(&self, ticks: u64) -> Option<(u64, u64)> {
        let after = ticks.wrapping_sub(self.origin_ticks);
        (after < self.simple / 2 && ticks < 1 << 63).then_some((after, self.multiplier))
    }

    #[inline(never)]
    fn nanos_from_any(&self, after: u64) -> Nanos {
        let delta = after.cast_signed();
        let nanos = (u128::from(delta.unsigned_abs()) * u128::from(self.multiplier)) >> self.shift;
        let nanos = Nanos::try_from(nanos).unwrap_or(MAX_NANOS).min(MAX_NANOS);
        if delta < 0 { -nanos } else { nanos }
    }

    /// The clock's value at time 0.
    #[must_use]
    pub fn origin_ticks(&self) -> u64 {
        self.origin_ticks
    }
}

/// The upper half of a product of at most 124 bits.
#[inline]
pub(crate) const fn high_half(product: u128) -> Nanos {
    (product >> 64) as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_ticks_is_exact_to_the_nanosecond() {
        for hz in [1, 32_768, 1_000_000_000, 2_599_998_123, u64::from(u32::MAX)] {
            let scale = TickScale::new(hz, 17);
            for seconds in [1, 60, 3600, 86_400] {
                let error = scale.nanos_from_ticks(17 + hz * seconds) - i64::try_from(seconds).unwrap() * 1_000_000_000;
                assert!((0..=1).contains(&error), "{hz} Hz, {seconds} s: {error}");
            }
        }
    }

    #[test]
    fn no_clock_value_is_further_away_than_the_limit() {
        let scale = TickScale::new(1, 0);
        assert_eq!(scale.nanos_from_ticks(u64::MAX / 2), MAX_NANOS);
        assert_eq!(scale.nanos_from_ticks(u64::MAX / 2 + 2), -MAX_NANOS);
    }
}
