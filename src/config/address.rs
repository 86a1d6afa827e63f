//! Endpoints as the configuration writes them.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Port of the server unless the configuration says another.
pub const DEFAULT_PORT: u16 = 51830;

/// A text is not what is expected; the caller says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the expected form")]
pub struct AddressError;

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
        Endpoint::with_default_port(text, DEFAULT_PORT)
    }
}

impl Endpoint {
    /// The same with another port for a text without one.
    ///
    /// # Errors
    ///
    /// The text is neither a name nor an address, or its port none.
    pub fn with_default_port(text: &str, default: u16) -> Result<Endpoint, AddressError> {
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
            None => default,
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
