//! The address that the server sees a link come from, and what that says of NATs on the way.
//!
//! Why: whether a link is reachable from outside, whose it is and whether it was renumbered, its own
//! address does not tell where a modem or the provider translates it.
//!
//! How: the address is the link's own, or there is a NAT. Who has an own address of 100.64.0.0/10 is
//! behind one of the provider's (RFC 6598); whose NAT it is otherwise nobody can tell.
//!
//! Limits: addresses are compared, not ports; what the server sees is what it says.

use super::model::Path;
use std::net::{IpAddr, SocketAddr};

impl Path {
    /// The server sees it as `public`; `own` is the address that it is sent from, if that is known.
    pub fn set_public(&mut self, own: Option<IpAddr>, public: IpAddr) {
        let (own, public) = (own.map(|own| own.to_canonical()), public.to_canonical());
        self.public_address = Some(public.to_string());
        // While a path moves to its other family, both are of different ones.
        self.nat = own.filter(|own| own.is_ipv4() == public.is_ipv4()).map(|own| own != public);
    }

    /// The public address, with what is known of NATs before it.
    pub fn public_words(&self) -> Option<String> {
        let address = self.public_address.as_ref()?;
        Some(match self.nat {
            Some(true) if self.is_of_provider() => {
                format!("{address} behind the provider's NAT (CGNAT)")
            }
            Some(true) => format!("{address} behind a NAT"),
            Some(false) => format!("{address} without NAT"),
            None => address.clone(),
        })
    }

    /// Whether its own address is of those that providers give to who shares a public one.
    fn is_of_provider(&self) -> bool {
        let alone = || self.local.parse().ok();
        let own = self.local.parse().map(|local: SocketAddr| local.ip()).ok().or_else(alone);
        // RFC 6598 §7: 100.64.0.0/10.
        matches!(own, Some(IpAddr::V4(v4)) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_is_where_the_addresses_differ() {
        for (local, own, public, nat, words) in [
            ("203.0.113.7:9", "203.0.113.7", "203.0.113.7", Some(false), "203.0.113.7 without NAT"),
            ("192.168.1.2:9", "192.168.1.2", "203.0.113.7", Some(true), "203.0.113.7 behind a NAT"),
            (
                "100.64.0.0:9",
                "100.64.0.0",
                "203.0.113.7",
                Some(true),
                "203.0.113.7 behind the provider's NAT (CGNAT)",
            ),
            (
                "100.127.255.255",
                "100.127.255.255",
                "::ffff:203.0.113.7",
                Some(true),
                "203.0.113.7 behind the provider's NAT (CGNAT)",
            ),
            ("100.128.0.1:9", "100.128.0.1", "203.0.113.7", Some(true), "203.0.113.7 behind a NAT"),
            (
                "[2001:db8::1]:9",
                "2001:db8::1",
                "2001:db8::1",
                Some(false),
                "2001:db8::1 without NAT",
            ),
            ("10.0.0.2:9", "10.0.0.2", "2001:db8::1", None, "2001:db8::1"),
            ("", "", "203.0.113.7", None, "203.0.113.7"),
        ] {
            let mut path = Path { local: local.to_owned(), ..Path::default() };
            assert_eq!(path.public_words(), None);
            path.set_public(own.parse().ok(), public.parse().unwrap());
            assert_eq!((path.nat, path.public_words().as_deref()), (nat, Some(words)), "{local}");
        }
    }
}
