//! (being built)
pub mod clock;
