//! Numbers of 15 bits for tasks and synchronisation objects, given out so that a trace is easy to read.
//!
//! Invariant: a number in use is never given out again, and a number given back is the last to be used again: the search
//! goes on after the youngest number (next fit). 0 is never given out: it is the scheduler.
//!
//! When all 32766 numbers are in use, everyone further shares number [`CROWD`]: the program goes on, its trace cannot tell
//! those apart.

use core::ops::Range;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// The number of everyone who found none free.
pub(crate) const CROWD: u16 = (1 << 15) - 1;
const WORDS: usize = 1 << 15 >> 6;

/// A set of numbers in use. May be shared between threads, though each number is then no longer strictly next-fit.
pub(crate) struct Numbers {
    used: [AtomicU64; WORDS],
    youngest: AtomicU16,
}

impl Numbers {
    pub(crate) const fn new() -> Self {
        let mut used = [const { AtomicU64::new(0) }; WORDS];
        used[0] = AtomicU64::new(1); // the scheduler
        used[WORDS - 1] = AtomicU64::new(1 << 63); // the crowd
        Numbers { used, youngest: AtomicU16::new(0) }
    }

    /// A number that nobody has, or [`CROWD`].
    pub(crate) fn take(&self) -> u16 {
        let start = usize::from(self.youngest.load(Ordering::Relaxed)) + 1;
        // The first word is looked at twice: from the start upwards, and at the end of the round below it.
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let allowed = if step == 0 { !0 << (start % 64) } else { !0 };
            // Relaxed: the bitmap guards nothing but itself.
            let mut used = self.used[word].load(Ordering::Relaxed);
            while !used & allowed != 0 {
                let bit = (!used & allowed).trailing_zeros();
                match self.used[word].compare_exchange_weak(used, used | 1 << bit, Ordering::Relaxed, Ordering::Relaxed)
                {
                    Ok(_) => {
                        let number = u16::try_from(word * 64).unwrap_or(CROWD) + u16::try_from(bit).unwrap_or(0);
                        self.youngest.store(number, Ordering::Relaxed);
                        return number;
                    }
                    Err(now) => used = now,
                }
            }
        }
        CROWD
    }

    /// The numbers, 64 together, among which somebody has one, the crowd's apart.
    pub(crate) fn chunks_in_use(&self) -> impl Iterator<Item = Range<usize>> {
        let in_use = |(word, used): (usize, &AtomicU64)| {
            let nobodys = u64::from(word == 0) | u64::from(word == WORDS - 1) << 63;
            (used.load(Ordering::Relaxed) & !nobodys != 0).then_some(word * 64..(word + 1) * 64)
        };
        self.used.iter().enumerate().filter_map(in_use)
    }

    /// Gives `number` back; the crowd's is never free.
    pub(crate) fn give_back(&self, number: u16) {
        if number != CROWD && number != 0 {
            self.used[usize::from(number / 64) % WORDS].fetch_and(!(1 << (number % 64)), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_number_given_back_is_not_the_next_one() {
        let numbers = Numbers::new();
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [1, 2, 3]);
        numbers.give_back(2);
        assert_eq!(numbers.take(), 4);
    }

    #[test]
    fn every_number_is_given_out_once_before_the_crowd_forms_and_a_free_one_is_found_again() {
        let numbers = Numbers::new();
        for expected in 1..CROWD {
            assert_eq!(numbers.take(), expected);
        }
        assert_eq!([numbers.take(), numbers.take()], [CROWD, CROWD]);
        numbers.give_back(CROWD);
        assert_eq!(numbers.take(), CROWD);
        for free in [1, 63, 64, CROWD - 1] {
            numbers.give_back(free);
            assert_eq!(numbers.take(), free);
        }
    }

    #[test]
    fn numbers_are_in_use_together_with_the_63_around_them_until_the_last_is_given_back() {
        let numbers = Numbers::new();
        assert_eq!(numbers.chunks_in_use().count(), 0);
        let taken: Vec<u16> = (0..130).map(|_| numbers.take()).collect();
        assert_eq!(numbers.chunks_in_use().collect::<Vec<_>>(), [0..64, 64..128, 128..192]);
        taken.into_iter().filter(|number| *number != 64).for_each(|number| numbers.give_back(number));
        assert_eq!(numbers.chunks_in_use().next(), Some(64..128));
        assert_eq!(numbers.chunks_in_use().count(), 1);
        numbers.give_back(64);
        assert_eq!(numbers.chunks_in_use().count(), 0);
    }
}
