//! TLS over a TCP stream, with the names and times of every other link.
//!
//! Invariant: a receiver whose certificate does not follow from the trusted ones, or names another host, gets nothing.

use std::boxed::Box;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Where Debian and most others keep the authorities that the system trusts.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
}

/// The authorities cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is not there, or is no PEM.
    #[error("{path}: {reason}; a PEM file with the certificates of trusted authorities is needed: ca=PATH")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: std::string::String,
    },
    /// The library has no protocol version in common with itself.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

impl Trust {
    /// Trusts the authorities in the PEM file `path`, or the system's.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, TrustError> {
        let path = path.unwrap_or(Path::new(SYSTEM));
        let unreadable =
            |reason: &dyn ToString| TrustError::Unreadable { path: path.into(), reason: reason.to_string() };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            // A system's list may hold one that this library does not understand; the others still count.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(unreadable(&"no certificate in it"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Library)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust { config: Arc::new(config) })
    }
}

/// Shakes hands within the stream's own times.
pub(super) fn wrap(stream: TcpStream, host_and_port: &str, trust: &Trust) -> io::Result<Box<Stream>> {
    let host = host_and_port.rsplit_once(':').map_or(host_and_port, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let connection = ClientConnection::new(trust.config.clone(), name).map_err(io::Error::other)?;
    let mut stream = Box::new(StreamOwned::new(connection, stream));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Reads what the receiver has sent (tickets, alerts) and throws its data away; fails where it has closed.
pub(super) fn drain(stream: &mut Stream) -> io::Result<()> {
    stream.sock.set_nonblocking(true)?;
    let read = read_some(stream);
    stream.sock.set_nonblocking(false)?;
    read
}

fn read_some(stream: &mut Stream) -> io::Result<()> {
    for _ in 0..super::READ_STEPS {
        match stream.conn.read_tls(&mut stream.sock) {
            Ok(0) => return Err(super::closed()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let state = stream.conn.process_new_packets().map_err(io::Error::other)?;
        if state.peer_has_closed() {
            return Err(super::closed());
        }
        let mut left = state.plaintext_bytes_to_read();
        let mut bytes = [0; 512];
        while left > 0 {
            let step = left.min(bytes.len());
            let read = io::Read::read(&mut stream.conn.reader(), bytes.get_mut(..step).unwrap_or(&mut []))?;
            left -= read.clamp(1, left);
        }
    }
    Ok(())
}
