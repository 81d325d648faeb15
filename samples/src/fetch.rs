//! An HTTP client: asks for `/` on `port=N` (by default 80) of `from=ADDRESS`, IPv4 or IPv6 (by default the router),
//! `requests=N` times (by default 100) over one connection, with `pause_ms=N` in between. The other end of the sample `http`, on
//! a cable between two guests.

use alloc::format;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use fata_kernel::Guest;
use fata_kernel::net::{NetError, TcpStream};
use fata_probe::{counter, span};

/// A server that is still booting refuses, or does not answer: so often it is tried again, after so long.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

pub(crate) async fn main(guest: Guest) {
    let from = guest.arg("from").map_or(Ok(Ipv4Addr::new(10, 0, 2, 2).into()), str::parse);
    let Ok(from) = from else { return guest.log("fetch: `from=` wants an address such as 10.0.2.15 or fec0::15") };
    match fetch(&guest, from).await {
        Ok(answers) => guest.log(&format!("fetch: {answers} answers from {from}")),
        Err(error) => guest.log(&format!("fetch: {from}: {error}")),
    }
}

async fn fetch(guest: &Guest, from: IpAddr) -> Result<u64, NetError> {
    let number = |key| guest.arg(key).and_then(|text| text.parse().ok());
    let (requests, pause) = (number("requests").unwrap_or(100), number("pause_ms").unwrap_or(0));
    let port = guest.arg("port").and_then(|text| text.parse().ok()).unwrap_or(80);
    let stream = connect(guest, (from, port)).await?;
    for answered in 0..requests {
        {
            let _span = span!("fetch.request", number = answered);
            stream.write_all(REQUEST).await?;
            read_answer(&stream).await?;
        }
        counter!("fetch.answers", count = answered + 1);
        if pause > 0 {
            guest.sleep(Duration::from_millis(pause)).await;
        }
    }
    stream.close();
    Ok(requests)
}

async fn connect(guest: &Guest, server: (IpAddr, u16)) -> Result<TcpStream, NetError> {
    for _ in 0..TRIES {
        match guest.net().tcp_connect(server).await {
            Err(NetError::Refused | NetError::Reset | NetError::TimedOut) => guest.sleep(PAUSE).await,
            connected => return connected,
        }
    }
    guest.net().tcp_connect(server).await
}

/// Reads one answer to its end: head, and as many bytes of body as the head says.
async fn read_answer(stream: &TcpStream) -> Result<(), NetError> {
    let mut buffer = [0; 2048];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            // Closed, or a head longer than this client reads.
            return Err(NetError::Reset);
        }
        filled += read;
        let Some(head_bytes) = end_of_head(&buffer[..filled]) else { continue };
        let mut missing = (head_bytes + body_bytes(&buffer[..head_bytes])).saturating_sub(filled);
        while missing > 0 {
            let room = missing.min(buffer.len());
            match stream.read(&mut buffer[..room]).await? {
                0 => return Err(NetError::Reset),
                read => missing -= read,
            }
        }
        return Ok(());
    }
}

/// Where the body begins, if all of the head is there.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END)? + HEAD_END.len())
}

/// What the head says of the body's length; 0 where it says nothing.
fn body_bytes(head: &[u8]) -> usize {
    let head = core::str::from_utf8(head).unwrap_or("");
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(key, _)| key.eq_ignore_ascii_case("content-length"));
    length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0)
}
