//! Typed configuration from UCI text.
pub mod uci;
