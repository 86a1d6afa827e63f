//! The wall clock jumps: what is timed goes by the monotonic clock, and handshakes whose timestamps go
//! back are taken all the same.

use crate::lab::clock;
use crate::lab::onebox::{Instance, Keys, START, faketime, peer_of, router_config, server_config};
use crate::lab::programs::poll_until;
use crate::lab::topology::{INTERNET, Lab, Wan};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// Ten years ahead, to 1970, and to now; at the router, at the server, at both. Then the router starts
/// anew with a clock that stands before the one of its last start.
#[test]
fn jumps_disturb_nothing() {
    if faketime().is_none() {
        println!("skipped: needs libfaketime (Debian: faketime)");
        return;
    }
    let lab = Lab::new(&[Wan::mbit_ms(20, 10), Wan::mbit_ms(20, 10)]);
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let started = |namespace, config: String| {
        let mut instance = Instance::new(namespace, &config);
        instance.set_wall_clock("+0");
        instance.start();
        instance
    };
    let mut server = started(&lab.server, server_config(&server_keys, &[peer]));
    let config = router_config(&router_keys, &server_keys.public, None, 2, "");
    let mut router = started(&lab.site().router, config);
    router.wait_up(2, START);

    let told = |instance: &Instance<'_>| {
        instance.status().problems.iter().any(|problem| problem.code == "clock_wrong")
    };
    for jump in ["+10y", "@1970-01-03 12:00:00", "+0"] {
        let past = jump.contains("1970");
        for whose in [&["router"][..], &["server"], &["router", "server"]] {
            for (who, instance) in [("router", &mut router), ("server", &mut server)] {
                if whose.contains(&who) {
                    instance.set_wall_clock(jump);
                    poll_until(SOON, "the clock in the status", || {
                        (told(instance) == past).then_some(())
                    });
                }
            }
            let mut ping = lab.site().lan.command("ping");
            ping.args(["-n", "-q", "-c", "50", "-i", "0.02", "-W", "1", INTERNET]);
            let output = ping.output().expect("ping");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains(" 50 received"), "{whose:?} {jump}: {text}");
        }
    }
    let uptime = router.status().uptime_s;
    assert!(uptime < 120, "{uptime} s");
    // Keys agreed on with a clock ten years ahead; the next start is at the right time.
    router.set_wall_clock("+10y");
    router.stop();
    router.start();
    router.wait_up(2, START);
    router.kill();
    router.set_wall_clock("+0");
    router.start();
    // Asked for again with a nonce (PROTOCOL.md, "the guard"): no timestamp is waited for.
    let start = clock::now();
    router.wait_up(2, START);
    println!("connected {:?} after a start with an earlier clock", start.elapsed());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}
