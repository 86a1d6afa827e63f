//! What `status --watch` shows: the state in lines for a screen of any size.
//!
//! Whatever the width, nothing that explains something is cut: what does not fit beside is below, and
//! bars, volumes and addresses give way first.
//!
//! From the top: the state in a sentence, then each peer with the rates of the last minute as
//! curves and its paths as a table. A server with more than [`WITH_PATHS`] peers shows each in one
//! line. The last changes of state fill what is left of the screen.

use super::screen::{Line, Style, clip, wrap};
use super::table::{bytes, has_never_come, mbit, sentence, span};
use super::troubles::troubles;
use crate::status::{Change, Event, History, Path, PathState, Peer, Status};

/// Peers that are shown with their paths.
const WITH_PATHS: usize = 3;
/// Problems that are shown at most.
const TROUBLES_MAX: usize = 4;
/// Columns of a curve at most; it is as wide as seconds are shown.
const CURVE_MAX: usize = 60;
/// Columns before a curve.
const CURVE_FROM: usize = 23;
/// Columns of a bar.
const BAR: usize = 8;
/// Columns of both bars, with the blanks before them.
const BARS: usize = 2 * (1 + BAR);
/// Columns of a path without its name, bars, quota and reason.
const NUMBERS: usize = 45;
/// Columns of a peer in one line, without its name, volumes and address.
const PEER_NUMBERS: usize = 49;
/// Columns of a peer's volumes.
const VOLUMES: usize = 20;
/// What stands below the paths while a bar has no full length.
const UNTESTED: &str = "  untested: not measured yet, nothing has filled the link so far";
/// Lines of changes at least, as far as there are that many.
const CHANGES_MIN: usize = 3;

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The state.
    pub(super) status: Status,
    /// The last minute.
    pub(super) history: History,
    /// The last changes, oldest first.
    pub(super) events: Vec<Event>,
    /// Wall clock, seconds.
    pub(super) now_s: u64,
    /// Why there is nothing new.
    pub(super) trouble: Option<String>,
    /// Whether the terminal has only ASCII.
    pub(super) ascii: bool,
}

impl View {
    /// The lines for a screen of this size, as many as it has or fewer.
    pub(super) fn lines(&self, (width, height): (usize, usize)) -> Vec<Line> {
        let mut lines = self.head(width);
        let peers = &self.status.peers;
        if peers.len() <= WITH_PATHS {
            for peer in peers {
                lines.push(Line::default());
                lines.extend(peer_lines(peer, width));
                if !has_never_come(peer) || !peer.paths.is_empty() {
                    self.curves(&mut lines, peer, width);
                    lines.extend(self.paths(&peer.paths, width));
                }
            }
        } else {
            lines.push(Line::default());
            lines.extend(self.peers(peers, width));
        }
        let room = height.saturating_sub(1);
        let changes = self.changes(room.saturating_sub(lines.len() + 1).max(CHANGES_MIN), width);
        if !changes.is_empty() {
            // A long list gives way to the last changes.
            let left = room.saturating_sub(changes.len() + 1);
            if lines.len() > left {
                let hidden = lines.len() - left.saturating_sub(1);
                lines.truncate(left.saturating_sub(1));
                lines.push(Line::of(Style::Dim, format!("  … {hidden} more lines")));
            }
            lines.push(Line::default());
            lines.extend(changes);
        }
        lines.truncate(room);
        lines.push(match &self.trouble {
            Some(trouble) => Line::of(Style::Bad, trouble.as_str()),
            None => Line::of(Style::Dim, "q or Ctrl-C ends"),
        });
        lines
    }

    fn head(&self, width: usize) -> Vec<Line> {
        let status = &self.status;
        let left =
            Line::of(Style::Bold, "onebox ").with(Style::of_state(status.state), sentence(status));
        let right = format!("{}, up {}", status.version, span(status.uptime_s));
        let addresses = status.addresses.join(", ");
        let mut below = format!("{} {addresses}, MTU {}", status.device, status.mtu);
        let mut lines = match width.checked_sub(left.width() + right.chars().count()) {
            Some(gap @ 2..) => {
                vec![left.with(Style::Plain, " ".repeat(gap)).with(Style::Dim, right)]
            }
            _ => {
                below = format!("{below}, {right}");
                vec![left]
            }
        };
        lines.extend(dim(&below, width, 2));
        for trouble in troubles(status).iter().take(TROUBLES_MAX) {
            let words = format!("Problem: {}", trouble.words);
            lines.extend(wrap(&words, width, 9).into_iter().map(|line| Line::of(Style::Bad, line)));
            lines.extend(dim(&format!("         {}", trouble.remedy), width, 9));
        }
        lines
    }

    /// The rates of all together in the last minute, if this is the only peer.
    fn curves(&self, lines: &mut Vec<Line>, peer: &Peer, width: usize) {
        let bond = &peer.bond;
        let alone = [bond.best_single_down_kbps, bond.best_single_up_kbps];
        let rates = [bond.goodput_down_kbps, bond.goodput_up_kbps];
        let total = self.history.series.first().filter(|_| self.status.peers.len() == 1);
        for (at, name) in ["down", "up  "].into_iter().enumerate() {
            let past = total.map(|t| if at == 0 { &t.down_kbps } else { &t.up_kbps });
            let past = past.map(Vec::as_slice).unwrap_or_default();
            let best = match alone[at] {
                Some(alone) if peer.paths.len() > 1 => {
                    format!("   best link alone {}", mbit(alone))
                }
                _ => String::new(),
            };
            let room = width.saturating_sub(CURVE_FROM + best.len());
            let shown = &past[past.len().saturating_sub(room.min(CURVE_MAX))..];
            lines.push(
                Line::of(Style::Plain, format!("  {name} "))
                    .with(Style::Bold, format!("{:>7} Mbit/s  ", mbit(rates[at])))
                    .with(Style::Good, curve(shown, self.ascii))
                    .with(Style::Dim, best),
            );
        }
    }

    fn paths(&self, paths: &[Path], width: usize) -> Vec<Line> {
        if paths.is_empty() {
            return vec![Line::of(Style::Dim, "  no path")];
        }
        let quota = paths.iter().any(|path| path.quota_used_mb > 0);
        let quota_wide = if quota { 10 } else { 0 };
        let longest = |of: &dyn Fn(&Path) -> usize| paths.iter().map(of).max().unwrap_or(0);
        let name = longest(&|path| path.wan.chars().count()).max(3);
        let reason = longest(&|path| path.reason.chars().count()) + 2;
        let columns = NUMBERS + quota_wide;
        // What fits beside: bars, or reasons, or both.
        let name = name.min(width.saturating_sub(columns).max(3));
        let spare = width.saturating_sub(columns + name);
        let bars = spare >= BARS && (spare >= BARS + reason || spare < reason);
        let beside = spare >= reason + if bars { BARS } else { 0 };
        let bar_title = if bars { " ".repeat(1 + BAR) } else { String::new() };
        let title = format!(
            "  {:name$}  {:8}  {:>6}  {:>5}  {:>7}{bar_title}  {:>7}{bar_title}{}{}",
            "WAN",
            "State",
            "RTT ms",
            "Loss",
            "Down",
            "Up",
            if quota { "  Quota MB" } else { "" },
            if beside { "  Why" } else { "" },
        );
        let mut lines = vec![Line::of(Style::Dim, title)];
        for path in paths {
            let loss = path.loss_up_percent.max(path.loss_down_percent);
            let used = if quota { format!("  {:>8}", path.quota_used_mb) } else { String::new() };
            let bar = |rate, capacity| {
                if bars { format!(" {}", bar(rate, capacity, self.ascii)) } else { String::new() }
            };
            let mut line = Line::of(Style::Bold, format!("  {:name$}  ", clip(&path.wan, name)))
                .with(Style::of_path(path.state), format!("{:8}  ", path.state))
                .with(Style::Plain, format!("{:>6.1}  {loss:>4.1}%  ", path.rtt_ms))
                .with(Style::Plain, format!("{:>7}", mbit(path.rate_down_kbps)))
                .with(Style::Good, bar(path.rate_down_kbps, path.capacity_down_kbps))
                .with(Style::Plain, format!("  {:>7}", mbit(path.rate_up_kbps)))
                .with(Style::Good, bar(path.rate_up_kbps, path.capacity_up_kbps))
                .with(Style::Plain, used);
            let reason = &path.reason;
            if beside {
                line = line.with(Style::Dim, format!("  {reason}"));
            }
            lines.push(line);
            // That it works needs no line of its own.
            if !beside && path.state != PathState::Active && !reason.is_empty() {
                lines.extend(dim(&format!("    {reason}"), width, 4));
            }
        }
        let known =
            |path: &Path| path.capacity_down_kbps.is_some() && path.capacity_up_kbps.is_some();
        if bars && !paths.iter().all(known) {
            lines.extend(dim(UNTESTED, width, 2));
        }
        lines
    }

    /// Many peers, one line each.
    fn peers(&self, peers: &[Peer], width: usize) -> Vec<Line> {
        let longest = |of: &dyn Fn(&Peer) -> usize| peers.iter().map(of).max().unwrap_or(0);
        let name = longest(&|peer| peer.name.chars().count()).max(4);
        let address = longest(&|peer| peer.endpoint.chars().count()).max(7) + 2;
        let name = name.min(width.saturating_sub(PEER_NUMBERS).max(4));
        let spare = width.saturating_sub(PEER_NUMBERS + name);
        let addresses = spare >= address;
        let volumes = spare >= VOLUMES + if addresses { address } else { 0 };
        let title = format!(
            "  {:name$}  {:10}  {:>5}  {:>6}  {:>7}  {:>7}{}{}",
            "Peer",
            "State",
            "Paths",
            "RTT ms",
            "Down",
            "Up",
            if volumes { "  Received      Sent" } else { "" },
            if addresses { "  Address" } else { "" },
        );
        let mut lines = vec![Line::of(Style::Dim, title)];
        for peer in peers {
            let active = peer.paths.iter().filter(|path| path.state == PathState::Active);
            let active: Vec<&Path> = active.collect();
            let rtt = active.iter().map(|p| p.rtt_ms).filter(|rtt| *rtt > 0.0).reduce(f64::min);
            let paths = format!("{}/{}", active.len(), peer.paths.len());
            let rtt = rtt.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1}"));
            let bond = &peer.bond;
            let mut line = Line::of(Style::Bold, format!("  {:name$}  ", clip(&peer.name, name)))
                .with(Style::of_peer(peer.state), format!("{:10}  ", peer.state))
                .with(Style::Plain, format!("{paths:>5}  {rtt:>6}  "))
                .with(Style::Plain, format!("{:>7}  ", mbit(bond.goodput_down_kbps)))
                .with(Style::Plain, format!("{:>7}", mbit(bond.goodput_up_kbps)));
            if volumes {
                let (received, sent) = (bytes(peer.rx_bytes), bytes(peer.tx_bytes));
                line = line.with(Style::Plain, format!("  {received:>8}  {sent:>8}"));
            }
            if addresses {
                line = line.with(Style::Dim, format!("  {}", peer.endpoint));
            }
            lines.push(line);
        }
        lines
    }

    /// The last changes, newest first, in so many lines with their title.
    fn changes(&self, max: usize, width: usize) -> Vec<Line> {
        let many = self.status.peers.len() > 1;
        let mut lines = Vec::new();
        for event in self.events.iter().rev().take(max.saturating_sub(1)) {
            let (what, style, state, why) = match &event.change {
                Change::Peer { peer, state } => {
                    (peer.clone(), Style::of_peer(*state), state.as_str(), "")
                }
                Change::Path { peer, wan, state, reason, .. } => {
                    let what = if many { format!("{peer} {wan}") } else { wan.clone() };
                    (what, Style::of_path(*state), state.as_str(), reason.as_str())
                }
            };
            let ago = span(self.now_s.saturating_sub(event.time_s));
            let why = if why.is_empty() { String::new() } else { format!(", {why}") };
            let when = format!("  {ago:>12} ago  ");
            let line = Line::of(Style::Dim, when.as_str())
                .with(Style::Plain, format!("{what} "))
                .with(style, state);
            let room = width.saturating_sub(line.width());
            if why.chars().count() <= room {
                lines.push(line.with(Style::Dim, why));
            } else {
                lines.push(line.with(Style::Dim, ","));
                let why = format!("{}{}", " ".repeat(when.len()), why.trim_start_matches(", "));
                lines.extend(dim(&why, width, when.len()));
            }
        }
        lines.truncate(max.saturating_sub(1));
        if !lines.is_empty() {
            lines.insert(0, Line::of(Style::Dim, "  Changes"));
        }
        lines
    }
}

/// A text of less importance, in as many lines as it takes.
fn dim(text: &str, width: usize, indent: usize) -> impl Iterator<Item = Line> {
    wrap(text, width, indent).into_iter().map(|line| Line::of(Style::Dim, line))
}

fn peer_lines(peer: &Peer, width: usize) -> Vec<Line> {
    let name = Line::of(Style::Bold, format!("{} ", peer.name));
    if has_never_come(peer) {
        return vec![name.with(Style::Dim, "has not connected yet")];
    }
    let line = name.with(Style::of_peer(peer.state), peer.state.as_str());
    let at = if peer.endpoint.is_empty() { "address unknown" } else { &peer.endpoint };
    let handshake = peer.last_handshake_s.map_or_else(
        || "no handshake yet".to_owned(),
        |seconds| format!("handshake {} ago", span(seconds)),
    );
    let (received, sent) = (bytes(peer.rx_bytes), bytes(peer.tx_bytes));
    let more = format!("{at}, {handshake}, received {received}, sent {sent}");
    if line.width() + 2 + more.chars().count() <= width {
        vec![line.with(Style::Dim, format!("  {more}"))]
    } else {
        let mut lines = vec![line];
        lines.extend(dim(&format!("  {more}"), width, 2));
        lines
    }
}

/// Rates as a curve of one line, its top the largest of them.
fn curve(rates: &[u64], ascii: bool) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];
    let steps = if ascii { ASCII } else { BLOCKS };
    // Below 0.1 Mbit/s there is nothing to see.
    let top = rates.iter().copied().max().unwrap_or(0).max(100);
    let step = |rate: &u64| steps[usize::try_from(rate * 7 / top).unwrap_or(0).min(7)];
    rates.iter().map(step).collect()
}

/// How much of a capacity is used; says so while that is not measured yet.
fn bar(rate: u64, capacity: Option<u64>, ascii: bool) -> String {
    let Some(capacity) = capacity.filter(|&kbps| kbps > 0) else {
        return format!("{:BAR$}", "untested");
    };
    let (used, free) = if ascii { ('#', '.') } else { ('█', '░') };
    let filled = usize::try_from(rate.saturating_mul(BAR as u64).div_ceil(capacity));
    let filled = filled.unwrap_or(BAR).min(BAR);
    (0..BAR).map(|at| if at < filled { used } else { free }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Bond, LastError, PeerState, Role, Series, ShownProblem, State};

    fn path(wan: &str, state: PathState, reason: &str) -> Path {
        Path {
            wan: wan.to_owned(),
            state,
            reason: reason.to_owned(),
            rtt_ms: 23.4,
            rate_down_kbps: 40_000,
            capacity_down_kbps: Some(50_000),
            ..Path::default()
        }
    }

    fn peer(name: &str) -> Peer {
        Peer {
            name: name.to_owned(),
            state: PeerState::Up,
            endpoint: "192.0.2.1:51830".to_owned(),
            last_handshake_s: Some(61),
            paths: vec![
                path("dsl", PathState::Active, "in use"),
                path("lte", PathState::Backup, "quota used up"),
            ],
            bond: Bond {
                goodput_down_kbps: 90_000,
                best_single_down_kbps: Some(50_000),
                ..Bond::default()
            },
            ..Peer::default()
        }
    }

    fn view(peers: usize) -> View {
        let names = (0..peers).map(|n| format!("site{n}"));
        let change = Change::Path {
            peer: "site0".to_owned(),
            wan: "dsl".to_owned(),
            device: String::new(),
            state: PathState::Active,
            reason: "because".to_owned(),
            reason_code: String::new(),
            reason_value: None,
        };
        let event = |id| Event { id, time_s: 1000 + id, change: change.clone() };
        let past = vec![0, 10_000, 50_000, 90_000];
        let total = Series { down_kbps: past.clone(), up_kbps: vec![0; 4], ..Series::default() };
        View {
            status: Status {
                version: "0.1.0".to_owned(),
                role: if peers > 1 { Role::Server } else { Role::Client },
                state: State::Up,
                device: "onebox0".to_owned(),
                addresses: vec!["10.99.0.2/24".to_owned()],
                mtu: 1420,
                peers: names.map(|name| peer(&name)).collect(),
                ..Status::default()
            },
            history: History { end_s: 1010, step_s: 1, series: vec![total] },
            events: (1..=50).map(event).collect(),
            now_s: 1100,
            trouble: None,
            ascii: false,
        }
    }

    fn text(view: &View, size: (usize, usize)) -> String {
        let shown: Vec<String> = view.lines(size).iter().map(|l| l.shown(size.0, false)).collect();
        shown.join("\n")
    }

    #[test]
    fn a_router_shows_everything_at_once() {
        let text = text(&view(1), (100, 16));
        let expected = "\
onebox Bonded over 1 of 2 links                                                        0.1.0, up 0 s
onebox0 10.99.0.2/24, MTU 1420

site0 up  192.0.2.1:51830, handshake 1 min 1 s ago, received 0 B, sent 0 B
  down    90.0 Mbit/s  ▁▁▄█   best link alone 50.0
  up       0.0 Mbit/s  ▁▁▁▁
  WAN  State     RTT ms   Loss     Down                Up           Why
  dsl  active      23.4   0.0%     40.0 ███████░      0.0 untested  in use
  lte  backup      23.4   0.0%     40.0 ███████░      0.0 untested  quota used up
  untested: not measured yet, nothing has filled the link so far

  Changes
          50 s ago  dsl active, because
          51 s ago  dsl active, because
          52 s ago  dsl active, because
q or Ctrl-C ends";
        let text: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(text.join("\n"), expected);
    }

    /// A router with everything that takes room.
    fn full() -> View {
        let mut view = view(1);
        view.status.addresses.push("fdab:3eed:56e2::2/64".to_owned());
        view.status.problems.push(ShownProblem {
            words: "there is no ubus, and that is told in a sentence that takes its room"
                .to_owned(),
            remedy: "see that ubusd runs".to_owned(),
            ..ShownProblem::default()
        });
        let peer = &mut view.status.peers[0];
        peer.endpoint = "[2001:db8:100::1]:51830".to_owned();
        let mut path = path("starlink_roof", PathState::Down, "no answer for 4 s");
        path.last_error = Some(LastError {
            code: "server_refuses".to_owned(),
            words: "2001:db8:100::1 refuses UDP 51830: is the program running there?".to_owned(),
            ..LastError::default()
        });
        path.quota_used_mb = 12_345;
        peer.last_error = path.last_error.clone();
        peer.paths.push(path);
        view
    }

    #[test]
    fn nothing_that_explains_is_cut_on_a_narrow_screen() {
        for width in [60, 72, 80, 100, 140] {
            let lines = full().lines((width, 50));
            let longest = lines.iter().map(Line::width).max().unwrap();
            assert!(longest <= width, "{longest} of {width}:\n{}", text(&full(), (width, 50)));
            let text = text(&full(), (width, 50));
            let words: Vec<&str> = text.split_whitespace().collect();
            let words = words.join(" ");
            for part in [
                "0.1.0, up 0 s",
                "fdab:3eed:56e2::2/64, MTU 1420",
                "a sentence that takes its room see that ubusd runs",
                "[2001:db8:100::1]:51830, handshake 1 min 1 s ago, received 0 B, sent 0 B",
                "best link alone 50.0",
                "lte backup",
                "quota used up",
                "12345",
                "2001:db8:100::1 refuses UDP 51830: is the program running there?",
                "50 s ago dsl active, because",
            ] {
                assert!(words.contains(part), "{width}, {part}:\n{text}");
            }
        }
    }

    #[test]
    fn a_server_with_many_routers_fits_a_narrow_screen() {
        for (width, address, volumes) in [(60, false, false), (80, true, false), (100, true, true)]
        {
            let view = view(5);
            let lines = view.lines((width, 30));
            let longest = lines.iter().map(Line::width).max().unwrap();
            let text = text(&view, (width, 30));
            assert!(longest <= width, "{longest} of {width}:\n{text}");
            assert_eq!(text.contains("192.0.2.1:51830"), address, "{text}");
            assert_eq!(text.contains("Received"), volumes, "{text}");
        }
    }

    #[test]
    fn who_never_came_is_told_so() {
        let mut view = view(1);
        view.status.peers[0] = Peer { name: "home".to_owned(), ..Peer::default() };
        let text = text(&view, (60, 20));
        assert!(text.contains("\nhome has not connected yet\n\n  Changes"), "{text}");
    }

    #[test]
    fn problems_are_below_the_state() {
        let mut view = view(1);
        view.status.problems.push(ShownProblem {
            words: "there is no ubus".to_owned(),
            remedy: "see that ubusd runs".to_owned(),
            ..ShownProblem::default()
        });
        let text = text(&view, (100, 24));
        assert!(
            text.contains("\nProblem: there is no ubus\n         see that ubusd runs\n"),
            "{text}"
        );
    }

    #[test]
    fn any_size_is_kept_to() {
        for peers in [0, 1, 2, 3, 4, 40] {
            let mut view = view(peers);
            view.status.problems.resize(peers, ShownProblem::default());
            for width in [0, 1, 10, 43, 44, 45, 80, 300] {
                for height in [1, 2, 3, 5, 10, 24, 100] {
                    let lines = view.lines((width, height));
                    assert!(lines.len() <= height, "{peers} {width} {height}");
                }
            }
        }
    }

    #[test]
    fn a_server_with_many_routers_has_a_line_for_each() {
        let text = text(&view(5), (120, 30));
        assert_eq!(text.lines().filter(|line| line.contains("192.0.2.1:51830")).count(), 5);
        assert!(
            text.contains("5 of 5 peers connected") && text.contains("  1/2    23.4  "),
            "{text}"
        );
        assert!(text.contains("site0 dsl active"), "{text}");
        // Those that have no room are counted.
        let text = self::text(&view(40), (120, 24));
        assert!(text.contains("more lines") && text.contains("Changes"), "{text}");
    }

    #[test]
    fn curves_and_bars() {
        assert_eq!(curve(&[0, 50, 100], false), "▁▄█");
        assert_eq!(curve(&[0, 1000, 500, 1_000_000], true), "___#");
        assert_eq!(curve(&[], false), "");
        assert_eq!(
            (bar(5, Some(10), true).as_str(), bar(99, Some(10), true).as_str()),
            ("####....", "########")
        );
        assert_eq!(bar(5, None, true), "untested");
        let trouble = View { trouble: Some("not running".to_owned()), ..View::default() };
        assert!(text(&trouble, (80, 24)).ends_with("not running"));
    }
}
