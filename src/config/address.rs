//! Addresses, prefixes and endpoints as the configuration writes them.
//!
//! Why own types: two of the three differ only in what becomes of the bits behind the prefix, and
//! that difference is the point. An [`InterfaceAddress`] keeps them, a [`Cidr`] has none, so that
//! two texts for the same network are equal.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Port of the server unless the configuration says another.
pub const DEFAULT_PORT: u16 = 51830;

/// A text is not what is expected; the caller says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the expected form")]
pub struct AddressError;

/// A network: an address without host bits and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network of this address; none if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Cidr> {
        if prefix > bits(address) {
            return None;
        }
        Some(Cidr { address: masked(address, prefix), prefix })
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address belongs to it. No IPv4 address belongs to an IPv6 network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether it is all of IPv4 or all of IPv6.
    pub fn is_default(&self) -> bool {
        self.prefix == 0
    }
}

impl FromStr for Cidr {
    type Err = AddressError;
    /// `192.168.1.0/24`, `2001:db8::/32`; without `/`, one address.
    fn from_str(text: &str) -> Result<Cidr, AddressError> {
        let (address, prefix) = split(text)?;
        Cidr::new(address, prefix).ok_or(AddressError)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The address of a device in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the network's prefix in bits; never longer than the address.
    pub prefix: u8,
}

impl InterfaceAddress {
    /// The network that it is in.
    pub fn network(&self) -> Cidr {
        Cidr { address: masked(self.address, self.prefix), prefix: self.prefix }
    }
}

impl FromStr for InterfaceAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<InterfaceAddress, AddressError> {
        let (address, prefix) = split(text)?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(AddressError);
        }
        Ok(InterfaceAddress { address, prefix })
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

fn split(text: &str) -> Result<(IpAddr, u8), AddressError> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| AddressError)?;
    let prefix = match prefix {
        None => bits(address),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| AddressError)?
        }
        Some(_) => return Err(AddressError),
    };
    if prefix > bits(address) { Err(AddressError) } else { Ok((address, prefix)) }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name to be looked up, at each attempt anew.
    Name(String),
}

/// Where a peer is reached: host and UDP port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// Its UDP port.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = AddressError;
    /// `name:port`, `192.0.2.1:port`, `[2001:db8::1]:port`; without port, [`DEFAULT_PORT`].
    fn from_str(text: &str) -> Result<Endpoint, AddressError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(AddressError)?;
            let address: Ipv6Addr = address.parse().map_err(|_| AddressError)?;
            let port = match port {
                "" => None,
                _ => Some(port.strip_prefix(':').ok_or(AddressError)?),
            };
            (Host::Address(address.into()), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let host = match host.parse::<Ipv4Addr>() {
                Ok(address) => Host::Address(address.into()),
                Err(_) if is_host_name(host) => Host::Name(host.to_owned()),
                Err(_) => return Err(AddressError),
            };
            (host, port)
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(AddressError)?
            }
            Some(_) => return Err(AddressError),
        };
        Ok(Endpoint { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Host names of RFC 1123 §2.1, with the underscore that some use. The last label is not a
/// number: such a text is a broken address.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_no_host_bits_and_contains_its_addresses() {
        let network: Cidr = "192.168.1.77/24".parse().unwrap();
        assert_eq!(network.to_string(), "192.168.1.0/24");
        assert!(network.contains("192.168.1.255".parse().unwrap()));
        assert!(!network.contains("192.168.2.0".parse().unwrap()));
        assert!(!network.contains("::".parse().unwrap()));
        let all: Cidr = "::1/0".parse().unwrap();
        assert!(all.is_default() && all.contains("ffff::1".parse().unwrap()));
        assert_eq!("10.0.0.1".parse::<Cidr>().unwrap().prefix(), 32);
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/+8", "a/8"] {
            assert_eq!(wrong.parse::<Cidr>(), Err(AddressError), "{wrong}");
        }
    }

    #[test]
    fn a_device_address_keeps_its_host_bits() {
        let address: InterfaceAddress = "10.99.0.2/24".parse().unwrap();
        assert_eq!(address.to_string(), "10.99.0.2/24");
        assert_eq!(address.network().to_string(), "10.99.0.0/24");
        assert!("0.0.0.0/0".parse::<InterfaceAddress>().is_err());
    }

    #[test]
    fn endpoints_are_names_or_addresses_with_a_port() {
        for (text, canonical) in [
            ("vps.example.net:51830", "vps.example.net:51830"),
            ("vps", "vps:51830"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("[2001:DB8::1]:65535", "[2001:db8::1]:65535"),
            ("[2001:db8::1]", "[2001:db8::1]:51830"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), canonical);
        }
        for wrong in [
            "",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "2001:db8::1",
            "300.1.1.1:1",
            "-a:1",
            "a b:1",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
