//! Durations counted in buckets that grow with the duration: a percentile is right to 1 part in 128.
//!
//! Durations below 64 ns have a bucket each; above, each power of two has 64. At most 3.6k buckets, and only up to the
//! longest duration seen, so it is never full.

use crate::time::Nanos;

const BITS: u32 = 6;
const PER_OCTAVE: u64 = 1 << BITS;

/// See the module.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: Vec::new(), min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration; a negative one as 0.
    #[inline]
    pub fn record(&mut self, duration: Nanos) {
        self.count_in(duration.max(0).unsigned_abs());
    }

    /// Counts one duration.
    #[inline(always)]
    pub(crate) fn count_in(&mut self, nanos: u64) {
        if nanos < self.min {
            self.min = nanos;
        }
        if nanos > self.max {
            self.max = nanos;
        }
        let bucket = bucket(nanos);
        match self.buckets.get_mut(bucket) {
            Some(count) => *count += 1,
            None => self.grow(bucket),
        }
    }

    /// Counts the first in a bucket beyond the last.
    #[cold]
    fn grow(&mut self, bucket: usize) {
        self.buckets.resize(bucket + 1, 0);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = 1;
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The longest, exactly; 0 where there is none.
    #[must_use]
    pub fn max(&self) -> Nanos {
        self.max.cast_signed()
    }

    /// The duration that `part` of all (0 to 1) do not exceed: the middle of its bucket, so within 1/128 of it.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Nanos {
        let rank = rank(part, self.count());
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if count > 0 && seen >= rank {
                return middle(index).clamp(self.min, self.max).cast_signed();
            }
        }
        self.max()
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Histogram) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates")]
#[expect(clippy::cast_sign_loss, reason = "the part is not negative")]
fn rank(part: f64, count: u64) -> u64 {
    ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1)
}

#[inline]
fn bucket(duration: u64) -> usize {
    // Below the first octave, too: its buckets are one wide as those before it.
    let octave = (duration | PER_OCTAVE).ilog2() - BITS;
    usize::try_from(u64::from(octave) * PER_OCTAVE + (duration >> octave)).unwrap_or(0)
}

fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE {
        return bucket;
    }
    let octave = bucket / PER_OCTAVE - 1;
    let least = (PER_OCTAVE + bucket % PER_OCTAVE) << octave;
    least + (1 << octave >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_quantile_is_within_one_part_in_128_of_the_sorted_list() {
        let mut random = Random::new(1);
        for scale in [10, 100, 1 << 20, 1 << 40] {
            let mut list: Vec<Nanos> = (0..5000).map(|_| i64::try_from(random.below(scale)).unwrap()).collect();
            let mut histogram = Histogram::default();
            list.iter().for_each(|&duration| histogram.record(duration));
            list.sort_unstable();
            for part in [0.0, 0.01, 0.5, 0.99, 1.0] {
                let exact = list[usize::try_from(rank(part, 5000)).unwrap() - 1];
                let found = histogram.quantile(part);
                assert!((found - exact).abs() as f64 <= exact as f64 / 128.0, "{part} of {scale}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn the_longest_possible_duration_has_a_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(Nanos::MAX);
        assert_eq!(histogram.quantile(0.5), Nanos::MAX);
    }
}
