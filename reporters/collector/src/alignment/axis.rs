//! The machine's own counter: what a tick is worth, what time of day it was at one, and how far processors disagree.
//!
//! Invariant: two processors' counters, read at the same moment, differ by [`Axis::skew_nanos`] at most from that of the
//! first. That is measured, not believed: two threads, each held on a processor, throw a ball to and fro, and a stamp lies
//! between the stamps of the throw and of the catch.
//!
//! What a tick is worth is settled when it is first asked for, once for all guests: the longer that takes, the better it is known.
#![expect(unsafe_code, reason = "reading a processor's counter is an intrinsic, holding a thread on it a system call")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The counter is compared with the operating system's clock after each of these, until two results in a row are within one
/// part in so many of each other, or it has taken too long: an emulated machine's clocks run unevenly.
const CALIBRATION: Duration = Duration::from_millis(50);
const SETTLED: u64 = 10_000;
const MAX_CALIBRATION: Duration = Duration::from_millis(1500);
/// How long a pair of processors is looked at, and how many pairs.
const BALL_TIME: Duration = Duration::from_millis(5);
const MAX_PAIRS: usize = 32;
/// What is said of processors that could not be compared.
const UNKNOWN_SKEW_NANOS: u64 = 1000;

/// The counter of this machine.
#[derive(Debug)]
pub struct Axis {
    /// The counter, and the operating system's clock then.
    begun: (u64, Instant),
    hz: OnceLock<u64>,
    ticks: u64,
    unix_nanos: u64,
    skew_ticks: Option<u64>,
}

/// The counter now, after all that was done before.
pub(super) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both instructions are part of every x86-64 CPU, and no kernel that we run on forbids the second.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: the virtual counter may be read by every program, and changes nothing.
        unsafe { core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack)) };
        ticks
    }
}

impl Axis {
    /// Compares the counter with the operating system's clocks, and with itself on the other processors.
    #[must_use]
    pub fn measure() -> Self {
        let begun = at_once(Instant::now);
        let (ticks, now) = at_once(SystemTime::now);
        let unix_nanos = u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(0);
        Axis { begun, hz: OnceLock::new(), ticks, unix_nanos, skew_ticks: skew_ticks() }
    }

    /// Ticks per second, for all guests the same; may take a moment.
    pub(super) fn hz(&self) -> u64 {
        *self.hz.get_or_init(|| {
            let mut last = 0;
            loop {
                thread::sleep(CALIBRATION);
                let hz = self.hz_so_far();
                if hz.abs_diff(last) <= hz / SETTLED || self.begun.1.elapsed() >= MAX_CALIBRATION {
                    return hz;
                }
                last = hz;
            }
        })
    }

    fn hz_so_far(&self) -> u64 {
        let (ticks_begin, time_begin) = self.begun;
        let (ticks_end, time_end) = at_once(Instant::now);
        let nanos = time_end.duration_since(time_begin).as_nanos().max(1);
        u64::try_from(u128::from(ticks_end - ticks_begin) * 1_000_000_000 / nanos).unwrap_or(0).max(1)
    }

    /// A value of the counter, and the time of day then.
    pub(super) fn anchor(&self) -> (u64, u64) {
        (self.ticks, self.unix_nanos)
    }

    /// How far the counter of any processor may be from that of the first.
    #[must_use]
    pub fn skew_nanos(&self) -> u64 {
        self.skew_ticks.map_or(UNKNOWN_SKEW_NANOS, |ticks| self.nanos_from_ticks(ticks) + 1)
    }

    /// The same in ticks; 0 where it is not known.
    pub(super) fn skew_ticks(&self) -> u64 {
        self.skew_ticks.unwrap_or(0)
    }

    /// So many ticks as a duration.
    pub(super) fn nanos_from_ticks(&self, ticks: u64) -> u64 {
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(self.hz())).unwrap_or(u64::MAX)
    }

    /// The time of day at a value of the counter.
    pub(super) fn unix_nanos_at(&self, ticks: u64) -> u64 {
        if ticks >= self.ticks {
            self.unix_nanos.saturating_add(self.nanos_from_ticks(ticks - self.ticks))
        } else {
            self.unix_nanos.saturating_sub(self.nanos_from_ticks(self.ticks - ticks))
        }
    }
}

/// The counter and another clock at the same moment: of several attempts the one that an interruption stretched least.
fn at_once<T>(clock: impl Fn() -> T) -> (u64, T) {
    let attempt = || {
        let before = ticks();
        let time = clock();
        let after = ticks();
        (after - before, before + (after - before) / 2, time)
    };
    let (_, ticks, time) = (0..32).map(|_| attempt()).min_by_key(|(width, ..)| *width).unwrap_or_else(attempt);
    (ticks, time)
}

/// The greatest difference between the first processor's counter and any other's that the stamps do not exclude; `None` where
/// threads cannot be held on processors.
fn skew_ticks() -> Option<u64> {
    let mut processors = allowed()?.into_iter();
    let first = processors.next()?;
    let mut most = 0;
    for other in processors.take(MAX_PAIRS) {
        most = most.max(skew_between(first, other)?);
    }
    Some(most)
}

/// The processors that this thread may run on.
fn allowed() -> Option<Vec<usize>> {
    // SAFETY: a set of bits, of which none may be set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is as long as is said, and borrowed until the call returns.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return None;
    }
    let bits = 8 * size_of_val(&set);
    // SAFETY: every number is below the number of bits in the set.
    Some((0..bits).filter(|&processor| unsafe { libc::CPU_ISSET(processor, &set) }).collect())
}

/// Holds the calling thread on `processor`, one of [`allowed`]; `None` where the system does not let it.
fn hold(processor: usize) -> Option<()> {
    // SAFETY: a set of bits, of which none may be set.
    let mut only: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number was found in a set of the same length.
    unsafe { libc::CPU_SET(processor, &mut only) };
    // SAFETY: the structure is as long as is said, and borrowed until the call returns.
    (unsafe { libc::sched_setaffinity(0, size_of_val(&only), &raw const only) } == 0).then_some(())
}

/// On the ball: nobody throws or catches any more.
const OVER: u64 = u64::MAX;

/// The greatest difference between two processors' counters that the stamps do not exclude. Even numbers are under way to the
/// other processor, odd ones back.
fn skew_between(first: usize, other: usize) -> Option<u64> {
    let (ball, stamp) = (AtomicU64::new(1), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            if hold(other).is_none() {
                // Release: pairs with the thrower's Acquire, though nothing is behind it.
                ball.store(OVER, Ordering::Release);
                return;
            }
            let mut wanted = 2;
            loop {
                // Acquire: pairs with the thrower's Release; the stamp below is read after the throw.
                match ball.load(Ordering::Acquire) {
                    OVER => return,
                    number if number == wanted => {
                        stamp.store(ticks(), Ordering::Relaxed);
                        // Release: pairs with the thrower's Acquire, which reads the stamp.
                        ball.store(wanted + 1, Ordering::Release);
                        wanted += 2;
                    }
                    _ => std::hint::spin_loop(),
                }
            }
        });
        let thrower = scope.spawn(|| {
            let result = hold(first).and_then(|()| throw(&ball, &stamp));
            // Release: pairs with the catcher's Acquire, though nothing is behind it.
            ball.store(OVER, Ordering::Release);
            result
        });
        thrower.join().ok().flatten()
    })
}

/// Throws for a while; `None` where nobody catches.
fn throw(ball: &AtomicU64, stamp: &AtomicU64) -> Option<u64> {
    let until = Instant::now() + BALL_TIME;
    let (mut least, mut most) = (i64::MIN, i64::MAX);
    let mut number = 2;
    while number < 200 || Instant::now() < until {
        let thrown = ticks();
        // Release on success, Acquire else: pairs with the catcher, which may have left.
        if ball.compare_exchange(number - 1, number, Ordering::Release, Ordering::Acquire).is_err() {
            return None;
        }
        // Acquire: pairs with the catcher's Release, so that its stamp is the one of this throw.
        loop {
            match ball.load(Ordering::Acquire) {
                OVER => return None,
                back if back == number + 1 => break,
                _ => std::hint::spin_loop(),
            }
        }
        let caught = ticks();
        let other = stamp.load(Ordering::Relaxed);
        least = least.max(other.wrapping_sub(caught).cast_signed());
        most = most.min(other.wrapping_sub(thrown).cast_signed());
        number += 2;
    }
    Some(least.unsigned_abs().max(most.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_ticks_is_a_second() {
        let axis = Axis::measure();
        let (ticks, unix_nanos) = axis.anchor();
        assert_eq!(axis.nanos_from_ticks(axis.hz()), 1_000_000_000);
        assert_eq!(axis.unix_nanos_at(ticks + axis.hz()) - unix_nanos, 1_000_000_000);
        assert_eq!(unix_nanos - axis.unix_nanos_at(ticks - axis.hz()), 1_000_000_000);
    }

    #[test]
    fn the_processors_of_this_machine_agree_to_a_few_microseconds() {
        // A throw and a catch take a few hundred nanoseconds; a processor that is shared makes it more.
        let axis = Axis::measure();
        assert!(axis.skew_nanos() < 50_000, "{} ns", axis.skew_nanos());
        println!("the processors' counters differ by {} ns at most; {} Hz", axis.skew_nanos(), axis.hz());
    }
}
