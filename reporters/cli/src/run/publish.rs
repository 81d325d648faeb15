//! A published port, `HOST:GUEST`.

use std::net::TcpListener;
use std::str::FromStr;

use anyhow::bail;

/// One TCP port of the guest on this machine's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    /// The port on 127.0.0.1; 0 is any free one.
    pub(crate) host: u16,
    /// The guest's port.
    pub(crate) guest: u16,
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |port: &str| port.parse::<u16>().ok();
        text.split_once(':')
            .and_then(|(host, guest)| {
                Some(Publish { host: parse(host)?, guest: parse(guest).filter(|&port| port > 0)? })
            })
            .ok_or_else(|| format!("{text:?} is no pair of ports: write HOST:GUEST, such as 8080:80"))
    }
}

impl Publish {
    /// This pair with a host port that is free now: the one that was asked for, or any where that is 0.
    pub(crate) fn with_free_port(self) -> anyhow::Result<Self> {
        match TcpListener::bind(("127.0.0.1", self.host)) {
            Ok(listener) => Ok(Publish { host: listener.local_addr()?.port(), ..self }),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                bail!("port {} of 127.0.0.1 is in use by another program: publish another one, or 0 for any", self.host)
            }
            Err(error) => bail!("port {} of 127.0.0.1 cannot be had: {error}; publish one above 1023", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_ports_is_read_and_anything_else_refused() {
        assert_eq!("8080:80".parse(), Ok(Publish { host: 8080, guest: 80 }));
        assert_eq!("0:80".parse(), Ok(Publish { host: 0, guest: 80 }));
        for wrong in ["80", "80:0", "a:b", "1:2:3", "70000:1", ""] {
            assert!(wrong.parse::<Publish>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_in_use_is_a_sentence_and_zero_is_any_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = taken.local_addr().unwrap().port();
        let error = Publish { host, guest: 80 }.with_free_port().unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        assert_ne!(Publish { host: 0, guest: 80 }.with_free_port().unwrap().host, 0);
    }
}
