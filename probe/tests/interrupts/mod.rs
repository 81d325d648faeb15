//! Signals that stand in for interrupts, three levels deep, and a reader of one stream, as a collector has it.
#![allow(dead_code, reason = "each test program uses a part")]
#![expect(unsafe_code, reason = "signals, and the reader's side of shared memory")]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test's helpers fail by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use fata_probe::region::Region;
use fata_wire::event::{Event, Events};
use fata_wire::packet::{HEADER_BYTES, PacketHeader, at};
use fata_wire::repair::{End, repair};
use fata_wire::shared::{Mode, PAGE_BYTES, StreamStatus, control};
use fata_wire::{put_u32, put_u64, u64_at};

/// The levels of interruption, of which 0 is none.
pub(crate) const LEVELS: usize = 4;
const SIGNALS: [i32; LEVELS - 1] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM];
/// So much each interrupt does.
const ROUNDS: u32 = 40;
/// So many interrupts come at most while the interrupted code does one thing: a ring is longer than what they write. (What the
/// ring says of its limits: within one record there is less than a ring of others.)
const INTERRUPTS: u32 = 6;

static DEEPEST: AtomicU32 = AtomicU32::new(0);
static DEPTH: AtomicU32 = AtomicU32::new(0);
/// How often code at level 0 has done its work.
static DONE: AtomicU64 = AtomicU64::new(0);
/// What an interrupt of a level does, `ROUNDS` times: a function.
static WORK: AtomicU64 = AtomicU64::new(0);

/// What code of a level of interruption does once.
pub(crate) type Work = fn(usize);

/// How deep interrupts have nested so far.
pub(crate) fn deepest() -> u32 {
    DEEPEST.load(Ordering::Relaxed)
}

extern "C" fn interrupt(signal: i32) {
    let level = 1 + SIGNALS.iter().position(|&known| known == signal).unwrap_or(0);
    DEEPEST.fetch_max(DEPTH.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    // SAFETY: `storm` stored a function of this type before it installed the handlers.
    let work = unsafe { std::mem::transmute::<usize, Work>(WORK.load(Ordering::Relaxed) as usize) };
    for i in 0..ROUNDS {
        work(level);
        // Signals of the other thread come at any instruction; this one makes sure that all three levels are reached.
        if i == ROUNDS / 2 && level < LEVELS - 1 {
            // SAFETY: sends a signal whose handler is ours to this thread.
            unsafe { libc::raise(SIGNALS[level]) };
        }
    }
    DEPTH.fetch_sub(1, Ordering::Relaxed);
}

/// Runs `work` so many times at level 0, on a thread of its own with stream 0 of the region, interrupted at any instruction
/// by signals that do the same at the other levels; `meanwhile` runs on this thread until that is over. The stream is
/// finished then.
pub(crate) fn storm(region: &'static Region, work: Work, times: u64, mut meanwhile: impl FnMut()) {
    WORK.store(work as usize as u64, Ordering::Relaxed);
    for signal in SIGNALS {
        // SAFETY: the handler does the test's work and counts, nothing else; no signal is blocked in it, so the levels nest.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupt as extern "C" fn(i32) as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0, "{signal}");
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (send_thread, thread) = std::sync::mpsc::channel();
        let writer = scope.spawn(move || {
            let attached = region.attach(0).unwrap();
            // SAFETY: asks for the calling thread's own handle.
            send_thread.send(unsafe { libc::pthread_self() } as usize).unwrap();
            for _ in 0..times {
                work(0);
                DONE.fetch_add(1, Ordering::Relaxed);
            }
            attached.forever();
            // SAFETY: blocks all signals of the calling thread: what it would record from here on has no stream.
            unsafe {
                let mut all: libc::sigset_t = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
            }
            region.finish(fata_wire::shared::State::Exited, "");
        });
        let thread = thread.recv().unwrap();
        let done = &done;
        scope.spawn(move || {
            let (mut turn, mut seen, mut since) = (0usize, 0, 0);
            while !done.load(Ordering::Relaxed) {
                let now = DONE.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, 0);
                } else if since == INTERRUPTS {
                    // A storm without a pause would never let the interrupted code go on, which no hardware does.
                    std::hint::spin_loop();
                    continue;
                }
                since += 1;
                // SAFETY: the scope keeps the thread's handle valid until it is joined, which is after `done`.
                unsafe { libc::pthread_kill(thread as libc::pthread_t, SIGNALS[turn % SIGNALS.len()]) };
                turn += 1;
                for _ in 0..turn % 2000 {
                    std::hint::spin_loop();
                }
            }
        });
        let _stops = StoresTrue(done);
        while !writer.is_finished() {
            meanwhile();
        }
    });
}

/// Stores it when it goes, also with a panic: a test that fails ends.
struct StoresTrue<'a>(&'a AtomicBool);

impl Drop for StoresTrue<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Copies `bytes` bytes at `offset` of the region, as another process would.
pub(crate) fn copy(region: &Region, offset: u64, bytes: usize) -> Vec<u8> {
    let word = |i: usize| {
        // SAFETY: offset and length lie in the region, which lives for ever; all accesses are atomic words.
        unsafe { AtomicU64::from_ptr(region.memory().add(offset as usize + i * 8).cast()) }.load(Ordering::Relaxed)
    };
    (0..bytes / 8).flat_map(|i| word(i).to_le_bytes()).collect()
}

/// What a reader of a stream has found so far.
#[derive(Default)]
pub(crate) struct Reader {
    stream: u32,
    pub(crate) next: u64,
    pub(crate) read: u64,
    pub(crate) overwritten: u64,
    events_before: u64,
    ticks: u64,
    pub(crate) torn_copies: u64,
}

impl Reader {
    pub(crate) fn new(stream: u32) -> Self {
        Reader { stream, ..Reader::default() }
    }

    pub(crate) fn status(&self, region: &Region) -> StreamStatus {
        let page = copy(region, 0, PAGE_BYTES);
        fence(Ordering::Acquire);
        StreamStatus::parse(page.first_chunk().unwrap(), self.stream)
    }

    /// Gives the events of every sealed packet that is older than the youngest sealed one to `take`, or all of them at the end.
    pub(crate) fn read(&mut self, region: &Region, all: bool, take: &mut impl FnMut(&Event<'_>)) {
        let geometry = region.geometry();
        let lock = self.status(region).lock;
        let sealed = lock / 2; // packets with a number below this are sealed
        let upto = if all { sealed } else { sealed.saturating_sub(1) };
        while self.next < upto {
            let number = self.next;
            let offset = geometry.packet_offset(self.stream, number);
            let packet = copy(region, offset, geometry.packet_bytes_of(self.stream) as usize);
            // Pairs with the writer's Release fence after it has set the lock to 0.
            fence(Ordering::Acquire);
            let again = copy(region, offset + at::LOCK as u64, 8);
            let lock = 2 * number + 2;
            if u64_at(&packet, at::LOCK) != lock || u64_at(&again, 0) != lock {
                // Overwritten before or while it was copied: go on with the oldest that may still be there.
                self.torn_copies += u64::from(u64_at(&packet, at::LOCK) == lock);
                let youngest = (self.status(region).lock - 1) / 2;
                let ring = u64::from(geometry.packets_of(self.stream));
                self.next = (number + 1).max((youngest + 2).saturating_sub(ring));
                continue;
            }
            if !self.take(packet, take) {
                // An interrupted writer may still commit: come back.
                assert!(!all, "the writer has ended, nothing is unfinished");
                return;
            }
            self.next = number + 1;
        }
    }

    /// Counts and checks the events of a packet, unless one of them is unfinished.
    fn take(&mut self, mut packet: Vec<u8>, take: &mut impl FnMut(&Event<'_>)) -> bool {
        let header = PacketHeader::parse(&packet).unwrap();
        let content = &mut packet[HEADER_BYTES..header.content_size as usize / 8];
        let walk = repair(content, header.timestamp_begin, 4096);
        if walk.unfinished > 0 {
            return false;
        }
        assert_eq!((walk.end, walk.events), (End::Whole, header.events));
        self.overwritten += header.events_before - self.events_before;
        self.events_before = header.events_before + header.events;
        assert!(header.timestamp_begin >= self.ticks);
        self.ticks = header.timestamp_begin;
        for event in Events::new(content, header.timestamp_begin) {
            let event = event.unwrap();
            self.read += 1;
            assert!(event.ticks >= self.ticks && event.ticks <= header.timestamp_end);
            self.ticks = event.ticks;
            take(&event);
        }
        true
    }

    /// How many events were overwritten before they were read; and the discarded ones by cause. At the end.
    pub(crate) fn missed(&mut self, region: &Region) -> (u64, fata_wire::packet::Discarded) {
        let status = self.status(region);
        self.overwritten += status.events_before - self.events_before;
        self.events_before = status.events_before;
        (self.overwritten, status.discarded)
    }
}

/// Asks for a mode and every level, and says which packets of each stream, from 0 on, were read.
pub(crate) fn set_control(region: &Region, generation: u32, mode: Mode, consumed: &[u64]) {
    let mut page = [0; control::CONSUMED + 4 * control::CONSUMED_ENTRY_BYTES];
    put_u32(&mut page, control::GENERATION, generation);
    put_u32(&mut page, control::MODE, mode as u32);
    put_u64(&mut page, control::CATEGORIES, u64::MAX);
    put_u32(&mut page, control::LEVEL, 3);
    for (stream, consumed) in consumed.iter().enumerate() {
        put_u64(&mut page, control::CONSUMED + stream * control::CONSUMED_ENTRY_BYTES, *consumed);
    }
    for (i, word) in page.chunks_exact(8).enumerate().rev() {
        // SAFETY: the control page lies in the region, which lives for ever; all accesses are atomic words.
        let at = unsafe { AtomicU64::from_ptr(region.memory().add(PAGE_BYTES + i * 8).cast()) };
        at.store(u64::from_le_bytes(word.try_into().unwrap()), Ordering::Release);
    }
}
