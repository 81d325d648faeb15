//! Asking a domain of Xen over its control channel: a line there, and lines back up to an empty one.
//!
//! Invariant: the domain's life is looked at as often as it keeps silent for [`ALIVE_INTERVAL`].

use std::time::{Duration, Instant};

use super::reply::Pieces;
use super::{ALIVE_INTERVAL, RequestError, open};
use crate::source::Guest;
use crate::xen::vchan::{Channel, ChannelError};

/// What `guest` answers to `line` over its channel within `patience`.
pub(super) fn ask(guest: &Guest, line: &str, started: Instant, patience: Duration) -> Result<String, RequestError> {
    let failed = |source| RequestError::Channel { guest: guest.label(), source };
    let domid = u16::try_from(guest.pid).ok().filter(|_| guest.is_alive());
    // An empty line is no request over a channel; and for a dead guest speaks what is left in its memory.
    let Some(domid) = domid.filter(|_| !line.trim().is_empty()) else { return Err(failed(ChannelError::None)) };
    let mut channel = Channel::open(domid).map_err(failed)?;
    // Sleeps until the domain says something, or explains why it never will.
    let wait = |channel: &Channel| {
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(RequestError::NoAnswer { guest: guest.label(), seconds: patience.as_secs_f64() });
        }
        let slept = Instant::now();
        channel.wait(left.min(ALIVE_INTERVAL));
        if slept.elapsed() >= ALIVE_INTERVAL && !guest.is_alive() {
            // It is never alive again: what its memory says of its end is the answer.
            open(guest, started)?;
        }
        Ok(())
    };
    while !channel.greet().map_err(failed)? {
        wait(&channel)?;
    }
    // One line is one request.
    let line = format!("{}\n", line.replace('\n', " "));
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let len = channel.put(rest).map_err(failed)?;
        rest = &rest[len..];
        if len == 0 {
            wait(&channel)?;
        }
    }
    let mut reply = Pieces::default();
    loop {
        let mut bytes = [0; 256];
        let len = channel.take(&mut bytes).map_err(failed)?;
        if reply.add(&bytes[..len]).map_err(|endless| failed(ChannelError::Lie(endless.to_string())))? {
            return Ok(reply.text());
        }
        if len == 0 {
            wait(&channel)?;
        }
    }
}
