//! The virtual world: links, hosts and both ends of a tunnel, seeded and in virtual time.
//!
//! Why: what a bond must survive happens rarely, takes minutes and never twice in the same way.
//! Here it happens on demand, faster than in real time, and the same seed gives the same packets
//! at the same microseconds.
//!
//! How, from the bottom up: [`rng`] one random stream per entity; [`link`] one direction of a
//! link; [`packet`] inner packets; [`host`] with [`stream`], the model TCP [`tcp`] and real TCP
//! [`smol`] as applications, named by [`flow`]; [`node`] what an end of the tunnel is to the
//! world, made of engines alone ([`bare`]), of whole endpoints
//! ([`sealed`]) or of nothing ([`plain`]); [`outside`] hosts that use a link without it;
//! [`world`] the events, and [`oracle`] what must hold at every step; [`scenario`] lists of steps and expectations;
//! [`report`] figures, [`history`] how it went and [`trace`] that as a file. `cases_*` are the
//! scenarios.
//!
//! Limits: efficiency is measured with the model TCP, which behaves like Linux's; smoltcp checks
//! bytes and that connections live.

// Builders and figures that only some scenarios use.
#![allow(dead_code, missing_docs)]
// A test may stop where it finds the impossible.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod bare;
mod environments;
#[path = "../bench/figures/mod.rs"]
mod figures;
mod flow;
mod history;
mod host;
mod link;
mod node;
mod oracle;
mod outside;
mod packet;
mod plain;
mod report;
mod rng;
mod scenario;
mod sealed;
mod smol;
mod stream;
mod tcp;
mod trace;
mod world;

mod cases_address;
mod cases_exclusion;
mod cases_harm;
mod cases_links;
mod cases_measure;
mod cases_memory;
mod cases_moments;
mod cases_mtu;
mod cases_outage;
mod cases_parity;
mod cases_policed;
mod cases_radio;
mod cases_reserve;
mod cases_soak;
mod cases_speed;
mod cases_traffic;
mod cases_world;
