//! Sends messages to a syslog server: datagrams, or a stream with octet counting (RFC 6587, RFC 5425).
//!
//! Invariant: on a stream a message is whole or not there, whatever the server does in the middle of it; one that was begun
//! is ended, on a new connection from its start. A message is taken (`Ok`) when the system has all of it.
//!
//! Nothing waits here but the one message that was begun: a server that is slow or down makes [`Reporter::report`] say
//! `Later`, and the front keeps and counts. Syslog has no acknowledgements: what a server, or the system of a server, had
//! received when it died is lost without a trace, so after a connection was lost the first message says that.

use core::task::{Context, Poll};
use std::io::{self, Write as _};
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::string::{String, ToString};
use std::vec::Vec;

use fata_wire::field::Level;

use super::{Facility, Form, write};
use crate::combine::OWN_TARGET;
use crate::loss::{Cause, Loss};
use crate::net::{Address, Backoff, CALL_TIME, Link, is_timeout};
use crate::record::{Field, MESSAGE, Record, Value};
use crate::reporter::{Item, ReportError, Reporter};
use crate::time::Time;

/// Messages on a stream, and to the system's own socket, are cut at this: what rsyslog takes unless it is told otherwise.
const STREAM_BYTES: usize = 8 << 10;
/// Datagrams over a network: what RFC 5426 asks every receiver to take.
const DATAGRAM_BYTES: usize = 2 << 10;

/// Where messages go.
#[derive(Clone, Debug)]
pub struct Destination(Place);

#[derive(Clone, Debug)]
enum Place {
    Udp(String),
    Unix(PathBuf),
    Stream(Address, &'static str),
}

impl Destination {
    /// Datagrams to `HOST:PORT`.
    #[must_use]
    pub fn udp(host_and_port: &str) -> Self {
        Destination(Place::Udp(host_and_port.into()))
    }

    /// Datagrams to a socket of this system, as `/dev/log`.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Destination(Place::Unix(path.into()))
    }

    /// A TCP stream to `HOST:PORT`.
    #[must_use]
    pub fn tcp(host_and_port: &str) -> Self {
        let address = Address { host_and_port: host_and_port.into(), tls: None };
        Destination(Place::Stream(address, "tcp"))
    }

    /// A TLS stream to `HOST:PORT`, whose certificate must follow from those in the PEM file `authorities`, or from those
    /// that the system trusts.
    ///
    /// # Errors
    /// The file's.
    pub fn tls(
        host_and_port: &str,
        authorities: Option<&std::path::Path>,
    ) -> Result<Self, crate::net::tls::TrustError> {
        let tls = Some(crate::net::tls::Trust::load(authorities)?);
        Ok(Destination(Place::Stream(Address { host_and_port: host_and_port.into(), tls }, "tls")))
    }
}

/// What messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Their form.
    pub form: Form,
    /// Their facility.
    pub facility: Facility,
}

impl Default for Options {
    fn default() -> Self {
        Options { form: Form::Rfc5424, facility: Facility::USER }
    }
}

/// Sends to a syslog server.
pub struct Syslog {
    name: String,
    host: String,
    place: Place,
    options: Options,
    connection: Option<Connection>,
    backoff: Backoff,
    failure: Option<ReportError>,
    /// A stream's message that was begun: the frame, and how much of it the system has.
    begun: Vec<u8>,
    sent: usize,
    /// There was a connection before this one.
    reconnected: bool,
    /// What a datagram's error said of datagrams before it.
    refused: Option<Loss<'static>>,
    last: (Level, Time, usize),
    text: String,
}

enum Connection {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Stream(Link),
}

impl Syslog {
    /// A reporter that connects when it has something to say.
    #[must_use]
    pub fn new(destination: Destination, options: Options) -> Self {
        let name = match &destination.0 {
            Place::Udp(address) => std::format!("syslog udp://{address}"),
            Place::Unix(path) => std::format!("syslog {}", path.display()),
            Place::Stream(address, scheme) => std::format!("syslog {scheme}://{}", address.host_and_port),
        };
        let host = rustix::system::uname().nodename().to_string_lossy().to_string();
        Syslog {
            name,
            host,
            place: destination.0,
            options,
            connection: None,
            backoff: Backoff::default(),
            failure: None,
            begun: Vec::new(),
            sent: 0,
            reconnected: false,
            refused: None,
            last: (Level::Info, Time::wall(0), 0),
            text: String::new(),
        }
    }

    fn connect(&mut self) -> Result<(), ReportError> {
        if self.connection.is_some() {
            return Ok(());
        }
        if self.backoff.left().is_some() {
            // The sentence of the failure, unchanged, so that it is told once.
            return Err(self
                .failure
                .unwrap_or_else(|| ReportError::later(format_args!("{}: not connected", self.name))));
        }
        let connected = match &self.place {
            Place::Udp(address) => connect_udp(address).map(Connection::Udp),
            Place::Unix(path) => UnixDatagram::unbound().and_then(|socket| {
                socket.set_write_timeout(Some(CALL_TIME))?;
                socket.connect(path)?;
                Ok(Connection::Unix(socket))
            }),
            Place::Stream(address, _) => Link::connect(address).map(Connection::Stream),
        };
        match connected {
            Ok(connection) => {
                self.connection = Some(connection);
                // A message that was begun on the last connection is none there.
                self.sent = 0;
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&mut self, error: &io::Error) -> ReportError {
        self.reconnected |= matches!(self.connection, Some(Connection::Stream(_)));
        self.connection = None;
        self.sent = 0;
        self.backoff.failed();
        *self.failure.insert(ReportError::later(format_args!("{}: {error}", self.name)))
    }

    fn busy(&self) -> ReportError {
        ReportError::later(format_args!("{}: takes nothing now", self.name))
    }

    /// Makes `self.text` the message of `item`, not longer than the destination takes.
    fn format(&mut self, item: &Item<'_>) {
        self.text.clear();
        // A `String` takes everything.
        let _ = write(&mut self.text, item, self.options.form, self.options.facility, &self.host);
        let limit = if matches!(self.place, Place::Udp(_)) { DATAGRAM_BYTES } else { STREAM_BYTES };
        if self.text.len() > limit {
            self.text.truncate(self.text.floor_char_boundary(limit - 3));
            self.text.push('…');
        }
        self.text.shrink_to(STREAM_BYTES);
    }

    fn send_datagram(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let sent = match &self.connection {
            Some(Connection::Udp(socket)) => socket.send(self.text.as_bytes()),
            Some(Connection::Unix(socket)) => socket.send(self.text.as_bytes()),
            _ => Err(crate::net::closed()),
        };
        match sent {
            Ok(_) => {
                if matches!(item, Item::Record(_)) {
                    self.last = (item.level(), item.time(), self.text.len());
                }
                self.backoff.worked();
                Ok(())
            }
            Err(error) if is_timeout(&error) => {
                Err(ReportError::later(format_args!("{}: takes nothing now", self.name)))
            }
            Err(error) => {
                let (level, time, bytes) = self.last;
                if bytes > 0 && matches!(self.connection, Some(Connection::Udp(_))) {
                    // The answer "nobody listens" belongs to the datagram before this one, which was taken.
                    let place = "the network to syslog";
                    self.refused.get_or_insert(Loss::new(Cause::Failed, place, time)).add(level, bytes as u64, time);
                    self.last.2 = 0;
                }
                Err(self.failed(&error))
            }
        }
    }

    /// Sends the message in `self.text` as one frame.
    fn send_frame(&mut self) -> Result<(), ReportError> {
        let frame = std::format!("{} {}", self.text.len(), self.text).into_bytes();
        if !self.begun.is_empty() && self.begun != frame {
            // Its owner gave up on it, but the server has half of it.
            self.go_on()?;
        }
        self.begun = frame;
        let sent = self.go_on();
        if sent.is_err() && self.sent == 0 {
            self.begun.clear();
        }
        sent
    }

    /// Writes what is left of the frame that was begun.
    fn go_on(&mut self) -> Result<(), ReportError> {
        while self.sent < self.begun.len() {
            let Some(Connection::Stream(link)) = &mut self.connection else {
                return Err(self.failed(&crate::net::closed()));
            };
            match link.write(self.begun.get(self.sent..).unwrap_or(&[])) {
                Ok(0) => return Err(self.failed(&crate::net::closed())),
                Ok(written) => self.sent += written,
                Err(error) if is_timeout(&error) => return Err(self.busy()),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.begun.clear();
        self.sent = 0;
        self.backoff.worked();
        Ok(())
    }

    fn send(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        self.format(item);
        if matches!(self.place, Place::Stream(..)) { self.send_frame() } else { self.send_datagram(item) }
    }
}

impl Reporter for Syslog {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        if let Some(Connection::Stream(link)) = &mut self.connection
            && let Err(error) = link.check()
        {
            return Err(self.failed(&error));
        }
        self.connect()?;
        if self.reconnected {
            let text = "the connection was lost and is new; what was on its way may not have arrived";
            let fields = [Field { name: MESSAGE, value: Value::Str(text.as_bytes()) }];
            let record = Record { time: item.time(), level: Level::Warn, fields: &fields, ..Record::BLANK };
            self.send(&Item::Record(Record { target: OWN_TARGET, ..record }))?;
            self.reconnected = false;
        }
        if let Some(loss) = self.refused {
            self.send(&Item::Loss(loss))?;
            self.refused = None;
        }
        self.send(item)
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        let flushed = match &mut self.connection {
            Some(Connection::Stream(link)) => link.flush(),
            _ => Ok(()),
        };
        Poll::Ready(flushed.map_err(|error| if is_timeout(&error) { self.busy() } else { self.failed(&error) }))
    }

    fn worst_case_bytes(&self) -> usize {
        // The text, its frame, and what TLS keeps of a record in either direction.
        2 * (STREAM_BYTES + 16) + 2 * (64 << 10)
    }
}

fn connect_udp(address: &str) -> io::Result<UdpSocket> {
    let to = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_write_timeout(Some(CALL_TIME))?;
    socket.connect(to)?;
    Ok(socket)
}

impl core::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Syslog").field("name", &self.name).field("connected", &self.connection.is_some()).finish()
    }
}
