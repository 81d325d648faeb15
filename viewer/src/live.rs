//! Where the viewer's trace comes from, and what is known of whoever sends it.
//!
//! Reading and decoding happen on the model's loader thread, which a frame stops for one packet at most. Nothing is
//! buffered here: a viewer that is slow lets the pipe fill, and the guest's ring keeps the account.
//!
//! ```no_run
//! use fata_viewer::live::{Note, Source};
//! let (ours, theirs) = std::io::pipe()?; // the collector writes its stream to `theirs`
//! let (notes, said) = std::sync::mpsc::channel();
//! let source = Source::Stream { reader: fata_model::source::from_read("http", ours)?, notes: said };
//! notes.send(Note::Guest("running".into())).ok();
//! # drop((source, theirs));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, OnceLock};

use fata_model::ingest::Limits;
use fata_model::live::{Loader, Progress, TraceGuard};
use fata_model::source::{self, OpenError, TraceReader};
use fata_model::trace::Trace;

/// What a viewer shows.
#[derive(Debug)]
pub enum Source {
    /// A trace directory, a recorded stream, or `-`.
    Path(PathBuf),
    /// A trace that is in memory already.
    Trace(Box<Trace>),
    /// A stream that is followed while it comes: a pipe, a socket, a collector in this process.
    Stream {
        /// The trace.
        reader: TraceReader,
        /// What is said beside it; the other end may be dropped at once.
        notes: Receiver<Note>,
    },
}

/// Something said beside the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// What the guest does, in a word or two: "running", "exited with code 0".
    Guest(String),
    /// Why it is over, as a sentence.
    Ended(String),
}

/// What the status bar says of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// How far reading has come.
    pub progress: Progress,
    /// Whether it is followed while it comes.
    pub live: bool,
    /// What the guest does, where somebody says so.
    pub guest: Option<String>,
    /// Why it ended, where somebody says so.
    pub ended: Option<String>,
}

impl Status {
    /// Whether more may come of a guest that runs.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.live && matches!(self.progress, Progress::Reading(_))
    }
}

enum Holder {
    Whole(Box<Trace>),
    Loading(Loader),
}

/// A source that is being read.
pub struct Data {
    holder: Holder,
    notes: Option<Receiver<Note>>,
    status: Status,
    context: Arc<OnceLock<egui::Context>>,
}

/// The trace as it stands; while this lives it does not grow.
pub enum Guard<'a> {
    /// It is complete.
    Whole(&'a Trace),
    /// The loader waits.
    Growing(TraceGuard<'a>),
}

impl Deref for Guard<'_> {
    type Target = Trace;

    fn deref(&self) -> &Trace {
        match self {
            Guard::Whole(trace) => trace,
            Guard::Growing(trace) => trace,
        }
    }
}

impl Data {
    /// Begins to read `source`.
    ///
    /// # Errors
    /// Where there is nothing to read, in a sentence.
    pub fn start(source: Source) -> Result<Self, OpenError> {
        let context = Arc::new(OnceLock::<egui::Context>::new());
        let theirs = Arc::clone(&context);
        let repaint = move || {
            if let Some(context) = theirs.get() {
                context.request_repaint();
            }
        };
        let load = |reader| Holder::Loading(Loader::spawn(reader, Limits::default(), repaint));
        let (holder, notes, live) = match source {
            Source::Trace(trace) => (Holder::Whole(trace), None, false),
            Source::Path(path) => (load(source::open(&path)?), None, path.as_os_str() == "-"),
            Source::Stream { reader, notes } => (load(reader), Some(notes), true),
        };
        let status = Status { progress: Progress::Ended, live, guest: None, ended: None };
        let mut data = Self { holder, notes, status, context };
        data.update();
        Ok(data)
    }

    /// Who is asked for a new picture when the trace has grown.
    pub fn repaint_with(&self, context: &egui::Context) {
        self.context.get_or_init(|| context.clone());
    }

    /// The trace as it stands. Look quickly: the loader waits.
    #[must_use]
    pub fn trace(&self) -> Guard<'_> {
        match &self.holder {
            Holder::Whole(trace) => Guard::Whole(trace),
            Holder::Loading(loader) => Guard::Growing(loader.trace()),
        }
    }

    /// The same number, the same trace.
    #[must_use]
    pub fn version(&self) -> u64 {
        match &self.holder {
            Holder::Whole(_) => 1,
            Holder::Loading(loader) => loader.version(),
        }
    }

    /// What is known of the source.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Takes in what was said since the last time.
    pub fn update(&mut self) {
        self.status.progress = match &self.holder {
            Holder::Whole(_) => Progress::Ended,
            Holder::Loading(loader) => loader.progress(),
        };
        while let Some(notes) = &self.notes {
            match notes.try_recv() {
                Ok(Note::Guest(words)) => self.status.guest = Some(words),
                Ok(Note::Ended(words)) => self.status.ended = Some(words),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.notes = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use fata_model::synthetic::Synthetic;

    use super::*;

    fn wait_until(data: &mut Data, done: impl Fn(&Data) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(data) {
            assert!(Instant::now() < deadline, "{:?}", data.status());
            std::thread::sleep(Duration::from_millis(5));
            data.update();
        }
    }

    #[test]
    fn a_stream_is_seen_while_it_comes_and_says_why_it_ended() {
        let (ours, mut theirs) = std::io::pipe().unwrap();
        let (notes, said) = std::sync::mpsc::channel();
        let reader = source::from_read("pipe", ours).unwrap();
        let mut data = Data::start(Source::Stream { reader, notes: said }).unwrap();
        let synthetic = Synthetic { spans: 500, packet_bytes: 4096, ..Synthetic::default() };
        let metadata = synthetic.metadata();
        let bytes = u32::try_from(metadata.len()).unwrap();
        theirs
            .write_all(&fata_wire::packet::metadata_packet::header(fata_model::packets::UUID, metadata.len()))
            .unwrap();
        theirs.write_all(metadata.as_bytes()).unwrap();
        assert!(bytes > 0);
        let mut sent = 0;
        synthetic.packets(|packet| {
            sent += 1;
            theirs.write_all(packet).is_ok() && sent < 3
        });
        wait_until(&mut data, |data| data.trace().events_total() > 0);
        assert!(data.status().is_following());
        notes.send(Note::Ended("the guest exited with code 0".into())).unwrap();
        drop(theirs);
        wait_until(&mut data, |data| data.status().progress == Progress::Ended && data.status().ended.is_some());
        assert!(!data.status().is_following());
    }

    #[test]
    fn a_missing_file_is_a_sentence() {
        let error = Data::start(Source::Path("/nowhere/at/all".into())).err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("there is no trace at /nowhere/at/all")));
    }
}
