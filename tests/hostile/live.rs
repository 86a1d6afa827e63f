//! The program with a peer that sends as fast as it can, and another one that has done nothing.
//!
//! The server has one core to itself and the other peer's router; who sends has all others.

use crate::lab::clock;
use crate::lab::netns::Netns;
use crate::lab::onebox::{
    Instance, Keys, PORT, START, peer_of, preshared_key, router_config, server_config,
};
use crate::lab::programs::{Ping, ping};
use crate::lab::topology::{INTERNET, ISP, Lab, SERVER, Wan};
use crate::villain::{Knock, Villain, frames, packet};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use onebox::crypto::keys::PresharedKey;
use onebox::wire::PathId;
use onebox::wire::frame::Frame;
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Pings of the other peer, and the distance between them, milliseconds.
const PINGS: usize = 300;
const PING_MS: usize = 10;
/// What the server may grow by: the bound of a peer's packets and tables, bytes.
const GROWS_MAX: u64 = 24 << 20;
/// By how much the pings may be slower than before, 99 of 100 of them, milliseconds; and beside as many full
/// datagrams as can be sent, more than a gigabit a second, which cost what they cost.
const SLOWER_MS: f64 = 5.0;
const SLOWER_FULL_MS: f64 = 100.0;
/// The name of those.
const FULL: &str = "full datagrams";
/// Lines of log of one attack.
const LINES_MAX: usize = 40;

/// All threads of a process on one core.
fn pin(pid: u32, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let thread: i32 = thread.file_name().to_str().unwrap().parse().unwrap();
        sched_setaffinity(Pid::from_raw(thread), &cores).unwrap();
    }
}

/// A session with the server, from the provider's address.
fn enter(from: &Netns, keys: &Keys, server: &Keys, psk: &str, number: u64) -> (UdpSocket, Villain) {
    let socket = from.run(|| UdpSocket::bind((ISP, 4444)).unwrap());
    socket.connect((SERVER, PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let psk: PresharedKey = psk.parse().unwrap();
    let (private, public) = (keys.private.parse().unwrap(), server.public.parse().unwrap());
    let knock = Knock::new(&private, &public, &psk, number);
    socket.send(&knock.init).unwrap();
    let mut response = [0; 2048];
    let len = loop {
        // What was meant for the session before may come first.
        match socket.recv(&mut response).unwrap() {
            len if response[0] == 2 => break len,
            _ => {}
        }
    };
    socket.set_nonblocking(true).unwrap();
    (socket, knock.finish(&response[..len]).unwrap())
}

fn pings(lab: &Lab) -> Ping {
    ping(&lab.site().lan, INTERNET, PINGS, PING_MS as u64, &[])
}

#[test]
fn a_flood_of_one_peer_costs_another_nothing() {
    let lab = Lab::new(&[Wan::mbit_ms(100, 5)]);
    let (server_keys, router_keys, villain_keys) = (Keys::new(), Keys::new(), Keys::new());
    let psk = preshared_key();
    let home = peer_of(lab.site(), "home", &router_keys, None, 2);
    let mut bad = peer_of(lab.site(), "bad", &villain_keys, Some(&psk), 3);
    bad.lan_number = 77;
    let server = Instance::started(&lab.server, &server_config(&server_keys, &[home, bad]));
    let router_text = router_config(&router_keys, &server_keys.public, None, 2, "");
    let router = Instance::started(&lab.site().router, &router_text);
    router.wait_up(1, START);
    pin(server.program().pid(), 0);
    let quiet = pings(&lab);
    let before = server.program().rss_bytes();

    type Attack = (&'static str, fn(u64) -> Vec<u8>);
    let attacks: [Attack; 4] = [
        ("far ahead in all flows", |n| {
            let mut flow = (n as u16).wrapping_mul(64);
            frames(|w| {
                flow = flow.wrapping_add(1);
                packet(w, flow, 32_000 - (n as u32 % 60_000) % 30_000, true)
            })
        }),
        ("long skips", |n| {
            let mut flow = (n as u16).wrapping_mul(64);
            frames(|w| {
                flow = flow.wrapping_add(1);
                let first = (n as u32 / 16).wrapping_mul(1024) & 0xff_ffff;
                Frame::Skip { flow, first, count: u16::MAX }.write(w)
            })
        }),
        ("uses of a path", |n| {
            let mut mode = n as u8;
            frames(|w| {
                mode = mode.wrapping_add(1) % 4;
                Frame::PathStatus { path: PathId(0), mode, metered: false, rate_max_kbps: 0 }
                    .write(w)
            })
        }),
        (FULL, |n| {
            let inner = [0x45; 1380];
            let frame =
                Frame::Packet { flow: 7, sequence: n as u32, ordered: true, packet: &inner };
            frames(|w| frame.write(w))
        }),
    ];
    // A machine with other work may delay pings by itself: each attack has three tries.
    let mut left = attacks.iter().flat_map(|attack| [attack; 3]).collect::<VecDeque<_>>();
    let mut wrong = Vec::new();
    let mut number = 0;
    while let Some(&(what, attack)) = left.pop_front() {
        number += 1;
        let (socket, mut villain) = enter(&lab.isp, &villain_keys, &server_keys, &psk, number);
        let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let lines = server.log().lines().count();
        let (during, spent_s) = std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    // What the server sends is of no interest, and a full queue neither.
                    let _ = socket.send(&villain.datagram(0, &attack(n)));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
            clock::pass(Duration::from_millis(300));
            let during = pings(&lab);
            done.store(true, Ordering::Relaxed);
            (during, (PINGS * PING_MS) as f64 / 1000.0 + 0.3)
        });
        let rss = server.program().rss_bytes();
        let lost = PINGS - during.rtts_ms.len();
        let (now, then) = (during.quantile_ms(0.99), quiet.quantile_ms(0.99));
        let lines = server.log().lines().count() - lines;
        println!(
            "{what}: {:.0} datagrams a second; {lost} of {PINGS} pings lost, median {:.1}, p99 {now:.1} ms (before \
             {then:.1}), {:.1} MB resident (before {:.1}), {lines} lines of log",
            sent.load(Ordering::Relaxed) as f64 / spent_s,
            during.median_ms(),
            rss as f64 / 1e6,
            before as f64 / 1e6
        );
        assert!(rss <= before + GROWS_MAX && lines <= LINES_MAX, "{what}");
        let last = left.front().is_none_or(|next| next.0 != what);
        let slower = if what == FULL { SLOWER_FULL_MS } else { SLOWER_MS };
        if lost == 0 && now <= then + slower {
            left.retain(|other| other.0 != what);
        } else if last {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
