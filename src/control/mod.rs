//! The control socket: how the command line talks to the running program.
//!
//! Why: `status`, `reload` and `stop` need an answer, which a signal cannot give. JSON, so that a
//! shell with `socat` and `jsonfilter` can ask as well.
//!
//! How: a unix stream socket. A request is one line, `{"command":"status"}`; the answer is one
//! line, `{"ok":true,"result":…}` or `{"ok":false,"error":"in words","code":"snake_case"}`, and the
//! connection is closed. The codes are those of [`RequestError`].
//! [`server`] is the program's side, on tokio; [`client`] is the command line's, blocking.
//!
//! Limits: only the user of the program may connect (mode 0600). A request line has at most
//! [`REQUEST_MAX`] bytes and arrives within [`READ_S_MAX`] seconds; [`CONNECTIONS_MAX`] are served
//! at once, others wait.

pub mod client;
pub mod error;
pub mod server;
pub mod ubus;

pub use crate::config::Mode;
use crate::status::{Events, History, Status};
pub use error::RequestError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Longest request in bytes, with its line end.
pub const REQUEST_MAX: usize = 64 * 1024;
/// Longest answer that the command line reads, in bytes.
pub const ANSWER_MAX: u64 = 16 << 20;
/// Longest time that a request may take to arrive, in seconds.
pub const READ_S_MAX: u64 = 5;
/// Longest time that the program may take for its answer, in seconds.
pub const ANSWER_S_MAX: u64 = 30;
/// Connections that are served at the same time.
pub const CONNECTIONS_MAX: usize = 16;

/// What [`Request::History`] takes as its step.
pub const STEP: &str = "step is 1, 60 or 3600";
/// What [`Request::Test`] takes as its seconds.
pub const SECONDS: &str = "seconds is 1 to 10";

/// Where a socket is: a symbolic link leads to it, which whoever may write in the link's folder
/// can make for a program that may not.
pub fn real_path(path: &Path) -> PathBuf {
    match std::fs::read_link(path) {
        Ok(to) => path.parent().map_or(to.clone(), |folder| folder.join(to)),
        Err(_) => path.to_owned(),
    }
}

/// What can be asked of the running program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Everything there is to see; the result is a [`Status`].
    Status,
    /// Read the configuration again and apply it; the result is a [`Reloaded`]. A bad one is
    /// refused with all its problems as the error, one per line, and nothing changes.
    Reload,
    /// End, and undo what was set up. The answer comes before that is done.
    Stop {
        /// Another start follows: what must not leave past the tunnel stays so until then.
        #[serde(default)]
        restart: bool,
    },
    /// The recent past; the result is a [`History`].
    History {
        /// Only what was after this, seconds since 1970; none means all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        /// Length of the steps in seconds: 1, which none means, or 60.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u64>,
    },
    /// The last changes of state; the result is an [`Events`].
    Events {
        /// Only what was at this time or later, seconds since 1970; none means all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
    },
    /// Start anew with a peer.
    Reconnect {
        /// Its name; none means all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// Begin a speed test; the result is a [`Testing`], how it goes is in the status.
    Test {
        /// Name of the WAN; none means each that works, and all together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wan: Option<String>,
        /// Only this direction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
        /// Seconds for each link and direction; none means 5.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
        /// WANs whose bytes cost money as well.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        metered: bool,
        /// None: end the one that is under way.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stop: bool,
    },
    /// Use a WAN in another way until the next start.
    SetPath {
        /// Name of the WAN.
        wan: String,
        /// What it is for from now on.
        mode: Mode,
    },
}

/// What the program answers. It becomes JSON where it is written only: the status of thousands of
/// peers is large enough as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// It is done.
    Done,
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::History`].
    History(History),
    /// To [`Request::Events`].
    Events(Events),
    /// To [`Request::Reload`].
    Reloaded(Reloaded),
    /// To [`Request::Test`].
    Testing(Testing),
}

/// A direction, seen from the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

/// A speed test that has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testing {
    /// The peer in whose status it is.
    pub peer: String,
    /// Its name there.
    pub id: u32,
    /// How long it takes at most.
    pub seconds: u64,
    /// WANs that are left out, and why, a sentence each.
    pub skipped: Vec<String>,
}

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The warnings about the configuration, in full.
    pub warnings: Vec<String>,
    /// What has changed, a sentence each; empty if nothing has.
    pub changes: Vec<String>,
}

/// The answer as it is written, and with a `Value` as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answer<T> {
    ok: bool,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The error's code; an older program gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

fn none<T>() -> Option<T> {
    None
}

impl Answer<Response> {
    fn new(outcome: Result<Response, RequestError>) -> Answer<Response> {
        match outcome {
            Ok(result) => Answer { ok: true, result: Some(result), error: None, code: None },
            Err(error) => Answer {
                ok: false,
                result: None,
                error: Some(error.to_string()),
                code: Some(error.code().to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
