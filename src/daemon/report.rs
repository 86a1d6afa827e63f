//! The status snapshot, put together from what the data plane and netlink know.

use super::speed;
use super::wans::Wans;
use crate::dataplane::{PathFault, Report};
use crate::endpoint::{self, PeerSnapshot, PeerState, Udp, Via};
use crate::engine;
use crate::status::history::Rates;
use crate::status::refusal::{breach, refusal};
use crate::status::{self, Bond, LastError, Path, PathError, Peer, Reason};
use crate::time::SEC;
use crate::wire::PathId;
use onebox_linux::udp::Fault;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn percent(ppm: u64) -> f64 {
    ppm as f64 / 10_000.0
}

fn kbps(bytes_per_second: u64) -> u64 {
    bytes_per_second / 125
}

/// A peer as the status shows it. `wans` are the router's; a server shows its paths by number.
pub fn peer(name: &str, snapshot: &PeerSnapshot, report: &Report, wans: Option<&Wans>) -> Peer {
    let engine = &snapshot.engine;
    let sent = |own: u64, other: u64| if wans.is_some() { own } else { other };
    let paths: Vec<Path> = engine.paths.iter().map(|p| path(p, snapshot, report, wans)).collect();
    let via = snapshot.paths.iter().find_map(|p| p.via);
    let via = via.or_else(|| snapshot.paths.iter().find_map(|p| p.tried));
    Peer {
        name: name.to_owned(),
        state: peer_state(snapshot),
        endpoint: via.map(|via| via.remote().to_string()).unwrap_or_default(),
        last_handshake_s: snapshot.handshake.map(|t| report.now.since(t) / SEC),
        rx_bytes: snapshot.rx_bytes,
        tx_bytes: snapshot.tx_bytes,
        bond: Bond {
            goodput_up_kbps: kbps(sent(engine.tx_rate, engine.rx_rate)),
            goodput_down_kbps: kbps(sent(engine.rx_rate, engine.tx_rate)),
            best_single_up_kbps: best_single(&paths, |path| path.capacity_up_kbps),
            best_single_down_kbps: best_single(&paths, |path| path.capacity_down_kbps),
            hold_ms: ms(engine.hold_us),
            retransmitted: engine.retransmitted,
            duplicated: engine.duplicated,
            released_late: engine.released_late,
            tested: None,
        },
        paths,
        last_error: refused(snapshot, report),
        speed_test: wans.and_then(|wans| Some(speed_test(engine.speed_test.as_ref()?, wans))),
    }
}

/// A speed test, with the names of the WANs.
fn speed_test(test: &engine::SpeedTestSnapshot, wans: &Wans) -> status::SpeedTest {
    let names = |paths: u16| {
        let ids = (0..u16::BITS as u8).filter(move |bit| paths & 1 << bit != 0);
        ids.map(|bit| wans.names(PathId(bit)).0).collect()
    };
    let step = |(n, &(paths, way)): (usize, &(u16, engine::Way))| {
        let rate = test.results.get(n).map(|result| result.rate);
        let refusal = rate.and_then(Result::err);
        status::SpeedStep {
            wans: names(paths),
            way: if way == engine::Way::Up { "up" } else { "down" }.to_owned(),
            kbps: rate.and_then(Result::ok).map(kbps),
            error: refusal.map(speed::words),
            error_code: refusal.map(|refusal| speed::code(refusal).to_owned()),
        }
    };
    status::SpeedTest {
        id: test.id,
        running: test.results.len() < test.steps.len(),
        percent: test.percent,
        steps: test.steps.iter().enumerate().map(step).collect(),
    }
}

/// For how long it is shown that a connection was ended for false acknowledgements: the next one comes
/// within seconds, microseconds.
const BREACH_SHOWN_US: u64 = 600 * SEC;

/// Why the peer's handshakes are refused, while it is not connected, or its connection was ended.
fn refused(snapshot: &PeerSnapshot, report: &Report) -> Option<LastError> {
    let since = |at| report.now.since(at);
    if let Some((at, why)) = snapshot.refused.filter(|_| snapshot.state != PeerState::Up) {
        return Some(refusal(why, since(at) / SEC));
    }
    let (at, whose) = snapshot.breach.filter(|&(at, _)| since(at) < BREACH_SHOWN_US)?;
    Some(breach(whose, since(at) / SEC))
}

/// A capacity as it is shown: what is carried now is not above it.
fn capacity(known: Option<u64>, rate: u64) -> Option<u64> {
    known.map(|known| kbps(known.max(rate)))
}

/// The capacity of the best path; `None` if that of a path in use is not known, which may be the best.
pub(super) fn best_single(paths: &[Path], of: fn(&Path) -> Option<u64>) -> Option<u64> {
    let used = |path: &&Path| path.state == status::PathState::Active;
    let known = paths.iter().filter(used).all(|path| of(path).is_some());
    if known { paths.iter().filter_map(of).max() } else { None }
}

/// The addresses of the peers that are there, by which their paths lead to them.
pub fn in_use(report: &Report) -> Vec<IpAddr> {
    let peers = report.endpoint.peers.iter().filter(|peer| peer.state == PeerState::Up);
    peers.flat_map(|peer| &peer.paths).filter_map(|path| Some(path.via?.remote().ip())).collect()
}

/// What all peers carry together; `router`: this is the end that is up from.
pub fn total(report: &Report, router: bool) -> Rates {
    let endpoint::Total { tx_rate, rx_rate, rtt_us } = report.total;
    let (up, down) = if router { (tx_rate, rx_rate) } else { (rx_rate, tx_rate) };
    Rates { up_kbps: kbps(up), down_kbps: kbps(down), rtt_ms: ms(rtt_us) }
}

/// A router that has never been there is not down, it has yet to come.
fn peer_state(snapshot: &PeerSnapshot) -> status::PeerState {
    match (snapshot.state, snapshot.handshake) {
        (PeerState::Down, None) => status::PeerState::Connecting,
        (state, _) => state.into(),
    }
}

fn path(
    p: &engine::PathSnapshot,
    peer: &PeerSnapshot,
    report: &Report,
    wans: Option<&Wans>,
) -> Path {
    let entry = wans.and_then(|w| w.of(p.id));
    let via = peer.paths.iter().find(|o| o.id == p.id).and_then(|o| o.via.or(o.tried));
    let pair = |own: u64, other: u64| if wans.is_some() { (own, other) } else { (other, own) };
    let (loss_up, loss_down) = pair(p.tx_loss_ppm, p.rx_loss_ppm);
    let (rate_up, rate_down) = pair(p.tx_rate, p.rx_rate);
    let (capacity_up, capacity_down) = if wans.is_some() {
        (p.tx_capacity, p.rx_capacity)
    } else {
        (p.rx_capacity, p.tx_capacity)
    };
    let wan = entry.and_then(|e| e.wan.as_ref());
    let device = wan.map(|w| w.device.clone());
    let v4 = via.is_none_or(|via| via.remote().is_ipv4());
    let source = wan.and_then(|w| if v4 { w.v4 } else { w.v6 });
    let gateway = source.and_then(|source| source.gateway).map(|gateway| gateway.to_string());
    let mut path = Path {
        wan: entry.map_or_else(|| format!("path{}", p.id.0), |e| e.name.clone()),
        device: device.unwrap_or_default(),
        gateway: gateway.unwrap_or_default(),
        local: local(p.id, via, report),
        remote: via.map(|via| via.remote().to_string()).unwrap_or_default(),
        state: p.state.into(),
        rtt_ms: ms(p.rtt_us),
        rtt_min_ms: ms(p.rtt_min_us),
        jitter_ms: ms(p.jitter_us),
        loss_up_percent: percent(loss_up),
        loss_down_percent: percent(loss_down),
        rate_up_kbps: kbps(rate_up),
        rate_down_kbps: kbps(rate_down),
        capacity_up_kbps: capacity(capacity_up, rate_up),
        capacity_down_kbps: capacity(capacity_down, rate_down),
        mtu: u32::from(p.mtu),
        rx_bytes: p.rx_bytes,
        tx_bytes: p.tx_bytes,
        last_error: last_error(p, peer, report, wans.is_some()),
        ..Path::default()
    };
    // What was said of a path before it went down need not be so when it is back.
    let works = !matches!(p.state, engine::PathState::Probing | engine::PathState::Down);
    if let (Some(seen), true) = (p.observed, works && wans.is_some()) {
        path.set_public(own(via), seen.ip());
    }
    path.set_reason(Reason::Engine(p.reason));
    path
}

/// After how long without an answer the silence is told, microseconds: three attempts at least, each
/// with time for a satellite's round trip.
const SILENT_AFTER_US: u64 = 5 * SEC;

/// What went wrong last on a path that does not work though its link does. On a server, silence is
/// nothing wrong: a router may be switched off.
fn last_error(
    p: &engine::PathSnapshot,
    peer: &PeerSnapshot,
    report: &Report,
    router: bool,
) -> Option<LastError> {
    use engine::{PathState as State, Reason as Why};
    let told =
        matches!(p.reason, Why::LinkDown | Why::NoAddress | Why::NoDefaultRoute | Why::SwitchedOff);
    if told || matches!(p.state, State::Active | State::Backup | State::Held) {
        return None;
    }
    let Some(PathFault { fault, remote, from, at }) = report.faults.get(&(peer.id, p.id.0)) else {
        let slot = peer.paths.iter().find(|slot| slot.id == p.id)?;
        let waited = report.now.since(slot.quiet_since);
        let kind = match peer.state {
            PeerState::Up => PathError::SilentHere,
            PeerState::Connecting | PeerState::Down => PathError::Silent,
        };
        return (router && waited >= SILENT_AFTER_US)
            .then(|| slot.via.or(slot.tried))?
            .map(|via| kind.shown(via.remote(), None, waited / SEC));
    };
    let kind = match fault {
        Fault::Refused => PathError::Refused,
        Fault::Unreachable => PathError::Unreachable,
        Fault::Denied => PathError::Denied,
        _ => PathError::Failing,
    };
    Some(kind.shown(*remote, *from, report.now.since(*at) / SEC))
}

/// The address that a path is sent from.
fn own(via: Option<Via>) -> Option<IpAddr> {
    via.and_then(|Via::Udp(Udp { local, .. })| local)
}

/// The address and port that a path is sent from: of the WAN on a router, the address that was
/// asked on a server.
fn local(id: PathId, via: Option<Via>, report: &Report) -> String {
    let Some(local) = own(via) else { return String::new() };
    let ports = report.ports.get(&id.0).into_iter().flatten();
    match ports.into_iter().find(|(source, _)| *source == local) {
        Some((_, port)) => SocketAddr::new(local, *port).to_string(),
        None => local.to_string(),
    }
}

/// What was dropped, by the code of its reason. The reason in words is the same with spaces.
pub fn drops(report: &Report) -> BTreeMap<String, u64> {
    let mut drops: BTreeMap<String, u64> =
        report.endpoint.drops.iter().map(|(d, n)| (d.code().to_owned(), n)).collect();
    let mut add = |name: &str, n: u64| *drops.entry(name.to_owned()).or_default() += n;
    add("tun_packet_too_long", report.tun.too_long);
    add("tun_packet_malformed", report.tun.malformed);
    add("tun_packet_refused", report.tun.refused);
    for peer in &report.endpoint.peers {
        add("queue_management", peer.engine.dropped_aqm);
        add("queue_full", peer.engine.dropped_full);
        add("packet_too_long", peer.engine.too_long);
    }
    drops
}
