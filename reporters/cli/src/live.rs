//! Following a guest: a collector, or the frames of somebody else's, on a thread of its own, as a trace stream that can be
//! read at the other end of a pipe.
//!
//! Full: the pipe makes the collector wait, and then the guest's ring discards and counts.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use fata_collector::frames::{Frame, Reader};
use fata_collector::sink::directory::DirectorySink;
use fata_collector::sink::stream::StreamSink;
use fata_collector::sink::tee::Tee;
use fata_collector::source::Guest;
use fata_collector::{Collector, Options};
use fata_wire::packet::metadata_packet;

use crate::signals::Stop;

/// How long a collector may take to leave its guest in order.
const PATIENCE: Duration = Duration::from_secs(2);

/// The exit code of a program that was asked to end, as shells have it for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Something said beside the trace.
pub(crate) enum Said {
    /// What the guest does.
    Guest(String),
    /// Why it is over.
    Ended(String),
}

/// A trace stream that is being written by a thread.
pub(crate) struct Live {
    /// Its reading end; taken once.
    pub(crate) stream: Option<PipeReader>,
    /// What is said beside it.
    pub(crate) said: Option<Receiver<Said>>,
    lost_packets: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    fn start(work: impl FnOnce(PipeWriter, Sender<Said>, &AtomicBool) + Send + 'static) -> anyhow::Result<Self> {
        let (stream, out) = std::io::pipe().context("no pipe can be had")?;
        let (say, said) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("collector".to_owned())
            .spawn(move || work(out, say, &theirs))
            .context("no thread can be started")?;
        let lost_packets = Arc::default();
        Ok(Live { stream: Some(stream), said: Some(said), lost_packets, stop, thread: Some(thread) })
    }

    /// Packets that whoever serves the trace has left out so far, because they were read too slowly here.
    pub(crate) fn lost_packets(&self) -> u64 {
        self.lost_packets.load(Ordering::Relaxed)
    }

    /// Collects from `guest`, and records into `recording` too if there is one.
    ///
    /// A window does not look at signals: when this program is asked to end, the collector leaves its guest in order, calls
    /// `at_stop` and ends it.
    pub(crate) fn collect(
        guest: &Guest,
        mut recording: Option<DirectorySink>,
        asked: Stop,
        at_stop: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut collector = Collector::attach(guest, &Options::default(), &[])?;
        Live::start(move |out, say, stop| {
            let mut stream = StreamSink::new(out, "the viewer");
            let mut state = "";
            let mut report = |status: &fata_collector::Status| {
                if state != status.state.text() {
                    state = status.state.text();
                    // Whoever does not listen does not want to know.
                    let _ = say.send(Said::Guest(state.to_owned()));
                }
                !stop.load(Ordering::Relaxed) && !asked.is_asked()
            };
            let end = match &mut recording {
                Some(recording) => collector.run(&mut Tee(recording, &mut stream), &mut report),
                None => collector.run(&mut stream, &mut report),
            };
            let _ = say.send(Said::Ended(match end {
                Ok(end) => end.to_string(),
                Err(error) => error.to_string(),
            }));
            drop(stream);
            // The guest may have ended before; the window stays until somebody asks.
            while !stop.load(Ordering::Relaxed) {
                if asked.is_asked() {
                    at_stop();
                    let _ = std::io::stdout().flush();
                    // At once: what libraries do at an ordinary exit takes from the window's thread, which goes on painting, what
                    // it uses.
                    signal_hook::low_level::exit(INTERRUPTED);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    }

    /// Reads a collector's frames from a socket.
    pub(crate) fn connect(socket: impl Read + Send + 'static) -> anyhow::Result<Self> {
        let lost_packets = Arc::<AtomicU64>::default();
        let sum = Arc::clone(&lost_packets);
        let mut live = Live::start(move |mut out, say, stop| {
            let mut reader = Reader::new(socket);
            let end = loop {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let written = match reader.next_frame() {
                    Ok(Some(Frame::Metadata(text))) => {
                        out.write_all(&metadata_packet::header([0; 16], text.len())).and_then(|()| out.write_all(&text))
                    }
                    Ok(Some(Frame::Packet(packet))) => out.write_all(&packet),
                    Ok(Some(Frame::Status { state, .. })) => {
                        let _ = say.send(Said::Guest(state.into_owned()));
                        Ok(())
                    }
                    Ok(Some(Frame::Lost { packets, .. })) => {
                        let lost = sum.fetch_add(packets, Ordering::Relaxed) + packets;
                        let _ = say.send(Said::Guest(format!("running; {lost} packets came too fast for this viewer")));
                        Ok(())
                    }
                    Ok(Some(Frame::Hello { .. })) => Ok(()),
                    Ok(Some(Frame::End { reason })) => break reason.into_owned(),
                    Ok(None) => break "the collector is gone".to_owned(),
                    Err(error) => break error.to_string(),
                };
                if written.is_err() {
                    return;
                }
            };
            let _ = say.send(Said::Ended(end));
        })?;
        live.lost_packets = lost_packets;
        Ok(live)
    }

    /// Connects to the Unix socket of `fata serve`.
    pub(crate) fn connect_unix(path: &Path) -> anyhow::Result<Self> {
        let socket = std::os::unix::net::UnixStream::connect(path)
            .with_context(|| format!("nobody serves a trace on {}", path.display()))?;
        Live::connect(socket)
    }
}

impl Drop for Live {
    /// Lets the collector leave its guest in order: a guest that nobody reads must be a flight recorder again.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A writer that waits for us finds that nobody reads.
        drop(self.stream.take());
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests;
