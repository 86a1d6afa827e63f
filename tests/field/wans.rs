//! WANs as they are in the field: several prefixes, other VPNs, modems with a new name at each
//! reset, and what is said where one does not work.

use crate::lab::onebox::{
    Instance, Keys, PORT, Pair, START, peer_of, router_config, server_config,
};
use crate::lab::onebox::{preshared_key, wan_section};
use crate::lab::programs::{interface_bytes, ping, poll_until};
use crate::lab::topology::{INTERNET, Lab, SERVER, SERVER6, Site, Wan};
use onebox::status::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

fn two_wans() -> Lab {
    Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)])
}

/// A command of `ip` in the router; it has to work.
fn ip(lab: &Lab, line: &str) {
    lab.site().router.output(&format!("ip {line}"));
}

/// IPv6 default routes as netifd makes them: each for the prefix of its own WAN only.
fn source_specific(lab: &Lab) {
    for wan in 1..=lab.site().links.len() {
        ip(lab, &format!("-6 route del default dev wan{wan}"));
        from_prefix(lab, wan, &format!("fd00:{wan}::/64"), &format!("fd00:{wan}::1"));
    }
}

fn from_prefix(lab: &Lab, wan: usize, prefix: &str, gateway: &str) {
    let metric = 10 + wan;
    ip(
        lab,
        &format!("-6 route add default from {prefix} via {gateway} dev wan{wan} metric {metric}"),
    );
}

/// A server and a router that reaches it at `endpoint`; `wans` are sections of their own. Without
/// `serves` the server does not run.
fn pair<'a>(lab: &'a Lab, endpoint: &str, wans: &str, serves: bool) -> Pair<'a> {
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let preshared = preshared_key();
    let peer = peer_of(lab.site(), "home", &router_keys, Some(&preshared), 2);
    let mut server = Instance::new(&lab.server, &server_config(&server_keys, &[peer]));
    if serves {
        server.start();
    }
    let config = router_config(&router_keys, &server_keys.public, Some(&preshared), 2, wans);
    let config = config.replace(&format!("{SERVER}:{PORT}"), endpoint);
    let router = Instance::started(&lab.site().router, &config);
    Pair { server, router, server_keys, router_keys, preshared }
}

/// Waits until the path over a device fits.
fn until(pair: &Pair<'_>, device: &str, what: &str, fits: impl Fn(&Path) -> bool) -> Path {
    poll_until(Duration::from_secs(15), &format!("{device}: {what}"), || {
        pair.router.path(device).filter(|p| fits(p))
    })
}

fn is_from(path: &Path, address: &str) -> bool {
    path.state.as_str() == "active" && path.local.starts_with(&format!("[{address}]:"))
}

fn assert_reaches_internet(site: &Site) {
    assert_eq!(ping(&site.lan, INTERNET, 10, 20, &[]).rtts_ms.len(), 10);
}

/// Two providers, each with a prefix of its own and a default route for that prefix: both WANs
/// carry data, each from its own address.
#[test]
fn two_ipv6_wans_with_source_specific_routes() {
    let lab = two_wans();
    source_specific(&lab);
    let pair = pair(&lab, &format!("[{SERVER6}]:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    for wan in 1..=2 {
        let own = format!("fd00:{wan}::2");
        until(&pair, &format!("wan{wan}"), "its own address, which the server sees", |path| {
            is_from(path, &own)
                && (path.public_address.as_deref(), path.nat) == (Some(own.as_str()), Some(false))
        });
    }
    assert_reaches_internet(lab.site());
    let sent = |device: &str| interface_bytes(&lab.site().router, device).1;
    let before = ["wan1", "wan2"].map(sent);
    ping(&lab.site().lan, INTERNET, 50, 10, &["-s", "1000"]);
    for (wan, before) in ["wan1", "wan2"].into_iter().zip(before) {
        assert!(sent(wan) > before + 1000, "{wan} carries nothing");
    }
}

/// The prefix of a WAN is replaced: a second one comes, the first is deprecated, then it goes. The
/// path moves with it, and the connection goes on.
#[test]
fn a_prefix_is_renumbered() {
    let lab = two_wans();
    source_specific(&lab);
    ip(&lab, "-4 addr flush dev wan1");
    let pair = pair(&lab, &format!("[{SERVER6}]:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    lab.isp.ip("addr add fd00:21::1/64 dev gw1 nodad");
    ip(&lab, "addr add fd00:21::2/64 dev wan1 nodad");
    from_prefix(&lab, 1, "fd00:21::/64", "fd00:21::1");
    std::thread::sleep(Duration::from_millis(300));
    let path = pair.router.path("wan1").expect("a path");
    assert!(is_from(&path, "fd00:1::2"), "the address in use is kept: {path:?}");

    ip(&lab, "addr change fd00:1::2/64 dev wan1 preferred_lft 0 valid_lft 3600");
    until(&pair, "wan1", "the new prefix", |path| is_from(path, "fd00:21::2"));
    ip(&lab, "addr del fd00:1::2/64 dev wan1");
    ip(&lab, "-6 route del default from fd00:1::/64 dev wan1");
    assert_reaches_internet(lab.site());
    until(&pair, "wan1", "the new prefix", |path| is_from(path, "fd00:21::2"));

    // Flash renumbering: the old prefix goes before the new one comes (RFC 8978).
    ip(&lab, "addr del fd00:21::2/64 dev wan1");
    until(&pair, "wan1", "no address", |path| path.reason_code == "no_address");
    assert_reaches_internet(lab.site());
    ip(&lab, "addr add fd00:21::3/64 dev wan1 nodad");
    until(&pair, "wan1", "another address", |path| is_from(path, "fd00:21::3"));
}

/// The only prefix is deprecated, and nothing new comes: it works while it is valid.
#[test]
fn a_deprecated_address_is_better_than_none() {
    let lab = two_wans();
    source_specific(&lab);
    let pair = pair(&lab, &format!("[{SERVER6}]:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    ip(&lab, "addr change fd00:1::2/64 dev wan1 preferred_lft 0 valid_lft 3600");
    std::thread::sleep(Duration::from_secs(1));
    let path = pair.router.path("wan1").expect("a path");
    assert!(is_from(&path, "fd00:1::2"), "{path:?}");
}

/// Several IPv4 addresses on a device, of which another subnet's is the first: sent from is the
/// one beside the gateway, and its successor when it goes.
#[test]
fn of_several_ipv4_addresses_that_of_the_gateways_subnet_is_used() {
    let lab = two_wans();
    ip(&lab, "addr flush dev wan2 scope global");
    for address in ["192.168.77.2/24", "10.2.0.2/24", "10.2.0.3/24"] {
        ip(&lab, &format!("addr add {address} dev wan2"));
    }
    lab.site().router.sysctl(&[("ipv4/conf/wan2/promote_secondaries", "1")]);
    ip(&lab, "route add default via 10.2.0.1 dev wan2 metric 12");
    let pair = pair(&lab, &format!("{SERVER}:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    let from = |address: &'static str| {
        move |path: &Path| {
            path.state.as_str() == "active" && path.local.starts_with(&format!("{address}:"))
        }
    };
    until(&pair, "wan2", "beside the gateway", from("10.2.0.2"));
    ip(&lab, "addr del 10.2.0.2/24 dev wan2");
    ip(&lab, "route replace default via 10.2.0.1 dev wan2 metric 12");
    until(&pair, "wan2", "its successor", from("10.2.0.3"));
}

/// Other VPNs with a default route are no WANs, whether that is the better one or not; named in
/// the configuration they are.
#[test]
fn another_vpn_is_no_wan_unless_it_is_named() {
    let lab = two_wans();
    ip(&lab, "link add vx0 type vxlan id 5 remote 10.1.0.1 dstport 4789");
    ip(&lab, "tuntap add mode tun name vpn0");
    for (number, device) in ["vx0", "vpn0"].into_iter().enumerate() {
        ip(&lab, &format!("addr add 172.16.{number}.2/24 dev {device}"));
        ip(&lab, &format!("link set {device} up"));
        let metric = 9 + 5 * number;
        ip(&lab, &format!("route add default via 172.16.{number}.1 dev {device} metric {metric}"));
    }
    let mut pair = pair(&lab, &format!("{SERVER}:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    let devices = |pair: &Pair<'_>| -> Vec<String> {
        pair.router.paths().into_iter().map(|path| path.device).collect()
    };
    assert_eq!(devices(&pair), ["wan1", "wan2"]);
    pair.router.stop();
    let named = ["wan1", "vx0"].map(wan_section).concat();
    pair.router.write_config(&pair.router_config(&named));
    pair.router.start();
    pair.router.wait_up(1, START);
    assert_eq!(devices(&pair), ["wan1", "vx0"]);
}

/// A modem that has another name after each reset, 25 times in a row: each name is used, those
/// that are gone vanish.
#[test]
fn a_modem_with_a_new_name_at_each_reset() {
    let lab = two_wans();
    let pair = pair(&lab, &format!("{SERVER}:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    let mut name = "wan2".to_owned();
    for number in 0..25 {
        let next = format!("wwan{number}");
        ip(&lab, &format!("link set {name} down"));
        ip(&lab, &format!("link set {name} name {next}"));
        ip(&lab, &format!("link set {next} up"));
        ip(&lab, &format!("route add default via 10.2.0.1 dev {next} metric 12"));
        until(&pair, &next, "in use", |path| path.state.as_str() == "active");
        name = next;
    }
    assert_eq!(pair.router.path("wan1").expect("a path").state.as_str(), "active");
    poll_until(Duration::from_secs(70), "the dead names vanish", || {
        let devices: Vec<String> = pair.router.paths().into_iter().map(|p| p.device).collect();
        (devices == ["wan1", "wwan24"]).then_some(())
    });
    assert_reaches_internet(lab.site());
}

/// What a WAN lacks is said by its name, whether it was discovered or is configured.
#[test]
fn what_a_wan_lacks_is_said() {
    let lab = two_wans();
    ip(&lab, "-6 route del default dev wan2");
    let mut pair = pair(&lab, &format!("{SERVER}:{PORT}"), "", true);
    for configured in [false, true] {
        if configured {
            pair.router.stop();
            let wans = ["wan1", "wan2"].map(wan_section).concat();
            pair.router.write_config(&pair.router_config(&wans));
            pair.router.start();
        }
        pair.router.wait_up(2, START);
        let lacks = |code: &str| {
            until(&pair, "wan2", code, |p| p.state.as_str() == "down" && p.reason_code == code)
        };
        ip(&lab, "route del default dev wan2");
        assert_eq!(lacks("no_default_route").reason, "no default route");
        ip(&lab, "addr flush dev wan2 scope global");
        assert_eq!(lacks("no_address").reason, "link has no address");
        ip(&lab, "addr add 10.2.0.2/24 dev wan2");
        ip(&lab, "route add default via 10.2.0.1 dev wan2 metric 12");
        until(&pair, "wan2", "in use", |path| path.state.as_str() == "active");
        lab.link(1).set("carrier off");
        lacks("link_down");
        lab.link(1).set("carrier on");
        until(&pair, "wan2", "in use", |path| path.state.as_str() == "active");
    }
}

/// The seventeenth WAN is not used, and the status says so until there is room.
#[test]
fn more_wans_than_paths_is_a_problem() {
    let lab = two_wans();
    for number in 3..=17 {
        ip(&lab, &format!("link add eth{number} type veth peer name far{number}"));
        ip(&lab, &format!("addr add 172.16.{number}.2/24 dev eth{number}"));
        ip(&lab, &format!("link set far{number} up"));
        ip(&lab, &format!("link set eth{number} up"));
        let metric = 20 + number;
        ip(
            &lab,
            &format!("route add default via 172.16.{number}.1 dev eth{number} metric {metric}"),
        );
    }
    let pair = pair(&lab, &format!("{SERVER}:{PORT}"), "", true);
    pair.router.wait_up(2, START);
    let told = || {
        let problems = pair.router.status().problems;
        problems.into_iter().find(|problem| problem.code == "too_many_wans")
    };
    let problem = poll_until(SOON, "a problem", told);
    assert!(problem.words.contains("16 WANs") && problem.words.contains("eth"), "{problem:?}");
    ip(&lab, "link del eth3");
    poll_until(SOON, "no problem", || told().is_none().then_some(()));
    assert_eq!(pair.router.paths().iter().filter(|path| path.device == "eth3").count(), 0);
}

/// Waits for the last error of the path over wan1, which the peer shows, too, while it is not up.
fn last_error(pair: &Pair<'_>, code: &str) -> String {
    let what = format!("last error {code}");
    let path = until(pair, "wan1", &what, |path| {
        path.last_error.as_ref().is_some_and(|error| error.code == code)
    });
    let status = pair.router.status();
    let of_peer = status.peers[0].last_error.as_ref().map(|error| error.code.as_str());
    assert_eq!(of_peer, Some(code));
    let error = path.last_error.expect("an error");
    assert!(!error.remedy.is_empty() && error.age_s < 60, "{error:?}");
    error.words
}

/// A server that does not run, one that cannot be reached, a firewall: each is told apart, over
/// IPv4 and IPv6, and forgotten when the server answers.
#[test]
fn why_the_server_does_not_answer() {
    let lab = two_wans();
    for (server, endpoint) in
        [(SERVER, format!("{SERVER}:{PORT}")), (SERVER6, format!("[{SERVER6}]:{PORT}"))]
    {
        let mut pair = pair(&lab, &endpoint, "", false);
        let words = last_error(&pair, "server_refuses");
        assert_eq!(words, format!("{server} refuses UDP {PORT}: is the program running there?"));

        let family = if server == SERVER6 { "-6" } else { "-4" };
        lab.isp.output(&format!("ip {family} route add unreachable {server}"));
        let words = last_error(&pair, "server_unreachable");
        let gateway = if server == SERVER6 { "fd00:1::1" } else { "10.1.0.1" };
        assert!(words.ends_with(&format!(", says {gateway}")), "{words}");
        lab.isp.output(&format!("ip {family} route del unreachable {server}"));

        let router = &lab.site().router;
        router.output("nft add table inet wall");
        router.output("nft add chain inet wall out { type filter hook output priority 0 ; }");
        router.output(&format!("nft add rule inet wall out udp dport {PORT} reject"));
        let words = last_error(&pair, "sending_denied");
        assert_eq!(words, format!("UDP to {server} is forbidden"));
        router.output("nft delete table inet wall");

        pair.server.start();
        pair.router.wait_up(2, START);
        let forgotten = |path: &Path| path.last_error.is_none();
        until(&pair, "wan1", "no error", forgotten);
        assert_eq!(pair.router.status().peers[0].last_error, None);
        pair.router.stop();
    }
}
