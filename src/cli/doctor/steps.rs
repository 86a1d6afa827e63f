//! What the doctor makes of what there is to know, step by step. Pure.

use crate::cli::table::{plain, span};
use crate::findings::Finding;
use crate::status::calendar::{CLOCK_SET_S, Date};
use crate::status::{LastError, Path, PathState, Peer, PeerState, State, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

/// How a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// Good to know.
    Note,
    /// Something does not work.
    Fault,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// What was looked at, one word.
    pub(super) step: &'static str,
    /// How it is.
    pub(super) verdict: Verdict,
    /// The same in a sentence.
    pub(super) words: String,
    /// What to do about it; empty where there is nothing to do.
    pub(super) remedy: String,
}

/// A name and what the resolver says.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) found: Result<Vec<IpAddr>, String>,
    /// The tunnel needs it; else the resolver is only tried with it.
    pub(super) needed: bool,
}

/// What is known without the running program.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// This is a server.
    pub(super) server: bool,
    /// It is switched on in the configuration.
    pub(super) enabled: bool,
    /// What the clock says.
    pub(super) unix_s: u64,
    /// What the resolver says.
    pub(super) names: Vec<Name>,
    /// The one peer to look at.
    pub(super) peer: Option<String>,
}

/// The running program.
#[derive(Clone, Debug)]
pub(super) enum Running {
    /// It says so.
    Answers(Box<Status>),
    /// There is none.
    No,
    /// It is there and does not answer, for this reason.
    Silent(String),
}

fn good(step: &'static str, words: impl Into<String>) -> Step {
    Step { step, verdict: Verdict::Good, words: words.into(), remedy: String::new() }
}

fn note(step: &'static str, words: impl Into<String>, remedy: impl Into<String>) -> Step {
    Step { step, verdict: Verdict::Note, words: words.into(), remedy: remedy.into() }
}

fn fault(step: &'static str, words: impl Into<String>, remedy: impl Into<String>) -> Step {
    Step { step, verdict: Verdict::Fault, words: words.into(), remedy: remedy.into() }
}

/// Whether more time would not tell more: somebody is there, or what goes wrong has words.
pub(super) fn is_settled(status: &Status) -> bool {
    let told = |peer: &Peer| peer.state == PeerState::Up || peer.last_error.is_some();
    let named = status.problems.iter().any(|problem| problem.code == "name_unresolved");
    status.state == State::Disabled
        || status.role == crate::status::Role::Server
        || named
        || (status.state != State::Unknown
            && status.peers.iter().all(told)
            && status
                .peers
                .iter()
                .flat_map(|p| &p.paths)
                .all(|path| path.state != PathState::Probing || path.last_error.is_some()))
}

/// All steps but the configuration and the system.
pub(super) fn walk(around: &Around, running: &Running) -> Vec<Step> {
    let mut all = vec![clock(around.unix_s)];
    all.extend(program(running, around.enabled));
    all.extend(around.names.iter().map(name));
    let Running::Answers(status) = running else { return all };
    if status.state == State::Disabled {
        return all;
    }
    if !around.server && status.peers.iter().all(|peer| peer.paths.is_empty()) {
        let remedy = "an internet connection is a device with an address and a default route: see \
                      'ip route', or name it in a wan section";
        all.push(fault("wan", "no internet connection is known", remedy));
    }
    for peer in &status.peers {
        if around.peer.as_ref().is_some_and(|name| *name != peer.name) {
            continue;
        }
        if around.server {
            all.push(caller(peer));
        } else {
            all.extend(ways(peer));
            all.push(handshake(peer));
        }
        all.extend(peer.paths.iter().filter_map(|path| mtu(path, peer)));
    }
    if around.server {
        all.extend(strangers(status));
    }
    all
}

fn clock(unix_s: u64) -> Step {
    let Date { year, month, day } = Date::of(unix_s);
    let date = format!("{year}-{month:02}-{day:02}");
    match unix_s {
        CLOCK_SET_S.. => good("clock", date),
        _ => fault(
            "clock",
            format!("it says {date}"),
            "the tunnel works all the same, quotas and certificates do not: let the time server \
             (NTP) be reached, or set the clock",
        ),
    }
}

/// Whether the program runs, and what it says is wrong.
pub(super) fn program(running: &Running, enabled: bool) -> Vec<Step> {
    let status = match running {
        Running::Answers(status) => status,
        Running::No => {
            let remedy = match enabled {
                true => "start it: /etc/init.d/onebox start, or systemctl start onebox",
                false => "it is switched off: option enabled '1', then start it",
            };
            return vec![fault("program", "it does not run", remedy)];
        }
        Running::Silent(why) => {
            let remedy = "only root may ask it: try it with sudo; else restart it";
            return vec![fault("program", why.as_str(), remedy)];
        }
    };
    if status.state == State::Disabled {
        let remedy = "switch it on: option enabled '1'";
        return vec![fault("program", "it runs, and is switched off", remedy)];
    }
    let since = format!("{}, running for {}", status.version, span(status.uptime_s));
    let problems = status.problems.iter();
    let problems = problems.map(|problem| fault("program", &*problem.words, &*problem.remedy));
    std::iter::once(good("program", since)).chain(problems).collect()
}

fn name(name: &Name) -> Step {
    let Name { name, found, needed } = name;
    match found {
        Ok(found) if !found.is_empty() => {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            good("name", format!("{name} is {}", list.join(", ")))
        }
        found => {
            let why = found.as_ref().err().map_or("it has no address", String::as_str);
            let remedy = match needed {
                true => {
                    "check the name and this machine's DNS (/etc/resolv.conf), or give the \
                         server's address instead"
                }
                false => {
                    "check this machine's DNS (/etc/resolv.conf): the tunnel does not need it, \
                          everything else does"
                }
            };
            let words = format!("{name} cannot be resolved: {why}");
            if *needed { fault("name", words, remedy) } else { note("name", words, remedy) }
        }
    }
}

/// A WAN by its name and its device.
fn wan(path: &Path) -> String {
    match path.device.as_str() {
        device if device.is_empty() || device == path.wan => path.wan.clone(),
        device => format!("{} ({device})", path.wan),
    }
}

/// The WANs of a peer; what several have met is one step.
fn ways(peer: &Peer) -> Vec<Step> {
    let mut met: Vec<(String, &LastError)> = Vec::new();
    let mut all = Vec::new();
    for path in &peer.paths {
        let Some(error) = &path.last_error else {
            all.push(way(path, peer));
            continue;
        };
        match met.iter_mut().find(|(_, other)| other.code == error.code) {
            Some((names, _)) => *names = format!("{names}, {}", wan(path)),
            None => met.push((wan(path), error)),
        }
    }
    let step = |(names, error): (String, &LastError)| {
        fault("wan", format!("{names}: {}", error.words), error.remedy.as_str())
    };
    all.extend(met.into_iter().map(step));
    all
}

/// One WAN that has met no error: from its device to the server's answer.
fn way(path: &Path, peer: &Peer) -> Step {
    let by = wan(path);
    let remedy = match path.reason_code.as_str() {
        "link_down" => "see whether its cable or modem is connected, and its device is up",
        "no_address" => "see why it gets no address: the modem, DHCP, the PPPoE login",
        "no_default_route" => "it needs a default route: see 'ip route', on OpenWrt 'ifstatus'",
        "switched_off" => "",
        "too_narrow" => "it takes packets too small for the tunnel: see its MTU",
        _ => "it is watched, and taken as soon as it works",
    };
    let answers = || {
        let rtt = format!("{:.1} ms", path.rtt_ms);
        format!("{by}: {} answers after {rtt}, {}", path.remote, path.state)
    };
    match path.state {
        PathState::Active | PathState::Backup => good("wan", answers()),
        PathState::Held => note("wan", format!("{}: {}", answers(), path.reason), remedy),
        _ if path.reason_code == "switched_off" => {
            note("wan", format!("{by}: {}", path.reason), "")
        }
        PathState::Probing if peer.state != PeerState::Up => {
            note("wan", format!("{by}: {} is being called", shown(&path.remote)), "")
        }
        _ => fault("wan", format!("{by} is {}: {}", path.state, path.reason), remedy),
    }
}

fn shown(remote: &str) -> &str {
    if remote.is_empty() { "the server" } else { remote }
}

fn handshake(peer: &Peer) -> Step {
    let Peer { name, .. } = peer;
    match (peer.state, &peer.last_error, peer.last_handshake_s) {
        (PeerState::Up, _, Some(ago)) => {
            good("handshake", format!("{name} is connected, keys are {} old", span(ago)))
        }
        (_, Some(error), _) if error.code == "name_unresolved" => {
            note("handshake", format!("{name} is not connected: its name is not resolved"), "")
        }
        (_, Some(_), _) => note("handshake", format!("{name} is not connected: see its WANs"), ""),
        _ => note("handshake", format!("{name} is being called"), "try it again in ten seconds"),
    }
}

/// A router, as its server sees it.
fn caller(peer: &Peer) -> Step {
    let Peer { name, .. } = peer;
    if let Some(error) = &peer.last_error {
        return fault("peer", format!("{name}: {}", error.words), &*error.remedy);
    }
    match (peer.state, peer.last_handshake_s) {
        (PeerState::Up, _) => {
            let used = peer.paths.iter().filter(|path| path.state == PathState::Active).count();
            good("peer", format!("{name} is connected over {used} of {} paths", peer.paths.len()))
        }
        (_, Some(ago)) => note("peer", format!("{name} is away, last keys {} ago", span(ago)), ""),
        (_, None) => note(
            "peer",
            format!("{name} has not come since the program started"),
            "'onebox doctor' on the router tells more",
        ),
    }
}

/// Packets that every link but an odd one takes: what is less costs throughput.
const MTU_USUAL: u32 = 1400;

fn mtu(path: &Path, peer: &Peer) -> Option<Step> {
    let used = peer.state == PeerState::Up
        && matches!(path.state, PathState::Active | PathState::Backup | PathState::Held);
    if !used || path.mtu == 0 {
        return None;
    }
    let words = format!("{}: packets of up to {} bytes pass", path.wan, path.mtu);
    Some(match path.mtu {
        MTU_USUAL.. => good("mtu", words),
        _ => note(
            "mtu",
            words,
            "smaller than usual: it works; see whether the MTU of this WAN is right",
        ),
    })
}

/// Who calls this server and is not known: each counter with what it usually means.
const STRANGERS: [(&str, &str, &str); 3] = [
    (
        "bad_mac",
        "made for another server's public key",
        "a router has a wrong public_key for this server: join with a new code",
    ),
    (
        "unknown_key",
        "with a key that is no peer's",
        "a router has an old code, or was removed here: onebox invite NAME, and join with that",
    ),
    ("wrong_version", "of another version", "bring both ends to the same version"),
];

fn strangers(status: &Status) -> Vec<Step> {
    let count = |codes: &BTreeMap<String, u64>, code: &str| codes.get(code).copied().unwrap_or(0);
    let told = STRANGERS.iter().filter_map(|(code, what, remedy)| {
        let number = count(&status.drop_codes, code);
        (number > 0).then(|| note("callers", format!("{number} handshakes {what}"), *remedy))
    });
    let mut all: Vec<Step> = told.collect();
    let come = status.peers.iter().any(|p| p.last_handshake_s.is_some() || p.last_error.is_some());
    if all.is_empty() && !come && !status.peers.is_empty() {
        all.push(note(
            "callers",
            "nobody has called yet",
            "if a router tries, something before this machine holds it back: open the UDP port \
             (listen_port) at the provider, in its web console",
        ));
    }
    all
}

/// What of the system keeps traffic from passing.
pub(super) fn system(found: &[Finding]) -> Vec<Step> {
    if found.is_empty() {
        return vec![good(
            "system",
            "forwarding is on where it is needed, no firewall is in the way",
        )];
    }
    let step = |finding: &Finding| {
        let verdict = if finding.stops { Verdict::Fault } else { Verdict::Note };
        Step {
            step: "system",
            verdict,
            words: finding.words.clone(),
            remedy: finding.command.clone(),
        }
    };
    found.iter().map(step).collect()
}

/// The steps for people: a line each, what to do below it.
pub(super) fn text(steps: &[Step]) -> String {
    let mut out = String::new();
    for Step { step, verdict, words, remedy } in steps {
        let mark = match verdict {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Fault => "FAULT",
        };
        let _ = writeln!(out, "{mark:<6} {step:<13} {}", plain(words));
        if !remedy.is_empty() {
            let _ = writeln!(out, "       {:<13} -> {}", "", plain(remedy));
        }
    }
    let faults = steps.iter().filter(|step| step.verdict == Verdict::Fault).count();
    out.push_str(match faults {
        0 => "\nNothing is wrong here.\n",
        1 => "\nOne thing is wrong.\n",
        _ => "\nSeveral things are wrong: begin with the first.\n",
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Role, ShownProblem};

    const NOW_S: u64 = 1_795_852_800;

    fn error(code: &str, words: &str) -> Option<LastError> {
        let (code, words, remedy) = (code.to_owned(), words.to_owned(), "do it".to_owned());
        Some(LastError { code, words, remedy, age_s: 3 })
    }

    fn path(wan: &str, state: PathState, last_error: Option<LastError>) -> Path {
        let remote = "192.0.2.9:51830".to_owned();
        Path {
            wan: wan.to_owned(),
            state,
            remote,
            rtt_ms: 24.0,
            mtu: 1492,
            last_error,
            ..Path::default()
        }
    }

    fn status(state: State, peer: Peer) -> Running {
        let role = Role::Client;
        Running::Answers(Box::new(Status { role, state, peers: vec![peer], ..Status::default() }))
    }

    fn lines(around: &Around, running: &Running) -> Vec<String> {
        let steps = walk(around, running);
        steps
            .iter()
            .map(|s| format!("{:?} {}: {} -> {}", s.verdict, s.step, s.words, s.remedy))
            .collect()
    }

    fn around() -> Around {
        Around { enabled: true, unix_s: NOW_S, ..Around::default() }
    }

    #[test]
    fn a_router_that_works() {
        let peer = Peer {
            name: "vps".to_owned(),
            state: PeerState::Up,
            last_handshake_s: Some(30),
            paths: vec![path("dsl", PathState::Active, None)],
            ..Peer::default()
        };
        let names = vec![Name {
            name: "vps.example.net".to_owned(),
            found: Ok(vec!["192.0.2.9".parse().unwrap()]),
            needed: true,
        }];
        let around = Around { names, ..around() };
        let expected = [
            "Good clock: 2026-11-28 -> ",
            "Good program: , running for 0 s -> ",
            "Good name: vps.example.net is 192.0.2.9 -> ",
            "Good wan: dsl: 192.0.2.9:51830 answers after 24.0 ms, active -> ",
            "Good handshake: vps is connected, keys are 30 s old -> ",
            "Good mtu: dsl: packets of up to 1492 bytes pass -> ",
        ];
        assert_eq!(lines(&around, &status(State::Up, peer)), expected);
        assert!(text(&[good("clock", "x")]).ends_with("Nothing is wrong here.\n"));
    }

    #[test]
    fn what_several_wans_have_met_is_one_step() {
        let silent = || error("server_silent", "no answer");
        let down = Path {
            reason_code: "link_down".to_owned(),
            reason: "link is down".to_owned(),
            ..path("sat", PathState::Down, None)
        };
        let peer = Peer {
            name: "vps".to_owned(),
            last_error: silent(),
            paths: vec![
                path("dsl", PathState::Probing, silent()),
                down,
                path("lte", PathState::Probing, silent()),
            ],
            ..Peer::default()
        };
        let found = lines(&around(), &status(State::Connecting, peer));
        let expected = [
            "Fault wan: sat is down: link is down -> see whether its cable or modem is connected, and \
             its device is up",
            "Fault wan: dsl, lte: no answer -> do it",
            "Note handshake: vps is not connected: see its WANs -> ",
        ];
        assert_eq!(found[2..], expected);
    }

    #[test]
    fn a_server_tells_of_its_routers_and_of_strangers() {
        let peer = |name: &str, last_error| Peer {
            name: name.to_owned(),
            state: PeerState::Connecting,
            last_error,
            ..Peer::default()
        };
        let server = Around { server: true, ..around() };
        let mut status = Status {
            role: Role::Server,
            state: State::Connecting,
            peers: vec![peer("home", None)],
            ..Status::default()
        };
        let said = |status: &Status| lines(&server, &Running::Answers(Box::new(status.clone())));
        assert!(said(&status)[3].starts_with("Note callers: nobody has called yet -> "));
        status.peers.push(peer("shop", error("wrong_preshared_key", "another secret")));
        status.drop_codes.insert("bad_mac".to_owned(), 7);
        let found = said(&status);
        assert_eq!(found[3], "Fault peer: shop: another secret -> do it");
        assert!(found[4].starts_with("Note callers: 7 handshakes made for another server's"));
        let one = Around { peer: Some("home".to_owned()), ..server.clone() };
        let found = lines(&one, &Running::Answers(Box::new(status)));
        assert!(!found.iter().any(|line| line.contains("shop")), "{found:?}");
    }

    #[test]
    fn without_a_program_a_clock_or_a_name() {
        let names =
            vec![Name { name: "a".to_owned(), found: Err("timeout".to_owned()), needed: true }];
        let around = Around { names, unix_s: 3600, ..around() };
        let found = lines(&around, &Running::No);
        assert!(found[0].starts_with("Fault clock: it says 1970-01-01 -> "), "{found:?}");
        assert!(found[1].starts_with("Fault program: it does not run -> start it"), "{found:?}");
        assert!(found[2].starts_with("Fault name: a cannot be resolved: timeout -> "), "{found:?}");
        let off = program(&Running::No, false);
        assert!(off[0].remedy.contains("switched off"));
        let problem = ShownProblem {
            words: "no\u{1b}[2J".to_owned(),
            remedy: "mend".to_owned(),
            ..ShownProblem::default()
        };
        let status = Status { problems: vec![problem], state: State::Up, ..Status::default() };
        let steps = program(&Running::Answers(Box::new(status)), true);
        let shown = text(&steps);
        assert!(shown.contains("no?[2J") && shown.ends_with("One thing is wrong.\n"), "{shown}");
    }
}
