//! The ring's protocol under loom: the ring's own code as the writer, a reader that goes as the collector goes, and every
//! order in which their accesses can be seen.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p fata-probe --lib --features std,profiling --target-dir target/loom model`
//!
//! Slot 0 of a ring of four packets is watched: its lock, two header fields and the first event. A packet holds that event
//! (the *mark*, whose value is the packet's number) and one that fills it. Each model must hold; each ordering that a model
//! passes is then left out in turn, and some model must fail (`orderings`); so does an ordering that no model passes. What a guest
//! says of itself beside its rings is modelled in `pages`, interrupts of a writer in `nested`, and what a log ring says of its losses
//! in `ledgers`.
//!
//! The reader is written anew here: the collector reads a mapping through `unsafe` code of its own, of which `fata-wire`, all
//! that both sides have in common, has none.
//!
//! What loom cannot show: it runs the loads of a thread in program order, so nothing fails where the collector's *Release* of
//! the consumed position is left out (a load that happens after a later store). Unlocked instructions and real interrupts are
//! for the stress test.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::rc::Rc;
use std::string::String;
use std::sync::Arc;

use fata_wire::event::{CLOCK, EventId, Header};
use fata_wire::packet::{Cause, HEADER_BYTES, HEADER_WORDS, at};
use fata_wire::shared::{Mode, control};

mod guest;
mod ledgers;
mod nested;
mod orderings;
mod pages;

use super::Writer;
use crate::sync::model;
use crate::value::{Cons, Nil};
use guest::{Guest, View};

const PACKETS: u64 = 4;
const MARK: u16 = 9;
const FILLER: u16 = 10;
/// Words of a packet's body.
const BODY: usize = 512 - HEADER_WORDS;

fn template(callsite: u16) -> u32 {
    u32::from(EventId::begin(callsite).0)
}

fn mark(writer: &Writer, value: u64) -> bool {
    writer.record(template(MARK), Cons(value, Nil))
}

/// Fills what a mark has left of a packet.
fn filler(writer: &Writer) -> bool {
    fill(writer, BODY - 2)
}

/// Records an event of so many words.
fn fill(writer: &Writer, words: usize) -> bool {
    let text = String::from_utf8(std::vec![b'x'; (words - 2) * 8 - 1]).unwrap();
    writer.record(template(FILLER), Cons(text.as_str(), Nil))
}

/// What a reader copied of slot 0, between two looks at its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    lock: u64,
    content: u64,
    before: u64,
    header: u64,
    payload: u64,
    lock_after: u64,
}

/// Copies slot 0 as the collector does: each word with Acquire, in the order of addresses, then a fence, then the lock.
fn copy(view: &View, weak: bool) -> Copied {
    let order = if weak { Ordering::Relaxed } else { Ordering::Acquire };
    let load = |field| view.word(view.slot(field)).load(order);
    let lock = view.word(view.slot(at::LOCK)).load(Ordering::Acquire);
    let (content, before) = (load(at::CONTENT_SIZE), load(at::EVENTS_BEFORE));
    let (header, payload) = (load(HEADER_BYTES), load(HEADER_BYTES + 8));
    if !weak {
        loom::sync::atomic::fence(Ordering::Acquire);
    }
    Copied { lock, content, before, header, payload, lock_after: load(at::LOCK) }
}

impl Copied {
    /// What the collector believes of a copy must be true of the packet that the lock names.
    fn check(&self) {
        let Some(number) = self.lock.checked_sub(1).map(|lock| lock / 2) else { return };
        let sealed = self.lock.is_multiple_of(2);
        let same = self.lock_after == self.lock || (!sealed && self.lock_after == self.lock + 1);
        if !same {
            return;
        }
        assert_eq!(self.before, number * 2, "{self:?}: a header of another packet");
        let header = Header::unpack(self.header);
        if sealed {
            assert_eq!(self.content, 512 * 64, "{self:?}: sealed before its length was there");
            assert!(!header.busy && self.header != 0, "{self:?}: sealed before its events were there");
        }
        if self.header == 0 || header.busy {
            return;
        }
        if header.id == EventId::begin(CLOCK) {
            assert_eq!(self.payload & 0xffff_ffff, u64::from(header.ticks_low), "{self:?}: a torn clock");
        } else {
            assert_eq!((header.id, self.payload), (EventId::begin(MARK), number), "{self:?}: a torn event");
        }
    }
}

/// Runs `body` in every order, with at most `preemptions` changes of thread where none is needed.
fn explore(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// A reader copies slot 0 while the writer takes it for packet 4, in overwrite mode. With `silence`, the first event of packet
/// 4 is a clock event.
fn overwrite_while_reading(silence: bool, weak_reader: bool) {
    explore(2, move || {
        let guest = Guest::new();
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        for number in 0..PACKETS {
            assert!(mark(writer, number) && filler(writer));
        }
        view.watch();
        let reader = loom::thread::spawn(move || copy(&view, weak_reader).check());
        if silence {
            // Within packet 4: its first event is reserved after it was opened.
            writer.switch(writer.state.load(Ordering::Relaxed));
            model::sleep(super::SILENCE + 1);
        }
        assert!(mark(writer, PACKETS));
        reader.join().unwrap();
        guest.free();
    });
}

/// A reader follows the stream's own word to a packet: the packet must be in that state, or a later one.
fn the_stream_names_a_packet_that_is_there() {
    explore(2, || {
        let guest = Guest::new();
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        view.watch();
        let reader = loom::thread::spawn(move || {
            let named = view.word(view.stream_lock()).load(Ordering::Acquire);
            let found = copy(&view, false);
            if named > 0 && named <= 2 {
                assert!(found.lock >= named, "the stream names {named}, the packet says {}", found.lock);
            }
            found.check();
        });
        assert!(mark(writer, 0) && filler(writer));
        // Seals packet 0.
        assert!(mark(writer, 1));
        reader.join().unwrap();
        guest.free();
    });
}

/// An interrupt seals the packet in which it found a record unfinished; the record's writer goes on while a reader copies.
/// Two copies that are the same must not hold a payload without its header.
fn a_record_is_finished_after_its_packet_was_sealed(silence: bool, point: usize) {
    explore(2, move || {
        let guest = Guest::new();
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        if silence {
            model::sleep(super::SILENCE + 1);
        }
        view.watch();
        let reader = loom::thread::spawn(move || {
            let (first, second) = (copy(&view, false), copy(&view, false));
            if first == second && first.lock == 2 && first.lock_after == 2 {
                assert!(first.header != 0 || first.payload == 0, "{first:?}: a payload without a header");
            }
        });
        model::interrupt_at(
            &[point],
            Rc::new(move || {
                model::interrupt_at(&[], Rc::new(|| ()));
                assert!(filler(writer) && mark(writer, 1));
            }),
        );
        assert!(mark(writer, 7));
        reader.join().unwrap();
        guest.free();
    });
}

/// The host says stop: whoever sees that something changed sees what.
fn freeze() {
    explore(2, || {
        let guest = Guest::new();
        let view = guest.view();
        let (generation, level) = (view.control(control::GENERATION), view.control(control::LEVEL));
        model::watch(view.at(generation));
        model::watch(view.at(level));
        let host = loom::thread::spawn(move || {
            view.word(level).store(5 | 1 << 32, Ordering::Relaxed);
            view.word(generation).store(1 | u64::from(Mode::Discard as u32) << 32, Ordering::Release);
        });
        if let Some(asked) = crate::control::look(guest.region()) {
            assert!(asked.frozen, "a change was seen without what changed");
            assert_eq!(guest.region().mode(), Mode::Discard);
        }
        host.join().unwrap();
        guest.free();
    });
}

/// In discard mode a reader that gives packets back one by one finds each of them whole, and what found no room is counted.
fn discard_while_full(gives_back_before_copying: bool) {
    explore(2, move || {
        let guest = Guest::new();
        guest.region().set_mode(Mode::Discard);
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        for number in 0..PACKETS {
            assert!(mark(writer, number) && filler(writer));
        }
        assert!(!mark(writer, 99), "the ring is full");
        view.watch();
        let consumed = view.control(control::CONSUMED);
        model::watch(view.at(consumed));
        let reader = loom::thread::spawn(move || {
            if gives_back_before_copying {
                view.word(consumed).store(1, Ordering::Release);
            }
            let found = copy(&view, false);
            assert_eq!((found.lock, found.lock_after), (2, 2), "a packet that was not given back was overwritten");
            found.check();
            if !gives_back_before_copying {
                view.word(consumed).store(1, Ordering::Release);
            }
        });
        let mut produced = 2 * PACKETS + 1;
        let mut recorded = 2 * PACKETS;
        for _ in 0..2 {
            produced += 1;
            recorded += u64::from(mark(writer, PACKETS));
        }
        reader.join().unwrap();
        let discarded = guest.region().discarded(0)[Cause::Full as usize];
        assert_eq!(produced, recorded + discarded);
        guest.free();
    });
}

/// A reader leaves its position, packet number and bytes, and may die between the two; the next one must never skip what
/// was not read. `bytes_first` is what the collector does.
fn restart_of_the_reader(bytes_first: bool, number_order: Ordering) {
    explore(2, move || {
        let (number, bytes) =
            (Arc::new(loom::sync::atomic::AtomicU64::new(0)), Arc::new(loom::sync::atomic::AtomicU64::new(64)));
        let (their_number, their_bytes) = (number.clone(), bytes.clone());
        let first = loom::thread::spawn(move || {
            if bytes_first {
                their_bytes.store(0, Ordering::Release);
            }
            their_number.store(1, number_order);
            if !bytes_first {
                their_bytes.store(0, Ordering::Release);
            }
        });
        let position = (number.load(Ordering::Acquire), bytes.load(Ordering::Acquire));
        assert_ne!(position, (1, 64), "the next reader would skip bytes that nobody has read");
        first.join().unwrap();
    });
}

/// The models of the guest's own code.
fn all() {
    pages::all();
    for silence in [false, true] {
        overwrite_while_reading(silence, false);
        // Before the exchange that reserves, and after it.
        for point in 1..=2 {
            a_record_is_finished_after_its_packet_was_sealed(silence, point);
        }
    }
    the_stream_names_a_packet_that_is_there();
    discard_while_full(false);
    freeze();
}

/// Whether `body` fails, quietly.
fn fails(body: impl FnOnce()) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let failed = std::panic::catch_unwind(AssertUnwindSafe(body)).is_err();
    std::panic::set_hook(hook);
    failed
}

#[test]
fn a_reader_that_does_not_order_its_copy_is_caught() {
    assert!(fails(|| overwrite_while_reading(false, true)));
}

#[test]
fn a_reader_that_gives_back_before_it_has_copied_is_caught() {
    assert!(fails(|| discard_while_full(true)));
}

#[test]
fn a_reader_that_is_restarted_skips_nothing_only_if_the_bytes_go_first_and_in_order() {
    restart_of_the_reader(true, Ordering::Release);
    assert!(fails(|| restart_of_the_reader(false, Ordering::Release)));
    assert!(fails(|| restart_of_the_reader(true, Ordering::Relaxed)));
}
