//! Hosts that do not forward until the program has it switched on, and what that would cost them.

use crate::lab::netns::Netns;
use crate::lab::onebox::Pair;
use crate::lab::programs::{ping, poll_until};
use crate::lab::topology::{INTERNET, INTERNET6, ISP, Lab, Wan};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);
const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

fn switch(host: &Netns, key: &str) -> String {
    let value = host.run(|| std::fs::read_to_string(format!("/proc/sys/net/{key}")));
    value.expect("a switch").trim().to_owned()
}

fn until(host: &Netns, key: &str, value: &str) {
    poll_until(SOON, &format!("{key} is {value}"), || (switch(host, key) == value).then_some(()));
}

/// A plain Debian as router: the LAN is carried, and the switches are put back.
#[test]
fn a_router_with_a_lan_forwards_while_the_program_runs() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)]);
    let router = &lab.site().router;
    router.sysctl(&FORWARDING.map(|key| (key, "0")));
    let mut pair = Pair::up(&lab);
    FORWARDING.iter().for_each(|key| until(router, key, "1"));
    for address in [INTERNET, INTERNET6] {
        assert_eq!(ping(&lab.site().lan, address, 5, 20, &[]).rtts_ms.len(), 5, "{address}");
    }
    pair.router.stop();
    FORWARDING.iter().for_each(|key| until(router, key, "0"));
}

/// A server that has its IPv6 default route from router advertisements: a host that forwards ignores
/// those, unless it is told not to.
#[test]
fn a_server_goes_on_taking_router_advertisements() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)]);
    let server = &lab.server;
    server.output("ip -6 route del default");
    server.output("ip -6 route add default via 2001:db8:100::fe dev eth0 proto ra");
    let accept = "ipv6/conf/eth0/accept_ra";
    server.sysctl(&[(accept, "1"), (FORWARDING[0], "0"), (FORWARDING[1], "0")]);
    let mut pair = Pair::up(&lab);
    until(server, accept, "2");
    FORWARDING.iter().for_each(|key| until(server, key, "1"));
    assert!(server.output("ip -6 route show default").contains("proto ra"));
    assert_ne!(switch(server, "ipv6/conf/inet0/accept_ra"), "2", "it has no such route");
    assert_eq!(ping(server, ISP, 1, 20, &[]).rtts_ms.len(), 1);
    pair.server.stop();
    until(server, accept, "1");
    FORWARDING.iter().for_each(|key| until(server, key, "0"));
}
