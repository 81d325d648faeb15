//! Where a model checker cannot go: unlocked instructions under real interruption. Signals stand in for interrupts, three
//! levels deep, while another thread reads packets as a collector does.
//!
//! What must hold in both modes: produced = read + discarded, exactly and by cause; no event torn, none out of order.
//! `FATA_STRESS_EVENTS=1000000000 cargo test --release -p fata-probe --test stress` is a full run.
#![cfg(all(feature = "profiling", feature = "std", target_os = "linux"))]
#![expect(unsafe_code, reason = "signals, and the reader's side of shared memory")]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test's helpers fail by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use fata_probe::region::{Config, Region};
use fata_probe::{Small, instant};
use fata_wire::event::Events;
use fata_wire::packet::{Cause, HEADER_BYTES, PacketHeader, at};
use fata_wire::repair::{End, repair};
use fata_wire::shared::{Mode, PAGE_BYTES, StreamStatus, control};
use fata_wire::{put_u32, put_u64, u64_at};

const LEVELS: usize = 4;
static PRODUCED: [AtomicU64; LEVELS] = [const { AtomicU64::new(0) }; LEVELS];
static DEEPEST: AtomicU32 = AtomicU32::new(0);
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// One event of interruption level `level`: a number that counts up, and one that must fit it.
fn produce(level: usize) {
    let i = PRODUCED[level].fetch_add(1, Ordering::Relaxed);
    if i.is_multiple_of(3) {
        instant!("stress.plain", level = Small(level as u16));
    } else {
        instant!("stress.event", level = Small(level as u16), i = i, check = !i);
    }
}

extern "C" fn interrupt(signal: i32) {
    let level = match signal {
        libc::SIGUSR1 => 1,
        libc::SIGUSR2 => 2,
        _ => 3,
    };
    DEEPEST.fetch_max(DEPTH.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    for i in 0..40 {
        produce(level);
        // Signals of the other thread come at any instruction; this one makes sure that all three levels are reached.
        if i == 20 && level < 3 {
            // SAFETY: sends a signal whose handler is ours to this thread.
            unsafe { libc::raise(if level == 1 { libc::SIGUSR2 } else { libc::SIGALRM }) };
        }
    }
    DEPTH.fetch_sub(1, Ordering::Relaxed);
}

/// What a reader has found so far.
#[derive(Default)]
struct Reader {
    next: u64,
    read: u64,
    overwritten: u64,
    events_before: u64,
    last: [Option<u64>; LEVELS],
    ticks: u64,
    torn_copies: u64,
}

impl Reader {
    fn copy(region: &Region, offset: u64, bytes: usize) -> Vec<u8> {
        let word = |i: usize| {
            // SAFETY: offset and length lie in the region, which lives for ever; all accesses are atomic words.
            unsafe { AtomicU64::from_ptr(region.memory().add(offset as usize + i * 8).cast()) }.load(Ordering::Relaxed)
        };
        (0..bytes / 8).flat_map(|i| word(i).to_le_bytes()).collect()
    }

    fn status(region: &Region) -> StreamStatus {
        let page = Self::copy(region, 0, PAGE_BYTES);
        fence(Ordering::Acquire);
        StreamStatus::parse(page.first_chunk().unwrap(), 0)
    }

    /// Reads every sealed packet that is older than the youngest sealed one, or all of them at the end.
    fn read(&mut self, region: &Region, all: bool) {
        let lock = Self::status(region).lock;
        let sealed = lock / 2; // packets with a number below this are sealed
        let upto = if all { sealed } else { sealed.saturating_sub(1) };
        while self.next < upto {
            let number = self.next;
            let offset = region.geometry().packet_offset(0, number);
            let copy = Self::copy(region, offset, region.geometry().packet_bytes as usize);
            // Pairs with the writer's Release fence after it has set the lock to 0.
            fence(Ordering::Acquire);
            let again = Self::copy(region, offset + at::LOCK as u64, 8);
            let lock = 2 * number + 2;
            if u64_at(&copy, at::LOCK) != lock || u64_at(&again, 0) != lock {
                // Overwritten before or while it was copied: go on with the oldest that may still be there.
                self.torn_copies += u64::from(u64_at(&copy, at::LOCK) == lock);
                let youngest = (Self::status(region).lock - 1) / 2;
                self.next =
                    (number + 1).max((youngest + 2).saturating_sub(u64::from(region.geometry().packets_per_stream)));
                continue;
            }
            if !self.take(copy) {
                // An interrupted writer may still commit: come back.
                assert!(!all, "the writer has ended, nothing is unfinished");
                return;
            }
            self.next = number + 1;
        }
    }

    /// Counts and checks the events of a packet, unless one of them is unfinished.
    fn take(&mut self, mut copy: Vec<u8>) -> bool {
        let header = PacketHeader::parse(&copy).unwrap();
        let content = &mut copy[HEADER_BYTES..header.content_size as usize / 8];
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
            if event.payload.len() == 16 {
                let (level, i) = (usize::from(event.arg), u64_at(event.payload, 0));
                assert_eq!(u64_at(event.payload, 8), !i, "a torn event");
                assert!(self.last[level].is_none_or(|last| last < i), "an event out of order");
                self.last[level] = Some(i);
            }
        }
        true
    }
}

fn set_control(region: &Region, generation: u32, mode: Mode, consumed: u64) {
    let mut page = [0; 80];
    put_u32(&mut page, control::GENERATION, generation);
    put_u32(&mut page, control::MODE, mode as u32);
    put_u64(&mut page, control::CATEGORIES, u64::MAX);
    put_u32(&mut page, control::LEVEL, 3);
    put_u64(&mut page, control::CONSUMED, consumed);
    for (i, word) in page.chunks_exact(8).enumerate().rev() {
        // SAFETY: the control page lies in the region, which lives for ever; all accesses are atomic words.
        let at = unsafe { AtomicU64::from_ptr(region.memory().add(PAGE_BYTES + i * 8).cast()) };
        at.store(u64::from_le_bytes(word.try_into().unwrap()), Ordering::Release);
    }
}

fn run(mode: Mode, events: u64) {
    for (count, signal) in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM].into_iter().enumerate() {
        // SAFETY: the handler records and counts, nothing else; no signal is blocked in it, so the levels nest.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupt as extern "C" fn(i32) as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0, "{count}");
        }
    }
    PRODUCED.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let config = Config { name: "stress", packets_per_stream: 64, packet_bytes: 4096, ..Config::default() };
    let region = Region::in_memory(&config).unwrap();
    let mut generation = 1;
    set_control(region, generation, mode, 0);
    fata_probe::control::poll();
    let done = AtomicBool::new(false);
    let mut reader = Reader::default();
    std::thread::scope(|scope| {
        let (send_thread, thread) = std::sync::mpsc::channel();
        let writer = scope.spawn(move || {
            let attached = region.attach(0).unwrap();
            // SAFETY: asks for the calling thread's own handle.
            send_thread.send(unsafe { libc::pthread_self() } as usize).unwrap();
            for _ in 0..events {
                produce(0);
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
            let mut turn = 0usize;
            while !done.load(Ordering::Relaxed) {
                let signal = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM][turn % 3];
                // SAFETY: the scope keeps the thread's handle valid until it is joined, which is after `done`.
                unsafe { libc::pthread_kill(thread as libc::pthread_t, signal) };
                turn += 1;
                // A storm without a pause would never let the interrupted code go on, which no hardware does.
                for _ in 0..turn % 2000 {
                    std::hint::spin_loop();
                }
            }
        });
        while !writer.is_finished() {
            reader.read(region, false);
            if mode == Mode::Discard {
                generation += 1;
                set_control(region, generation, mode, reader.next);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    reader.read(region, true);
    let produced: u64 = PRODUCED.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let status = Reader::status(region);
    reader.overwritten += status.events_before - reader.events_before;
    let discarded: u64 = status.discarded.iter().sum();
    println!(
        "{mode:?}: {produced} produced = {} read + {} overwritten + {discarded} discarded {:?}; {} torn copies noticed, {} levels deep",
        reader.read,
        reader.overwritten,
        status.discarded,
        reader.torn_copies,
        DEEPEST.load(Ordering::Relaxed)
    );
    assert_eq!(DEEPEST.load(Ordering::Relaxed), 3);
    assert_eq!(produced, reader.read + reader.overwritten + discarded);
    assert_eq!(status.discarded[Cause::TooBig as usize], 0);
    match mode {
        Mode::Discard => assert_eq!(reader.overwritten, 0),
        Mode::Overwrite => assert_eq!(status.discarded[Cause::Full as usize], 0),
    }
}

#[test]
fn interrupts_three_levels_deep_tear_nothing_and_the_account_is_exact() {
    let events = std::env::var("FATA_STRESS_EVENTS").map_or(20_000_000, |text| text.parse().unwrap());
    run(Mode::Discard, events / 2);
    run(Mode::Overwrite, events / 2);
}
