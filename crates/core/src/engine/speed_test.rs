//! The speed test: each link alone, then all together, both ways, one after the other.
//!
//! Why: what a link carries is known when it was full ([`super::load`]). A test fills it for some
//! seconds, so that nobody has to wait for a large download to know what there is, and whether two
//! links that share a line are worth more than one.
//!
//! How: the router's engine goes through steps: a set of paths and a direction each. For the way
//! up it fills them itself and counts what is acknowledged; for the way down it asks the server to,
//! and counts what arrives. What has been counted is looked at every [`SAMPLE_US`]; the result is the
//! best half of the step's time, which leaves out the search for the rate at its beginning. User
//! traffic goes first and counts as well: the link carries it. Between steps the queues may drain.
//!
//! Limits: bytes with all headers, as everywhere in the status; what a download sees is some
//! percent less. Each path takes no more bytes than the owner allows it (a quota), both ways and user
//! traffic together. What a peer's server does not know it does not answer: then only the way up is
//! measured.

use super::load::{BEGUN, BUSY, ENDED, LOAD_BYTES_MAX, LOAD_US_MAX, USED_UP, bit};
use super::path::Path;
use super::{Engine, PathId};
use crate::time::{MS, SEC, Time};
use crate::wire::frame::Frame;
use crate::wire::{PATHS_MAX, Writer};

/// Distance of the samples, microseconds.
const SAMPLE_US: u64 = 100 * MS;
/// Pause between two steps, microseconds.
const PAUSE_US: u64 = 400 * MS;
/// A request to the server is repeated so often, and given up after so long, microseconds.
const ASK_EVERY_US: u64 = 200 * MS;
const ASK_US: u64 = 3 * SEC;
/// How much later than it should the end of the server's load may come, microseconds.
const LATE_US: u64 = SEC;
/// Least time that a result is taken over, microseconds.
const RESULT_US: u64 = 300 * MS;
/// Fewer bytes than this measure nothing.
const LEAST_BYTES: u64 = 300_000;
/// One part in so many of what a path may take is left for acknowledgements and probes beside it.
const SPARE: u64 = 16;
/// Shortest time of a step, microseconds.
pub const STEP_US_MIN: u64 = SEC;

/// A direction, seen from the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

/// What is to be tested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpeedTestPlan {
    /// Names it; not 0.
    pub id: u32,
    /// The paths, and the bytes that each may take.
    pub paths: Vec<(PathId, u64)>,
    /// In which directions, in this order.
    pub ways: Vec<Way>,
    /// How long each step takes, microseconds: [`STEP_US_MIN`] to [`LOAD_US_MAX`].
    pub step_us: u64,
    /// Whether all paths are tested together after each has been alone.
    pub together: bool,
}

/// Why a step has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The path does not work.
    NoPath,
    /// The bytes that it may take are used up.
    Bytes,
    /// The server does not answer: it is older than the speed test.
    Unknown,
    /// The server is busy with another.
    Busy,
    /// The server has sent enough for this hour: seconds to wait.
    Hour(u16),
    /// Too little arrived to tell.
    Nothing,
    /// It was ended before.
    Stopped,
}

/// One step's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepResult {
    /// Its paths, a bit each from the lowest.
    pub paths: u16,
    /// Its direction.
    pub way: Way,
    /// Bytes per second.
    pub rate: Result<u64, Refusal>,
}

/// How a test goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpeedTestSnapshot {
    /// Its name.
    pub id: u32,
    /// All steps, as paths and direction.
    pub steps: Vec<(u16, Way)>,
    /// What is done, percent.
    pub percent: u8,
    /// The results so far; as many as steps when it is over.
    pub results: Vec<StepResult>,
}

/// What the present step does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Waits until then.
    Pause(Time),
    /// Asks the server since then; asked last at the second.
    Ask(Time, Option<Time>),
    /// Counts since then, until the second at the latest.
    Count(Time, Time),
    /// There is no step left.
    Done,
}

/// A test.
#[derive(Debug)]
pub(super) struct SpeedTest {
    plan: SpeedTestPlan,
    steps: Vec<(u16, Way)>,
    results: Vec<StepResult>,
    phase: Phase,
    /// Name of the present request to the server, and bytes that it says for each path.
    request: u32,
    each: u64,
    /// Bytes that each path may still take, and has had at the last look.
    left: [u64; PATHS_MAX],
    seen: [u64; PATHS_MAX],
    /// What was counted since the step began, and when.
    samples: Vec<(Time, u64)>,
    /// The load has ended before its time.
    ended: bool,
    /// An end that has to be told to the server.
    stop: bool,
}

impl SpeedTest {
    fn new(now: Time, plan: SpeedTestPlan, request: u32) -> SpeedTest {
        let mut steps = Vec::new();
        let alone = plan.paths.iter().map(|&(id, _)| bit(id));
        let all = alone.clone().fold(0, |mask, bit| mask | bit);
        for mask in alone.chain((plan.together && plan.paths.len() > 1).then_some(all)) {
            steps.extend(plan.ways.iter().map(|&way| (mask, way)));
        }
        let mut left = [0; PATHS_MAX];
        for &(id, bytes) in &plan.paths {
            left[id.index()] = bytes;
        }
        SpeedTest {
            request,
            plan,
            steps,
            results: Vec::new(),
            phase: Phase::Pause(now),
            each: 0,
            left,
            seen: [0; PATHS_MAX],
            samples: Vec::new(),
            ended: false,
            stop: false,
        }
    }

    fn step(&self) -> Option<(u16, Way)> {
        self.steps.get(self.results.len()).copied()
    }

    /// When it wants to be looked at.
    fn due(&self) -> Time {
        match self.phase {
            _ if self.ended => Time::ZERO,
            Phase::Pause(until) => until,
            Phase::Ask(since, at) => (at.unwrap_or(since) + ASK_EVERY_US).min(since + ASK_US),
            Phase::Count(since, until) => {
                (self.samples.last().map_or(since, |sample| sample.0) + SAMPLE_US).min(until)
            }
            Phase::Done => Time::FAR,
        }
    }

    /// Whether a request is to be written.
    pub(super) fn asks(&self, now: Time) -> bool {
        let due = |at: Option<Time>| at.is_none_or(|at| now.since(at) >= ASK_EVERY_US);
        self.stop || matches!(self.phase, Phase::Ask(_, at) if due(at))
    }

    pub(super) fn write_request(&mut self, now: Time, w: &mut Writer<'_>) {
        if self.stop {
            self.stop = false;
            Frame::Load { id: self.request, paths: 0, ms: 0, kbytes: 0 }.write(w);
        }
        if let (Phase::Ask(since, _), true) = (self.phase, self.asks(now)) {
            self.phase = Phase::Ask(since, Some(now));
            let Some((paths, _)) = self.step() else { return };
            let ms = (self.plan.step_us / MS) as u16;
            let kbytes = u32::try_from(self.each / 1000).unwrap_or(u32::MAX);
            Frame::Load { id: self.request, paths, ms, kbytes }.write(w);
        }
    }

    /// The router's own load has ended, by its time or its bytes.
    pub(super) fn on_load_end(&mut self) {
        self.ended |= matches!(self.phase, Phase::Count(..));
    }

    /// The server says how a request of this name goes.
    pub(super) fn on_state(&mut self, now: Time, id: u32, state: u8, wait_s: u16) {
        if id != self.request || self.step().is_none_or(|(_, way)| way != Way::Down) {
            return;
        }
        match (self.phase, state) {
            (Phase::Ask(..), BEGUN) => {
                self.phase = Phase::Count(now, now + self.plan.step_us + LATE_US);
            }
            (Phase::Ask(..), BUSY) => self.settle(now, Err(Refusal::Busy)),
            (Phase::Ask(..), USED_UP) => self.settle(now, Err(Refusal::Hour(wait_s))),
            (Phase::Ask(..), ENDED) => self.settle(now, Err(Refusal::Nothing)),
            (Phase::Ask(..), _) => self.settle(now, Err(Refusal::NoPath)),
            (Phase::Count(..), ENDED) => self.ended = true,
            _ => {}
        }
    }

    /// The step is over.
    fn settle(&mut self, now: Time, rate: Result<u64, Refusal>) {
        let Some((paths, way)) = self.step() else { return };
        self.results.push(StepResult { paths, way, rate });
        if rate == Err(Refusal::Unknown) {
            // Nor would it answer the next time.
            while let Some((paths, Way::Down)) = self.step() {
                self.results.push(StepResult { paths, way: Way::Down, rate });
            }
        }
        self.samples.clear();
        self.ended = false;
        self.request = self.request.wrapping_add(1);
        self.phase = if self.step().is_some() { Phase::Pause(now + PAUSE_US) } else { Phase::Done };
    }

    /// The best half of what was counted, bytes per second.
    fn rate(&self) -> Result<u64, Refusal> {
        let span = match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.0.since(first.0),
            _ => 0,
        };
        let window = (span / 2).max(RESULT_US);
        let mut best = 0;
        let mut end = 0;
        for &(from, before) in &self.samples {
            while end < self.samples.len() && self.samples[end].0.since(from) < window {
                end += 1;
            }
            let Some(&(to, after)) = self.samples.get(end) else { break };
            best = best.max((after - before) * SEC / to.since(from).max(1));
        }
        if best > 0 { Ok(best) } else { Err(Refusal::Nothing) }
    }

    fn percent(&self, now: Time) -> u8 {
        let all = self.steps.len().max(1) as u64;
        let part = match self.phase {
            Phase::Count(since, _) => (now.since(since) * 100 / self.plan.step_us).min(100),
            _ => 0,
        };
        ((self.results.len() as u64 * 100 + part) / all).min(100) as u8
    }
}

impl Engine {
    /// Begins a test; one that is under way ends.
    pub fn start_speed_test(&mut self, now: Time, plan: SpeedTestPlan) {
        self.stop_speed_test(now);
        let step_us = plan.step_us.clamp(STEP_US_MIN, LOAD_US_MAX);
        // Names of requests rise, as the server wants it.
        let request = self.speed_test.as_ref().map_or(1, |test| test.request.wrapping_add(1));
        let mut test = SpeedTest::new(now, SpeedTestPlan { step_us, ..plan }, request);
        self.look(|id, bytes| test.seen[id.index()] = bytes);
        self.speed_test = Some(Box::new(test));
    }

    /// Ends the test that is under way.
    pub fn stop_speed_test(&mut self, now: Time) {
        let Some(mut test) = self.speed_test.take() else { return };
        let asked = matches!(test.phase, Phase::Ask(..) | Phase::Count(..));
        test.stop = asked && test.step().is_some_and(|(_, way)| way == Way::Down);
        let request = test.request;
        while test.step().is_some() {
            test.settle(now, Err(Refusal::Stopped));
        }
        test.request = request;
        self.speed_test = Some(test);
        if self.settings.side.opens() {
            self.end_load();
        }
    }

    /// How the test goes, or went.
    pub fn speed_test(&self, now: Time) -> Option<SpeedTestSnapshot> {
        self.speed_test.as_ref().map(|test| SpeedTestSnapshot {
            id: test.plan.id,
            steps: test.steps.clone(),
            percent: test.percent(now),
            results: test.results.clone(),
        })
    }

    /// When the test wants to be looked at.
    pub(super) fn speed_test_due(&self) -> Time {
        self.speed_test.as_ref().map_or(Time::FAR, |test| test.due())
    }

    /// Bytes of each path so far, both ways.
    fn look(&self, mut each: impl FnMut(PathId, u64)) {
        self.paths().for_each(|path| each(path.id, path.tx_bytes + path.rx_bytes));
    }

    /// Looks at the test: what was counted, and whether the step is over.
    pub(super) fn drive_speed_test(&mut self, now: Time) {
        let Some(mut test) = self.speed_test.take() else { return };
        if test.due() <= now {
            self.look(|id, bytes| {
                let (seen, left) = (&mut test.seen[id.index()], &mut test.left[id.index()]);
                *left = left.saturating_sub(bytes.saturating_sub(*seen));
                *seen = bytes;
            });
            self.advance(now, &mut test);
        }
        self.speed_test = Some(test);
    }

    fn advance(&mut self, now: Time, test: &mut SpeedTest) {
        let Some((paths, way)) = test.step() else { return };
        match test.phase {
            Phase::Pause(until) if now >= until => self.begin_step(now, test, paths, way),
            Phase::Ask(..) if !self.paths().any(|p| p.health.is_usable()) => {
                test.settle(now, Err(Refusal::NoPath));
            }
            Phase::Ask(since, _) if now.since(since) >= ASK_US => {
                test.settle(now, Err(Refusal::Unknown));
            }
            Phase::Count(_, until) => {
                let counted = |p: &&Path| paths & bit(p.id) != 0;
                let of = |p: &Path| match way {
                    Way::Up => p.rate.delivered(),
                    Way::Down => p.rx_bytes,
                };
                let sum = self.paths().filter(counted).map(of).sum();
                test.samples.push((now, sum));
                if now >= until || test.ended {
                    self.end_load();
                    let works = self.paths().filter(counted).any(|p| p.health.is_usable());
                    let rate = test.rate();
                    test.settle(now, rate.map_err(|why| if works { why } else { Refusal::NoPath }));
                }
            }
            _ => {}
        }
    }

    fn begin_step(&mut self, now: Time, test: &mut SpeedTest, paths: u16, way: Way) {
        let counted = |p: &&Path| paths & bit(p.id) != 0;
        let works = self.paths().filter(counted).any(|p| p.health.is_usable());
        // Both ends count: what the server sends is limited by what it is told.
        let left = |p: &Path| test.left[p.id.index()] / SPARE * (SPARE - 1);
        let each = self.paths().filter(counted).map(left).min().unwrap_or(0);
        if !works {
            return test.settle(now, Err(Refusal::NoPath));
        }
        if each < LEAST_BYTES {
            return test.settle(now, Err(Refusal::Bytes));
        }
        test.each = each.min(LOAD_BYTES_MAX);
        match way {
            Way::Down => test.phase = Phase::Ask(now, None),
            Way::Up => {
                let until = now + test.plan.step_us;
                self.begin_load(until, paths, LOAD_BYTES_MAX, [each; PATHS_MAX]);
                test.phase = Phase::Count(now, until + LATE_US);
            }
        }
    }
}
