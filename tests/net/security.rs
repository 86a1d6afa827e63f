//! Who has no key gets neither in nor an answer, and nothing leaks.

use crate::lab::clock;
use crate::lab::netns::Netns;
use crate::lab::onebox::{
    Instance, Keys, PORT, Pair, START, peer_of, preshared_key, router_config, server_config,
};
use crate::lab::programs::{Capture, ping, poll_until};
use crate::lab::topology::{INTERNET, ISP, Lab, SERVER, Wan};
use crate::lab::traffic::Echo;
use onebox::status::State;
use std::net::UdpSocket;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(10);

fn small_lab() -> Lab {
    Lab::new(&[Wan::mbit_ms(50, 5), Wan::mbit_ms(50, 5)])
}

fn dropped(server: &Instance<'_>, reason: &str) -> u64 {
    server.status().drops.get(reason).copied().unwrap_or(0)
}

/// A router with the wrong preshared key, or one that the server does not know, hears nothing.
#[test]
fn strangers_get_no_answer() {
    let lab = small_lab();
    let site = lab.site();
    let (server_keys, router_keys, stranger) = (Keys::new(), Keys::new(), Keys::new());
    let (preshared, wrong) = (preshared_key(), preshared_key());
    let peer = peer_of(site, "home", &router_keys, Some(&preshared), 2);
    let server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
    for (keys, preshared) in [(&router_keys, &wrong), (&stranger, &preshared)] {
        let answers = Capture::start(&lab.server, "eth0", &format!("udp and src port {PORT}"));
        let before = server.drops();
        let config = router_config(keys, &server_keys.public, Some(preshared), 2, "");
        let mut router = Instance::started(&site.router, &config);
        poll_until(START, "the server drops and counts", || {
            (server.drops() >= before + 3).then_some(())
        });
        assert_ne!(router.status().state, State::Up);
        assert_eq!(ping(&site.lan, INTERNET, 2, 100, &[]).rtts_ms.len(), 0);
        assert_eq!(answers.stop().len(), 0, "the server answered; log {}", server.log());
        router.stop();
    }
}

/// Recorded datagrams sent again from elsewhere, as they are and damaged, change nothing: no
/// answer, no moved path, no disturbance, no flood of log lines, but the counters show them.
#[test]
fn replays_and_damage_are_dropped() {
    let lab = small_lab();
    let filter = format!("udp and dst host {SERVER} and dst port {PORT}");
    let recording = Capture::start(&lab.isp, "srv", &filter);
    let pair = Pair::up(&lab);
    let echo = Echo::start(&lab.site().lan, &lab.internet, INTERNET, TICK, "steady");
    echo.wait_for(200, Duration::from_secs(10));
    let recorded: Vec<Vec<u8>> =
        recording.stop().iter().filter_map(|p| Some(p.datagram()?.payload)).collect();
    assert!(recorded.len() >= 200, "{} datagrams recorded", recorded.len());

    let answers = Capture::start(&lab.server, "eth0", &format!("udp and dst host {ISP}"));
    let remotes = || pair.server.paths().into_iter().map(|p| p.remote).collect::<Vec<_>>();
    let before = (pair.server.drops(), remotes(), pair.server.log().lines().count());
    let from_ms = echo.age_ms();
    let sent = replay(&lab.isp, &recorded);
    // Nearly: what the kernel holds back at the socket is not the server's to count.
    poll_until(Duration::from_secs(5), "they are counted", || {
        (pair.server.drops() >= before.0 + sent * 95 / 100).then_some(())
    });
    echo.wait_for(50, Duration::from_secs(5));
    let to_ms = echo.age_ms() - 500;
    assert_eq!(echo.lost_between(from_ms, to_ms), 0, "the tunnel was disturbed");
    assert_eq!(remotes(), before.1, "a path was moved");
    let answers: Vec<_> = answers.stop().iter().filter_map(|p| p.datagram()).collect();
    assert!(answers.is_empty(), "the server answered: {answers:?}");
    let lines = pair.server.log().lines().count() - before.2;
    assert!(lines < 20, "{lines} lines of log for {sent} datagrams");
}

/// Send all as they are and with one bit flipped, from the provider's address.
fn replay(from: &Netns, recorded: &[Vec<u8>]) -> u64 {
    let socket = from.run(|| UdpSocket::bind((ISP, 4444)).unwrap());
    let mut sent = 0;
    for (number, payload) in recorded.iter().enumerate() {
        let mut damaged = payload.clone();
        let at = number % damaged.len();
        damaged[at] ^= 1 << (number % 8);
        for datagram in [payload, &damaged] {
            socket.send_to(datagram, (SERVER, PORT)).unwrap();
            sent += 1;
        }
        // A slow pace: what is tested is what the server reads, not how much it can.
        if number % 16 == 0 {
            clock::pass(Duration::from_millis(2));
        }
    }
    sent
}

/// A listener on the WANs sees neither what is said inside nor any key.
#[test]
fn the_wire_tells_nothing() {
    let lab = small_lab();
    let site = lab.site();
    let taps = ["wan1", "wan2"].map(|device| Capture::start(&site.router, device, "ip or ip6"));
    let marker = "a-text-that-nobody-else-may-read";
    let pair = Pair::up(&lab);
    let echo = Echo::start(&site.lan, &lab.internet, INTERNET, TICK, marker);
    echo.wait_for(200, Duration::from_secs(10));
    drop(echo);
    let packets: Vec<_> = taps.into_iter().flat_map(Capture::stop).collect();
    assert!(packets.len() >= 400, "{} packets seen", packets.len());
    let mut secrets = vec![marker.as_bytes().to_vec()];
    for key in [&pair.server_keys, &pair.router_keys].map(|k| [&k.private, &k.public]).concat() {
        secrets.extend([key.as_bytes().to_vec(), base64(key)]);
    }
    secrets.extend([pair.preshared.as_bytes().to_vec(), base64(&pair.preshared)]);
    for secret in secrets {
        let leaks = packets.iter().filter(|packet| packet.contains(&secret)).count();
        assert_eq!(leaks, 0, "{} is on the wire", String::from_utf8_lossy(&secret));
    }
}

/// RFC 4648 §4.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for letter in text.bytes().filter(|b| *b != b'=') {
        let value = alphabet.iter().position(|a| *a == letter).expect("base64");
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Two routers on one server: each hears only its own answers, and neither can send in the
/// other's name.
#[test]
fn two_routers_keep_apart() {
    let wans = [Wan::mbit_ms(20, 5), Wan::mbit_ms(20, 5)];
    let mut lab = Lab::new(&wans);
    lab.add_site(&wans);
    let (server_keys, keys) = (Keys::new(), [Keys::new(), Keys::new()]);
    let peers = [
        peer_of(&lab.sites[0], "home", &keys[0], None, 2),
        peer_of(&lab.sites[1], "office", &keys[1], None, 3),
    ];
    let server = Instance::started(&lab.server, &server_config(&server_keys, &peers));
    let routers: Vec<Instance<'_>> = (0..2)
        .map(|n| {
            let config = router_config(&keys[n], &server_keys.public, None, 2 + n as u32, "");
            Instance::started(&lab.sites[n].router, &config)
        })
        .collect();
    routers.iter().for_each(|router| router.wait_up(2, START));

    let foreign = Capture::start(&lab.sites[1].router, "onebox0", "ip");
    let echo =
        |n: usize, marker| Echo::start(&lab.sites[n].lan, &lab.internet, INTERNET, TICK, marker);
    let echoes = [echo(0, "from-home"), echo(1, "from-office")];
    for echo in &echoes {
        echo.wait_for(100, Duration::from_secs(10));
        assert_eq!(echo.foreign(), Vec::<Vec<u8>>::new());
    }
    let seen = foreign.stop();
    assert!(seen.iter().any(|packet| packet.contains(b"from-office")));
    assert!(!seen.iter().any(|packet| packet.contains(b"from-home")), "cross-talk");

    let lan = &lab.sites[0].lan;
    lan.ip("addr add 192.168.8.99/32 dev lo\n");
    let before = dropped(&server, "spoofed source");
    let spoofed = ping(lan, INTERNET, 5, 50, &["-I", "192.168.8.99"]);
    assert_eq!(spoofed.rtts_ms.len(), 0);
    poll_until(Duration::from_secs(3), "spoofed packets are counted", || {
        (dropped(&server, "spoofed source") >= before + 5).then_some(())
    });
}

/// Linux answers for each of its addresses on every device: a neighbour on a WAN, or on the server's
/// network, must not reach what listens on the tunnel's addresses as if it came through the tunnel.
#[test]
fn neighbours_do_not_reach_the_tunnels_addresses() {
    let lab = small_lab();
    let _pair = Pair::up(&lab);
    let (site, server, inner) = (lab.site(), "10.99.0.1", "10.99.0.2");
    for (to, by) in [(inner, site.wan_address(0)), (server, SERVER.to_owned())] {
        lab.isp.ip(&format!("route replace {to} via {by}"));
        assert_eq!(ping(&lab.isp, to, 3, 50, &[]).rtts_ms.len(), 0, "{to} answers past the tunnel");
    }
    // The router itself, its LAN and the server do, and through the tunnel.
    for (host, to) in [
        (&site.router, inner),
        (&site.lan, inner),
        (&site.lan, server),
        (&site.router, server),
        (&lab.server, server),
        (&lab.server, inner),
    ] {
        assert_eq!(ping(host, to, 3, 50, &[]).rtts_ms.len(), 3, "{to}");
    }
}
