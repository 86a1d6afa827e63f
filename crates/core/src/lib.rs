//! The pure layers of onebox, from the bottom up: no socket, file, clock, thread or global randomness,
//! so that they run in the seeded simulation under `tests/sim`. ARCHITECTURE.md tells the whole.
//!
//! * [`time`], [`buffer`], [`prefix`]: the vocabulary of every layer.
//! * [`wire`]: bytes on the network. [`crypto`]: handshake and packet protection.
//! * [`engine`]: the bonding state machine of one peer over many paths.
//! * [`endpoint`]: many peers behind one set of sockets.
//!
//! They are a package of their own, which `onebox` passes on under the same names: a router's program
//! is built for size but for them, since every packet passes them (`[profile.router]`), and a package
//! without a dependency that does IO cannot do any.

pub mod buffer;
pub mod crypto;
pub mod endpoint;
pub mod engine;
pub mod prefix;
pub mod time;
pub mod wire;
