//! Whatever the way, what a window is given is what was recorded beside it: the same events, the same account.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use fata_collector::frames::{PROTOCOL, encode};
use fata_collector::serve::Server;
use fata_collector::sink::directory;
use fata_model::ingest::{Ingest, Limits};
use fata_model::source;
use fata_model::stats::Stats;
use fata_probe::instant;
use fata_probe::region::Region;
use fata_wire::shared::State;

use self::common::{TempDir, install, small};
use super::*;

#[path = "../../../collector/tests/common/mod.rs"]
mod common;

/// Several times what the ring holds.
const EVENTS: u64 = 60_000;

/// The guest works, slowly enough for a collector, and ends.
fn work(region: &'static Region) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let attached = region.attach(0).unwrap();
        for i in 0..EVENTS {
            instant!("live.event", i = i);
            if i % 1000 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        drop(attached);
        region.finish(State::Exited, "");
    })
}

/// Everything that a window would read, and the last thing that is said beside it.
fn watch(mut live: Live) -> (Stats, String) {
    let mut ingest = Ingest::new(Limits::default());
    source::read_into(&mut source::from_read("live", live.stream.take().unwrap()).unwrap(), &mut ingest).unwrap();
    let ended = live.said.take().unwrap().iter().find_map(|said| match said {
        Said::Ended(why) => Some(why),
        Said::Guest(_) => None,
    });
    (Stats::of(&ingest.finish()), ended.unwrap())
}

fn recorded(dir: &TempDir) -> Stats {
    Stats::of(&source::load(&dir.join("trace"), Limits::default()).unwrap())
}

fn recording(dir: &TempDir) -> DirectorySink {
    DirectorySink::open(&dir.join("trace"), directory::Options::default()).unwrap()
}

#[test]
fn of_a_guest_a_window_is_given_what_is_recorded() {
    let dir = TempDir::new("live-guest");
    let (path, region) = install(&dir.0, "live", &small(64));
    let live = Live::collect(&common::guest(&path), Some(recording(&dir)), Stop::listen().unwrap(), || unreachable!())
        .unwrap();
    let work = work(region);
    let (seen, ended) = watch(live);
    work.join().unwrap();
    assert_eq!((seen.events_total + seen.discarded.total, ended.as_str()), (EVENTS, "the guest ended"));
    assert_eq!(seen, recorded(&dir));
}

/// What a viewer is given that comes by `connect` to a server which records beside it.
fn served(name: &str, connect: impl FnOnce(&mut Server, &Path) -> Live) {
    let dir = TempDir::new(name);
    let (path, region) = install(&dir.0, name, &small(64));
    let mut collector = Collector::attach(&common::guest(&path), &Options::default(), &[]).unwrap();
    let mut server = Server::new(name, "host", collector.uuid());
    let live = connect(&mut server, &dir.join("socket"));
    let mut recording = recording(&dir);
    let serving = std::thread::spawn(move || {
        let end = collector.run(&mut Tee(&mut recording, &mut server), &mut |_| true).unwrap();
        server.end(&end.to_string());
    });
    let work = work(region);
    let (seen, ended) = watch(live);
    work.join().unwrap();
    serving.join().unwrap();
    assert_eq!((seen.events_total + seen.discarded.total, ended.as_str()), (EVENTS, "the guest ended"));
    assert_eq!(seen, recorded(&dir));
}

#[test]
fn of_a_socket_a_window_is_given_what_is_recorded() {
    served("live-socket", |server, path| {
        server.listen_unix(path).unwrap();
        Live::connect_unix(path).unwrap()
    });
}

#[test]
fn of_a_port_on_loopback_a_window_is_given_what_is_recorded() {
    served("live-port", |server, _| {
        let address = server.listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        Live::connect(TcpStream::connect(address).unwrap()).unwrap()
    });
}

#[test]
fn what_was_left_out_for_a_window_is_counted_and_a_server_that_dies_is_missed() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let live = Live::connect(ours).unwrap();
    let (guest, platform) = ("lossy".into(), "host".into());
    let hello = Frame::Hello { protocol: PROTOCOL, format: fata_wire::VERSION, guest, platform, uuid: [0; 16] };
    let lost = |packets| Frame::Lost { packets, events: 100, bytes: 4096 };
    let mut frames = Vec::new();
    [hello, lost(3), lost(4)].iter().for_each(|frame| encode(frame, &mut frames));
    theirs.write_all(&frames).unwrap();
    drop(theirs);
    let said: Vec<_> = live.said.as_ref().unwrap().iter().collect();
    assert_eq!(live.lost_packets(), 7);
    assert!(matches!(&said[1], Said::Guest(words) if words.contains("7 packets came too fast")));
    assert!(matches!(&said[2], Said::Ended(words) if words == "the collector is gone"));
    assert_eq!(said.len(), 3);
}
