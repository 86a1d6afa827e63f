//! A client of ubus, the message bus of OpenWrt, in async Rust.
//!
//! Why our own: the program is one static binary, so libubus cannot be linked, and no crate
//! registers objects from async code.
//!
//! How, from the bottom up: [`blob`] are the attributes that everything is made of, [`blobmsg`]
//! the typed and named ones that carry JSON-like data, [`message`] the envelope, [`object`] what
//! we offer, [`Connection`] moves messages over the socket, and [`Client`] keeps requests and
//! answers together.
//!
//! Limits: whatever arrives is bounded in bytes, depth and number, and what makes no sense is an
//! error, never a panic. File descriptors that come with messages are not taken.

pub mod blob;
pub mod blobmsg;
mod client;
mod connection;
pub mod message;
pub mod object;

pub use client::{Client, Error, Incoming, Invocation, Reply, Ticket};
pub use connection::Connection;
pub use message::{MESSAGE_MAX, Status};
pub use object::{Method, Object};

/// What arrived is not what the protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;
