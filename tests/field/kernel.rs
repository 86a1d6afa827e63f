//! Others change what is ours in the kernel: it is put back, and told.

use crate::lab::clock;
use crate::lab::meddling::{MEDDLING, Meddling, answer, say};
use crate::lab::netns::Netns;
use crate::lab::onebox::{Instance, Keys, Pair, START, peer_of, router_config, server_config};
use crate::lab::programs::{ping, poll_until};
use crate::lab::topology::{INTERNET, INTERNET6, Lab, Wan};
use std::time::Duration;

/// How long a disturbance may last on a machine that is busy; idle, it is a fraction of a second.
const BACK: Duration = Duration::from_secs(5);

/// Disturbs one end in every way; how long each takes to be as before and to carry again.
fn disturb(lab: &Lab, end: &Netns, carries: &dyn Fn() -> bool) {
    for Meddling { name, commands, question, .. } in &MEDDLING {
        let before = answer(end, question);
        // On a server without routes into a table of its own, that is no disturbance.
        if before.is_empty() {
            continue;
        }
        poll_until(BACK, "it carries", || carries().then_some(()));
        for command in commands.lines() {
            say(end, command);
        }
        let since = clock::now();
        poll_until(BACK, &format!("{name}: as before ({before:#?})"), || {
            (answer(end, question) == before).then_some(())
        });
        let restored = since.elapsed();
        poll_until(BACK, &format!("{name}: it carries again"), || carries().then_some(()));
        println!("{name}: back after {restored:?}, carries after {:?}", since.elapsed());
    }
    for address in [INTERNET, INTERNET6] {
        poll_until(BACK, &format!("five of five pings to {address}"), || {
            (ping(&lab.site().lan, address, 5, 50, &[]).rtts_ms.len() == 5).then_some(())
        });
    }
}

fn lab() -> Lab {
    Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)])
}

/// Whether one ping gets through the tunnel and back.
fn carries(lab: &Lab) -> bool {
    let lan = &lab.site().lan;
    [INTERNET, INTERNET6].iter().all(|to| !ping(lan, to, 1, 50, &[]).rtts_ms.is_empty())
}

#[test]
fn what_is_taken_from_a_router_is_put_back() {
    let lab = lab();
    let pair = Pair::up(&lab);
    disturb(&lab, &lab.site().router, &|| carries(&lab));
    assert!(pair.router.log().contains("removed by somebody else"), "{}", pair.router.log());
}

#[test]
fn what_is_taken_from_a_server_is_put_back() {
    let lab = lab();
    let pair = Pair::up(&lab);
    disturb(&lab, &lab.server, &|| carries(&lab));
    assert!(pair.server.log().contains("somebody has changed the nftables table"));
}

/// With the kill switch, nothing of the LAN reaches the provider meanwhile but for the moment that the
/// kernel takes to tell us.
#[test]
fn what_is_taken_from_a_router_with_the_kill_switch_is_put_back() {
    let lab = lab();
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let _server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
    let config = router_config(&router_keys, &server_keys.public, None, 2, "").replacen(
        "\toption enabled '1'\n",
        "\toption enabled '1'\n\toption kill_switch '1'\n",
        1,
    );
    let router = Instance::started(&lab.site().router, &config);
    router.wait_up(2, START);
    disturb(&lab, &lab.site().router, &|| carries(&lab));
}

/// IPv6 is switched off: the tunnel works with IPv4, and says what is missing.
#[test]
fn without_ipv6_the_rest_works_on_either_side() {
    for server_side in [false, true] {
        let lab = lab();
        let off = if server_side { &lab.server } else { &lab.site().router };
        off.sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")]);
        let pair = Pair::up(&lab);
        let end = if server_side { &pair.server } else { &pair.router };
        let told = poll_until(BACK, "it is told", || {
            let problems = end.status().problems;
            problems.into_iter().find(|problem| problem.code == "routes_refused")
        });
        assert!(told.words.contains("fd99::"), "{told:?}");
        assert!(!told.remedy.is_empty());
        assert_eq!(ping(&lab.site().lan, INTERNET, 5, 50, &[]).rtts_ms.len(), 5);
        // It comes back, and so does the rest, without a word to the program.
        off.sysctl(&[("ipv6/conf/onebox0/disable_ipv6", "0")]);
        poll_until(Duration::from_secs(40), "the address is there", || {
            say(off, "ip -6 addr show dev onebox0 scope global").contains("fd99::").then_some(())
        });
        poll_until(BACK, "the problem is over", || {
            let problems = end.status().problems;
            problems.iter().all(|problem| problem.code != "routes_refused").then_some(())
        });
    }
}
