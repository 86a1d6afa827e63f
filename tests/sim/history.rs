//! How a run went: what the ends believed and what the links did, every ten milliseconds.
//!
//! Why: a bound on the last figure of a run says nothing about the way there. Scenarios ask what
//! a link carried in some second, how long its queue was, what a status would have said; traces
//! ([`crate::trace`]) show it to people.
//!
//! How: nothing changes between two events, so the state at a time is what the last event before
//! it has left. Looking changes nothing: a run that is recorded goes the same way.

use crate::link::Counters;
use crate::packet::Side;
use crate::report::{TCP_SHARE, seconds};
use crate::world::Wan;
use onebox::engine::{PathSnapshot, Snapshot};
use onebox::time::{MS, Time};

/// Distance of the samples.
pub const STEP_US: u64 = 10 * MS;

/// One direction of a link at one time.
#[derive(Clone, Copy, Debug)]
pub struct LinkSample {
    /// Its rate.
    pub kbps: u64,
    /// Whether it swallows everything.
    pub hole: bool,
    /// Bytes that wait for it.
    pub queued: usize,
    /// What it has done since the beginning.
    pub counters: Counters,
}

impl LinkSample {
    /// The rate at which something comes through it.
    pub fn through_kbps(&self) -> u64 {
        if self.hole { 0 } else { self.kbps }
    }

    /// How long its queue takes, milliseconds.
    pub fn queue_ms(&self) -> f64 {
        self.queued as f64 * 8.0 / self.kbps.max(1) as f64
    }
}

/// Everything at one time.
#[derive(Debug)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// What the ends believe, by side.
    pub ends: [Option<Snapshot>; 2],
    /// The links, up and down.
    pub links: Vec<[LinkSample; 2]>,
}

/// The samples of a run.
#[derive(Debug, Default)]
pub struct History {
    /// In the order of time, [`STEP_US`] apart.
    pub samples: Vec<Sample>,
}

impl History {
    /// When the next sample is to be taken.
    pub fn due(&self) -> Time {
        Time(self.samples.len() as u64 * STEP_US)
    }

    /// Takes the sample that is due.
    pub fn add(&mut self, ends: [Option<Snapshot>; 2], wans: &[Wan]) {
        let at = self.due();
        let links = wans.iter().map(|wan| {
            wan.directions.each_ref().map(|link| LinkSample {
                kbps: link.spec.rate_kbps(at),
                hole: link.spec.blackhole,
                queued: link.queued(),
                counters: link.counters,
            })
        });
        let links = links.collect();
        self.samples.push(Sample { at, ends, links });
    }

    /// The samples between two times in seconds.
    pub fn between(&self, from: f64, to: f64) -> &[Sample] {
        let at = |s: f64| (seconds(s).div_ceil(STEP_US) as usize).min(self.samples.len());
        &self.samples[at(from)..at(to).max(at(from))]
    }

    /// One direction of a link between two times, where it was there.
    pub fn link(
        &self,
        link: usize,
        from_side: Side,
        from: f64,
        to: f64,
    ) -> impl Iterator<Item = &LinkSample> {
        let links = self.between(from, to).iter().filter_map(move |s| s.links.get(link));
        links.map(move |l| &l[from_side as usize])
    }

    /// What one end knew of a path between two times, where there was something.
    pub fn path(
        &self,
        side: Side,
        path: usize,
        from: f64,
        to: f64,
    ) -> impl Iterator<Item = (Time, &PathSnapshot)> {
        self.between(from, to).iter().filter_map(move |s| {
            let snapshot = s.ends[side as usize].as_ref()?;
            let found = snapshot.paths.iter().find(|p| p.id.index() == path)?;
            Some((s.at, found))
        })
    }

    /// Kilobytes that a link has carried from a side, with framing, and whatever of it was lost.
    pub fn link_kb(&self, link: usize, side: Side, from: f64, to: f64) -> f64 {
        let mut bytes = self.link(link, side, from, to).map(|l| l.counters.wire_bytes);
        let first = bytes.next().unwrap_or(0);
        (bytes.last().unwrap_or(first) - first) as f64 / 1000.0
    }

    /// Mbit/s that a link has carried from a side, likewise.
    pub fn link_mbps(&self, link: usize, side: Side, from: f64, to: f64) -> f64 {
        self.link_kb(link, side, from, to) * 0.008 / (to - from - STEP_US as f64 / 1e6)
    }

    /// Seconds from `from` on until a link has carried `mbps` for half a second; infinite when it
    /// never did.
    pub fn carries_after_s(&self, link: usize, side: Side, mbps: f64, from: f64) -> f64 {
        let end = self.samples.len() as f64 * STEP_US as f64 / 1e6;
        let mut begins = (0..).map(|i| from + f64::from(i) * 0.1).take_while(|b| b + 0.5 <= end);
        let found = begins.find(|&b| self.link_mbps(link, side, b, b + 0.5) >= mbps);
        found.map_or(f64::INFINITY, |b| b + 0.5 - from)
    }

    /// Percent of the time in which what an end knows of a path is as asked.
    pub fn percent(
        &self,
        side: Side,
        path: usize,
        from: f64,
        to: f64,
        is: impl Fn(&PathSnapshot) -> bool,
    ) -> f64 {
        let all = self.between(from, to).len().max(1);
        let such = self.path(side, path, from, to).filter(|(_, p)| is(p)).count();
        such as f64 * 100.0 / all as f64
    }

    /// How often what an end says of a path's state has changed.
    pub fn changes(&self, side: Side, path: usize, from: f64, to: f64) -> f64 {
        let states: Vec<_> = self.path(side, path, from, to).map(|(_, p)| p.state).collect();
        states.windows(2).filter(|w| w[0] != w[1]).count() as f64
    }

    /// A percentile of a link's queue, milliseconds.
    pub fn queue_ms(&self, link: usize, side: Side, from: f64, to: f64, percent: f64) -> f64 {
        let mut queue: Vec<f64> =
            self.link(link, side, from, to).map(LinkSample::queue_ms).collect();
        queue.sort_by(f64::total_cmp);
        let at = (queue.len() as f64 * percent / 100.0).ceil() as usize;
        queue.get(at.max(1) - 1).copied().unwrap_or(f64::INFINITY)
    }

    /// What plain TCP would get of all links from a side together, Mbit/s.
    pub fn there_mbps(&self, side: Side, from: f64, to: f64) -> f64 {
        let samples = self.between(from, to);
        let through = |l: &[LinkSample; 2]| l[side as usize].through_kbps();
        let sum = |s: &Sample| s.links.iter().map(through).sum::<u64>() as f64;
        samples.iter().map(sum).sum::<f64>() * TCP_SHARE / (1000 * samples.len().max(1)) as f64
    }
}
