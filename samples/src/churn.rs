//! What a program does to its heap, in four phases: it grows, replaces, punches holes, and frees.
//!
//! Each phase is a span, and yields every so often, so that the heap's counters are plots over it. In the third phase every
//! other block is freed and longer ones are asked for: they do not fit the holes, and the heap grows although half of it is
//! free. Boot parameters: `mib=` how much to hold (default 8), `rounds=` how often (default 1), `rest_micros=` for how long to
//! rest after some 256 blocks (default 500).

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use fata_kernel::{Guest, heap};
use fata_probe::{counter, span};

/// Some blocks, and what makes their sizes.
struct Churn {
    guest: Guest,
    blocks: Vec<Box<[u8]>>,
    held_bytes: usize,
    rest: Duration,
    random: u64,
}

pub(crate) async fn main(guest: Guest) {
    let number = |key| guest.arg(key).and_then(|text| text.parse::<usize>().ok());
    let (mib, rounds) = (number("mib").unwrap_or(8).max(1), number("rounds").unwrap_or(1));
    let rest = Duration::from_micros(guest.arg("rest_micros").and_then(|text| text.parse().ok()).unwrap_or(500));
    let random = 0x9e37_79b9_7f4a_7c15;
    let mut churn = Churn { guest: guest.clone(), blocks: Vec::new(), held_bytes: 0, rest, random };
    for _ in 0..rounds {
        churn.grow(mib << 20).await;
        churn.replace().await;
        churn.punch_holes().await;
        churn.free().await;
    }
    let levels = heap::levels();
    guest.log(&format!("{} bytes at the peak, {} at the end", levels.peak_bytes, levels.live_bytes));
}

impl Churn {
    /// Allocates blocks until `bytes` are held.
    async fn grow(&mut self, bytes: usize) {
        let _span = span!("churn.grow", target_bytes = bytes);
        while self.held_bytes < bytes {
            let block = self.block();
            self.hold(block);
            self.pause().await;
        }
        self.say("grown");
    }

    /// Replaces each block once, in no order; the level stays.
    async fn replace(&mut self) {
        let _span = span!("churn.replace", blocks = self.blocks.len());
        for _ in 0..self.blocks.len() {
            let (new, victim) = (self.block(), self.random());
            self.hold(new);
            let victim = victim % self.blocks.len();
            self.held_bytes -= self.blocks.swap_remove(victim).len();
            self.pause().await;
        }
        self.say("replaced");
    }

    /// Frees every other block, then asks for long ones.
    async fn punch_holes(&mut self) {
        let _span = span!("churn.punch_holes", blocks = self.blocks.len());
        let mut n = 0;
        self.blocks.retain(|_| {
            n += 1;
            n % 2 == 0
        });
        self.held_bytes = self.blocks.iter().map(|block| block.len()).sum();
        for _ in 0..64 {
            self.hold(vec![1; 48 << 10].into());
            self.pause().await;
        }
        self.say("full of holes");
    }

    /// Frees everything, the oldest first.
    async fn free(&mut self) {
        let _span = span!("churn.free", blocks = self.blocks.len());
        for block in core::mem::take(&mut self.blocks) {
            self.held_bytes -= block.len();
            drop(block);
            self.pause().await;
        }
        self.say("freed");
    }

    fn hold(&mut self, block: Box<[u8]>) {
        self.held_bytes += block.len();
        self.blocks.push(block);
    }

    /// A block of 16 bytes to 32 KiB; short ones are frequent.
    fn block(&mut self) -> Box<[u8]> {
        let doublings = [self.random() % 11, self.random() % 11, self.random() % 11];
        let base = 16 << doublings[0].min(doublings[1]).min(doublings[2]);
        vec![0; base + self.random() % base].into()
    }

    /// After some work: lets others run, and gives the plots a point.
    async fn pause(&mut self) {
        if self.random().is_multiple_of(256) {
            counter!("churn.held", bytes = self.held_bytes);
            self.guest.sleep(self.rest).await;
        }
    }

    fn say(&self, phase: &str) {
        let levels = heap::levels();
        self.guest.log(&format!(
            "{phase}: {} blocks, {} bytes live, {} claimed, {} free of which {} in one piece",
            self.blocks.len(),
            levels.live_bytes,
            levels.claimed_bytes,
            levels.free_bytes,
            levels.largest_free_bytes,
        ));
    }

    /// The next of a row of numbers without a visible pattern (xorshift64, Marsaglia).
    fn random(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap_or(0)
    }
}
