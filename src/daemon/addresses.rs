//! Writes down what public addresses a router's links have.
//!
//! Why: a provider that gives another address at night breaks what is bound to it, and who asks the next
//! day finds nothing but the time in the log.
//!
//! How: the paths are looked at once a second; an address that was not told last is.
//!
//! Limits: a line for each path every [`GAP_US`] at most, whatever the server says.

use crate::status::Peer;
use crate::time::{SEC, Time};
use litemap::LiteMap;

/// From one line about a path to the next, microseconds.
const GAP_US: u64 = 10 * SEC;

/// What was told.
#[derive(Debug, Default)]
pub struct Addresses {
    /// The address and when, by peer and WAN.
    told: LiteMap<(String, String), (String, Time)>,
}

impl Addresses {
    /// The peers are like this now: what is to be told.
    pub fn note(&mut self, now: Time, peers: &[Peer]) -> Vec<String> {
        let mut lines = Vec::new();
        for (peer, path) in peers.iter().flat_map(|p| p.paths.iter().map(move |path| (p, path))) {
            let Some((address, words)) = path.public_address.as_ref().zip(path.public_words())
            else {
                continue;
            };
            let name = (peer.name.clone(), path.wan.clone());
            let told = self.told.get(&name);
            if told.is_some_and(|(told, at)| told == address || now.since(*at) < GAP_US) {
                continue;
            }
            let was = told.map(|(was, _)| format!(", before {was}")).unwrap_or_default();
            lines.push(format!("{}, {}: seen at {words}{was}", peer.name, path.wan));
            self.told.insert(name, (address.clone(), now));
        }
        // What was told of WANs that are gone is forgotten.
        self.told.retain(|(peer, wan), _| {
            peers.iter().any(|p| p.name == *peer && p.paths.iter().any(|path| path.wan == *wan))
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Path;

    fn peers(address: Option<&str>) -> Vec<Peer> {
        let path = Path {
            wan: "dsl".to_owned(),
            public_address: address.map(str::to_owned),
            nat: Some(true),
            ..Path::default()
        };
        vec![Peer { name: "vps".to_owned(), paths: vec![path], ..Peer::default() }]
    }

    #[test]
    fn a_change_is_told_and_a_flood_is_not() {
        let mut addresses = Addresses::default();
        let at = |seconds: u64| Time(seconds * SEC);
        assert!(addresses.note(at(1), &peers(None)).is_empty());
        let first = addresses.note(at(2), &peers(Some("192.0.2.1")));
        assert_eq!(first, ["vps, dsl: seen at 192.0.2.1 behind a NAT"]);
        for second in 3..30 {
            assert!(addresses.note(at(second), &peers(Some("192.0.2.1"))).is_empty());
            assert!(addresses.note(at(second), &peers(None)).is_empty());
        }
        let changed = addresses.note(at(30), &peers(Some("192.0.2.2")));
        assert_eq!(changed, ["vps, dsl: seen at 192.0.2.2 behind a NAT, before 192.0.2.1"]);
        let flood = (31..91).flat_map(|second| {
            addresses.note(at(second), &peers(Some(&format!("192.0.2.{second}"))))
        });
        assert_eq!(flood.count(), 6);
        assert_eq!(addresses.told.len(), 1);
        assert!(addresses.note(at(91), &[]).is_empty() && addresses.told.is_empty());
    }
}
