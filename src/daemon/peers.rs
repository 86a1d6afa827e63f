//! The peers of the running tunnel: what is known of each, and of all together.
//!
//! Why: a server has thousands of peers, and each of their events asks for what all of them say
//! together: is anybody there, what is the least MTU. Looking at all of them for each event would be
//! work that grows with the square of the peers.
//!
//! How: entries by number, an index by name, and what all say together kept up to date.

use super::fallback::Fallback;
use crate::config::Outage;
use crate::endpoint::{PeerId, PeerState, Sparing};
use crate::time::Time;
use litemap::LiteMap;

/// A peer of the configuration.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in the configuration.
    pub name: String,
    /// The state of the connection with it.
    pub state: PeerState,
    /// Whether its traffic goes into the tunnel.
    pub fallback: Fallback,
    /// The MTU that its paths allow, once known.
    mtu: Option<u16>,
    /// How often its state has been told in the log.
    told: Sparing,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Peers {
    entries: LiteMap<PeerId, Entry>,
    by_name: LiteMap<String, PeerId>,
    up: usize,
    /// How many peers allow each MTU.
    mtus: LiteMap<u16, usize>,
    /// When the first fallback is due, if none may have changed since it was looked for.
    due: Option<Option<Time>>,
}

impl Peers {
    /// Adds a peer that has not answered yet.
    pub fn add(&mut self, id: PeerId, name: &str, outage: Option<Outage>, now: Time) {
        let entry = Entry {
            name: name.to_owned(),
            state: PeerState::Connecting,
            fallback: Fallback::new(outage, now),
            mtu: None,
            told: Sparing::new(now),
        };
        self.by_name.insert(name.to_owned(), id);
        self.entries.insert(id, entry);
        self.due = None;
    }

    /// Forgets the peer with this name; its number.
    pub fn remove(&mut self, name: &str) -> Option<PeerId> {
        let id = self.by_name.remove(name)?;
        self.set_state(id, PeerState::Down);
        self.set_mtu(id, None);
        self.entries.remove(&id);
        self.due = None;
        Some(id)
    }

    /// The numbers in their order.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.entries.keys().copied()
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.due = None;
        self.entries.iter_mut().map(|(_, entry)| entry)
    }

    /// The number of the peer with this name.
    pub fn id(&self, name: &str) -> Option<PeerId> {
        self.by_name.get(name).copied()
    }

    /// The peer with this number.
    pub fn get(&self, id: PeerId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Changes the fallback of the peer with this number.
    pub fn fallback<T>(
        &mut self,
        id: PeerId,
        change: impl FnOnce(&mut Fallback) -> T,
    ) -> Option<T> {
        let fallback = &mut self.entries.get_mut(&id)?.fallback;
        let before = fallback.due();
        let result = change(fallback);
        if fallback.due() != before {
            self.due = None;
        }
        Some(result)
    }

    /// When the first peer's fallback is due.
    pub fn due(&mut self) -> Option<Time> {
        let find = || self.entries.values().filter_map(|peer| peer.fallback.due()).min();
        *self.due.get_or_insert_with(find)
    }

    /// The peer with this name.
    pub fn by_name(&self, name: &str) -> Option<&Entry> {
        self.get(self.id(name)?)
    }

    /// The connection with a peer is in this state.
    pub fn set_state(&mut self, id: PeerId, state: PeerState) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let was = core::mem::replace(&mut entry.state, state);
        self.up -= usize::from(was == PeerState::Up);
        self.up += usize::from(state == PeerState::Up);
    }

    /// Whether a line of log may tell of a peer's state, and how many did not before it.
    pub fn may_tell(&mut self, id: PeerId, now: Time) -> Option<u32> {
        self.entries.get_mut(&id)?.told.tell(now)
    }

    /// The paths to a peer allow this MTU.
    pub fn set_mtu(&mut self, id: PeerId, mtu: Option<u16>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let was = core::mem::replace(&mut entry.mtu, mtu);
        if let Some(count) = was.and_then(|was| self.mtus.get_mut(&was)) {
            *count -= 1;
        }
        self.mtus.retain(|_, count| *count > 0);
        if let Some(mtu) = mtu {
            *self.mtus.entry(mtu).or_default() += 1;
        }
    }

    /// The largest MTU that all peers allow, once one is known.
    pub fn mtu(&self) -> Option<u16> {
        self.mtus.keys().next().copied()
    }

    /// Whether there is a connection with any.
    pub fn any_up(&self) -> bool {
        self.up > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_say_together_follows_each_change() {
        let mut peers = Peers::default();
        for (id, name) in [(0, "a"), (1, "b"), (2, "c")] {
            peers.add(PeerId(id), name, None, Time::ZERO);
        }
        assert_eq!((peers.mtu(), peers.any_up()), (None, false));
        for (id, mtu) in [(0, 1400), (1, 1300), (2, 1300)] {
            peers.set_mtu(PeerId(id), Some(mtu));
            peers.set_state(PeerId(id), PeerState::Up);
        }
        assert_eq!((peers.mtu(), peers.any_up()), (Some(1300), true));
        assert_eq!(peers.remove("b"), Some(PeerId(1)));
        assert_eq!(peers.mtu(), Some(1300));
        peers.set_mtu(PeerId(2), Some(1420));
        assert_eq!(peers.mtu(), Some(1400));
        peers.set_state(PeerId(0), PeerState::Down);
        peers.set_state(PeerId(0), PeerState::Down);
        assert!(peers.any_up());
        assert_eq!((peers.remove("c"), peers.remove("c")), (Some(PeerId(2)), None));
        assert!(!peers.any_up());
        let names: Vec<_> = peers.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!((names, peers.id("a"), peers.id("c")), (vec!["a"], Some(PeerId(0)), None));
        assert!(peers.by_name("a").is_some() && peers.get(PeerId(1)).is_none());
    }
}
