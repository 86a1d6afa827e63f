//! The bonding state machine: one peer's connection over many paths.
//!
//! Why: everything that makes several links behave like one better link is decided here, on both
//! ends in the same way: what to send next, on which path and when; what was lost and where it
//! goes again; what has to wait for its predecessors and for how long; which path can be trusted.
//!
//! How: a pure state machine in the manner of quinn-proto. Inner packets go in with
//! [`push_packet`](Engine::push_packet), decrypted payloads with
//! [`handle_payload`](Engine::handle_payload); payloads to seal and send come out of
//! [`poll_transmit`](Engine::poll_transmit), packets for the TUN device out of
//! [`poll_deliver`](Engine::poll_deliver), and [`poll_timeout`](Engine::poll_timeout) says when
//! [`handle_timeout`](Engine::handle_timeout) wants to be called if nothing else happens before.
//! There is no clock, socket or thread in here, and the only randomness is a seed.
//!
//! ```text
//!  push_packet -> entrance -> schedule -> path (pacing, rate) -> poll_transmit
//!                                ^  recover <- acknowledgements
//!  handle_payload -> path (acks) -> resequence -> poll_deliver
//! ```
//!
//! Limits: [`PATHS_MAX`](crate::wire::PATHS_MAX) paths; memory as [`Settings::memory`] says.

mod standin;

pub use standin::{Engine, Reason, Snapshot};

use crate::crypto::packet::PacketNumber;
use crate::wire::PathId;

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seed of the engine's own small decisions: flow hash, jitter of timers.
    pub seed: u64,
    /// Longest time that a packet may wait for its predecessors, microseconds, whatever the paths'
    /// delays would ask for.
    pub hold_max_us: u64,
    /// Bound in bytes of all packets kept: a quarter waiting to be sent, half sent and not yet
    /// acknowledged, a quarter waiting for their predecessors.
    pub memory: usize,
    /// Time between probes of a path that carries nothing, microseconds: keeps NAT bindings.
    pub probe_interval_us: u64,
    /// Whether this end opens the paths (the router) or follows (the server).
    pub client: bool,
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

/// Where a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To the path's validated address.
    Current,
    /// To every address that the path might have: on the client over each address family, on the
    /// server also to the newest source address seen. Only small datagrams that prove addresses.
    Probe,
}

/// A payload to seal and send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The path to send it on.
    pub path: PathId,
    /// Its packet number.
    pub number: PacketNumber,
    /// How many bytes were written.
    pub len: usize,
    /// Where it goes.
    pub target: Target,
}

/// The states of a path, as the status shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum PathState {
    /// Its address is being proved, or it is coming back.
    Probing,
    /// In use.
    Active,
    /// Ready, not needed now.
    Backup,
    /// Data went unanswered: nothing new is sent on it, it is being probed.
    Suspect,
    /// It would cost the bond more than it gives.
    Held,
    /// Gone, or switched off.
    Down,
}

/// A change worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The address that the datagram now being handled came from is the peer's, on this path:
    /// send there from now on.
    Validated(PathId),
    /// A path has a new state.
    PathChanged(PathId, PathState),
    /// All paths are suspect or down: the peer may have restarted.
    PeerSilent,
    /// The peer has said good-bye.
    PeerClosed,
    /// The tunnel's MTU should be this.
    Mtu(u16),
}
