//! The address that a path's datagrams are seen to come from at the other end.
//!
//! Why: behind a NAT nobody knows the address that the internet sees, and who looks after a router
//! asks for just that: is the link behind a NAT, whose is it, did it change. The other end sees it on
//! each datagram (compare draft-ietf-quic-address-discovery).
//!
//! How: the endpoint says what it sees once the address is proved, and again when it changes. It goes
//! with a ping at once; after that nothing is sent or looked at until the datagram is found to be lost,
//! or the path has been out of use and is back: then it goes again. Of what arrives, the newest
//! datagram's counts, so that one that was overtaken changes nothing.
//!
//! Limits: one address each way and path; what the peer says of it is shown and decides nothing.

use crate::time::Time;
use core::net::SocketAddr;

/// What both ends see of each other on one path.
#[derive(Debug, Default)]
pub struct Observed {
    /// Where the peer's datagrams come from.
    peer: Option<SocketAddr>,
    /// Whether the peer has yet to be told.
    due: bool,
    /// When it was told.
    told: Option<Time>,
    /// Where ours come from, says the peer, and the number of the datagram in which it said so.
    own: Option<(u64, SocketAddr)>,
}

impl Observed {
    /// The peer's datagrams come from `address`. Returns whether that is news to it.
    pub fn see(&mut self, address: SocketAddr) -> bool {
        let news = self.peer != Some(address);
        if news {
            self.peer = Some(address);
            self.due = true;
        }
        news
    }

    /// What the peer is to be told with the next ping.
    pub fn due(&self) -> Option<SocketAddr> {
        self.peer.filter(|_| self.due)
    }

    /// The peer has been told, in a datagram of this time.
    pub fn told(&mut self, now: Time) {
        self.due = false;
        self.told = Some(now);
    }

    /// A datagram of this time is lost. Returns whether the peer has to be told again; of several
    /// datagrams of one time, each counts.
    pub fn on_lost(&mut self, sent: Time) -> bool {
        self.told == Some(sent) && self.again()
    }

    /// The peer may not know it any more, or has not heard it. Returns whether there is something to
    /// tell.
    pub fn again(&mut self) -> bool {
        self.told = None;
        self.due = self.peer.is_some();
        self.due
    }

    /// The peer says in datagram `number` where our datagrams come from.
    pub fn heard(&mut self, number: u64, address: SocketAddr) {
        if self.own.is_none_or(|(newest, _)| number > newest) {
            self.own = Some((number, address));
        }
    }

    /// Where our datagrams come from; `None` while the peer has not said it.
    pub fn own(&self) -> Option<SocketAddr> {
        self.own.map(|(_, address)| address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn it_is_told_once_and_again_when_lost_or_changed() {
        let mut o = Observed::default();
        assert!(!o.again() && o.due().is_none(), "nothing is known");
        assert!(o.see(address(1)));
        assert_eq!(o.due(), Some(address(1)));
        o.told(Time(5));
        assert!(!o.see(address(1)) && o.due().is_none(), "told");
        assert!(!o.on_lost(Time(4)) && o.due().is_none(), "another datagram");
        assert!(o.on_lost(Time(5)));
        assert_eq!(o.due(), Some(address(1)));
        o.told(Time(6));
        assert!(!o.on_lost(Time(5)));
        assert!(o.see(address(2)));
        assert_eq!(o.due(), Some(address(2)));
        o.told(Time(7));
        assert!(o.again());
        assert_eq!(o.due(), Some(address(2)));
    }

    #[test]
    fn the_newest_datagram_says_it() {
        let mut o = Observed::default();
        o.heard(7, address(2));
        o.heard(6, address(1));
        o.heard(7, address(3));
        assert_eq!(o.own(), Some(address(2)));
        o.heard(8, address(3));
        assert_eq!(o.own(), Some(address(3)));
    }
}
