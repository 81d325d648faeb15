//! One guest, with a progress line on standard error, and each life of it that follows.
//!
//! The first life lies in the trace by its own clock, as a guest alone does. So do the others, whose distance from the first is
//! what the guest itself says of the time of day: how far that may be wrong stands in the trace.

use fata_collector::alignment::Alignment;
use fata_collector::sink::Sink;
use fata_collector::sink::together::Together;
use fata_collector::source::Guest;
use fata_collector::{Collector, Continue, Options, Seat};

use super::lives::{Ended, Lives};
use super::{Args, Progress};
use crate::signals::Stop;

/// Collects the guest, and its lives, into `sink`, which `target` names.
pub(super) fn run<S: Sink>(
    guest: Guest,
    args: &Args,
    options: &Options,
    earlier: Option<&Continue>,
    sink: S,
    target: &str,
    stop: &Stop,
) -> anyhow::Result<S> {
    let lives = Lives::new(1, args, stop);
    let together = Together::new(sink);
    let mut progress = Progress::new(args.quiet);
    let mut uuid = None;
    // The first guest finds a seat.
    let number = lives.seat(&guest).unwrap_or(0);
    lives.follow(guest, number, |guest, number, duration| {
        let is_first = number == 0;
        let clock = (!is_first).then(|| Alignment::by_own_word(guest));
        let seat = Seat { number, uuid, clock, says_wires: false };
        let options = Options { duration, seat: Some(seat), ..options.clone() };
        let earlier = earlier.filter(|_| is_first).map(std::slice::from_ref).unwrap_or(&[]);
        let mut collector = Collector::attach(guest, &options, earlier)?;
        let continued = !earlier.is_empty() || !is_first;
        progress.follow_name(guest);
        let end = super::finish(&mut collector, &mut together.seat(number), stop, &mut progress, target, continued)?;
        uuid = uuid.or(Some(collector.uuid()));
        Ok(Ended { collector, end, renamed: progress.name() })
    })?;
    Ok(together.into_inner())
}
