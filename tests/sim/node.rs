//! What the world drives: one end of a tunnel, whatever it is made of.

use crate::link::Datagram;
use onebox::engine::{Memory, Snapshot, SpeedTestPlan};
use onebox::time::Time;

/// A datagram that a node wants sent, and where.
#[derive(Debug)]
pub struct Outgoing {
    /// Which link.
    pub link: usize,
    /// The datagram. A client's `port` is ignored: the link's NAT sets it.
    pub datagram: Datagram,
}

/// What a node may be told about a link, or asked to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is there: use it.
    Up,
    /// Its carrier is gone.
    CarrierLost,
    /// It is not to be used any more.
    Remove,
    /// To be used as a backup only.
    Backup,
    /// To be used always.
    Active,
    /// Its bytes cost money.
    Metered,
}

/// One end of a tunnel.
pub trait Node {
    /// A packet from the host behind this end.
    fn push(&mut self, now: Time, packet: &[u8]);
    /// A datagram from the other end.
    fn receive(&mut self, now: Time, link: usize, datagram: &Datagram);
    /// A link of this end has changed.
    fn link_event(&mut self, now: Time, link: usize, event: LinkEvent);
    /// The time of [`poll_timeout`](Node::poll_timeout) has come.
    fn timeout(&mut self, now: Time);
    /// What to send now; asked until there is nothing.
    fn poll_transmit(&mut self, now: Time) -> Option<Outgoing>;
    /// A packet for the host behind this end; asked until there is nothing.
    fn poll_deliver(&mut self) -> Option<Vec<u8>>;
    /// When it wants to be woken.
    fn poll_timeout(&mut self) -> Time;
    /// Begins a speed test, if it knows how.
    fn speed_test(&mut self, now: Time, plan: SpeedTestPlan) {
        let _ = (now, plan);
    }
    /// The longest packet that the tunnel takes whole.
    fn mtu(&self) -> u16;
    /// What it keeps.
    fn memory(&self, now: Time) -> Memory {
        let _ = now;
        Memory::default()
    }
    /// All that it knows, if it has an engine.
    fn snapshot(&self, now: Time) -> Option<Snapshot> {
        let _ = now;
        None
    }
    /// A line for people about what it believes of its paths.
    fn describe(&self, now: Time) -> String {
        let _ = now;
        String::new()
    }
}
