//! Quotas: how much of a WAN's monthly volume is used, and what follows when it is used up.
//!
//! Why: a SIM card with 50 GB must not become expensive in the middle of a month, and the counting
//! must not begin anew with every restart.
//!
//! How: once a second the counters of the paths are read, and what they have grown by, both
//! directions with all headers, is added to the WAN's account. A counter that is lower than before
//! began anew. An account begins anew on the first second of its period's first day. What is used
//! is kept in `quota.json` in the state directory, written when it ends, when an account is full
//! or begins anew, and else at most once an hour, because that directory may be on flash; and
//! only if some WAN has a quota. A WAN whose account is full is used as a backup only, until its
//! next period.
//!
//! Limits: days are those of UTC. A loss of power forgets at most the last hour. Other traffic of
//! the WAN, beside the tunnel, is not seen, so the provider may count more. While the clock is
//! not set (before [`CLOCK_SET_S`]) no account begins anew. If it stands before the period that is in
//! the account, one of the two is wrong: a clock that was lost with the power is set within minutes;
//! if it has not moved for [`BELIEVED_US`], the account was opened by a clock that ran ahead, and
//! counts for the period that the clock shows.

use super::files;
use crate::config::Wan;
use crate::status::calendar::{CLOCK_SET_S, Date};
use crate::status::{PathState, Peer, Problem, Problems, Reason, Status};
use crate::time::{SEC, Time};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Least time between two writings that nothing urges, microseconds.
const SAVE_US: u64 = 3600 * SEC;
/// How long a clock stands before an account's period until it is believed, microseconds.
const BELIEVED_US: u64 = 3600 * SEC;
/// Bytes of a megabyte, as providers count.
const MB: u64 = 1_000_000;
/// Longest file that is read.
const FILE_MAX: u64 = 1 << 20;
/// Name of the file.
const FILE: &str = "quota.json";

/// One WAN's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// First day of the period; empty before the clock was set.
    #[serde(default)]
    period: String,
    /// Bytes used in it.
    #[serde(default)]
    used_bytes: u64,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    #[serde(default)]
    wans: BTreeMap<String, Account>,
}

/// All accounts.
#[derive(Debug)]
pub struct Quotas {
    directory: PathBuf,
    book: Book,
    /// Last reading of each path's counter, by peer and WAN.
    counters: LiteMap<(String, String), u64>,
    /// WANs whose account is full, and when it begins anew.
    full: LiteMap<String, Date>,
    /// Since when the clock stands before some account's period.
    behind: Option<Time>,
    /// Whether the file is older than the book, and since when it is what it is.
    unsaved: bool,
    saved: Time,
    problems: Problems,
}

/// Where state is kept unless the configuration says otherwise: on OpenWrt, where `/var` is in
/// memory, beside the keys.
pub fn default_directory() -> PathBuf {
    let openwrt = Path::new("/etc/openwrt_release").exists();
    PathBuf::from(if openwrt { "/etc/onebox" } else { "/var/lib/onebox" })
}

impl Quotas {
    /// The accounts of this directory. What cannot be read is told and begins at zero.
    pub fn open(directory: PathBuf, now: Time, problems: Problems) -> Quotas {
        let path = directory.join(FILE);
        problems.clear_all(Problem::QuotaUnreadable);
        problems.clear_all(Problem::QuotaUnsaved);
        let book = read(&path);
        problems.note(now, Problem::QuotaUnreadable, &path.display().to_string(), &book);
        let book = match book {
            Ok(book) => book,
            Err(error) => {
                log::warn!("{}: {error}; quotas are counted from zero", path.display());
                Book::default()
            }
        };
        Quotas {
            directory,
            book,
            counters: LiteMap::new(),
            full: LiteMap::new(),
            behind: None,
            unsaved: false,
            saved: now,
            problems,
        }
    }

    /// Takes in the counters of the peers' paths, at this time of both clocks. Whether the set of WANs
    /// that are [`full`](Quotas::full) has changed.
    pub fn update(&mut self, now: Time, unix_s: u64, wans: &[Wan], peers: &[Peer]) -> bool {
        let limited: Vec<&Wan> = wans.iter().filter(|wan| wan.quota_mb.is_some()).collect();
        if limited.is_empty() && self.full.is_empty() {
            self.counters.clear();
            return false;
        }
        self.count(&limited, peers);
        let mut urgent = false;
        let start = |wan: &Wan| Date::of(unix_s).period_start(wan.quota_day);
        let ahead = |wan: &&Wan| self.period(wan).is_some_and(|period| start(wan) < period);
        self.behind = limited.iter().any(ahead).then(|| self.behind.unwrap_or(now));
        let believed = self.behind.is_some_and(|since| now.since(since) >= BELIEVED_US);
        for wan in &limited {
            urgent |= self.turn_over(wan, unix_s, believed);
        }
        let before = self.full();
        self.full = limited.iter().filter_map(|wan| self.filled(wan, unix_s)).collect();
        let changed = !before.iter().eq(self.full.keys());
        for (name, until) in self.full.iter().filter(|(name, _)| !before.contains(*name)) {
            log::info!("{name}: the quota is used up, only a backup until {}", until.words());
        }
        for name in before.iter().filter(|name| !self.full.contains_key(*name)) {
            log::info!("{name}: within its quota again");
        }
        if changed || urgent || now.since(self.saved) >= SAVE_US {
            self.save(now);
        }
        changed
    }

    /// Adds what the counters have grown by.
    fn count(&mut self, limited: &[&Wan], peers: &[Peer]) {
        let mut counters = LiteMap::new();
        for peer in peers {
            for path in &peer.paths {
                if !limited.iter().any(|wan| wan.name == path.wan) {
                    continue;
                }
                let key = (peer.name.clone(), path.wan.clone());
                let count = path.rx_bytes.saturating_add(path.tx_bytes);
                let before = self.counters.get(&key).copied().unwrap_or(0);
                let grown = if count >= before { count - before } else { count };
                if grown > 0 {
                    let account = self.book.wans.entry(path.wan.clone()).or_default();
                    account.used_bytes = account.used_bytes.saturating_add(grown);
                    self.unsaved = true;
                }
                counters.insert(key, count);
            }
        }
        // A path that is not shown any more begins at zero when it comes back.
        self.counters = counters;
    }

    /// First day of the period that is in a WAN's account.
    fn period(&self, wan: &Wan) -> Option<Date> {
        self.book.wans.get(&wan.name)?.period.parse().ok()
    }

    /// Begins an account anew if its period is over; whether it was. One in the future becomes the
    /// clock's, if that is `believed`: what was counted since was used now.
    fn turn_over(&mut self, wan: &Wan, unix_s: u64, believed: bool) -> bool {
        if unix_s < CLOCK_SET_S {
            return false;
        }
        let start = Date::of(unix_s).period_start(wan.quota_day);
        let period = self.period(wan);
        let account = self.book.wans.entry(wan.name.clone()).or_default();
        match period {
            Some(period) if start == period || (start < period && !believed) => return false,
            Some(period) if period < start => account.used_bytes = 0,
            // Counted before the clock was set, or while it ran ahead: it belongs to this period, as
            // far as we know.
            _ => {}
        }
        account.period = start.to_string();
        self.unsaved = true;
        true
    }

    /// The name of a WAN whose account is full, and until when it is.
    fn filled(&self, wan: &Wan, unix_s: u64) -> Option<(String, Date)> {
        let quota = u64::from(wan.quota_mb?).saturating_mul(MB);
        let account = self.book.wans.get(&wan.name)?;
        let period = self.period(wan).unwrap_or_else(|| Date::of(unix_s));
        let until = period.next_period(wan.quota_day);
        (account.used_bytes >= quota).then(|| (wan.name.clone(), until))
    }

    /// The WANs that are backups only because their account is full.
    pub fn full(&self) -> Vec<String> {
        self.full.keys().cloned().collect()
    }

    /// Bytes that are left of a WAN's quota; none if it has no quota.
    pub fn left(&self, wan: &Wan) -> Option<u64> {
        let quota = u64::from(wan.quota_mb?).saturating_mul(MB);
        let used = self.book.wans.get(&wan.name).map_or(0, |account| account.used_bytes);
        Some(quota.saturating_sub(used))
    }

    /// Why a WAN is a backup, if its account is full.
    pub fn reason(&self, wan: &str) -> Option<Reason> {
        self.full.get(wan).map(|until| Reason::QuotaUsedUp { until: *until })
    }

    /// Puts into a status what is known of the WANs' accounts.
    pub fn show(&self, wans: &[Wan], status: &mut Status) {
        for path in status.peers.iter_mut().flat_map(|peer| &mut peer.paths) {
            let limited = wans.iter().any(|w| w.name == path.wan && w.quota_mb.is_some());
            if let (true, Some(account)) = (limited, self.book.wans.get(&path.wan)) {
                path.quota_used_mb = account.used_bytes / MB;
            }
            if let (Some(reason), PathState::Backup) = (self.reason(&path.wan), path.state) {
                path.set_reason(reason);
            }
        }
    }

    /// Writes the file if it is not what it should be; a failure is told.
    pub fn save(&mut self, now: Time) {
        if !self.unsaved {
            return;
        }
        self.saved = now;
        let path = self.directory.join(FILE);
        let written = serde_json::to_vec(&self.book)
            .map_err(io::Error::other)
            .and_then(|text| files::write_private(&path, &text));
        let subject = path.display().to_string();
        let news = self.problems.note(now, Problem::QuotaUnsaved, &subject, &written);
        match written {
            Ok(()) => {
                self.unsaved = false;
                // What could not be read is replaced.
                self.problems.clear(Problem::QuotaUnreadable, &subject);
            }
            Err(error) if news => log::warn!("{subject}: {error}; quotas are not kept"),
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> io::Result<Book> {
    use std::io::Read;
    let mut text = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(FILE_MAX).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(error) => return Err(error),
    };
    let book = serde_json::from_slice(&text).and_then(serde_json::from_value);
    book.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
