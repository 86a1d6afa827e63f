//! Whether the sections of a configuration go together.

use super::diagnostic::{Diagnostic, Severity};
use super::model::{Forward, Main, Peer, Role, Wan};
use litemap::LiteMap;
use onebox_openwrt::uci::Section;
use std::collections::BTreeMap;

/// What the sections say, each with its line.
#[derive(Default)]
pub struct Found {
    /// The peers.
    pub peers: Vec<(u32, Peer)>,
    /// The WANs.
    pub wans: Vec<(u32, Wan)>,
    /// The forwarded ports.
    pub forwards: Vec<(u32, Forward)>,
}

/// Appends what does not go together to `problems`.
pub fn check(
    main: &Main,
    found: &Found,
    sections: &[Section],
    missing: Severity,
    problems: &mut Vec<Diagnostic>,
) {
    if !sections.iter().any(|section| section.kind == "peer") {
        peerless(main, missing, sections, problems);
    }
    unique(&found.peers, |peer| &peer.name, problems);
    unique(&found.wans, |wan| &wan.name, problems);
    unique(&found.forwards, |forward| &forward.name, problems);
    peers(&found.peers, problems);
    match &main.role {
        Role::Client(_) => wans(&found.wans, problems),
        Role::Server(server) => {
            forwards(found, sections, problems);
            for (line, forward) in &found.forwards {
                let port = server.listen_port;
                if forward.protocol.udp()
                    && (forward.src_ports.first..=forward.src_ports.last).contains(&port)
                {
                    let read = forward.src_ports.to_string();
                    let message = format!("accepted: UDP ports other than listen_port, {port}");
                    problems.push(error(*line, &forward.name, "src_port", read, message));
                }
            }
        }
    }
}

/// Names tell things apart, in status and at a reload. The text's own names differ, but those of
/// sections without name can meet them.
fn unique<T>(items: &[(u32, T)], name: impl Fn(&T) -> &String, problems: &mut Vec<Diagnostic>) {
    let mut earlier: LiteMap<_, _> = LiteMap::new();
    for (line, item) in items {
        if let Some(other) = earlier.get(name(item)) {
            problems.push(Diagnostic {
                severity: Severity::Error,
                line: *line,
                section: Some(name(item).clone()),
                option: None,
                value: None,
                message: format!(
                    "the section on line {other} has this name too, accepted: another"
                ),
            });
        }
        earlier.entry(name(item)).or_insert(line);
    }
}

fn error(line: u32, section: &str, option: &str, value: String, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        line,
        section: Some(section.to_owned()),
        option: Some(option.to_owned()),
        value: Some(value),
        message,
    }
}

fn peerless(main: &Main, missing: Severity, sections: &[Section], problems: &mut Vec<Diagnostic>) {
    let (severity, message) = match main.role {
        Role::Client(_) => (missing, "no section of type 'peer', accepted: one for the server"),
        Role::Server(_) => (Severity::Warning, "no section of type 'peer', nobody can connect"),
    };
    let main = sections.iter().find(|section| section.kind == "onebox");
    problems.push(Diagnostic {
        severity,
        line: main.map_or(1, |section| section.line),
        section: main.map(|section| section.name.clone()),
        option: None,
        value: None,
        message: message.to_owned(),
    });
}

fn peers(peers: &[(u32, Peer)], problems: &mut Vec<Diagnostic>) {
    let mut keys: LiteMap<_, _> = LiteMap::new();
    let mut prefixes = BTreeMap::new();
    for (line, peer) in peers {
        if let Some(other) = keys.get(&peer.public_key) {
            let message = format!("accepted: a key of its own, peer '{other}' has this one");
            let read = peer.public_key.to_string();
            problems.push(error(*line, &peer.name, "public_key", read, message));
        }
        for prefix in &peer.allowed_ips {
            if let Some(other) = prefixes.get(prefix) {
                let message = format!(
                    "accepted: networks that no other peer has, peer '{other}' has this one"
                );
                let read = prefix.to_string();
                problems.push(error(*line, &peer.name, "allowed_ips", read, message));
            }
        }
        keys.entry(peer.public_key).or_insert(&peer.name);
        for prefix in &peer.allowed_ips {
            prefixes.entry(*prefix).or_insert(&peer.name);
        }
    }
}

fn wans(wans: &[(u32, Wan)], problems: &mut Vec<Diagnostic>) {
    use super::model::WanLink;
    for (at, (line, wan)) in wans.iter().enumerate() {
        let earlier = wans.get(..at).unwrap_or_default();
        if let Some((_, other)) = earlier.iter().find(|(_, w)| w.link == wan.link) {
            let (option, read) = match &wan.link {
                WanLink::Interface(name) => ("interface", name),
                WanLink::Device(name) => ("device", name),
            };
            let message = format!("accepted: another one, WAN '{}' has this one", other.name);
            problems.push(error(*line, &wan.name, option, read.clone(), message));
        }
    }
}

fn forwards(found: &Found, sections: &[Section], problems: &mut Vec<Diagnostic>) {
    for (at, (line, forward)) in found.forwards.iter().enumerate() {
        let peer = found.peers.iter().find(|(_, peer)| peer.name == forward.peer);
        let named = |s: &Section| s.kind == "peer" && s.name == forward.peer;
        if !sections.iter().any(named) {
            let names: Vec<&str> = found.peers.iter().map(|(_, p)| p.name.as_str()).collect();
            let names =
                if names.is_empty() { "(there is none)".to_owned() } else { names.join(", ") };
            let message = format!("accepted: the name of a peer: {names}");
            problems.push(error(*line, &forward.name, "peer", forward.peer.clone(), message));
        }
        if let Some((_, peer)) = peer
            && !peer.allowed_ips.iter().any(|prefix| prefix.contains(forward.dest_ip))
        {
            let message =
                format!("not in allowed_ips of peer '{}', which will refuse it", peer.name);
            let read = forward.dest_ip.to_string();
            problems.push(Diagnostic {
                severity: Severity::Warning,
                ..error(*line, &forward.name, "dest_ip", read, message)
            });
        }
        let clashes = |other: &Forward| {
            let tcp = other.protocol.tcp() && forward.protocol.tcp();
            let udp = other.protocol.udp() && forward.protocol.udp();
            (tcp || udp) && other.src_ports.overlaps(forward.src_ports)
        };
        let earlier = found.forwards.get(..at).unwrap_or_default();
        if let Some((_, other)) = earlier.iter().find(|(_, other)| clashes(other)) {
            let message =
                format!("accepted: ports that no other section forwards, '{}' does", other.name);
            let read = forward.src_ports.to_string();
            problems.push(error(*line, &forward.name, "src_port", read, message));
        }
    }
}
