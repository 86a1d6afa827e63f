//! MTUs that the configuration gets wrong.

use crate::lab::onebox::{Instance, Keys, START, peer_of, router_config, server_config};
use crate::lab::programs::{iperf, poll_until};
use crate::lab::topology::{INTERNET, Lab, Wan};
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
