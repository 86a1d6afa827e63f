//! What is wrong with the program or around it, with what to do about it.
//!
//! How: a [`Problem`] is a kind of trouble; what it is about and what the system said comes beside
//! it. [`Problems`] keeps those that are there now. Whoever tries something tells how it went by
//! [`Problems::note`], or by [`raise`](Problems::raise) and [`clear`](Problems::clear); the handle
//! is cloned to wherever that is.
//!
//! Limits: [`PROBLEMS_MAX`] are kept; further ones are only logged by those who raise them.

use super::model::{LastError, ShownProblem};
use crate::time::{SEC, Time};
use core::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Problems that are kept at once.
pub const PROBLEMS_MAX: usize = 32;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The kernel refuses addresses, routes or rules.
    RoutesRefused,
    /// The nftables table cannot be made.
    FirewallRefused,
    /// Another program's firewall drops what is forwarded through the tunnel.
    ForwardBlocked,
    /// A switch of the kernel (sysctl) cannot be turned.
    SwitchRefused,
    /// The TUN device was removed and cannot be made anew.
    DeviceLost,
    /// The name of a server cannot be resolved.
    NameUnresolved,
    /// Changes of the network are not told.
    NetworkUnwatched,
    /// There are more WANs than paths.
    TooManyWans,
    /// The paths take less than the configured MTU.
    MtuTooLarge,
    /// The paths take less than IPv6 needs.
    TunnelTooNarrow,
    /// The kernel refuses a socket on a WAN.
    SocketRefused,
    /// The file of quotas cannot be read.
    QuotaUnreadable,
    /// The file of quotas cannot be written.
    QuotaUnsaved,
    /// There is no message bus where there should be one.
    UbusMissing,
    /// The message bus forbids something.
    UbusDenied,
    /// netifd does not have the interface that is to be the tunnel.
    InterfaceMissing,
    /// Policies of another program are without effect.
    PoliciesDead,
    /// The control socket takes no connections.
    ControlSocket,
    /// After a change of the configuration the tunnel could not be started at all.
    TunnelStopped,
    /// One network is at two places.
    NetworksOverlap,
    /// The wall clock cannot be right.
    ClockWrong,
    /// The history cannot be kept.
    HistoryUnsaved,
}

impl Problem {
    /// Every kind.
    pub const ALL: [Problem; 22] = [
        Problem::RoutesRefused,
        Problem::FirewallRefused,
        Problem::ForwardBlocked,
        Problem::SwitchRefused,
        Problem::DeviceLost,
        Problem::NameUnresolved,
        Problem::NetworkUnwatched,
        Problem::TooManyWans,
        Problem::MtuTooLarge,
        Problem::TunnelTooNarrow,
        Problem::SocketRefused,
        Problem::QuotaUnreadable,
        Problem::QuotaUnsaved,
        Problem::UbusMissing,
        Problem::UbusDenied,
        Problem::InterfaceMissing,
        Problem::PoliciesDead,
        Problem::ControlSocket,
        Problem::TunnelStopped,
        Problem::NetworksOverlap,
        Problem::ClockWrong,
        Problem::HistoryUnsaved,
    ];

    /// Its stable name, for metrics and translations.
    pub fn code(self) -> &'static str {
        match self {
            Problem::RoutesRefused => "routes_refused",
            Problem::FirewallRefused => "firewall_refused",
            Problem::ForwardBlocked => "forward_blocked",
            Problem::SwitchRefused => "switch_refused",
            Problem::DeviceLost => "device_lost",
            Problem::NameUnresolved => "name_unresolved",
            Problem::NetworkUnwatched => "network_unwatched",
            Problem::TooManyWans => "too_many_wans",
            Problem::MtuTooLarge => "mtu_too_large",
            Problem::TunnelTooNarrow => "tunnel_too_narrow",
            Problem::SocketRefused => "socket_refused",
            Problem::QuotaUnreadable => "quota_unreadable",
            Problem::QuotaUnsaved => "quota_unsaved",
            Problem::UbusMissing => "ubus_missing",
            Problem::UbusDenied => "ubus_denied",
            Problem::InterfaceMissing => "interface_missing",
            Problem::PoliciesDead => "policies_dead",
            Problem::ControlSocket => "control_socket",
            Problem::TunnelStopped => "tunnel_stopped",
            Problem::NetworksOverlap => "networks_overlap",
            Problem::ClockWrong => "clock_wrong",
            Problem::HistoryUnsaved => "history_unsaved",
        }
    }

    /// What is wrong.
    pub fn words(self) -> &'static str {
        match self {
            Problem::RoutesRefused => "addresses, routes or rules cannot be set",
            Problem::FirewallRefused => "the nftables table cannot be set",
            Problem::ForwardBlocked => {
                "another firewall drops what is forwarded through the tunnel"
            }
            Problem::SwitchRefused => "a kernel switch cannot be set",
            Problem::DeviceLost => "the tunnel's device is gone and cannot be made anew",
            Problem::NameUnresolved => "the server's name cannot be resolved",
            Problem::NetworkUnwatched => "changes of the network go unnoticed",
            Problem::TooManyWans => "more than 16 WANs, the others are not used",
            Problem::MtuTooLarge => "the paths take less than the configured MTU",
            Problem::TunnelTooNarrow => {
                "the paths take less than IPv6 needs: the tunnel has none now"
            }
            Problem::SocketRefused => "no socket can be opened on the WAN",
            Problem::QuotaUnreadable => "what the quotas' WANs have used is not known",
            Problem::QuotaUnsaved => "what the quotas' WANs have used cannot be kept",
            Problem::UbusMissing => "there is no ubus",
            Problem::UbusDenied => "ubus refuses something",
            Problem::InterfaceMissing => {
                "OpenWrt's network has no interface of this name that has proto onebox, so that the \
                 tunnel has no addresses"
            }
            Problem::PoliciesDead => {
                "policies without effect: the tunnel's rules come first, and all goes into it"
            }
            Problem::ControlSocket => "the control socket takes no connections",
            Problem::TunnelStopped => {
                "there is no tunnel: neither the new nor the old configuration works"
            }
            Problem::NetworksOverlap => "one network is at two places",
            Problem::ClockWrong => "the clock is wrong",
            Problem::HistoryUnsaved => "the history of rates cannot be kept",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Problem::RoutesRefused => {
                "see that no other program owns the device or the routing table, and that the \
                 program may change the network (root or CAP_NET_ADMIN)"
            }
            Problem::FirewallRefused => {
                "install nftables with the kernel's modules for NAT (kmod-nft-nat)"
            }
            Problem::ForwardBlocked => {
                "'onebox check --system' on this machine prints the command that lets it pass"
            }
            Problem::SwitchRefused => "see that /proc/sys can be written by the program",
            Problem::DeviceLost => {
                "see that no other program uses a device of that name, and that /dev/net/tun is there"
            }
            Problem::NameUnresolved => {
                "check the name and the router's DNS, or give the server's address instead"
            }
            Problem::NetworkUnwatched => "it is tried again; if it lasts, restart the program",
            Problem::TooManyWans => {
                "say with wan sections which are to be used, or which not (mode off)"
            }
            Problem::MtuTooLarge => {
                "nothing is lost by it: remove option mtu, and the MTU is what the paths take"
            }
            Problem::TunnelTooNarrow => {
                "it comes back with a wider path: see which WANs take less than 1340 bytes"
            }
            Problem::SocketRefused => {
                "it is tried again; see that the device is there and that the program may bind to \
                 it (root or CAP_NET_RAW)"
            }
            Problem::QuotaUnreadable => {
                "they count from zero: put the file back from a backup, and start anew"
            }
            Problem::QuotaUnsaved | Problem::HistoryUnsaved => {
                "see that the directory can be written and has room (state_dir)"
            }
            Problem::UbusMissing => "see that ubusd runs, and that ubus_socket is where it listens",
            Problem::UbusDenied => {
                "see that no second onebox runs, and that the access list of the package is there"
            }
            Problem::InterfaceMissing => {
                "restart the network once after the installation (/etc/init.d/network restart), or see \
                 that the interface is there"
            }
            Problem::PoliciesDead => {
                "set option rule_priority to 31000, or have the tunnel as an interface that they choose: \
                 README, \"Beside mwan3 and pbr\""
            }
            Problem::ControlSocket => "it is tried again; if it lasts, restart the program",
            Problem::TunnelStopped => "correct the configuration and reload",
            Problem::NetworksOverlap => {
                "give the LAN another network, for instance 192.168.77.0/24, or the tunnel, on both \
                 ends"
            }
            Problem::ClockWrong => {
                "the tunnel works all the same, quotas and dates do not: let the time server (NTP) be \
                 reached, or set the clock"
            }
        }
    }
}

/// One that is there.
#[derive(Debug)]
struct Raised {
    problem: Problem,
    subject: String,
    detail: String,
    since: Time,
    last: Time,
}

impl Raised {
    /// `subject: what is wrong: what the system said`.
    fn words(&self) -> String {
        let words = self.problem.words();
        let parts = [self.subject.as_str(), words, self.detail.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }
}

/// The problems that are there now. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<Vec<Raised>>>);

impl Problems {
    fn list(&self) -> MutexGuard<'_, Vec<Raised>> {
        // A panic elsewhere leaves a whole list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is this problem with `subject`, which may be empty; `detail` is what the system said.
    /// Whether that is news.
    pub fn raise(&self, now: Time, problem: Problem, subject: &str, detail: impl Display) -> bool {
        let detail = detail.to_string();
        let mut list = self.list();
        let same = |one: &&mut Raised| one.problem == problem && one.subject == subject;
        if let Some(known) = list.iter_mut().find(same) {
            known.last = now;
            let news = known.detail != detail;
            known.detail = detail;
            return news;
        }
        if list.len() < PROBLEMS_MAX {
            let subject = subject.to_owned();
            list.push(Raised { problem, subject, detail, since: now, last: now });
        }
        true
    }

    /// This problem is over.
    pub fn clear(&self, problem: Problem, subject: &str) {
        self.list().retain(|one| one.problem != problem || one.subject != subject);
    }

    /// This problem is over, whatever it was about.
    pub fn clear_all(&self, problem: Problem) {
        self.list().retain(|one| one.problem != problem);
    }

    /// Raises or clears, as it went. Whether that is a failure and news.
    pub fn note<T, E: Display>(
        &self,
        now: Time,
        problem: Problem,
        subject: &str,
        outcome: &Result<T, E>,
    ) -> bool {
        match outcome {
            Ok(_) => {
                self.clear(problem, subject);
                false
            }
            Err(error) => self.raise(now, problem, subject, error),
        }
    }

    /// As the status shows them, oldest first. `unix_s` is the wall clock's `now`.
    pub fn shown(&self, now: Time, unix_s: u64) -> Vec<ShownProblem> {
        let show = |one: &Raised| ShownProblem {
            code: one.problem.code().to_owned(),
            subject: one.subject.clone(),
            words: one.words(),
            remedy: one.problem.remedy().to_owned(),
            since_s: unix_s.saturating_sub(now.since(one.since) / SEC),
        };
        self.list().iter().map(show).collect()
    }

    /// The problem with one of these subjects that was met last, as a peer or a path shows it.
    pub fn last_error(&self, now: Time, problem: Problem, subjects: &[&str]) -> Option<LastError> {
        let list = self.list();
        let about = |one: &&Raised| one.problem == problem && subjects.contains(&&*one.subject);
        let last = list.iter().filter(about).max_by_key(|one| one.last)?;
        Some(LastError {
            code: problem.code().to_owned(),
            words: last.words(),
            remedy: problem.remedy().to_owned(),
            age_s: now.since(last.last) / SEC,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::assert_codes;

    const NAME: Problem = Problem::NameUnresolved;

    #[test]
    fn every_problem_has_a_code_of_its_own_words_and_a_remedy() {
        assert_codes(&Problem::ALL.map(Problem::code));
        for problem in Problem::ALL {
            assert!(!problem.words().is_empty() && !problem.remedy().is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn a_problem_is_there_from_its_first_failure_to_its_first_success() {
        let problems = Problems::default();
        let at = |second: u64| Time(second * SEC);
        assert!(problems.raise(at(10), NAME, "vps.example.net", "timeout"));
        assert!(!problems.raise(at(20), NAME, "vps.example.net", "timeout"));
        assert!(problems.raise(at(30), NAME, "vps.example.net", "no such name"));
        problems.raise(at(30), Problem::RoutesRefused, "", "not permitted");
        let shown = problems.shown(at(40), 1040);
        assert_eq!(shown.len(), 2);
        let words = "vps.example.net: the server's name cannot be resolved: no such name";
        assert_eq!((shown[0].words.as_str(), shown[0].since_s), (words, 1010));
        assert!(shown[1].words.starts_with("addresses, routes or rules cannot be set: not "));
        let error = problems.last_error(at(45), NAME, &["other", "vps.example.net"]).unwrap();
        assert_eq!((error.words.as_str(), error.age_s), (words, 15));
        assert_eq!(problems.last_error(at(45), NAME, &["other"]), None);
        assert!(!problems.note(at(50), NAME, "vps.example.net", &Ok::<(), String>(())));
        problems.clear(Problem::RoutesRefused, "another");
        assert_eq!(problems.shown(at(50), 1050).len(), 1);
        problems.clear_all(Problem::RoutesRefused);
        assert!(problems.shown(at(50), 1050).is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let problems = Problems::default();
        for number in 0..PROBLEMS_MAX + 10 {
            problems.raise(Time::ZERO, NAME, &number.to_string(), "");
        }
        assert_eq!(problems.shown(Time::ZERO, 0).len(), PROBLEMS_MAX);
    }
}
