//! An address with a prefix length, as interfaces and routes have it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its leading bits name the network.
///
/// Host bits may be set: an interface address keeps them, [`network`](Prefix::network) clears
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Leading bits that name the network: at most 32 (IPv4) or 128 (IPv6).
    pub length: u8,
}

impl Prefix {
    /// `length` is cut to what the family has.
    pub fn new(address: IpAddr, length: u8) -> Prefix {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Prefix { address, length: length.min(bits) }
    }

    /// Just this one address.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix::new(address, 128)
    }

    /// The same prefix without host bits.
    pub fn network(self) -> Prefix {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Prefix { address, length: self.length }
    }

    /// Whether every address of `other` is in this network.
    pub fn contains(self, other: Prefix) -> bool {
        self.is_ipv4() == other.is_ipv4()
            && self.length <= other.length
            && Prefix { length: self.length, ..other }.network() == self.network()
    }

    /// Whether it covers every address of its family.
    pub fn is_default(self) -> bool {
        self.length == 0
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// What was read is not `ADDRESS/LENGTH` or `ADDRESS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address or prefix")]
pub struct BadPrefix;

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Prefix, BadPrefix> {
        let Some((address, length)) = text.split_once('/') else {
            return Ok(Prefix::host(text.parse().map_err(|_| BadPrefix)?));
        };
        let address: IpAddr = address.parse().map_err(|_| BadPrefix)?;
        let length: u8 = length.parse().map_err(|_| BadPrefix)?;
        let prefix = Prefix::new(address, length);
        if prefix.length == length { Ok(prefix) } else { Err(BadPrefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_masks() {
        let prefix: Prefix = "10.99.3.2/24".parse().unwrap();
        assert_eq!(prefix.network().to_string(), "10.99.3.0/24");
        assert_eq!("::/0".parse::<Prefix>().unwrap().network().to_string(), "::/0");
        assert_eq!("fd00::1".parse::<Prefix>().unwrap().length, 128);
        assert_eq!("1.2.3.4/0".parse::<Prefix>().unwrap().network().to_string(), "0.0.0.0/0");
    }

    #[test]
    fn a_network_contains_what_is_in_it() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        assert!(prefix("10.0.0.0/8").contains(prefix("10.1.0.0/16")));
        assert!(prefix("10.0.0.0/8").contains(prefix("10.0.0.0/8")));
        assert!(!prefix("10.1.0.0/16").contains(prefix("10.0.0.0/8")));
        assert!(!prefix("0.0.0.0/0").contains(prefix("::/0")));
    }

    #[test]
    fn refuses_what_is_no_prefix() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.1/", "a/8"] {
            assert_eq!(text.parse::<Prefix>(), Err(BadPrefix), "{text}");
        }
    }
}
