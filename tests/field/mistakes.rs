//! The mistakes that people make when they set it up: each has to be told in words, with what to do,
//! within ten seconds, by the status and by `onebox doctor`.

use crate::lab::clock;
use crate::lab::onebox::{Instance, Keys, PORT, Peer, preshared_key, router_config, server_config};
use crate::lab::programs::{TempDir, poll_until};
use crate::lab::topology::{Lab, SERVER, Site, Wan};
use onebox::status::{State, Status};
use std::time::Duration;

/// Until it has to be told.
const TOLD: Duration = Duration::from_secs(10);
/// Until a router connects that is set up rightly.
const CONNECT: Duration = Duration::from_secs(10);

const WANS: [Wan; 2] = [Wan::mbit_ms(20, 10), Wan::mbit_ms(20, 10)];

/// What a status says is wrong: of the program, the peer and its paths, by code.
fn codes(status: &Status) -> Vec<String> {
    let problems = status.problems.iter().map(|problem| problem.code.clone());
    let peers = status.peers.iter();
    let errors = peers.flat_map(|peer| {
        let paths = peer.paths.iter().map(|path| &path.last_error);
        std::iter::once(&peer.last_error).chain(paths).flatten().map(|error| error.code.clone())
    });
    problems.chain(errors).collect()
}

/// Waits until the status has this code; how long that took from the start on.
fn told(instance: &Instance<'_>, code: &str, start: std::time::Instant) -> Duration {
    poll_until(TOLD, code, || {
        codes(&instance.status()).iter().any(|found| found == code).then_some(())
    });
    start.elapsed()
}

/// What the doctor says is wrong, or good to know: a line each, with what to do behind `->`.
fn doctor(instance: &Instance<'_>) -> (bool, Vec<String>) {
    let output = instance.command(&["doctor", "--json"]);
    let steps: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {output:?}");
    });
    let text = |step: &serde_json::Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = steps.as_array().unwrap().iter().filter(|step| text(step, "verdict") != "good");
    let lines = steps.map(|step| {
        let [kind, words, remedy] = ["step", "words", "remedy"].map(|key| text(step, key));
        format!("{kind}: {words} -> {remedy}")
    });
    (output.status.success(), lines.collect())
}

/// The doctor of a machine where something is wrong says this; what to do is said as well.
fn diagnoses(instance: &Instance<'_>, words: &str, remedy: &str) -> String {
    let (well, lines) = doctor(instance);
    let found = lines.iter().find(|line| line.contains(words));
    let found = found.unwrap_or_else(|| panic!("no '{words}' in {lines:#?}"));
    assert!(found.split(" -> ").nth(1).is_some_and(|told| told.contains(remedy)), "{found}");
    // What is only good to know is no failure.
    assert!(!well || lines.iter().all(|line| !line.starts_with("wan: ")), "{lines:?}");
    found.clone()
}

/// Everything on the side of a router, each router with a mistake of its own.
#[test]
fn mistakes_at_the_router_are_told_in_ten_seconds() {
    let mut lab = Lab::new(&WANS);
    let all = ["port", "key", "secret", "name", "blocked", "narrow", "overlap", "clock"];
    for _ in 1..all.len() {
        lab.add_site(&WANS);
    }
    let lab = &lab;
    let (server_keys, other_keys) = (Keys::new(), Keys::new());
    let router_keys: Vec<Keys> = all.iter().map(|_| Keys::new()).collect();
    let secrets: Vec<String> = all.iter().map(|_| preshared_key()).collect();
    let number = |at: usize| 2 + at as u32;
    let peers: Vec<Peer<'_>> = (0..all.len())
        .map(|at| Peer {
            name: all[at],
            public: &router_keys[at].public,
            preshared: Some(&secrets[at]),
            number: number(at),
            lan_number: lab.sites[at].lan_number,
        })
        .collect();
    let server = Instance::started(&lab.server, &server_config(&server_keys, &peers));
    let config = |at: usize| {
        let secret = Some(secrets[at].as_str());
        router_config(&router_keys[at], &server_keys.public, secret, number(at), "")
    };
    let site = |name: &str| -> (usize, &Site) {
        let at = all.iter().position(|one| *one == name).unwrap();
        (at, &lab.sites[at])
    };
    let files = TempDir::new();
    let router = |name: &str, change: &dyn Fn(String) -> String| {
        let (at, site) = site(name);
        Instance::new(&site.router, &change(config(at)))
    };
    let same = |config: String| config;

    // Everything is broken before it starts.
    let mut port = router("port", &|config| config.replace(&format!(":{PORT}'"), ":51999'"));
    let mut key = router("key", &|config| config.replace(&server_keys.public, &other_keys.public));
    let mut secret = router("secret", &|config| config.replace(&secrets[2], &preshared_key()));
    let endpoint = format!("{SERVER}:{PORT}");
    let mut name =
        router("name", &|config| config.replace(&endpoint, &format!("vps.invalid:{PORT}")));
    let resolv_conf = files.file("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {}\n", site("name").1.gateway(0))).unwrap();
    name.resolv_conf = Some(resolv_conf);
    let mut blocked = router("blocked", &same);
    lab.isp.output(&format!(
        "nft add table inet blocked ; \
         add chain inet blocked forward {{ type filter hook forward priority 0 ; }} ; \
         add rule inet blocked forward ip saddr {} meta l4proto udp drop",
        site("blocked").1.wan_address(1)
    ));
    let mut narrow = router("narrow", &same);
    let (_, at_narrow) = site("narrow");
    for link in 0..2 {
        at_narrow.router.ip(&format!("link set {} mtu 1280\n", at_narrow.device(link)));
    }
    let mut overlap = router("overlap", &same);
    let (_, at_overlap) = site("overlap");
    let third = at_overlap.wan_address(0).replace(".0.2", ".0.77");
    at_overlap.router.ip(&format!("addr add {third}/24 dev lan0\n"));
    let mut late = router("clock", &same);
    let faketime = late.set_wall_clock("@1970-01-03 12:00:00");

    let start = clock::now();
    for instance in [&mut port, &mut key, &mut secret, &mut name, &mut blocked, &mut narrow] {
        instance.start();
    }
    overlap.start();
    if faketime {
        late.start();
    } else {
        println!("skipped: a clock in 1970 needs 'faketime'");
    }

    // What, who tells, the code in the status, what the doctor says, what to do.
    let (_, at_blocked) = site("blocked");
    let here = format!("{}: {SERVER} has not answered by this WAN", at_blocked.device(1));
    let refused = "refuses UDP 51999";
    let silent = "has not answered on UDP 51830";
    let other_key = "its router calls with another preshared key";
    let mut list = vec![
        ("wrong port", &port, "server_refuses", refused, "correct the endpoint's port"),
        ("wrong key", &key, "server_silent", silent, "keys"),
        ("wrong secret", &secret, "server_silent", silent, "keys"),
        ("wrong secret, server", &server, "wrong_preshared_key", other_key, "onebox invite"),
        ("dead name", &name, "name_unresolved", "vps.invalid", "check the name"),
        ("UDP blocked on one WAN", &blocked, "path_silent", &here, "lets UDP pass"),
        ("MTU 1280", &narrow, "tunnel_too_narrow", "packets of up to 1280 bytes pass", "MTU"),
        ("one network twice", &overlap, "networks_overlap", "one network at two places", ""),
    ];
    if faketime {
        let words = "the clock is wrong: it says 1970-01-03";
        list.push(("clock in 1970", &late, "clock_wrong", words, "time server"));
    }
    std::thread::scope(|scope| {
        for (what, instance, code, words, remedy) in list {
            scope.spawn(move || {
                let took = told(instance, code, start).as_secs_f64();
                let said = diagnoses(instance, words, remedy);
                println!("{what}: '{code}' in the status {took:.1} s after the start; {said}");
            });
        }
    });
    diagnoses(&server, "made for another server's public key", "join with a new code");
    assert!(server.log().contains("secret: its router calls with another preshared key"));
    // What does not concern the way leaves the tunnel working.
    blocked.wait_up(1, CONNECT);
    narrow.wait_up(2, CONNECT);
    overlap.wait_up(1, CONNECT);
    if faketime {
        late.wait_up(2, CONNECT);
    }
    // People read it too.
    let text = port.command(&["doctor"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("FAULT") && text.contains(" -> "), "{text}");
    let table = String::from_utf8(port.command(&["status"]).stdout).unwrap();
    assert!(table.contains("Problem: vps: 198.51.100.1 refuses UDP 51999"), "{table}");
}

/// A firewall on the server, one before it, the program not running, the machine gone.
#[test]
fn mistakes_at_the_server_are_told_in_ten_seconds() {
    let lab = Lab::new(&WANS);
    let (server_keys, keys) = (Keys::new(), Keys::new());
    let site = lab.site();
    let peer = Peer {
        name: "home",
        public: &keys.public,
        preshared: None,
        number: 2,
        lan_number: site.lan_number,
    };
    let mut server = Instance::new(&lab.server, &server_config(&server_keys, &[peer]));
    let config = router_config(&keys, &server_keys.public, None, 2, "");

    // The program does not run there: the machine says so.
    let mut router = Instance::new(&site.router, &config);
    let mut play = |what: &str, code: &str, words: &str, remedy: &str| {
        let start = clock::now();
        router.start();
        let took = told(&router, code, start);
        println!("{what}: status '{code}' after {:.1} s", took.as_secs_f64());
        println!("  {}", diagnoses(&router, words, remedy));
        assert_ne!(router.status().state, State::Up);
        poll_until(TOLD, "a line in the log", || router.log().contains(words).then_some(()));
        router.stop();
    };
    play("server's program down", "server_refuses", "refuses UDP 51830", "start onebox");

    server.start();
    lab.server.output(
        "nft add table inet wall ; \
         add chain inet wall in { type filter hook input priority 0 ; } ; \
         add rule inet wall in udp dport 51830 drop",
    );
    play("server's firewall", "server_silent", "has not answered on UDP 51830", "firewall");
    diagnoses(&server, "drops UDP to port 51830", "nft");
    lab.server.output("nft delete table inet wall");

    lab.isp.output(
        "nft add table inet wall ; \
         add chain inet wall forward { type filter hook forward priority 0 ; } ; \
         add rule inet wall forward udp dport 51830 drop",
    );
    play("firewall at the provider", "server_silent", "has not answered on UDP 51830", "provider");
    diagnoses(&server, "nobody has called yet", "at the provider");
    lab.isp.output("nft delete table inet wall");

    // Nobody has its address any more: its provider's router says so (RFC 792, host unreachable).
    server.stop();
    lab.server.ip("link set eth0 down\n");
    play("server's machine gone", "server_unreachable", "cannot be reached", "address");
}
