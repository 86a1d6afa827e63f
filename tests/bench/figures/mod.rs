//! What every benchmark of the bond shares: the environments, the figures of a run and how they
//! are written, and the table that is made of them.
//!
//! Included by the simulation (`tests/sim`), by the lab (`tests/bench/net`) and by the tests of
//! these files (`tests/bench/tests.rs`), so that a figure means the same wherever it comes from.

#![allow(dead_code, reason = "each program that includes this uses a part of it")]

pub mod environments;
pub mod record;
pub mod statistics;
pub mod table;
