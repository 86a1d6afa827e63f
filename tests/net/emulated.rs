//! The lab itself: does the emulator do what it says?

use crate::PLAIN_TCP;
use crate::lab::clock;
use crate::lab::emulator::NAP_NS;
use crate::lab::programs::{iperf, ping, poll_until};
use crate::lab::topology::{Lab, SERVER, SERVER6, Wan};
use crate::lab::traffic::{Echo, Flow, Sends};
use std::time::Duration;

fn close(measured: f64, wanted: f64, share: f64) -> bool {
    (measured / wanted - 1.0).abs() <= share
}

/// TCP fills a link, both ways, and gets what the line leaves it.
#[test]
fn a_link_has_its_rate() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10)]);
    for options in ["-t 4 -O 1 --bind-dev wan1", "-t 4 -O 1 --bind-dev wan1 -R"] {
        let mbit = iperf(&lab.site().router, &lab.server, SERVER, options).mbit;
        assert!(close(mbit, PLAIN_TCP * 50.0, 0.02), "{options}: {mbit} Mbit/s");
    }
}

/// An idle link has its delay and nothing more, for IPv4 and IPv6.
#[test]
fn a_link_has_its_delay() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 20)]);
    for address in [SERVER, SERVER6] {
        // The addresses of the neighbours are learned first.
        poll_until(Duration::from_secs(5), "the server answers", || {
            (ping(&lab.site().router, address, 1, 10, &[]).median_ms() < 100.0).then_some(())
        });
        let seen = ping(&lab.site().router, address, 25, 20, &[]);
        assert_eq!(seen.rtts_ms.len(), 25);
        // The faster ones, since a busy machine adds to some: the link itself adds to all. A frame
        // that is found after a nap counts as having come at its start, so that each way may take
        // a nap less.
        let (faster, median) = (seen.quantile_ms(0.25), seen.median_ms());
        let least = 40.0 - 2.0 * NAP_NS as f64 / 1e6;
        assert!((least..41.0).contains(&faster) && median < 45.0, "{address}: {seen:?}");
    }
}

/// Jitter spreads the delay over its range and keeps the order.
#[test]
fn jitter_spreads_the_delay() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10)]);
    lab.link(0).set("set up jitter=20ms");
    let seen = ping(&lab.site().router, SERVER, 100, 20, &[]);
    let shares = [0.05, 0.5, 0.95].map(|share| seen.quantile_ms(share));
    let ranges = [20.0..24.0, 25.0..35.0, 36.0..41.0];
    for (ms, range) in shares.iter().zip(ranges) {
        assert!(range.contains(ms), "5, 50 and 95 %: {shares:?} ms");
    }
}

/// As many datagrams are lost as the link is told to lose; in bursts too.
#[test]
fn loss_has_its_rate() {
    let lab = Lab::new(&[Wan::mbit_ms(100, 5)]);
    // 10 % independent; and in bursts: bad 1/10 of the time (1 % ÷ (1 % + 9 %)), half lost then.
    // Some 15 000 frames, but only 140 bursts: the second figure is a rough one.
    let cases = [("loss=10%", 0.10, 0.15), ("loss=0% burst=1%,9%,50%", 0.05, 0.4)];
    for (setting, share, tolerance) in cases {
        lab.link(0).set(&format!("set up {setting}"));
        let before = lab.link(0).stats();
        let options = "-u -b 20M -l 500 -t 3 --bind-dev wan1";
        iperf(&lab.site().router, &lab.server, SERVER, options);
        let after = lab.link(0).stats();
        let more = |key: &str| {
            (after["up"][key].as_u64().unwrap() - before["up"][key].as_u64().unwrap()) as f64
        };
        let lost = more("dropped_loss") / more("in_frames");
        assert!(close(lost, share, tolerance), "{setting}: {lost}");
    }
}

/// A full queue holds 150 ms of the rate, and a ping beside the load waits that long.
#[test]
fn the_queue_holds_150_ms() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10)]);
    let site = lab.site();
    let options = "-u -b 60M -l 1400 -t 3 --bind-dev wan1";
    let seen = std::thread::scope(|scope| {
        let load = scope.spawn(|| iperf(&site.router, &lab.server, SERVER, options));
        poll_until(Duration::from_secs(5), "the queue is full", || {
            (lab.link(0).stats()["up"]["dropped_queue"].as_u64()? > 0).then_some(())
        });
        let seen = ping(&site.router, SERVER, 30, 20, &["-I", "wan1"]);
        load.join().unwrap();
        seen
    });
    let longest = lab.link(0).stats()["up"]["queue_us_max"].as_u64().unwrap();
    assert!((145_000..=150_100).contains(&longest), "{longest} us");
    let waited = seen.median_ms() - 20.0;
    assert!((140.0..=153.0).contains(&waited), "{waited} ms");
}

/// A blackhole swallows everything in silence, in the directions asked for, until it is lifted.
#[test]
fn a_blackhole_is_silent() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 5)]);
    let router = &lab.site().router;
    let answers = || ping(router, SERVER, 5, 20, &[]).rtts_ms.len();
    assert_eq!(answers(), 5);
    for command in ["blackhole on", "blackhole off down", "blackhole on down"] {
        lab.link(0).set(command);
        assert_eq!(answers(), 0, "{command}");
    }
    let flags = router.output("ip link show wan1");
    assert!(flags.contains("LOWER_UP"), "the cable is still in: {flags}");
    lab.link(0).set("blackhole off");
    assert_eq!(answers(), 5);
}

/// Pulling the cable is seen by the router at once.
#[test]
fn carrier_can_be_pulled() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 5)]);
    let router = &lab.site().router;
    lab.link(0).set("carrier off");
    poll_until(Duration::from_secs(1), "no carrier", || {
        router.output("ip link show wan1").contains("NO-CARRIER").then_some(())
    });
    lab.link(0).set("carrier on");
    poll_until(Duration::from_secs(1), "carrier", || {
        (!router.output("ip link show wan1").contains("NO-CARRIER")).then_some(())
    });
    assert_eq!(ping(router, SERVER, 3, 20, &[]).rtts_ms.len(), 3);
}

/// After a rebinding the server sees another port, answers to it arrive with a good checksum, and
/// answers to the old one do not; IPv4 and IPv6.
#[test]
fn rebinding_changes_the_port() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 5)]);
    for (address, any) in [(SERVER, "0.0.0.0"), (SERVER6, "::")] {
        let bind = |port: u16| std::net::UdpSocket::bind((any, port)).unwrap();
        poll_until(Duration::from_secs(5), "the server answers", || {
            (ping(&lab.site().router, address, 1, 10, &[]).median_ms() < 100.0).then_some(())
        });
        let far = lab.server.run(|| bind(4000));
        let near = lab.site().router.run(|| bind(4001));
        for socket in [&far, &near] {
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        }
        let mut buffer = [0; 64];
        let mut sources = Vec::new();
        let target = std::net::SocketAddr::new(address.parse().unwrap(), 4000);
        for text in [b"one", b"two"] {
            near.send_to(text, target).unwrap();
            let (length, from) = far.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text);
            far.send_to(b"back", from).unwrap();
            assert_eq!(near.recv(&mut buffer).unwrap(), 4, "{address}");
            sources.push(from);
            lab.link(0).set("rebind");
        }
        assert_ne!(sources[0].port(), sources[1].port());
        far.send_to(b"late", sources[0]).unwrap();
        assert!(near.recv(&mut buffer).is_err(), "a mapping that is gone still works");
    }
}

/// Damaged datagrams reach the application, with a checksum that fits; duplicates come twice; a
/// policer lets its rate through.
#[test]
fn damage_duplicates_and_policing() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 5)]);
    let (router, server) = (&lab.site().router, &lab.server);
    // The addresses of the neighbours are learned first: damage would hit those questions too.
    ping(router, SERVER, 1, 10, &[]);
    lab.link(0).set("set up corrupt=100%");
    {
        let echo = Echo::start(router, server, SERVER, Duration::from_millis(10), "0123456789");
        poll_until(Duration::from_secs(2), "damaged datagrams", || {
            (echo.foreign().len() >= 5).then_some(())
        });
    }
    lab.link(0).set("set up corrupt=0% duplicate=100%");
    let before = lab.link(0).stats();
    ping(router, SERVER, 10, 10, &[]);
    let after = lab.link(0).stats();
    let more = |key: &str| after["up"][key].as_u64().unwrap() - before["up"][key].as_u64().unwrap();
    assert_eq!(more("out_frames"), 2 * more("in_frames"));
    lab.link(0).set("set up duplicate=0% policer=10mbit,32kb");
    iperf(router, server, SERVER, "-u -b 20M -l 1400 -t 3 --bind-dev wan1");
    let dropped = lab.link(0).stats()["up"]["dropped_policer"].as_u64().unwrap() as f64;
    let sent = 3.0 * 20e6 / 8.0 / 1400.0;
    assert!(close(dropped / sent, 0.48, 0.1), "{dropped} of {sent}");
}

/// Two links do not take from each other, and what is measured is what arrives.
#[test]
fn two_plain_flows_get_both_links() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(30, 20)]);
    let (router, server) = (&lab.site().router, &lab.server);
    for sends in [Sends::Up, Sends::Down] {
        let flows = ["wan1", "wan2"].map(|d| Flow::start(router, server, SERVER, sends, Some(d)));
        clock::pass(Duration::from_secs(4));
        for (flow, rate) in flows.iter().zip([50.0, 30.0]) {
            let mbit = flow.mbit_between(1500, 3900);
            assert!(close(mbit, PLAIN_TCP * rate, 0.03), "{sends:?} {rate}: {mbit} Mbit/s");
            assert_eq!(flow.failure(), None);
        }
    }
}
