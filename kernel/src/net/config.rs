//! The guest's addresses, from its boot parameters: `ip=10.0.2.15/24 gw=10.0.2.2 ip6=fec0::15/64 gw6=fec0::2`.
//!
//! What is not given is as QEMU's user networking has it. The IPv6 link-local address follows from the device's.

use core::fmt;

use smoltcp::wire::{IpCidr, Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr};

/// Addresses and routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The IPv4 address and its network.
    pub ip: Ipv4Cidr,
    /// The IPv4 router.
    pub gateway: Ipv4Address,
    /// The IPv6 address and its network.
    pub ip6: Ipv6Cidr,
    /// The IPv6 router.
    pub gateway6: Ipv6Address,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ip: Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24),
            gateway: Ipv4Address::new(10, 0, 2, 2),
            ip6: Ipv6Cidr::new(Ipv6Address::new(0xfec0, 0, 0, 0, 0, 0, 0, 0x15), 64),
            gateway6: Ipv6Address::new(0xfec0, 0, 0, 0, 0, 0, 0, 2),
        }
    }
}

/// A boot parameter that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress {
    /// The parameter.
    pub key: &'static str,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let example = match self.key {
            "ip" => "10.0.2.15/24",
            "gw" => "10.0.2.2",
            "ip6" => "fec0::15/64",
            _ => "fec0::2",
        };
        write!(f, "the boot parameter `{key}` is not an address: write it like {key}={example}", key = self.key)
    }
}

impl core::error::Error for BadAddress {}

impl Config {
    /// Takes from `args` what it gives, and the rest from the default.
    ///
    /// # Errors
    /// [`BadAddress`] for the first parameter that cannot be read.
    pub fn from_args<'a>(args: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, BadAddress> {
        let mut config = Config::default();
        for (key, value) in args {
            match key {
                "ip" => config.ip = cidr(value, 32, Ipv4Cidr::new).ok_or(BadAddress { key: "ip" })?,
                "gw" => config.gateway = value.parse().map_err(|_| BadAddress { key: "gw" })?,
                "ip6" => config.ip6 = cidr(value, 128, Ipv6Cidr::new).ok_or(BadAddress { key: "ip6" })?,
                "gw6" => config.gateway6 = value.parse().map_err(|_| BadAddress { key: "gw6" })?,
                _ => {}
            }
        }
        Ok(config)
    }

    /// All addresses of a device with the Ethernet address `mac`.
    pub(super) fn addresses(&self, mac: [u8; 6]) -> [IpCidr; 3] {
        let [a, b, c, d, e, f] = mac;
        let interface_id = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..].copy_from_slice(&interface_id);
        let link_local = Ipv6Cidr::new(Ipv6Address::from(octets), 64);
        [self.ip.into(), link_local.into(), self.ip6.into()]
    }
}

fn cidr<A: core::str::FromStr, C>(text: &str, max_prefix: u8, new: impl FnOnce(A, u8) -> C) -> Option<C> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|&prefix| prefix <= max_prefix)?;
    Some(new(address.parse().ok()?, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn parameters_replace_the_defaults_and_others_are_left_alone() {
        let config = Config::from_args([("ip", "192.168.7.9/16"), ("sample", "http"), ("gw6", "fe80::1")].into_iter());
        let config = config.unwrap();
        assert_eq!(config.ip, Ipv4Cidr::new(Ipv4Address::new(192, 168, 7, 9), 16));
        assert_eq!(config.gateway, Config::default().gateway);
        assert_eq!(config.gateway6.to_string(), "fe80::1");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for (key, value) in
            [("ip", "10.0.2.15"), ("ip", "10.0.2/24"), ("ip", "10.0.2.15/33"), ("gw", "router"), ("ip6", "::1/129")]
        {
            let error = Config::from_args([(key, value)].into_iter()).unwrap_err();
            assert!(error.to_string().contains(&alloc::format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn the_link_local_address_follows_from_the_device() {
        let [_, link_local, _] = Config::default().addresses([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(link_local.to_string(), "fe80::5054:ff:fe12:3456/64");
    }
}
