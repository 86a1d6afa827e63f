//! A model of Linux's TCP: a sender and a receiver of one bulk flow.
//!
//! Why: how much a bond gives depends on how the inner TCP reacts to it, to the reordering it
//! leaves, to the loss it does not repair, to the delay it adds. smoltcp's TCP has no selective
//! acknowledgements and a short reassembly list, so that it shows the bond worse than it is for
//! nearly everyone. This model has what decides Linux's behaviour: CUBIC (RFC 9438) with HyStart
//! by delay and by ACK train, SACK, RACK with an adaptive window (RFC 8985), tail loss probes,
//! proportional rate reduction (RFC 6937), undo by timestamps and by D-SACK (RFC 3522, 3708),
//! delayed acknowledgements.
//!
//! How: the flow is counted in segments of one size; a packet has an IPv4 header, a TCP header
//! and the timestamp option, 52 bytes, and SACK blocks where there are some. [`segment`] is the
//! bytes, [`receiver`] acknowledges, [`sender`] keeps the scoreboard, [`cubic`] the window.
//!
//! Limits: no handshake and no FIN, the receive window is a constant, ECN is not negotiated
//! (Linux does not either unless told so), segmentation offload is not modelled.

pub mod cubic;
pub mod receiver;
pub mod segment;
pub mod sender;
