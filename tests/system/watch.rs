//! The watcher sees what happens to interfaces.

use std::sync::Arc;
use std::time::Duration;

use onebox_linux::clock;
use onebox_linux::netlink::{Network, Selection, Wan, WanFault, Watcher, wans};
use tokio::time::timeout;

use crate::world::{Namespace, block_on, ip};

const LIMIT: Duration = Duration::from_millis(200);

/// Waits for a state of the network that fits; tells how long that took.
async fn until(watcher: &mut Watcher, what: &str, fits: impl Fn(&Network) -> bool) -> Duration {
    let start = clock::timer_now();
    let mut network: Arc<Network> = watcher.current();
    while !fits(&network) {
        network = match timeout(Duration::from_secs(5), watcher.changed()).await {
            Ok(network) => network.unwrap(),
            Err(_) => panic!("never seen: {what}, last {network:#?}"),
        };
    }
    start.elapsed()
}

fn discovered(network: &Network) -> Vec<Wan> {
    wans(network, &Selection { discover: true, ..Selection::default() })
}

fn gateway(network: &Network) -> Option<String> {
    Some(discovered(network).first()?.v4?.gateway?.to_string())
}

#[test]
fn links_carriers_addresses_and_gateways() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        block_on(async {
            let mut watcher = Watcher::start("onebox0").await.unwrap();
            assert!(watcher.current().interfaces.is_empty());

            ip("link add w0 type veth peer name p0");
            let named = |n: &Network, name: &str| n.interfaces.values().any(|i| i.name == name);
            until(&mut watcher, "a link", |n| named(n, "w0") && named(n, "p0")).await;

            ip("link set p0 up");
            ip("link set w0 up");
            ip("address add 10.0.0.2/24 dev w0");
            ip("route add default via 10.0.0.1 dev w0 metric 5");
            until(&mut watcher, "a WAN", |n| {
                discovered(n).iter().any(|w| w.fault.is_none() && w.device == "w0")
            })
            .await;
            assert_eq!(gateway(&watcher.current()).as_deref(), Some("10.0.0.1"));

            ip("link set p0 down");
            let lost = until(&mut watcher, "a lost carrier", |n| {
                n.interfaces.values().any(|i| i.name == "w0" && i.up && !i.carrier)
            })
            .await;
            assert!(lost < LIMIT, "{lost:?}");
            ip("link set p0 up");
            until(&mut watcher, "the carrier", |n| {
                discovered(n).first().is_some_and(|w| w.fault.is_none())
            })
            .await;

            ip("route replace default via 10.0.0.3 dev w0 metric 5");
            until(&mut watcher, "a gateway", |n| gateway(n).as_deref() == Some("10.0.0.3")).await;

            ip("address add 10.0.1.2/24 dev w0");
            ip("address del 10.0.0.2/24 dev w0");
            ip("route replace default via 10.0.1.1 dev w0");
            until(&mut watcher, "another address", |n| {
                discovered(n).first().and_then(|w| w.v4).is_some_and(|v4| {
                    v4.address.to_string() == "10.0.1.2"
                        && v4.gateway.is_some_and(|g| g.to_string() == "10.0.1.1")
                })
            })
            .await;

            // IPv4 routes go with their link without a word.
            ip("link set w0 down");
            until(&mut watcher, "the routes gone", |n| discovered(n).is_empty()).await;
            ip("link del w0");
            until(&mut watcher, "the link gone", |n| n.interfaces.is_empty()).await;
        });
    });
}

#[test]
fn ipv6_and_point_to_point() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        block_on(async {
            let mut watcher = Watcher::start("onebox0").await.unwrap();
            ip("link add w0 type veth peer name p0");
            ip("link set p0 up");
            ip("link set w0 up");
            ip("-6 address add 2001:db8::2/64 dev w0");
            ip("-6 route add default via fe80::1 dev w0");
            // Not before duplicate address detection has ended.
            until(&mut watcher, "an IPv6 WAN", |n| {
                discovered(n).first().and_then(|w| w.v6).is_some_and(|v6| {
                    v6.address.to_string() == "2001:db8::2"
                        && v6.gateway.is_some_and(|g| g.to_string() == "fe80::1")
                })
            })
            .await;
            ip("link add d0 type veth peer name pd0");
            ip("link set pd0 up");
            ip("link set d0 up");
            ip("address add 10.64.0.2 peer 10.64.0.1/32 dev d0");
            ip("route add default dev d0 metric 9");
            until(&mut watcher, "a WAN without gateway", |n| {
                discovered(n)
                    .iter()
                    .filter_map(|w| w.v4)
                    .any(|v4| v4.gateway.is_none() && v4.address.to_string() == "10.64.0.2")
            })
            .await;
            // Our own device is not a WAN.
            ip("link add onebox0 type veth peer name other");
            ip("link set other up");
            ip("link set onebox0 up");
            ip("address add 10.99.0.2/24 dev onebox0");
            ip("route add default dev onebox0 metric 1");
            ip("link set d0 down");
            until(&mut watcher, "only the first WAN", |n| discovered(n).len() == 1).await;
            let configured = vec![("lte".to_owned(), "wwan0".to_owned())];
            let list = wans(&watcher.current(), &Selection { configured, ..Selection::default() });
            assert_eq!(list[0].fault, Some(WanFault::Absent));
        });
    });
}

#[test]
fn lost_messages_are_made_up_for() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        ip("link add w0 type veth peer name p0");
        ip("link set w0 up");
        block_on(async {
            let mut watcher = Watcher::start("onebox0").await.unwrap();
            // Nobody reads while this blocks the runtime: more than the socket keeps.
            let lines: String = (0..4000_u32)
                .map(|i| format!("address add 10.{}.{}.1/32 dev w0\n", i / 250, i % 250))
                .collect();
            let file = std::env::temp_dir().join(format!("onebox-batch-{}", std::process::id()));
            std::fs::write(&file, lines).unwrap();
            ip(&format!("-batch {}", file.display()));
            std::fs::remove_file(file).unwrap();
            until(&mut watcher, "all addresses", |n| {
                let v4 = |i: &onebox_linux::netlink::Interface| {
                    i.addresses.iter().filter(|a| a.ip.is_ipv4()).count()
                };
                n.interfaces.values().map(v4).sum::<usize>() == 4000
            })
            .await;
        });
    });
}
