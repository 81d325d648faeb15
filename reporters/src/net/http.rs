//! As much of an HTTP/1.1 client as a POST needs: one connection, kept open between requests.
//!
//! Invariant: an answer longer than [`MAX_ANSWER_BYTES`], or one that takes longer than [`ANSWER_TIME`] altogether, ends the
//! connection, however slowly and politely it comes.

use std::io::{self, Read as _, Write as _};
use std::string::{String, ToString as _};
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::{Address, Link, closed};

const MAX_ANSWER_BYTES: usize = 64 << 10;
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A receiver of POST requests.
pub(crate) struct Http {
    address: Address,
    path: String,
    link: Option<Link>,
}

/// What the server answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A URL taken apart: whether it is encrypted, `HOST:PORT`, path.
pub(crate) fn parse_url(url: &str) -> Option<(bool, String, String)> {
    let (encrypted, rest) = match url.split_once("://")? {
        ("http", rest) => (false, rest),
        ("https", rest) => (true, rest),
        _ => return None,
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(known) || path.contains(|c: char| !c.is_ascii_graphic()) {
        return None;
    }
    let has_port = host.rsplit_once(']').map_or(host, |(_, after)| after).contains(':');
    let port = if encrypted { 443 } else { 80 };
    let host = if has_port { host.to_string() } else { std::format!("{host}:{port}") };
    Some((encrypted, host, path.to_string()))
}

impl Http {
    pub(crate) fn new(address: Address, path: String) -> Self {
        Http { address, path, link: None }
    }

    /// Sends `body` and waits for the answer.
    pub(crate) fn post(&mut self, content_type: &str, body: &[u8]) -> io::Result<Answer> {
        // A connection that the server has closed meanwhile is found now, before anything is sent.
        if self.link.as_mut().is_some_and(|link| link.check().is_err()) {
            self.link = None;
        }
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::connect(&self.address)?,
        };
        let Http { address: Address { host_and_port, .. }, path, .. } = self;
        let head = std::format!(
            "POST {path} HTTP/1.1\r\nHost: {host_and_port}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\nUser-Agent: fata\r\n\r\n",
            body.len()
        );
        link.write_all(head.as_bytes())?;
        link.write_all(body)?;
        link.flush()?;
        let (answer, keep) = read_answer(&mut link)?;
        if keep {
            self.link = Some(link);
        }
        Ok(answer)
    }
}

/// Reads an answer, and whether the connection may be used again.
fn read_answer(link: &mut Link) -> io::Result<(Answer, bool)> {
    let end = Instant::now() + ANSWER_TIME;
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(link, &mut bytes, end)?;
    };
    let head =
        core::str::from_utf8(bytes.get(..head_end).unwrap_or(&[])).map_err(|_| bad("an answer that is no text"))?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| bad("an answer that is not HTTP"))?;
    let header = |name: &str| {
        let mut found = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        found.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let mut keep = status_line.starts_with("HTTP/1.1")
        && !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length =
        header("content-length").map(|value| value.parse::<usize>().map_err(|_| bad("an answer of no length")));
    let length = length.transpose()?;
    let mut rest: Vec<u8> = bytes.split_off(head_end);
    let body = if status == 204 || status == 304 {
        Vec::new()
    } else if chunked {
        read_chunks(link, rest, end)?
    } else if let Some(length) = length {
        if length > MAX_ANSWER_BYTES {
            return Err(bad("an answer that is too long"));
        }
        while rest.len() < length {
            read_more(link, &mut rest, end)?;
        }
        keep &= rest.len() == length;
        rest.truncate(length);
        rest
    } else {
        keep = false;
        loop {
            match read_more(link, &mut rest, end) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break rest,
                Err(error) => return Err(error),
            }
        }
    };
    Ok((Answer { status, body }, keep))
}

fn read_chunks(link: &mut Link, mut rest: Vec<u8>, end: Instant) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = loop {
            if let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            read_more(link, &mut rest, end)?;
        };
        let size = core::str::from_utf8(rest.get(..line_end).unwrap_or(&[]))
            .ok()
            .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok())
            .filter(|&size| size <= MAX_ANSWER_BYTES)
            .ok_or_else(|| bad("an answer whose parts have no length"))?;
        let needed = line_end + 2 + size + 2;
        while rest.len() < needed {
            read_more(link, &mut rest, end)?;
        }
        body.extend_from_slice(rest.get(line_end + 2..line_end + 2 + size).unwrap_or(&[]));
        rest.drain(..needed);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(bad("an answer that is too long"));
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_more(link: &mut Link, bytes: &mut Vec<u8>, end: Instant) -> io::Result<()> {
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(bad("an answer that is too long"));
    }
    if Instant::now() > end {
        return Err(bad("no whole answer in time"));
    }
    let mut part = [0; 4096];
    match link.read(&mut part) {
        Ok(0) => Err(closed()),
        Ok(read) => {
            bytes.extend_from_slice(part.get(..read).unwrap_or(&[]));
            Ok(())
        }
        // The link's own time is shorter than that of an answer.
        Err(error) if super::is_timeout(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, std::format!("the receiver sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What a client makes of a server that answers with `answer` and closes.
    fn answered(answer: &'static [u8]) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host_and_port = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let mut read = 0;
            while !request[..read].ends_with(b"\r\n\r\nbody") {
                read += stream.read(&mut request[read..]).unwrap();
            }
            // A client that has heard enough may be gone already.
            let _ = stream.write_all(answer);
            String::from_utf8(request[..read].to_vec()).unwrap()
        });
        let address = Address { host_and_port, tls: None };
        let answer = Http::new(address, "/v1/logs".into()).post("text/plain", b"body");
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(request.contains("\r\nContent-Length: 4\r\n"), "{request}");
        answer
    }

    #[test]
    fn an_answer_is_read_whole_however_it_says_its_length() {
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=1\r\nlo\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
            b"HTTP/1.0 200 OK\r\n\r\nhello",
        ];
        for answer in answers {
            assert_eq!(answered(answer).unwrap(), Answer { status: 200, body: b"hello".to_vec() });
        }
        assert_eq!(answered(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Answer { status: 204, body: Vec::new() });
    }

    #[test]
    fn a_hostile_answer_is_an_error_with_a_sentence_and_costs_bounded_memory() {
        let long: &'static [u8] = std::vec![b'x'; 1 << 20].leak();
        let hostile: [(&[u8], &str); 7] = [
            (b"", "closed the connection"),
            (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too long"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no length"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "no length"),
            (b"HTTP/1.1 200 \xff\r\n\r\n", "no text"),
            (long, "too long"),
        ];
        for (answer, sentence) in hostile {
            let error = answered(answer).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error} instead of {sentence}");
        }
    }

    #[test]
    fn a_url_is_taken_apart_and_what_is_none_is_refused() {
        let known = [
            ("http://h:4318/v1/logs", Some((false, "h:4318", "/v1/logs"))),
            ("https://h", Some((true, "h:443", ""))),
            ("http://[::1]:1/x", Some((false, "[::1]:1", "/x"))),
            ("ftp://h", None),
            ("http://", None),
            ("http://a b/", None),
            ("http://h/\r\nX: 1", None),
            ("http://h\r\nX: 1", None),
        ];
        for (url, parts) in known {
            let expected = parts.map(|(encrypted, host, path)| (encrypted, host.to_string(), path.to_string()));
            assert_eq!(parse_url(url), expected, "{url}");
        }
    }
}
