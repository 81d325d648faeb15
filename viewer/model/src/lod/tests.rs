//! The walk against a naive one that looks at every interval.

use super::*;
use crate::columns::Entry;
use crate::random::Random;

/// A row of `count` intervals, in bursts, some of them instants, some very long.
fn random_row(random: &mut Random, count: u64) -> (Row, Vec<Entry>) {
    let mut row = Row::new();
    let mut time = 0;
    for _ in 0..count {
        time += match random.below(100) {
            0 => random.below(10_000_000),
            1..20 => random.below(100_000),
            _ => random.below(300),
        }
        .cast_signed();
        let duration = match random.below(200) {
            0 => random.below(6_000_000_000),
            1..10 => random.below(1_000_000),
            10..40 => 0,
            _ => random.below(500),
        }
        .cast_signed();
        row.push(time, time + duration, u16::try_from(random.below(12)).unwrap(), 0);
        time += duration;
    }
    let entries = row.entries().collect();
    (row, entries)
}

fn random_view(random: &mut Random, end: Nanos) -> View {
    let octave = random.below(u64::from(end.ilog2()) + 2);
    let len = i64::try_from(random.below(1 << octave)).unwrap() + 1;
    let from = i64::try_from(random.below(end.unsigned_abs())).unwrap() - len / 2;
    View { from, to: from + len, columns: 1 + u32::try_from(random.below(1500)).unwrap() }
}

fn within(view: &View, entry: &Entry) -> bool {
    entry.start < view.to && (entry.end > view.from || (entry.end == view.from && entry.start == entry.end))
}

#[test]
fn every_interval_of_a_pixel_or_more_is_found_and_nothing_else() {
    let mut random = Random::new(11);
    let mut visible = Visible::default();
    for round in 0..40 {
        let count = 1 + random.below(1 << (round % 14));
        let (row, entries) = random_row(&mut random, count);
        let end = entries.last().unwrap().end.max(1);
        for _ in 0..60 {
            let view = random_view(&mut random, end);
            row.visible(&view, end, &mut visible);
            let pixel = nanos_ceil(1.0 / view.scale());
            let wide = |(_, entry): &(u32, &Entry)| within(&view, entry) && entry.end - entry.start >= pixel;
            let expected: Vec<_> =
                (0..).zip(&entries).filter(wide).map(|(index, e)| (index, e.start, e.end, e.key)).collect();
            let found: Vec<_> = visible.spans.iter().map(|span| (span.index, span.start, span.end, span.key)).collect();
            assert_eq!(found, expected, "{view:?}");
        }
    }
}

#[test]
fn cells_cover_what_the_narrow_intervals_cover_up_to_a_pixel_at_any_column() {
    let mut random = Random::new(12);
    let mut visible = Visible::default();
    for round in 0..40 {
        let count = 1 + random.below(1 << (round % 15));
        let (row, entries) = random_row(&mut random, count);
        let end = entries.last().unwrap().end.max(1);
        for _ in 0..60 {
            let view = random_view(&mut random, end);
            if f64::from(view.columns) > (view.to - view.from) as f64 {
                continue;
            }
            row.visible(&view, end, &mut visible);
            let pixel = nanos_ceil(1.0 / view.scale());
            let mut exact = vec![0.0; view.columns as usize + 1];
            let (mut count, mut nodes) = (0u64, 0);
            for entry in entries.iter().filter(|e| within(&view, e) && e.end - e.start < pixel) {
                let (x0, x1) = (view.x(entry.start).max(0.0), view.x(entry.end).min(f64::from(view.columns)));
                let (left, right) = (column(x0) as usize, (column(x1) as usize).min(exact.len() - 1));
                exact[left] += if left == right { x1 - x0 } else { left as f64 + 1.0 - x0 };
                if right > left {
                    exact[right] += x1 - right as f64;
                }
                count += 1;
            }
            let (mut sum, mut found_sum) = (0.0, 0.0);
            let mut cells = visible.cells.iter().peekable();
            for column in 0..view.columns {
                sum += exact[column as usize];
                if let Some(cell) = cells.next_if(|cell| cell.column == column) {
                    found_sum += f64::from(cell.share);
                    nodes += u64::from(cell.count);
                    assert!((0.0..=1.0).contains(&cell.share));
                }
                assert!((sum - found_sum).abs() < 1.0 + sum * 1e-5, "column {column}: {found_sum} for {sum}, {view:?}");
            }
            assert!(cells.next().is_none(), "cells are in order and within the view: {view:?}");
            // A node at an edge of the view is counted whole: up to a pixel's worth at either end.
            assert!(nodes >= count, "{nodes} for {count}");
        }
    }
}

#[test]
fn at_a_zoom_without_nodes_every_count_and_share_is_exact() {
    let mut row = Row::new();
    for i in 0..15 {
        row.push(i * 10, i * 10 + 4, u16::try_from(i).unwrap(), 0);
    }
    let mut visible = Visible::default();
    row.visible(&View { from: 5, to: 105, columns: 5 }, 200, &mut visible);
    let cells: Vec<_> = visible.cells.iter().map(|c| (c.column, c.count, (c.share * 20.0).round(), c.first)).collect();
    // Columns of 20 ns from 5 on: 10..14 and 20..24 begin in the first, and so on.
    assert_eq!(cells, [(0, 2, 8.0, 1), (1, 2, 8.0, 3), (2, 2, 8.0, 5), (3, 2, 8.0, 7), (4, 2, 8.0, 9)]);
}

#[test]
fn the_key_of_a_cell_is_that_of_its_longest_interval() {
    let mut row = Row::new();
    for i in 0..100_000 {
        // In each 100 intervals of 5 ns one of 9 with its own key.
        let long = i % 100 == 17;
        row.push(i * 10, i * 10 + if long { 9 } else { 5 }, if long { 7 } else { 3 }, 0);
    }
    let mut visible = Visible::default();
    row.visible(&View { from: 0, to: 1_000_000, columns: 100 }, 1_000_000, &mut visible);
    assert_eq!(visible.cells.len(), 100);
    assert!(visible.cells.iter().all(|cell| cell.key == 7));
}

#[test]
fn an_open_interval_lasts_until_now() {
    let mut row = Row::new();
    row.begin(100, 4, 0);
    let mut visible = Visible::default();
    row.visible(&View { from: 0, to: 1000, columns: 100 }, 600, &mut visible);
    assert_eq!(visible.spans.iter().map(|s| (s.start, s.end, s.index)).collect::<Vec<_>>(), [(100, 600, Span::OPEN)]);
}

#[test]
fn a_view_of_less_than_a_nanosecond_per_column_shows_what_lies_there() {
    let mut row = Row::new();
    row.push(10, 10, 1, 0);
    row.push(12, 15, 2, 0);
    let mut visible = Visible::default();
    row.visible(&View { from: 9, to: 16, columns: 700 }, 100, &mut visible);
    assert_eq!(visible.cells.iter().map(|cell| (cell.column, cell.count)).collect::<Vec<_>>(), [(100, 1)]);
    assert_eq!(visible.spans.len(), 1);
}

#[test]
fn what_was_forgotten_is_still_covered_and_what_was_not_is_found_as_before() {
    let mut random = Random::new(21);
    for _ in 0..20 {
        let (mut row, entries) = random_row(&mut random, 5000);
        let end = entries.last().unwrap().end;
        let view = View { from: 0, to: end, columns: 200 };
        let mut visible = Visible::default();
        let covered = |visible: &Visible| {
            let spans = visible.spans.iter().map(|span| view.x(span.end) - view.x(span.start)).sum::<f64>();
            spans + visible.cells.iter().map(|cell| f64::from(cell.share)).sum::<f64>()
        };
        row.visible(&view, end, &mut visible);
        let before = covered(&visible);
        let forgotten = row.forget_before(end / 2);
        assert_eq!(forgotten, row.forgotten());
        assert!(forgotten % 512 == 0 && entries[..forgotten].iter().all(|entry| entry.end < end / 2));
        assert_eq!(row.entries().collect::<Vec<_>>(), entries[forgotten..]);
        assert_eq!(row.len(), entries.len());
        row.visible(&view, end, &mut visible);
        assert!((covered(&visible) - before).abs() < 0.01 * before + 0.1, "{} for {before}", covered(&visible));
        for entry in &entries[forgotten..] {
            let after = entries.partition_point(|other| other.start < entry.start);
            assert_eq!(row.first_from(entry.start), after.max(forgotten));
        }
        assert_eq!(row.first_from(0), forgotten.max(entries.partition_point(|entry| entry.start < 0)));
    }
}

#[test]
fn quiet_intervals_are_found_and_cover_nothing() {
    let mut row = Row::with_quiet(1);
    for i in 0..10_000 {
        row.push(i * 100, i * 100 + 97, 1, 0);
        row.push(i * 100 + 97, i * 100 + 100, 3, 0);
    }
    let mut visible = Visible::default();
    row.visible(&View { from: 0, to: 1_000_000, columns: 50 }, 1_000_000, &mut visible);
    assert_eq!(visible.cells.len(), 50);
    assert!(
        visible.cells.iter().all(|cell| cell.key == 3 && (cell.share - 0.03).abs() < 0.002),
        "{:?}",
        visible.cells[7]
    );
    row.visible(&View { from: 0, to: 400, columns: 100 }, 1_000_000, &mut visible);
    assert_eq!(visible.spans.iter().filter(|span| span.key == 1).count(), 4);
}
