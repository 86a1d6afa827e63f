//! The recent past: rates and round-trip times of the paths and of all together.
//!
//! Why: a status page that is opened after something went wrong has to show it; it cannot have
//! been collecting all day.
//!
//! How: a sample a second, of which the last [`SECONDS`] are kept, their means over a minute, of which
//! the last [`MINUTES`] are, and the means of those over an hour, [`HOURS`]. A sample is four bytes: 12 bits for each rate (exact up to
//! 255 kbit/s, then within 0.4 %), 8 bits for the round trip (0.1 ms to 10 s, within 2.5 % and 0.05 ms).
//!
//! Limits: 10 kB for each series, so 90 kB for eight WANs and the total. There are at most
//! [`SERIES_MAX`] beside the total, the first that come: on a server with more paths the others
//! are only in the total. A path that is gone keeps its place for a month, or until another needs it.
//! What is kept over a restart, and how, is in [`store`].

pub mod store;

use super::model::{History, Peer, Series};
use crate::time::{SEC, Time};
use std::collections::VecDeque;

/// Samples of a second that are kept: 5 minutes.
pub const SECONDS: usize = 300;
/// Means of a minute that are kept: a day.
pub const MINUTES: usize = 1440;
/// Means of an hour that are kept: a month.
pub const HOURS: usize = 744;
/// Series beside the total: as many as one answer on ubus can hold (1 MiB, 16 bytes a number).
pub const SERIES_MAX: usize = 12;
/// After so many seconds without a sample there was a break, and no rate is made up for it.
const BREAK_S: u64 = 5;
/// Seconds after which a series of nothing but absence is forgotten.
const FORGET_S: u64 = 31 * 86_400;
/// Seconds of a break that are filled with samples of nothing: as many as are kept.
const FILL_S: u64 = SECONDS as u64;
/// Round trip of the sample 1, and the ratio of two neighbours, so that 255 is 10 s.
const RTT_MIN_MS: f64 = 0.1;
const RTT_RATIO_LN: f64 = 0.045_326_4;

/// Rates and round trip of a path, or of all together, at one time or as a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Router to server.
    pub up_kbps: u64,
    /// Server to router.
    pub down_kbps: u64,
    /// Round trip, of all together that of the quickest active path; 0 while unknown.
    pub rtt_ms: f64,
}

/// The same in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample(u32);

impl From<Rates> for Sample {
    fn from(values: Rates) -> Sample {
        let (up, down) = (pack_rate(values.up_kbps), pack_rate(values.down_kbps));
        Sample(up << 20 | down << 8 | pack_rtt(values.rtt_ms))
    }
}

impl From<Sample> for Rates {
    fn from(Sample(bits): Sample) -> Rates {
        Rates {
            up_kbps: unpack_rate(bits >> 20),
            down_kbps: unpack_rate(bits >> 8 & 0xfff),
            rtt_ms: unpack_rtt(bits & 0xff),
        }
    }
}

/// Five bits of exponent, seven of mantissa with a hidden one, rounded.
fn pack_rate(kbps: u64) -> u32 {
    if kbps < 256 {
        // As below, without anything to round.
        return kbps as u32;
    }
    let shift = kbps.ilog2() - 7;
    let rounded = (kbps >> (shift - 1)).saturating_add(1) >> 1;
    // A carry out of the mantissa makes the exponent one more, as it should.
    (((shift << 7) as u64 + rounded) as u32).min(0xfff)
}

fn unpack_rate(code: u32) -> u64 {
    match code >> 7 {
        0 => u64::from(code),
        exponent => u64::from(code & 0x7f | 0x80) << (exponent - 1),
    }
}

fn pack_rtt(ms: f64) -> u32 {
    if ms <= 0.0 {
        return 0;
    }
    // Clamped, so that it fits.
    (1.0 + (ms / RTT_MIN_MS).ln() / RTT_RATIO_LN).round().clamp(1.0, 255.0) as u32
}

fn unpack_rtt(code: u32) -> f64 {
    if code == 0 {
        return 0.0;
    }
    let ms = RTT_MIN_MS * (f64::from(code - 1) * RTT_RATIO_LN).exp();
    (ms * 10.0).round() / 10.0
}

/// The newest samples, oldest first.
#[derive(Debug)]
struct Ring {
    samples: VecDeque<Sample>,
    max: usize,
}

impl Ring {
    fn new(max: usize) -> Ring {
        Ring { samples: VecDeque::with_capacity(max), max }
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() >= self.max {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

/// The time between two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Step {
    /// The step of so many seconds, if there is one.
    pub fn of_seconds(seconds: u64) -> Option<Step> {
        match seconds {
            1 => Some(Step::Second),
            60 => Some(Step::Minute),
            3600 => Some(Step::Hour),
            _ => None,
        }
    }

    /// How long it is, seconds.
    pub fn seconds(self) -> u32 {
        match self {
            Step::Second => 1,
            Step::Minute => 60,
            Step::Hour => 3600,
        }
    }
}

/// What becomes a mean of 60.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    of: Rates,
    /// How many round trips are in it.
    rtts: u32,
}

impl Sum {
    fn add(&mut self, values: Rates) {
        self.of.up_kbps += values.up_kbps;
        self.of.down_kbps += values.down_kbps;
        if values.rtt_ms > 0.0 {
            self.of.rtt_ms += values.rtt_ms;
            self.rtts += 1;
        }
    }

    /// The mean, and from nothing again.
    fn take(&mut self) -> Rates {
        let Sum { of, rtts } = core::mem::take(self);
        Rates {
            up_kbps: of.up_kbps / 60,
            down_kbps: of.down_kbps / 60,
            rtt_ms: of.rtt_ms / f64::from(rtts.max(1)),
        }
    }
}

/// One path, or all.
#[derive(Debug)]
struct Track {
    peer: String,
    wan: String,
    seconds: Ring,
    minutes: Ring,
    hours: Ring,
    /// Of the minute and of the hour that are running.
    minute: Sum,
    hour: Sum,
    /// Seconds since it was there last.
    absent_s: u64,
}

impl Track {
    fn new(peer: &str, wan: &str) -> Track {
        Track {
            peer: peer.to_owned(),
            wan: wan.to_owned(),
            seconds: Ring::new(SECONDS),
            minutes: Ring::new(MINUTES),
            hours: Ring::new(HOURS),
            minute: Sum::default(),
            hour: Sum::default(),
            absent_s: 0,
        }
    }

    fn push(&mut self, values: Rates) {
        self.seconds.push(values.into());
        self.minute.add(values);
    }

    fn end_minute(&mut self) {
        let mean = self.minute.take();
        self.minutes.push(mean.into());
        self.hour.add(mean);
    }

    fn end_hour(&mut self) {
        let mean = self.hour.take();
        self.hours.push(mean.into());
    }
}

/// Everything that is kept.
#[derive(Debug)]
pub struct Recorder {
    /// The total first.
    tracks: Vec<Track>,
    /// When the last sample was due.
    last: Option<Time>,
    /// Wall clock of the last sample, and of the end of the last whole minute and hour.
    end_s: u64,
    minute_end_s: u64,
    hour_end_s: u64,
    /// Seconds of the minute that is running, and minutes of the hour.
    seconds: u32,
    minutes: u32,
}

impl Default for Recorder {
    fn default() -> Recorder {
        let tracks = vec![Track::new("", "")];
        Recorder {
            tracks,
            last: None,
            end_s: 0,
            minute_end_s: 0,
            hour_end_s: 0,
            seconds: 0,
            minutes: 0,
        }
    }
}

impl Recorder {
    /// Takes a sample at this time of both clocks, at most one a second: what all carry together, and
    /// peers with their paths.
    pub fn sample(&mut self, now: Time, unix_s: u64, total: Rates, peers: &[Peer]) {
        let passed = match self.last {
            None => 1,
            // Half a second early is this second, so that a timer's jitter leaves no gap.
            Some(last) => (now.since(last) + SEC / 2) / SEC,
        };
        if passed == 0 {
            return;
        }
        self.last = Some(match self.last {
            Some(last) if passed <= BREAK_S => last + passed * SEC,
            _ => now,
        });
        let missed = passed - 1;
        if missed < BREAK_S {
            for behind in (1..=missed).rev() {
                self.second(unix_s.saturating_sub(behind), total, peers);
            }
        } else {
            self.skip(unix_s.saturating_sub(missed), missed);
        }
        self.second(unix_s, total, peers);
        let total = self.tracks.drain(..1).collect::<Vec<_>>();
        self.tracks.retain(|track| track.absent_s < FORGET_S);
        self.tracks.splice(0..0, total);
    }

    /// One second; without peers, one of which nothing is known.
    fn second(&mut self, unix_s: u64, total: Rates, peers: &[Peer]) {
        let mut seen = Vec::new();
        for peer in peers {
            for path in &peer.paths {
                let values = Rates {
                    up_kbps: path.rate_up_kbps,
                    down_kbps: path.rate_down_kbps,
                    rtt_ms: path.rtt_ms,
                };
                if let Some(at) = self.track(&peer.name, &path.wan) {
                    seen.push((at, values));
                }
            }
        }
        for (at, track) in self.tracks.iter_mut().enumerate() {
            let values = match at {
                0 => Some(total),
                _ => seen.iter().find(|(seen, _)| *seen == at).map(|(_, values)| *values),
            };
            track.absent_s = if values.is_some() { 0 } else { track.absent_s + 1 };
            track.push(values.unwrap_or_default());
        }
        self.end_s = unix_s;
        self.seconds += 1;
        if self.seconds >= 60 {
            self.minute(unix_s);
        }
    }

    /// A minute ends.
    fn minute(&mut self, unix_s: u64) {
        self.seconds = 0;
        self.minute_end_s = unix_s;
        self.tracks.iter_mut().for_each(Track::end_minute);
        self.minutes += 1;
        if self.minutes >= 60 {
            self.minutes = 0;
            self.hour_end_s = unix_s;
            self.tracks.iter_mut().for_each(Track::end_hour);
        }
    }

    /// So many seconds from `unix_s` on of which nothing is known: whole minutes at once, but for the
    /// last [`FILL_S`].
    fn skip(&mut self, unix_s: u64, seconds: u64) {
        // And the hour that was running.
        let seconds = seconds.min(FORGET_S + 3600);
        let minutes = seconds.saturating_sub(FILL_S) / 60;
        for minute in 1..=minutes {
            self.tracks.iter_mut().for_each(|track| track.absent_s += 60);
            self.minute(unix_s + minute * 60);
        }
        for second in minutes * 60..seconds {
            self.second(unix_s + second, Rates::default(), &[]);
        }
    }

    /// The place of a path's series, made if there is room.
    fn track(&mut self, peer: &str, wan: &str) -> Option<usize> {
        let same = |track: &Track| track.peer == peer && track.wan == wan;
        if let Some(at) = self.tracks.iter().skip(1).position(same) {
            return Some(at + 1);
        }
        if self.tracks.len() <= SERIES_MAX {
            self.tracks.push(Track::new(peer, wan));
            return Some(self.tracks.len() - 1);
        }
        let places = self.tracks.iter().enumerate().skip(1);
        let (at, longest) = places.max_by_key(|(_, track)| track.absent_s)?;
        if longest.absent_s == 0 {
            return None;
        }
        *self.tracks.get_mut(at)? = Track::new(peer, wan);
        Some(at)
    }

    /// What was after `since` (wall clock, seconds), in steps of this length.
    pub fn history(&self, since: u64, step: Step) -> History {
        let step_s = step.seconds();
        let end_s = match step {
            Step::Second => self.end_s,
            Step::Minute => self.minute_end_s,
            Step::Hour => self.hour_end_s,
        };
        let wanted = end_s.saturating_sub(since) / u64::from(step_s);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let series = self.tracks.iter().map(|track| {
            let ring = match step {
                Step::Second => &track.seconds,
                Step::Minute => &track.minutes,
                Step::Hour => &track.hours,
            };
            let skip = ring.samples.len().saturating_sub(wanted);
            let values = || ring.samples.iter().skip(skip).map(|s| Rates::from(*s));
            Series {
                peer: track.peer.clone(),
                wan: track.wan.clone(),
                up_kbps: values().map(|v| v.up_kbps).collect(),
                down_kbps: values().map(|v| v.down_kbps).collect(),
                rtt_ms: values().map(|v| v.rtt_ms).collect(),
            }
        });
        History { end_s, step_s, series: series.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Path;

    /// Takes a sample of one peer with these paths.
    fn sample(recorder: &mut Recorder, now: u64, unix_s: u64, paths: &[(&str, u64, f64)]) {
        let path = |&(wan, kbps, rtt_ms): &(&str, u64, f64)| Path {
            wan: wan.to_owned(),
            rate_up_kbps: kbps,
            rate_down_kbps: kbps * 2,
            rtt_ms,
            ..Path::default()
        };
        let up_kbps = paths.iter().map(|p| p.1).sum();
        let rtt_ms = paths.iter().map(|p| p.2).reduce(f64::min).unwrap_or(0.0);
        let total = Rates { up_kbps, down_kbps: up_kbps * 2, rtt_ms };
        let paths = paths.iter().map(path).collect();
        let peer = Peer { name: "vps".to_owned(), paths, ..Peer::default() };
        recorder.sample(Time(now), unix_s, total, &[peer]);
    }

    #[test]
    fn samples_are_close_to_what_they_stand_for() {
        for exponent in 0..38 {
            for kbps in
                [1u64 << exponent, (1 << exponent) + (1 << exponent) / 3, (2 << exponent) - 1]
            {
                let read = unpack_rate(pack_rate(kbps));
                let error = read.abs_diff(kbps);
                assert!(error * 250 <= kbps && (kbps > 255 || error == 0), "{kbps} {read}");
            }
        }
        assert_eq!((pack_rate(0), unpack_rate(pack_rate(u64::MAX)) > 1 << 37), (0, true));
        for tenths in 1..100_000 {
            let ms = f64::from(tenths) / 10.0;
            let read = unpack_rtt(pack_rtt(ms));
            assert!((read - ms).abs() <= ms * 0.025 + 0.051, "{ms} {read}");
        }
        assert_eq!((pack_rtt(0.0), pack_rtt(1e9), unpack_rtt(pack_rtt(0.001))), (0, 255, 0.1));
        assert_eq!(size_of::<Sample>(), 4);
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let mut recorder = Recorder::default();
        let two = [("dsl", 100, 12.0), ("lte", 50, 40.0)];
        for second in 0..90_000u64 {
            sample(&mut recorder, second * SEC, 1_000_000 + second, &two);
        }
        let seconds = recorder.history(0, Step::Second);
        assert_eq!((seconds.end_s, seconds.step_s), (1_089_999, 1));
        let names: Vec<&str> = seconds.series.iter().map(|s| s.wan.as_str()).collect();
        assert_eq!(names, ["", "dsl", "lte"]);
        assert_eq!(seconds.series[0].up_kbps, [150; SECONDS]);
        assert_eq!(seconds.series[2].down_kbps, [100; SECONDS]);
        assert!((seconds.series[0].rtt_ms[0] - 12.0).abs() < 0.3);
        let minutes = recorder.history(0, Step::Minute);
        assert_eq!((minutes.end_s, minutes.step_s), (1_089_999, 60));
        assert_eq!(minutes.series[1].up_kbps, [100; MINUTES]);
        assert!((minutes.series[1].rtt_ms[7] - 12.0).abs() < 0.3);
        // What came after a time, and nothing after the end.
        assert_eq!(recorder.history(1_089_990, Step::Second).series[1].up_kbps.len(), 9);
        assert_eq!(recorder.history(1_089_990, Step::Minute).series[1].up_kbps.len(), 0);
        assert_eq!(recorder.history(u64::MAX, Step::Second).series[1].up_kbps.len(), 0);
        // As the documentation says.
        let bytes = (SECONDS + MINUTES + HOURS) * size_of::<Sample>();
        assert!(bytes <= 10_000 && 9 * bytes <= 90_000);
    }

    #[test]
    fn late_timers_leave_no_gap_and_breaks_are_shown() {
        let mut recorder = Recorder::default();
        let one = [("dsl", 100, 12.0)];
        for at in [0, 1_400_000, 2_000_000, 2_100_000, 4_600_000] {
            sample(&mut recorder, at, 1000 + at / SEC, &one);
        }
        let rates =
            |recorder: &Recorder| recorder.history(0, Step::Second).series[1].up_kbps.clone();
        assert_eq!(rates(&recorder), [100; 6]);
        sample(&mut recorder, 64_600_000, 1064, &one);
        assert_eq!(rates(&recorder).len(), 66);
        assert_eq!(rates(&recorder)[6..65], [0; 59]);
        // A clock that was set in between only moves the end.
        sample(&mut recorder, 65_600_000, 2_000_000, &one);
        assert_eq!(recorder.history(1_999_990, Step::Second).series[1].up_kbps.len(), 10);
    }

    #[test]
    fn series_are_bounded_and_those_of_absent_paths_are_replaced() {
        let mut recorder = Recorder::default();
        let names: Vec<String> = (0..20).map(|n| format!("wan{n}")).collect();
        let all: Vec<_> = names.iter().map(|n| (n.as_str(), 10, 1.0)).collect();
        sample(&mut recorder, 0, 1000, &all);
        assert_eq!(recorder.history(0, Step::Second).series.len(), SERIES_MAX + 1);
        assert_eq!(recorder.history(0, Step::Second).series[0].up_kbps, [200]);
        sample(&mut recorder, SEC, 1001, &all[1..]);
        sample(&mut recorder, 2 * SEC, 1002, &all[1..]);
        let series = recorder.history(0, Step::Second).series;
        assert!(series.iter().all(|s| s.wan != "wan0") && series.iter().any(|s| s.wan == "wan12"));
        for second in [0, FORGET_S, FORGET_S + 1] {
            sample(&mut recorder, (3 + second) * SEC, 1003 + second, &[]);
        }
        assert_eq!(recorder.history(0, Step::Second).series.len(), 1);
    }
}
