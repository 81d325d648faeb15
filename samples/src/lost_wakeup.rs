//! The bug that MirageOS's tracing tutorial is about, small: a reply is signalled before anybody waits for it.
//!
//! A client wants to know the hardware address of its neighbour. The query looks into the cache, finds nothing, sends a
//! request, and waits for the signal that a reply has come. But sending takes its turn, the neighbour is quick, and the
//! reply is there before the query waits: the signal wakes nobody, and a condition has no memory. The promise `arp.address`
//! is never resolved, and nothing that a program could log happens at all.
//!
//! In the trace: `sync.signal` with `woken=0`, the task `arp.query` idle for ever after `sync.try` of `arp.reply`, and the
//! promise `arp.address` that was tried and never resolved.
//!
//! With the boot parameter `fixed=yes` the query looks into the cache once more before it waits.

use alloc::format;
use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use fata_kernel::Guest;
use fata_kernel::sync::{Condition, Receiver, Resolver, Sender, channel, oneshot};
use fata_probe::{instant, name, span};

/// A hardware address.
type Address = [u8; 6];

const NEIGHBOUR: Address = [0x52, 0x54, 0, 0, 0, 2];

/// What the query and the listener share.
#[derive(Clone)]
struct Arp {
    cache: Rc<Cell<Option<Address>>>,
    reply: Condition,
    fixed: bool,
}

pub(crate) async fn main(guest: Guest) {
    let arp = Arp {
        cache: Rc::default(),
        reply: Condition::new(name!("arp.reply")),
        fixed: guest.arg("fixed") == Some("yes"),
    };
    let (requests, arriving_requests) = channel(name!("wire.requests"), 1);
    let (replies, arriving_replies) = channel(name!("wire.replies"), 1);
    let (resolver, address) = oneshot(name!("arp.address"));

    guest.spawn(name!("neighbour"), neighbour(arriving_requests, replies));
    guest.spawn(name!("arp.listener"), listener(arp.clone(), arriving_replies));
    guest.spawn(name!("arp.query"), query(guest.clone(), arp, requests, resolver));

    let _connecting = span!("client.connect");
    match guest.timeout(Duration::from_millis(500), address).await {
        Ok(Ok(address)) => guest.log(&format!("the neighbour is at {address:02x?}")),
        Ok(Err(abandoned)) => guest.log(&format!("no address: {abandoned}")),
        Err(late) => {
            guest.log(&format!("no address after 500 ms: {late}, and yet the neighbour replied; see the trace"))
        }
    }
}

/// Finds the neighbour's address out and resolves the promise of it.
async fn query(guest: Guest, arp: Arp, requests: Sender<()>, resolver: Resolver<Address>) {
    while arp.cache.get().is_none() {
        // The wire is there, or the neighbour's end of it is gone, and then no reply will come anyway.
        let _ = requests.send(()).await;
        // The driver takes its turn; so does everybody else.
        guest.sleep(Duration::from_millis(1)).await;
        if arp.fixed && arp.cache.get().is_some() {
            break;
        }
        arp.reply.wait().await;
    }
    if let Some(address) = arp.cache.get() {
        resolver.resolve(address);
    }
}

/// Puts what arrives into the cache, and says so.
async fn listener(arp: Arp, mut replies: Receiver<Address>) {
    while let Some(address) = replies.recv().await {
        arp.cache.set(Some(address));
        let woken = arp.reply.signal();
        instant!("arp.learned", waiters = woken);
    }
}

/// Replies to every request at once.
async fn neighbour(mut requests: Receiver<()>, replies: Sender<Address>) {
    while let Some(()) = requests.recv().await {
        if replies.send(NEIGHBOUR).await.is_err() {
            return;
        }
    }
}
