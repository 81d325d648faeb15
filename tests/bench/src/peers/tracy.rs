//! Tracy, with a viewer attached that throws everything away, as it is in use: zones are queued by this thread, and Tracy's
//! own thread compresses and sends them.
//!
//! Without a viewer Tracy would keep every event for ever, and what is measured would be the allocator.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Server;
use crate::case::timed;
use crate::served::{self, Child};

/// By this variable Tracy is told where to listen; otherwise it takes the first free port of some, and one of our processes would
/// take another's client for its own.
const PORT: &str = "TRACY_PORT";
/// Versions of the protocol that are tried: the client says only whether it likes one.
const PROTOCOLS: std::ops::Range<u32> = 60..120;
const WELCOME: u8 = 1;

/// This program again, serving `name`, with a port that is free now.
pub(super) fn child(name: &str) -> Result<Child, String> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let port = port.map_err(|error| format!("no free port on loopback: {error}"))?.port();
    Child::start(served::own(name)?.env(PORT, port.to_string()))
}

/// Starts Tracy's client and a viewer for it. `before` each round something else is done.
pub(super) fn server(before: fn()) -> Result<Server, String> {
    let _client = tracy_client::Client::start();
    let port = std::env::var(PORT).ok().and_then(|text| text.parse().ok()).ok_or("it is not told its port")?;
    let mut viewer = connect(port).ok_or("no viewer could be attached to its client")?;
    let received = Arc::new(AtomicU64::new(0));
    let count = received.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(len @ 1..) = viewer.read(&mut buffer) {
            count.fetch_add(len as u64, Ordering::Relaxed);
        }
    });
    let (mut sent, mut first) = (0, None);
    Ok(Box::new(move |events| {
        if !tracy_client::Client::is_connected() {
            return Err("the viewer was dropped".into());
        }
        let first = *first.get_or_insert_with(|| received.load(Ordering::Relaxed));
        before();
        let nanos = timed!(events, 1, |i| {
            let _zone = tracy_client::span!("bench.span");
        });
        sent += events;
        // Its thread looks for work every so often; the next round is to find the queue as short as this one did.
        std::thread::sleep(Duration::from_millis(4));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let bytes = (received.load(Ordering::Relaxed) - first) as f64 / sent as f64;
        Ok((nanos, Some(bytes)))
    }))
}

/// Speaks as Tracy's viewer does when it connects.
fn connect(port: u16) -> Option<TcpStream> {
    for _ in 0..50 {
        for protocol in PROTOCOLS {
            let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { break };
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            let mut answer = [0];
            let spoken = stream
                .write_all(b"TracyPrf")
                .and_then(|()| stream.write_all(&protocol.to_le_bytes()))
                .and_then(|()| stream.read_exact(&mut answer));
            // Somebody else may have taken the port: ours says of itself that it is connected.
            if spoken.is_ok() && answer[0] == WELCOME && tracy_client::Client::is_connected() {
                stream.set_read_timeout(None).ok()?;
                return Some(stream);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
