//! The bug that network drivers over a shared ring have had again and again, small: packets of several fragments that take
//! their slots one by one.
//!
//! The wire is a ring of 4 slots. A packet has 3 fragments, and leaves when all of them are in the ring. Each fragment takes
//! the next free slot, and takes its time: so the fragments of two senders come in turns, and soon each of two packets holds
//! 2 slots and waits for a third. No slot is ever freed again, and every sender waits for ever.
//!
//! In the trace: each sender's last event is `wire.wait`, which says how many slots its packet holds and how many it still
//! waits for, and after it `sync.try` of the semaphore `wire.slots`, which nobody ever signals. The counter `wire.free`
//! stays at 0.
//!
//! With the boot parameter `fixed=yes` a sender reserves all of its packet's slots at once ([`Slots`]): then one packet holds
//! slots at a time, the others wait for `wire.turn` in the order in which they came, and all of them leave.

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use fata_kernel::Guest;
use fata_kernel::ring::Slots;
use fata_kernel::sync::{Receiver, Semaphore, Sender, channel};
use fata_probe::{counter, instant, name, span};

const SLOTS: usize = 4;
const FRAGMENTS: usize = 3;
const SENDERS: u32 = 3;
const PACKETS_EACH: u32 = 4;

/// What all senders share.
struct Wire {
    /// One by one, or
    slots: Semaphore,
    /// a packet's at once.
    reserved: Slots,
    fixed: bool,
    /// Packets whose fragments are all in the ring, and how many there have been.
    whole: Sender<usize>,
    left: Cell<u32>,
}

pub(crate) async fn main(guest: Guest) {
    let (whole, leaving) = channel(name!("wire.whole"), SLOTS);
    let wire = Rc::new(Wire {
        slots: Semaphore::new(name!("wire.slots"), SLOTS),
        reserved: Slots::new(name!("wire.turn"), name!("wire.reserved"), SLOTS),
        fixed: guest.arg("fixed") == Some("yes"),
        whole,
        left: Cell::new(0),
    });
    guest.spawn(name!("wire"), carry(guest.clone(), Rc::clone(&wire), leaving));
    let senders: Vec<_> =
        (0..SENDERS).map(|_| guest.spawn(name!("sender"), sender(guest.clone(), Rc::clone(&wire)))).collect();

    let all = async {
        for sender in senders {
            sender.await;
        }
    };
    let ended = guest.timeout(Duration::from_millis(500), all).await;
    let (left, packets) = (wire.left.get(), SENDERS * PACKETS_EACH);
    match ended {
        Ok(()) => guest.log(&format!("{left} of {packets} packets have left")),
        Err(late) => guest.log(&format!(
            "{left} of {packets} packets have left: {late}, the ring is full of packets that wait for it; see the trace"
        )),
    }
}

/// Sends one packet after the other.
async fn sender(guest: Guest, wire: Rc<Wire>) {
    for packet in 0..PACKETS_EACH {
        let _sending = span!("wire.send", packet = packet, fragments = FRAGMENTS);
        if wire.fixed {
            reserve_and_fill(&guest, &wire).await;
        } else {
            fill_one_by_one(&guest, &wire).await;
        }
        // The wire is there as long as the guest.
        let _ = wire.whole.send(FRAGMENTS).await;
        wire.left.set(wire.left.get() + 1);
    }
}

/// The bug.
async fn fill_one_by_one(guest: &Guest, wire: &Wire) {
    for held in 0..FRAGMENTS {
        if wire.slots.free() == 0 {
            instant!("wire.wait", holds = held, waits_for = FRAGMENTS - held);
        }
        // Taken for good: the wire gives it back when the packet has left.
        wire.slots.acquire(1).await.forget();
        counter!("wire.free", slots = wire.slots.free());
        fill(guest).await;
    }
}

/// The right way.
async fn reserve_and_fill(guest: &Guest, wire: &Wire) {
    // A packet that is longer than the ring would be refused.
    let Ok(slots) = wire.reserved.reserve(FRAGMENTS).await else { return };
    counter!("wire.free", slots = wire.reserved.free_now());
    for _slot in slots.indices() {
        fill(guest).await;
    }
    slots.commit();
}

/// Copying a fragment takes its time, in which others get their turn.
async fn fill(guest: &Guest) {
    guest.yield_now().await;
}

/// Lets whole packets leave, and frees their slots.
async fn carry(guest: Guest, wire: Rc<Wire>, mut leaving: Receiver<usize>) {
    while let Some(fragments) = leaving.recv().await {
        guest.sleep(Duration::from_millis(1)).await;
        if wire.fixed {
            wire.reserved.free(fragments);
        } else {
            wire.slots.add(fragments);
        }
    }
}
