//! What there is to see: the snapshot, and the recent past.
//!
//! [`model`] is the status contract as plain data, read by all but the core; [`history`] keeps what a
//! page draws, [`events`] the last changes of state. [`calendar`] knows days and months.

pub mod calendar;
pub mod events;
pub mod history;
pub mod model;

pub use model::{Bond, Change, Event, Events, History, Path, Peer, Series, Status};
