//! Typed configuration from UCI text: parse, don't validate.
//!
//! Why: a bad configuration must be understood before it is applied, completely and with the
//! place of every mistake, and must never stop what runs. What comes out of here needs no further
//! checks.
//!
//! How: [`onebox_openwrt::uci`] reads the text as libuci does, [`parse`](mod@parse) gives its options a meaning,
//! and `checks` compares the sections with each other. All problems are collected in one pass, as
//! [`Diagnostic`]s. The result is the [`model`]; [`diff`](mod@diff) says what a reload changes.
//!
//! Limits: pure. Reading the file and the private key's file, and whether devices exist, are the
//! caller's.

pub mod address;
mod checks;
pub mod diagnostic;
pub mod diff;
mod fields;
pub mod free;
pub mod invitation;
pub mod model;
pub mod parse;

pub use crate::crypto::keys::{PresharedKey, PrivateKey, PublicKey};
pub use address::{Endpoint, Host};
pub use diagnostic::{Diagnostic, Severity, has_errors};
pub use diff::{Difference, diff};
pub use model::{
    Client, Config, Forward, KeySource, Main, Mode, Outage, Peer, Ports, Protocol, Role, Routing,
    Server, Wan, WanLink,
};
pub use parse::parse;

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/config/onebox";
/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_CONTROL: &str = "/var/run/onebox.sock";
/// Where ubus is unless the configuration says otherwise.
pub const DEFAULT_UBUS_SOCKET: &str = "/var/run/ubus/ubus.sock";
