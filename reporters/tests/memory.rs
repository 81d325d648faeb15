//! Reporters under an allocator that counts: whatever comes, and whatever becomes of it, no chain takes more than it says.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]
#![expect(unsafe_code, reason = "an allocator")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::quiet;
use fata_reporters::file::{self, File, Fsync};
use fata_reporters::front::{Front, Options};
use fata_reporters::journald::Journald;
use fata_reporters::lines::{Format, Lines};
use fata_reporters::order::Order;
use fata_reporters::otlp::Otlp;
use fata_reporters::queue::{Bounds, ITEM_BYTES};
use fata_reporters::record::{Field, Record, Span, Value};
use fata_reporters::reporter::Item;
use fata_reporters::syslog::{self, Destination, Facility, Form, Syslog};
use fata_reporters::time::Time;
use fata_reporters::trace::Trace;
use fata_reporters::{Level, Reporter};

/// Counts what is taken from the system, and the most that it was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system's; the counters beside it touch no memory that is given out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a hostile program may say: long texts of nothing but what has to be escaped, and texts of a megabyte.
struct Texts {
    controls: [u8; ITEM_BYTES / 4 - 64],
    megabyte: Vec<u8>,
}

/// These, and more fields than anybody wants.
fn flood(texts: &Texts, reporter: &mut dyn Reporter, count: u64) {
    let text = |bytes| Field { name: "message", value: Value::Str(bytes) };
    let long = [text(&texts.controls), text(&texts.controls), text(&texts.controls)];
    let many = [Field { name: "x", value: Value::Bool(true) }; 1000];
    let longest = [text(&texts.megabyte); 8];
    let spans = [Span { name: "outer", fields: &long[..1] }, Span { name: "inner", fields: &[] }];
    for sequence in 0..count {
        let fields: &[Field<'_>] = match sequence % 4 {
            0 => &long,
            1 => &many,
            2 => &longest,
            _ => &long[..1],
        };
        let level = if sequence.is_multiple_of(5) { Level::Error } else { Level::Debug };
        let spans: &[Span<'_>] = if sequence % 4 == 3 { &spans } else { &[] };
        let (time, guest) = (Time::wall(1_700_000_000_000_000_000 + sequence.cast_signed()), "a guest");
        let record =
            Record { time, sequence, level, guest, target: "net.tcp", task: "t", fields, spans, ..Record::BLANK };
        let _ = reporter.report(&Item::Record(record));
    }
}

/// Floods what `make` makes, and compares what that took with what it says it takes.
fn check(texts: &Texts, what: &str, make: impl FnOnce() -> Box<dyn Reporter + Send>) {
    // Names, paths, a thread's own.
    let small = 16 << 10;
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut reporter = make();
    let says = reporter.worst_case_bytes() + small;
    flood(texts, &mut *reporter, 1000);
    std::thread::sleep(Duration::from_millis(300));
    flood(texts, &mut *reporter, 200);
    drop(reporter);
    let took = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    println!("measured: {what} took {} KiB of {} KiB", took >> 10, says >> 10);
    assert!(took <= says, "{what} says {says} bytes, and took {took}");
    assert!(took > says / 20, "{what} says {says} bytes, and took no more than {took}: that is no bound");
}

fn fronted(reporter: impl Reporter + Send + 'static) -> Box<dyn Reporter + Send> {
    let bounds = Bounds { bytes: 256 << 10, reserved_bytes: 64 << 10, ..Bounds::default() };
    let options = Options { bounds, patience: Duration::from_secs(1), trouble: quiet };
    Box::new(Front::spawn("x", reporter, options).unwrap())
}

#[test]
fn no_reporter_takes_more_memory_than_it_says_whatever_comes_and_whoever_listens() {
    let texts = Texts { controls: [1; _], megabyte: vec![b'"'; 1 << 20] };
    let dir = tempfile::tempdir().unwrap();
    let (path, other, packed) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    let (trace, socket) = (dir.path().join("trace"), dir.path().join("socket"));
    check(&texts, "lines", || fronted(Lines::new(std::io::sink(), "nowhere", Format::plain())));
    let options = file::Options { rotate_bytes: 1 << 20, format: Format::Json, ..file::Options::default() };
    check(&texts, "a file", || fronted(File::open(&path, options).unwrap()));
    let compressed = file::Options { compress: true, fsync: Fsync::Done, ..options };
    check(&texts, "a compressed file", || fronted(File::open(&packed, compressed).unwrap()));
    check(&texts, "a full disk", || fronted(File::open("/dev/full".as_ref(), options).unwrap()));
    check(&texts, "sorting", || {
        Box::new(Order::new(File::open(&other, options).unwrap(), Duration::from_secs(1), 1 << 20))
    });
    check(&texts, "a trace", || fronted(Trace::create(&trace).unwrap()));

    let receiver = UnixDatagram::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1 << 16];
        while receiver.recv(&mut bytes).is_ok() {}
    });
    check(&texts, "the journal", || fronted(Journald::new(&socket)));
    let form = syslog::Options { form: Form::Rfc5424, facility: Facility::USER };
    check(&texts, "syslog over a socket", || fronted(Syslog::new(Destination::unix(&socket), form)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut bytes = [0; 1 << 12];
        // Everything is read, of which the half is answered by silence.
        while let Ok((mut stream, _)) = listener.accept() {
            while stream.read(&mut bytes).is_ok_and(|len| len > 0) {}
        }
    });
    check(&texts, "syslog over TCP", || fronted(Syslog::new(Destination::tcp(&address), form)));
    check(&texts, "syslog that is down", || fronted(Syslog::new(Destination::tcp("127.0.0.1:1"), form)));
    check(&texts, "OTLP that never answers", || fronted(Otlp::new(&format!("http://{address}"), None).unwrap()));
    check(&texts, "OTLP that is down", || fronted(Otlp::new("http://127.0.0.1:1", None).unwrap()));
}
