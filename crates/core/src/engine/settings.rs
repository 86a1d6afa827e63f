//! What an engine and its paths are given from outside.

use crate::time::SEC;

/// Default of [`Settings::hold_max_us`]: a loss on a satellite's link is noticed after its round trip
/// of 0.6 s, and is to be repaired even so.
pub const HOLD_MAX_US: u64 = SEC;
/// Default of [`Settings::memory`]. 50 Mbit/s beside 50 Mbit/s that take 0.3 s longer need 11 of the 12 MiB
/// that are for sending.
pub const MEMORY: usize = 16 << 20;

/// Which end of a connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Calls, and opens the paths: a router towards its server.
    Opening,
    /// Answers, and follows the paths that the other end opens.
    Answering,
}

impl Side {
    /// Whether this end opens the paths.
    pub fn opens(self) -> bool {
        self == Side::Opening
    }
}

/// What an engine is given once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seed of the flow hash and, by a function of one way, of what the peer must not foresee: secret,
    /// and another one for each connection.
    pub seed: u64,
    /// Longest time that a packet may wait for its predecessors, microseconds, whatever the paths'
    /// delays would ask for.
    pub hold_max_us: u64,
    /// Bound in bytes of all packets kept: waiting to be sent, sent and not yet acknowledged (half at
    /// most), waiting for their predecessors. A quarter is kept free for each direction, the rest
    /// is taken by who needs it. Beside it, 65 buffers for each path that is protected
    /// by parity.
    pub memory: usize,
    /// Time between probes of a path that carries nothing, microseconds: keeps NAT bindings.
    pub probe_interval_us: u64,
    /// Which end of the connection this is.
    pub side: Side,
    /// Forward error correction: whether parity protects what is sent, where it helps.
    pub fec: bool,
}

impl Settings {
    /// What of the memory is each direction's own, bytes.
    pub(super) fn quarter(&self) -> usize {
        self.memory / 4
    }
}

/// How a path may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Always.
    #[default]
    Active,
    /// When the active ones cannot carry the demand, or are gone.
    Backup,
    /// Not at all.
    Off,
}

/// What is known of a path when it is opened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PathSettings {
    /// How it may be used.
    pub mode: Mode,
    /// Whether its bytes cost money: probed rarely, used last.
    pub metered: bool,
    /// Bound of what we send on it, bytes per second; `None`: measured only.
    pub send_rate_max: Option<u64>,
    /// Bound of what the peer may send on it, bytes per second; `None`: measured only.
    pub receive_rate_max: Option<u64>,
    /// The largest IP packet that the link takes, bytes with IP header.
    pub link_mtu: u16,
    /// Bytes of the outer IP and UDP headers: 28 for IPv4, 48 for IPv6.
    pub ip_overhead: u16,
}
