//! What a reload changes, so that only that is touched.

use super::model::{Config, Main, Role};
use litemap::LiteMap;

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Options of the main section that take a new tunnel device: everything is set up anew.
    pub restart: Vec<&'static str>,
    /// Options of the main section that can change while the tunnel is up.
    pub live: Vec<&'static str>,
    /// The new log level, if it is another one.
    pub log_level: Option<log::LevelFilter>,
    /// Changes of peers, by name.
    pub peers: Changes,
    /// Changes of WANs, by name.
    pub wans: Changes,
    /// Changes of forwarded ports, by name.
    pub forwards: Changes,
}

impl Difference {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Difference::default()
    }

    /// What changes, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.restart.is_empty() {
            out.push(format!("{} changed: the tunnel starts anew", self.restart.join(", ")));
        }
        if !self.live.is_empty() {
            out.push(format!("{} changed", self.live.join(", ")));
        }
        out.extend(self.log_level.map(|level| format!("log level is {level} now")));
        let kinds = [("peer", &self.peers), ("wan", &self.wans), ("forward", &self.forwards)];
        for (kind, changes) in kinds {
            let of = [
                (&changes.added, "added"),
                (&changes.removed, "removed"),
                (&changes.changed, "changed"),
            ];
            for (names, what) in of {
                out.extend(names.iter().map(|name| format!("{kind} '{name}' {what}")));
            }
        }
        out
    }
}

/// What became of things with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only in the new configuration.
    pub added: Vec<String>,
    /// Only in the old configuration.
    pub removed: Vec<String>,
    /// In both, and not the same; in order.
    pub changed: Vec<String>,
}

/// What differs in `new`.
pub fn diff(old: &Config, new: &Config) -> Difference {
    let (restart, live) = main(&old.main, &new.main);
    Difference {
        restart,
        live,
        log_level: (old.main.log_level != new.main.log_level).then_some(new.main.log_level),
        peers: changes(&old.peers, &new.peers, |peer| &peer.name),
        wans: changes(old.wans(), new.wans(), |wan| &wan.name),
        forwards: changes(old.forwards(), new.forwards(), |forward| &forward.name),
    }
}

fn changes<T: PartialEq>(old: &[T], new: &[T], name: impl Fn(&T) -> &String) -> Changes {
    let before: LiteMap<&String, &T> = old.iter().map(|item| (name(item), item)).collect();
    let after: LiteMap<&String, &T> = new.iter().map(|item| (name(item), item)).collect();
    let only = |a: &LiteMap<&String, &T>, b: &LiteMap<&String, &T>| {
        a.keys().filter(|name| !b.contains_key(**name)).map(|name| (*name).clone()).collect()
    };
    let differs = |(name, item): (&&String, &&T)| {
        before.get(*name).filter(|old| *old != item).map(|_| (*name).clone())
    };
    Changes {
        added: only(&after, &before),
        removed: only(&before, &after),
        changed: after.iter().filter_map(differs).collect(),
    }
}

/// Names of the options that differ: those that need a restart, and the others. The log level is
/// in neither.
fn main(old: &Main, new: &Main) -> (Vec<&'static str>, Vec<&'static str>) {
    // Without `..`, so that a new option cannot be forgotten here.
    let Main {
        enabled,
        role,
        device,
        private_key,
        addresses,
        mtu,
        mss_clamp,
        netifd,
        netifd_routes,
        routing,
        hold_ms_max,
        memory_mb,
        probe_interval_s,
        log_level: _,
        control,
        state_dir,
        ubus_socket,
    } = old;
    let mut restart = Vec::new();
    let mut live = Vec::new();
    match (role, &new.role) {
        (Role::Client(a), Role::Client(b)) => {
            live.extend((a.discover != b.discover).then_some("discover"));
            live.extend((a.outage != b.outage).then_some("fallback"));
        }
        (Role::Server(a), Role::Server(b)) => {
            restart.extend((a.listen_port != b.listen_port).then_some("listen_port"));
            live.extend((a.nat != b.nat).then_some("nat"));
            live.extend((a.endpoints != b.endpoints).then_some("endpoint"));
        }
        _ => restart.push("role"),
    }
    let needs_restart = [
        (*enabled != new.enabled, "enabled"),
        (*device != new.device, "device"),
        (*private_key != new.private_key, "private_key"),
        (*addresses != new.addresses, "address"),
        (*mtu != new.mtu, "mtu"),
        (*netifd != new.netifd, "netifd"),
        (*netifd_routes != new.netifd_routes, "netifd_routes"),
        (routing.table != new.routing.table, "table"),
        (routing.fwmark != new.routing.fwmark, "fwmark"),
        (routing.fwmask != new.routing.fwmask, "fwmask"),
        (routing.rule_priority != new.routing.rule_priority, "rule_priority"),
        (*memory_mb != new.memory_mb, "memory_mb"),
        (*hold_ms_max != new.hold_ms_max, "hold_ms_max"),
        (*probe_interval_s != new.probe_interval_s, "probe_interval"),
        (*control != new.control, "control"),
    ];
    restart.extend(needs_restart.into_iter().filter_map(|(differs, name)| differs.then_some(name)));
    live.extend((*mss_clamp != new.mss_clamp).then_some("mss_clamp"));
    live.extend((*state_dir != new.state_dir).then_some("state_dir"));
    live.extend((*ubus_socket != new.ubus_socket).then_some("ubus_socket"));
    (restart, live)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    fn read(main: &str, rest: &str) -> Config {
        let text = format!(
            "config onebox main\noption private_key_file /k\nlist address 10.0.0.2/24\n{main}\n\
             config peer vps\noption public_key {KEY}\nlist endpoint a:1\nlist allowed_ips ::/0\n\
             {rest}\n"
        );
        let (config, problems) = Config::parse(text.as_bytes());
        config.unwrap_or_else(|| panic!("{problems:#?}"))
    }

    #[test]
    fn equal_configurations_differ_in_nothing() {
        assert!(diff(&read("", ""), &read("option mtu 0", "")).is_empty());
    }

    #[test]
    fn what_can_change_live_needs_no_restart() {
        let old = read("", "config wan a\noption device a0\nconfig wan b\noption device b0");
        let new = read(
            "option log_level debug\noption mss_clamp 0\noption discover 0",
            "option route_allowed_ips 0\nconfig wan b\noption device b0\noption mode backup\n\
             config wan c\noption device c0",
        );
        let difference = diff(&old, &new);
        assert!(difference.restart.is_empty());
        assert_eq!(difference.live, ["discover", "mss_clamp"]);
        assert_eq!(difference.log_level, Some(log::LevelFilter::Debug));
        assert_eq!(difference.peers.changed, ["vps"]);
        assert_eq!(difference.wans.added, ["c"]);
        assert_eq!(difference.wans.removed, ["a"]);
        assert_eq!(difference.wans.changed, ["b"]);
    }

    #[test]
    fn another_device_or_role_is_a_restart() {
        let server = read("option role server", "");
        let difference = diff(&read("", ""), &server);
        assert_eq!(difference.restart, ["role"]);
        let moved = read("option role server\noption listen_port 1\noption device x", "");
        assert_eq!(diff(&server, &moved).restart, ["listen_port", "device"]);
    }
}
