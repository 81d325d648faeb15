//! Syslog servers that close, never read, never accept, talk without end, or are no syslog servers: none makes a call longer
//! than its time, none makes memory grow, and the account is right in the end.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fata_reporters::front::{Front, Options};
use fata_reporters::queue::{Bounds, Policy};
use fata_reporters::record::Record;
use fata_reporters::reporter::{Item, ReportError};
use fata_reporters::syslog::{self, Destination, Syslog};
use fata_reporters::{Level, Reporter as _};

/// A call's own time is 3 s.
const CALL: Duration = Duration::from_secs(5);

fn quiet(_: &str, _: Option<&ReportError>) {}

/// A listener, each of whose connections is given to `serve` on a thread of its own.
fn server(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn item() -> Item<'static> {
    Item::Record(Record { level: Level::Info, name: "a record of some length, so that buffers fill", ..Record::BLANK })
}

#[test]
fn no_server_makes_the_caller_wait_or_the_account_wrong() {
    type Server = (&'static str, fn(TcpStream));
    let servers: [Server; 4] = [
        ("closes at once", drop),
        ("never reads", |stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }),
        ("talks without end", |mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {}),
        ("reads a little and resets", |mut stream| {
            let _ = stream.read(&mut [0; 100]);
        }),
    ];
    for (what, serve) in servers {
        let place = Destination::tcp(&server(serve));
        let bounds =
            Bounds { bytes: 32 << 10, reserved_bytes: 8 << 10, item_bytes: 4 << 10, policy: Policy::KeepOldest };
        let options = Options { bounds, patience: Duration::from_secs(1), trouble: quiet };
        let front = Front::spawn("x", Syslog::new(place, syslog::Options::default()), options).unwrap();
        let start = Instant::now();
        (0..50_000).for_each(|_| front.hand_over(&item()));
        assert!(start.elapsed() < CALL, "{what}: {:?}", start.elapsed());
        let account = front.close(Duration::from_millis(300));
        let sum = account.reported.total() + account.discarded.total();
        assert_eq!((account.produced.total(), sum), (50_000, 50_000), "{what}");
        assert!(start.elapsed() < 2 * CALL, "{what}: {:?}", start.elapsed());
    }
}

#[test]
fn a_server_that_never_accepts_is_given_up_on_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Fills its backlog, so that a further connection gets no answer at all.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 100_000, "a backlog without end");
    }
    let start = Instant::now();
    let mut reporter = Syslog::new(Destination::tcp(&address.to_string()), syslog::Options::default());
    assert!(matches!(reporter.report(&item()), Err(ReportError::Later(_))));
    assert!(start.elapsed() < CALL, "{:?}", start.elapsed());
    // Then the pause: the answer comes at once, and is the same sentence.
    let start = Instant::now();
    assert!(reporter.report(&item()).unwrap_err().to_string().contains("timed out"));
    assert!(start.elapsed() < Duration::from_millis(40), "{:?}", start.elapsed());
}

#[test]
fn a_tls_server_that_is_none_is_an_error_with_a_sentence() {
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("ca.pem");
    let path = if std::path::Path::new(authorities).exists() { std::path::Path::new(authorities) } else { &own };
    if path == own {
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=x",
            ])
            .args(["-keyout", "/dev/null", "-out"])
            .arg(&own)
            .status();
        assert!(made.unwrap().success());
    }
    let servers: [fn(TcpStream); 3] = [
        drop,
        |mut stream| {
            let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
        },
        |mut stream| while stream.write_all(&[0x16; 4096]).is_ok() {},
    ];
    for serve in servers {
        let place = Destination::tls(&server(serve).replace("127.0.0.1", "localhost"), Some(path)).unwrap();
        let start = Instant::now();
        let error = Syslog::new(place, syslog::Options::default()).report(&item()).unwrap_err();
        assert!(matches!(error, ReportError::Later(_)), "{error}");
        assert!(start.elapsed() < CALL, "{:?}", start.elapsed());
    }
}
