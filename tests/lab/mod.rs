//! The lab: a router with several emulated WANs, a server and an internet host on one machine.
//!
//! Why: bonding can only be judged against links whose rate, queue, delay and failures are known.
//! The lab makes them out of network namespaces and a link emulator of its own, so that it needs
//! neither kernel modules (netem, fq) nor other machines, and it never touches the network of the
//! machine that it runs on: everything happens in namespaces that it makes and removes.
//!
//! How: [`topology`] builds the namespaces, [`emulator`] moves the frames of each WAN, [`programs`]
//! runs commands inside, [`traffic`] makes load and measures it, [`onebox`] starts routers and
//! servers from UCI files. The same tree is the program `lab` (`main.rs`) and a module of test
//! crates.
//!
//! Limits: Linux, root (or root of a user namespace), `/dev/net/tun`, iproute2. Times are real
//! times: on a machine that is busy otherwise, what is measured is the machine.

#![allow(unsafe_code, reason = "TAP devices and namespaces are reached by ioctl and setns")]
#![allow(clippy::disallowed_methods, reason = "the lab measures the real world in real time")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a lab that cannot be built has to stop the test at that spot"
)]
#![allow(dead_code, reason = "each crate that includes the lab uses a part of it")]

pub mod clock;
pub mod emulator;
pub mod fetch;
pub mod meddling;
pub mod netns;
pub mod onebox;
pub mod pcap;
pub mod pinger;
pub mod programs;
pub mod resolver;
pub mod tap;
pub mod topology;
pub mod traffic;
