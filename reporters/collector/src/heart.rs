//! The heartbeat of an attached collector: the guest sees by it that somebody will empty its ring.
//!
//! A guest in discard mode whose collector was killed would discard everything new. It looks at a word of the control page
//! that grows for as long as the collector's process runs, and overwrites where that stands still: see
//! [`HEARTBEAT`](fata_wire::shared::control::HEARTBEAT). The heart is a thread of its own, so that a collector that waits for
//! a slow disk or reader is not taken for dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fata_wire::shared::control;

use crate::shared::SharedMemory;

/// A tenth of what a guest waits for.
const INTERVAL: Duration = Duration::from_millis(200);

/// Beats until it is dropped.
#[derive(Debug)]
pub(crate) struct Heart {
    memory: Arc<SharedMemory>,
    still: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    /// Has beaten once when this returns. Where no thread can be had the guest is told of no heart, and takes the collector at
    /// its word.
    pub(crate) fn start(memory: &Arc<SharedMemory>) -> Self {
        beat(memory);
        let still = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("heart".to_owned()).stack_size(64 << 10).spawn({
            let (memory, still) = (Arc::clone(memory), Arc::clone(&still));
            move || {
                while !still.load(Ordering::Relaxed) {
                    std::thread::park_timeout(INTERVAL);
                    beat(&memory);
                }
            }
        });
        if thread.is_err() {
            memory.set_control_u64(control::HEARTBEAT, 0);
        }
        Heart { memory: Arc::clone(memory), still, thread: thread.ok() }
    }
}

fn beat(memory: &SharedMemory) {
    let next = memory.control_u64(control::HEARTBEAT).wrapping_add(1).max(1);
    memory.set_control_u64(control::HEARTBEAT, next);
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.still.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic; if it had, it would beat no more.
            let _ = thread.join();
        }
        self.memory.set_control_u64(control::HEARTBEAT, 0);
    }
}
