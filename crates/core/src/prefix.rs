//! Networks and addresses in them, as every layer has them.
//!
//! Why two types: they differ only in what becomes of the bits behind the prefix, and that
//! difference is the point. A [`Prefix`] has none, so that two texts for the same network are
//! equal; an [`InterfaceAddress`] keeps them.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The text is no prefix: an address, or an address, `/` and a length that its family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address range such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotAPrefix;

/// A network, such as `10.0.0.0/8`: the bits behind the length are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// All of IPv4.
    pub const ALL_V4: Prefix = Prefix { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// All of IPv6.
    pub const ALL_V6: Prefix = Prefix { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// The network of `length` leading bits of `address`, the rest of which is ignored; `None`
    /// when an address of its family has fewer bits.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        (length <= width(address)).then(|| Prefix { address: masked(address, length), length })
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of bits that all its addresses share.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address belongs to it. No IPv4 address belongs to an IPv6 network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && masked(address, self.length) == self.address
    }

    /// Whether every address of `other` belongs to it.
    pub fn covers(&self, other: Prefix) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// Whether it is all of IPv4 or all of IPv6.
    pub fn is_default(&self) -> bool {
        self.length == 0
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

impl FromStr for Prefix {
    type Err = NotAPrefix;
    /// `192.168.1.0/24`, `2001:db8::/32`; without `/`, one address.
    fn from_str(text: &str) -> Result<Prefix, NotAPrefix> {
        let (address, length) = split(text)?;
        Prefix::new(address, length).ok_or(NotAPrefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The address of a device in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the network's prefix in bits; never longer than the address.
    pub length: u8,
}

impl InterfaceAddress {
    /// The network that it is in.
    pub fn network(&self) -> Prefix {
        Prefix { address: masked(self.address, self.length), length: self.length }
    }
}

impl FromStr for InterfaceAddress {
    type Err = NotAPrefix;
    fn from_str(text: &str) -> Result<InterfaceAddress, NotAPrefix> {
        let (address, length) = split(text)?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(NotAPrefix);
        }
        Ok(InterfaceAddress { address, length })
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Bits of an address of this family.
pub fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

fn split(text: &str) -> Result<(IpAddr, u8), NotAPrefix> {
    let (address, digits) = match text.split_once('/') {
        Some((address, digits)) => (address, Some(digits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| NotAPrefix)?;
    let length = match digits {
        None => width(address),
        // Rust would also take a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| NotAPrefix)?
        }
        Some(_) => return Err(NotAPrefix),
    };
    if length > width(address) { Err(NotAPrefix) } else { Ok((address, length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_no_host_bits_and_contains_its_addresses() {
        let network = prefix("192.168.1.77/24");
        assert_eq!(network.to_string(), "192.168.1.0/24");
        assert!(network.contains("192.168.1.255".parse().unwrap()));
        assert!(!network.contains("192.168.2.0".parse().unwrap()));
        assert!(!network.contains("::".parse().unwrap()));
        let all = prefix("::1/0");
        assert!(all.is_default() && all.contains("ffff::1".parse().unwrap()));
        assert_eq!((all, prefix("1.2.3.4/0")), (Prefix::ALL_V6, Prefix::ALL_V4));
        assert_eq!((prefix("10.0.0.1").length(), prefix("fd00::1").length()), (32, 128));
    }

    #[test]
    fn a_network_covers_what_is_in_it() {
        assert!(prefix("10.0.0.0/8").covers(prefix("10.1.0.0/16")));
        assert!(prefix("10.0.0.0/8").covers(prefix("10.0.0.0/8")));
        assert!(!prefix("10.1.0.0/16").covers(prefix("10.0.0.0/8")));
        assert!(!prefix("0.0.0.0/0").covers(prefix("::/0")));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "a/8",
        ] {
            assert_eq!(wrong.parse::<Prefix>(), Err(NotAPrefix), "{wrong}");
        }
        assert_eq!(Prefix::new(Ipv4Addr::LOCALHOST.into(), 33), None);
    }

    #[test]
    fn a_device_address_keeps_its_host_bits() {
        let address: InterfaceAddress = "10.99.0.2/24".parse().unwrap();
        assert_eq!(address.to_string(), "10.99.0.2/24");
        assert_eq!(address.network(), prefix("10.99.0.0/24"));
        assert!("0.0.0.0/0".parse::<InterfaceAddress>().is_err());
    }
}
