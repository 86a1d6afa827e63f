//! What there is to see: the snapshot, and the recent past.
//!
//! [`model`] is the status contract as plain data, read by all but the core, with its names of
//! [`state`]s, [`reason`]s, [`problem`]s and [`path_error`]s; [`history`] keeps what a page draws, [`events`] the last
//! changes of state. [`calendar`] knows days and months, `public` what a public address tells.

pub mod calendar;
pub mod events;
pub mod history;
pub mod model;
pub mod path_error;
pub mod problem;
mod public;
pub mod reason;
pub mod refusal;
pub mod state;

pub use model::{
    Bond, Change, Event, Events, History, LastError, Path, Peer, Series, ShownProblem, SpeedStep,
    SpeedTest, Status, Tested,
};
pub use path_error::PathError;
pub use problem::{Problem, Problems};
pub use reason::Reason;
pub use state::{PathState, PeerState, Role, State};

#[cfg(test)]
pub(crate) mod tests;
