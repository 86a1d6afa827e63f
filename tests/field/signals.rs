//! SIGTERM, SIGINT, SIGHUP and `stop` at every moment of the start and of a reload: it ends in
//! order, with everything undone, or goes on.

use crate::lab::clock;
use crate::lab::meddling::system;
use crate::lab::onebox::{Instance, wan_section};
use crate::lab::programs::poll_until;
use crate::lab::resolver::{Habit, Resolver, pair};
use crate::lab::topology::{Lab, Wan};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Moments after the start, milliseconds: from `execve` to the time in which names are looked up.
const MOMENTS_MS: [u64; 12] = [0, 5, 10, 15, 20, 30, 50, 80, 150, 300, 700, 2000];
/// With everything closed: what stays then bars the router from the internet.
const CLOSED: &str = "\toption kill_switch '1'\n";
/// A WAN that waits for netifd, which is not there.
const OF_NETIFD: &str = "config wan 'wan1'\n\toption interface 'wan1'\n";

/// Waits for its end, which has to be in order and has to leave nothing.
fn assert_ended(router: &mut Instance<'_>, before: &[String], what: &str) {
    let status = router.wait(Duration::from_secs(6));
    // Before its first instruction nobody handles anything: each start that gets further ends well.
    let log = router.log();
    let (starts, ends) = (log.matches("is running").count(), log.matches("stopping").count());
    assert!(status.success() || starts == ends, "{what}: {status}: {}", router.log());
    for (now, before) in system(router.namespace).iter().zip(before) {
        assert_eq!(now, before, "{what}: {}", router.log());
    }
    assert!(!router.control().exists(), "{what}: the control socket is there");
}

#[test]
fn the_end_during_the_start_leaves_nothing() {
    for (wans, name) in [("", "names"), (OF_NETIFD, "netifd")] {
        let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
        let resolver = Resolver::start(&lab, Habit::Silent);
        let (_server, mut router) = pair(&lab, &resolver, CLOSED, wans);
        let before = system(router.namespace);
        for (index, moment) in MOMENTS_MS.into_iter().enumerate() {
            let signal = [Signal::SIGTERM, Signal::SIGINT][index % 2];
            router.launch();
            clock::pass(Duration::from_millis(moment));
            router.program().signal(signal);
            assert_ended(&mut router, &before, &format!("{name}: {signal} after {moment} ms"));
        }
    }
}

/// What a crash has left is taken along.
#[test]
fn the_end_during_a_start_after_a_crash_leaves_nothing() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
    let resolver = Resolver::start(&lab, Habit::Silent);
    let (_server, mut router) = pair(&lab, &resolver, CLOSED, OF_NETIFD);
    let before = system(router.namespace);
    for moment in [100, 1500] {
        router.start();
        router.kill();
        assert_ne!(system(router.namespace)[0], before[0]);
        router.launch();
        poll_until(Duration::from_secs(5), "it has begun", || {
            router.control().exists().then_some(())
        });
        clock::pass(Duration::from_millis(moment));
        router.program().signal(Signal::SIGTERM);
        assert_ended(&mut router, &before, &format!("{moment} ms after a crash"));
    }
}

#[test]
fn stop_during_the_start_leaves_nothing() {
    for wans in ["", OF_NETIFD] {
        let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
        let resolver = Resolver::start(&lab, Habit::Silent);
        let (_server, mut router) = pair(&lab, &resolver, CLOSED, wans);
        let before = system(router.namespace);
        router.launch();
        poll_until(Duration::from_secs(5), "it has begun", || {
            router.control().exists().then_some(())
        });
        let start = clock::now();
        let answer = router.command(&["stop"]);
        assert!(answer.status.success(), "{answer:?}: {}", router.log());
        println!("stopped after {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_ended(&mut router, &before, "stop");
    }
}

#[test]
fn a_reload_during_the_start_ends_nothing() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
    let resolver = Resolver::start(&lab, Habit::Silent);
    let (_server, mut router) = pair(&lab, &resolver, CLOSED, OF_NETIFD);
    let before = system(router.namespace);
    for moment in [0, 20, 200, 1500] {
        router.launch();
        poll_until(Duration::from_secs(5), "it has begun", || {
            router.control().exists().then_some(())
        });
        clock::pass(Duration::from_millis(moment));
        router.program().signal(Signal::SIGHUP);
        poll_until(Duration::from_secs(5), "it runs", || router.try_status());
        router.program().signal(Signal::SIGTERM);
        assert_ended(&mut router, &before, &format!("SIGHUP {moment} ms after the socket"));
    }
}

#[test]
fn the_end_during_a_reload_leaves_nothing() {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
    let resolver = Resolver::start(&lab, Habit::Silent);
    let (_server, mut router) = pair(&lab, &resolver, CLOSED, "");
    let before = system(router.namespace);
    let config = std::fs::read_to_string(router.config_file()).unwrap();
    // One that is taken over as it runs, and one for which the tunnel is made anew.
    let changes = [wan_section("wan1"), "config onebox 'main'\n\toption device 'onebox7'\n".into()];
    for change in changes {
        for moment in [0, 10, 100] {
            std::fs::write(router.config_file(), &config).unwrap();
            router.start();
            std::fs::write(router.config_file(), config.clone() + &change).unwrap();
            router.program().signal(Signal::SIGHUP);
            clock::pass(Duration::from_millis(moment));
            router.program().signal(Signal::SIGTERM);
            assert_ended(&mut router, &before, &format!("{change}: {moment} ms after SIGHUP"));
        }
    }
}
