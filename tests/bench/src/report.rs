//! The rows for people and for programs.

use crate::case::{Row, Unit};

/// Nanoseconds per event of the floor.
fn floor(rows: &[Row]) -> f64 {
    rows.iter().find(|row| row.name == "floor").map_or(f64::NAN, |row| row.median)
}

/// One object per line.
pub(crate) fn json(rows: &[Row]) {
    let floor = floor(rows);
    for row in rows {
        let bytes = row.bytes.map_or("null".into(), |bytes| format!("{bytes:.2}"));
        println!(
            r#"{{"case": "{}", "ns": {:.3}, "ratio_to_floor": {:.3}, "bytes": {bytes}, "per": "{}", "p10": {:.3}, "p90": {:.3}, "rounds": {}}}"#,
            row.name,
            row.median,
            row.median / floor,
            row.unit.text(),
            row.p10,
            row.p90,
            row.rounds
        );
    }
}

/// The table.
pub(crate) fn table(rows: &[Row], seconds: u64) {
    let floor = floor(rows);
    println!(
        "{:<26} {:>8}     {:<6} {:>18} {:>8} {:>8} {:>7}",
        "case", "ns", "per", "p10 to p90", "x floor", "bytes", "rounds"
    );
    for row in rows {
        let bytes = row.bytes.map_or("-".into(), |bytes| format!("{bytes:.1}"));
        println!(
            "{:<26} {:>8.2} per {:<6} {:>7.2} to {:>7.2} {:>8.2} {bytes:>8} {:>7}",
            row.name,
            row.median,
            row.unit.text(),
            row.p10,
            row.p90,
            row.median / floor,
            row.rounds
        );
    }
    let of = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.median);
    for (burst, what) in [("", "a span"), (".burst", "a span in a burst")] {
        let Some(own) = of(&format!("fata.span{burst}")).map(|event| 2.0 * event) else { continue };
        let peers =
            rows.iter().filter(|row| row.unit == Unit::Span && row.name.ends_with(".burst") != burst.is_empty());
        let times: Vec<_> = peers.map(|peer| format!("{} {:.1} times", peer.name, peer.median / own)).collect();
        println!("\nThe same work, {what}: fata {own:.1} ns; {} that.", times.join(", "));
    }
    println!(
        "\nMedians over rounds that took turns for {seconds} s. A span is a begin and an end, two readings of the clock; ours \
         are counted per event.\nfata.switch: what profiling adds to one change of a task's state (wake, begin or end of a poll) \
         on the real executor.\nA burst: a thousand events after 4 ms in which the program went through 64 MiB of memory.\nBytes: what is in the ring, packet headers included; of the peers what they wrote, where it can \
         be counted."
    );
}
