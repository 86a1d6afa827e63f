//! `doctor`: walks along the way of a packet, from the configuration to the answer of the other end,
//! and says of each step how it is, with what to do where it fails.
//!
//! How: this gathers what there is to know, [`steps`] judges it. The running program is asked for its
//! status, the system is looked at as by `check --system`, and names are resolved as the program would.
//!
//! Limits: what a provider or a cloud's own firewall does shows only as silence. The other end is not
//! asked: its doctor knows more of it. Names are given [`RESOLVE_S`], and [`NAMES_MAX`] are looked up.

mod steps;

use super::args::{Doctor, control_path};
use super::{Exit, fail, print};
use crate::config::{Config, Endpoint, Host, has_errors};
use crate::control::{Request, client};
use crate::daemon;
use crate::findings;
use crate::status::Status;
use crate::time::{SEC, Time};
use nix::unistd::geteuid;
use onebox_linux::clock;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use steps::{Around, Name, Running, Step, Verdict};

/// How long all names together may take: twice what a resolver waits for a server that is silent.
const RESOLVE_S: u64 = 10;
/// Names that are looked up at most, and addresses of each that are shown.
const NAMES_MAX: usize = 8;
/// How long a program that has only just begun, or a connection without an answer, is waited for.
const SETTLE_S: u64 = 10;
/// A name that the resolver is tried with where the configuration has none (RFC 2606 §3).
const EXAMPLE: &str = "example.com";

pub(super) fn doctor(options: &Doctor) -> Exit {
    let path = options.config.as_path();
    let mut all = Vec::new();
    let config = configuration(path, &mut all);
    if let (Some(config), Some(name)) = (&config, &options.peer)
        && !config.peers.iter().any(|peer| peer.name == *name)
    {
        let known: Vec<&str> = config.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return fail(format_args!("there is no peer '{name}'; there is: {known}"));
    }
    let lookups = config.as_ref().map(|config| Lookups::start(config, options.peer.as_deref()));
    let running = running(options);
    if let (Some(config), Some(lookups)) = (&config, lookups) {
        let around = Around {
            server: matches!(config.main.role, crate::config::Role::Server(_)),
            enabled: config.main.enabled,
            unix_s: clock::unix_us() / SEC,
            names: lookups.finish(),
            peer: options.peer.clone(),
        };
        all.extend(steps::walk(&around, &running));
        all.extend(system(config, path));
    } else {
        all.extend(steps::program(&running, true));
    }
    let text = match options.json {
        true => serde_json::to_string_pretty(&all).map(|text| text + "\n"),
        false => Ok(steps::text(&all)),
    };
    match text.map(|text| print(&text)) {
        Ok(Exit::Done) if all.iter().any(|step| step.verdict == Verdict::Fault) => Exit::Failed,
        Ok(exit) => exit,
        Err(error) => fail(error),
    }
}

/// The first step: whether there is a configuration.
fn configuration(path: &Path, all: &mut Vec<Step>) -> Option<Config> {
    let step = |verdict, words: String, remedy: String| Step {
        step: "configuration",
        verdict,
        words,
        remedy,
    };
    let text = match daemon::read_bounded(path) {
        Ok(text) => text,
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "only root may read it: try it with sudo",
                _ => "'onebox join' makes it from the server's code, 'onebox invite' on a server",
            };
            let words = format!("{}: {error}", path.display());
            all.push(step(Verdict::Fault, words, remedy.to_owned()));
            return None;
        }
    };
    let (config, problems) = Config::parse(&text);
    let wrong = has_errors(&problems);
    for problem in &problems {
        let words = format!("{}:{}: {problem}", path.display(), problem.line);
        let verdict = if wrong { Verdict::Fault } else { Verdict::Note };
        all.push(step(verdict, words, "correct the line, then 'onebox check'".to_owned()));
    }
    if problems.is_empty() {
        all.push(step(Verdict::Good, path.display().to_string(), String::new()));
    }
    config.filter(|_| !wrong)
}

/// Asks the running program, and again while it may only need a moment.
fn running(options: &Doctor) -> Running {
    let path = control_path(options.control.as_ref(), &options.config);
    let until = clock::now() + SETTLE_S * SEC;
    loop {
        match client::ask::<Status>(&path, &Request::Status) {
            Ok(status) if steps::is_settled(&status) || clock::now() >= until => {
                return Running::Answers(Box::new(status));
            }
            Ok(_) => std::thread::sleep(Duration::from_millis(500)),
            Err(client::ClientError::NotRunning) => return Running::No,
            Err(error) => return Running::Silent(error.to_string()),
        }
    }
}

/// Look-ups under way.
struct Lookups {
    names: Vec<String>,
    needed: bool,
    told: mpsc::Receiver<(String, Result<Vec<IpAddr>, String>)>,
    until: Time,
}

impl Lookups {
    /// Asks for the names of the endpoints, or for another one to try the resolver with.
    fn start(config: &Config, peer: Option<&str>) -> Lookups {
        let peers = config.peers.iter().filter(|p| peer.is_none_or(|name| name == p.name));
        let named = |endpoint: &Endpoint| match &endpoint.host {
            Host::Name(name) => Some(name.clone()),
            Host::Address(_) => None,
        };
        let mut names: Vec<String> = peers.flat_map(|p| &p.endpoints).filter_map(named).collect();
        let needed = !names.is_empty();
        if !needed {
            names.push(EXAMPLE.to_owned());
        }
        names.sort_unstable();
        names.dedup();
        names.truncate(NAMES_MAX);
        let (tell, told) = mpsc::channel();
        for name in &names {
            let (name, tell) = (name.clone(), tell.clone());
            // The resolver cannot be told to stop; the thread ends with it, or with the program.
            std::thread::spawn(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                let mut found: Result<Vec<IpAddr>, String> = found
                    .map(|all| all.map(|address| address.ip()).collect())
                    .map_err(|error| error.to_string());
                if let Ok(found) = &mut found {
                    found.dedup();
                    found.truncate(NAMES_MAX);
                }
                // Nobody may listen any more.
                let _ = tell.send((name, found));
            });
        }
        Lookups { names, needed, told, until: clock::now() + RESOLVE_S * SEC }
    }

    /// What came of them in time.
    fn finish(self) -> Vec<Name> {
        let mut answers = Vec::new();
        while answers.len() < self.names.len() {
            let left = Duration::from_micros(self.until.since(clock::now()));
            let Ok(answer) = self.told.recv_timeout(left) else { break };
            answers.push(answer);
        }
        let outcome = |name: String| {
            let answer = answers.iter().find(|(of, _)| *of == name);
            let silent = || Err(format!("no answer within {RESOLVE_S} s"));
            let found = answer.map_or_else(silent, |(_, answer)| answer.clone());
            Name { found, needed: self.needed, name }
        };
        self.names.into_iter().map(outcome).collect()
    }
}

/// What of the system around the program is wrong.
fn system(config: &Config, file: &Path) -> Vec<Step> {
    let unknown = |why: String, remedy: &str| {
        vec![Step {
            step: "system",
            verdict: Verdict::Note,
            words: format!("forwarding and firewalls are not looked at: {why}"),
            remedy: remedy.to_owned(),
        }]
    };
    if !geteuid().is_root() {
        return unknown("only root may".to_owned(), "try it with sudo");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(findings::read::facts(config, file))) {
        Ok(facts) => steps::system(&findings::findings(&facts)),
        Err(error) => unknown(error.to_string(), "try it again"),
    }
}
