//! The status in words and aligned columns.

use super::screen::Style;
use super::troubles::troubles;
use crate::status::{Path, PathState, Peer, PeerState, Role, State, Status};
use std::fmt::Write;

/// Titles of the columns; the first and the last two read from the left.
const TITLES: [&str; 11] = [
    "WAN",
    "State",
    "RTT ms",
    "Jitter",
    "Loss % up/down",
    "Mbit/s up/down",
    "Capacity up/down",
    "MTU",
    "Quota MB",
    "Device",
    "Reason",
];
/// How many of the first columns are text.
const TEXT_COLUMNS: usize = 2;
/// Columns from here on are text.
const LAST_COLUMNS: usize = 9;

/// The whole text, every line ended.
pub(super) fn table(status: &Status, colour: bool) -> String {
    let mut out = headline(status);
    for trouble in troubles(status) {
        let _ = writeln!(out, "Problem: {}", plain(&trouble.words));
        let _ = writeln!(out, "         {}", plain(&trouble.remedy));
    }
    for peer in &status.peers {
        out.push('\n');
        out.push_str(&peer_line(peer));
        if peer.paths.is_empty() && has_never_come(peer) {
            continue;
        }
        paths(&mut out, &peer.paths, colour);
        out.push_str(&public_addresses(&peer.paths));
        let bond = &peer.bond;
        if peer.paths.len() > 1 {
            let _ = writeln!(
                out,
                "Together {}/{} Mbit/s up/down, best link alone {}; packets wait at most {:.0} ms",
                mbit(bond.goodput_up_kbps),
                mbit(bond.goodput_down_kbps),
                measured(bond.best_single_up_kbps, bond.best_single_down_kbps),
                bond.hold_ms,
            );
            if let Some(tested) = &bond.tested {
                let rates = measured(tested.up_kbps, tested.down_kbps);
                let _ = writeln!(
                    out,
                    "Tested together {} ago: {rates} Mbit/s up/down",
                    span(tested.age_s)
                );
            }
        }
    }
    let drops: Vec<String> = status
        .drops
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if !drops.is_empty() {
        let _ = writeln!(out, "\nDropped packets: {}", drops.join(", "));
    }
    out
}

/// The state, the device and since when.
fn headline(status: &Status) -> String {
    let addresses = status.addresses.join(", ");
    let mut line = format!("{}, {} with {addresses}", sentence(status), status.device);
    let _ = writeln!(line, ", MTU {}, running for {}", status.mtu, span(status.uptime_s));
    line
}

/// The state in one sentence.
pub(super) fn sentence(status: &Status) -> String {
    let links: Vec<&Path> = status.peers.iter().flat_map(|peer| &peer.paths).collect();
    let used = links.iter().filter(|path| path.state == PathState::Active).count();
    let all = links.len();
    match status.state {
        State::Disabled => "Disabled in the configuration".to_owned(),
        State::Connecting if status.role == Role::Server => {
            format!("Waiting for {}", count(status.peers.len(), "peer"))
        }
        State::Connecting => format!("Connecting over {}", count(all, "link")),
        State::Down if status.role == Role::Server => {
            format!("None of {} is connected", count(status.peers.len(), "peer"))
        }
        State::Up if status.role == Role::Server => {
            let up = status.peers.iter().filter(|peer| peer.state == PeerState::Up).count();
            format!("{up} of {} connected", count(status.peers.len(), "peer"))
        }
        State::Up if used == 0 => {
            format!("Up over a backup link, none of {} is active", count(all, "link"))
        }
        State::Up if all == 1 => "Up over the only link".to_owned(),
        State::Up => format!("Bonded over {used} of {}", count(all, "link")),
        State::Down | State::Unknown => format!("Down, none of {} works", count(all, "link")),
    }
}

fn peer_line(peer: &Peer) -> String {
    if has_never_come(peer) {
        return format!("{}: has not connected yet\n", peer.name);
    }
    let handshake = match peer.last_handshake_s {
        Some(seconds) => format!("last handshake {} ago", span(seconds)),
        None => "no handshake yet".to_owned(),
    };
    format!(
        "{}: {} at {}, {handshake}, received {}, sent {}\n",
        peer.name,
        peer.state,
        if peer.endpoint.is_empty() { "an unknown address" } else { &peer.endpoint },
        bytes(peer.rx_bytes),
        bytes(peer.tx_bytes),
    )
}

/// Whether there was never a sign of it.
pub(super) fn has_never_come(peer: &Peer) -> bool {
    peer.last_handshake_s.is_none() && peer.endpoint.is_empty()
}

fn paths(out: &mut String, paths: &[Path], colour: bool) {
    if paths.is_empty() {
        out.push_str("  no path\n");
        return;
    }
    let rows: Vec<[String; 11]> = paths.iter().map(row).collect();
    let mut widths: [usize; 11] = TITLES.map(|title| title.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(out, &TITLES.map(str::to_owned), &widths, None);
    for (row, path) in rows.iter().zip(paths) {
        let paint = colour.then(|| Style::of_path(path.state).sequence());
        line(out, row, &widths, paint);
    }
}

/// Where the server sees the links, as far as it has said so.
fn public_addresses(paths: &[Path]) -> String {
    let seen = |path: &Path| Some(format!("{} {}", path.wan, path.public_words()?));
    let seen: Vec<String> = paths.iter().filter_map(seen).collect();
    if seen.is_empty() {
        return String::new();
    }
    format!("Public addresses: {}\n", plain(&seen.join(", ")))
}

fn row(path: &Path) -> [String; 11] {
    let quota =
        if path.quota_used_mb == 0 { "-".to_owned() } else { path.quota_used_mb.to_string() };
    [
        path.wan.clone(),
        path.state.to_string(),
        format!("{:.1}", path.rtt_ms),
        format!("{:.1}", path.jitter_ms),
        format!("{:.1}/{:.1}", path.loss_up_percent, path.loss_down_percent),
        format!("{}/{}", mbit(path.rate_up_kbps), mbit(path.rate_down_kbps)),
        measured(path.capacity_up_kbps, path.capacity_down_kbps),
        path.mtu.to_string(),
        quota,
        if path.device.is_empty() { path.remote.clone() } else { path.device.clone() },
        path.reason.clone(),
    ]
}

fn line(out: &mut String, cells: &[String; 11], widths: &[usize; 11], paint: Option<&str>) {
    let mut text = String::from(" ");
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        text.push(' ');
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        let cell = match paint {
            Some(paint) if at == 1 => format!("{paint}{}\x1b[0m", plain(cell)),
            _ => plain(cell),
        };
        if (TEXT_COLUMNS..LAST_COLUMNS).contains(&at) {
            text.push_str(&padding);
            text.push_str(&cell);
        } else {
            text.push_str(&cell);
            text.push_str(&padding);
        }
        text.push(' ');
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

/// Text from elsewhere, unable to steer the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// kbit/s as Mbit/s.
pub(super) fn mbit(kbps: u64) -> String {
    let decimals = if kbps >= 100_000 { 0 } else { 1 };
    format!("{:.decimals$}", kbps as f64 / 1000.0)
}

/// What is known of a capacity, up and down, in Mbit/s.
fn measured(up: Option<u64>, down: Option<u64>) -> String {
    let one = |kbps: Option<u64>| kbps.map_or_else(|| "-".to_owned(), mbit);
    match (up, down) {
        (None, None) => "not measured yet".to_owned(),
        _ => format!("{}/{}", one(up), one(down)),
    }
}

/// Seconds in the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Bytes in the largest decimal unit.
pub(super) fn bytes(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if number < 1000.0 {
            let decimals = if unit == "B" { 0 } else { 1 };
            return format!("{number:.decimals$} {unit}");
        }
        number /= 1000.0;
    }
    format!("{number:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ShownProblem, Tested};

    fn path(wan: &str, state: PathState, reason: &str) -> Path {
        Path {
            wan: wan.to_owned(),
            device: format!("{wan}0"),
            state,
            reason: reason.to_owned(),
            rtt_ms: 12.34,
            jitter_ms: 0.5,
            loss_down_percent: 1.25,
            rate_up_kbps: 9_500,
            rate_down_kbps: 123_456,
            capacity_down_kbps: Some(200_000),
            mtu: 1500,
            ..Path::default()
        }
    }

    fn status() -> Status {
        let paths = vec![
            path("dsl", PathState::Active, "carries traffic"),
            path("lte", PathState::Active, "carries traffic"),
            path("sat", PathState::Down, "no answer for 4 s"),
        ];
        let peer = Peer {
            name: "vps".to_owned(),
            state: PeerState::Up,
            endpoint: "192.0.2.1:51830".to_owned(),
            last_handshake_s: Some(61),
            rx_bytes: 1_234_567,
            paths,
            ..Peer::default()
        };
        Status {
            role: Role::Client,
            state: State::Up,
            uptime_s: 90_000,
            device: "onebox0".to_owned(),
            mtu: 1420,
            addresses: vec!["10.99.0.2/24".to_owned()],
            peers: vec![peer],
            ..Status::default()
        }
    }

    #[test]
    fn a_client_with_three_links() {
        let expected = "\
Bonded over 2 of 3 links, onebox0 with 10.99.0.2/24, MTU 1420, running for 1 d 1 h

vps: up at 192.0.2.1:51830, last handshake 1 min 1 s ago, received 1.2 MB, sent 0 B
  WAN  State   RTT ms  Jitter  Loss % up/down  Mbit/s up/down  Capacity up/down   MTU  Quota MB  Device  Reason
  dsl  active    12.3     0.5         0.0/1.2         9.5/123             -/200  1500         -  dsl0    carries traffic
  lte  active    12.3     0.5         0.0/1.2         9.5/123             -/200  1500         -  lte0    carries traffic
  sat  down      12.3     0.5         0.0/1.2         9.5/123             -/200  1500         -  sat0    no answer for 4 s
Together 0.0/0.0 Mbit/s up/down, best link alone not measured yet; packets wait at most 0 ms
";
        assert_eq!(table(&status(), false), expected);
    }

    #[test]
    fn public_addresses_are_told_with_their_nats() {
        let mut status = status();
        let paths = &mut status.peers[0].paths;
        for (path, own) in paths.iter_mut().zip(["192.0.2.1", "100.64.0.9"]) {
            path.local = format!("{own}:7");
            path.set_public(own.parse().ok(), "192.0.2.1".parse().unwrap());
        }
        let told = "Public addresses: dsl 192.0.2.1 without NAT, lte 192.0.2.1 behind the \
                    provider's NAT (CGNAT)\nTogether ";
        assert!(table(&status, false).contains(told));
    }

    #[test]
    fn a_test_is_told_with_its_age() {
        let mut status = status();
        let tested = Tested { up_kbps: Some(14_600), age_s: 130, ..Tested::default() };
        status.peers[0].bond.tested = Some(tested);
        let told = "\nTested together 2 min 10 s ago: 14.6/- Mbit/s up/down\n";
        assert!(table(&status, false).contains(told));
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = table(&status(), true);
        assert!(coloured.contains("\x1b[31mdown\x1b[0m"));
        let stripped = ["\x1b[31m", "\x1b[32m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, sequence| text.replace(sequence, ""));
        assert_eq!(stripped, table(&status(), false));
    }

    #[test]
    fn other_states_are_told_in_words() {
        let mut status = status();
        status.peers[0].paths.clear();
        status.state = State::Disabled;
        assert!(table(&status, false).starts_with("Disabled in the configuration, "));
        status.state = State::Down;
        assert!(table(&status, false).starts_with("Down, none of 0 links works, "));
        status.state = State::Up;
        status.role = Role::Server;
        assert!(table(&status, false).starts_with("1 of 1 peer connected, "));
        status.drops.insert("replayed".to_owned(), 3);
        assert!(table(&status, false).ends_with("Dropped packets: replayed 3\n"));
    }

    #[test]
    fn who_never_came_is_told_so() {
        let mut status = status();
        status.peers = vec![Peer { name: "home".to_owned(), ..Peer::default() }];
        assert!(table(&status, false).ends_with("\n\nhome: has not connected yet\n"));
    }

    #[test]
    fn problems_come_first_with_what_to_do() {
        let mut status = status();
        status.problems.push(ShownProblem {
            words: "there is no ubus".to_owned(),
            remedy: "see that\nubusd runs".to_owned(),
            ..ShownProblem::default()
        });
        let text = table(&status, false);
        let expected = "Problem: there is no ubus\n         see that?ubusd runs\n\nvps: up at ";
        assert!(text.split_once('\n').unwrap().1.starts_with(expected), "{text}");
    }

    #[test]
    fn what_comes_from_elsewhere_cannot_steer_the_terminal() {
        let mut status = status();
        status.peers[0].paths[0].reason = "\x1b[2J".to_owned();
        assert!(!table(&status, false).contains('\x1b'));
    }
}
