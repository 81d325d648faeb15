//! A guest that is started anew while it is collected: its next life goes into the same recording, as another guest of the
//! trace, on the same time axis.
//!
//! A domain of Xen is followed by itself: what reboots has another id and the same name, which may be another one than when
//! the recording began. Of other guests nobody knows whether they come back, so they are waited for when `--again` says so.

use std::time::{Duration, Instant};

use fata_collector::sink::Sink;
use fata_collector::sink::together::Together;
use fata_collector::source::{self, Guest, Source};
use fata_collector::xen::device::{Ending, Life};
use fata_collector::{Collector, Continue, End, Options, Seat};
use fata_wire::metadata::MAX_GUESTS;

use super::{Args, Progress};
use crate::output::say;
use crate::signals::Stop;

/// How long a domain that has ended may take to be there again, where Xen does not say that it will not be; and how long it may
/// take to say that it has ended, after it has sealed its ring.
const GONE: Duration = Duration::from_secs(2);
/// The same, where Xen or the toolstack says that it is being started anew.
const REBOOT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Collects the guest, and each life of it that follows, into `sink`, which `target` names.
pub(super) fn run<S: Sink>(
    first: Guest,
    args: &Args,
    options: &Options,
    earlier: Option<&Continue>,
    sink: S,
    target: &str,
    stop: &Stop,
) -> anyhow::Result<S> {
    let started = Instant::now();
    let together = Together::new(sink);
    let mut progress = Progress::new(args.quiet);
    let mut guest = first;
    let (mut number, mut uuid) = (0, None);
    loop {
        let duration = options.duration.map(|duration| duration.saturating_sub(started.elapsed()));
        let seat = Seat { number, uuid, clock: None, says_wires: false };
        let options = Options { duration, seat: Some(seat), ..options.clone() };
        let earlier = earlier.filter(|_| number == 0).map(std::slice::from_ref).unwrap_or(&[]);
        let mut collector = Collector::attach(&guest, &options, earlier)?;
        let continued = !earlier.is_empty() || number > 0;
        progress.follow_name(&guest);
        let end = super::finish(&mut collector, &mut together.seat(number), stop, &mut progress, target, continued)?;
        uuid = uuid.or(Some(collector.uuid()));
        let may_come_again = may_come_again(&guest, &end, args);
        let ending = if may_come_again { ending(&guest) } else { None };
        drop(collector);
        if let Some(name) = progress.name() {
            guest.name = name;
        }
        if !may_come_again {
            break;
        }
        let Some(next) = next_life(&guest, ending, args, started, stop) else { break };
        number += 1;
        if number >= MAX_GUESTS {
            say!("{} was started anew, but a trace holds {MAX_GUESTS} lives: collect the next one.", next.label());
            break;
        }
        if !args.quiet {
            say!("{} was started anew as {}: the recording goes on.", guest.label(), next.label());
        }
        guest = next;
    }
    Ok(together.into_inner())
}

/// Whether the recording waits for a next life of the guest.
fn may_come_again(guest: &Guest, end: &End, args: &Args) -> bool {
    let is_over = matches!(
        end,
        End::Exited | End::Asked(_) | End::Panicked(_) | End::Killed(_) | End::Crashed(_) | End::Restarted
    );
    is_over && !args.snapshot && (args.again || guest.source == Source::Xen)
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

/// The guest that `ended` is now, if it is to be waited for and comes.
fn next_life(ended: &Guest, ending: Option<Ending>, args: &Args, started: Instant, stop: &Stop) -> Option<Guest> {
    let since = Instant::now();
    let time_is_over = || args.duration.is_some_and(|duration| started.elapsed() >= duration);
    while !stop.is_asked() && !time_is_over() {
        let is_next = |guest: &Guest| guest.name == ended.name && guest.path != ended.path && guest.is_alive();
        if let Some(next) = source::list().ok().and_then(|guests| guests.into_iter().find(is_next)) {
            return Some(next);
        }
        let patience = match ending {
            _ if args.again => Duration::MAX,
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
