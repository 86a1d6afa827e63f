//! The one snapshot of the running program that the command line, ubus and LuCI show.
//!
//! Plain data with the field names of the status contract: what `onebox status --json` prints and
//! `ubus call onebox status` answers is this structure and nothing else. Rates are kbit/s, times
//! milliseconds or seconds as the suffix says, losses percent. "Up" is from the router to the
//! server and "down" the other way, on both ends.
//!
//! Beside sentences are their codes, which stay the same from version to version. What a version has
//! more than the reader's is passed over, what it has less reads as empty.
//!
//! A [`Change`] is what is told on ubus when a state changes.

use super::reason::Reason;
use super::state::{PathState, PeerState, Role, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything there is to see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running program.
    pub version: String,
    /// `client` or `server`.
    pub role: Role,
    /// `disabled`, `connecting`, `up` or `down`.
    pub state: State,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Name of the TUN device.
    pub device: String,
    /// MTU of the TUN device.
    pub mtu: u32,
    /// Addresses of the TUN device, with prefix length.
    pub addresses: Vec<String>,
    /// The peers in the order of the configuration.
    pub peers: Vec<Peer>,
    /// Packets that were dropped, by reason in words.
    pub drops: BTreeMap<String, u64>,
    /// The same by code.
    #[serde(default)]
    pub drop_codes: BTreeMap<String, u64>,
    /// What is wrong now, oldest first.
    #[serde(default)]
    pub problems: Vec<ShownProblem>,
}

/// A [`Problem`](super::problem::Problem) that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownProblem {
    /// Its code.
    pub code: String,
    /// What it is about, such as a name or a file; may be empty.
    pub subject: String,
    /// What is wrong, a sentence.
    pub words: String,
    /// What to do about it, a sentence.
    pub remedy: String,
    /// Since when, seconds since 1970-01-01 UTC.
    pub since_s: u64,
}

/// What went wrong last with a peer or a path, and is not mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The code of the [`Problem`](super::problem::Problem) or
    /// [`PathError`](super::path_error::PathError), or why the peer's handshakes are refused
    /// ([`Drop`](crate::endpoint::Drop)).
    pub code: String,
    /// What went wrong, a sentence.
    pub words: String,
    /// What to do about it, a sentence.
    pub remedy: String,
    /// Seconds since it happened last.
    pub age_s: u64,
}

/// One peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name in the configuration.
    pub name: String,
    /// `connecting`, `up` or `down`.
    pub state: PeerState,
    /// Where it is reached, or was last seen.
    pub endpoint: String,
    /// Seconds since the last completed handshake; absent before the first.
    pub last_handshake_s: Option<u64>,
    /// Bytes of inner packets received from it.
    pub rx_bytes: u64,
    /// Bytes of inner packets sent to it.
    pub tx_bytes: u64,
    /// The paths to it.
    pub paths: Vec<Path>,
    /// What bonding gives.
    pub bond: Bond,
    /// What went wrong last; none if nothing is wrong.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// The last speed test; none if there was none since the connection began.
    #[serde(default)]
    pub speed_test: Option<SpeedTest>,
}

impl Peer {
    /// What goes wrong with it and with its paths, by the path's WAN. What it tells itself, its paths need
    /// not tell again.
    pub fn errors(&self) -> impl Iterator<Item = (Option<&str>, &LastError)> {
        let own = self.last_error.as_ref();
        let of_paths = self.paths.iter().filter_map(move |path| {
            let error = path.last_error.as_ref()?;
            let told = own.is_some_and(|own| own.code == error.code);
            (!told).then_some((Some(path.wan.as_str()), error))
        });
        own.map(|error| (None, error)).into_iter().chain(of_paths)
    }
}

/// One path: a WAN of the router to an address of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Name of the WAN (its section in the configuration, or the device).
    pub wan: String,
    /// Network device of the WAN; empty on the server.
    pub device: String,
    /// What kind of connection it is: `ethernet`, `wifi`, `mobile` or `ppp`; empty on the server.
    #[serde(default)]
    pub link_type: String,
    /// Its next router; empty on the server and where there is none.
    #[serde(default)]
    pub gateway: String,
    /// Local address and port.
    pub local: String,
    /// Remote address and port.
    pub remote: String,
    /// The address that the server sees it come from, see `public.rs`; none on the server, and until the
    /// server has said so.
    #[serde(default)]
    pub public_address: Option<String>,
    /// Whether that is not its own address; none while either is not known.
    #[serde(default)]
    pub nat: Option<bool>,
    /// `probing`, `active`, `backup`, `suspect`, `held` or `down`.
    pub state: PathState,
    /// Why it is in this state, a sentence.
    pub reason: String,
    /// The same as a code, see [`reason`](super::reason).
    #[serde(default)]
    pub reason_code: String,
    /// The number in it, if there is one.
    #[serde(default)]
    pub reason_value: Option<u64>,
    /// Smoothed round-trip time.
    pub rtt_ms: f64,
    /// Smallest round-trip time of the last seconds.
    pub rtt_min_ms: f64,
    /// Variation of the round-trip time.
    pub jitter_ms: f64,
    /// Packets lost from router to server.
    pub loss_up_percent: f64,
    /// Packets lost from server to router.
    pub loss_down_percent: f64,
    /// What it carries now, router to server.
    pub rate_up_kbps: u64,
    /// What it carries now, server to router.
    pub rate_down_kbps: u64,
    /// What it can carry, router to server; none until it was once full.
    pub capacity_up_kbps: Option<u64>,
    /// What it can carry, server to router; none until it was once full.
    pub capacity_down_kbps: Option<u64>,
    /// Largest datagram that passes, bytes with IP header.
    pub mtu: u32,
    /// Bytes of datagrams received over it.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent over it.
    pub tx_bytes: u64,
    /// Use of this accounting period in megabytes.
    pub quota_used_mb: u64,
    /// What went wrong last; none if nothing is wrong.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// What the last speed test found; none if there was none.
    #[serde(default)]
    pub tested: Option<Tested>,
}

impl Path {
    /// Says why it is in its state.
    pub fn set_reason(&mut self, reason: Reason) {
        self.reason = reason.to_string();
        self.reason_code = reason.code().to_owned();
        self.reason_value = reason.value();
    }
}

/// What the paths give together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bond {
    /// Inner packets delivered, router to server.
    pub goodput_up_kbps: u64,
    /// Inner packets delivered, server to router.
    pub goodput_down_kbps: u64,
    /// What the best path alone would give, router to server; none while the capacity of a path in
    /// use is not known.
    pub best_single_up_kbps: Option<u64>,
    /// The same, server to router.
    pub best_single_down_kbps: Option<u64>,
    /// Longest time that a packet may wait for its predecessors here.
    pub hold_ms: f64,
    /// Packets sent again after a loss.
    pub retransmitted: u64,
    /// Packets sent twice as a precaution.
    pub duplicated: u64,
    /// Packets given up on by the receiver: released past a gap.
    pub released_late: u64,
    /// What the last speed test of all together found; none if there was none.
    #[serde(default)]
    pub tested: Option<Tested>,
}

/// What a speed test has found, with all headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// Router to server; none if that was not tested or gave nothing.
    pub up_kbps: Option<u64>,
    /// Server to router.
    pub down_kbps: Option<u64>,
    /// When, seconds since 1970-01-01 UTC.
    pub at: u64,
    /// How long ago that is.
    #[serde(default)]
    pub age_s: u64,
}

/// How the last speed test towards a peer goes, or went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedTest {
    /// Names it; the next one has another.
    pub id: u32,
    /// Whether it goes on.
    pub running: bool,
    /// How much of it is done.
    pub percent: u8,
    /// Its steps in their order; what comes has neither rate nor error.
    pub steps: Vec<SpeedStep>,
}

/// A part of a speed test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedStep {
    /// The WANs that are tested together in it.
    pub wans: Vec<String>,
    /// `up` or `down`.
    pub way: String,
    /// What it found.
    pub kbps: Option<u64>,
    /// Why it found nothing, in words.
    pub error: Option<String>,
    /// The same as a code.
    pub error_code: Option<String>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Change {
    /// Of a path.
    Path {
        /// Name of the peer.
        peer: String,
        /// Name of the WAN.
        wan: String,
        /// Network device of the WAN; empty on the server.
        device: String,
        /// The new state, as in [`Path::state`].
        state: PathState,
        /// Why, as in [`Path::reason`].
        reason: String,
        /// As in [`Path::reason_code`].
        #[serde(default)]
        reason_code: String,
        /// As in [`Path::reason_value`].
        #[serde(default)]
        reason_value: Option<u64>,
    },
    /// Of a peer.
    Peer {
        /// Its name.
        peer: String,
        /// The new state, as in [`Peer::state`].
        state: PeerState,
    },
}

/// A change of state, with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from the start of the program.
    pub id: u64,
    /// Seconds since 1970-01-01 UTC.
    pub time_s: u64,
    /// What has changed.
    #[serde(flatten)]
    pub change: Change,
}

/// The last changes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The changes.
    pub events: Vec<Event>,
}

/// The recent past in equal steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When the last step ended, seconds since 1970-01-01 UTC.
    pub end_s: u64,
    /// Length of a step.
    pub step_s: u32,
    /// All together first, then the paths.
    pub series: Vec<Series>,
}

/// The recent past of one path, or of all together, oldest step first. The last value is of the
/// step that ended at [`History::end_s`]; a series that began later is shorter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Name of the peer; empty for all together.
    pub peer: String,
    /// Name of the WAN; empty for all together.
    pub wan: String,
    /// What it carried, router to server; of all together, inner packets delivered.
    pub up_kbps: Vec<u64>,
    /// The same, server to router.
    pub down_kbps: Vec<u64>,
    /// Round-trip time, 0 while unknown; of all together, that of the quickest active path.
    pub rtt_ms: Vec<f64>,
}

impl Change {
    /// A path is in another state; `reason` says why, if that is known.
    pub fn path(
        peer: String,
        wan: String,
        device: String,
        state: PathState,
        reason: Option<Reason>,
    ) -> Change {
        Change::Path {
            peer,
            wan,
            device,
            state,
            reason: reason.map(|reason| reason.to_string()).unwrap_or_default(),
            reason_code: reason.map(Reason::code).unwrap_or_default().to_owned(),
            reason_value: reason.and_then(Reason::value),
        }
    }

    /// The name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Path { .. } => "onebox.path",
            Change::Peer { .. } => "onebox.peer",
        }
    }
}
