//! The server is gone: traffic leaves by the WANs and comes back, or does not leave at all.
//!
//! A host of the provider answers everybody with the address that it sees: the server's for what
//! came through the tunnel, a WAN's for what did not. It is asked over and over from one socket,
//! as a call or a game would, and from a new one each time.

use crate::lab::clock;
use crate::lab::netns::Netns;
use crate::lab::onebox::{Instance, Keys, START, peer_of, router_config, server_config};
use crate::lab::programs::{Capture, poll_until};
use crate::lab::topology::{Lab, SERVER, SERVER6, Wan};
use onebox::status::State;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The host that answers.
const HOST: [&str; 2] = ["203.0.113.9", "2001:db8:cb::9"];
const PORT: u16 = 7007;
/// What `fallback_after` is set to.
const AFTER: Duration = Duration::from_secs(2);

/// Threads in the provider's namespace that tell who asks.
struct Mirror {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Mirror {
    fn start(lab: &Lab) -> Mirror {
        let [v4, v6] = HOST;
        lab.isp.ip(&format!("addr add {v4}/32 dev lo\naddr add {v6}/128 dev lo nodad\n"));
        let stop = Arc::<AtomicBool>::default();
        // One per address: an answer comes from where the question went.
        let threads = HOST.map(|host| {
            let address = SocketAddr::new(host.parse().unwrap(), PORT);
            let socket = lab.isp.run(|| UdpSocket::bind(address).unwrap());
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
                    }
                }
            })
        });
        Mirror { stop, threads: threads.into() }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Somebody on the LAN who asks.
struct Guest<'a> {
    lan: &'a Netns,
    /// Asks from the same port all the time.
    steady: UdpSocket,
}

impl Guest<'_> {
    fn new(lan: &Netns) -> Guest<'_> {
        Guest { lan, steady: socket(lan, false) }
    }

    /// As whom the host sees the steady socket, if it answers soon.
    fn seen(&self) -> Option<IpAddr> {
        ask(&self.steady, HOST[0])
    }

    /// The same with a new socket, over both protocols.
    fn seen_anew(&self) -> [Option<IpAddr>; 2] {
        [false, true].map(|v6| ask(&socket(self.lan, v6), HOST[usize::from(v6)]))
    }

    /// How long it takes until all are seen as from the server, or none is.
    fn wait_seen(&self, as_server: bool, limit: Duration) -> Duration {
        let start = clock::now();
        let servers = [SERVER, SERVER6].map(|server| server.parse::<IpAddr>().unwrap());
        let fits = |seen: Option<IpAddr>| seen.map(|seen| servers.contains(&seen) == as_server);
        let what = format!("seen as the server: {as_server}");
        poll_until(limit, &what, || {
            let [v4, v6] = self.seen_anew();
            let all = [self.seen(), v4, v6];
            all.into_iter().all(|seen| fits(seen) == Some(true)).then_some(())
        });
        start.elapsed()
    }
}

fn socket(from: &Netns, v6: bool) -> UdpSocket {
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let socket = from.run(|| UdpSocket::bind(any).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    socket
}

fn ask(socket: &UdpSocket, host: &str) -> Option<IpAddr> {
    let to = SocketAddr::new(host.parse().unwrap(), PORT);
    // A late answer to an earlier question is none to this.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 64]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    // An unreachable network is no answer.
    socket.send_to(b"who am I?", to).ok()?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.parse().ok()
}

/// A lab whose router translates what leaves by a WAN, as every router does.
fn lab() -> Lab {
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let router = &lab.site().router;
    for line in [
        "add table inet fw",
        "add chain inet fw post { type nat hook postrouting priority srcnat ; }",
        "add rule inet fw post oifname wan* masquerade",
    ] {
        router.output(&format!("nft {line}"));
    }
    lab
}

/// A server and a router that are configured, with more options for the router.
fn pair<'a>(lab: &'a Lab, options: &str) -> (Instance<'a>, Instance<'a>) {
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let server = Instance::new(&lab.server, &server_config(&server_keys, &[peer]));
    let config = router_config(&router_keys, &server_keys.public, None, 2, "");
    let config = config.replacen("\toption enabled '1'\n", options, 1);
    (server, Instance::new(&lab.site().router, &config))
}

#[test]
fn without_a_server_traffic_leaves_directly_and_comes_back() {
    let lab = lab();
    let _mirror = Mirror::start(&lab);
    let guest = Guest::new(&lab.site().lan);
    let after = format!("\toption fallback_after '{}'\n", AFTER.as_secs());
    let (mut server, mut router) = pair(&lab, &after);
    router.start();
    println!("no server yet: direct after {:?}", guest.wait_seen(false, AFTER));
    assert_eq!(router.status().state, State::Connecting);
    server.start();
    let took = guest.wait_seen(true, START);
    println!("first connection: through the tunnel after {took:?}");
    for _ in 0..2 {
        server.kill();
        let took = guest.wait_seen(false, Duration::from_secs(10));
        println!("server killed: direct after {took:?}, of which {AFTER:?} are wanted");
        assert!(took < AFTER + Duration::from_secs(3), "{took:?}");
        assert_eq!(router.status().state, State::Down);
        server.start();
        let took = guest.wait_seen(true, Duration::from_secs(10));
        println!("server back: through the tunnel after {took:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    // A restart in time is none of all this.
    server.stop();
    server.start();
    let end = clock::now() + AFTER * 2;
    while clock::now() < end {
        let seen = guest.seen_anew()[0];
        assert!(seen.is_none_or(|seen| seen.to_string() == SERVER), "{seen:?}");
    }
    router.stop();
    let seen = guest.seen_anew();
    assert!(seen.iter().all(Option::is_some), "{seen:?} after an orderly stop");
}

#[test]
fn with_the_kill_switch_nothing_leaves_past_the_tunnel() {
    let lab = lab();
    let _mirror = Mirror::start(&lab);
    let guest = Guest::new(&lab.site().lan);
    let (mut server, mut router) = pair(&lab, "\toption kill_switch '1'\n");
    let before = guest.seen_anew();
    assert!(before[0].is_some() && before[1].is_some(), "{before:?}");
    router.start();
    let filter = format!("host {} or host {}", HOST[0], HOST[1]);
    let devices = [0, 1].map(|link| lab.site().device(link));
    let captures = devices.map(|device| Capture::start(&lab.site().router, &device, &filter));
    let silent = |when: &str| {
        let end = clock::now() + Duration::from_secs(2);
        while clock::now() < end {
            assert_eq!((guest.seen(), guest.seen_anew()), (None, [None, None]), "{when}");
        }
    };
    silent("before the first connection");
    server.start();
    guest.wait_seen(true, START);
    server.kill();
    silent("without a server");
    router.kill();
    silent("after a crash");
    router.start();
    silent("after a new start");
    let answer = router.command(&["stop", "--restart"]);
    assert!(answer.status.success(), "{answer:?}");
    silent("between stop and start");
    router.start();
    server.start();
    guest.wait_seen(true, START);
    for capture in captures {
        let packets = capture.stop();
        assert!(packets.is_empty(), "on a WAN: {:x?}", packets[0].frame);
    }
    router.stop();
    let seen = guest.seen_anew();
    assert!(seen.iter().all(Option::is_some), "{seen:?} after an orderly stop");
}

/// Neighbours stay neighbours, and a crash whose program is not started again is cleaned up.
#[test]
fn the_kill_switch_bars_no_local_network_and_can_be_lifted() {
    let lab = lab();
    let _mirror = Mirror::start(&lab);
    let guest = Guest::new(&lab.site().lan);
    let (_server, mut router) = pair(&lab, "\toption kill_switch '1'\n");
    let rules = || lab.site().router.output("ip rule") + &lab.site().router.output("ip -6 rule");
    let before = rules();
    router.start();
    let gateway = lab.site().gateway(0);
    let pinged = crate::lab::programs::ping(&lab.site().lan, &gateway, 2, 100, &[]);
    assert_eq!(pinged.rtts_ms.len(), 2, "the provider's own network is more than a default route");
    router.kill();
    assert_eq!(guest.seen(), None);
    assert_ne!(rules(), before);
    assert_eq!(router.command(&["stop", "--clean"]).status.code(), Some(3));
    assert_eq!(rules(), before);
    assert!(guest.seen().is_some());
}
