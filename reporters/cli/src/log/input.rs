//! Where records come from: a guest's rings, read without taking anything away, or a trace.

use std::path::Path;

use anyhow::bail;
use fata_collector::sink::{Sink, SinkError};
use fata_collector::source::{self, Guest};
use fata_collector::{Collector, End, Options, collector::Poll};
use fata_model::source::{Chunk, TraceReader};
use fata_wire::packet::PacketHeader;

use super::decode::Decoder;
use super::screen::Screen;

/// So many chunks of a trace are read at a time.
const CHUNKS: usize = 64;

/// One guest or trace.
pub(super) struct Input {
    from: From,
    /// By the guest's number in the trace.
    decoders: Vec<Decoder>,
    warnings: Vec<String>,
}

enum From {
    Guest(Box<Collector>),
    Trace(Box<TraceReader>),
    /// Read to its end; whose guest it was.
    Over(Option<Guest>),
}

/// Opens what the words name: guests, traces, memory files; every guest where there is no word.
pub(super) fn open(words: &[String], follow: bool) -> anyhow::Result<Vec<Input>> {
    if words.is_empty() {
        let guests = source::list()?;
        let inputs: Vec<_> = guests
            .iter()
            .filter(|guest| !follow || guest.is_alive())
            .filter_map(|guest| Input::of_guest(guest, follow).ok())
            .collect();
        if inputs.is_empty() && !follow {
            bail!(
                "no guest has a ring in {}: `fata run SAMPLE` starts one, or name a trace",
                source::ring_dir().display()
            );
        }
        return Ok(inputs);
    }
    words.iter().map(|word| Input::open(word, follow)).collect()
}

/// Adds the guests that were started meanwhile.
pub(super) fn add_new(inputs: &mut Vec<Input>) -> anyhow::Result<()> {
    for guest in source::list()?.iter().filter(|guest| guest.is_alive()) {
        let is_known = |input: &Input| input.guest().is_some_and(|known| known.path == guest.path);
        if !inputs.iter().any(is_known)
            && let Ok(input) = Input::of_guest(guest, true)
        {
            inputs.push(input);
        }
    }
    Ok(())
}

impl Input {
    fn open(word: &str, follow: bool) -> anyhow::Result<Self> {
        let path = Path::new(word);
        // Where a guest and a trace have the same name, a path says which is meant.
        let trace = || fata_model::source::open(path);
        if word == "-" || path.is_dir() {
            return Ok(Self::of_trace(trace()?));
        }
        match source::find(word).map_err(anyhow::Error::from).and_then(|guest| Self::of_guest(&guest, follow)) {
            Ok(input) => Ok(input),
            Err(error) if path.is_file() => trace().map(Self::of_trace).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    fn of_guest(guest: &Guest, follow: bool) -> anyhow::Result<Self> {
        let options = Options { snapshot: !follow, passive: true, ..Options::default() };
        let collector = Collector::attach(guest, &options, &[])?;
        Ok(Input {
            from: From::Guest(Box::new(collector)),
            decoders: vec![Decoder::new(&guest.name, true)],
            warnings: Vec::new(),
        })
    }

    fn of_trace(reader: TraceReader) -> Self {
        Input { from: From::Trace(Box::new(reader)), decoders: vec![Decoder::new("", false)], warnings: Vec::new() }
    }

    /// The guest, where it is one.
    pub(super) fn guest(&self) -> Option<&Guest> {
        match &self.from {
            From::Guest(collector) => Some(collector.guest()),
            From::Over(guest) => guest.as_ref(),
            From::Trace(_) => None,
        }
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
        warnings
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
                        decoder.end(&collector.log_accounts(), &mut |entry| screen.push(entry));
                    }
                    self.warnings.extend(collector.warnings());
                    self.from = From::Over(Some(collector.guest().clone()));
                }
                Ok(poll == Poll::Busy)
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
                        Some(Chunk::Packet(packet)) => decode(decoders, packet, screen),
                        None => {
                            self.warnings.extend(reader.warnings().iter().cloned());
                            self.from = From::Over(None);
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            }
        }
    }
}

/// A packet's records, by whoever knows its guest.
fn decode(decoders: &mut [Decoder], packet: &[u8], screen: &mut Screen) {
    let number = PacketHeader::parse(packet).map_or(0, |header| header.guest());
    if let Some(decoder) = decoders.get_mut(usize::from(number)) {
        decoder.fix_clock();
        decoder.packet(packet, &mut |entry| screen.push(entry));
    }
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
        decode(self.decoders, packet, self.screen);
        Ok(())
    }
}
