//! The sample `ring-deadlock`: what its trace says of a ring that has seized up, and that the right form does not.

#[path = "../../kernel/tests/recorded/mod.rs"]
#[expect(dead_code, reason = "what the kernel's own tests use besides")]
mod recorded;

use recorded::{assert_events, record_with};

/// What the sample records with these boot parameters, from the moment in which all senders run.
fn run(args: &str) -> Vec<String> {
    let sample = fata_samples::find("ring-deadlock").expect("the sample");
    let mut lines = record_with(args, sample.main, false);
    let start = lines.iter().position(|line| line == "switch 3").expect("the first sender runs");
    lines.split_off(start)
}

/// The senders are the tasks 3 to 5. Each holds 1 or 2 of the 4 slots and waits for the rest: nobody signals `wire.slots`, and
/// only the time that `main` gives them ends it.
#[test]
fn the_trace_of_a_seized_ring_names_the_ring_who_waits_for_it_and_for_how_many_slots() {
    assert_events(
        &run(""),
        "switch 3; wire.send 0 3; read wire.slots; wire.free 3; ready 3
         switch 4; wire.send 0 3; read wire.slots; wire.free 2; ready 4
         switch 5; wire.send 0 3; read wire.slots; wire.free 1; ready 5
         switch 3; read wire.slots; wire.free 0; ready 3
         switch 4; wire.wait 1 2; try wire.slots
         switch 5; wire.wait 1 2; try wire.slots
         switch 3; wire.wait 2 1; try wire.slots; pending 3
         signal timer 1; ready 1; poll 1; done 1",
    );
}

#[test]
fn with_all_slots_of_a_packet_reserved_at_once_every_packet_leaves() {
    let lines = run("fixed=yes");
    let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("wire.send 0"), count("wire.send 3"), count("wire.send end")), (3, 3, 12), "{lines:#?}");
    // It was full all the same: who came second waited for its turn, and the trace says for how much.
    assert!(count("ring.wait 3") > 0 && count("try wire.turn") > 0 && count("try wire.reserved") > 0, "{lines:#?}");
    assert_eq!(count("wire.wait"), 0);
}
