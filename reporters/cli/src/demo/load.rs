//! An HTTP load in this process: a few clients that keep their connections and ask again as soon as they have thought a
//! moment about the answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CLIENTS: u64 = 4;
/// What a client thinks about an answer.
const THOUGHT: Duration = Duration::from_micros(500);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is closed after so many requests, so that connections begin and end in the picture.
const REQUESTS_PER_CONNECTION: u64 = 500;

/// Clients at work.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    /// Clients of whoever answers on `port` of the loopback.
    pub(super) fn start(port: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || client(number, port, &shared))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load { shared, clients }
    }

    /// Lets the clients finish, and says how many requests were answered and how many failed.
    pub(super) fn stop(self) -> (u64, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            let _ = client.join();
        }
        (self.shared.answered.load(Ordering::Relaxed), self.shared.failed.load(Ordering::Relaxed))
    }
}

/// Whether somebody answers on `port`.
pub(super) fn answers(port: u16) -> bool {
    Connection::open(port).and_then(|mut connection| connection.get("/health")).is_ok()
}

fn client(number: u64, port: u16, shared: &Shared) {
    let over = || shared.over.load(Ordering::Relaxed);
    while !over() {
        let result = Connection::open(port).and_then(|mut connection| {
            for i in 0..REQUESTS_PER_CONNECTION {
                if over() {
                    break;
                }
                // Mostly small answers, some large ones, and few that take their time.
                let path = match (i + number * 61) % 240 {
                    60 | 180 => "/big",
                    120 => "/slow",
                    _ => "/",
                };
                connection.get(path)?;
                shared.answered.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(THOUGHT);
            }
            Ok(())
        });
        if result.is_err() && !over() {
            shared.failed.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// One HTTP/1.1 connection that is kept.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_nodelay(true)?;
        Ok(Connection { socket, buffer: Vec::new() })
    }

    /// Asks for `path` and reads the whole answer.
    fn get(&mut self, path: &str) -> io::Result<()> {
        self.socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n").as_bytes())?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_some()?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        while self.buffer.len() < head + length {
            self.read_some()?;
        }
        Ok(())
    }

    fn read_some(&mut self) -> io::Result<()> {
        let mut part = [0; 16 << 10];
        match self.socket.read(&mut part)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&part[..n]);
                Ok(())
            }
        }
    }
}
