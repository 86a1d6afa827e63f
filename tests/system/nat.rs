//! A LAN behind a router behind a tunnel behind a server: translation, ports, MSS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::socket::{getsockopt, sockopt};
use onebox_linux::nft::{Forward, Protocol, Tables};
use onebox_linux::system::{Desired, System};
use onebox_linux::tun::Tun;

use crate::tun::{MTU, Pump, open};
use crate::world::{Namespace, StateFile, block_on, ids, make};

const SIZE: usize = 300_000;

/// Applies `desired`, completed for `tun`, inside.
fn apply(namespace: &Namespace, tun: &Tun, desired: Desired) {
    let desired = Desired {
        device: tun.name().to_owned(),
        ifindex: tun.ifindex(),
        mtu: MTU,
        forwarding: true,
        ..desired
    };
    namespace.run(move || {
        let state = StateFile::new();
        block_on(async {
            let mut system = System::open(ids(), &state.0, false).await.unwrap();
            make(&mut system, &desired).await;
            system.table_settled().await.unwrap();
        });
    });
}

/// Connects, sends, gets it back; tells who the listener saw and both segment sizes.
fn echo(
    server: &Namespace,
    listen: &'static str,
    client: &Namespace,
    connect: Option<SocketAddr>,
) -> (SocketAddr, [u32; 2]) {
    let listener = server.run(move || TcpListener::bind(listen).unwrap());
    let to = connect.unwrap_or_else(|| listener.local_addr().unwrap());
    let server = server.start(move || {
        let (mut stream, from) = listener.accept().unwrap();
        // At once: later the path's MTU would have been learnt from ICMP.
        let segment = getsockopt(&stream, sockopt::TcpMaxSeg).unwrap();
        let mut data = vec![0; SIZE];
        stream.read_exact(&mut data).unwrap();
        stream.write_all(&data).unwrap();
        (from, segment)
    });
    let segment = client.run(move || {
        let mut stream = TcpStream::connect(to).unwrap();
        let segment = getsockopt(&stream, sockopt::TcpMaxSeg).unwrap();
        stream.write_all(&[7; SIZE]).unwrap();
        let mut back = vec![0; SIZE];
        stream.read_exact(&mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == 7));
        segment
    });
    let (from, other) = server.join().unwrap();
    (from, [segment, other])
}

#[test]
fn a_lan_reaches_the_internet_and_a_port_reaches_the_lan() {
    let Some((router, tun_a)) = open(1, true) else { return };
    let Some((server, tun_b)) = open(2, true) else { return };
    let (Some(lan), Some(internet)) = (Namespace::new(), Namespace::new()) else { return };
    lan.link("eth0", &router, "lan0");
    lan.ip("address add 192.168.1.9/24 dev eth0");
    lan.ip("route add default via 192.168.1.1");
    router.ip("address add 192.168.1.1/24 dev lan0");
    server.link("wan0", &internet, "isp0");
    server.ip("address add 203.0.113.2/24 dev wan0");
    server.ip("route add default via 203.0.113.1");
    internet.ip("address add 203.0.113.1/24 dev isp0");
    internet.ip("address add 198.51.100.1/32 dev lo");

    let address = |text: &str| vec![text.parse().unwrap()];
    let network = |text: &str| vec![text.parse().unwrap()];
    let on_router = Desired {
        addresses: address("10.99.0.1/24"),
        routes: network("0.0.0.0/0"),
        tables: Some(Tables {
            mss_clamp: true,
            masquerade_into_tunnel: vec!["10.99.0.1".parse().unwrap()],
            ..Tables::default()
        }),
        ..Desired::default()
    };
    apply(&router, &tun_a, on_router);
    let on_server = Desired {
        addresses: address("10.99.0.2/24"),
        routes: network("192.168.1.0/24"),
        tables: Some(Tables {
            mss_clamp: true,
            masquerade_sources: network("10.99.0.0/24"),
            forwards: vec![Forward {
                protocol: Protocol::Tcp,
                port: 443,
                to: "192.168.1.9:8443".parse().unwrap(),
            }],
            accept_forward: true,
            ..Tables::default()
        }),
        ..Desired::default()
    };
    apply(&server, &tun_b, on_server);
    let pump = Pump::start(tun_a, tun_b);

    let (from, segments) = echo(&internet, "198.51.100.1:0", &lan, None);
    assert_eq!(from.ip().to_string(), "203.0.113.2", "translated twice");
    // Without the IPv4 and TCP headers.
    let largest = MTU - 20 - 20;
    assert!(segments.iter().all(|size| *size <= largest), "{segments:?}");

    let port = "203.0.113.2:443".parse().unwrap();
    let (from, segments) = echo(&lan, "192.168.1.9:8443", &internet, Some(port));
    assert_eq!(from.ip().to_string(), "203.0.113.1", "who connects stays visible");
    assert!(segments.iter().all(|size| *size <= largest), "{segments:?}");
    pump.end();
}
