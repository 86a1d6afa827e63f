//! Public addresses: what the provider makes of a link's own, and that the router knows it.

use crate::lab::clock;
use crate::lab::onebox::Pair;
use crate::lab::pinger::Pinger;
use crate::lab::programs::poll_until;
use crate::lab::topology::{INTERNET, Lab, Wan};
use onebox::status::Path;
use std::time::Duration;

/// The provider of the first link translates its address to this one from now on. Without memory, so
/// that every packet has the new one at once.
fn translate(lab: &Lab, public: &str) {
    let own = lab.site().wan_address(0);
    let script = format!(
        "add table ip provider\n\
         flush table ip provider\n\
         add chain ip provider out {{ type filter hook postrouting priority 100; }}\n\
         add chain ip provider back {{ type filter hook prerouting priority -300; }}\n\
         add rule ip provider out ip saddr {own} ip saddr set {public}\n\
         add rule ip provider back ip daddr {public} ip daddr set {own}\n"
    );
    let output = lab.isp.command("nft").arg(&script).output().expect("nft runs");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn until(pair: &Pair<'_>, what: &str, fits: impl Fn(&Path) -> bool) -> Duration {
    let begun = clock::now();
    // A keepalive goes out each 15 s.
    poll_until(Duration::from_secs(25), what, || pair.router.path("wan1").filter(|p| fits(p)));
    begun.elapsed()
}

fn is_seen_at(address: &'static str) -> impl Fn(&Path) -> bool {
    move |path| path.public_address.as_deref() == Some(address)
}

/// A link behind a NAT and one without: both are told. The NAT forgets its ports, and then has another
/// address, while there is little traffic and while there is none but keepalives.
#[test]
fn a_link_is_seen_at_the_address_of_its_nat_and_at_the_new_one() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 10), Wan::mbit_ms(50, 10)]);
    translate(&lab, "203.0.113.9");
    let pair = Pair::up(&lab);
    until(&pair, "the NAT's address", is_seen_at("203.0.113.9"));
    poll_until(Duration::from_secs(10), "the other's", || pair.router.path("wan2")?.public_address);
    let (first, second) = (pair.router.path("wan1").unwrap(), pair.router.path("wan2").unwrap());
    assert_eq!(first.nat, Some(true));
    assert_eq!((second.public_address.as_deref(), second.nat), (Some("10.2.0.2"), Some(false)));
    // At most every ten seconds.
    let logged = |line: &str| {
        poll_until(Duration::from_secs(20), line, || {
            pair.router.log().contains(line).then_some(())
        });
    };
    logged("vps, wan1: seen at 203.0.113.9 behind a NAT\n");
    let seen = pair.server.paths();
    assert!(seen.iter().all(|path| path.public_address.is_none() && path.nat.is_none()));

    let output = pair.router.command(&["status"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = "\nPublic addresses: wan1 203.0.113.9 behind a NAT, wan2 10.2.0.2 without NAT\n";
    assert!(text.contains(line), "{text}");

    // New addresses are looked at one each second by a server that has just begun.
    poll_until(Duration::from_secs(20), "a server of some age", || {
        (pair.server.status().uptime_s >= 6).then_some(())
    });
    let pings = Pinger::start(&lab.site().lan, INTERNET, Duration::from_millis(50), None);
    translate(&lab, "203.0.113.10");
    let with_traffic = until(&pair, "the NAT's new address", is_seen_at("203.0.113.10"));
    drop(pings);
    // Nothing but what keeps the NAT's mapping alive is sent now. Port and address at once.
    lab.link(0).set("rebind");
    translate(&lab, "203.0.113.11");
    let without = until(&pair, "one more", is_seen_at("203.0.113.11"));
    println!(
        "known after {with_traffic:?} with traffic, {without:?} without, port and address at once"
    );
    assert!(with_traffic < Duration::from_secs(1), "{with_traffic:?}");
    logged("seen at 203.0.113.11 behind a NAT, before ");

    // What was true before the link was gone is not told of one that does not work.
    lab.link(0).set("carrier off");
    until(&pair, "none", |path| path.public_address.is_none() && path.nat.is_none());
    lab.link(0).set("carrier on");
    until(&pair, "the same", is_seen_at("203.0.113.11"));
}
