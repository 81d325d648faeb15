//! Live viewers: a slow one loses packets of its own, and the others and the recording lose nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(test)]
mod common;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{TempDir, guest, install, read_dir, read_stream, small};
use fata_collector::frames::{Frame, Reader};
use fata_collector::serve::{HISTORY_BYTES, MAX_VIEWERS, QUEUE_BYTES, Server};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::sink::tee::Tee;
use fata_collector::{Collector, End, Options};
use fata_probe::instant;
use fata_wire::packet::metadata_packet;
use fata_wire::shared::State;

/// What a viewer was sent, as a trace stream, and what it was told.
#[derive(Default)]
struct Seen {
    stream: Vec<u8>,
    lost_events: u64,
    lost_packets: u64,
    end: String,
}

fn watch(socket: UnixStream) -> Seen {
    let mut seen = Seen::default();
    let mut reader = Reader::new(socket);
    while let Some(frame) = reader.next_frame().unwrap() {
        match frame {
            Frame::Metadata(text) => {
                seen.stream.extend(metadata_packet::header([0; 16], text.len()));
                seen.stream.extend(text.iter());
            }
            Frame::Packet(bytes) => seen.stream.extend(bytes.iter()),
            Frame::Lost { packets, events, .. } => {
                seen.lost_packets += packets;
                seen.lost_events += events;
            }
            Frame::End { reason } => seen.end = reason.into_owned(),
            Frame::Hello { .. } | Frame::Status { .. } => {}
        }
    }
    seen
}

#[test]
fn a_slow_viewer_loses_whole_packets_and_is_told_and_nobody_else_loses_anything() {
    let dir = TempDir::new("viewers");
    let (path, region) = install(&dir.0, "viewers", &small(64));
    let out = dir.join("trace");
    let mut recording = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    let mut server = Server::new("viewers", "host", collector.uuid());
    let (fast_end, fast) = UnixStream::pair().unwrap();
    let (slow_end, slow) = UnixStream::pair().unwrap();
    server.add(fast_end).unwrap();
    server.add(slow_end).unwrap();
    let fast = std::thread::spawn(move || watch(fast));
    let attached = region.attach(0).unwrap();
    let produced = QUEUE_BYTES as u64 / 4;
    for i in 0..produced {
        instant!("viewers.event", i = i);
        if i % 5_000 == 0 {
            collector.poll(&mut Tee(&mut recording, &mut server)).unwrap();
            // The fast one gets the time to read; the slow one does not read at all.
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let slow = std::thread::spawn(move || watch(slow));
    std::thread::sleep(Duration::from_millis(300));
    region.finish(State::Exited, "");
    drop(attached);
    let end = collector.run(&mut Tee(&mut recording, &mut server), &mut |_| true).unwrap();
    assert_eq!(end, End::Exited);
    server.end(&end.to_string());
    let recorded = read_dir(&out);
    assert_eq!((recorded.events, recorded.discarded_in_all()), (produced, 0));
    let fast = fast.join().unwrap();
    assert_eq!(read_stream(&fast.stream), recorded);
    assert_eq!((fast.lost_packets, fast.end.as_str()), (0, "the guest ended"));
    let slow = slow.join().unwrap();
    assert!(slow.lost_packets > 0);
    assert_eq!(slow.end, "the guest ended");
    let events = fata_events(&slow.stream);
    assert_eq!(events + slow.lost_events, produced);
    assert_eq!(server.lost(), slow.lost_packets);
}

/// Events in a stream that has gaps.
fn fata_events(mut bytes: &[u8]) -> u64 {
    let mut events = 0;
    while !bytes.is_empty() {
        let len = match metadata_packet::parse(bytes) {
            Ok((_, len)) => len,
            Err(_) => {
                let packet = fata_wire::packet::Packet::parse(bytes).unwrap();
                events += packet.header.events;
                packet.bytes.len()
            }
        };
        bytes = &bytes[len..];
    }
    events
}

#[test]
fn a_viewer_that_comes_late_begins_with_the_newest_packets_before_it_and_lacks_none_after() {
    let dir = TempDir::new("late");
    let (path, region) = install(&dir.0, "late", &small(64));
    let mut server = Server::new("late", "host", [0; 16]);
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    let attached = region.attach(0).unwrap();
    let produced = HISTORY_BYTES as u64 / 8;
    for i in 0..produced {
        instant!("late.event", i = i);
        if i % 2_000 == 0 {
            collector.poll(&mut server).unwrap();
        }
    }
    let (end, late) = UnixStream::pair().unwrap();
    server.add(end).unwrap();
    let late = std::thread::spawn(move || watch(late));
    for i in 0..1_000u64 {
        instant!("late.event", i = produced + i);
    }
    region.finish(State::Exited, "");
    drop(attached);
    let end = collector.run(&mut server, &mut |_| true).unwrap();
    server.end(&end.to_string());
    let late = late.join().unwrap();
    let read = read_stream(&late.stream);
    assert_eq!(late.lost_packets, 0);
    assert_eq!(read.values.last(), Some(&(produced + 999)));
    let first = read.values[0];
    assert!(first > 0 && read.values.iter().copied().eq(first..produced + 1_000), "from {first} on, none is missing");
    // Each event takes 16 bytes.
    let history = (produced - first) * 16;
    assert!((HISTORY_BYTES as u64 * 3 / 4..=HISTORY_BYTES as u64).contains(&history), "{history}");
}

#[test]
fn one_viewer_too_many_is_turned_away_with_a_sentence() {
    let mut server = Server::new("crowd", "host", [0; 16]);
    let mut ends = Vec::new();
    for _ in 0..=MAX_VIEWERS {
        let (end, viewer) = UnixStream::pair().unwrap();
        server.add(end).unwrap();
        ends.push(viewer);
    }
    assert_eq!(server.viewers(), MAX_VIEWERS);
    let last = watch(ends.pop().unwrap());
    assert!(last.end.contains("viewers look on already"), "{}", last.end);
}

#[test]
fn a_socket_that_is_served_already_is_not_taken_and_a_dead_one_is() {
    let dir = TempDir::new("socket");
    let path = dir.join("x.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut server = Server::new("socket", "host", [0; 16]);
    server.listen_unix(&path).unwrap();
    let error = Server::new("socket", "host", [0; 16]).listen_unix(&path).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    drop(server);
    assert!(!path.exists());
    let error = Server::new("x", "host", [0; 16]).listen_tcp("0.0.0.0:0".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("loopback"), "{error}");
}
