//! What a guest says of itself outside of its rings: header page, description area and reply page. Each model is one word that a
//! reader waits for, and what must be there when it is seen.

use core::sync::atomic::Ordering;
use std::vec::Vec;

use fata_wire::describe::{MAX_RECORD_BYTES, Record, Records};
use fata_wire::request::{Slip, TEXT};
use fata_wire::shared::{Clock, Geometry, STORED_MAGIC, State, at};

use super::explore;
use super::guest::{CONFIG, Guest};
use crate::sync::model;

const CLOCK: Clock =
    Clock { hz: 1_000, anchor_ticks: 7, anchor_unix_nanos: 8, clock_cost_picos: 9, probe_cost_picos: 10 };

/// `write` writes, while a reader of these words loads the first, and then, in this order, the others: `read` judges them.
fn published(
    fields: fn(&Guest) -> Vec<u64>,
    write: fn(&Guest),
    read: fn(first: u64, others: &[u64]),
) -> impl Fn() + Sync + Send + 'static {
    move || {
        let guest = Guest::new();
        let (view, fields) = (guest.view(), fields(&guest));
        fields.iter().for_each(|field| model::watch(view.at(*field)));
        let reader = loom::thread::spawn(move || {
            let load = |field: &u64| view.word(*field).load(Ordering::Acquire);
            let Some((first, others)) = fields.split_first() else { return };
            let first = load(first);
            read(first, &others.iter().map(load).collect::<Vec<_>>());
        });
        write(&guest);
        reader.join().unwrap();
        guest.free();
    }
}

/// Header fields as offsets into the region.
fn header<const N: usize>(fields: [usize; N]) -> Vec<u64> {
    fields.map(|field| (field & !7) as u64).to_vec()
}

/// The state in the word that holds it.
fn state(word: u64) -> State {
    State::from_u32(u32::try_from(word >> 32).unwrap())
}

/// Who finds the signature finds a whole header page.
fn the_signature_is_followed_by_a_header_page() {
    explore(
        2,
        published(
            |_| header([at::MAGIC, at::TOTAL_BYTES, at::STATE, at::PACKET_BYTES]),
            |guest| {
                guest.region().write_header(&CONFIG);
                guest.region().sign();
            },
            |magic, others| {
                if magic == STORED_MAGIC {
                    assert_eq!(others[0], CONFIG.total_bytes(), "a signature before the geometry");
                    assert_eq!(state(others[1]), State::Booting, "a signature before the state");
                    assert_eq!(others[2], u64::from(CONFIG.packet_bytes), "a signature before the geometry");
                }
            },
        ),
    );
}

/// Who sees a frequency sees the anchor.
fn a_clock_is_known_as_a_whole() {
    explore(
        2,
        published(
            |_| header([at::CLOCK_HZ, at::ANCHOR_TICKS, at::ANCHOR_UNIX_NANOS]),
            |guest| guest.region().set_running(&CLOCK),
            |hz, anchor| {
                if hz != 0 {
                    assert_eq!(anchor, [CLOCK.anchor_ticks, CLOCK.anchor_unix_nanos], "a frequency before its anchor");
                }
            },
        ),
    );
}

/// Who finds a frequency between two looks that find the same packet knows which clock it has found. The packet is told without an
/// ordering of its own: those around it are enough.
fn a_clock_that_was_changed_is_told_from_the_one_before() {
    const LATER: Clock = Clock { hz: 2_000, ..CLOCK };
    explore(2, || {
        let guest = Guest::new();
        guest.region().set_running(&CLOCK);
        let view = guest.view();
        let since = (Geometry::stream_entry(0) + at::STREAM_CLOCK_SINCE) as u64;
        for field in [since, at::CLOCK_HZ as u64] {
            model::watch(view.at(field));
        }
        let reader = loom::thread::spawn(move || {
            let load = |field| view.word(field).load(Ordering::Acquire);
            let (before, hz, after) = (load(since), load(at::CLOCK_HZ as u64), load(since));
            if before == after && hz != 0 {
                assert_eq!(hz, if before == 0 { CLOCK.hz } else { LATER.hz }, "the other clock's frequency");
            }
        });
        guest.region().forget_clock();
        guest.region().note_clock_since(0, 5);
        guest.region().set_running(&LATER);
        reader.join().unwrap();
        guest.free();
    });
}

/// Who sees how a guest ended sees its last words.
fn a_state_comes_after_the_words_that_explain_it() {
    explore(
        2,
        published(
            |_| header([at::STATE, at::MESSAGE]),
            |guest| guest.region().finish(State::Panicked, "a reason"),
            |word, message| {
                if state(word) == State::Panicked {
                    assert_eq!(message, [u64::from_le_bytes(*b"a reason")], "an end before its reason");
                }
            },
        ),
    );
}

/// Who sees the slip of a reply sees the text.
fn a_reply_is_there_before_its_slip() {
    explore(
        2,
        published(
            |guest| {
                let reply = guest.region().geometry().reply_offset;
                [reply, reply + TEXT as u64].to_vec()
            },
            |guest| guest.region().put_reply(3, "ok: done"),
            |slip, text| match Slip::unpack(slip) {
                Slip { sequence: 3, len_bytes } => {
                    assert_eq!(len_bytes, 8);
                    assert_eq!(text, [u64::from_le_bytes(*b"ok: done")], "a slip before its text");
                }
                other => assert_eq!(other, Slip::default()),
            },
        ),
    );
}

/// As much of the description area as is said to be used holds whole records.
fn what_is_used_of_the_description_area_is_described() {
    const RECORDS: [Record<'static>; 2] = [Record::Env { key: "a", value: "b" }, Record::Name { id: 4096, text: "c" }];
    fn used_words() -> u64 {
        RECORDS.iter().map(|record| record.encode(&mut [0; MAX_RECORD_BYTES]) as u64 / 8).sum()
    }
    explore(
        2,
        published(
            |guest| {
                let area = guest.region().geometry().description_offset;
                let mut fields = header([at::DESCRIPTION_USED]);
                fields.extend((0..used_words()).map(|i| area + 8 * i));
                fields
            },
            |guest| assert!(RECORDS.iter().all(|record| guest.region().append(record))),
            |used, area| {
                let bytes: Vec<u8> = area.iter().flat_map(|word| word.to_le_bytes()).collect();
                let described = &bytes[..usize::try_from(used).unwrap()];
                let read: Vec<_> = Records::new(described).collect();
                let is_written = read.iter().zip(&RECORDS).all(|(read, written)| *read == Ok(*written));
                assert!(is_written, "{used} bytes are used before they are there: {read:?}");
                assert_eq!(read.is_empty(), used == 0);
            },
        ),
    );
}

/// The models of what is not a ring.
pub(super) fn all() {
    the_signature_is_followed_by_a_header_page();
    a_clock_is_known_as_a_whole();
    a_clock_that_was_changed_is_told_from_the_one_before();
    a_state_comes_after_the_words_that_explain_it();
    a_reply_is_there_before_its_slip();
    what_is_used_of_the_description_area_is_described();
}
