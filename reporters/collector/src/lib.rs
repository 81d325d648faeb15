//! Drains the rings of guests, and writes CTF directories and streams.
//!
//! 1. **Nothing in the middle understands an event.** A packet is copied once, checked to be made of whole events, and
//!    published with the same bytes.
//! 2. **The guest is never trusted.** Its memory is mapped read-only and read through [`shared`] alone; geometry comes from a
//!    checked copy; cursor, memory and work are bounded here: whatever a guest does, it costs a collector at most 16 MiB, and
//!    one look at its ring copies at most twice what the ring holds.
//! 3. **Every event is accounted for.** What the guest produced is what was published and what was discarded, by cause.
//! 4. **A quiet guest is seen live, a dead one to its last committed word.**
//!
//! | module | what it is about |
//! |---|---|
//! | [`alignment`] | the clocks of several guests as one time axis |
//! | [`source`] | finding guests, and their rings in their memory |
//! | [`shared`] | reading memory that somebody else writes |
//! | [`description`] | the guest's own description, as metadata text |
//! | [`drain`] | one stream: copy, check, account, publish |
//! | [`collector`] | one guest: attach, poll, leave; a heartbeat for as long as that takes |
//! | [`sink`] | directories and streams |
//! | [`frames`], [`serve`] | live viewers on a socket |
//! | [`peek`] | one look from afar, for lists |
//! | [`request`] | asking a guest for something |
//! | [`xen`] | guests that are Xen domains |

pub mod alignment;
pub mod collector;
pub mod description;
pub mod drain;
pub mod frames;
mod heart;
mod pace;
pub mod peek;
pub mod request;
pub mod serve;
pub mod shared;
pub mod sink;
pub mod source;
mod truncated;
pub mod xen;

pub use collector::{CollectError, Collector, Continue, End, Options, Seat, Status};
