//! Start, stop, crash, reload: the tunnel comes back, and the system is left as it was.

use crate::lab::netns::Netns;
use crate::lab::onebox::{Pair, START, wan_section};
use crate::lab::programs::poll_until;
use crate::lab::topology::{INTERNET, Lab, Wan};
use crate::lab::traffic::{Echo, Flow, Sends};
use onebox::status::{PathState, State};
use std::time::Duration;

/// Resident memory that the router's process may have under full load.
const RSS_BYTES_MAX: u64 = 20 * 1024 * 1024;
const TICK: Duration = Duration::from_millis(10);
const RECOVERY: Duration = Duration::from_secs(2);

/// After a restart of the server or of the router, under load, datagrams pass again within 2 s.
/// A TCP flow lives through a restart of the router. Through one of the server it need not: the
/// server masquerades, and takes that down when it stops, as it takes down everything.
#[test]
fn restarts_are_survived() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let lan = &lab.site().lan;
    let mut pair = Pair::up(&lab);
    let echo = Echo::start(lan, &lab.internet, INTERNET, TICK, "restart");
    for server in [false, true, false, true] {
        let flow = Flow::start(lan, &lab.internet, INTERNET, Sends::Down, None);
        flow.wait_for(1_000_000, Duration::from_secs(10));
        let instance = if server { &mut pair.server } else { &mut pair.router };
        instance.stop();
        instance.start();
        let took = echo.wait_for(5, RECOVERY);
        println!("restart of the server {server}: datagrams pass {took:?} after the start");
        if !server {
            flow.wait_for(1_000_000, Duration::from_secs(10));
            assert_eq!(flow.failure(), None);
        }
    }
}

/// What the system looks like: rules, routes, tables, devices, forwarding.
fn system(namespace: &Netns) -> Vec<(String, Vec<String>)> {
    let commands = [
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip -o addr",
        "ip -o link",
        "nft list ruleset",
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf.all.rp_filter",
    ];
    let sorted = |command: &&str| {
        let mut lines: Vec<String> = namespace.output(command).lines().map(Into::into).collect();
        lines.sort();
        (command.to_string(), lines)
    };
    commands.iter().map(sorted).collect()
}

/// After SIGKILL, the next start and stop leave nothing of ours behind on either side.
#[test]
fn a_crash_leaves_nothing_behind() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let (router, server) = (&lab.site().router, &lab.server);
    let before = (system(router), system(server));
    let mut pair = Pair::up(&lab);
    assert_ne!(system(router), before.0, "the tunnel is not to be seen");
    for instance in [&mut pair.router, &mut pair.server] {
        instance.kill();
        instance.start();
    }
    pair.router.wait_up(2, START);
    pair.router.stop();
    pair.server.stop();
    for (namespace, before) in [(router, before.0), (server, before.1)] {
        for (now, before) in system(namespace).into_iter().zip(before) {
            assert_eq!(now, before, "in {}", namespace.name());
        }
    }
}

/// The list of WANs changes without a break in a TCP flow; a bad file is refused with what is
/// wrong in it, and everything goes on.
#[test]
fn reload_keeps_what_runs() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let both = ["wan1", "wan2"].map(wan_section).concat();
    let pair = Pair::with_wans(&lab, &both, 2);
    let flow = Flow::start(&lab.site().lan, &lab.internet, INTERNET, Sends::Down, None);
    flow.wait_for(2_000_000, Duration::from_secs(10));
    let from_ms = flow.age_ms();

    pair.router.write_config(&pair.router_config(&wan_section("wan1")));
    let answer = pair.router.command(&["reload"]);
    assert!(answer.status.success(), "{answer:?}");
    poll_until(Duration::from_secs(3), "wan2 is out of use", || {
        pair.router.path("wan2").is_none_or(|path| path.state == PathState::Down).then_some(())
    });
    flow.wait_for(1_000_000, Duration::from_secs(3));

    let bad = pair.router_config(&both).replace("fd99::2/64", "not-an-address");
    pair.router.write_config(&bad);
    let answer = pair.router.command(&["reload"]);
    let text = [answer.stdout, answer.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!answer.status.success() && text.contains("not-an-address"), "{text}");
    flow.wait_for(1_000_000, Duration::from_secs(3));
    assert_eq!(pair.router.status().state, State::Up);

    pair.router.write_config(&pair.router_config(&both));
    assert!(pair.router.command(&["reload"]).status.success());
    pair.router.wait_path("wan2", &["active"], Duration::from_secs(5));
    flow.wait_for(1_000_000, Duration::from_secs(3));
    let stall_ms = flow.longest_stall_ms(from_ms, flow.age_ms());
    assert!(stall_ms < 1000, "{stall_ms} ms without data");
    assert_eq!(flow.failure(), None);
}

/// SIGHUP does what `reload` does.
#[test]
fn sighup_reloads() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let pair = Pair::with_wans(&lab, &wan_section("wan1"), 1);
    assert!(pair.router.path("wan2").is_none());
    let both = ["wan1", "wan2"].map(wan_section).concat();
    pair.router.write_config(&pair.router_config(&both));
    pair.router.program().signal(nix::sys::signal::Signal::SIGHUP);
    pair.router.wait_path("wan2", &["active"], Duration::from_secs(5));
}

/// Two full links of 100 Mbit/s both ways at once need less than 20 MB in the router.
#[test]
fn memory_stays_small() {
    let lab = Lab::new(&[Wan::mbit_ms(100, 20), Wan::mbit_ms(100, 20)]);
    let pair = Pair::up(&lab);
    let lan = &lab.site().lan;
    let flows = [Sends::Up, Sends::Down]
        .map(|sends| Flow::start(lan, &lab.internet, INTERNET, sends, None));
    let mut largest = 0;
    for _ in 0..12 {
        flows[0].measure(Duration::from_millis(500));
        largest = largest.max(pair.router.program().rss_bytes());
    }
    let mbit = flows.iter().map(|flow| flow.mbit_between(3000, 6000)).sum::<f64>();
    println!("{} kB at {mbit:.0} Mbit/s up and down", largest / 1024);
    assert!(mbit > 50.0, "{mbit} Mbit/s is no load");
    assert!(largest < RSS_BYTES_MAX, "{} kB resident", largest / 1024);
}
