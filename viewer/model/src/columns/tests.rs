//! Rows against plain lists: times beyond 32 bits, forged ones, lookups by time, memory.

use super::*;

#[test]
fn starts_and_durations_beyond_32_bits_are_kept_exactly() {
    let mut row = Row::new();
    let step = 3_000_000_000;
    for i in 0..1000 {
        row.push(i * 3 * step, i * 3 * step + i % 3 * step, 5, 9);
    }
    for i in 0..1000 {
        let entry = row.entry(usize::try_from(i).unwrap()).unwrap();
        assert_eq!((entry.start, entry.end), (i * 3 * step, i * 3 * step + i % 3 * step));
        for late in [-1, 0, 1] {
            let expected = if late > 0 { i + 1 } else { i };
            assert_eq!(row.first_from(entry.start + late), usize::try_from(expected).unwrap());
        }
    }
    let leaf = row.leaf(11).unwrap();
    assert_eq!(leaf.start, 88 * 3 * step);
    assert!((0..1 << 15).contains(&(leaf.end - (95 * 3 * step + 2 * step))));
}

#[test]
fn a_start_before_the_previous_end_is_moved_to_it() {
    let mut row = Row::new();
    row.push(0, 100, 1, 0);
    row.push(50, 80, 1, 0);
    assert_eq!(row.entry(1).map(|e| (e.start, e.end)), Some((100, 100)));
}

#[test]
fn the_first_interval_from_a_time_is_what_a_scan_finds() {
    let mut row = Row::new();
    let starts: Vec<Nanos> = (0..1000).map(|i| i * 10 + i % 7).collect();
    for (n, &start) in starts.iter().enumerate() {
        for probe in [start - 1, start, start + 1, -5] {
            assert_eq!(row.first_from(probe), starts[..n].iter().filter(|&&s| s < probe).count(), "{n} {probe}");
        }
        row.push(start, start + 3, 0, 0);
    }
    for time in -10..10_050 {
        let scan = starts.iter().position(|&s| s <= time && time < s + 3);
        assert_eq!(row.at(time), scan, "{time}");
    }
    let mut scanned = Vec::new();
    row.scan(|index, entry| scanned.push((index, *entry)));
    assert_eq!(scanned, (0..).zip(row.entries()).collect::<Vec<_>>());
    for time in -10..10_050 {
        assert_eq!(row.first_from(time), starts.iter().filter(|&&s| s < time).count(), "{time}");
    }
}

#[test]
fn an_interval_takes_ten_bytes_in_a_long_row_of_many_names_and_fields() {
    let mut row = Row::new();
    let mut random = crate::random::Random::new(2);
    let mut time = 0;
    for i in 0..1_000_000u32 {
        // A hundred callsites, microseconds, every third has fields.
        let key = u16::try_from(random.below(100)).unwrap();
        let end = time + random.below(1 << 14).cast_signed();
        row.push(time, end, key, if i % 3 == 0 { i * 40 } else { u32::MAX });
        time = end + random.below(1 << 14).cast_signed();
    }
    assert!(row.memory_bytes() < 10_000_000, "{}", row.memory_bytes());
    assert_eq!(size_of::<Node>(), 24);
}
