//! What `iperf3 -c GUEST` measures against: a server of its protocol on port 5201, over TCP, one test at a time.
//!
//! The two ends agree on the bytes: what the client says that it has sent is waited for, to the last of it, before this end
//! says what it has received. `-R` (the guest sends) and `-P N` (several connections) are served too; UDP is not. Boot
//! parameter: `tests=` after how many the guest ends. A second client is turned away meanwhile; one that leaves in the middle
//! ends its test, and one that vanishes without a word holds the server.
//!
//! ```text
//!   client                                    server
//!   control: cookie               ─►
//!                                 ◄─          PARAM_EXCHANGE
//!   parameters, as JSON           ─►
//!                                 ◄─          CREATE_STREAMS
//!   each stream: cookie           ─►
//!                                 ◄─          TEST_START, TEST_RUNNING
//!   bytes, then TEST_END          ─►
//!                                 ◄─          EXCHANGE_RESULTS
//!   what it counted, as JSON      ─►
//!                                 ◄─          what we counted, DISPLAY_RESULTS
//!   IPERF_DONE                    ─►
//! ```
//! Source: iperf 3.12, `src/iperf_api.h`, `iperf_server_api.c`, `iperf_api.c`.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use fata_kernel::net::{Listener, NetError, TcpStream};
use fata_kernel::sync::Condition;
use fata_kernel::{Guest, name};
use fata_probe::log::ResultExt;
use fata_probe::{Bytes, instant, span};

const PORT: u16 = 5201;
const COOKIE_BYTES: usize = 37;
const MAX_JSON_BYTES: usize = 8 * 1024;
const MAX_STREAMS: u64 = 16;
const READ_BYTES: usize = 16 * 1024;
const MAX_BLOCK_BYTES: usize = 1024 * 1024;
/// States of a test, each one byte.
const TEST_START: u8 = 1;
const TEST_RUNNING: u8 = 2;
const TEST_END: u8 = 4;
const PARAM_EXCHANGE: u8 = 9;
const CREATE_STREAMS: u8 = 10;
const EXCHANGE_RESULTS: u8 = 13;
const DISPLAY_RESULTS: u8 = 14;
const ACCESS_DENIED: u8 = 0xff;
const SERVER_ERROR: u8 = 0xfe;
/// iperf's error "not implemented".
const UNIMPLEMENTED: u32 = 13;

/// Why a test came to nothing.
#[derive(Debug)]
enum TestError {
    Net(NetError),
    /// The client has closed the connection.
    Gone,
    /// This is not what iperf says here.
    Garbled,
    /// An option that is not served.
    Unserved,
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TestError::Net(error) => write!(f, "the connection failed: {error}"),
            TestError::Gone => f.write_str("the client has left in the middle of a test"),
            TestError::Garbled => f.write_str("the client does not speak as iperf3 does"),
            TestError::Unserved => write!(f, "the client asked for UDP, or for more than {MAX_STREAMS} streams"),
        }
    }
}

impl From<NetError> for TestError {
    fn from(error: NetError) -> Self {
        TestError::Net(error)
    }
}

pub(crate) async fn main(guest: Guest) {
    let listener = match guest.net().tcp_listen(PORT) {
        Ok(listener) => listener,
        Err(error) => return guest.log(&format!("iperf: {error}")),
    };
    guest.log(&format!("iperf: listening on port {PORT}"));
    let mut left = guest.arg("tests").and_then(|text| text.parse::<u64>().ok());
    while left != Some(0) {
        let control = listener.accept().await;
        match test(&guest, &listener, &control).await {
            Ok(bytes) => guest.log(&format!("iperf: a test of {bytes} bytes")),
            Err(error) => guest.log(&format!("iperf: {error}")),
        }
        control.close();
        left = left.map(|left| left - 1);
    }
}

/// What the tasks of a test share.
struct Shared {
    /// What each stream has moved.
    bytes: Vec<Cell<u64>>,
    /// As many bytes are waited for.
    wanted: Cell<u64>,
    arrived: Condition,
    /// Senders are to stop.
    over: Cell<bool>,
    /// What a client reads at once: part of one is never sent, since it would wait for the rest.
    block_bytes: usize,
}

impl Shared {
    fn new(streams: usize, block_bytes: usize) -> Self {
        Shared {
            bytes: vec![Cell::new(0); streams],
            wanted: Cell::new(u64::MAX),
            arrived: Condition::new(name!("iperf.arrived")),
            over: Cell::new(false),
            block_bytes,
        }
    }

    fn count(&self, stream: usize, bytes: usize) {
        let count = &self.bytes[stream];
        count.set(count.get() + bytes as u64);
        if self.total() >= self.wanted.get() {
            self.arrived.broadcast();
        }
    }

    fn total(&self) -> u64 {
        self.bytes.iter().map(Cell::get).sum()
    }
}

/// Runs a test; how many bytes it moved.
async fn test(guest: &Guest, listener: &Listener, control: &TcpStream) -> Result<u64, TestError> {
    let _span = span!("iperf.test");
    let cookie = read_exactly(control, COOKIE_BYTES).await?;
    control.write_all(&[PARAM_EXCHANGE]).await?;
    let parameters = read_json(control).await?;
    let reverse = parameters.contains("\"reverse\":true");
    let streams = number(&parameters, "parallel").max(1);
    let block_bytes = usize::try_from(number(&parameters, "len")).unwrap_or(0).clamp(1, MAX_BLOCK_BYTES);
    if parameters.contains("\"udp\"") || streams > MAX_STREAMS {
        control.write_all(&[SERVER_ERROR]).await?;
        control.write_all(&u64::from(UNIMPLEMENTED).rotate_left(32).to_be_bytes()).await?;
        return Err(TestError::Unserved);
    }

    control.write_all(&[CREATE_STREAMS]).await?;
    let mut connections = Vec::new();
    while connections.len() < usize::try_from(streams).unwrap_or(0) {
        let stream = listener.accept().await;
        if read_exactly(&stream, COOKIE_BYTES).await? == cookie {
            connections.push(Rc::new(stream));
        } else {
            // Another client; that it does not hear this is its loss.
            let _ = stream.write_all(&[ACCESS_DENIED]).await;
            stream.close();
        }
    }
    control.write_all(&[TEST_START]).await?;
    control.write_all(&[TEST_RUNNING]).await?;
    let (begun, shared) = (guest.now(), Rc::new(Shared::new(connections.len(), block_bytes)));
    let mut senders = Vec::new();
    for (index, stream) in connections.iter().enumerate() {
        let (stream, shared) = (Rc::clone(stream), Rc::clone(&shared));
        if reverse {
            senders.push(guest.spawn(name!("iperf.send"), send(stream, index, shared)));
        } else {
            guest.spawn(name!("iperf.receive"), receive(stream, index, shared));
        }
    }
    if read_exactly(control, 1).await? != [TEST_END] {
        return Err(TestError::Garbled);
    }
    shared.over.set(true);
    // The client reads on, a block at a time, until there is no more.
    for (sender, stream) in senders.into_iter().zip(&connections) {
        sender.await;
        stream.close();
    }

    control.write_all(&[EXCHANGE_RESULTS]).await?;
    let theirs = read_json(control).await?;
    if !reverse {
        shared.wanted.set(theirs.split("\"bytes\":").skip(1).map(leading_number).sum());
        while shared.total() < shared.wanted.get() {
            shared.arrived.wait().await;
        }
    }
    let bytes = shared.total();
    instant!("iperf.measured", bytes = Bytes(bytes));
    let results = results(&shared.bytes, guest.now() - begun);
    control.write_all(&u32::try_from(results.len()).unwrap_or(0).to_be_bytes()).await?;
    control.write_all(results.as_bytes()).await?;
    control.write_all(&[DISPLAY_RESULTS]).await?;
    // IPERF_DONE, or that it has gone: it has heard everything.
    let _ = read_exactly(control, 1).await;
    for stream in &connections {
        stream.close();
    }
    Ok(bytes)
}

async fn receive(stream: Rc<TcpStream>, index: usize, shared: Rc<Shared>) {
    let mut piece = vec![0; READ_BYTES];
    // A stream that fails counts no further, and then the client hears of it.
    while let len @ 1.. = stream.read(&mut piece).await.on_error("a stream of the test counts no further", 0) {
        shared.count(index, len);
    }
}

async fn send(stream: Rc<TcpStream>, index: usize, shared: Rc<Shared>) {
    let piece = vec![b'.'; shared.block_bytes];
    while !shared.over.get() && stream.write_all(&piece).await.is_ok() {
        shared.count(index, piece.len());
    }
}

async fn read_exactly(stream: &TcpStream, len: usize) -> Result<Vec<u8>, TestError> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        match stream.read(&mut bytes[have..]).await? {
            0 => return Err(TestError::Gone),
            more => have += more,
        }
    }
    Ok(bytes)
}

/// A length of four bytes, the highest first, and so many bytes of JSON.
async fn read_json(control: &TcpStream) -> Result<String, TestError> {
    let len = read_exactly(control, 4).await?.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    if len > MAX_JSON_BYTES {
        return Err(TestError::Garbled);
    }
    String::from_utf8(read_exactly(control, len).await?).map_err(|_| TestError::Garbled)
}

/// The number of this name among the parameters, which lie side by side; 0 where there is none.
fn number(json: &str, key: &str) -> u64 {
    json.split_once(&format!("\"{key}\":")).map_or(0, |(_, rest)| leading_number(rest))
}

fn leading_number(text: &str) -> u64 {
    let text = text.trim_start();
    text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What we have counted, as the client wants it.
fn results(counts: &[Cell<u64>], nanos: u64) -> String {
    let end = format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
    let stream = |(index, count): (usize, &Cell<u64>)| {
        // iperf numbers them 1, 3, 4, 5.
        let (id, bytes) = (if index == 0 { 1 } else { index + 2 }, count.get());
        format!(
            "{{\"id\":{id},\"bytes\":{bytes},\"retransmits\":-1,\"jitter\":0,\"errors\":0,\"packets\":0,\"start_time\":0,\"end_time\":{end}}}"
        )
    };
    let all = counts.iter().enumerate().map(stream).collect::<Vec<_>>().join(",");
    "{\"cpu_util_total\":0,\"cpu_util_user\":0,\"cpu_util_system\":0,\"sender_has_retransmits\":0,\"streams\":["
        .to_string()
        + &all
        + "]}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_counted_is_the_sum_over_its_streams() {
        let json = r#"{"cpu_util_total":1.5,"streams":[{"id":1,"bytes":1000,"errors":0},{"id":3,"bytes": 234}]}"#;
        assert_eq!(json.split("\"bytes\":").skip(1).map(leading_number).sum::<u64>(), 1234);
    }

    #[test]
    fn a_parameter_that_is_not_there_is_0() {
        let json = r#"{"tcp":true,"time":10,"parallel":4,"len":131072}"#;
        assert_eq!([number(json, "parallel"), number(json, "num"), number(json, "time")], [4, 0, 10]);
    }
}
