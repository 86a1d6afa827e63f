//! Hosts that use a link beside the tunnel: the other traffic of a home.
//!
//! Why: a link is rarely ours alone. A tunnel that takes all of it, or gives way to everybody,
//! is of no use to the household.
//!
//! How: each link may have a pair of hosts, one at either end, with applications like those
//! behind the tunnel. Their packets share the link's queue with our datagrams and are otherwise
//! no business of ours: the oracle does not see them.

use crate::host::{App, Host};
use crate::link::Datagram;
use crate::packet::{SIDES, Side};
use crate::report::Record;
use onebox::time::Time;
use std::collections::BTreeMap;

/// Longest packet of these hosts: that of Ethernet.
const MTU: u16 = 1500;

/// The hosts, by link.
#[derive(Default)]
pub struct Outside {
    hosts: BTreeMap<usize, [Host; 2]>,
}

impl Outside {
    /// Adds one end of a flow over `link`, which begins at `starts`.
    pub fn add(&mut self, link: usize, side: Side, port: u16, starts: Time, app: Box<dyn App>) {
        let hosts = self.hosts.entry(link).or_insert_with(|| SIDES.map(Host::new));
        hosts[side as usize].add(port, starts, app);
    }

    /// A packet has come over a link.
    pub fn receive(&mut self, now: Time, link: usize, side: Side, packet: &[u8]) {
        if let Some(hosts) = self.hosts.get_mut(&link) {
            hosts[side as usize].receive(now, packet);
        }
    }

    /// A packet to send now: over which link, and from which side; asked until there is none.
    pub fn poll(&mut self, now: Time) -> Option<(usize, Side, Datagram)> {
        for (&link, hosts) in &mut self.hosts {
            for side in SIDES {
                if let Some(bytes) = hosts[side as usize].poll(now, MTU) {
                    let ip_len = bytes.len();
                    let (number, port, session) = (0, 0, 0);
                    let (corrupted, outside) = (false, true);
                    let datagram =
                        Datagram { bytes, number, ip_len, port, session, corrupted, outside };
                    return Some((link, side, datagram));
                }
            }
        }
        None
    }

    /// When one of them wants to be asked.
    pub fn poll_timeout(&self) -> Time {
        let hosts = self.hosts.values().flatten();
        hosts.map(Host::poll_timeout).min().unwrap_or(Time::FAR)
    }

    /// What a flow's end has measured.
    pub fn record(&self, link: usize, side: Side, port: u16) -> Record {
        self.hosts.get(&link).map(|h| h[side as usize].record(port)).unwrap_or_default()
    }
}
