//! Speed tests: what may be tested, and what was found.
//!
//! Why: the engine fills any path that it is told to; what costs money or has a quota is decided here.
//! And a result is worth more than the minute in which it is made: it is kept with its date.
//!
//! How: without a WAN's name all are tested that work, but for those whose bytes cost money, unless
//! that is asked for, and those whose quota is used up. A WAN with a quota takes at most what is left
//! of it. Once a second the results are looked for in what the engine shows; those of a test that is
//! over are kept beside the control socket, in memory on OpenWrt, so that they outlive a restart of
//! the program and no flash is written.
//!
//! Limits: a test is lost with the connection under it. Results of WANs that are not configured any
//! more stay in the file, [`KEPT`] of them at most.

use super::{files, report};
use crate::engine::Refusal;
use crate::status::{Peer, SpeedTest, Status, Tested};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// Seconds of each step: by default, at least and at most.
pub const SECONDS: u64 = 5;
pub const SECONDS_MIN: u64 = 1;
pub const SECONDS_MAX: u64 = 10;
/// Results that are kept.
const KEPT: usize = 64;
/// Longest file that is read.
const FILE_MAX: u64 = 64 << 10;

/// Why a step has no result, in words.
pub fn words(refusal: Refusal) -> String {
    match refusal {
        Refusal::NoPath => "the link does not work".to_owned(),
        Refusal::Bytes => "nothing is left of the quota".to_owned(),
        Refusal::Unknown => "the server does not know speed tests: update it".to_owned(),
        Refusal::Busy => "the server is busy with another test".to_owned(),
        Refusal::Hour(seconds) => {
            format!("the server sends no more for tests within {} min", seconds.div_ceil(60))
        }
        Refusal::Nothing => "too little arrived to tell".to_owned(),
        Refusal::Stopped => "it was ended before".to_owned(),
    }
}

/// The same as a stable name.
pub fn code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoPath => "no_path",
        Refusal::Bytes => "quota_used_up",
        Refusal::Unknown => "server_too_old",
        Refusal::Busy => "server_busy",
        Refusal::Hour(_) => "hour_used_up",
        Refusal::Nothing => "nothing_arrived",
        Refusal::Stopped => "stopped",
    }
}

/// The file: by peer and WAN, of all together without one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    #[serde(default)]
    tested: BTreeMap<String, Tested>,
}

/// What was found.
#[derive(Debug)]
pub struct Results {
    file: PathBuf,
    book: Book,
    /// The tests whose results are in the book, by peer.
    noted: BTreeMap<String, u32>,
    next: u32,
}

fn key(peer: &str, wan: Option<&str>) -> String {
    // A WAN's name has no slash.
    wan.map_or_else(|| peer.to_owned(), |wan| format!("{peer}/{wan}"))
}

impl Results {
    /// Those of this file; what cannot be read is forgotten.
    pub fn open(file: PathBuf) -> Results {
        let read = || {
            let mut text = Vec::new();
            std::fs::File::open(&file).ok()?.take(FILE_MAX).read_to_end(&mut text).ok()?;
            serde_json::from_slice(&text).ok()
        };
        let book = read().unwrap_or_default();
        Results { file, book, noted: BTreeMap::new(), next: 1 }
    }

    /// The name of the next test.
    pub fn next(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1).max(1);
        self.next
    }

    /// Takes in the results of tests that are over.
    pub fn update(&mut self, unix_s: u64, peers: &[Peer]) {
        for peer in peers {
            let Some(test) = peer.speed_test.as_ref().filter(|test| !test.running) else {
                continue;
            };
            if self.noted.insert(peer.name.clone(), test.id) == Some(test.id) {
                continue;
            }
            for (key, tested) in found(&peer.name, test, unix_s) {
                let known = self.book.tested.entry(key).or_default();
                // A test of one direction does not take the other's place.
                *known = Tested {
                    up_kbps: tested.up_kbps.or(known.up_kbps),
                    down_kbps: tested.down_kbps.or(known.down_kbps),
                    ..tested
                };
            }
            while self.book.tested.len() > KEPT {
                let oldest = self.book.tested.iter().min_by_key(|(_, tested)| tested.at);
                let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
                self.book.tested.remove(&oldest);
            }
            let text = serde_json::to_vec(&self.book).map_err(std::io::Error::other);
            if let Err(error) = text.and_then(|text| files::write_private(&self.file, &text)) {
                log::warn!("{}: {error}; results of tests are not kept", self.file.display());
            }
        }
    }

    /// Puts into a status what was found, also as the capacity of what was not full since.
    pub fn show(&self, unix_s: u64, status: &mut Status) {
        let aged = |key: String| {
            let tested = self.book.tested.get(&key)?;
            Some(Tested { age_s: unix_s.saturating_sub(tested.at), ..tested.clone() })
        };
        for peer in &mut status.peers {
            peer.bond.tested = aged(key(&peer.name, None));
            for path in &mut peer.paths {
                let Some(tested) = aged(key(&peer.name, Some(&path.wan))) else { continue };
                let of = |tested: Option<u64>, rate: u64| tested.map(|kbps| kbps.max(rate));
                path.capacity_up_kbps =
                    path.capacity_up_kbps.or(of(tested.up_kbps, path.rate_up_kbps));
                path.capacity_down_kbps =
                    path.capacity_down_kbps.or(of(tested.down_kbps, path.rate_down_kbps));
                path.tested = Some(tested);
            }
            let bond = &mut peer.bond;
            bond.best_single_up_kbps = report::best_single(&peer.paths, |p| p.capacity_up_kbps);
            bond.best_single_down_kbps = report::best_single(&peer.paths, |p| p.capacity_down_kbps);
        }
    }
}

/// What a test has found, by keys of the book.
fn found(peer: &str, test: &SpeedTest, at: u64) -> BTreeMap<String, Tested> {
    let mut all: BTreeMap<String, Tested> = BTreeMap::new();
    for step in test.steps.iter().filter(|step| step.kbps.is_some()) {
        let alone = if let [wan] = &step.wans[..] { Some(wan.as_str()) } else { None };
        let tested = all.entry(key(peer, alone)).or_default();
        tested.at = at;
        match step.way.as_str() {
            "up" => tested.up_kbps = step.kbps,
            _ => tested.down_kbps = step.kbps,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Path, SpeedStep};

    fn step(wans: &[&str], way: &str, kbps: u64) -> SpeedStep {
        let wans = wans.iter().map(|wan| (*wan).to_owned()).collect();
        let kbps = (kbps > 0).then_some(kbps);
        SpeedStep { wans, way: way.to_owned(), kbps, ..SpeedStep::default() }
    }

    fn peer(steps: Vec<SpeedStep>, id: u32, running: bool) -> Peer {
        let path = |wan: &str| Path { wan: wan.to_owned(), rate_up_kbps: 9, ..Path::default() };
        Peer {
            name: "vps".to_owned(),
            paths: vec![path("dsl"), path("lte")],
            speed_test: Some(SpeedTest { id, running, percent: 0, steps }),
            ..Peer::default()
        }
    }

    #[test]
    fn results_are_kept_with_their_date_and_over_a_restart() {
        let folder = std::env::temp_dir().join(format!("onebox-speed-{}", std::process::id()));
        let file = folder.join("results.speed");
        let mut results = Results::open(file.clone());
        let steps = vec![
            step(&["dsl"], "down", 50_000),
            step(&["dsl"], "up", 5),
            step(&["lte"], "down", 0),
            step(&["dsl", "lte"], "down", 80_000),
        ];
        results.update(1000, &[peer(steps.clone(), 7, true)]);
        assert!(!file.exists(), "it goes on");
        results.update(1010, &[peer(steps.clone(), 7, false)]);
        results.update(1011, &[peer(steps, 7, false)]);
        results.update(2000, &[peer(vec![step(&["dsl"], "down", 40_000)], 8, false)]);
        let again = Results::open(file);
        let mut status = Status { peers: vec![peer(vec![], 1, true)], ..Status::default() };
        again.show(2060, &mut status);
        let (peer, bond) = (&status.peers[0], &status.peers[0].bond);
        let tested = |up, down, at| Tested { up_kbps: up, down_kbps: down, at, age_s: 2060 - at };
        assert_eq!(peer.paths[0].tested, Some(tested(Some(5), Some(40_000), 2000)));
        assert_eq!(peer.paths[1].tested, None);
        assert_eq!(bond.tested, Some(tested(None, Some(80_000), 1010)));
        assert_eq!(peer.paths[0].capacity_down_kbps, Some(40_000));
        assert_eq!(peer.paths[0].capacity_up_kbps, Some(9), "never below what it carries");
        std::fs::remove_dir_all(folder).expect("was made");
    }

    #[test]
    fn codes_are_stable_and_differ() {
        use Refusal::*;
        let all = [NoPath, Bytes, Unknown, Busy, Hour(3000), Nothing, Stopped];
        crate::status::tests::assert_codes(&all.map(code));
        assert_eq!(words(Hour(3000)), "the server sends no more for tests within 50 min");
    }
}
