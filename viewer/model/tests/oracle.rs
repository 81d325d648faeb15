//! The model against naive ones: whose time a span has, that live and read back are one trace, that forged bytes do no harm.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod common;

use std::collections::HashMap;

use common::{A, B, C, Guest, HEAP, IRQ, PENDING, POLL, metadata, picture};
use fata_model::columns::Row;
use fata_model::ingest::{Ingest, Limits};
use fata_model::lod::{View, Visible};
use fata_model::random::Random;
use fata_model::synthetic::Synthetic;
use fata_model::trace::{Trace, TrackId, TrackKind};
use fata_wire::packet::HEADER_BYTES;

/// An open span of the naive model.
struct Open {
    callsite: u16,
    start: u64,
}

/// Whose time each nanosecond was: the innermost span of the task that holds it, or nobody's while an interrupt runs.
#[derive(Default)]
struct Naive {
    total: HashMap<u16, u64>,
    own: HashMap<u16, u64>,
    count: HashMap<u16, u64>,
}

#[test]
fn total_and_self_times_are_those_of_a_model_that_looks_at_every_interval_between_events() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut guest = Guest::new();
        let mut naive = Naive::default();
        let mut stacks: [Vec<Open>; 4] = Default::default();
        let (mut current, mut in_irq, mut irq_start) = (0, false, 0);
        guest.event(PENDING, 1);
        for _ in 0..400 {
            let step = random.below(50);
            // What passes until the next event belongs to the innermost span of every stack that an interrupt does not
            // lie over (it lies over the current task and over the vCPU's own spans): a span that is held while its task does not
            // run goes on.
            let from = guest.now - 10;
            guest.now = from + step;
            for (task, stack) in stacks.iter().enumerate() {
                if let Some(top) = stack.last()
                    && !(in_irq && (task == current || task == 0))
                {
                    *naive.own.entry(top.callsite).or_default() += step;
                }
            }
            let now = guest.now;
            let stack = &mut stacks[current];
            match random.below(10) {
                0..4 if !in_irq && stack.len() < 8 => {
                    let callsite = [A, B, C, HEAP][usize::try_from(random.below(4)).unwrap()];
                    stack.push(Open { callsite, start: now });
                    *naive.count.entry(callsite).or_default() += 1;
                    guest.begin(callsite);
                }
                4..8 if !in_irq && !stack.is_empty() => {
                    // Mostly the innermost, now and then another whose callsite is not also above it.
                    let any = usize::try_from(random.below(stack.len() as u64)).unwrap();
                    let index = if random.below(5) == 0 { any } else { stack.len() - 1 };
                    let callsite = stack[index].callsite;
                    let index = stack.iter().rposition(|open| open.callsite == callsite).unwrap();
                    let open = stack.remove(index);
                    *naive.total.entry(callsite).or_default() += now - open.start;
                    guest.end(callsite);
                }
                8 if current != 0 => {
                    if in_irq {
                        *naive.total.entry(IRQ).or_default() += now - irq_start;
                        *naive.own.entry(IRQ).or_default() += now - irq_start;
                        guest.end(IRQ);
                    } else {
                        irq_start = now;
                        *naive.count.entry(IRQ).or_default() += 1;
                        guest.begin(IRQ);
                    }
                    in_irq = !in_irq;
                }
                9 if !in_irq => {
                    current = 1 + usize::try_from(random.below(3)).unwrap();
                    guest.event(POLL, u16::try_from(current).unwrap());
                }
                _ => guest.now += 10,
            }
        }
        // The moment of the last event: nothing passes any more.
        guest.now -= 10;
        let now = guest.now;
        if in_irq {
            *naive.total.entry(IRQ).or_default() += now - irq_start;
            *naive.own.entry(IRQ).or_default() += now - irq_start;
            guest.end(IRQ);
        }
        // Nothing stays open, so that every own time can be compared; it all happens in one instant.
        for (task, stack) in (0u16..).zip(&mut stacks) {
            guest.now = now;
            guest.event(if task == 0 { PENDING } else { POLL }, task);
            while let Some(open) = stack.pop() {
                *naive.total.entry(open.callsite).or_default() += now - open.start;
                guest.now = now;
                guest.end(open.callsite);
            }
        }
        let stats = guest.trace().stats();
        assert_eq!(stats.warnings, [""; 0]);
        for (callsite, name) in [(A, "app.a"), (B, "app.b"), (C, "net.c"), (HEAP, "heap.refill"), (IRQ, "irq.timer")] {
            let Some(found) = stats.callsites.iter().find(|c| c.name == name) else { continue };
            let of = |map: &HashMap<u16, u64>| map.get(&callsite).copied().unwrap_or(0);
            assert_eq!(found.total_ns.unsigned_abs(), of(&naive.total), "{name}, seed {seed}");
            assert_eq!(found.self_ns.unsigned_abs(), of(&naive.own), "{name}, seed {seed}");
            assert_eq!((found.count, found.open), (of(&naive.count), 0), "{name}, seed {seed}");
        }
    }
}

fn synthetic() -> (Synthetic, Vec<Vec<u8>>) {
    let synthetic = Synthetic { spans: 3000, tasks: 7, packet_bytes: 4096, seed: 5 };
    let mut packets = Vec::new();
    synthetic.packets(|packet| {
        packets.push(packet.to_vec());
        true
    });
    (synthetic, packets)
}

fn batch(synthetic: &Synthetic, packets: &[Vec<u8>]) -> Trace {
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&synthetic.metadata()).unwrap();
    packets.iter().for_each(|packet| ingest.packet(packet).unwrap());
    ingest.finish()
}

#[test]
fn a_trace_that_is_looked_at_after_every_packet_is_the_trace_that_is_read_at_once() {
    let (synthetic, packets) = synthetic();
    let whole = batch(&synthetic, &packets);
    let mut live = Ingest::new(Limits::default());
    // The metadata comes in pieces, the clock's line among the first.
    for piece in synthetic.metadata().as_bytes().chunks(100) {
        live.metadata(std::str::from_utf8(piece).unwrap()).unwrap();
    }
    let mut visible = Visible::default();
    for (count, packet) in (1..).zip(&packets) {
        live.packet(packet).unwrap();
        let view = View { from: 0, to: live.trace().end().max(1), columns: 100 };
        for (id, _) in (0..).map(TrackId).zip(live.trace().tracks()) {
            live.trace().visible(id, &view, &mut visible);
        }
        if count % 10 == 0 {
            let prefix = batch(&synthetic, &packets[..count]);
            assert_eq!(live.trace().stats(), prefix.stats());
            assert_eq!(picture(live.trace()), picture(&prefix));
        }
    }
    assert_eq!(picture(live.trace()), picture(&whole));
    assert_eq!(live.trace().stats(), whole.stats());
}

#[test]
fn a_synthetic_trace_has_the_spans_it_was_asked_for_and_nothing_wrong_with_it() {
    let (synthetic, packets) = synthetic();
    let trace = batch(&synthetic, &packets);
    assert_eq!(trace.warnings().collect::<Vec<_>>(), [""; 0]);
    let stats = trace.stats();
    let spans: u64 = stats.callsites.iter().filter(|c| c.kind == "span").map(|c| c.count).sum();
    assert_eq!(spans, 3000);
    assert_eq!(stats.tasks.len(), 7);
    let in_rows: usize = trace
        .tracks()
        .iter()
        .filter(|track| matches!(track.kind, TrackKind::TaskSpans { .. } | TrackKind::CpuSpans { .. }))
        .filter_map(|track| track.row())
        .map(|row| row.len() + usize::from(row.open().is_some()))
        .sum();
    assert_eq!(in_rows, 3000);
    // Every task's life is accounted for from its spawn to the end.
    for task in &stats.tasks {
        let life = task.running_ns + task.ready_ns + task.idle_ns;
        let spawned = trace.tasks()[usize::from(task.id) - 1].spawned.unwrap();
        assert_eq!(life, trace.end() - spawned, "{}", task.id);
    }
}

#[test]
fn forged_packets_are_counted_and_never_a_panic() {
    let (synthetic, packets) = synthetic();
    let mut random = Random::new(99);
    for round in 0..300 {
        let limits = Limits { intervals: 5000, tracks: 50, tasks: 20, gaps: 10, flow_points: 10, ..Limits::default() };
        let mut ingest = Ingest::new(limits);
        ingest.metadata(&synthetic.metadata()).unwrap();
        for packet in &packets {
            let mut packet = packet.clone();
            for _ in 0..random.below(1 << (round % 10)) {
                // Headers of events more than headers of packets, which are mostly refused.
                let from = if random.below(20) == 0 { 0 } else { HEADER_BYTES };
                let at = from + usize::try_from(random.below((packet.len() - from) as u64)).unwrap();
                packet[at] = u8::try_from(random.below(256)).unwrap();
            }
            let _ = ingest.packet(&packet);
        }
        let trace = ingest.trace();
        assert!(trace.tracks().len() <= 50 && trace.tasks().len() <= 20 && trace.gaps().len() <= 10);
        let mut visible = Visible::default();
        let view = View { from: 0, to: trace.end().max(1), columns: 50 };
        for (id, track) in (0..).map(TrackId).zip(trace.tracks()) {
            trace.visible(id, &view, &mut visible);
            let index = trace.entry_at(id, trace.end() / 2).unwrap_or(0);
            let _ = (trace.details(id, index), trace.track_label(track.kind));
        }
        let _ = (trace.stats(), trace.search("http", 10), trace.warnings().count());
    }
}

#[test]
fn random_bytes_as_metadata_and_packets_are_refused_with_a_sentence() {
    let mut random = Random::new(7);
    for _ in 0..2000 {
        let len = usize::try_from(random.below(600)).unwrap();
        let bytes: Vec<u8> = (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        let mut ingest = Ingest::new(Limits::default());
        let _ = ingest.metadata(&String::from_utf8_lossy(&bytes));
        ingest.metadata(&metadata(&common::CLOCK)).unwrap();
        let error = ingest.packet(&bytes).unwrap_err();
        assert!(error.to_string().contains("packet"), "{error}");
    }
}

#[test]
fn what_does_not_fit_the_limits_is_counted_and_said() {
    let (synthetic, packets) = synthetic();
    let mut ingest = Ingest::new(Limits { intervals: 100, ..Limits::default() });
    ingest.metadata(&synthetic.metadata()).unwrap();
    packets.iter().for_each(|packet| ingest.packet(packet).unwrap());
    let trace = ingest.finish();
    let kept: usize = trace.tracks().iter().filter_map(|track| track.row()).map(Row::len).sum();
    assert!(kept <= 100);
    assert!(trace.warnings().any(|warning| warning.contains("did not fit the memory limit")));
    let spans: u64 = trace.stats().callsites.iter().filter(|c| c.kind == "span").map(|c| c.count).sum();
    assert_eq!(spans, 3000, "statistics do not depend on what is shown");
}

#[test]
fn packets_that_come_before_the_clock_is_known_wait_for_it() {
    let (synthetic, packets) = synthetic();
    let booting = synthetic.metadata().replace("/* fata clock 2500000000 ", "/* fata clock 0 ");
    let clock = synthetic.metadata().lines().find(|line| line.starts_with("/* fata clock")).unwrap().to_owned();
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&booting).unwrap();
    ingest.packet(&packets[0]).unwrap();
    assert_eq!(ingest.trace().events_total(), 0);
    ingest.metadata(&format!("{clock}\n")).unwrap();
    assert!(ingest.trace().events_total() > 0);
    packets[1..].iter().for_each(|packet| ingest.packet(packet).unwrap());
    assert_eq!(picture(&ingest.finish()), picture(&batch(&synthetic, &packets)));
}

#[test]
fn a_clock_that_never_becomes_known_counts_ticks_as_nanoseconds_and_says_so() {
    let (synthetic, packets) = synthetic();
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&synthetic.metadata().replace("/* fata clock 2500000000 ", "/* fata clock 0 ")).unwrap();
    packets.iter().for_each(|packet| ingest.packet(packet).unwrap());
    let trace = ingest.finish();
    let known = batch(&synthetic, &packets);
    assert_eq!(trace.end() * 2 / 5, known.end());
    assert!(trace.warnings().any(|warning| warning.contains("ticks are shown as nanoseconds")));
}

#[test]
fn a_packet_that_comes_twice_or_late_or_from_another_recording_is_left_out() {
    let (synthetic, packets) = synthetic();
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&synthetic.metadata()).unwrap();
    ingest.packet(&packets[0]).unwrap();
    ingest.packet(&packets[1]).unwrap();
    let before = ingest.trace().stats();
    for again in [&packets[0], &packets[1]] {
        assert!(ingest.packet(again).unwrap_err().to_string().contains("it was left out"));
    }
    let mut foreign = packets[2].clone();
    foreign[4] ^= 1;
    assert!(ingest.packet(&foreign).unwrap_err().to_string().contains("another recording"));
    assert_eq!(ingest.trace().stats(), before);
}

#[test]
fn a_long_trace_keeps_its_newest_intervals_and_an_overview_of_all() {
    let synthetic = Synthetic { spans: 200_000, tasks: 4, packet_bytes: 65536, seed: 8 };
    let mut packets = Vec::new();
    synthetic.packets(|packet| {
        packets.push(packet.to_vec());
        true
    });
    let whole = batch(&synthetic, &packets);
    let limit = 100_000;
    let mut ingest = Ingest::new(Limits { intervals: limit, field_bytes: 1 << 20, ..Limits::default() });
    ingest.metadata(&synthetic.metadata()).unwrap();
    let mut most = 0;
    for packet in &packets {
        ingest.packet(packet).unwrap();
        most = most.max(ingest.trace().memory_bytes());
    }
    let trace = ingest.finish();
    assert!(most < whole.memory_bytes() * 3 / 4, "{most} of {}", whole.memory_bytes());
    let detail_from = trace.detail_from().unwrap();
    assert!(trace.warnings().any(|warning| warning.contains("kept as an overview only")));
    assert!(!trace.warnings().any(|warning| warning.contains("did not fit")), "nothing new was refused");
    let (mut ours, mut theirs) = (Visible::default(), Visible::default());
    for (id, track) in (0..).map(TrackId).zip(whole.tracks()) {
        let (Some(row), Some(kept)) = (track.row(), trace.track(id).and_then(|track| track.row())) else { continue };
        assert_eq!(kept.len(), row.len());
        let newest = |row: &Row| {
            let entries = row.entries().filter(|entry| entry.start >= detail_from);
            entries.map(|entry| (entry.start, entry.end, entry.key)).collect::<Vec<_>>()
        };
        assert_eq!(newest(kept), newest(row));
        let view = View { from: 0, to: whole.end(), columns: 50 };
        trace.visible(id, &view, &mut ours);
        whole.visible(id, &view, &mut theirs);
        let share = |visible: &Visible| {
            let spans =
                visible.spans.iter().map(|span| view.x(span.end.min(view.to)) - view.x(span.start)).sum::<f64>();
            spans + visible.cells.iter().map(|cell| f64::from(cell.share)).sum::<f64>()
        };
        assert!((share(&ours) - share(&theirs)).abs() < 1.0, "{:?}", track.kind);
    }
    let (mut our, mut their) = (trace.stats(), whole.stats());
    our.warnings.clear();
    their.warnings.clear();
    assert_eq!(our, their, "statistics do not depend on what is shown");
}
