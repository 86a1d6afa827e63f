//! Connections that come in by a WAN: to a host of the LAN by a port forward of the firewall's, or
//! to the router by one of its other addresses. Their answers have to leave by the same WAN, or
//! nobody takes them.

use crate::lab::netns::Netns;
use crate::lab::onebox::{Pair, START};
use crate::lab::programs::{TempDir, ping, poll_until, run};
use crate::lab::topology::{INTERNET, ISP, Lab, Wan};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_millis(200);
/// The forwarded port, and the one behind it.
const PORT: u16 = 8080;
/// Address of the provider's, as [`ISP`], IPv6.
const ISP6: &str = "2001:db8:100::fe";

/// A firewall of somebody else's on the router: forwards a port of each WAN.
fn forward(router: &Netns, [to, to6]: &[String; 2]) {
    let rules = format!(
        "table inet someone {{\n chain pre {{\n  type nat hook prerouting priority dstnat;\n\
           iifname \"wan*\" meta nfproto ipv4 udp dport {PORT} dnat ip to {to}\n\
           iifname \"wan*\" meta nfproto ipv6 udp dport {PORT} dnat ip6 to [{to6}]\n }}\n}}\n"
    );
    let dir = TempDir::new();
    let file = dir.file("rules.nft");
    std::fs::write(&file, rules).expect("a file for the rules");
    let mut command = router.command("nft");
    command.arg("-f").arg(&file);
    run(command, SOON);
}

/// Answers on `PORT` of these addresses of `host` while `during` runs.
fn answering<T>(host: &Netns, addresses: &[String], during: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let answer = |address: &str| {
        let address = SocketAddr::new(address.parse().expect("an address"), PORT);
        let socket = UdpSocket::bind(address).expect("a socket");
        socket.set_read_timeout(Some(READ)).expect("a time limit");
        let mut buffer = [0; 64];
        while !over.load(Ordering::Relaxed) {
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..len], from);
            }
        }
    };
    std::thread::scope(|scope| {
        for address in addresses {
            scope.spawn(|| host.run(|| answer(address)));
        }
        // They end when the test fails, too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
        over.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How many of five questions from an address of the provider's have their answer.
fn answers(isp: &Netns, from: &str, to: SocketAddr) -> usize {
    isp.run(|| {
        let from = SocketAddr::new(from.parse().expect("an address"), 0);
        let socket = UdpSocket::bind(from).expect("a socket");
        socket.connect(to).expect("an address");
        socket.set_read_timeout(Some(READ)).expect("a time limit");
        let mut buffer = [0; 64];
        let answered = |_: &i32| {
            let _ = socket.send(b"is anybody there?");
            socket.recv(&mut buffer).is_ok()
        };
        (0..5).filter(answered).count()
    })
}

fn assert_all_answer(lab: &Lab, wans: std::ops::RangeInclusive<usize>) {
    for wan in wans {
        for (from, to) in [(ISP, format!("10.{wan}.0.2")), (ISP6, format!("fd00:{wan}::2"))] {
            let to = SocketAddr::new(to.parse().expect("an address"), PORT);
            poll_until(SOON, &format!("{to} answers {from}"), || {
                (answers(&lab.isp, from, to) == 5).then_some(())
            });
        }
    }
}

fn lab(wans: usize) -> Lab {
    Lab::new(&vec![Wan::mbit_ms(50, 10); wans])
}

/// With the source check of a careful distribution, by each WAN and family; and the LAN's own
/// traffic goes into the tunnel as before.
#[test]
fn a_forwarded_port_answers_by_its_wan() {
    let lab = lab(3);
    let router = &lab.site().router;
    let strict = ["all", "default", "wan1", "wan2", "wan3"];
    let strict = strict.map(|name| format!("ipv4/conf/{name}/rp_filter"));
    let strict: Vec<_> = strict.iter().map(|key| (key.as_str(), "1")).collect();
    router.sysctl(&strict);
    let behind = [lab.site().lan_address(), lab.site().lan_address6()];
    forward(router, &behind);
    let pair = Pair::with_wans(&lab, "", 3);
    answering(&lab.site().lan, &behind, || {
        assert_all_answer(&lab, 1..=3);
        // A ruleset that is flushed and made anew by its owner.
        router.output("nft flush ruleset");
        forward(router, &behind);
        assert_all_answer(&lab, 1..=3);
        // The others keep their mark when one goes.
        router.ip("link set wan1 down");
        poll_until(START, "wan1 is not used", || {
            pair.router.path("wan1").filter(|p| p.state.as_str() == "down")
        });
        assert_all_answer(&lab, 2..=3);
    });
    assert_eq!(ping(&lab.site().lan, INTERNET, 10, 20, &[]).rtts_ms.len(), 10);
}

/// The router itself answers under an address of its LAN.
#[test]
fn a_port_forwarded_to_the_router_itself_answers_by_its_wan() {
    let lab = lab(2);
    let router = &lab.site().router;
    let own = ["192.168.7.1", "fd00:7::1"].map(str::to_owned);
    forward(router, &own);
    let _pair = Pair::with_wans(&lab, "", 2);
    answering(router, &own, || assert_all_answer(&lab, 1..=2));
}
