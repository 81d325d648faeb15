//! A guest that is started anew while it is collected: its next life goes into the same recording, as another guest of the
//! trace.
//!
//! A domain of Xen is followed by itself: what reboots has another id and the same name, which may be another one than when
//! the recording began. Of other guests nobody knows whether they come back, so they are waited for when `--again` says so.
//! A guest whose clock was changed begins a new life too: in a trace a guest has one clock.
//!
//! When it is full: a trace has [`MAX_GUESTS`] seats, of which each guest that was named has its share for its lives. Where one has
//! used its share up, a sentence says so and its recording ends; those of the others go on.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fata_collector::source::{self, Guest, Source};
use fata_collector::xen::device::{Ending, Life};
use fata_collector::{Collector, End};
use fata_wire::metadata::MAX_GUESTS;

use super::Args;
use crate::output::say;
use crate::signals::Stop;

/// How long a domain that has ended may take to be there again, where Xen does not say that it will not be; and how long it may
/// take to say that it has ended, after it has sealed its ring.
const GONE: Duration = Duration::from_secs(2);
/// The same, where Xen or the toolstack says that it is being started anew.
const REBOOT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// The guests of a recording, and what follows from its arguments for all of them.
pub(super) struct Lives<'a> {
    args: &'a Args,
    stop: &'a Stop,
    started: Instant,
    /// How many lives each guest may have.
    share: usize,
    /// Who has a seat, by its number: the path of a guest, which no other life of it has.
    seated: Mutex<Vec<PathBuf>>,
}

/// How the recording of one life ended.
pub(super) struct Ended {
    /// What has recorded it, and keeps its memory mapped.
    pub(super) collector: Collector,
    pub(super) end: End,
    /// What it was called at the end, if it was renamed.
    pub(super) renamed: Option<String>,
}

/// Why a guest gets no seat.
pub(super) enum NoSeat {
    /// It has one.
    Seated,
    /// There is none left.
    Full,
}

impl<'a> Lives<'a> {
    /// Of a recording of so many guests that begins now.
    pub(super) fn new(guests: usize, args: &'a Args, stop: &'a Stop) -> Self {
        let share = usize::from(MAX_GUESTS) / guests.max(1);
        Lives { args, stop, started: Instant::now(), share, seated: Mutex::new(Vec::new()) }
    }

    /// A seat for a guest that has none: the next number.
    pub(super) fn seat(&self, guest: &Guest) -> Result<u16, NoSeat> {
        self.seat_of_share(guest, true)
    }

    /// The same, if it has some of its share left.
    fn seat_of_share(&self, guest: &Guest, has_share: bool) -> Result<u16, NoSeat> {
        let mut seated = self.seated();
        if seated.contains(&guest.path) { Err(NoSeat::Seated) } else { take_seat(&mut seated, guest, has_share) }
    }

    /// One more, for a guest that has one.
    fn another_seat(&self, guest: &Guest, has_share: bool) -> Result<u16, NoSeat> {
        take_seat(&mut self.seated(), guest, has_share)
    }

    fn seated(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        // Nothing panics while it is locked.
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the guest that sits on `number`, and then each life of it that follows, by `record`: a guest, its number, and for how
    /// long at most.
    pub(super) fn follow(
        &self,
        mut guest: Guest,
        mut number: u16,
        mut record: impl FnMut(&Guest, u16, Option<Duration>) -> anyhow::Result<Ended>,
    ) -> anyhow::Result<()> {
        let mut left = self.args.duration;
        for life in 1.. {
            let was_alive = guest.is_alive();
            let Ended { collector, end, renamed } = record(&guest, number, left)?;
            if let Some(name) = renamed {
                guest.name = name;
            }
            let has_share = life < self.share;
            let (next, seat, what) = if end == End::ClockChanged {
                drop(collector);
                (
                    guest.clone(),
                    self.another_seat(&guest, has_share).ok(),
                    format!("{} goes on by a changed clock", guest.label()),
                )
            } else {
                if !self.may_come_again(&guest, was_alive, &end) {
                    break;
                }
                let ending = ending(&guest);
                drop(collector);
                let Some((next, seat)) = self.next(&guest, ending, has_share) else { break };
                let what = format!("{} was started anew as {}", guest.label(), next.label());
                (next, seat, what)
            };
            let Some(seat) = seat else {
                say!("{what}, and this trace has no more room for it: collect it into another one.");
                break;
            };
            if !self.args.quiet {
                say!("{what}: the recording goes on.");
            }
            (guest, number) = (next, seat);
            left = self.args.duration.map(|duration| duration.saturating_sub(self.started.elapsed()));
        }
        Ok(())
    }

    /// Whether the recording waits for a next life of the guest. A domain that had crashed before it was collected, and is still
    /// there, is kept as it is.
    fn may_come_again(&self, guest: &Guest, was_alive: bool, end: &End) -> bool {
        let is_over = matches!(
            end,
            End::Exited | End::Asked(_) | End::Panicked(_) | End::Killed(_) | End::Crashed(_) | End::Restarted
        );
        let is_kept = || !was_alive && guest.life() == Some(Life::Ended(Ending::Crash));
        is_over && !self.args.snapshot && (self.args.again || guest.source == Source::Xen && !is_kept())
    }

    /// The guest that `ended` is now, if it comes while there is hope; and its seat, if it has one to get.
    fn next(&self, ended: &Guest, ending: Option<Ending>, has_share: bool) -> Option<(Guest, Option<u16>)> {
        let since = Instant::now();
        let time_is_over = || self.args.duration.is_some_and(|duration| self.started.elapsed() >= duration);
        while !self.stop.is_asked() && !time_is_over() {
            let guests = source::list().unwrap_or_default();
            for next in guests.into_iter().filter(|guest| guest.name == ended.name && guest.is_alive()) {
                // One that has a seat is this life, or another guest of the name that is recorded too.
                match self.seat_of_share(&next, has_share) {
                    Ok(number) => return Some((next, Some(number))),
                    Err(NoSeat::Full) => return Some((next, None)),
                    Err(NoSeat::Seated) => {}
                }
            }
            let patience = match ending {
                _ if self.args.again => Duration::MAX,
                Some(Ending::Reboot) => REBOOT,
                Some(Ending::PowerOff) => return None,
                _ if ended.is_being_built_anew() => REBOOT,
                _ => GONE,
            };
            if since.elapsed() > patience {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        None
    }
}

fn take_seat(seated: &mut Vec<PathBuf>, guest: &Guest, has_share: bool) -> Result<u16, NoSeat> {
    let number = u16::try_from(seated.len()).ok().filter(|&number| has_share && number < MAX_GUESTS);
    let number = number.ok_or(NoSeat::Full)?;
    seated.push(guest.path.clone());
    Ok(number)
}

/// Why the domain that was recorded has ended; `None` where it has not, or where Xen does not know. To be asked while its memory is
/// still mapped: with the last page of it Xen forgets the domain.
fn ending(guest: &Guest) -> Option<Ending> {
    let since = Instant::now();
    loop {
        match guest.life() {
            Some(Life::Runs | Life::Paused) if since.elapsed() < GONE => std::thread::sleep(PAUSE),
            life => return life.and_then(Life::ending),
        }
    }
}
