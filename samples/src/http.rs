//! An HTTP/1.1 server: `/` answers at once, `/big` with 100 KiB, `/slow` after 20 ms, `/health` with a word.
//!
//! Each request is one span `http.request`, from its first byte (a connection's first request: from accept) until the last
//! byte of its answer is acknowledged. The connection's task holds the span and reads on meanwhile: a client that waits for
//! answers acknowledges this one with its next request at the latest. A client that does not wait ("pipelining") gets a
//! task for each request that overlaps another, since spans nest per task.
//!
//! `requests=N` ends the guest after so many; otherwise it serves until it is ended from outside. A head beyond 8 KiB and a body beyond 1 MiB are refused; how many pipelined
//! requests are open is bounded by the send buffer, which their answers share.

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use fata_kernel::net::{Listener, NetError, TcpStream};
use fata_kernel::sync::{Condition, Resolver, oneshot};
use fata_kernel::{Guest, Name, name};
use fata_probe::{Small, SpanGuard, instant, span};

const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_BODY_BYTES: usize = 1024 * 1024;
static BIG: [u8; 100 * 1024] = [b'.'; 100 * 1024];

pub(crate) async fn main(guest: Guest) {
    let listener = match guest.net().tcp_listen(80) {
        Ok(listener) => listener,
        Err(error) => return guest.log(&format!("http: {error}")),
    };
    guest.log("http: listening on port 80");
    let server = Rc::new(Server {
        guest: guest.clone(),
        begun: Cell::new(0),
        ended: Cell::new(0),
        limit: guest.arg("requests").and_then(|text| text.parse().ok()).map(Limit::new),
    });
    let Some(limit) = &server.limit else { return accept(guest, listener, Rc::clone(&server)).await };
    guest.clone().spawn(name!("http.accept"), accept(guest, listener, Rc::clone(&server)));
    while server.ended.get() < limit.requests {
        limit.reached.wait().await;
    }
}

async fn accept(guest: Guest, listener: Listener, server: Rc<Server>) {
    loop {
        let stream = listener.accept().await;
        let connection = Connection { server: Rc::clone(&server), stream, input: RefCell::new(Vec::new()) };
        guest.spawn(name!("http.connection"), Rc::new(connection).serve());
    }
}

struct Server {
    guest: Guest,
    /// The last request's id: 15 bits, which cost a traced request no further word.
    begun: Cell<u16>,
    /// Requests whose answers were acknowledged.
    ended: Cell<u64>,
    limit: Option<Limit>,
}

/// When the server is to end.
struct Limit {
    requests: u64,
    reached: Condition,
}

impl Limit {
    fn new(requests: u64) -> Self {
        Limit { requests, reached: Condition::new(name!("http.limit")) }
    }
}

impl Server {
    fn begin(&self) -> SpanGuard {
        self.begun.set((self.begun.get() + 1) & 0x7fff);
        span!("http.request", id = Small(self.begun.get()))
    }

    fn end(&self, request: SpanGuard) {
        drop(request);
        self.ended.set(self.ended.get() + 1);
        if self.ended.get() == 1 {
            instant!("boot.first_request");
        }
        if let Some(limit) = &self.limit
            && self.ended.get() >= limit.requests
        {
            limit.reached.broadcast();
        }
    }
}

struct Connection {
    server: Rc<Server>,
    stream: TcpStream,
    /// What was read and not used yet.
    input: RefCell<Vec<u8>>,
}

/// An answer that was written.
#[derive(Clone, Copy)]
struct Answer {
    /// Its end among all bytes that were written.
    end: u64,
    keep_alive: bool,
}

impl Connection {
    async fn serve(self: Rc<Self>) {
        // A client that goes away in the middle is no error of ours: its spans end here.
        let _ = self.try_serve().await;
    }

    async fn try_serve(self: &Rc<Self>) -> Result<(), NetError> {
        let mut request = self.server.begin();
        while self.has_input().await? {
            let answer = self.answer().await?;
            let mut keep_alive = answer.keep_alive;
            while keep_alive && self.is_overtaken(answer).await? {
                keep_alive = self.has_input().await? && self.answer_apart().await;
            }
            self.stream.acked(answer.end).await?;
            self.server.end(request);
            if !keep_alive || !self.has_input().await? {
                break;
            }
            request = self.server.begin();
        }
        Ok(())
    }

    /// Whether there is input before `answer` is acknowledged.
    async fn is_overtaken(&self, answer: Answer) -> Result<bool, NetError> {
        if self.stream.acknowledged() >= answer.end {
            return Ok(false);
        }
        Ok(!self.input.borrow().is_empty() || !self.stream.acked_or_readable(answer.end).await?)
    }

    /// Answers the next request in a task of its own, which lasts until the answer is acknowledged; whether there may be
    /// another.
    async fn answer_apart(self: &Rc<Self>) -> bool {
        let (answered, keep_alive) = oneshot(name!("http.answered"));
        let apart = Rc::clone(self).pipelined(answered);
        self.server.guest.spawn(name!("http.pipelined"), apart);
        keep_alive.await.unwrap_or(false)
    }

    async fn pipelined(self: Rc<Self>, answered: Resolver<bool>) {
        let request = self.server.begin();
        // A client that went away leaves `answered` unresolved, which ends the connection.
        if let Ok(answer) = self.answer().await {
            answered.resolve(answer.keep_alive);
            if self.stream.acked(answer.end).await.is_ok() {
                self.server.end(request);
            }
        }
    }

    /// Waits for input; `false` at its end.
    async fn has_input(&self) -> Result<bool, NetError> {
        Ok(!self.input.borrow().is_empty() || self.read_more().await? > 0)
    }

    async fn read_more(&self) -> Result<usize, NetError> {
        let mut buffer = [0; 2048];
        let len = self.stream.read(&mut buffer).await?;
        self.input.borrow_mut().extend_from_slice(&buffer[..len]);
        Ok(len)
    }

    /// Reads one request and writes its answer.
    async fn answer(&self) -> Result<Answer, NetError> {
        let request = loop {
            let parsed = {
                let _span = span!(level: Debug, "http.parse");
                Request::parse(&self.input.borrow())
            };
            match parsed {
                Parsed::Request(request) => break request,
                Parsed::Refused(status) => break Request { status, ..Request::default() },
                Parsed::Incomplete if self.read_more().await? > 0 => {}
                Parsed::Incomplete => break Request { status: 400, ..Request::default() },
            }
        };
        self.skip(request.head_bytes + request.body_bytes).await?;
        if request.route == Route::Slow {
            self.server.guest.sleep(Duration::from_millis(20)).await;
        }
        self.respond(&request).await
    }

    /// Takes `len` bytes from the input, as they come.
    async fn skip(&self, mut len: usize) -> Result<(), NetError> {
        loop {
            let here = len.min(self.input.borrow().len());
            self.input.borrow_mut().drain(..here);
            len -= here;
            if len == 0 || self.read_more().await? == 0 {
                return Ok(());
            }
        }
    }

    async fn respond(&self, request: &Request) -> Result<Answer, NetError> {
        let (reason, body): (_, &[u8]) = match (request.status, request.route) {
            (200, Route::Big) => ("OK", &BIG),
            (200, Route::Health) => ("OK", b"ok\n"),
            (200, Route::Slow) => ("OK", b"that took 20 ms\n"),
            (200, _) => ("OK", b"hello from a unikernel\n"),
            (404, _) => ("Not Found", b"there is /, /big, /slow and /health\n"),
            (405, _) => ("Method Not Allowed", b"only GET and HEAD are answered here\n"),
            (413, _) => ("Content Too Large", b"a request may carry 1 MiB\n"),
            (431, _) => ("Request Header Fields Too Large", b"a request's head may have 8 KiB\n"),
            (501, _) => ("Not Implemented", b"a body needs a Content-Length\n"),
            _ => ("Bad Request", b"this is not HTTP\n"),
        };
        let keep_alive = request.keep_alive;
        instant!("http.respond", path = request.route.path());
        if request.status != 200 {
            instant!("http.refuse", status = request.status);
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            request.status,
            body.len(),
        );
        self.stream.write_all(head.as_bytes()).await?;
        if !request.head_only {
            self.stream.write_all(body).await?;
        }
        let end = self.stream.position();
        if !keep_alive {
            self.stream.close();
        }
        Ok(Answer { end, keep_alive })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Route {
    Root,
    Big,
    Slow,
    Health,
    #[default]
    Unknown,
}

impl Route {
    fn path(self) -> Name {
        match self {
            Route::Root => name!("/"),
            Route::Big => name!("/big"),
            Route::Slow => name!("/slow"),
            Route::Health => name!("/health"),
            Route::Unknown => name!("?"),
        }
    }
}

/// What this server wants to know of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    status: u16,
    route: Route,
    head_only: bool,
    keep_alive: bool,
    head_bytes: usize,
    body_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Request(Request),
    /// More input decides.
    Incomplete,
    /// Nothing after this can be understood: this status, and the end.
    Refused(u16),
}

impl Request {
    fn parse(input: &[u8]) -> Parsed {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let head_bytes = match parsed.parse(input) {
            Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD_BYTES => len,
            Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD_BYTES => return Parsed::Incomplete,
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(431),
            Err(_) => return Parsed::Refused(400),
        };
        let (method, target) = (parsed.method.unwrap_or(""), parsed.path.unwrap_or(""));
        let route = match target.split('?').next() {
            Some("/") => Route::Root,
            Some("/big") => Route::Big,
            Some("/slow") => Route::Slow,
            Some("/health") => Route::Health,
            _ => Route::Unknown,
        };
        let status = match (method, route) {
            ("GET" | "HEAD", Route::Unknown) => 404,
            ("GET" | "HEAD", _) => 200,
            _ => 405,
        };
        let mut request = Request {
            status,
            route,
            head_only: method == "HEAD",
            keep_alive: parsed.version == Some(1),
            head_bytes,
            body_bytes: 0,
        };
        for header in &*parsed.headers {
            let value = core::str::from_utf8(header.value).unwrap_or("").trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                match value.parse() {
                    Ok(len) if len <= MAX_BODY_BYTES => request.body_bytes = len,
                    Ok(_) => return Parsed::Refused(413),
                    Err(_) => return Parsed::Refused(400),
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Parsed::Refused(501);
            } else if header.name.eq_ignore_ascii_case("connection") {
                request.keep_alive = match value {
                    value if value.eq_ignore_ascii_case("close") => false,
                    value if value.eq_ignore_ascii_case("keep-alive") => true,
                    _ => request.keep_alive,
                };
            }
        }
        Parsed::Request(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_cut_anywhere_asks_for_more() {
        let head = b"GET /big?x=1 HTTP/1.1\r\nHost: guest\r\nContent-Length: 3\r\n\r\n";
        for len in 0..head.len() {
            assert_eq!(Request::parse(&head[..len]), Parsed::Incomplete, "cut at {len}");
        }
        let Parsed::Request(request) = Request::parse(head) else { panic!("not parsed") };
        assert_eq!((request.status, request.route, request.keep_alive), (200, Route::Big, true));
        assert_eq!((request.head_bytes, request.body_bytes), (head.len(), 3));
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_status_that_says_why() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));
        for (input, status) in [
            ("\x16\x03\x01\x02", 400),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
            (long.as_str(), 431),
        ] {
            assert_eq!(Request::parse(input.as_bytes()), Parsed::Refused(status), "{input:.40}");
        }
    }

    #[test]
    fn a_client_of_http_1_0_is_not_kept_unless_it_asks() {
        let keep_alive = |input: &str| match Request::parse(input.as_bytes()) {
            Parsed::Request(request) => request.keep_alive,
            other => panic!("{other:?}"),
        };
        assert!(!keep_alive("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep_alive("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
    }
}
