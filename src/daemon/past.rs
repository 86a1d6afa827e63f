//! Keeps the past over a restart of the program, and of the machine where that is wanted.
//!
//! How: every [`SAVE_US`] and at the end to a file beside the control socket, on a router's RAM disk;
//! that costs no flash. Where `state_dir` names a directory, at most once an hour to a file there as
//! well. At the start the newer of the two is read.
//!
//! Limits: what is lost is what came after the last writing.

use super::files::write_private;
use crate::config::Config;
use crate::status::history::Recorder;
use crate::status::history::store::BYTES_MAX;
use crate::status::{Problem, Problems};
use crate::time::{SEC, Time};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// From one writing to the RAM disk to the next, microseconds.
const SAVE_US: u64 = 300 * SEC;
/// From one writing to flash to the next, microseconds.
const FLASH_US: u64 = 3600 * SEC;

/// Where the past is kept.
pub struct Past {
    ram: PathBuf,
    flash: Option<PathBuf>,
    saved: Time,
    flashed: Time,
    problems: Problems,
}

impl Past {
    /// Goes on from what was kept. `unix_s` is the wall clock.
    pub fn open(config: &Config, now: Time, unix_s: u64, problems: Problems) -> (Past, Recorder) {
        let ram = crate::control::real_path(&config.main.control).with_extension("history");
        let flash = flash(config);
        let files = [Some(&ram), flash.as_ref()];
        let kept = files.into_iter().flatten().filter_map(|path| read(path));
        let newest = kept.max_by_key(|bytes| Recorder::end_of(bytes));
        let mut recorder = Recorder::default();
        if let Some(bytes) = newest
            && !recorder.resume(&bytes, unix_s)
        {
            log::warn!("the history that was kept is not understood, it begins anew");
        }
        (Past { ram, flash, saved: now, flashed: now, problems }, recorder)
    }

    /// The configuration is this now.
    pub fn set_config(&mut self, config: &Config) {
        self.flash = flash(config);
    }

    /// Writes what is due; at the `end` what is worth it.
    pub fn save(&mut self, now: Time, recorder: &Recorder, end: bool) {
        if now.since(self.saved) < SAVE_US && !end {
            return;
        }
        self.saved = now;
        let bytes = recorder.to_bytes();
        let mut outcome = write_private(&self.ram, &bytes).map_err(|error| (&self.ram, error));
        if let Some(flash) = self.flash.as_ref().filter(|_| now.since(self.flashed) >= FLASH_US) {
            self.flashed = now;
            outcome = outcome.and(write_private(flash, &bytes).map_err(|error| (flash, error)));
        }
        let outcome = outcome.map_err(|(path, error)| format!("{}: {error}", path.display()));
        if self.problems.note(now, Problem::HistoryUnsaved, "", &outcome)
            && let Err(error) = outcome
        {
            log::warn!("{}: {error}", Problem::HistoryUnsaved.words());
        }
    }
}

fn flash(config: &Config) -> Option<PathBuf> {
    Some(config.main.state_dir.as_ref()?.join("history"))
}

/// What is kept in a file, if there is any.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::history::{Rates, Step};

    #[test]
    fn the_newer_of_both_is_taken() {
        let folder = std::env::temp_dir().join(format!("onebox-past-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "config onebox main\n option role server\n option private_key_file /k\n list address \
             10.99.0.1/24\n option control '{0}/sock'\n option state_dir '{0}/flash'\n",
            folder.display()
        );
        let config = Config::parse(text.as_bytes()).0.unwrap();
        let problems = Problems::default();
        let at = |seconds: u64| Time(seconds * SEC);
        let open =
            |second| Past::open(&config, at(second), 1_795_860_000 + second, problems.clone());
        let minutes =
            |recorder: &Recorder| recorder.history(0, Step::Minute).series[0].up_kbps.clone();
        let (mut past, mut recorder) = open(0);
        let rates = Rates { up_kbps: 7, down_kbps: 7, rtt_ms: 1.0 };
        let run = |past: &mut Past, recorder: &mut Recorder, seconds: std::ops::Range<u64>| {
            for second in seconds {
                recorder.sample(at(second), 1_795_860_000 + second, rates, &[]);
                past.save(at(second), recorder, false);
            }
        };
        run(&mut past, &mut recorder, 0..301);
        assert_eq!(minutes(&open(301).1), [7; 5]);
        assert!(!folder.join("flash").exists());
        // The machine starts anew: the RAM disk is empty.
        run(&mut past, &mut recorder, 301..3661);
        std::fs::remove_file(folder.join("sock.history").as_path()).ok();
        std::fs::remove_file(&past.ram).ok();
        assert_eq!(minutes(&open(3661).1).len(), 61);
        run(&mut past, &mut recorder, 3661..3700);
        past.save(at(3700), &recorder, true);
        assert_eq!(Recorder::end_of(&read(&past.ram).unwrap()), 1_795_860_000 + 3659);
        // What cannot be written is a problem, until it can.
        past.ram = PathBuf::from("/proc/nothing/here");
        past.save(at(4000), &recorder, false);
        assert_eq!(problems.shown(at(4000), 0)[0].code, "history_unsaved");
        past.ram = folder.join("other");
        past.save(at(4300), &recorder, false);
        assert!(problems.shown(at(4300), 0).is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
