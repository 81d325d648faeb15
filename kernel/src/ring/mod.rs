//! Rings shared with another domain, a device, or a task that stands for one; and how producers take turns at them.
//!
//! | file | what |
//! |---|---|
//! | `page` | memory that somebody else writes too |
//! | `bytes` | a ring of bytes: consoles, XenStore, control channels |
//! | `slots` | who may fill which slots of a ring, in order and in one piece |
//! | `front` | a ring of requests and answers, as Xen's devices have: [`Slots`] over a [`Page`] |

mod bytes;
mod front;
mod page;
mod slots;

pub use bytes::ByteRing;
pub use front::{Front, Layout};
pub use page::{PAGE_BYTES, Page};
pub use slots::{Reservation, Slots, TooMany};
