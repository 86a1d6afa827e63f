//! States and roles, each with its stable name.
//!
//! Limits: a name that this version does not know reads as `Unknown`, so that an older command line
//! can show a newer program.

use crate::{config, endpoint, engine};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Enums whose values are, in JSON and in words, the names given here.
macro_rules! named {
    ($($(#[$doc:meta])* $type:ident { $($(#[$each:meta])* $variant:ident = $name:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(into = "&'static str", from = "String")]
        pub enum $type {
            $($(#[$each])* $variant,)*
            /// Another, of another version.
            #[default]
            Unknown,
        }

        impl $type {
            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                    $type::Unknown => "unknown",
                }
            }
        }

        impl From<$type> for &'static str {
            fn from(value: $type) -> &'static str {
                value.as_str()
            }
        }

        impl From<String> for $type {
            fn from(name: String) -> $type {
                match name.as_str() {
                    $($name => $type::$variant,)*
                    _ => $type::Unknown,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}

named! {
    /// What the program is.
    Role {
        /// A router with several WANs.
        Client = "client",
        /// Where the WANs' traffic comes together.
        Server = "server",
    }

    /// How the program as a whole is.
    State {
        /// Switched off in the configuration.
        Disabled = "disabled",
        /// There was no connection yet.
        Connecting = "connecting",
        /// Some peer is connected.
        Up = "up",
        /// No peer is connected any more.
        Down = "down",
    }

    /// How the connection to a peer is.
    PeerState {
        /// It has not answered yet, or does not any more.
        Connecting = "connecting",
        /// It answers.
        Up = "up",
        /// It is not there.
        Down = "down",
    }

    /// How a path is.
    PathState {
        /// Its address is being proved, or it is coming back.
        Probing = "probing",
        /// In use.
        Active = "active",
        /// Ready, not needed now.
        Backup = "backup",
        /// Data went unanswered: it is being probed.
        Suspect = "suspect",
        /// It would cost the bond more than it gives.
        Held = "held",
        /// Gone, or switched off.
        Down = "down",
    }
}

impl From<&config::Role> for Role {
    fn from(role: &config::Role) -> Role {
        match role {
            config::Role::Client(_) => Role::Client,
            config::Role::Server(_) => Role::Server,
        }
    }
}

impl From<endpoint::PeerState> for PeerState {
    fn from(state: endpoint::PeerState) -> PeerState {
        match state {
            endpoint::PeerState::Connecting => PeerState::Connecting,
            endpoint::PeerState::Up => PeerState::Up,
            endpoint::PeerState::Down => PeerState::Down,
        }
    }
}

impl From<engine::PathState> for PathState {
    fn from(state: engine::PathState) -> PathState {
        match state {
            engine::PathState::Probing => PathState::Probing,
            engine::PathState::Active => PathState::Active,
            engine::PathState::Backup => PathState::Backup,
            engine::PathState::Suspect => PathState::Suspect,
            engine::PathState::Held => PathState::Held,
            engine::PathState::Down => PathState::Down,
        }
    }
}
