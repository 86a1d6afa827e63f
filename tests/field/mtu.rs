//! MTUs that the configuration gets wrong, and ways that have too little for IPv6.

use crate::lab::onebox::{Instance, Keys, START, peer_of, router_config, server_config};
use crate::lab::programs::{iperf, poll_until};
use crate::lab::topology::{INTERNET, INTERNET6, Lab, Wan};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// `option mtu '1500'` on both ends, over links of 1500 bytes that have no room for headers of ours:
/// it is a wish. Senders are told what fits, nothing vanishes, and the status says so.
#[test]
fn an_mtu_that_no_path_takes_is_a_wish() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)]);
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let wish = |config: String| {
        config.replacen("config onebox 'main'\n", "config onebox 'main'\n\toption mtu '1500'\n", 1)
    };
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let server = Instance::started(&lab.server, &wish(server_config(&server_keys, &[peer])));
    let config = router_config(&router_keys, &server_keys.public, None, 2, "");
    let router = Instance::started(&lab.site().router, &wish(config));
    router.wait_up(2, START);
    for instance in [&server, &router] {
        let told = poll_until(SOON, "the problem", || {
            let problems = instance.status().problems;
            problems.into_iter().find(|problem| problem.code == "mtu_too_large")
        });
        assert!(told.words.contains(" of 1500 bytes"), "{}", told.words);
        let device = std::fs::read_to_string(instance.config_file()).expect("its configuration");
        assert!(device.contains("'1500'"), "the lab writes configurations in another way");
    }
    // A packet that may not be fragmented is answered with what fits (RFC 1191).
    poll_until(SOON, "too big is said", || {
        let mut ping = lab.site().lan.command("ping");
        ping.args(["-n", "-c", "2", "-W", "1", "-M", "do", "-s", "1472", INTERNET]);
        let text = ping.output().expect("ping");
        let text = String::from_utf8_lossy(&text.stdout).into_owned()
            + &String::from_utf8_lossy(&text.stderr);
        (text.contains("mtu=") || text.contains("mtu:")).then_some(())
    });
    let carried = iperf(&lab.site().lan, &lab.internet, INTERNET, "-t 3");
    assert!(carried.mbit > 20.0, "{:.1} Mbit/s", carried.mbit);
}

/// The only ways carry less than 1340 bytes for a while: the tunnel goes on with IPv4, says why there is
/// no IPv6, and has it again when they are wide.
#[test]
fn too_narrow_for_ipv6_is_told_and_heals() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)]);
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
    let config = router_config(&router_keys, &server_keys.public, None, 2, "");
    let router = Instance::started(&lab.site().router, &config);
    router.wait_up(2, START);
    let told = || {
        let problems = router.status().problems;
        problems.iter().any(|problem| problem.code == "tunnel_too_narrow")
    };
    let answers = |address: &str| {
        let mut ping = lab.site().lan.command("ping");
        let long = ["-n", "-c", "1", "-W", "1", "-s", "1100", address];
        ping.args(long).output().is_ok_and(|output| output.status.success())
    };
    let both = |what: &str| {
        poll_until(SOON, what, || {
            (answers(INTERNET) && answers(INTERNET6) && !told()).then_some(())
        })
    };
    both("both families");
    lab.isp.output(
        "nft add table inet narrow ; \
         add chain inet narrow forward { type filter hook forward priority 0 ; } ; \
         add rule inet narrow forward meta l4proto udp meta length > 1300 drop",
    );
    poll_until(3 * SOON, "it is told", || {
        // Long ones, by which the ways are seen to be narrow.
        let mut ping = lab.site().lan.command("ping");
        let long = ["-n", "-c", "10", "-i", "0.02", "-W", "1", "-s", "1300", INTERNET];
        ping.args(long).output().expect("ping");
        told().then_some(())
    });
    poll_until(SOON, "IPv4 goes on", || answers(INTERNET).then_some(()));
    lab.isp.output("nft delete table inet narrow");
    poll_until(3 * SOON, "IPv6 is back", || (!told() && answers(INTERNET6)).then_some(()));
    both("both families again");
    for instance in [&server, &router] {
        assert!(!instance.log().contains("ERROR"), "{}", instance.log());
    }
}
