//! Scenarios: a described list of steps, and what must come of it.
//!
//! ```ignore
//! Scenario::new("silent blackhole of one of two links under load")
//!     .links([Spec::new(50_000, 20_000), Spec::new(50_000, 30_000)])
//!     .flow("tcp", Flow::bulk(Way::Down))
//!     .at(5 * SEC, "cut A silently", |w| w.change_link(0, |l| l.blackhole = true))
//!     .lasts(10 * SEC)
//!     .at_most("longest stall, ms", 1000.0, |o| o.stall_ms("tcp", 5.0, 10.0))
//!     .run(Kind::Bare);
//! ```
//!
//! Every run is made twice with the same seed, and both must deliver the same packets at the same
//! times. All expectations are evaluated before the first that fails stops the test, so that a
//! failure shows all figures, and the seed.

use crate::bare::{Bare, path_settings};
use crate::flow::{Flow, Way};
use crate::history::History;
use crate::link::{Counters, Spec};
use crate::node::Node;
use crate::packet::{SIDES, Side};
use crate::plain::Plain;
use crate::report::{self, Record};
use crate::sealed::Sealed;
use crate::trace;
use crate::world::{Factory, World};
use onebox::engine::{self, Memory, PathSettings, Snapshot};
use onebox::time::{SEC, Time};
use std::fmt::Write;
use std::rc::Rc;

/// What the ends are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two engines back to back.
    Bare,
    /// Two endpoints, with handshake and cryptography.
    Sealed,
    /// No tunnel: the plain link, or with several links the naive splitter.
    Plain,
}

/// Flows of which a report tells at most.
const FLOWS_TOLD: usize = 12;

type Action = Rc<dyn Fn(&mut World)>;
type Figure = Box<dyn Fn(&Outcome) -> f64>;

struct Expectation {
    name: String,
    least: f64,
    most: f64,
    figure: Figure,
}

/// A scenario.
pub struct Scenario {
    name: String,
    seed: u64,
    slack_us: u64,
    memory: usize,
    fec: bool,
    paths: [PathSettings; 2],
    links: Vec<(Spec, Spec)>,
    flows: Vec<(String, Flow)>,
    steps: Vec<(u64, &'static str, Action)>,
    lasts_us: u64,
    expectations: Vec<Expectation>,
}

/// What came of a scenario.
#[derive(Debug)]
pub struct Outcome {
    /// Names of the flows, what their receivers measured and what their senders did.
    pub flows: Vec<(String, Record, Record)>,
    /// Counters of the links, up and down.
    pub links: Vec<[Counters; 2]>,
    /// Sum of the rates of the links at the end, kbit/s, downwards.
    pub kbps_sum: u64,
    /// What the ends know at the end, if they have engines.
    pub ends: [Option<Snapshot>; 2],
    /// What the ends believe at the end.
    pub beliefs: [String; 2],
    /// Digest of all deliveries.
    pub trace: u64,
    /// What the oracle found.
    pub violations: Vec<String>,
    /// Packets sent and delivered, by sending side.
    pub packets: ([u64; 2], [u64; 2]),
    /// How it went.
    pub history: History,
    /// The most that each end kept at once.
    pub peaks: [Memory; 2],
}

impl Outcome {
    /// What an end says that a link can carry from there, kbit/s; nothing while it does not know.
    pub fn capacity(&self, side: Side, link: usize) -> Option<f64> {
        let path = &self.ends[side as usize].as_ref()?.paths[link];
        Some(path.tx_capacity? as f64 / 125.0)
    }

    /// What the flow's receiver measured (for a ping: its sender).
    pub fn flow(&self, name: &str) -> &Record {
        &self.flows.iter().find(|f| f.0 == name).expect("a flow of this name").1
    }

    /// What the flow's sender did.
    pub fn sender(&self, name: &str) -> &Record {
        &self.flows.iter().find(|f| f.0 == name).expect("a flow of this name").2
    }

    /// Goodput of a flow between two times in seconds, as a share of what plain TCP would have got
    /// of all links as they were then.
    pub fn share(&self, flow: &str, way: Way, from: f64, to: f64) -> f64 {
        self.mbps(flow, from, to) / self.history.there_mbps(way.sender(), from, to)
    }

    /// Milliseconds from the begin of a flow at `starts_us` until all of it was acknowledged.
    pub fn took_ms(&self, flow: &str, starts_us: u64) -> f64 {
        let finished = self.sender(flow).finished;
        finished.map_or(f64::INFINITY, |t| t.since(Time(starts_us)) as f64 / 1000.0)
    }

    /// Mbit/s of a flow between two times in seconds.
    pub fn mbps(&self, flow: &str, from: f64, to: f64) -> f64 {
        self.flow(flow).mbps(report::seconds(from), report::seconds(to))
    }

    /// E of a flow between two times in seconds.
    pub fn efficiency(&self, flow: &str, from: f64, to: f64) -> f64 {
        report::efficiency(self.mbps(flow, from, to), self.kbps_sum)
    }

    /// Longest time without goodput between two times in seconds, milliseconds.
    pub fn stall_ms(&self, flow: &str, from: f64, to: f64) -> f64 {
        let stall = self.flow(flow).longest_stall_us(report::seconds(from), report::seconds(to));
        stall as f64 / 1000.0
    }

    /// A percentile of the delays of a stream between two times in seconds, milliseconds.
    pub fn percentile_ms(&self, flow: &str, from: f64, to: f64, percent: f64) -> f64 {
        self.flow(flow).percentile_ms(report::seconds(from), report::seconds(to), percent)
    }

    /// Packets of a stream sent between two times in seconds that never came.
    pub fn lost(&self, flow: &str, from: f64, to: f64) -> f64 {
        self.flow(flow).delays_ms(report::seconds(from), report::seconds(to)).1 as f64
    }

    /// Longest time between two arrivals of a stream between two times in seconds, milliseconds.
    pub fn gap_ms(&self, flow: &str, from: f64, to: f64) -> f64 {
        self.flow(flow).longest_gap_ms(report::seconds(from), report::seconds(to))
    }
}

/// Runs several scenarios, and fails only after all have been played.
///
/// # Panics
/// As [`Scenario::run`].
pub fn run_all(kind: Kind, scenarios: impl IntoIterator<Item = Scenario>) {
    let checks = scenarios.into_iter().map(|s| s.check(kind));
    let failures: Vec<String> = checks.filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs several scenarios, of which most have to meet everything.
///
/// # Panics
/// When they do not.
pub fn run_most(kind: Kind, scenarios: impl IntoIterator<Item = Scenario>) {
    let checks: Vec<_> = scenarios.into_iter().map(|s| s.check(kind)).collect();
    let count = checks.len();
    let failures: Vec<String> = checks.into_iter().filter_map(Result::err).collect();
    assert!(2 * failures.len() < count, "{}", failures.join("\n"));
}

/// What the environment variable says, or the default.
pub fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl Scenario {
    /// A scenario of ten seconds without anything in it. Its seed is 1, or that of the variable
    /// `SIM_SEED`.
    pub fn new(name: impl Into<String>) -> Scenario {
        Scenario {
            name: name.into(),
            seed: variable("SIM_SEED", 1),
            slack_us: 0,
            memory: engine::MEMORY,
            fec: true,
            paths: [path_settings(); 2],
            links: Vec::new(),
            flows: Vec::new(),
            steps: Vec::new(),
            lasts_us: 10 * SEC,
            expectations: Vec::new(),
        }
    }

    /// With this seed.
    pub fn seed(self, seed: u64) -> Scenario {
        Scenario { seed, ..self }
    }

    /// With the seed that comes so many after its own.
    pub fn seed_after(self, n: u64) -> Scenario {
        Scenario { seed: self.seed + n, ..self }
    }

    /// With timers of the ends that fire late by up to so much.
    pub fn slack(self, slack_us: u64) -> Scenario {
        Scenario { slack_us, ..self }
    }

    /// With engines that may keep so many bytes of packets (bare ones).
    pub fn memory(self, memory: usize) -> Scenario {
        Scenario { memory, ..self }
    }

    /// With engines that protect nothing by parity (bare ones).
    pub fn without_fec(self) -> Scenario {
        Scenario { fec: false, ..self }
    }

    /// With ends that believe this of their links' MTU, by side, and with outer headers of so many
    /// bytes (bare ones).
    pub fn outer(mut self, link_mtu: [u16; 2], ip_overhead: u16) -> Scenario {
        for (path, link_mtu) in self.paths.iter_mut().zip(link_mtu) {
            *path = PathSettings { link_mtu, ip_overhead, ..*path };
        }
        self
    }

    /// With links that are the same in both directions.
    pub fn links(mut self, links: impl IntoIterator<Item = Spec>) -> Scenario {
        self.links.extend(links.into_iter().map(|spec| (spec.clone(), spec)));
        self
    }

    /// With a link that is different up and down.
    pub fn link(mut self, up: Spec, down: Spec) -> Scenario {
        self.links.push((up, down));
        self
    }

    /// With a flow.
    pub fn flow(mut self, name: impl Into<String>, flow: Flow) -> Scenario {
        self.flows.push((name.into(), flow));
        self
    }

    /// With something that happens.
    pub fn at(
        mut self,
        us: u64,
        what: &'static str,
        action: impl Fn(&mut World) + 'static,
    ) -> Scenario {
        self.steps.push((us, what, Rc::new(action)));
        self
    }

    /// Ending at this time.
    pub fn lasts(self, us: u64) -> Scenario {
        Scenario { lasts_us: us, ..self }
    }

    /// Where this figure is not below the bound.
    pub fn at_least(
        self,
        name: impl Into<String>,
        least: f64,
        figure: impl Fn(&Outcome) -> f64 + 'static,
    ) -> Scenario {
        self.expect(name.into(), least, f64::INFINITY, Box::new(figure))
    }

    /// Where this figure is not above the bound.
    pub fn at_most(
        self,
        name: impl Into<String>,
        most: f64,
        figure: impl Fn(&Outcome) -> f64 + 'static,
    ) -> Scenario {
        self.expect(name.into(), f64::NEG_INFINITY, most, Box::new(figure))
    }

    fn expect(mut self, name: String, least: f64, most: f64, figure: Figure) -> Scenario {
        self.expectations.push(Expectation { name, least, most, figure });
        self
    }

    /// Plays it once, without looking at the expectations; writes a trace if one is asked for.
    pub fn play(&self, kind: Kind) -> Outcome {
        let outcome = self.play_quietly(kind);
        if let Some(dir) = std::env::var_os("SIM_TRACE") {
            let title = format!("{} ({kind:?}, seed {})", self.name, self.seed);
            let steps: Vec<_> = self.steps.iter().map(|(us, what, _)| (*us, *what)).collect();
            trace::write(dir.as_ref(), &title, &steps, &outcome);
        }
        outcome
    }

    fn play_quietly(&self, kind: Kind) -> Outcome {
        let (seed, memory, fec, paths) = (self.seed, self.memory, self.fec, self.paths);
        let factory: Factory = Box::new(move |side, session, now| -> Box<dyn Node> {
            match kind {
                Kind::Bare => {
                    let path = paths[side as usize];
                    Box::new(Bare::new(side, session, seed, memory, fec, path))
                }
                Kind::Sealed => Box::new(Sealed::new(side, session, seed, now)),
                Kind::Plain => Box::new(Plain::default()),
            }
        });
        let mut world = World::new(seed, factory);
        world.slack_us = self.slack_us;
        for (number, (up, down)) in self.links.iter().enumerate() {
            world.add_link(up.clone(), down.clone());
            if kind == Kind::Plain {
                let event = crate::node::LinkEvent::Up;
                world.nodes[Side::Server as usize].link_event(Time::ZERO, number, event);
            }
        }
        for (number, (_, flow)) in self.flows.iter().enumerate() {
            flow.install(&mut world, number);
        }
        for (us, _, action) in &self.steps {
            let action = Rc::clone(action);
            world.at(Time(*us), Box::new(move |w| action(w)));
        }
        world.run_until(Time(self.lasts_us));
        self.collect(world)
    }

    fn collect(&self, world: World) -> Outcome {
        let record = |number: usize, (name, flow): &(String, Flow)| {
            let (receiver, sender) = flow.sides();
            let of = |side: Side| flow.record(&world, number, side);
            (name.clone(), of(receiver), of(sender))
        };
        Outcome {
            flows: self.flows.iter().enumerate().map(|(n, f)| record(n, f)).collect(),
            links: world
                .wans
                .iter()
                .map(|w| [w.directions[0].counters, w.directions[1].counters])
                .collect(),
            kbps_sum: world.wans.iter().map(|w| w.directions[1].spec.kbps).sum(),
            ends: SIDES.map(|side| world.nodes[side as usize].snapshot(world.now)),
            beliefs: SIDES.map(|side| world.nodes[side as usize].describe(world.now)),
            trace: world.oracle.trace,
            packets: (world.oracle.sent, world.oracle.delivered),
            violations: world.oracle.violations,
            peaks: world.oracle.peaks,
            history: world.history,
        }
    }

    /// Runs it with engines alone, and then with whole endpoints.
    ///
    /// # Panics
    /// As [`run`](Scenario::run).
    pub fn run_both(&self) {
        let failures: Vec<String> =
            [Kind::Bare, Kind::Sealed].into_iter().filter_map(|k| self.check(k).err()).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    /// Plays it twice and checks everything.
    ///
    /// # Panics
    /// When an expectation is not met, the oracle has found something, or the runs differ.
    pub fn run(&self, kind: Kind) -> Outcome {
        self.check(kind).unwrap_or_else(|report| panic!("{report}"))
    }

    /// Plays it twice; the error is a report of all figures.
    fn check(&self, kind: Kind) -> Result<Outcome, String> {
        let outcome = self.play(kind);
        let (mut failed, mut report) = (false, String::new());
        let _ = writeln!(report, "{} ({kind:?}, seed {})", self.name, self.seed);
        for (us, what, _) in &self.steps {
            let _ = writeln!(report, "  at {:.3} s: {what}", *us as f64 / SEC as f64);
        }
        for e in &self.expectations {
            let figure = (e.figure)(&outcome);
            let met = figure >= e.least && figure <= e.most;
            failed |= !met;
            let bound = match e.least.is_finite() {
                true => format!("at least {}", e.least),
                false => format!("at most {}", e.most),
            };
            let mark = if met { "ok  " } else { "FAIL" };
            let _ = writeln!(report, "  {mark} {}: {figure:.3} ({bound})", e.name);
        }
        for violation in &outcome.violations {
            failed = true;
            let _ = writeln!(report, "  FAIL oracle: {violation}");
        }
        failed |= outcome.flows.iter().any(|(_, received, _)| received.corrupt > 0);
        for (name, received, sent) in outcome.flows.iter().take(FLOWS_TOLD) {
            let series = received.series(0, self.lasts_us, 100_000);
            let series: Vec<String> = series.iter().map(|v| format!("{v:.0}")).collect();
            let _ = writeln!(
                report,
                "  {name}: corrupt {}, resent {}, cuts {}, undone {}, timeouts {}, {:?}; Mbit/s {}",
                received.corrupt,
                sent.resent,
                sent.cuts,
                sent.undone,
                sent.timeouts,
                sent.slow_start_end,
                series.join(" ")
            );
        }
        for (side, belief) in SIDES.iter().zip(&outcome.beliefs) {
            let _ = writeln!(report, "  {side:?}: {belief}");
        }
        let _ = writeln!(report, "  links: {:?}", outcome.links);
        let _ = writeln!(report, "  kept at most: {:?}", outcome.peaks);
        let again = self.play_quietly(kind);
        if again.trace != outcome.trace || again.packets != outcome.packets {
            failed = true;
            let _ = writeln!(report, "  FAIL two runs with one seed differ");
        }
        if std::env::var_os("SIM_VERBOSE").is_some() {
            println!("{report}");
        }
        if failed { Err(report) } else { Ok(outcome) }
    }
}
