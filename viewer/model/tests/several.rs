//! The statistics of several guests: each has its own clock, and pays for its own events.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use fata_model::ingest::{Ingest, Limits};
use fata_model::packets::StreamWriter;
use fata_model::stats::Stats;
use fata_wire::event::EventId;
use fata_wire::packet::Cause;

/// A guest's name, its clock's description after the rate of 1 GHz, when it begins, and how many events it records, one each
/// microsecond.
type Guest = (&'static str, &'static str, u64, u64);

/// The first clock is cheap to read; the second one's events cost ten times as much, and reading it is a trap.
const CHEAP: Guest = ("cheap", "1000 1000000000 9000 10000", 1000, 5);
const DEAR: Guest = ("dear", "51000 1000000000 1300000 100000", 53_000, 3);

fn stats(guests: &[Guest]) -> Stats {
    let mut text = String::from("/* fata version 1.0 */\n");
    for (number, (name, clock, ..)) in guests.iter().enumerate() {
        text += &format!(
            "/* fata guest {number} */\n/* fata clock 1000000000 {clock} */\n/* fata env \"guest\" \"{name}\" */\n\
             /* fata callsite 9 instant info 1 \"boot\" \"boot.step\" \"boot.rs\" */\n"
        );
    }
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&text).unwrap();
    for (guest, (.., begin, events)) in (0..).zip(guests) {
        let mut take = |packet: &[u8]| ingest.packet(packet).unwrap();
        let mut writer = StreamWriter::new(0, 4096).of_guest(guest);
        for event in 0..*events {
            writer.event(begin + event * 1000, EventId::begin(9), 0, &[], &mut take);
        }
        writer.discard(Cause::Full, 2, &mut take);
        writer.event(begin + events * 1000, EventId::begin(9), 0, &[], &mut take);
        writer.seal(&mut take);
    }
    ingest.finish().stats()
}

#[test]
fn each_guest_pays_for_its_own_events_by_its_own_clock_in_its_own_time() {
    let both = stats(&[CHEAP, DEAR]);
    let clocks: Vec<_> = both.guests.iter().map(|guest| guest.clock.unwrap()).collect();
    assert_eq!([clocks[0].read_cost_ps, clocks[1].read_cost_ps], [9_000, 1_300_000]);
    // 6 events and 2 discarded of 10 ns in 5 µs; 4 and 2 of 100 ns in 3 µs.
    assert_eq!([clocks[0].perturbation_ppm, clocks[1].perturbation_ppm], [Some(16_000), Some(200_000)]);
    // Both clocks' anchors are the moment at which the first guest begins.
    assert_eq!([clocks[0].origin_ticks, clocks[1].origin_ticks], [1000, 51_000]);
    assert_eq!(both.clock, Some(clocks[0]), "the first guest's has its old place too");
}

#[test]
fn the_guest_whose_clock_traps_is_warned_about_by_name() {
    let warnings = stats(&[CHEAP, DEAR]).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("dear: reading the guest's clock costs 1300 ns"), "{warnings:?}");
    assert!(stats(&[DEAR]).warnings[0].starts_with("reading the guest's clock"), "one guest needs no name");
}

#[test]
fn one_guest_alone_has_one_clock_and_is_in_no_list() {
    let alone = stats(&[CHEAP]);
    assert_eq!((alone.guests.len(), alone.clock.unwrap().perturbation_ppm), (0, Some(16_000)));
}
