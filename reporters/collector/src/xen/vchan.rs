//! The client's end of a libxenvchan stream: bytes to a domain and back, through one page of the domain's.
//!
//! Invariant: our two indices are numbers of our own, which the page is told of and never asked for again. What the domain
//! says (how long the rings are, its two indices, whether it is there) is read once, checked and then used, so that whatever
//! it writes costs an error and nothing else. Nothing here waits but `Channel::wait`, whose caller says for how long.
//!
//! When a ring is full, `Channel::put` takes nothing: the caller waits, for as long as it likes.
//!
//! ```text
//!            1 open: bound                    2 greet: the server waits           3 drop
//! (page) ──────────────────> bound, not greeted ────────────────> connected ─────────────> gone
//!                              │      ^                                                      │
//!                              └──────┘ 2a greet: the last client is being forgotten         │
//!                                                   4 the server forgets: waits again <──────┘
//! ```
//! Who has bound to the event channel is the only client. So one whose place in the page still says "connected" has died
//! without a word, and is said to have gone, upon which the server empties the rings (2a).
//!
//! The page (Xen, `xen/include/public/io/libxenvchan.h`):
//!
//! | byte | content |
//! |---|---|
//! | 0, 4 | *left*, which we write: taken out, put in |
//! | 8, 12 | *right*, which we read: taken out, put in |
//! | 16, 18 | their lengths as powers of two: 2^10 bytes at 1024, 2^11 bytes at 2048. (Longer ones lie in pages of their own, which no guest of ours has, and which are refused) |
//! | 20, 21 | whether client and server are there: 0 gone, 1 connected, 2 waiting |
//! | 22, 23 | of what client and server are to tell the other: 1 when something is put in, 2 when something is taken out |

use std::time::Duration;

use fata_wire::grants::FOLDER;

use super::device::{EventChannel, map_writable_page};
use super::store::Store;
use super::{DOMAINS, XenError};
use crate::shared::WritablePage;

/// Where both lengths lie, as one word.
const ORDERS: usize = 16;
const CLIENT_LIVE: usize = 20;
const SERVER_LIVE: usize = 21;
/// Of what we are to tell the server, and it us.
const CLIENT_TELLS: usize = 22;
const SERVER_TELLS: usize = 23;
const GONE: u8 = 0;
const CONNECTED: u8 = 1;
const WAITING: u8 = 2;
/// What one tells the other of.
const PUT_IN: u8 = 1;
const TAKEN_OUT: u8 = 2;

/// Why there is no stream, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The domain offers none, or not yet: there may be another way to ask it.
    #[error("it offers no control channel in XenStore")]
    None,
    /// Somebody else has it: one client at a time can.
    #[error("its control channel is taken by another client, and serves one at a time")]
    Taken,
    /// What the domain says of the channel cannot be.
    #[error("its control channel cannot be: {0}")]
    Lie(String),
    /// The domain has given the channel up.
    #[error("it has closed its control channel")]
    Closed,
    /// Xen's devices are not to be had.
    #[error(transparent)]
    Xen(#[from] XenError),
}

/// What calls the other end, and hears its calls.
pub trait Bell {
    /// Calls.
    fn notify(&self);
    /// Sleeps until it is called, but not longer than `pause`.
    fn wait(&self, pause: Duration);
}

impl Bell for EventChannel {
    fn notify(&self) {
        EventChannel::notify(self);
    }

    fn wait(&self, pause: Duration) {
        // Whether it was called shows in the page.
        let _ = EventChannel::wait(self, pause);
    }
}

/// The client's end.
#[derive(Debug)]
pub struct Channel<B: Bell = EventChannel> {
    page: WritablePage,
    bell: B,
    left: Ring,
    right: Ring,
    greeted: bool,
}

/// One of the two rings: where it lies, and how far we are.
#[derive(Clone, Copy, Debug)]
struct Ring {
    at: usize,
    len: u32,
    /// Where our index and that of the other end lie.
    ours_at: usize,
    theirs_at: usize,
    ours: u32,
}

impl Ring {
    /// The ring of length `2^order`, if it lies in the page.
    fn new(order: u16, ours_at: usize, theirs_at: usize) -> Option<Self> {
        let (at, len) = match order {
            10 => (1024, 1024),
            11 => (2048, 2048),
            _ => return None,
        };
        Some(Ring { at, len, ours_at, theirs_at, ours: 0 })
    }

    /// The two pieces that `len` bytes from our index on lie in: where they begin, and how long the first one is.
    fn pieces(&self, len: usize) -> (usize, usize) {
        let offset = (self.ours & (self.len - 1)) as usize;
        (self.at + offset, len.min(self.len as usize - offset))
    }
}

impl Channel {
    /// The control channel of domain `domid`, which this program alone has from now on.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub(crate) fn open(domid: u16) -> Result<Self, ChannelError> {
        let mut store = Store::open()?;
        let mut number = |key: &str| {
            let text = store.read(&format!("{DOMAINS}/{domid}/{FOLDER}/ctl/{key}"))?.ok_or(ChannelError::None)?;
            let shown = || text.chars().take(20).collect::<String>();
            text.trim()
                .parse::<u32>()
                .map_err(|_| ChannelError::Lie(format!("{FOLDER}/ctl/{key} is {:?}, which is no number", shown())))
        };
        let (grant, port) = (number("ring-ref")?, number("event-channel")?);
        let refused = |what: String| {
            move |error| match error {
                XenError::Device { source, .. } => ChannelError::Lie(format!("{what}: {source}")),
                error => error.into(),
            }
        };
        let page = map_writable_page(domid, grant)
            .map_err(refused(format!("the page behind its grant {grant} cannot be mapped")))?;
        let bell = EventChannel::bind(domid, port).map_err(|error| {
            if page.load_u8(CLIENT_LIVE) == CONNECTED && matches!(error, XenError::Device { .. }) {
                return ChannelError::Taken;
            }
            refused(format!("its event channel {port} cannot be bound to"))(error)
        })?;
        Channel::over(page, bell)
    }
}

impl<B: Bell> Channel<B> {
    /// The client's end of the stream in `page`, to which this program alone is bound by `bell`.
    ///
    /// # Errors
    /// [`ChannelError::Lie`] where its rings do not lie in the page.
    pub fn over(page: WritablePage, bell: B) -> Result<Self, ChannelError> {
        let [left_low, left_high, right_low, right_high] = page.load_u32(ORDERS).to_le_bytes();
        let orders = [u16::from_le_bytes([left_low, left_high]), u16::from_le_bytes([right_low, right_high])];
        let [left, right] = orders;
        match (Ring::new(left, 4, 0), Ring::new(right, 8, 12)) {
            (Some(left), Some(right)) if left.at != right.at => Ok(Channel { page, bell, left, right, greeted: false }),
            _ => Err(ChannelError::Lie(format!(
                "its rings are 2^{left} and 2^{right} bytes long, and 2^10 and 2^11 is what fits into its page"
            ))),
        }
    }

    /// Connects, if the server is ready for a client: `false` says to wait and to call again.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] and [`ChannelError::Lie`].
    pub fn greet(&mut self) -> Result<bool, ChannelError> {
        self.refuse_the_gone()?;
        match self.page.load_u8(CLIENT_LIVE) {
            WAITING => {}
            GONE => return Ok(false),
            CONNECTED => {
                self.page.store_u8(CLIENT_LIVE, GONE);
                self.bell.notify();
                return Ok(false);
            }
            other => return Err(ChannelError::Lie(format!("its client is in the state {other}, which is none"))),
        }
        self.left.ours = self.page.load_u32(self.left.ours_at);
        // What was meant for somebody else is passed over.
        self.right.ours = self.page.load_u32(self.right.theirs_at);
        self.page.store_u32(self.right.ours_at, self.right.ours);
        self.page.set_bits(SERVER_TELLS, PUT_IN);
        self.page.store_u8(CLIENT_LIVE, CONNECTED);
        self.bell.notify();
        self.greeted = true;
        Ok(true)
    }

    /// Puts in as much of `bytes` as there is room for, and says how much that was. After 0 the server tells us of room.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] and [`ChannelError::Lie`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        self.refuse_the_gone()?;
        let mut room = self.room()?;
        if room < bytes.len() {
            self.page.set_bits(SERVER_TELLS, TAKEN_OUT);
            room = self.room()?;
        }
        let bytes = &bytes[..bytes.len().min(room)];
        let (start, first) = self.left.pieces(bytes.len());
        let (first, rest) = bytes.split_at(first);
        self.page.write(start, first);
        self.page.write(self.left.at, rest);
        self.left.ours = advanced(self.left.ours, bytes.len());
        self.page.store_u32(self.left.ours_at, self.left.ours);
        self.tell(PUT_IN, bytes.len());
        Ok(bytes.len())
    }

    /// Takes out what there is, at most `bytes.len()`, and says how much that was. After 0 the server tells us of more.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] once there is nothing more to take out, and [`ChannelError::Lie`].
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<usize, ChannelError> {
        let mut filled = self.filled()?;
        if filled == 0 {
            self.page.set_bits(SERVER_TELLS, PUT_IN);
            filled = self.filled()?;
        }
        if filled == 0 {
            self.refuse_the_gone()?;
        }
        let len = bytes.len().min(filled);
        let (start, first) = self.right.pieces(len);
        let (first, rest) = bytes[..len].split_at_mut(first);
        self.page.read(start, first);
        self.page.read(self.right.at, rest);
        self.right.ours = advanced(self.right.ours, len);
        self.page.store_u32(self.right.ours_at, self.right.ours);
        self.tell(TAKEN_OUT, len);
        Ok(len)
    }

    /// Sleeps until the server calls, but not longer than `pause`.
    pub fn wait(&self, pause: Duration) {
        self.bell.wait(pause);
    }

    fn room(&self) -> Result<usize, ChannelError> {
        let filled = self.left.ours.wrapping_sub(self.page.load_u32(self.left.theirs_at));
        match self.left.len.checked_sub(filled) {
            Some(room) => Ok(room as usize),
            None => Err(ChannelError::Lie("it has taken out what nobody has put in".to_owned())),
        }
    }

    fn filled(&self) -> Result<usize, ChannelError> {
        let filled = self.page.load_u32(self.right.theirs_at).wrapping_sub(self.right.ours);
        if filled > self.right.len {
            let what = format!("it has put {filled} bytes into a ring of {}", self.right.len);
            return Err(ChannelError::Lie(what));
        }
        Ok(filled as usize)
    }

    fn refuse_the_gone(&self) -> Result<(), ChannelError> {
        match self.page.load_u8(SERVER_LIVE) {
            CONNECTED => Ok(()),
            GONE => Err(ChannelError::Closed),
            other => Err(ChannelError::Lie(format!("its server is in the state {other}, which is none"))),
        }
    }

    /// Tells the server of what was done with so many bytes, if it wants to be told.
    fn tell(&self, what: u8, bytes: usize) {
        if bytes > 0 && self.page.take_bits(CLIENT_TELLS, what) != 0 {
            self.bell.notify();
        }
    }
}

impl<B: Bell> Drop for Channel<B> {
    fn drop(&mut self) {
        if self.greeted {
            self.page.store_u8(CLIENT_LIVE, GONE);
            self.bell.notify();
        }
    }
}

/// The index after so many bytes, which a ring holds.
fn advanced(index: u32, bytes: usize) -> u32 {
    index.wrapping_add(u32::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests;
