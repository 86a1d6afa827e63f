//! Ends without a tunnel: the comparison. And the naive splitter: what a bond must not be.

use crate::link::Datagram;
use crate::node::{LinkEvent, Node, Outgoing};
use onebox::time::Time;
use std::collections::VecDeque;

/// The IP packet goes over a link as it is: over the only one, or over each in turn.
///
/// With one link it is the plain link; with several it is the naive splitter, per-packet round
/// robin without sequence, recovery or rate.
#[derive(Debug, Default)]
pub struct Plain {
    links: Vec<usize>,
    next: usize,
    out: VecDeque<Vec<u8>>,
    inbox: VecDeque<Vec<u8>>,
}

impl Node for Plain {
    fn push(&mut self, _now: Time, packet: &[u8]) {
        self.out.push_back(packet.to_vec());
    }

    fn receive(&mut self, _now: Time, _link: usize, datagram: &Datagram) {
        if !datagram.corrupted {
            self.inbox.push_back(datagram.bytes.clone());
        }
    }

    fn link_event(&mut self, _now: Time, link: usize, event: LinkEvent) {
        self.links.retain(|&l| l != link);
        if matches!(event, LinkEvent::Up | LinkEvent::Active) {
            self.links.push(link);
        }
    }

    fn timeout(&mut self, _now: Time) {}

    fn poll_transmit(&mut self, _now: Time) -> Option<Outgoing> {
        let bytes = self.out.pop_front()?;
        self.next += 1;
        let link = *self.links.get(self.next % self.links.len().max(1))?;
        let (ip_len, session) = (bytes.len(), 0);
        let datagram = Datagram {
            bytes,
            number: 0,
            ip_len,
            port: 0,
            session,
            corrupted: false,
            outside: false,
        };
        Some(Outgoing { link, datagram })
    }

    fn poll_deliver(&mut self) -> Option<Vec<u8>> {
        self.inbox.pop_front()
    }

    fn poll_timeout(&mut self) -> Time {
        Time::FAR
    }

    fn mtu(&self) -> u16 {
        1500
    }
}
