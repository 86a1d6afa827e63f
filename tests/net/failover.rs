//! Links that fail, come back, appear and change under load: the traffic goes on.

use crate::lab::clock;
use crate::lab::onebox::Pair;
use crate::lab::programs::{interface_bytes, poll_until};
use crate::lab::topology::{INTERNET, Lab, Wan};
use crate::lab::traffic::{Flow, Sends};
use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(3);

fn two_links() -> Lab {
    Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 30)])
}

fn flow(lab: &Lab, sends: Sends) -> Flow {
    let flow = Flow::start(&lab.site().lan, &lab.internet, INTERNET, sends, None);
    flow.measure(WARM_UP);
    flow
}

/// Wait until a device of the router carries another megabyte.
fn wait_carries(lab: &Lab, device: &str, sends: Sends, limit: Duration) -> Duration {
    let carried = || {
        let (down, up) = interface_bytes(&lab.site().router, device);
        if sends == Sends::Up { up } else { down }
    };
    let (start, before) = (clock::now(), carried());
    poll_until(limit, &format!("{device} carries data"), || {
        (carried() > before + 1_000_000).then_some(())
    });
    start.elapsed()
}

/// A link that silently swallows everything stops the traffic for less than a second; status says
/// why the link is not used; once healed it carries its share within 5 s.
#[test]
fn silent_failure_and_recovery() {
    let lab = two_links();
    let pair = Pair::up(&lab);
    for sends in [Sends::Up, Sends::Down] {
        let flow = flow(&lab, sends);
        lab.link(0).set("blackhole on");
        let cut_ms = flow.age_ms();
        flow.measure(Duration::from_secs(3));
        let stall_ms = flow.longest_stall_ms(cut_ms, cut_ms + 3000);
        println!("{sends:?}: blackhole stalls TCP for {stall_ms} ms");
        assert!(stall_ms < 1000, "{sends:?}: {stall_ms} ms without data");
        let path = pair.router.wait_path("wan1", &["suspect", "held", "down"], WARM_UP);
        assert!(!path.reason.is_empty(), "no reason given: {path:?}");
        let rest = flow.measure(Duration::from_secs(2));
        assert!(rest > 20.0, "{sends:?}: {rest} Mbit/s over the other link of 50");
        lab.link(0).set("blackhole off");
        let took = wait_carries(&lab, "wan1", sends, Duration::from_secs(5));
        println!("{sends:?}: healed link carries again after {took:?}");
        assert_eq!(flow.failure(), None, "{sends:?}");
        pair.router.wait_path("wan1", &["active"], Duration::from_secs(5));
    }
}

/// A pulled cable is known at once: at most 200 ms without data. Later TCP learns by a drop that
/// there is less room, and what it sends again waits behind its own queue: at most 600 ms.
#[test]
fn a_pulled_cable_is_noticed_at_once() {
    let lab = two_links();
    let pair = Pair::up(&lab);
    for sends in [Sends::Up, Sends::Down] {
        let flow = flow(&lab, sends);
        lab.link(0).set("carrier off");
        let cut_ms = flow.age_ms();
        flow.measure(Duration::from_secs(2));
        let stall_ms = flow.longest_stall_ms(cut_ms, cut_ms + 250);
        let later_ms = flow.longest_stall_ms(cut_ms + 250, cut_ms + 2000);
        println!("{sends:?}: carrier loss stalls TCP for {stall_ms} ms, later for {later_ms} ms");
        assert!(stall_ms <= 200, "{sends:?}: {stall_ms} ms without data");
        assert!(later_ms <= 600, "{sends:?}: {later_ms} ms without data");
        lab.link(0).set("carrier on");
        wait_carries(&lab, "wan1", sends, Duration::from_secs(5));
        assert_eq!(flow.failure(), None, "{sends:?}");
        pair.router.wait_path("wan1", &["active"], Duration::from_secs(5));
    }
}

/// A WAN that is plugged in while the tunnel runs carries data within 3 s.
#[test]
fn a_new_wan_is_used() {
    let lab = Lab::new(&[Wan::mbit_ms(20, 20)]);
    let _pair = Pair::up(&lab);
    let flow = flow(&lab, Sends::Down);
    let alone = flow.measure(Duration::from_secs(2));
    let _link = lab.connect_wan(0, 1, Wan::mbit_ms(20, 20));
    let took = wait_carries(&lab, "wan2", Sends::Down, Duration::from_secs(3));
    println!("the new WAN carries after {took:?}");
    // TCP takes its time to find that there is more.
    let start = clock::now();
    poll_until(Duration::from_secs(10), "both WANs give more than one", || {
        let now_ms = flow.age_ms();
        (flow.mbit_between(now_ms - 1000, now_ms) > alone * 1.4).then_some(())
    });
    println!("{alone:.1} Mbit/s before, 1.4 times that {:?} later", start.elapsed());
    assert_eq!(flow.failure(), None);
}

/// A NAT that forgets its mappings costs less than a second, and the link stays in use.
#[test]
fn nat_rebinding_goes_by() {
    let lab = two_links();
    let _pair = Pair::up(&lab);
    for sends in [Sends::Up, Sends::Down] {
        let flow = flow(&lab, sends);
        let from_ms = flow.age_ms();
        lab.link(0).set("rebind");
        flow.measure(Duration::from_secs(2));
        let stall_ms = flow.longest_stall_ms(from_ms, from_ms + 2000);
        println!("{sends:?}: rebinding stalls TCP for {stall_ms} ms");
        assert!(stall_ms < 1000, "{sends:?}: {stall_ms} ms without data");
        wait_carries(&lab, "wan1", sends, Duration::from_secs(5));
        assert_eq!(flow.failure(), None, "{sends:?}");
    }
}

/// A link that comes and goes does not take the other one with it. `ONEBOX_LONG=1` does it every
/// 10 s for 5 min.
#[test]
fn a_flapping_link_does_no_harm() {
    let long = std::env::var_os("ONEBOX_LONG").is_some();
    let (flaps, half) = if long { (30, 5) } else { (3, 1) };
    let lab = two_links();
    let _pair = Pair::up(&lab);
    let flow = flow(&lab, Sends::Down);
    let from_ms = flow.age_ms();
    for _ in 0..flaps {
        for switch in ["on", "off"] {
            lab.link(0).set(&format!("blackhole {switch}"));
            flow.measure(Duration::from_secs(half));
        }
    }
    let to_ms = flow.age_ms();
    let (stall_ms, mbit) =
        (flow.longest_stall_ms(from_ms, to_ms), flow.mbit_between(from_ms, to_ms));
    println!("{flaps} flaps: {mbit:.1} Mbit/s, longest stall {stall_ms} ms");
    assert!(stall_ms < 1000, "{stall_ms} ms without data");
    assert!(mbit > 20.0, "{mbit} Mbit/s beside a steady link of 50");
    assert_eq!(flow.failure(), None);
}
