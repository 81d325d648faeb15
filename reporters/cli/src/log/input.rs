//! Where records come from: a guest's rings, read without taking anything away, or a trace.

use std::path::Path;

use anyhow::bail;
use fata_collector::alignment::{Alignment, Axis};
use fata_collector::sink::{Sink, SinkError};
use fata_collector::source::{self, Guest, SourceError};
use fata_collector::{Collector, End, Options, Seat, collector::Poll};
use fata_model::source::{Chunk, TraceReader};
use fata_reporters::time::Time;
use fata_wire::log::{Account, Fates};
use fata_wire::metadata::write_trace;
use fata_wire::packet::PacketHeader;

use super::decode::Decoder;
use super::screen::Screen;

/// So many chunks of a trace are read at a time.
const CHUNKS: usize = 64;

/// What decoding takes at most: the description of a guest, at most 4 MiB in its ring, four times as long when it is taken
/// apart; the names of 32,767 tasks; and the records of one packet of 256 KiB.
const DECODER_BYTES: usize = 32 << 20;

/// One guest or trace.
pub(super) struct Input {
    from: From,
    /// By the guest's number in the trace.
    decoders: Vec<Decoder>,
    warnings: Vec<String>,
    reached: Reached,
    /// What a guest counted until it ended.
    fates: Option<Fates>,
}

/// What of an input has been read, so that what others have said before can be put before what it is yet to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nobody knows how old what comes next is.
    Unknown,
    /// What comes next is not older.
    Time(Time),
    /// There was nothing left to read.
    Now,
}

enum From {
    Guest(Box<Collector>),
    Trace(Box<TraceReader>),
    /// Read to its end; whose guest it was.
    Over(Option<Guest>),
}

/// Opens what the words name: guests, traces, memory files; every guest where there is no word.
///
/// Of several guests each clock is put on one axis, as in a recording of them all.
pub(super) fn open(words: &[String], follow: bool) -> anyhow::Result<Vec<Input>> {
    if words.is_empty() {
        let guests: Vec<_> = source::list()?.into_iter().filter(|guest| !follow || guest.is_alive()).collect();
        let inputs: Vec<_> = guests
            .iter()
            .zip(alignments(&guests.iter().map(Some).collect::<Vec<_>>()))
            .filter_map(|(guest, clock)| Input::of_guest(guest, follow, clock).ok())
            .collect();
        if inputs.is_empty() && !follow {
            bail!(
                "no guest has a ring in {}: `fata run SAMPLE` starts one, or name a trace",
                source::ring_dir().display()
            );
        }
        return Ok(inputs);
    }
    // Where a guest and a trace have the same name, a path says which is meant.
    let is_trace = |word: &str| word == "-" || Path::new(word).is_dir();
    let found: Vec<_> = words.iter().map(|word| (!is_trace(word)).then(|| source::find(word))).collect();
    let guests: Vec<_> = found.iter().map(|found| found.as_ref()?.as_ref().ok()).collect();
    let clocks = alignments(&guests);
    words.iter().zip(found).zip(clocks).map(|((word, found), clock)| Input::open(word, found, follow, clock)).collect()
}

/// How the clocks of guests lie on one axis; nothing where there is but one guest, which has its own.
fn alignments(guests: &[Option<&Guest>]) -> Vec<Option<Alignment>> {
    if guests.iter().flatten().count() < 2 {
        return guests.iter().map(|_| None).collect();
    }
    let axis = Axis::measure();
    std::thread::scope(|scope| {
        // Some have to be asked, and take their time to answer.
        let asking: Vec<_> =
            guests.iter().map(|guest| guest.map(|guest| scope.spawn(|| Alignment::of(guest, &axis)))).collect();
        // A panic of ours leaves a guest its own word.
        asking.into_iter().map(|thread| thread?.join().ok()).collect()
    })
}

/// Adds the guests that were started meanwhile.
pub(super) fn add_new(inputs: &mut Vec<Input>) -> anyhow::Result<()> {
    for guest in source::list()?.iter().filter(|guest| guest.is_alive()) {
        let is_known = |input: &Input| input.guest().is_some_and(|known| known.path == guest.path);
        if !inputs.iter().any(is_known)
            && let Ok(input) = Input::of_guest(guest, true, None)
        {
            inputs.push(input);
        }
    }
    Ok(())
}

impl Input {
    fn open(
        word: &str,
        found: Option<Result<Guest, SourceError>>,
        follow: bool,
        clock: Option<Alignment>,
    ) -> anyhow::Result<Self> {
        let path = Path::new(word);
        let trace = || fata_model::source::open(path);
        let Some(found) = found else { return Ok(Self::of_trace(trace()?)) };
        match found.map_err(anyhow::Error::from).and_then(|guest| Self::of_guest(&guest, follow, clock)) {
            Ok(input) => Ok(input),
            Err(error) if path.is_file() => trace().map(Self::of_trace).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    fn of_guest(guest: &Guest, follow: bool, clock: Option<Alignment>) -> anyhow::Result<Self> {
        let mut decoder = Decoder::new(&guest.name, true);
        let mut options = Options { snapshot: !follow, passive: true, ..Options::default() };
        if clock.is_some() {
            // A part of a trace comes without what every trace begins with.
            let mut text = String::new();
            write_trace(&mut text, [0; 16])?;
            decoder.metadata(&text)?;
            options.seat = Some(Seat { number: 0, uuid: None, clock, says_wires: false });
        }
        let collector = Collector::attach(guest, &options, &[])?;
        let from = From::Guest(Box::new(collector));
        Ok(Input { from, decoders: vec![decoder], warnings: Vec::new(), reached: Reached::Unknown, fates: None })
    }

    fn of_trace(reader: TraceReader) -> Self {
        let (from, decoders) = (From::Trace(Box::new(reader)), vec![Decoder::new("", false)]);
        Input { from, decoders, warnings: Vec::new(), reached: Reached::Unknown, fates: None }
    }

    /// The most memory that reading it takes. Of a trace a packet of each stream is held, at most 256 KiB of each of 16 streams
    /// of 15 guests, which is no more than a collector may take.
    pub(super) fn worst_case_bytes(&self) -> usize {
        fata_collector::collector::WORST_CASE_BYTES + DECODER_BYTES * self.decoders.len()
    }

    /// The guest, where it is one.
    pub(super) fn guest(&self) -> Option<&Guest> {
        match &self.from {
            From::Guest(collector) => Some(collector.guest()),
            From::Over(guest) => guest.as_ref(),
            From::Trace(_) => None,
        }
    }

    /// How far it has been read.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.from, From::Over(_))
    }

    /// What was wrong with it: a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        for decoder in self.decoders.iter().filter(|decoder| decoder.malformed() > 0) {
            warnings.push(format!("{} packets of {} could not be read", decoder.malformed(), decoder.guest()));
        }
        for decoder in self.decoders.iter().filter(|decoder| decoder.repeated() > 0) {
            warnings.push(format!("{} packets of {} came twice: once is enough", decoder.repeated(), decoder.guest()));
        }
        warnings
    }

    /// A sentence for each guest that says what became of every record that it made; none where it makes more and is not
    /// followed, or where a trace does not say.
    pub(super) fn sums(&self, follow: bool) -> Vec<String> {
        let so_far = match &self.from {
            From::Guest(collector) if follow => Some(fates(&collector.log_accounts())),
            _ => self.fates,
        };
        let known = |decoder: &Decoder| Some(decoder.sum(&so_far.or_else(|| decoder.fates())?));
        self.decoders.iter().filter_map(known).collect()
    }

    /// Reads what there is, or some of it. `true` where there is more.
    pub(super) fn read(&mut self, screen: &mut Screen) -> anyhow::Result<bool> {
        let decoders = &mut self.decoders;
        match &mut self.from {
            From::Over(_) => Ok(false),
            From::Guest(collector) => {
                let poll = collector.poll(&mut Decoding { decoders, screen })?;
                if let Poll::Ended(end) = &poll {
                    // A guest that goes on will yet say what is missing.
                    if *end != End::Copied
                        && let Some(decoder) = decoders.first_mut()
                    {
                        let accounts = collector.log_accounts();
                        decoder.end(&accounts, &mut |entry| screen.push(entry));
                        self.fates = Some(fates(&accounts));
                    }
                    self.warnings.extend(collector.warnings());
                    if *end == End::ClockChanged {
                        let guest = collector.guest().label();
                        self.warnings.push(format!(
                            "the clock of {guest} was changed: ask again for what it says by the new one"
                        ));
                    }
                    self.from = From::Over(Some(collector.guest().clone()));
                }
                // Streams are read one after the other: of one that is not read to its end nothing is known.
                let busy = poll == Poll::Busy;
                self.reached = if busy { Reached::Unknown } else { Reached::Now };
                Ok(busy)
            }
            From::Trace(reader) => {
                for _ in 0..CHUNKS {
                    match reader.next_chunk()? {
                        Some(Chunk::Metadata(text)) => {
                            for decoder in decoders.iter_mut() {
                                decoder.metadata(text)?;
                            }
                            Decoder::join(decoders);
                            decoders.iter_mut().for_each(Decoder::rename);
                        }
                        // Packets come in the order in which they begin.
                        Some(Chunk::Packet(packet)) => {
                            let begun = decode(decoders, packet, screen);
                            self.reached = begun.map_or(self.reached, Reached::Time);
                        }
                        None => {
                            self.warnings.extend(reader.warnings().iter().cloned());
                            self.from = From::Over(None);
                            self.reached = Reached::Now;
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            }
        }
    }
}

/// What became of the records of a guest with these accounts of log streams.
fn fates(accounts: &[(u32, u32, Account)]) -> Fates {
    let mut fates = Fates::default();
    accounts.iter().for_each(|(_, class, account)| fates.add(*class, account));
    fates
}

/// A packet's records, by whoever knows its guest; when it begins.
fn decode(decoders: &mut [Decoder], packet: &[u8], screen: &mut Screen) -> Option<Time> {
    let header = PacketHeader::parse(packet).ok();
    let decoder = decoders.get_mut(usize::from(header.map_or(0, |header| header.guest())))?;
    decoder.fix_clock();
    decoder.packet(packet, &mut |entry| screen.push(entry));
    header.map(|header| decoder.time(header.timestamp_begin))
}

/// What a collector publishes, on its way to the screen.
struct Decoding<'a> {
    decoders: &'a mut [Decoder],
    screen: &'a mut Screen,
}

impl Sink for Decoding<'_> {
    fn metadata(&mut self, _uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        // Our own metadata is of our own version.
        for decoder in self.decoders.iter_mut() {
            let _ = decoder.metadata(text);
        }
        Ok(())
    }

    fn packet(&mut self, _stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        let _ = decode(self.decoders, packet, self.screen);
        Ok(())
    }
}
