//! Draining one guest: attach, poll until it ends or somebody says stop, leave.
//!
//! Invariant: at most one collector is attached to a ring; its process id stands in the control page, and one that has died
//! is replaced. While it is attached the ring discards what finds no room (streaming); when it leaves the ring goes back to
//! overwriting (flight recorder), and the position stays there for the next collector. One that is killed cannot do that: the
//! guest sees its heart stand still, and does it by itself.
//!
//! ```no_run
//! use fata_collector::{Collector, Options, sink::stream::StreamSink, source};
//! # fn f() -> Result<(), fata_collector::CollectError> {
//! let guest = source::find("http")?;
//! let mut sink = StreamSink::new(std::io::stdout().lock(), "standard output");
//! let mut collector = Collector::attach(&guest, &Options::default(), &[])?;
//! let end = collector.run(&mut sink, &mut |_status| true)?;
//! eprintln!("{end}");
//! # Ok(()) }
//! ```

mod account;
mod end;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fata_wire::field::Level;
use fata_wire::shared::{Mode, PAGE_BYTES, Platform, State, Status as GuestStatus, at, control};

pub use self::account::{Status, discarded_in_all};
pub(crate) use self::end::last_words;
pub use self::end::{CollectError, End};
use crate::alignment::Alignment;
use crate::description::Description;
use crate::drain::{Phase, Position, StreamDrain};
use crate::heart::Heart;
use crate::pace::{self, Pace, Pause};
use crate::shared::SharedMemory;
use crate::sink::{Outlet, Sink, SinkError};
use crate::source::{Guest, Source};

/// A process that drains one guest takes less memory than this, whatever the guest does: `tests/memory.rs` holds it to that.
pub const WORST_CASE_BYTES: usize = 64 << 20;
/// How long a living guest may take to lay out its ring.
pub const RING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a living guest may take to calibrate its clock; events wait in the ring meanwhile.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is asked whether the guest still lives.
const ALIVE_INTERVAL: Duration = Duration::from_millis(250);
/// How often [`Collector::run`] reports.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// How to collect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Copy what the ring holds once, without moving its cursor or changing its mode.
    pub snapshot: bool,
    /// Follow without attaching: neither cursor nor mode is changed, so that others may collect. What the guest overwrites
    /// before it was read is counted.
    pub passive: bool,
    /// Leave after this time.
    pub duration: Option<Duration>,
    /// Turn on events up to this level; as it is, or as the guest starts with, where there is none.
    pub level: Option<Level>,
    /// The guest's place in a trace of several; a trace of its own where there is none.
    pub seat: Option<Seat>,
}

/// A guest's place in a trace of several.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its number, below [`fata_wire::metadata::MAX_GUESTS`], that of its [`Part`](crate::sink::together::Part).
    pub number: u16,
    /// The trace's identity; that of the guest where there is none.
    pub uuid: Option<[u8; 16]>,
    /// How its clock lies on the time axis that the guests share, where that was measured.
    pub clock: Option<Alignment>,
    /// Whether it is to say which packet is which, for those that it exchanges with the others.
    pub says_wires: bool,
}

impl Options {
    /// Whether the guest is told that it is collected from.
    const fn attaches(&self) -> bool {
        !self.snapshot && !self.passive
    }
}

/// A recording to be continued: where each of its streams stands, by stream.
#[derive(Clone, Debug, Default)]
pub struct Continue {
    /// The identity of the recorded trace.
    pub uuid: [u8; 16],
    /// Where each stream stands.
    pub positions: Vec<Option<Position>>,
    /// Whether it holds more than one guest, or more than one life of it.
    pub several: bool,
}

/// What one look at the ring brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Something new.
    Busy,
    /// Nothing new.
    Idle,
    /// The guest will write no more, and all it wrote is published.
    Ended(End),
}

/// Drains the rings of one guest.
#[derive(Debug)]
pub struct Collector {
    guest: Guest,
    memory: Arc<SharedMemory>,
    uuid: [u8; 16],
    options: Options,
    streams: Vec<StreamDrain>,
    description: Option<Description>,
    attached: bool,
    /// The last collector was killed.
    succeeds_killed: bool,
    /// It is known which packets are by the clock that the guest describes.
    knows_clock: bool,
    /// Beats while attached.
    heart: Option<Heart>,
    started: Instant,
    alive: bool,
    asked_alive: Option<Instant>,
}

impl Collector {
    /// Attaches to a guest, waiting a little for one that is still starting.
    ///
    /// A recording of this guest among `earlier` is continued; one of another guest, or of more than this one, is refused.
    ///
    /// # Errors
    /// [`CollectError::Source`] where there is no ring, [`CollectError::Busy`] where another collector is attached,
    /// [`CollectError::OtherGuest`] and [`CollectError::Several`] where `earlier` cannot be continued.
    pub fn attach(guest: &Guest, options: &Options, earlier: &[Continue]) -> Result<Self, CollectError> {
        let memory = guest.open_patiently(options.attaches(), Instant::now() + RING_TIMEOUT)?;
        let uuid = memory.geometry().uuid;
        if earlier.iter().any(|earlier| earlier.uuid != uuid) {
            return Err(CollectError::OtherGuest { guest: guest.label() });
        }
        if earlier.iter().any(|earlier| earlier.several) {
            return Err(CollectError::Several);
        }
        for (stream, position) in earlier.iter().flat_map(|earlier| (0..).zip(&earlier.positions)) {
            let since =
                if stream < memory.geometry().all_streams() { StreamDrain::clock_since(&memory, stream) } else { 0 };
            if since > 0 && position.is_some_and(|position| position.number <= since) {
                return Err(CollectError::OtherClock { guest: guest.label() });
            }
        }
        let mut collector = Collector {
            guest: guest.clone(),
            memory: Arc::new(memory),
            uuid,
            options: options.clone(),
            streams: Vec::new(),
            description: None,
            attached: false,
            succeeds_killed: false,
            knows_clock: false,
            heart: None,
            started: Instant::now(),
            alive: true,
            asked_alive: None,
        };
        if options.attaches() {
            collector.claim()?;
        }
        collector.streams = (0..collector.memory.geometry().all_streams())
            .map(|stream| {
                let continued = earlier.iter().find_map(|earlier| *earlier.positions.get(stream as usize)?);
                let position = match continued {
                    Some(position) => position,
                    None if !options.attaches() => Position::default(),
                    None => StreamDrain::shared_position(&collector.memory, stream),
                };
                let log = collector.memory.geometry().is_log(stream);
                let drain = StreamDrain::new(stream, position, options.attaches(), log);
                // What a recording holds is read from itself; of a pipe nobody knows what was read.
                if collector.succeeds_killed && continued.is_none() { drain.after_a_kill() } else { drain }
            })
            .collect();
        if options.attaches() {
            // Positions first: a guest that sees the mode must see what it may overwrite.
            for stream in &collector.streams {
                stream.share(&collector.memory);
            }
            collector.heart = Some(Heart::start(&collector.memory));
            collector.set_mode(Mode::Discard);
        }
        Ok(collector)
    }

    /// Puts our process id where at most one collector's is.
    fn claim(&mut self) -> Result<(), CollectError> {
        let own = u64::from(std::process::id());
        let mut held = self.memory.control_u64(control::COLLECTOR);
        loop {
            if held != 0 && held != own && self.guest.is_mapped_by(held) {
                return Err(CollectError::Busy { guest: self.guest.label(), pid: held });
            }
            match self.memory.exchange_control_u64(control::COLLECTOR, held, own) {
                Ok(()) => break,
                Err(now) => held = now,
            }
        }
        self.attached = true;
        self.succeeds_killed = held != 0;
        Ok(())
    }

    /// Announces a mode, and with it what is on: the guest takes all of the control page together.
    fn set_mode(&self, mode: Mode) {
        let memory = &self.memory;
        let generation = memory.control_u32(control::GENERATION);
        if generation == 0 {
            // What a guest starts with: see the probe's `control`.
            memory.set_control_u64(control::CATEGORIES, u64::MAX);
            memory.set_control_u32(control::LEVEL, Level::Info as u32);
        }
        if let Some(level) = self.options.level {
            memory.set_control_u32(control::LEVEL, level as u32);
        }
        let says_wires = self.options.seat.as_ref().is_some_and(|seat| seat.says_wires) && mode == Mode::Discard;
        memory.set_control_u32(control::WIRE, u32::from(says_wires));
        memory.set_control_u32(control::MODE, mode as u32);
        memory.set_control_u32(control::GENERATION, generation.wrapping_add(1).max(1));
        memory.ring_bell();
    }

    /// Publishes what is new.
    ///
    /// # Errors
    /// [`CollectError::Sink`]: nothing more can be published.
    pub fn poll(&mut self, sink: &mut dyn Sink) -> Result<Poll, CollectError> {
        let now = Instant::now();
        let clock_since = if self.knows_clock { Vec::new() } else { self.clock_since() };
        let page = self.memory.header_page();
        let status = GuestStatus::parse(&page, self.memory.geometry());
        if page[at::UUID..at::UUID + 16] != self.uuid {
            return Ok(Poll::Ended(End::Restarted));
        }
        // Whether it is over is asked before the last look, so that nothing is written after that look.
        let over = matches!(status.state, State::Exited | State::Panicked) || !self.is_alive(now);
        if status.clock.hz == 0 && !over && !self.options.snapshot && self.started.elapsed() < CLOCK_TIMEOUT {
            return Ok(Poll::Idle);
        }
        if !self.knows_clock {
            // The page was copied while the clock was changed: the next copy is of one clock.
            if self.clock_since() != clock_since && !over {
                return Ok(Poll::Idle);
            }
            self.knows_clock = true;
            for (stream, since) in self.streams.iter_mut().zip(clock_since) {
                stream.read_by_clock_since(&self.memory, since);
            }
        }
        let before = self.totals();
        let phase = match (over, self.options.snapshot) {
            (true, _) => Phase::Dead,
            (false, true) => Phase::Leaving,
            (false, false) => Phase::Live,
        };
        let more = self.drain(sink, &status, phase, now)?;
        if !more && status.clock.hz > 0 && self.streams.iter().any(StreamDrain::is_past_clock) {
            self.drain(sink, &status, Phase::Leaving, now)?;
            self.finish_streams(sink, &status, &page)?;
            return Ok(Poll::Ended(End::ClockChanged));
        }
        if !more && (over || self.options.snapshot) {
            self.finish_streams(sink, &status, &page)?;
            return Ok(Poll::Ended(match status.state {
                _ if !over => End::Copied,
                State::Exited => match last_words(&page) {
                    words if words.is_empty() => End::Exited,
                    words => End::Asked(words),
                },
                State::Panicked => End::Panicked(last_words(&page)),
                state if self.guest.source == Source::Memory => End::Image(state, self.totals().unfinished),
                _ if self.guest.has_crashed() => End::Crashed(self.totals().unfinished),
                _ if self.options.snapshot => End::Copied,
                _ => End::Killed(self.totals().unfinished),
            }));
        }
        let after = self.totals();
        Ok(if more || after.packets > before.packets { Poll::Busy } else { Poll::Idle })
    }

    /// Polls until the guest ends, the time is over, or `report`, which is called every so often, says `false`; then leaves.
    ///
    /// # Errors
    /// As [`poll`](Collector::poll). A reader that has gone is no error but [`End::ReaderGone`].
    pub fn run(&mut self, sink: &mut dyn Sink, report: &mut dyn FnMut(&Status) -> bool) -> Result<End, CollectError> {
        pace::give_way();
        let (mut pace, mut rang) = (Pace::new(self.memory.has_bell()), false);
        let mut reported = Instant::now();
        let result = loop {
            match self.poll(sink) {
                Err(CollectError::Sink(SinkError::Closed)) => break Ok(End::ReaderGone),
                Err(error) => break Err(error),
                Ok(Poll::Ended(end)) => break Ok(end),
                Ok(Poll::Busy | Poll::Idle) => {
                    let fill = self.streams.iter().map(StreamDrain::fill).max().unwrap_or(0);
                    rang = match pace.after(fill, rang) {
                        Some(Pause { length, hears_bell: true }) => self.memory.wait(length),
                        Some(Pause { length, hears_bell: false }) => {
                            std::thread::sleep(length);
                            false
                        }
                        None => false,
                    };
                }
            }
            let over = self.options.duration.is_some_and(|duration| self.started.elapsed() >= duration);
            let mut go_on = !over;
            if reported.elapsed() >= STATUS_INTERVAL {
                reported = Instant::now();
                let status = self.status();
                match sink.tick(&status) {
                    Err(SinkError::Closed) => break Ok(End::ReaderGone),
                    Err(error) => break Err(error.into()),
                    Ok(()) => go_on &= report(&status),
                }
                if sink.has_joined() {
                    // Whatever is asked, a guest answers a new question with the names of all.
                    self.set_mode(Mode::Discard);
                }
            }
            if !go_on {
                break self.leave(sink).map(|()| End::Stopped);
            }
        };
        self.detach();
        result
    }

    /// Publishes what is committed now and detaches; the guest goes on as a flight recorder.
    ///
    /// # Errors
    /// As [`poll`](Collector::poll); detached it is all the same.
    pub fn leave(&mut self, sink: &mut dyn Sink) -> Result<(), CollectError> {
        let page = self.memory.header_page();
        let status = GuestStatus::parse(&page, self.memory.geometry());
        let result = self
            .drain(sink, &status, Phase::Leaving, Instant::now())
            .and_then(|_| self.finish_streams(sink, &status, &page));
        self.detach();
        result
    }

    fn drain(
        &mut self,
        sink: &mut dyn Sink,
        status: &GuestStatus,
        phase: Phase,
        now: Instant,
    ) -> Result<bool, CollectError> {
        let mut more = false;
        for i in 0..self.streams.len() {
            let (stream, memory, mut outlet) = self.outlet(i, sink, status);
            more |= stream.poll(memory, &mut outlet, phase, now)?;
        }
        Ok(more)
    }

    /// From which packet on each stream is by the clock that the header page describes.
    fn clock_since(&self) -> Vec<u64> {
        (0..self.memory.geometry().all_streams()).map(|stream| StreamDrain::clock_since(&self.memory, stream)).collect()
    }

    /// The last that is said of each stream. Of the log's accounts it is what `page` said, a copy from before the last look at
    /// the rings: what a guest that goes on has made since is neither read nor lost.
    fn finish_streams(
        &mut self,
        sink: &mut dyn Sink,
        status: &GuestStatus,
        page: &[u8; PAGE_BYTES],
    ) -> Result<(), CollectError> {
        let accounts = self.accounts_in(page);
        for i in 0..self.streams.len() {
            let (stream, memory, mut outlet) = self.outlet(i, sink, status);
            if i == 0 {
                outlet.description.add_accounts(&accounts);
            }
            outlet.describe(memory)?;
            stream.finish(memory, &mut outlet)?;
        }
        Ok(())
    }

    /// Stream `i`, and what it needs to publish.
    fn outlet<'a>(
        &'a mut self,
        i: usize,
        sink: &'a mut dyn Sink,
        status: &GuestStatus,
    ) -> (&'a mut StreamDrain, &'a SharedMemory, Outlet<'a>) {
        let (guest, seat) = (&self.guest, self.options.seat.as_ref());
        let (uuid, number) = seat.map_or((self.uuid, 0), |seat| (seat.uuid.unwrap_or(self.uuid), seat.number));
        let description = self.description.get_or_insert_with(|| {
            let platform = self.memory.geometry().platform.text();
            let facts = [("guest", guest.name.as_str()), ("platform", platform)];
            match seat {
                None => Description::alone(uuid, &status.clock, &facts),
                Some(Seat { clock: Some(clock), .. }) => clock.describe(number, &status.clock, &facts),
                Some(_) => Description::new(number, &status.clock, None, &facts),
            }
        });
        let outlet = Outlet { sink, description, uuid, guest: number };
        (&mut self.streams[i], &self.memory, outlet)
    }

    fn is_alive(&mut self, now: Instant) -> bool {
        if self.alive && self.asked_alive.is_none_or(|asked| now.duration_since(asked) >= ALIVE_INTERVAL) {
            self.asked_alive = Some(now);
            self.alive = self.guest.is_alive();
        }
        self.alive
    }

    /// The guest's identity, and its trace's where that has no other.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// What the guest runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.memory.geometry().platform
    }

    /// The guest.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    fn detach(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.set_mode(Mode::Overwrite);
            self.heart = None;
            // An error says that another collector has taken our place already.
            let own = u64::from(std::process::id());
            let _ = self.memory.exchange_control_u64(control::COLLECTOR, own, 0);
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.detach();
    }
}
