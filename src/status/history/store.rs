//! The past over a restart: minutes and hours as bytes, and back.
//!
//! How: a head (magic, wall clock of the last minute, minutes of the hour that is running), then each
//! series with its names, its hour so far and its samples; integers little-endian. What was between the
//! end and the next start is a break. Five minutes of seconds are not worth their room.
//!
//! Limits: at most [`BYTES_MAX`]. Bytes that are not understood are an empty past.

use super::{FORGET_S, HOURS, MINUTES, Rates, Recorder, Ring, SERIES_MAX, Sample, Sum, Track};
use crate::status::calendar::CLOCK_SET_S;

/// What the bytes begin with: the format's name and number.
const MAGIC: &[u8; 8] = b"onebox\0\x01";
/// Bytes of a name at most.
const NAME_MAX: usize = 255;
/// Bytes of everything: all series at their longest.
pub const BYTES_MAX: usize =
    20 + (SERIES_MAX + 1) * (2 * (NAME_MAX + 1) + 36 + 4 * (MINUTES + HOURS));

/// Bytes that are read one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn name(&mut self) -> Option<String> {
        let len = *self.bytes(1)?.first()?;
        String::from_utf8(self.bytes(usize::from(len))?.to_vec()).ok()
    }

    fn ring(&mut self, max: usize) -> Option<Ring> {
        let len = usize::try_from(self.u32()?).ok().filter(|len| *len <= max)?;
        let mut ring = Ring::new(max);
        for _ in 0..len {
            ring.push(Sample(self.u32()?));
        }
        Some(ring)
    }

    fn track(&mut self) -> Option<Track> {
        let (peer, wan) = (self.name()?, self.name()?);
        let mut track = Track::new(&peer, &wan);
        track.absent_s = self.u64()?.min(FORGET_S);
        let of = Rates { up_kbps: self.u64()?, down_kbps: self.u64()?, rtt_ms: 0.0 };
        // An hour's sums; more would overflow when more is added.
        let bound = |kbps: u64| kbps.min(u64::MAX / 1024);
        let of = Rates { up_kbps: bound(of.up_kbps), down_kbps: bound(of.down_kbps), ..of };
        track.hour = Sum { of, rtts: 0 };
        track.minutes = self.ring(MINUTES)?;
        track.hours = self.ring(HOURS)?;
        Some(track)
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    // Longer ones there are none: UCI's are shorter. One that is not whole would be another's.
    let name = if name.len() <= NAME_MAX { name } else { "" };
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

fn put_ring(out: &mut Vec<u8>, ring: &Ring) {
    out.extend_from_slice(&(ring.samples.len() as u32).to_le_bytes());
    for Sample(bits) in &ring.samples {
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

impl Recorder {
    /// The past as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.minute_end_s.to_le_bytes());
        out.extend_from_slice(&self.minutes.to_le_bytes());
        for track in &self.tracks {
            put_name(&mut out, &track.peer);
            put_name(&mut out, &track.wan);
            for number in [track.absent_s, track.hour.of.up_kbps, track.hour.of.down_kbps] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_ring(&mut out, &track.minutes);
            put_ring(&mut out, &track.hours);
        }
        out
    }

    /// The end of the past in these bytes, wall clock, seconds; 0 where there is none.
    pub fn end_of(bytes: &[u8]) -> u64 {
        let mut reader = Reader(bytes);
        let magic = reader.bytes(MAGIC.len()).is_some_and(|magic| magic == MAGIC);
        reader.u64().filter(|_| magic).unwrap_or(0)
    }

    /// Goes on from the past in these bytes at this wall clock; whether they were understood. A clock
    /// that was not set yet, or stands before the past's end, makes no break.
    pub fn resume(&mut self, bytes: &[u8], unix_s: u64) -> bool {
        let Some(past) = read(bytes) else { return false };
        *self = past;
        let end_s = self.minute_end_s;
        if end_s >= CLOCK_SET_S && unix_s > end_s {
            self.skip(end_s, unix_s - end_s);
        }
        true
    }
}

fn read(bytes: &[u8]) -> Option<Recorder> {
    let mut reader = Reader(bytes);
    if reader.bytes(MAGIC.len())? != MAGIC {
        return None;
    }
    let minute_end_s = reader.u64()?;
    let minutes = reader.u32()?.min(59);
    let mut tracks = Vec::new();
    while !reader.0.is_empty() && tracks.len() <= SERIES_MAX {
        tracks.push(reader.track()?);
    }
    let first_is_total = tracks.first().is_some_and(|t| t.peer.is_empty() && t.wan.is_empty());
    let hour_end_s = minute_end_s.saturating_sub(u64::from(minutes) * 60);
    first_is_total.then(|| Recorder {
        tracks,
        minute_end_s,
        hour_end_s,
        end_s: minute_end_s,
        minutes,
        ..Recorder::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;
    use crate::status::{Path, Peer};
    use crate::time::{SEC, Time};

    /// A Saturday, on the hour.
    const START_S: u64 = 1_795_860_000;

    fn run(recorder: &mut Recorder, from: u64, seconds: u64, kbps: u64) {
        let rates = Rates { up_kbps: kbps, down_kbps: 2 * kbps, rtt_ms: 20.0 };
        let path = Path {
            wan: "dsl".to_owned(),
            rate_up_kbps: kbps,
            rate_down_kbps: 2 * kbps,
            rtt_ms: 20.0,
            ..Path::default()
        };
        let peer = Peer { name: "vps".to_owned(), paths: vec![path], ..Peer::default() };
        for second in from..from + seconds {
            let now = Time(second * SEC);
            recorder.sample(now, START_S + second, rates, std::slice::from_ref(&peer));
        }
    }

    #[test]
    fn hours_are_means_and_the_past_goes_on_after_a_restart() {
        let mut before = Recorder::default();
        run(&mut before, 0, 3 * 3600 + 1800, 100);
        let hours = before.history(0, Step::Hour);
        assert_eq!((hours.step_s, hours.end_s), (3600, START_S + 3 * 3600 - 1));
        assert_eq!(hours.series[1].up_kbps, [100; 3]);
        assert!((hours.series[1].rtt_ms[0] - 20.0).abs() < 0.5);
        let bytes = before.to_bytes();
        assert!(bytes.len() < BYTES_MAX);
        assert_eq!(Recorder::end_of(&bytes), START_S + 3 * 3600 + 1799);

        // Ten minutes later, for another hour.
        let mut after = Recorder::default();
        let later = 3 * 3600 + 2400;
        assert!(after.resume(&bytes, START_S + later));
        run(&mut after, later, 3600, 100);
        let hours = after.history(0, Step::Hour).series.swap_remove(1).up_kbps;
        // Fifty minutes of sixty; the next ends after the end.
        assert_eq!(hours, [100, 100, 100, 83]);
        let minutes = after.history(0, Step::Minute).series.swap_remove(1).up_kbps;
        assert_eq!(minutes.iter().filter(|kbps| **kbps == 0).count(), 10);
        assert_eq!(minutes.len(), 210 + 10 + 60);
        // The clock was not set, or goes back: no break.
        let mut unset = Recorder::default();
        assert!(unset.resume(&bytes, 3600));
        assert_eq!(unset.history(0, Step::Minute).series[1].up_kbps.len(), 210);
        // A month later nothing of it is left.
        let mut late = Recorder::default();
        assert!(late.resume(&bytes, START_S + 40 * 86_400));
        run(&mut late, 40 * 86_400, 1, 7);
        let hours = late.history(0, Step::Hour).series.swap_remove(0).up_kbps;
        assert_eq!((hours.len(), hours.iter().sum::<u64>()), (HOURS, 0));
    }

    #[test]
    fn what_is_not_whole_is_no_past() {
        let mut recorder = Recorder::default();
        run(&mut recorder, 0, 400, 5);
        let bytes = recorder.to_bytes();
        for end in 0..bytes.len() {
            let mut other = Recorder::default();
            // But for an end right behind a series.
            let whole = other.resume(&bytes[..end], START_S + 400);
            assert!(!whole || other.tracks.len() < recorder.tracks.len(), "{end}");
        }
        let mut huge = bytes.clone();
        huge.iter_mut().skip(20).for_each(|byte| *byte = 0xff);
        assert!(!Recorder::default().resume(&huge, START_S));
        assert_eq!(Recorder::end_of(b"something else"), 0);
        // Numbers as large as can be do not overflow.
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0xff; 12]);
        bytes.extend([0, 0]);
        bytes.extend([0xff; 24]);
        bytes.extend([0; 8]);
        let mut large = Recorder::default();
        assert!(large.resume(&bytes, START_S));
        run(&mut large, 0, 7200, u64::MAX / 4096);
    }
}
