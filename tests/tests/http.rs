//! The `http` sample as a host guest: ordinary clients reach it through its own TCP/IP, and its trace knows every request.
//!
//! The tests start this program again with the one test `guest_process`, which becomes the guest.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use fata_collector::sink::stream::StreamSink;
use fata_collector::source::Guest;
use fata_collector::{Collector, Options};
use fata_model::stats::Stats;

#[global_allocator]
static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;

#[test]
#[ignore = "becomes the guest; the other tests start it"]
fn guest_process() {
    let Ok(args) = env::var("TEST_ARGS") else { return };
    let sample = fata_samples::find("http").unwrap();
    fata_kernel::platform::boot::start(sample.name, &args, sample.main);
}

/// A running guest, its ring directory, and where it is published. Killed when dropped.
struct Server {
    process: Child,
    rings: tempfile::TempDir,
    address: SocketAddr,
}

impl Server {
    /// Starts the guest, which ends after `requests`.
    fn start(requests: usize) -> Self {
        let rings = tempfile::tempdir().unwrap();
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["guest_process", "--exact", "--ignored", "--nocapture"])
            .env("TEST_ARGS", format!("publish=0:80 requests={requests}"))
            .env("FATA_DIR", rings.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut console = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = console.find(|line| line.starts_with("published ")).unwrap();
        let address = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(console.any(|line| line == "http: listening on port 80"));
        Server { process, rings, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The processor time it has used, all threads together, in ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The command's name, in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Waits until the guest has ended by itself; what its trace says then.
    fn trace(mut self) -> Stats {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "the guest waits for more requests than there were");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
        let ring = fs::read_dir(self.rings.path()).unwrap().next().unwrap().unwrap().path();
        let guest = Guest::at(&ring).unwrap();
        let mut sink = StreamSink::new(Vec::new(), "test");
        let mut collector = Collector::attach(&guest, &Options { snapshot: true, ..Options::default() }, &[]).unwrap();
        collector.run(&mut sink, &mut |_| false).unwrap();
        let stream = self.rings.path().join("stream");
        fs::write(&stream, sink.into_inner()).unwrap();
        Stats::of(&fata_model::source::load(&stream, Default::default()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(stream: &mut TcpStream, path: &str) {
    // In one piece: the operating system would hold the second back for the acknowledgement of the first.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n").as_bytes()).unwrap();
}

/// The status and the body of the next answer.
fn answer(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

fn count(stats: &Stats, name: &str) -> u64 {
    stats.callsites.iter().filter(|callsite| callsite.name == name).map(|callsite| callsite.count).sum()
}

#[test]
fn every_request_is_one_span_until_its_answer_is_acknowledged_and_nothing_is_discarded() {
    let server = Server::start(65);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            std::thread::spawn(move || {
                for path in ["/", "/health", "/big", "/nowhere"].into_iter().cycle().take(16) {
                    ask(&mut stream, path);
                    let (status, body) = answer(&mut stream);
                    let expected = match path {
                        "/" => (200, 23),
                        "/health" => (200, 3),
                        "/big" => (200, 100 * 1024),
                        _ => (404, 36),
                    };
                    assert_eq!((status, body.len()), expected, "{path}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let mut stream = server.connect();
    ask(&mut stream, "/slow");
    assert_eq!(answer(&mut stream).0, 200);
    let stats = server.trace();
    let request = stats.callsites.iter().find(|callsite| callsite.name == "http.request").unwrap();
    assert_eq!((request.count, request.open, request.uncertain), (65, 0, 0));
    assert!(request.max_ns >= 20_000_000, "the slow answer took {} ns", request.max_ns);
    assert!(request.p50_ns < 20_000_000, "half of the answers took more than {} ns", request.p50_ns);
    assert_eq!((count(&stats, "http.respond"), count(&stats, "boot.first_request")), (65, 1));
    assert_eq!(stats.tasks.iter().filter(|task| task.name == "http.connection").count(), 5);
    assert_eq!(stats.tasks.iter().filter(|task| task.name == "http.pipelined").count(), 0);
    assert_eq!((stats.discarded.total, stats.gaps.len()), (0, 0));
    assert!(count(&stats, "net.read") >= 65 && count(&stats, "net.write") >= 65);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_have_a_span_each() {
    const PATHS: [&str; 6] = ["/", "/slow", "/nowhere", "/big", "/health", "/"];
    let server = Server::start(PATHS.len() * 3);
    let mut stream = server.connect();
    for round in 0..3 {
        let requests: String = PATHS.iter().map(|path| format!("GET {path} HTTP/1.1\r\n\r\n")).collect();
        // Cut in the middle of a request.
        let (first, rest) = requests.split_at(20 + 7 * round);
        stream.write_all(first.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        stream.write_all(rest.as_bytes()).unwrap();
        for path in PATHS {
            let (status, body) = answer(&mut stream);
            let expected: (u16, &[u8]) = match path {
                "/" => (200, b"hello from a unikernel\n"),
                "/slow" => (200, b"that took 20 ms\n"),
                "/health" => (200, b"ok\n"),
                "/big" => (200, &[b'.'; 100 * 1024]),
                _ => (404, b"there is /, /big, /slow and /health\n"),
            };
            assert!((status, &body[..]) == expected, "{path}: {status}, {} bytes", body.len());
        }
    }
    let stats = server.trace();
    let request = stats.callsites.iter().find(|callsite| callsite.name == "http.request").unwrap();
    assert_eq!((request.count, request.open), (18, 0));
    assert!(stats.tasks.iter().any(|task| task.name == "http.pipelined"), "{:?}", stats.tasks);
}

#[test]
fn what_is_no_request_is_refused_and_the_connection_ends() {
    let server = Server::start(3);
    for (input, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 501),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000)), 431),
    ] {
        let mut stream = server.connect();
        stream.write_all(input.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).0, status, "{input:.30}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    let stats = server.trace();
    assert_eq!((count(&stats, "http.respond"), count(&stats, "http.refuse")), (3, 3));
}

#[test]
fn a_server_with_idle_connections_uses_no_processor() {
    let server = Server::start(usize::MAX);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            ask(&mut stream, "/");
            assert_eq!(answer(&mut stream).0, 200);
            stream
        })
        .collect();
    // Delayed acknowledgements and the last levels of the queues are out by then.
    std::thread::sleep(Duration::from_millis(200));
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    // Ticks of 10 ms: one may have been begun.
    assert!(server.cpu_ticks() - before <= 1, "{} ticks in two idle seconds", server.cpu_ticks() - before);
    drop(clients);
}
