//! The numbers of the controller, each with its unit and where it comes from.
//!
//! "Simulation" means: chosen with the environments of `tests/bench/bond --sim` and the scenarios of
//! `tests/sim`, which keep it where it is; the range around it was not swept.

use crate::time::{MS, SEC};

// The window.

/// Bytes in flight before anything is known: 32 packets (RFC 6928 §2 allows 10; the path has just
/// been validated and the data is paced).
pub const INITIAL_WINDOW: u64 = 32 * 1400;
/// Least window, bytes (RFC 9002 §7.2 has 2 packets, draft-ietf-ccwg-bbr 4).
pub const MIN_WINDOW: u64 = 4 * 1500;
/// What the window allows beyond the round trip and the link's jitter, microseconds: the peer's
/// acknowledgement delay and one burst of each end. Simulation.
pub const SLACK_US: u64 = 12 * MS;
/// How often the mean deviation of delays counts as jitter: in the window, and in the delay that
/// may stand. Simulation.
pub const NOISE_MARGIN: u64 = 3;
/// Part of the estimate's round trip that is in flight while the rate is searched for, percent: it
/// doubles each round and covers the acknowledgements' delay. Simulation.
pub const STARTUP_WINDOW: u64 = 250;
/// In this part of a round trip such a window leaves. Simulation: later, inner slow starts take the
/// spacing for a full path and end (HyStart++, RFC 9406 §4.2).
pub const STARTUP_BURST: u64 = 4;
/// Part of a round trip that a probe for more may have in flight beyond the window. Simulation.
pub const UP_WINDOW_PART: u64 = 2;

// Delay.

/// Standing delay that is tolerated, at least, microseconds. Simulation.
pub const QUEUE_MIN_US: u64 = 12 * MS;
/// Standing delay that is tolerated beside jitter: this part of the least round trip, and at most so
/// often [`QUEUE_MIN_US`]. Simulation.
pub const QUEUE_PART: u64 = 8;
pub const QUEUE_MAX: u64 = 4;
/// Delay that is tolerated beyond the least one, at most, microseconds: more is somebody's
/// bufferbloat. Simulation.
pub const TOLERATED_MAX_US: u64 = 100 * MS;
/// Part of the limit that is tolerated at least when a queue has gone. Simulation.
pub const TOLERATED_PART: u64 = 3;
/// Part of the limit that may stand above what is tolerated when more is tried. Simulation.
pub const TOLERABLE_PART: u64 = 2;
/// A small delay that stands for so long although less is sent is not our queue, and no reason not to
/// try more: microseconds, and at least so many round trips. Simulation, for one environment: with
/// it seed 5 of `lte_starlink` has E 0.93, without it 0.81.
pub const STANDING_US: u64 = 2 * SEC;
pub const STANDING_ROUNDS: u64 = 8;
/// Part of the estimate that is sent while a small queue stays, percent: the estimate is a little
/// too high then. Simulation.
pub const STANDING_PERCENT: u64 = 96;

// Delivery rates.

/// Shortest and longest span of a delivery-rate sample, microseconds; a round trip between them
/// (draft-cheng-iccrg-delivery-rate-estimation). Simulation.
pub const SAMPLE_MIN_US: u64 = 40 * MS;
pub const SAMPLE_MAX_US: u64 = 400 * MS;
/// A span is at least this many times the jitter, so that jitter changes it by little. Simulation.
pub const SAMPLE_NOISE: u64 = 60;
/// Spacing of the points of the delivery history, microseconds: a twentieth of the shortest span.
pub const POINT_US: u64 = 2 * MS;
/// Points of the delivery history at most: the longest span, and some.
pub const POINTS_MAX: usize = 256;
/// A sample is stretched when its delay grows by more than one part in this many of its span.
/// Simulation.
pub const STRETCH: i64 = 4;
/// How long a delivery rate is remembered: microseconds, at least so many round trips, and longer
/// beside a rival. Simulation.
pub const MEMORY_US: u64 = 250 * MS;
pub const MEMORY_ROUNDS: u64 = 4;
pub const RIVAL_US: u64 = 2 * SEC;
/// A rate that is believed at once lowers the estimate to this part of it at most. Simulation.
pub const LOWER_PART: u64 = 8;

// The search.

/// Growth per round below which the rate is taken as found, percent, and the rounds in which it has
/// to stay below (draft-ietf-ccwg-bbr §5.3.1.2).
pub const FULL_GROWTH: u64 = 125;
pub const FULL_ROUNDS: u32 = 3;
/// Loss in a round that shows that the link is full when the rate has stopped growing, percent.
/// Simulation (draft-ietf-ccwg-bbr §5.3.1.3 has 2 %, which a radio link loses at random).
pub const STARTUP_LOSS: u64 = 10;
/// Part of a former estimate that a search begins with, percent. Simulation.
pub const RESTART_PERCENT: u64 = 50;

/// Bytes delivered with no pause in the sending, from which on a full link is believed: the initial
/// window, as what fits into that says nothing. Simulation: half and twice as much go the same way.
pub const FILLED_BYTES: u64 = INITIAL_WINDOW;

/// Of a lower figure this part is believed each time. Simulation.
pub const FILLED_PART: u64 = 4;

// The drain.

/// Part of the estimate that is sent while a queue drains, percent (draft-ietf-ccwg-bbr §5.3.2
/// has 50). Simulation.
pub const DRAIN_PERCENT: u64 = 60;
/// A drain ends after so many halves of a round trip and so often the limit of the standing delay,
/// whatever is in flight. Simulation.
pub const DRAIN_HALF_ROUNDS: u64 = 3;
pub const DRAIN_LIMITS: u64 = 5;
/// What arrives below this part of what a drain sends does not get through, percent. Simulation.
pub const BEHIND_PERCENT: u64 = 90;
/// A delivery below this part of the estimate shows a link that has become slower, percent.
/// Simulation.
pub const SLOWER: u64 = 75;

// Probes for more.

/// Part of the estimate that a probe sends, percent (draft-ietf-ccwg-bbr §5.3.3), and when the one
/// before it has found more. The second: simulation.
pub const UP_PERCENT: u64 = 125;
pub const UP_AGAIN_PERCENT: u64 = 150;
/// Growth that shows that a probe has found more, percent: half of what it tries. Random loss takes
/// its part of it.
pub const UP_SHOWS: u64 = 12;
/// Shortest probe, microseconds; on a path of more than twice that the first one shows half.
/// Simulation.
pub const PROBE_US: u64 = 60 * MS;
/// Shortest time between two probes for more, microseconds and round trips. Simulation.
pub const PROBE_EVERY_US: u64 = 250 * MS;
pub const PROBE_ROUNDS: u64 = 6;
/// How often that is doubled at most while probes find nothing, and beside a rival. Simulation.
pub const PROBE_DOUBLED: u32 = 3;
pub const PROBE_DOUBLED_RIVAL: u32 = 1;
/// Part of the estimate that is sent after a probe that has queued, and what is taken off at most
/// after another, percent. Simulation.
pub const DOWN_QUEUED_PERCENT: u64 = 75;
pub const DOWN_LESS_MAX: u64 = 25;

// Sharing the link.

/// Part of the estimate that is kept when a queue that a rival fills overflows, percent: he gives way
/// then too, and more (CUBIC 30 %, RFC 9438 §4.6), but what is lost is mostly his. Tuned: 93 and 94
/// compared over 24 times of his beginning; with 94 both keep 16.8 of 47 Mbit/s or more.
pub const YIELD_PERCENT: u64 = 94;
/// Time without loss before an overflow, at least, microseconds. Simulation.
pub const LULL_US: u64 = 500 * MS;
/// A path that has carried little for so long while another filled it is shared from now on,
/// microseconds; little is this part of the estimate, and it goes on with as much, percent.
/// Simulation (the idea is RFC 7661's).
pub const UNUSED_US: u64 = SEC;
pub const UNUSED_PERCENT: u64 = 50;

// Loss without a queue. Simulation (`tests/sim`, cases_policed); the range around these was not swept.

/// A window over which losses are counted: round trips, at least so many microseconds and bytes, and
/// the time after which too few bytes are forgotten, microseconds.
pub const WINDOW_ROUNDS: u64 = 4;
pub const WINDOW_US: u64 = 200 * MS;
pub const WINDOW_BYTES: u64 = 16 * 1400;
pub const WINDOW_LAST_US: u64 = 2 * SEC;
/// Loss that asks whether there is a policer, and the same when there is one, percent.
pub const LOSS_PERCENT: u64 = 20;
pub const RELAPSE_PERCENT: u64 = 10;
/// Times that the bound is lowered in a row until the loss must be half of what it was.
pub const LOWERED_MAX: u32 = 3;
/// So long no bound is tried again after one that did not end the loss, microseconds, at first (it is
/// doubled before it is used) and at most.
pub const ASK_FIRST_US: u64 = 4 * SEC;
pub const ASK_LAST_US: u64 = 32 * SEC;
/// The first, the second and each further step of the bound in a row, percent. Compared with steps of
/// 125, 125 and 150 for a policer of 500 kbit/s only: no difference worth the name.
pub const RAISE_PERCENT: u64 = 125;
pub const RAISE_AGAIN_PERCENT: u64 = 150;
pub const RAISE_MORE_PERCENT: u64 = 200;
/// Wait before a bound is raised, microseconds, doubled each time that a raise is lost, up to the
/// second. Swept: of policed links (`cases_policed::explore`) 250 and 500 ms have the same, 59.7 in sum
/// of their shares; after bad moments (`cases_moments::explore`, the first 98) small transfers
/// are slow for longer than 3 s in 14 of them with 500 ms and in 18 with a second.
pub const RAISE_SOON_US: u64 = 500 * MS;
pub const RAISE_LAST_US: u64 = 32 * SEC;
/// Part of the bound that has to arrive for it to be what holds the path back, percent.
pub const BINDS_PERCENT: u64 = 50;
/// Loss at which a path is of no use beside others, percent.
pub const USELESS_PERCENT: u64 = 40;
