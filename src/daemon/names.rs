//! The addresses of servers that are given by name.
//!
//! Why: a resolver may be slow, dead, or not there yet when a router boots, and whoever waits for
//! it does nothing else. And a server that has moved must be found again.
//!
//! How: each question is a thread of its own, in which `getaddrinfo` may wait as long as it likes;
//! its answer comes back by a channel. [`Pace`] says when a name is asked for: at once, then with
//! growing pauses while it cannot be resolved or a peer behind it is not up, at once again when the
//! network changes, and every [`REFRESH_US`] while all is well (`getaddrinfo` tells no TTL). While an
//! answer does not come, another question goes by the next way ([`Names::turn`]). What
//! worked last is kept in a file on a RAM disk and used at the next start while the first question
//! is on its way. An answer is good once a path uses one of its addresses: a captive portal's lie
//! is used and forgotten.
//!
//! Limits: [`LOOKUPS_MAX`] questions wait at once in the process, [`OF_ONE_MAX`] of one name, so
//! that a resolver that hangs collects no threads. The file is not trusted: what it says of names
//! that the configuration does not have is left out, and who is behind an address is for the
//! handshake to prove.

use super::files;
use crate::config::{Endpoint, Host, Peer};
use crate::endpoint::CANDIDATES_MAX;
use crate::status::{Problem, Problems};
use crate::time::{SEC, Time};
use litemap::LiteMap;
use onebox_linux::clock;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Addresses of one name that are taken, and of one peer that are tried.
const ADDRESSES_MAX: usize = CANDIDATES_MAX;
/// Addresses of one name that are kept.
const KEPT_MAX: usize = 4;
/// Questions that wait at once, in the whole process.
const LOOKUPS_MAX: usize = 8;
/// Questions for one name that wait at once.
const OF_ONE_MAX: usize = 4;
/// First pause after a question, microseconds; each further one is twice as long.
const PAUSE_MIN_US: u64 = SEC;
/// Longest pause, microseconds.
const PAUSE_MAX_US: u64 = 30 * SEC;
/// Least time between two questions for a name, microseconds, whatever happens.
const APART_US: u64 = SEC;
/// While all is well, a name is asked for this often, microseconds: a usual TTL of names whose
/// address changes.
const REFRESH_US: u64 = 300 * SEC;
/// When it is not an address of the answer that is in use, since a server has moved: this often.
const STALE_US: u64 = 30 * SEC;
/// A question that is without answer for so long is asked again by the next way, microseconds.
const TURN_US: u64 = 2 * SEC;
/// A question without answer counts as failed after this time, microseconds.
const PATIENCE_US: u64 = 10 * SEC;
/// An answer that comes later than this is ignored, microseconds. Three name servers of which two
/// are dead take glibc 10 s, and a full round of all some 30 s.
const DEADLINE_US: u64 = 60 * SEC;
/// The longest file that is read, bytes.
const FILE_MAX: u64 = 64 << 10;

/// Threads that wait for a resolver.
static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// When a name is asked for. A question is known by its time.
#[derive(Debug)]
struct Pace {
    due: Time,
    pause_us: u64,
    /// The newest question.
    asked: Option<Time>,
    /// It is neither answered nor given up.
    open: bool,
    /// When the first of those was asked that are.
    since: Time,
    /// The newest question that was answered with addresses.
    answered: Option<Time>,
    /// Questions whose thread still runs.
    running: usize,
    /// The newest question has failed.
    failing: bool,
    /// Every peer that has this name is up.
    well: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing yet.
    Wait,
    /// Ask.
    Ask,
    /// The newest question has had no answer for so many seconds.
    Late(u64),
}

impl Pace {
    fn new(now: Time) -> Pace {
        Pace {
            due: now,
            pause_us: PAUSE_MIN_US,
            asked: None,
            open: false,
            since: now,
            answered: None,
            running: 0,
            failing: false,
            well: false,
        }
    }

    /// `dice` is a random number, here and below.
    fn step(&mut self, now: Time, dice: u64) -> Step {
        if now < self.due {
            return Step::Wait;
        }
        let waited = now.since(self.since);
        if self.open && waited >= PATIENCE_US {
            self.fail(now, dice);
            return Step::Late(waited / SEC);
        }
        if self.running >= OF_ONE_MAX {
            self.due = now + APART_US;
            return Step::Wait;
        }
        Step::Ask
    }

    /// A question is on its way.
    fn ask(&mut self, now: Time) {
        self.running += 1;
        if !self.open {
            self.since = now;
        }
        (self.asked, self.open) = (Some(now), true);
        self.due = self.since + PATIENCE_US;
    }

    /// A question has ended; whether its outcome counts.
    fn on_end(&mut self, now: Time, asked: Time, found: bool, dice: u64) -> bool {
        // More can end than have begun: the configuration may have had the name before.
        self.running = self.running.saturating_sub(1);
        if !found {
            let counts = self.open && Some(asked) == self.asked;
            if counts {
                self.fail(now, dice);
            }
            return counts;
        }
        if Some(asked) < self.answered || now.since(asked) > DEADLINE_US {
            return false;
        }
        (self.answered, self.open, self.failing) = (Some(asked), false, false);
        self.due = now + if self.well { about(REFRESH_US, dice) } else { self.pause(dice) };
        true
    }

    fn fail(&mut self, now: Time, dice: u64) {
        (self.open, self.failing) = (false, true);
        self.due = now + self.pause(dice);
    }

    fn pause(&mut self, dice: u64) -> u64 {
        let pause_us = self.pause_us;
        self.pause_us = (2 * pause_us).min(PAUSE_MAX_US);
        about(pause_us, dice)
    }

    /// The question that is open is asked once more.
    fn again(&mut self, now: Time) {
        if self.open && self.running < OF_ONE_MAX {
            self.due = now;
        }
    }

    /// Another address is in use than those of the answer.
    fn on_stale(&mut self) {
        if let Some(asked) = self.asked.filter(|_| self.well && !self.open && !self.failing) {
            self.due = self.due.min(asked + STALE_US);
        }
    }

    /// Something has changed: what is in trouble is asked for at once.
    fn hurry(&mut self, now: Time) {
        if self.failing || !self.well {
            self.pause_us = PAUSE_MIN_US;
            let soon = self.asked.map_or(now, |asked| now.max(asked + APART_US));
            self.due = self.due.min(soon);
        }
    }

    /// Whether every peer behind it is up.
    fn set_well(&mut self, now: Time, well: bool, dice: u64) {
        if self.well == well {
            return;
        }
        self.well = well;
        self.hurry(now);
        if well && !self.open && !self.failing {
            self.pause_us = PAUSE_MIN_US;
            self.due = now + about(REFRESH_US, dice);
        }
    }
}

/// Three quarters to five quarters of a time, so that many routers do not ask at one moment.
fn about(us: u64, dice: u64) -> u64 {
    us / 4 * 3 + dice % (us / 2)
}

/// What is known of a name.
#[derive(Debug)]
struct Name {
    pace: Pace,
    /// The last answer.
    answer: Vec<IpAddr>,
    /// What has worked last.
    kept: Vec<IpAddr>,
}

impl Name {
    /// What is to be tried, the newest first, and whether it is one of those kept.
    fn addresses(&self) -> impl Iterator<Item = (IpAddr, bool)> + '_ {
        let all = self.answer.iter().chain(&self.kept);
        all.map(|address| (*address, self.kept.contains(address)))
    }

    /// These addresses are in use; whether what is kept is another now.
    fn note_used(&mut self, used: &[IpAddr]) -> bool {
        if !self.answer.iter().any(|address| used.contains(address)) {
            if !used.is_empty() {
                self.pace.on_stale();
            }
            return false;
        }
        let known = self.answer.iter().chain(&self.kept);
        let working = known.filter(|address| used.contains(address));
        let kept = bounded(working.chain(&self.answer).copied(), KEPT_MAX);
        let changed = kept != self.kept;
        self.kept = kept;
        changed
    }
}

/// Each once, in their order, at most `max`.
fn bounded(list: impl Iterator<Item = IpAddr>, max: usize) -> Vec<IpAddr> {
    let mut kept = Vec::new();
    for one in list {
        if kept.len() < max && !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// The end of a question.
#[derive(Debug)]
struct Ended {
    name: String,
    asked: Time,
    outcome: Result<Vec<IpAddr>, String>,
}

/// A peer that has names.
#[derive(Debug)]
struct Named {
    names: Vec<String>,
    up: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
    names: LiteMap<String, Name>,
    /// Each peer that has names.
    of_peer: LiteMap<String, Named>,
    problems: Problems,
    ended_in: UnboundedSender<Ended>,
    ended: UnboundedReceiver<Ended>,
    /// How often the way of questions was found wanting, and when the next one has its turn.
    turn: usize,
    turn_at: Time,
}

impl Names {
    /// Knows what `file` says, and nothing to look up yet.
    pub fn new(file: PathBuf, problems: Problems) -> Names {
        let (ended_in, ended) = unbounded_channel();
        let (names, of_peer) = Default::default();
        Names { file, names, of_peer, problems, ended_in, ended, turn: 0, turn_at: Time::FAR }
    }

    /// The number of the way by which questions go, of as many as there are: it grows while they are
    /// not answered.
    pub fn turn(&self) -> usize {
        self.turn
    }

    /// These peers are configured, and are up or not. Names that stay go on as they are; what is in
    /// trouble is looked up at once.
    pub fn configure(&mut self, now: Time, peers: &[Peer], is_up: impl Fn(&str) -> bool) {
        // A server has thousands of peers without.
        let some = peers.iter().filter(|peer| named(&peer.endpoints).next().is_some());
        let of = |peer: &Peer| Named {
            names: named(&peer.endpoints).map(str::to_owned).collect(),
            up: is_up(&peer.name),
        };
        self.of_peer = some.map(|peer| (peer.name.clone(), of(peer))).collect();
        let wanted: Vec<&String> = self.of_peer.values().flat_map(|peer| &peer.names).collect();
        self.names.retain(|name, _| {
            let keep = wanted.contains(&name);
            if !keep {
                self.problems.clear(Problem::NameUnresolved, name);
            }
            keep
        });
        let mut kept = LiteMap::new();
        if wanted.iter().any(|name| !self.names.contains_key(*name)) {
            kept = read(&self.file);
        }
        for name in wanted {
            let kept = kept.remove(name).unwrap_or_default();
            let new = || Name { pace: Pace::new(now), answer: Vec::new(), kept };
            self.names.entry(name.clone()).or_insert_with(new);
        }
        self.settle(now);
        self.hurry(now);
    }

    /// The addresses at which a peer is to be tried, in the order of its configuration. Where they
    /// are too many, those that have worked stay.
    pub fn addresses(&self, endpoints: &[Endpoint]) -> Vec<SocketAddr> {
        let mut list = Vec::new();
        let mut add = |address, port, kept| {
            let address = SocketAddr::new(address, port);
            if !list.contains(&(address, kept)) {
                list.push((address, kept));
            }
        };
        for Endpoint { host, port } in endpoints {
            match host {
                Host::Address(address) => add(*address, *port, false),
                Host::Name(name) => {
                    let known = self.names.get(name).into_iter().flat_map(Name::addresses);
                    known.for_each(|(address, kept)| add(address, *port, kept));
                }
            }
        }
        while list.len() > ADDRESSES_MAX {
            list.remove(list.iter().rposition(|(_, kept)| !kept).unwrap_or(ADDRESSES_MAX));
        }
        list.into_iter().map(|(address, _)| address).collect()
    }

    /// The network is another: what is in trouble is looked up at once.
    pub fn hurry(&mut self, now: Time) {
        self.names.iter_mut().for_each(|(_, name)| name.pace.hurry(now));
    }

    /// Whether there is a connection with a peer.
    pub fn set_up(&mut self, now: Time, peer: &str, up: bool) {
        if let Some(peer) = self.of_peer.get_mut(peer) {
            peer.up = up;
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Time) {
        for (name, entry) in &mut self.names {
            let mut peers = self.of_peer.values().filter(|peer| peer.names.contains(name));
            let well = peers.all(|peer| peer.up);
            entry.pace.set_well(now, well, dice());
        }
    }

    /// These addresses are in use: what is good is written down for the next start.
    pub fn note_used(&mut self, used: &[IpAddr]) {
        let mut changed = false;
        self.names.iter_mut().for_each(|(_, name)| changed |= name.note_used(used));
        if !changed {
            return;
        }
        let kept = self.names.iter().map(|(name, entry)| (name.as_str(), entry.kept.as_slice()));
        if let Err(error) = files::write_private(&self.file, write(kept).as_bytes()) {
            log::warn!("{}: {error}", self.file.display());
        }
    }

    /// Asks when it is time to, and waits until a name has other addresses or questions another way.
    /// May be cancelled.
    pub async fn changed(&mut self) {
        loop {
            let now = clock::now();
            if self.take_turn(now) {
                return;
            }
            self.on_tick(now);
            let due = self.names.values().map(|name| name.pace.due).chain([self.turn_at]).min();
            let left = due.map(|due| Duration::from_micros(due.since(now)));
            let ended = tokio::select! {
                ended = self.ended.recv() => ended,
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => None,
            };
            let turn = self.turn;
            if ended.is_some_and(|ended| self.on_ended(clock::now(), ended)) || self.turn != turn {
                return;
            }
        }
    }

    /// Whether questions go by the next way from now on. They are asked again then.
    fn take_turn(&mut self, now: Time) -> bool {
        let open = self.names.values().filter(|name| name.pace.open && !name.pace.well);
        self.turn_at = match open.filter_map(|name| name.pace.asked).max() {
            Some(asked) if self.turn_at == Time::FAR => asked + TURN_US,
            Some(_) => self.turn_at,
            None => Time::FAR,
        };
        if now < self.turn_at {
            return false;
        }
        self.turn_at = now + TURN_US;
        self.turn += 1;
        self.names.iter_mut().for_each(|(_, name)| name.pace.again(now));
        true
    }

    fn on_tick(&mut self, now: Time) {
        for (name, entry) in &mut self.names {
            match entry.pace.step(now, dice()) {
                Step::Wait => {}
                Step::Late(seconds) => {
                    tell(&self.problems, now, name, &format!("no answer for {seconds} s"));
                }
                Step::Ask => match look_up(name, now, &self.ended_in) {
                    Ok(true) => entry.pace.ask(now),
                    Ok(false) => entry.pace.due = now + APART_US,
                    Err(error) => {
                        entry.pace.fail(now, dice());
                        tell(&self.problems, now, name, &error.to_string());
                    }
                },
            }
        }
    }

    /// Whether the name has other addresses.
    fn on_ended(&mut self, now: Time, ended: Ended) -> bool {
        let Ended { name, asked, outcome } = ended;
        // The configuration may have lost it meanwhile.
        let Some(entry) = self.names.get_mut(&name) else { return false };
        if !entry.pace.on_end(now, asked, outcome.is_ok(), dice()) {
            return false;
        }
        match outcome {
            Ok(answer) => {
                let shown = || answer.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
                self.problems.clear(Problem::NameUnresolved, &name);
                let changed = entry.answer != answer;
                if changed {
                    log::info!("{name} is {}", shown());
                }
                entry.answer = answer;
                changed
            }
            Err(error) => {
                tell(&self.problems, now, &name, &error);
                self.turn += 1;
                false
            }
        }
    }
}

/// The name cannot be resolved: told in the log when it begins.
fn tell(problems: &Problems, now: Time, name: &str, error: &str) {
    let begun = problems.last_error(now, Problem::NameUnresolved, &[name]).is_none();
    problems.raise(now, Problem::NameUnresolved, name, error);
    if begun {
        log::warn!("{name} cannot be resolved: {error}; it is tried again");
    }
}

fn named(endpoints: &[Endpoint]) -> impl Iterator<Item = &str> {
    endpoints.iter().filter_map(|endpoint| match &endpoint.host {
        Host::Name(name) => Some(name.as_str()),
        Host::Address(_) => None,
    })
}

/// Asks in a thread; `false` when too many wait already.
fn look_up(name: &str, asked: Time, ended: &UnboundedSender<Ended>) -> std::io::Result<bool> {
    if LOOKUPS.fetch_add(1, Ordering::Relaxed) >= LOOKUPS_MAX {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        return Ok(false);
    }
    let (name, ended) = (name.to_owned(), ended.clone());
    let thread = std::thread::Builder::new().name("name".into()).spawn(move || {
        let outcome = ask(&name);
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        // Nobody waits any more: the tunnel has ended.
        let _ = ended.send(Ended { name, asked, outcome });
    });
    if thread.is_err() {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
    thread.map(|_| true)
}

fn ask(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let list = bounded(found.map(|address| address.ip()).filter(is_host), ADDRESSES_MAX);
    match list.is_empty() {
        true => Err("the answer has no address of a host".to_owned()),
        false => Ok(list),
    }
}

/// Filters answer with 0.0.0.0.
fn is_host(address: &IpAddr) -> bool {
    let broadcast = *address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

fn dice() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the pauses are shorter, no more.
    let _ = clock::random(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// What has worked, as the file has it: a line for each name, with its addresses behind it.
fn write<'a>(kept: impl Iterator<Item = (&'a str, &'a [IpAddr])>) -> String {
    let mut text = String::new();
    for (name, addresses) in kept.filter(|(_, addresses)| !addresses.is_empty()) {
        text += name;
        addresses.iter().for_each(|address| text += &format!(" {address}"));
        text.push('\n');
    }
    text
}

/// The names and addresses of a file. What is no address is skipped, no file is an empty one.
fn read(path: &Path) -> LiteMap<String, Vec<IpAddr>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    // Nothing to wait for, and no file of somebody else's.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut text = Vec::new();
    // What was read before an error counts.
    let _ = file.and_then(|file| file.take(FILE_MAX).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?.to_owned();
        let addresses = words.filter_map(|word| word.parse().ok()).filter(is_host);
        Some((name, bounded(addresses, KEPT_MAX)))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
