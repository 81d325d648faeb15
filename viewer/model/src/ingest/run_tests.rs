//! Runs against the slow way: each event by itself.

use fata_wire::packet::HEADER_BYTES;

use super::{Ingest, Limits};
use crate::random::Random;
use crate::synthetic::Synthetic;
use crate::trace::{Series, Trace};

/// All there is in a trace.
fn picture(trace: &Trace) -> Vec<String> {
    let mut lines = vec![format!("{:?}", trace.stats())];
    for track in trace.tracks() {
        let data = match &track.series {
            Series::Row(row) => format!("{:?} {:?}", row.entries().collect::<Vec<_>>(), row.open()),
            Series::Samples(samples) => format!("{:?}", samples.samples().collect::<Vec<_>>()),
        };
        lines.push(format!("{:?}: {data}", track.kind));
    }
    lines.extend(trace.flows().arrows(i64::MIN, i64::MAX).map(|arrow| format!("{arrow:?}")));
    for stream in trace.streams() {
        lines.push(format!("{:?}", trace.wakes(stream.cpu, i64::MIN, i64::MAX).collect::<Vec<_>>()));
    }
    lines
}

#[test]
fn a_trace_is_the_same_whether_spans_are_taken_in_runs_or_one_by_one_whatever_the_bytes() {
    let mut random = Random::new(31);
    for round in 0..120u64 {
        let synthetic = Synthetic { spans: 1500, tasks: 5, packet_bytes: 4096, seed: round };
        let mut fast = Ingest::new(Limits::default());
        let mut slow = Ingest::new(Limits::default());
        slow.one_by_one = true;
        for ingest in [&mut fast, &mut slow] {
            ingest.metadata(&synthetic.metadata()).unwrap();
        }
        let mut packets = 0;
        synthetic.packets(|packet| {
            let mut packet = packet.to_vec();
            packets += 1;
            // Clean ones; such with events of anything; gaps; streams that take turns, some of them back in time.
            for _ in 0..if round % 4 == 1 { random.below(1 << (round % 8)) } else { 0 } {
                let at = HEADER_BYTES + usize::try_from(random.below((packet.len() - HEADER_BYTES) as u64)).unwrap();
                packet[at] = u8::try_from(random.below(256)).unwrap();
            }
            if round % 4 == 3 {
                packet[fata_wire::packet::at::CPU_ID] = u8::try_from(random.below(2)).unwrap();
            }
            if round % 4 < 2 || random.below(8) > 0 {
                let results = [fast.packet(&packet), slow.packet(&packet)];
                assert_eq!(results[0], results[1]);
            }
            if packets % 8 == 0 {
                assert_eq!(picture(fast.trace()), picture(slow.trace()), "round {round}, packet {packets}");
            }
            true
        });
        assert_eq!(picture(&fast.finish()), picture(&slow.finish()), "round {round}");
    }
}
