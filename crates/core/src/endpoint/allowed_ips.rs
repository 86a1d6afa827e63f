//! Which peer an inner address belongs to: longest prefix first, both families.
//!
//! Why: the table is the tunnel's routing and its firewall at once. A packet to send goes to the
//! peer that its destination belongs to, and a packet that arrives is only delivered when its
//! source belongs to the peer that sent it. Neither can then be had without the other.
//!
//! How: one sorted map per prefix length in use, asked from the longest down. Real
//! configurations use one to three lengths, so a look-up is one to three searches among the
//! prefixes of one length, without pointers to chase along the bits.
//!
//! Limits: [`PREFIXES_MAX`] prefixes. A prefix belongs to one peer: the one that claimed it last,
//! as in WireGuard.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use litemap::LiteMap;

use super::PeerId;
use crate::prefix::Prefix;

/// Prefixes in the table at most; further ones are refused. Some 100 bytes each.
pub const PREFIXES_MAX: usize = 16_384;

/// The address from the highest bit down.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()) << 96,
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// The `length` leading bits.
fn mask(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The prefixes of one length.
#[derive(Debug)]
struct Level {
    length: u8,
    owners: BTreeMap<u128, PeerId>,
}

/// The table.
#[derive(Debug, Default)]
pub struct AllowedIps {
    /// Longest first.
    v4: Vec<Level>,
    /// Longest first.
    v6: Vec<Level>,
    /// What each peer was given; another may have claimed some of it since.
    given: LiteMap<PeerId, Vec<Prefix>>,
    count: usize,
}

impl AllowedIps {
    /// An empty table.
    pub fn new() -> AllowedIps {
        AllowedIps::default()
    }

    /// Gives `prefix` to `peer`, whoever had it; `false` when the table is full.
    pub fn insert(&mut self, prefix: Prefix, peer: PeerId) -> bool {
        if self.count >= PREFIXES_MAX {
            return false;
        }
        let levels = if prefix.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let found = levels.binary_search_by(|level| prefix.length().cmp(&level.length));
        let place = found.unwrap_or_else(|place| {
            levels.insert(place, Level { length: prefix.length(), owners: BTreeMap::new() });
            place
        });
        if levels[place].owners.insert(bits(prefix.address()), peer).is_none() {
            self.count += 1;
        }
        self.given.entry(peer).or_default().push(prefix);
        true
    }

    /// Takes everything from `peer`.
    pub fn remove(&mut self, peer: PeerId) {
        for prefix in self.given.remove(&peer).unwrap_or_default() {
            let levels = if prefix.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            let found = levels.binary_search_by(|level| prefix.length().cmp(&level.length));
            let Ok(place) = found else { continue };
            if let Entry::Occupied(owner) = levels[place].owners.entry(bits(prefix.address()))
                && *owner.get() == peer
            {
                owner.remove();
                self.count -= 1;
            }
            if levels[place].owners.is_empty() {
                levels.remove(place);
            }
        }
    }

    /// The peer that `address` belongs to.
    pub fn lookup(&self, address: IpAddr) -> Option<PeerId> {
        let levels = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let bits = bits(address);
        levels.iter().find_map(|level| level.owners.get(&mask(bits, level.length)).copied())
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[(&str, u32)]) -> AllowedIps {
        let mut table = AllowedIps::new();
        for (prefix, peer) in entries {
            assert!(table.insert(prefix.parse().unwrap(), PeerId(*peer)));
        }
        table
    }

    fn owner(table: &AllowedIps, address: &str) -> Option<u32> {
        table.lookup(address.parse().unwrap()).map(|peer| peer.0)
    }

    #[test]
    fn the_longest_prefix_wins_in_both_families() {
        let table = table(&[
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.0.0/16", 3),
            ("10.1.2.3", 4),
            ("2001:db8::/32", 5),
            ("2001:db8:1::/48", 6),
        ]);
        assert_eq!(owner(&table, "192.0.2.1"), Some(1));
        assert_eq!(owner(&table, "10.2.0.1"), Some(2));
        assert_eq!(owner(&table, "10.1.9.9"), Some(3));
        assert_eq!(owner(&table, "10.1.2.3"), Some(4));
        assert_eq!(owner(&table, "2001:db8::1"), Some(5));
        assert_eq!(owner(&table, "2001:db8:1::1"), Some(6));
        assert_eq!(owner(&table, "2001:db9::1"), None, "0.0.0.0/0 is not for IPv6");
    }

    #[test]
    fn a_prefix_has_one_owner_and_goes_with_it() {
        let mut table = table(&[("10.0.0.0/8", 1), ("10.0.0.0/8", 2), ("::/0", 2)]);
        assert_eq!(table.len(), 2);
        assert_eq!(owner(&table, "10.0.0.1"), Some(2));
        table.remove(PeerId(2));
        assert!(table.is_empty());
        assert_eq!(owner(&table, "10.0.0.1"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            entries in prop::collection::vec((any::<u32>(), 0u8..=32), 0..40),
            near: prop::sample::Index,
            flip in 0u32..32,
            random: u32,
        ) {
            let mut table = AllowedIps::new();
            let mut list: Vec<(Prefix, PeerId)> = Vec::new();
            for (i, &(address, length)) in entries.iter().enumerate() {
                let prefix = Prefix::new(IpAddr::V4(address.into()), length).unwrap();
                table.insert(prefix, PeerId(i as u32));
                list.retain(|(p, _)| *p != prefix);
                list.push((prefix, PeerId(i as u32)));
            }
            let mut addresses = vec![random];
            if !entries.is_empty() {
                addresses.push(near.get(&entries).0 ^ 1 << flip);
            }
            for address in addresses {
                let contains = |p: &Prefix| mask(bits(IpAddr::V4(address.into())), p.length()) == bits(p.address());
                let expected = list.iter().filter(|(p, _)| contains(p)).max_by_key(|(p, _)| p.length()).map(|e| e.1);
                prop_assert_eq!(table.lookup(IpAddr::V4(address.into())), expected);
            }
        }
    }
}
