//! Producers of packets of many fragments, and a back that is as unhelpful as the ring's rules let it be.

extern crate std;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::pin;
use core::task::Poll;

use fata_probe::name;

use super::{ANSWERED, Front, HEADER_BYTES, Layout, PUBLISHED, Page, Slots, TELL_BACK_AT, TooMany};
use crate::{Boot, Guest, LocalBoxFuture, run};

/// SplitMix64, by Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % limit
    }
}

/// The other end, as Xen's rules have it.
struct Back {
    page: Page,
    layout: Layout,
    seen: u32,
    answered: u32,
    /// The fragments in the order in which they came: packet, fragment, of how many.
    fragments: Vec<[u8; 3]>,
}

impl Back {
    /// Looks at what was published, and answers at most so many requests.
    fn work(&mut self, answers: u32) {
        let published = self.page.word(PUBLISHED).load(super::Ordering::Acquire);
        assert!(published.wrapping_sub(self.answered) <= self.layout.slots, "requests over what is not answered");
        while self.seen != published {
            let mut request = [0; 3];
            let slot = (self.seen % self.layout.slots) as usize;
            self.page.read(HEADER_BYTES + slot * self.layout.slot_bytes, &mut request);
            self.fragments.push(request);
            self.seen = self.seen.wrapping_add(1);
        }
        let answers = answers.min(self.seen.wrapping_sub(self.answered));
        for _ in 0..answers {
            let slot = (self.answered % self.layout.slots) as usize;
            self.page.write(HEADER_BYTES + slot * self.layout.slot_bytes, &[0xff; 3]);
            self.answered = self.answered.wrapping_add(1);
        }
        self.page.word(ANSWERED).store(self.answered, super::Ordering::Release);
        // As unhelpful as it can be: it wants to be told of a request long ago, or far ahead.
        self.page.word(TELL_BACK_AT).store(self.seen.wrapping_add(answers), super::Ordering::Relaxed);
    }
}

struct World {
    front: Front,
    back: RefCell<Back>,
    random: RefCell<Random>,
    /// Packets in the order in which their slots were asked for, less those that were given up.
    asked: RefCell<Vec<u8>>,
    left: Cell<u32>,
}

impl World {
    fn new(slots: u32, seed: u64) -> Rc<Self> {
        let page = Page::new().unwrap();
        let layout = Layout { slot_bytes: 12, slots };
        let turns = Slots::new(name!("test.turn"), name!("test.slots"), slots as usize);
        Rc::new(World {
            front: Front::new(page, layout, turns),
            back: RefCell::new(Back { page, layout, seen: 0, answered: 0, fragments: Vec::new() }),
            random: RefCell::new(Random(seed)),
            asked: RefCell::default(),
            left: Cell::new(0),
        })
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.borrow_mut().below(limit)
    }
}

/// Sends one packet, after a while, unless it gives up while it waits or before it commits.
async fn send(guest: Guest, world: Rc<World>, packet: u8, fragments: u8, patience: Option<u64>) {
    for _ in 0..world.below(20) {
        guest.yield_now().await;
    }
    world.asked.borrow_mut().push(packet);
    let give_up = || world.asked.borrow_mut().retain(|other| *other != packet);
    {
        let mut reserve = pin!(world.front.reserve(usize::from(fragments)));
        let mut polls = 0;
        let reservation = core::future::poll_fn(|cx| {
            if patience.is_some_and(|patience| polls > patience) {
                return Poll::Ready(None);
            }
            polls += 1;
            if patience.is_some() {
                cx.waker().wake_by_ref();
            }
            reserve.as_mut().poll(cx).map(Some)
        })
        .await;
        match reservation {
            None => give_up(),
            Some(reservation) => {
                let reservation = reservation.unwrap();
                // Holding slots over a turn of everybody else is allowed, and so is not to use them.
                guest.yield_now().await;
                if world.below(8) == 0 {
                    give_up();
                } else {
                    let requests: Vec<[u8; 3]> = (0..fragments).map(|at| [packet, at, fragments]).collect();
                    world.front.fill(reservation, requests.iter().map(<[u8; 3]>::as_slice));
                    let _ = world.front.publish();
                }
            }
        }
    }
    world.left.set(world.left.get() - 1);
}

/// Answers a few requests, now and then, until nobody sends any more.
async fn answer(guest: Guest, world: Rc<World>) {
    let mut turns = 0;
    while world.left.get() > 0 {
        guest.yield_now().await;
        if world.below(3) == 0 {
            let most = world.below(1 + u64::from(world.back.borrow().layout.slots));
            world.back.borrow_mut().work(u32::try_from(most).unwrap());
        }
        let mut answer = [0; 12];
        while world.below(4) > 0 && world.front.take(&mut answer) {
            assert_eq!(answer[..3], [0xff; 3], "a request was taken for an answer");
        }
        turns += 1;
        assert!(turns < 100_000, "{} producers wait for ever", world.left.get());
    }
    world.back.borrow_mut().work(u32::MAX);
}

fn every_seed(guest: Guest) -> LocalBoxFuture {
    Box::pin(async move {
        for seed in 0..300 {
            let slots = 1 << (seed % 6);
            let world = World::new(slots, seed);
            let packets = 40;
            world.left.set(packets);
            let mut tasks = Vec::new();
            for packet in 0..u8::try_from(packets).unwrap() {
                let fragments = 1 + u8::try_from(world.below(u64::from(slots))).unwrap();
                let patience = (world.below(4) == 0).then(|| world.below(60));
                let sending = send(guest.clone(), Rc::clone(&world), packet, fragments, patience);
                tasks.push(guest.spawn(name!("sender"), sending));
            }
            answer(guest.clone(), Rc::clone(&world)).await;
            for task in tasks {
                task.await;
            }
            // Packets came as they were asked for, each in one piece.
            let back = world.back.borrow();
            let mut expected = Vec::new();
            for packet in world.asked.borrow().iter() {
                let of = back.fragments.iter().find(|fragment| fragment[0] == *packet).map_or(0, |found| found[2]);
                assert!(of > 0, "seed {seed}: packet {packet} never left");
                expected.extend((0..of).map(|at| [*packet, at, of]));
            }
            assert_eq!(back.fragments, expected, "seed {seed}");
        }
    })
}

#[test]
fn packets_leave_whole_and_in_the_order_of_asking_and_none_waits_for_ever() {
    run(Boot { name: "ring", args: "" }, every_seed);
}

fn with_a_lying_back(guest: Guest) -> LocalBoxFuture {
    Box::pin(async move {
        let _ = guest;
        let world = World::new(4, 0);
        let page = world.back.borrow().page;
        let mut answer = [0; 12];
        for lie in [1, 4, 5, u32::MAX, 1 << 31] {
            page.word(ANSWERED).store(lie, super::Ordering::Relaxed);
            assert!(!world.front.take(&mut answer), "{lie} answers to nothing");
        }
        let reservation = world.front.try_reserve(2).unwrap().unwrap();
        world.front.fill(reservation, [&[1u8; 3][..], &[2; 3]]);
        // Committed and not published: still no request.
        page.word(ANSWERED).store(2, super::Ordering::Relaxed);
        assert!(!world.front.take(&mut answer));
        let _ = world.front.publish();
        assert!(world.front.take(&mut answer) && world.front.take(&mut answer) && !world.front.take(&mut answer));
        assert_eq!(world.front.free_now(), 4);
    })
}

#[test]
fn answers_to_what_was_never_asked_are_none() {
    run(Boot { name: "ring", args: "" }, with_a_lying_back);
}

fn with_too_many(guest: Guest) -> LocalBoxFuture {
    Box::pin(async move {
        let _ = guest;
        let world = World::new(4, 0);
        let refused = world.front.reserve(5).await.err();
        assert_eq!(refused, Some(TooMany { asked: 5, size: 4 }));
        assert!(world.front.try_reserve(4).unwrap().is_some(), "the refusal has taken nothing");
    })
}

#[test]
fn a_packet_that_needs_more_slots_than_the_ring_has_is_refused_at_once() {
    run(Boot { name: "ring", args: "" }, with_too_many);
}
