//! The clocks of several guests as one time axis, and how far each may be off.
//!
//! The axis is the counter of the first processor of the collector's machine, read as time of day once. What a guest's
//! clock is to it depends on where the guest runs:
//!
//! | the guest | its clock | the error |
//! |---|---|---|
//! | a process of this machine | the same counter, which its own word on it must agree with | how far the processors' counters differ at most |
//! | QEMU, Xen | the same counter less a constant, found by asking the guest what its clock reads | half of what the answers leave open |
//! | does not answer, or is dead | its own word on the time of day | that of the clock it has it from |
//!
//! Invariant: an error is a bound as long as the counter runs at one rate, which kernel and hypervisor see to; the errors of
//! two guests add. What a guest says of its clock can displace its own events and nobody else's.
//!
//! Asking: a guest that replied `g` to a question sent at `s` and answered by `r` was `g - r` to `g - s` ahead. Each answer
//! narrows that. A guest that idles looks at its control page at a tick, so the next question is sent just before that one.

mod axis;

use std::time::{Duration, Instant};

use fata_wire::shared::{Clock, Platform, Status};

use crate::description::Description;
use crate::request::Talk;
use crate::source::Guest;

pub use axis::Axis;
use axis::ticks;

/// How often a guest is asked, and for how long at most.
const TRIES: u32 = 24;
const PATIENCE: Duration = Duration::from_millis(1500);
/// An idle guest looks for requests this long after it last did.
const TICK: Duration = Duration::from_millis(50);
/// How far a process's own word on the time of day may be from the counter's: that it was preempted between reading two
/// clocks, and that it measured its frequency for a short time.
const DOUBT_NANOS: u64 = 100_000_000;
const DOUBT_PPM: u64 = 100;
/// Rates nearer to each other than this, in millionths, are measurements of the same one.
const SAME_RATE_PPM: u64 = 1000;
/// The error of a real-time clock that counts seconds.
const SECONDS_NANOS: u64 = 1_000_000_000;
/// What Xen may have corrected of its clock between the starts of two domains.
const XEN_WORD_NANOS: u64 = 1_000_000;

/// How a guest's clock lies on the axis. See the module.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// Ticks per second; the guest's own word where there is none.
    hz: Option<u64>,
    /// A value of the guest's clock, and the time of day then; the guest's own word where there is none.
    anchor: Option<(u64, u64)>,
    /// How far the guest's times may be from the axis, either way.
    pub error_nanos: u64,
    /// How that is known.
    pub how: How,
}

/// How it is known what a guest's clock is to the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It reads the same counter.
    SameCounter,
    /// It was asked so often.
    Asked(u32),
    /// It says what time of day it was at some tick, and nobody can ask it.
    OwnWord,
}

impl How {
    /// As a fact in the metadata.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            How::SameCounter => "same counter",
            How::Asked(_) => "asked",
            How::OwnWord => "own word",
        }
    }
}

impl std::fmt::Display for Alignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.error_nanos;
        let (size, unit) = match nanos {
            0..10_000 => (nanos, "ns"),
            10_000..10_000_000 => (nanos / 1000, "µs"),
            _ => (nanos / 1_000_000, "ms"),
        };
        write!(f, "its clock is right to {size} {unit} (")?;
        match self.how {
            How::Asked(times) => write!(f, "asked {times} times)"),
            how => write!(f, "{})", how.text()),
        }
    }
}

impl Alignment {
    /// Finds out how the clock of `guest` lies on `axis`. Takes as long as the guest takes to answer, at most some seconds.
    #[must_use]
    pub fn of(guest: &Guest, axis: &Axis) -> Self {
        let alive = guest.is_alive();
        let Ok(memory) = guest.open_patiently(alive, Instant::now() + Duration::from_secs(1)) else {
            return Alignment::own_word(None);
        };
        let status = Status::parse(&memory.header_page(), memory.geometry());
        let platform = memory.geometry().platform;
        let own = &status.clock;
        match platform {
            Platform::Host if agrees(own, axis) => Alignment {
                hz: Some(axis.hz()),
                anchor: Some(axis.anchor()),
                error_nanos: axis.skew_nanos() + own.clock_cost_picos.div_ceil(1000).min(1000),
                how: How::SameCounter,
            },
            Platform::Host => Alignment::own_word(Some(platform)),
            Platform::Qemu | Platform::Xen if alive => {
                drop(memory);
                Alignment::asked(guest, own, axis).unwrap_or_else(|| Alignment::own_word(Some(platform)))
            }
            Platform::Qemu | Platform::Xen => Alignment::own_word(Some(platform)),
        }
    }

    fn own_word(platform: Option<Platform>) -> Self {
        let error_nanos = if platform == Some(Platform::Xen) { XEN_WORD_NANOS } else { SECONDS_NANOS };
        Alignment { hz: None, anchor: None, error_nanos, how: How::OwnWord }
    }

    /// Asks the guest what its clock reads; `None` where it does not say.
    fn asked(guest: &Guest, own: &Clock, axis: &Axis) -> Option<Self> {
        let same_rate = own.hz.abs_diff(axis.hz()) <= axis.hz() / 1_000_000 * SAME_RATE_PPM;
        let until = Instant::now() + PATIENCE;
        let talk = Talk::begin(guest, until).ok()?;
        let mut bounds = Bounds::default();
        let mut lead = Duration::from_millis(2);
        for _ in 0..TRIES {
            let sent = ticks();
            let Ok(reply) = talk.ask("ping", until) else { break };
            let received = ticks();
            let answered = Instant::now();
            bounds.narrow(tick_in(&reply)?, sent, received, same_rate);
            // An answer that took a tick says that the question came after the guest's look.
            let took = axis.nanos_from_ticks(received.wrapping_sub(sent));
            let late = Duration::from_nanos(took) > TICK / 2;
            lead = if late { (lead * 2).min(TICK / 4) } else { (lead * 3 / 4).max(Duration::from_micros(200)) };
            std::thread::sleep((answered + TICK - lead).saturating_duration_since(Instant::now()).min(TICK));
            if Instant::now() >= until {
                break;
            }
        }
        let (ahead, open_ticks, host) = bounds.best()?;
        let (hz, host) = if same_rate { (axis.hz(), axis.anchor().0) } else { (own.hz, host) };
        Some(Alignment {
            hz: Some(hz),
            anchor: Some((host.wrapping_add(ahead), axis.unix_nanos_at(host))),
            error_nanos: axis.nanos_from_ticks(open_ticks) + axis.skew_nanos(),
            how: How::Asked(bounds.answers),
        })
    }

    /// The description of the guest of this number, with its clock as it lies on the axis.
    pub(crate) fn describe(&self, number: u16, own: &Clock, facts: &[(&str, &str)]) -> Description {
        let clock = self.clock(own);
        let error = self.error_nanos.to_string();
        let about_clock = [("clock.error_ns", error.as_str()), ("clock.known_from", self.how.text())];
        let facts: Vec<_> = facts.iter().chain(&about_clock).copied().collect();
        Description::new(number, &clock, Some(self.error_nanos), &facts)
    }

    /// The guest's clock, with the frequency and the anchor that put it on the axis.
    #[must_use]
    pub fn clock(&self, own: &Clock) -> Clock {
        let (anchor_ticks, anchor_unix_nanos) = self.anchor.unwrap_or((own.anchor_ticks, own.anchor_unix_nanos));
        Clock { hz: self.hz.unwrap_or(own.hz), anchor_ticks, anchor_unix_nanos, ..*own }
    }
}

/// Whether what a process says of its clock fits to the counter of this machine.
fn agrees(own: &Clock, axis: &Axis) -> bool {
    let same_rate = own.hz.abs_diff(axis.hz()) <= axis.hz() / 1_000_000 * SAME_RATE_PPM;
    let age_nanos = axis.nanos_from_ticks(axis.anchor().0.abs_diff(own.anchor_ticks));
    let off_nanos = axis.unix_nanos_at(own.anchor_ticks).abs_diff(own.anchor_unix_nanos);
    same_rate && off_nanos <= DOUBT_NANOS + age_nanos / 1_000_000 * DOUBT_PPM
}

/// The clock's value in the answer to a ping.
fn tick_in(reply: &str) -> Option<u64> {
    reply.strip_prefix("ok")?.split_once("tick ")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// How far the guest's clock is ahead of the counter, as far as the answers tell. All of it wraps, as clocks do.
#[derive(Debug, Default)]
struct Bounds {
    /// The best answer so far: the least that the guest is ahead, by how much it may be more, and when on the counter.
    best: Option<(u64, u64, u64)>,
    answers: u32,
}

impl Bounds {
    /// Takes the answer `guest` to a question of `sent` to `received`. Answers of one rate hold at all times, and narrow one
    /// another; of another rate each holds for its own time.
    fn narrow(&mut self, guest: u64, sent: u64, received: u64, same_rate: bool) {
        self.answers += 1;
        let (least, open) = (guest.wrapping_sub(received), received.wrapping_sub(sent));
        self.best = Some(match self.best {
            None => (least, open, received),
            Some((known, known_open, at)) => {
                let later = least.wrapping_sub(known).cast_signed();
                let from = later.max(0);
                let to = later.saturating_add_unsigned(open).min(known_open.cast_signed());
                if same_rate && from <= to {
                    (known.wrapping_add(from.cast_unsigned()), from.abs_diff(to), received)
                } else if open < known_open {
                    (least, open, received)
                } else {
                    (known, known_open, at)
                }
            }
        });
    }

    /// How far it is ahead, by how much that may be wrong either way, and when on the counter that held.
    fn best(&self) -> Option<(u64, u64, u64)> {
        self.best.map(|(least, open, at)| (least.wrapping_add(open / 2), open.div_ceil(2), at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_narrow_one_another_and_never_exclude_the_truth() {
        // The guest is 1000 ahead; each answer was made somewhere between question and reply.
        for ahead in [1000u64, 0, u64::MAX - 500, 1 << 63] {
            let mut bounds = Bounds::default();
            let mut open = u64::MAX;
            for (sent, delay, back) in [(0u64, 900u64, 10u64), (5_000, 30, 700), (9_000, 400, 5), (20_000, 3, 8)] {
                let answered = sent + delay;
                bounds.narrow(answered.wrapping_add(ahead), sent, answered + back, true);
                let (middle, error, _) = bounds.best().unwrap();
                assert!(
                    middle.wrapping_sub(ahead).cast_signed().unsigned_abs() <= error,
                    "{ahead}: {middle} ± {error}"
                );
                assert!(error <= open);
                open = error;
            }
            assert!(open <= 4, "{open}: the least delay before and the least after are 3 and 5");
        }
    }

    #[test]
    fn a_clock_of_another_rate_keeps_its_narrowest_answer() {
        let mut bounds = Bounds::default();
        bounds.narrow(100, 0, 50, false);
        bounds.narrow(5_000, 1000, 1010, false);
        bounds.narrow(9_000, 2000, 2100, false);
        assert_eq!(bounds.best(), Some((3_995, 5, 1010)));
    }

    #[test]
    fn the_tick_of_an_answer_is_read_and_no_other_number() {
        assert_eq!(tick_in("ok: up 1.234 s, tick 5678"), Some(5678));
        assert_eq!(tick_in("ok: up 1.234 s"), None);
        assert_eq!(tick_in("error: tick 7"), None);
        assert_eq!(tick_in("ok: tick 99999999999999999999999"), None);
    }

    #[test]
    fn a_process_whose_word_does_not_fit_the_counter_is_not_believed_to_read_it() {
        let axis = Axis::measure();
        let (anchor_ticks, anchor_unix_nanos) = axis.anchor();
        let honest = Clock { hz: axis.hz(), anchor_ticks, anchor_unix_nanos, ..Clock::default() };
        assert!(agrees(&honest, &axis));
        assert!(!agrees(&Clock { hz: axis.hz() / 2, ..honest }, &axis));
        assert!(!agrees(&Clock { anchor_unix_nanos: anchor_unix_nanos + 5_000_000_000, ..honest }, &axis));
        assert!(!agrees(&Clock { anchor_unix_nanos: 0, ..honest }, &axis));
        assert!(!agrees(&Clock::default(), &axis));
    }
}
