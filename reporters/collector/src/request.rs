//! Asking a guest for something: a line of text into its control page, and the reply out of its reply page; or, of a domain of
//! Xen, both over its control channel (`channel`).
//!
//! Invariant: one program asks at a time, whose process id stands in [`OWNER`], or which has bound to the channel; one that has
//! died is replaced. The reply is the guest's word and nothing more: its length is checked, what is no UTF-8 and what would
//! move a terminal's cursor is replaced, and a guest that never answers costs the time that the caller gives.
//!
//! ```no_run
//! use fata_collector::{request, source};
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let guest = source::find("http")?;
//! println!("{}", request::ask(&guest, "ping", request::PATIENCE)?.text);
//! # Ok(()) }
//! ```

mod channel;
pub mod reply;

use std::time::{Duration, Instant};

use fata_wire::request::{MAX_TEXT_BYTES, OWNER, REQUEST, Slip, TEXT};
use fata_wire::shared::{MESSAGE_BYTES, State, Status, at, text_at};

use crate::shared::SharedMemory;
use crate::source::{Guest, Source, SourceError};
use crate::xen::vchan::ChannelError;

/// How long a guest may take where nobody says otherwise: it looks at least 20 times a second.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// The pauses between two looks at the reply, shortest first.
const PAUSE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));
/// How often it is asked whether the guest still lives.
const ALIVE_INTERVAL: Duration = Duration::from_millis(100);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The guest's memory cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Nobody is there to answer.
    #[error("{guest} {how}: its trace can still be read with `fata collect {guest} -o DIR`")]
    Dead {
        /// The guest.
        guest: String,
        /// How it ended, as the end of a sentence.
        how: String,
    },
    /// The guest has no reply page.
    #[error("{guest} knows no requests: it was built with an earlier fata; build it anew")]
    TooOld {
        /// The guest.
        guest: String,
    },
    /// The time was over.
    #[error(
        "{guest} lives but has not answered within {seconds} s: a task of it does not give way, or its machine is \
         stopped; `fata collect {guest} --snapshot -o DIR` shows what it does"
    )]
    NoAnswer {
        /// The guest.
        guest: String,
        /// How long it was waited for.
        seconds: f64,
    },
    /// Another program is asking.
    #[error("process {pid} is asking {guest} for something: try again when it has its answer")]
    Busy {
        /// The guest.
        guest: String,
        /// The other program.
        pid: u64,
    },
    /// The line is longer than a request may be.
    #[error("the request is {len_bytes} bytes long: at most {MAX_TEXT_BYTES} reach a guest")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// The domain's control channel does not do as it should.
    #[error("{guest}: {source}; `fata collect {guest} -o DIR` needs no channel")]
    Channel {
        /// The guest.
        guest: String,
        /// What is wrong with it.
        source: ChannelError,
    },
    /// The guest's memory holds what no guest writes.
    #[error("{guest} has answered with what is no text: its memory is damaged")]
    Damaged {
        /// The guest.
        guest: String,
    },
}

/// What a guest has replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Lines that begin with `ok` or with `error:`.
    pub text: String,
    /// What was not as it should be on the way there, as a sentence.
    pub remark: Option<String>,
}

/// Sends `line` to `guest` and returns what it replies within `patience`. A domain of Xen is asked over its control channel, and
/// through its control page where it offers none or somebody else has it.
///
/// # Errors
/// See [`RequestError`].
pub fn ask(guest: &Guest, line: &str, patience: Duration) -> Result<Answer, RequestError> {
    let started = Instant::now();
    if line.len() > MAX_TEXT_BYTES {
        return Err(RequestError::TooLong { len_bytes: line.len() });
    }
    let mut remark = None;
    if guest.source == Source::Xen {
        match channel::ask(guest, line, started, patience) {
            Ok(text) => return Ok(Answer { text, remark }),
            Err(RequestError::Channel { source: ChannelError::None, .. }) => {}
            Err(RequestError::Channel { source: source @ ChannelError::Taken, .. }) => {
                remark = Some(format!("{}: {source}; it was asked through its control page", guest.label()));
            }
            Err(error) => return Err(error),
        }
    }
    let text = ask_in_page(guest, line, started, patience)?;
    Ok(Answer { text, remark })
}

/// Asks through the control page.
fn ask_in_page(guest: &Guest, line: &str, started: Instant, patience: Duration) -> Result<String, RequestError> {
    let (memory, reply_at) = open(guest, started + patience)?;
    let _turn = Turn::take(guest, &memory, started + patience)?;
    let mut pause = PAUSE.0;
    exchange(guest, &memory, reply_at, line, started, patience, &mut || {
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    })
}

/// A conversation: asks one thing after the other, and looks for the reply without a pause. For what must be answered in
/// microseconds; whoever holds one keeps others from asking.
pub(crate) struct Talk<'a> {
    guest: &'a Guest,
    memory: SharedMemory,
    reply_at: usize,
}

impl<'a> Talk<'a> {
    /// Takes the turn, within the time until `until`.
    pub(crate) fn begin(guest: &'a Guest, until: Instant) -> Result<Self, RequestError> {
        let (memory, reply_at) = open(guest, until)?;
        Turn::take(guest, &memory, until)?.keep();
        Ok(Talk { guest, memory, reply_at })
    }

    /// What the guest replies to `line` until `until`.
    pub(crate) fn ask(&self, line: &str, until: Instant) -> Result<String, RequestError> {
        let started = Instant::now();
        let patience = until.saturating_duration_since(started);
        exchange(self.guest, &self.memory, self.reply_at, line, started, patience, &mut std::thread::yield_now)
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        give_back(&self.memory);
    }
}

/// Maps the memory of a guest that can be asked, and says where its replies lie.
fn open(guest: &Guest, until: Instant) -> Result<(SharedMemory, usize), RequestError> {
    let memory = guest.open_patiently(guest.is_alive(), until)?;
    let reply_at = match memory.geometry().reply_offset {
        0 => return Err(RequestError::TooOld { guest: guest.label() }),
        offset => usize::try_from(offset).map_err(|_| RequestError::Damaged { guest: guest.label() })?,
    };
    refuse_the_dead(guest, &memory)?;
    Ok((memory, reply_at))
}

/// Puts `line` into the guest's mailbox and waits for the reply. Whoever calls has the turn.
fn exchange(
    guest: &Guest,
    memory: &SharedMemory,
    reply_at: usize,
    line: &str,
    started: Instant,
    patience: Duration,
    wait: &mut dyn FnMut(),
) -> Result<String, RequestError> {
    let last = Slip::unpack(memory.control_u64(REQUEST));
    let slip = Slip { sequence: last.next_sequence(), len_bytes: u32::try_from(line.len()).unwrap_or(u32::MAX) };
    for (i, chunk) in line.as_bytes().chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        memory.set_control_u64(REQUEST + TEXT + 8 * i, u64::from_le_bytes(word));
    }
    // `set_control_u64` releases: pairs with the guest's Acquire of the slip, after which it copies the text.
    memory.set_control_u64(REQUEST, slip.pack());
    memory.ring_bell();
    let mut asked_alive = Instant::now();
    loop {
        let answered = Slip::unpack(memory.load(reply_at));
        if answered.sequence == slip.sequence {
            return copy_reply(memory, reply_at, answered)
                .ok_or_else(|| RequestError::Damaged { guest: guest.label() });
        }
        if asked_alive.elapsed() >= ALIVE_INTERVAL {
            refuse_the_dead(guest, memory)?;
            asked_alive = Instant::now();
        }
        if started.elapsed() >= patience {
            // A guest that wakes up later is not to do what nobody waits for: a text of no length is none.
            memory.set_control_u64(REQUEST, Slip { len_bytes: u32::MAX, ..slip }.pack());
            return Err(RequestError::NoAnswer { guest: guest.label(), seconds: patience.as_secs_f64() });
        }
        wait();
    }
}

fn refuse_the_dead(guest: &Guest, memory: &SharedMemory) -> Result<(), RequestError> {
    let page = memory.header_page();
    let dead = |how: String| Err(RequestError::Dead { guest: guest.label(), how });
    match Status::parse(&page, memory.geometry()).state {
        State::Exited => dead("has ended".to_owned()),
        State::Panicked => {
            let message = String::from_utf8_lossy(text_at(&page, at::MESSAGE, MESSAGE_BYTES)).into_owned();
            dead(format!("has panicked ({})", reply::printable(&message)))
        }
        _ if !guest.is_alive() => dead("is gone without a word".to_owned()),
        _ => Ok(()),
    }
}

fn copy_reply(memory: &SharedMemory, at: usize, slip: Slip) -> Option<String> {
    let mut bytes = Vec::new();
    memory.copy(at + TEXT, slip.text_len()?.next_multiple_of(8), &mut bytes);
    reply::in_page(slip, &bytes)
}

/// The right to ask, given back when dropped.
struct Turn<'a>(&'a SharedMemory);

impl<'a> Turn<'a> {
    fn take(guest: &Guest, memory: &'a SharedMemory, until: Instant) -> Result<Self, RequestError> {
        let own = u64::from(std::process::id());
        loop {
            let held = memory.control_u64(OWNER);
            let free = held == 0 || !guest.is_mapped_by(held);
            if free && memory.exchange_control_u64(OWNER, held, own).is_ok() {
                return Ok(Turn(memory));
            }
            if Instant::now() >= until {
                return Err(RequestError::Busy { guest: guest.label(), pid: held });
            }
            std::thread::sleep(PAUSE.1);
        }
    }
}

impl Turn<'_> {
    /// The caller gives the turn back.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        give_back(self.0);
    }
}

fn give_back(memory: &SharedMemory) {
    let own = u64::from(std::process::id());
    // Another number there says that somebody has taken us for dead.
    let _ = memory.exchange_control_u64(OWNER, own, 0);
}
