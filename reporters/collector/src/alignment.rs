//! The clocks of several guests as one time axis, and how far each may be off.
//!
//! The axis is the counter of the first processor of the collector's machine, read as time of day once. What a guest's
//! clock is to it depends on where the guest runs:
//!
//! | the guest | its clock | the error |
//! |---|---|---|
//! | a process of this machine | the same counter, which its own word on it must agree with | how far the processors' counters differ at most |
//! | QEMU | the same counter less a constant, found by asking the guest what its clock reads | half of what the answers leave open |
//! | Xen | the same, and what Xen's system time reads then, which dom0 reads too (`shared`) | how far the answers disagree, and what reading it takes |
//! | does not answer, or is dead | its own word on the time of day | that of the clock it has it from |
//!
//! Invariant: an error is a bound as long as the counter runs at one rate, which kernel and hypervisor see to; the errors of
//! two guests add. What a guest says of its clock can displace its own events and nobody else's.
//!
//! Asking: a guest that replied `g` to a question sent at `s` and answered by `r` was `g - r` to `g - s` ahead. Each answer
//! narrows that. A guest that idles looks at its control page at a tick, so the next question is sent just before that one.

mod axis;
mod shared;

use std::time::{Duration, Instant};

use fata_wire::shared::{Clock, Platform, Status};

use crate::description::Description;
use crate::request::Talk;
use crate::request::reply::number_in;
use crate::source::Guest;

pub use axis::Axis;
use axis::ticks;
use shared::{Readings, Shared};

/// How often a guest is asked, and for how long at most; for longer as long as it has answered less than [`FEW`] times.
const TRIES: u32 = 24;
const PATIENCE: Duration = Duration::from_millis(1500);
const FEW: u32 = 3;
const LONG_PATIENCE: Duration = Duration::from_secs(4);
/// An idle guest looks for requests this long after it last did.
const TICK: Duration = Duration::from_millis(50);
/// How far a process's own word on the time of day may be from the counter's: that it was preempted between reading two
/// clocks, and that it measured its frequency for a short time.
const DOUBT_NANOS: u64 = 100_000_000;
const DOUBT_PPM: u64 = 100;
/// Rates nearer to each other than one part in this may be measurements of the same one, if all else says so too: those of an
/// emulated machine are measured badly.
const NEAR_RATE: u64 = 8;
/// The error of a real-time clock that counts seconds.
const SECONDS_NANOS: u64 = 1_000_000_000;
/// dom0 tells Xen the time of day every eleven minutes, and may be pulled to the right time by 500 millionths meanwhile.
const XEN_WORD_NANOS: u64 = 330_000_000;

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
    /// It was asked so often, and said what Xen's system time was, which is known here too.
    SystemTime(u32),
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
            How::SystemTime(_) => "Xen's system time",
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
            How::SystemTime(times) => write!(f, "by Xen's system time, asked {times} times)"),
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

    /// The clock as the guest itself says that it is.
    #[must_use]
    pub fn by_own_word(guest: &Guest) -> Self {
        Alignment::own_word(guest.platform())
    }

    fn own_word(platform: Option<Platform>) -> Self {
        let error_nanos = if platform == Some(Platform::Xen) { XEN_WORD_NANOS } else { SECONDS_NANOS };
        Alignment { hz: None, anchor: None, error_nanos, how: How::OwnWord }
    }

    /// Asks the guest what its clock reads; `None` where it does not say.
    fn asked(guest: &Guest, own: &Clock, axis: &Axis) -> Option<Self> {
        let begun = Instant::now();
        let until = |answers| begun + if answers < FEW { LONG_PATIENCE } else { PATIENCE };
        let talk = Talk::begin(guest, until(FEW)).ok()?;
        let mut bounds = Bounds { slack: axis.skew_ticks(), ..Bounds::default() };
        let mut shared = Shared::open(guest);
        let mut readings = Readings::default();
        let mut lead = Duration::from_millis(2);
        for _ in 0..TRIES {
            let before = shared.as_mut().and_then(Shared::read);
            let asked = Instant::now();
            let sent = ticks();
            let Ok(reply) = talk.ask("ping", until(bounds.answers)) else { break };
            let received = ticks();
            let answered = Instant::now();
            let tick = number_in(&reply, "tick ")?;
            bounds.narrow(tick, sent, received);
            if let (Some(before), Some(nanos)) = (before, number_in(&reply, "shared "))
                && let Some(after) = shared.as_mut().and_then(Shared::read)
            {
                readings.add(tick, nanos, before, after);
            }
            // An answer that took a tick says that the question came after the guest's look.
            let late = answered.duration_since(asked) > TICK / 2;
            lead = if late { (lead * 2).min(TICK / 4) } else { (lead * 3 / 4).max(Duration::from_micros(200)) };
            std::thread::sleep((answered + TICK - lead).saturating_duration_since(Instant::now()).min(TICK));
            if Instant::now() >= until(bounds.answers) {
                break;
            }
        }
        let error_nanos = |ticks| axis.nanos_from_ticks(ticks) + axis.skew_nanos();
        let is_near = own.hz.abs_diff(axis.hz()) <= axis.hz() / NEAR_RATE;
        let Some((ahead, error_ticks)) = bounds.of_one_rate().filter(|_| is_near) else {
            let (ahead, error_ticks, host) = bounds.narrowest()?;
            return Some(Alignment {
                hz: Some(own.hz),
                anchor: Some((host.wrapping_add(ahead), axis.unix_nanos_at(host))),
                error_nanos: error_nanos(error_ticks),
                how: How::Asked(bounds.answers),
            });
        };
        // What question and answer exclude cannot be, whatever a clock says.
        let (ahead, error_ticks, how) = match readings.within(ahead, error_ticks, axis.hz()) {
            Some((ahead, error_ticks)) => (ahead, error_ticks, How::SystemTime(bounds.answers)),
            None => (ahead, error_ticks, How::Asked(bounds.answers)),
        };
        let (host, unix_nanos) = axis.anchor();
        Some(Alignment {
            hz: Some(axis.hz()),
            anchor: Some((host.wrapping_add(ahead), unix_nanos)),
            error_nanos: error_nanos(error_ticks),
            how,
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
    let same_rate = own.hz.abs_diff(axis.hz()) <= axis.hz() / NEAR_RATE;
    let age_nanos = axis.nanos_from_ticks(axis.anchor().0.abs_diff(own.anchor_ticks));
    let off_nanos = axis.unix_nanos_at(own.anchor_ticks).abs_diff(own.anchor_unix_nanos);
    same_rate && off_nanos <= DOUBT_NANOS + age_nanos / 1_000_000 * DOUBT_PPM
}

/// How far the guest's clock is ahead of the counter, as far as the answers tell. All of it wraps, as clocks do.
///
/// Answers of a clock that runs as fast as the counter hold at all times, and narrow one another. That they do so is what tells
/// that it does: a frequency that somebody has measured may be wrong by more than what a guest's differs.
#[derive(Debug, Default)]
struct Bounds {
    /// How far the counter may differ from one processor to another.
    slack: u64,
    /// The least that the guest is ahead, and by how much it may be more, if its clock runs as fast as the counter.
    common: Option<(u64, u64)>,
    /// It does not.
    disagree: bool,
    /// The same by the narrowest answer alone, and when on the counter.
    narrowest: Option<(u64, u64, u64)>,
    answers: u32,
}

impl Bounds {
    /// Takes the answer `guest` to a question of `sent` to `received`.
    fn narrow(&mut self, guest: u64, sent: u64, received: u64) {
        self.answers += 1;
        let (least, open) = (guest.wrapping_sub(received), received.wrapping_sub(sent));
        if self.narrowest.is_none_or(|(_, narrowest, _)| open < narrowest) {
            self.narrowest = Some((least, open, received));
        }
        let (least, open) = (least.wrapping_sub(self.slack), open.saturating_add(2 * self.slack));
        let (known, known_open) = *self.common.get_or_insert((least, open));
        let later = least.wrapping_sub(known).cast_signed();
        let from = later.max(0);
        let to = later.saturating_add_unsigned(open).min(known_open.cast_signed());
        match to.checked_sub(from).map(u64::try_from) {
            Some(Ok(open)) => self.common = Some((known.wrapping_add_signed(from), open)),
            _ => self.disagree = true,
        }
    }

    /// How far it is ahead, and by how much that may be wrong either way, if its clock runs as fast as the counter.
    fn of_one_rate(&self) -> Option<(u64, u64)> {
        let (least, open) = self.common.filter(|_| !self.disagree)?;
        Some((least.wrapping_add(open / 2), open.div_ceil(2)))
    }

    /// How far it was ahead, by how much that may be wrong either way, and when on the counter that held.
    fn narrowest(&self) -> Option<(u64, u64, u64)> {
        self.narrowest.map(|(least, open, at)| (least.wrapping_add(open / 2), open.div_ceil(2), at))
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
                bounds.narrow(answered.wrapping_add(ahead), sent, answered + back);
                let (middle, error) = bounds.of_one_rate().unwrap();
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
    fn a_clock_of_another_rate_is_known_by_its_answers_and_keeps_the_narrowest() {
        let mut bounds = Bounds::default();
        bounds.narrow(100, 0, 50);
        assert_eq!(bounds.of_one_rate(), Some((75, 25)));
        bounds.narrow(5_000, 1000, 1010);
        bounds.narrow(9_000, 2000, 2100);
        assert_eq!((bounds.of_one_rate(), bounds.narrowest()), (None, Some((3_995, 5, 1010))));
    }

    #[test]
    fn what_processors_differ_by_does_not_make_another_rate() {
        let mut bounds = Bounds { slack: 3, ..Bounds::default() };
        // 100 ahead, by a processor whose counter is 2 behind, then by one that is 2 before.
        bounds.narrow(108, 9, 11);
        bounds.narrow(1112, 1009, 1011);
        let (ahead, error) = bounds.of_one_rate().unwrap();
        assert!(ahead.abs_diff(100) <= error, "{ahead} ± {error}");
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
