//! Policies of routing beside the tunnel: mwan3's and pbr's, made as those programs make them, with ip
//! rules by the packets' marks. Where ours come first, theirs are without effect, which is told; where
//! ours come last, what they choose leaves as they say, all else by the tunnel.

use crate::lab::netns::Netns;
use crate::lab::onebox::{Instance, Keys, START, peer_of, router_config, server_config};
use crate::lab::programs::{TempDir, ping, poll_until, run};
use crate::lab::topology::{INTERNET, Lab, Wan};
use std::net::UdpSocket;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
/// Rules are compared every 30 s.
const COMPARED: Duration = Duration::from_secs(45);

/// As mwan3 2.11 with two interfaces: UDP port 443 by wan1, all else as there is no policy for it. Of
/// wan2 it believes that it is offline, so that what the router itself sends from there has to leave
/// by wan1, too.
const MWAN3: &str = "
table inet mwan3 {
    chain choose {
        ct mark and 0x3f00 == 0x100 meta mark set mark or 0x100
        ct mark and 0x3f00 == 0x3f00 meta mark set mark or 0x3f00
        meta mark and 0x3f00 == 0 iifname wan1 meta mark set mark or 0x100
        meta mark and 0x3f00 == 0 ip daddr { 10.0.0.0/8, 192.168.0.0/16 } meta mark set mark or 0x3f00
        meta mark and 0x3f00 == 0 ip saddr { 10.1.0.2, 10.2.0.2 } meta mark set mark or 0x100
        meta mark and 0x3f00 == 0 udp dport 443 meta mark set mark or 0x100
        meta mark and 0x3f00 == 0 meta mark set mark or 0x3f00
        meta mark and 0x3f00 == 0x100 ct mark set ct mark or 0x100
        meta mark and 0x3f00 == 0x3f00 ct mark set ct mark or 0x3f00
    }
    chain pre { type filter hook prerouting priority mangle; jump choose; }
    chain out { type route hook output priority mangle; jump choose; }
}";
const MWAN3_RULES: &str = "rule add pref 1001 iif wan1 lookup 1
    rule add pref 2001 fwmark 0x100/0x3f00 lookup 1
    rule add pref 2061 fwmark 0x3d00/0x3f00 blackhole
    rule add pref 2062 fwmark 0x3e00/0x3f00 unreachable
    rule add pref 3001 fwmark 0x100/0x3f00 unreachable";

/// As pbr 1.1: UDP port 443 of the LAN by wan1.
const PBR: &str = "
table inet pbr {
    chain pre {
        type filter hook prerouting priority mangle;
        iifname lan0 udp dport 443 meta mark set mark and 0xff00ffff or 0x10000
    }
}";
const PBR_RULES: &str = "rule add pref 29998 fwmark 0x10000/0xff0000 lookup 1";

/// What leaves by where.
const COUNTERS: &str = "
table inet counting {
    chain post {
        type filter hook postrouting priority 300;
        udp dport 443 oifname wan1 counter
        udp dport 443 oifname onebox0 counter
    }
}";

fn load(router: &Netns, rules: &str) {
    let dir = TempDir::new();
    let file = dir.file("rules.nft");
    std::fs::write(&file, rules).expect("a file for the rules");
    let mut command = router.command("nft");
    command.arg("-f").arg(&file);
    let done = run(command, SOON);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// How many packets to port 443 left by wan1 and by the tunnel.
fn counted(router: &Netns) -> [u64; 2] {
    let text = router.output("nft list table inet counting");
    let mut words = text.split_whitespace();
    let mut next = || {
        words.find(|word| *word == "packets");
        words.next().expect("a number").parse().expect("a number")
    };
    [next(), next()]
}

/// Sends from the LAN to port 443 of the internet until it leaves somewhere: by wan1, else by the
/// tunnel.
fn leaves_by_wan1(lab: &Lab) -> bool {
    let router = &lab.site().router;
    let before = counted(router);
    let sent = poll_until(SOON, "it leaves", || {
        lab.site().lan.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            let _ = socket.send_to(b"?", (INTERNET, 443));
        });
        let now = counted(router);
        (now != before).then(|| [now[0] - before[0], now[1] - before[1]])
    });
    assert!(sent.contains(&0), "it is undecided: {sent:?}");
    sent[0] > 0
}

fn dead(router: &Instance<'_>) -> Vec<String> {
    let problems = router.status().problems;
    let dead = problems.into_iter().filter(|problem| problem.code == "policies_dead");
    dead.map(|problem| problem.subject).collect()
}

#[test]
fn policies_are_told_where_they_are_dead_and_hold_where_the_tunnel_comes_last() {
    for (program, rules, table) in [("mwan3", MWAN3_RULES, MWAN3), ("pbr", PBR_RULES, PBR)] {
        let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)]);
        let router = &lab.site().router;
        router.ip(&format!("route add default via {} dev wan1 table 1", lab.site().gateway(0)));
        router.ip(rules);
        load(router, COUNTERS);
        load(router, table);
        let (server_keys, router_keys) = (Keys::new(), Keys::new());
        let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
        let _server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
        let first = router_config(&router_keys, &server_keys.public, None, 2, "");
        let last = first.replacen(
            "\toption enabled '1'\n",
            "\toption enabled '1'\n\toption rule_priority '31000'\n",
            1,
        );
        for (config, alive) in [(first, false), (last, true)] {
            let mut instance = Instance::started(router, &config);
            instance.wait_up(2, START);
            assert_eq!(leaves_by_wan1(&lab), alive, "{program}");
            assert_eq!(ping(&lab.site().lan, INTERNET, 10, 20, &[]).rtts_ms.len(), 10, "{program}");
            let told = || (dead(&instance).is_empty() == alive).then_some(());
            poll_until(COMPARED, "policies are told", told);
            assert!(dead(&instance).iter().all(|subject| subject == program));
            // Those of the tunnel's own that policies would send by another WAN.
            assert_eq!(instance.paths().len(), 2);
            instance.wait_up(2, START);
            instance.stop();
        }
    }
}
