//! What is left of a guest that was booted and that nobody can ask any more: an image of its memory, from which the command reads
//! what a collector had read while the guest ran.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod machine;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fata_collector::collector::Poll;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::{Collector, Options};
use fata_tests::image;
use fata_wire::packet::Packet;
use machine::Machine;

const PATIENCE: Duration = Duration::from_secs(60);

/// One event: its time, callsite, narrow field, and payload.
type Event = (u64, u16, u16, Vec<u8>);

/// The events of a trace by stream, in their order.
fn events(trace: &Path) -> BTreeMap<String, Vec<Event>> {
    let files = std::fs::read_dir(trace).unwrap().map(|entry| entry.unwrap().path());
    let streams = files.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)));
    let streams = streams.filter(|(name, _)| name.starts_with("stream_"));
    streams
        .map(|(name, path)| {
            let (bytes, mut events) = (std::fs::read(path).unwrap(), Vec::new());
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let packet = Packet::parse(rest).unwrap();
                events.extend(packet.events().map(|event| {
                    let event = event.unwrap();
                    (event.ticks, event.id.0, event.arg, event.payload.to_vec())
                }));
                rest = &rest[packet.bytes.len()..];
            }
            (name, events)
        })
        .collect()
}

/// QEMU's monitor.
struct Monitor(UnixStream);

impl Monitor {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Monitor(stream);
        monitor.execute("qmp_capabilities", "");
        monitor
    }

    /// Executes a command and waits until it is done.
    fn execute(&mut self, command: &str, arguments: &str) {
        let line = format!("{{\"execute\":\"{command}\",\"arguments\":{{{arguments}}}}}\n");
        self.0.write_all(line.as_bytes()).unwrap();
        let (mut answer, mut byte) = (String::new(), [0]);
        // Greetings and events are lines of their own.
        while !answer.contains("\"return\"") {
            answer.clear();
            while !answer.ends_with('\n') {
                self.0.read_exact(&mut byte).unwrap();
                answer.push(char::from(byte[0]));
            }
            assert!(!answer.contains("\"error\""), "{command}: {answer}");
        }
    }
}

#[test]
fn the_command_reads_from_a_dump_of_a_booted_guest_every_event_that_a_collector_had_read() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (socket, netdev) = (dir.path().join("qmp"), format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80"));
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let more = ["-netdev", &netdev, "-device", "virtio-net-device,netdev=net", "-qmp", &qmp];
    let Some(machine) = Machine::boot("microvm", "sample=http", &more) else { return };
    machine.wait_for("listening on port 80", PATIENCE);
    let collected = dir.path().join("collected");
    let mut sink = DirectorySink::open(&collected, directory::Options::default()).unwrap();
    let mut collector = Collector::attach(&machine.guest(), &Options::default(), &[]).unwrap();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..20 {
        connection.write_all(b"GET /health HTTP/1.1\r\nHost: guest\r\n\r\n").unwrap();
        assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
        collector.poll(&mut sink).unwrap();
    }
    let quiet = Instant::now() + Duration::from_millis(500);
    while Instant::now() < quiet {
        assert!(!matches!(collector.poll(&mut sink).unwrap(), Poll::Ended(_)));
    }
    let mut monitor = Monitor::connect(&socket);
    monitor.execute("stop", "");
    collector.leave(&mut sink).unwrap();
    drop(sink);
    let read = events(&collected);
    assert!(read.values().map(Vec::len).sum::<usize>() > 200, "{read:?}");
    assert!(read.values().filter(|events| !events.is_empty()).count() > 1, "the log has streams of its own");

    let (elf, raw) = (dir.path().join("elf"), dir.path().join("raw"));
    monitor.execute("dump-guest-memory", &format!("\"paging\":false,\"protocol\":\"file:{}\"", elf.display()));
    monitor.execute("pmemsave", &format!("\"val\":0,\"size\":{},\"filename\":\"{}\"", 64 << 20, raw.display()));
    // The guest and its memory are gone: the images are all that is left.
    drop(machine);
    for image in [&elf, &raw] {
        let trace = image.with_extension("trace");
        let output = Command::new(image::slim_fata())
            .args(["collect", "--from-memory"])
            .arg(image)
            .arg("-o")
            .arg(&trace)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("the guest was running when its memory was copied; 0 of its records"), "{said}");
        assert!(events(&trace) == read, "{} holds other events than were collected: {said}", image.display());
    }
}
