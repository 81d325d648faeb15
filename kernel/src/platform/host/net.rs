//! The network device of a host guest: one end of a cable (`link.rs`), plugged in before the guest boots.
//!
//! Two boot parameters say what is at the other end: `publish=8080:80` (any number of them, `0:80` for any free port) the
//! built-in gateway (`forward.rs`), `link=PATH` whoever listens on that Unix socket in QEMU's stream format, or
//! connects to it where nobody listens yet. Without either the guest has no network.
//!
//! Full: see `link.rs`; no frame is discarded.

use core::task::Waker;
use std::format;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::string::{String, ToString};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::time::Instant;

pub(crate) use super::forward::Publish;
use super::forward::{self, Network};
use super::link::Link;
use crate::Guest;
use crate::net::{self, Config, Net, Nic};

/// The address QEMU gives its first device.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// What [`plug`] has plugged in and the guest has not taken yet.
static PLUGGED: Mutex<Option<Device>> = Mutex::new(None);

/// The device, if a cable is plugged in; only the first call gets it.
#[must_use]
pub fn device() -> Option<Device> {
    PLUGGED.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Brings the network up on the guest's end of the cable.
pub(crate) fn start(guest: &Guest) -> Net {
    Net::start(guest, device())
}

/// Plugs in what the boot parameters say.
///
/// # Errors
/// A sentence for the person who wrote the parameters.
pub(super) fn plug(args: &str) -> Result<(), String> {
    let mut publish = Vec::new();
    let mut link = None;
    let mut mac = MAC;
    for (key, value) in args.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
        match key {
            "publish" => publish.push(value.parse::<Publish>().map_err(|error| format!("`{value}`: {error}"))?),
            "link" => link = Some(value),
            "mac" => {
                mac = parse_mac(value)
                    .ok_or_else(|| format!("`{value}` is not an Ethernet address such as 52:54:00:12:34:57"))?
            }
            _ => {}
        }
    }
    let cable = match link {
        Some(_) if !publish.is_empty() => {
            return Err("`publish=` and `link=` exclude each other: a guest has one cable".into());
        }
        Some(path) => Some(connect(path).map_err(|error| format!("the link {path} cannot be used: {error}"))?),
        None if publish.is_empty() => None,
        None => Some(forward_aloud(args, &publish)?),
    };
    if let Some(cable) = cable {
        let device = Device::new(cable, mac).map_err(|error| format!("the network cannot be used: {error}"))?;
        *PLUGGED.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
    }
    Ok(())
}

fn forward_aloud(args: &str, publish: &[Publish]) -> Result<UnixStream, String> {
    let (cable, addresses) = forward(args, publish)?;
    for (address, publish) in addresses.iter().zip(publish) {
        super::console::write(&format!("published {address} -> guest port {}\n", publish.guest_port));
    }
    Ok(cable)
}

/// A cable with a gateway at its other end, and the addresses at which it publishes the ports.
pub(crate) fn forward(args: &str, publish: &[Publish]) -> Result<(UnixStream, Vec<SocketAddr>), String> {
    let config = Config::from_args(args.split_ascii_whitespace().filter_map(|word| word.split_once('=')))
        .map_err(|error| error.to_string())?;
    let network = Network { guest: config.ip.address(), gateway: config.gateway, prefix_len: config.ip.prefix_len() };
    let (cable, gateway_end) = UnixStream::pair().map_err(|error| format!("the network cannot be used: {error}"))?;
    let addresses = forward::start(gateway_end, network, publish).map_err(|error| error.to_string())?;
    Ok((cable, addresses))
}

/// Connects to whoever listens at `path`; where nobody does, listens there for the one who connects.
fn connect(path: &str) -> io::Result<UnixStream> {
    match UnixStream::connect(path) {
        Ok(stream) => return Ok(stream),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A socket that someone left behind.
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused && fs::metadata(path)?.file_type().is_socket() =>
        {
            fs::remove_file(path)?;
        }
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    super::console::write(&format!("waiting for the other end of the link {path}\n"));
    let (stream, _) = listener.accept()?;
    // One cable has two ends: nobody else is to find it.
    fs::remove_file(path)?;
    Ok(stream)
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

/// A network device.
pub struct Device {
    link: Link,
    mac: [u8; 6],
}

impl Device {
    /// A device with the address `mac` on `cable`.
    pub(crate) fn new(cable: UnixStream, mac: [u8; 6]) -> io::Result<Self> {
        Ok(Device { link: Link::new(cable)?, mac })
    }
}

impl Nic for Device {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.link.set_waker(waker);
    }

    fn flush(&mut self) {
        self.link.flush();
    }
}

impl phy::Device for Device {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Space<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Frame<'_>, Space<'_>)> {
        // No room for an answer, no question.
        if !self.link.has_room() {
            return None;
        }
        let (frame, writer) = self.link.next_frame()?;
        Some((Frame(frame), Space(writer)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Space<'_>> {
        self.link.has_room().then(|| Space(self.link.writer()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        net::ethernet()
    }
}

/// A frame that has arrived.
pub struct Frame<'a>(&'a [u8]);

impl phy::RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a frame to be sent.
pub struct Space<'a>(&'a mut super::frames::FrameWriter);

impl phy::TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.push(len, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::{env, process, thread};

    #[test]
    fn the_first_to_come_to_a_link_waits_for_the_second_even_where_someone_left_a_socket_behind() {
        let path = env::temp_dir().join(format!("fata-link-{}", process::id()));
        drop(UnixListener::bind(&path).unwrap());
        let text = path.to_str().unwrap().to_string();
        let first = {
            let text = text.clone();
            thread::spawn(move || connect(&text).unwrap().write_all(b"frame").unwrap())
        };
        let mut second = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) => thread::yield_now(),
            }
        };
        let mut got = String::new();
        second.read_to_string(&mut got).unwrap();
        first.join().unwrap();
        assert_eq!(got, "frame");
        assert!(!path.exists());
        fs::write(&path, "not a socket").unwrap();
        assert!(connect(&text).is_err());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn parameters_that_make_no_network_are_refused_with_the_word_that_is_wrong() {
        for (args, word) in [
            ("publish=80", "`80`"),
            ("publish=0:80 link=/tmp/x", "`link=`"),
            ("publish=0:80 ip=10.0.2.15", "`ip`"),
            ("publish=0:80 mac=1:2", "`1:2`"),
            ("link=/nonexistent/directory/socket", "/nonexistent"),
        ] {
            assert!(plug(args).unwrap_err().contains(word), "{args}");
        }
    }
}
