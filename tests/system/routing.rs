//! Two WANs and a tunnel: who leaves by which.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket as PlainSocket};
use std::time::Duration;

use onebox_linux::ids::wan_table;
use onebox_linux::netlink::{Selection, Watcher, wans};
use onebox_linux::system::{Desired, System, wan_routes};
use onebox_linux::tun::Tun;
use onebox_linux::udp::{Family, Options, UdpSocket};

use crate::world::{Namespace, StateFile, block_on, command, eventually, ids, ip, make};

/// The server's addresses, behind both WANs.
const SERVER: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

/// A client with WANs `wan1` (best) and `wan2` and a LAN, and the internet behind the WANs.
pub fn two_wans() -> Option<(Namespace, Namespace)> {
    let client = Namespace::new()?;
    let internet = Namespace::new()?;
    internet.ip(&format!("address add {}/32 dev lo", SERVER[0]));
    internet.ip(&format!("-6 address add {}/128 dev lo", SERVER[1]));
    for wan in [1, 2] {
        client.link(&format!("wan{wan}"), &internet, &format!("isp{wan}"));
        client.ip(&format!("address add 10.{wan}.0.2/24 dev wan{wan}"));
        client.ip(&format!("-6 address add 2001:db8:{wan}::2/64 dev wan{wan} nodad"));
        internet.ip(&format!("address add 10.{wan}.0.1/24 dev isp{wan}"));
        internet.ip(&format!("-6 address add 2001:db8:{wan}::1/64 dev isp{wan} nodad"));
        client.ip(&format!("route add default via 10.{wan}.0.1 dev wan{wan} metric {wan}0"));
        client
            .ip(&format!("-6 route add default via 2001:db8:{wan}::1 dev wan{wan} metric {wan}0"));
    }
    // The strictest check of sources that a distribution sets.
    client.run(|| {
        for name in ["all", "wan1", "wan2"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "1").unwrap();
        }
    });
    Some((client, internet))
}

/// A tunnel that everything goes into, with the WANs as they are.
pub async fn full_tunnel(tun: &Tun) -> Desired {
    let mut watcher = Watcher::start(tun.name()).await.unwrap();
    let network = watcher.current();
    let list = wans(&network, &Selection { discover: true, ..Selection::default() });
    assert_eq!(list.len(), 2, "{network:#?}");
    Desired {
        device: tun.name().to_owned(),
        ifindex: tun.ifindex(),
        addresses: vec!["10.99.0.2/24".parse().unwrap(), "fd99::2/64".parse().unwrap()],
        mtu: 1380,
        routes: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        wans: wan_routes(&network, (0..).zip(&list)),
        ..Desired::default()
    }
}

/// By which device the kernel would send.
fn device_to(words: &str) -> String {
    let (_, answer) = command("ip", &format!("route get {words}"));
    let mut words = answer.split_ascii_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or("none").to_owned()
}

#[test]
fn everything_goes_where_it_should_and_comes_back() {
    let Some((client, _internet)) = two_wans() else { return };
    client.run(|| {
        let state = StateFile::new();
        let rules = || ip("rule show") + &ip("-6 rule show");
        let main = || {
            let all = ip("route show table main") + &ip("-6 route show table main");
            all.lines().filter(|l| !l.contains("onebox0")).map(str::to_owned).collect::<Vec<_>>()
        };
        let (rules_before, main_before) = (rules(), main());
        block_on(async {
            let tun = Tun::open("onebox0", true).unwrap();
            let mut desired = full_tunnel(&tun).await;
            let mut system = System::open(ids(), &state.0, false).await.unwrap();
            make(&mut system, &desired).await;
            let rules_in_force = rules();
            make(&mut system, &desired).await;
            assert_eq!(rules(), rules_in_force, "a second time changes nothing");
            assert_eq!(main(), main_before);
            assert!(ip("link show onebox0").contains("mtu 1380"));

            for server in SERVER {
                assert_eq!(device_to(server), "onebox0");
                let marked = |wan: &str| format!("{server} mark {:#x} oif {wan}", ids().mark);
                assert_eq!(device_to(&marked("wan1")), "wan1");
                assert_eq!(device_to(&marked("wan2")), "wan2");
            }
            for wan in [1, 2] {
                let name = format!("wan{wan}");
                assert_eq!(device_to(&format!("{} from 10.{wan}.0.2", SERVER[0])), name);
                assert_eq!(device_to(&format!("{} from 2001:db8:{wan}::2", SERVER[1])), name);
                assert_eq!(device_to(&format!("10.{wan}.0.77")), name, "connected");
            }

            // A provider's name servers are asked by its own WAN, both families.
            for (wan, resolver) in [(2, "203.0.113.53"), (3, "2001:db8:53::53")] {
                desired.wans[wan].resolvers = vec![resolver.parse().unwrap()];
            }
            make(&mut system, &desired).await;
            assert_eq!(device_to("203.0.113.53"), "wan2");
            assert_eq!(device_to("2001:db8:53::53"), "wan2");
            assert_eq!(device_to("203.0.113.54"), "onebox0");

            // Another gateway and another address take the place of the former ones.
            desired.wans[0].gateway = Some("10.1.0.254".parse().unwrap());
            desired.wans[0].sources = vec!["10.1.0.9".parse().unwrap()];
            make(&mut system, &desired).await;
            let rules_now = rules();
            assert!(rules_now.contains("10.1.0.9") && !rules_now.contains("10.1.0.2 "));
            let wan_table = wan_table(desired.wans[0].ifindex);
            assert!(ip(&format!("route show table {wan_table}")).contains("10.1.0.254"));

            // The tunnel is down: the main table decides.
            let down = Desired { routes: Vec::new(), ..desired.clone() };
            make(&mut system, &down).await;
            for server in SERVER {
                assert_eq!(device_to(server), "wan1");
            }
            make(&mut system, &desired).await;
            assert_eq!(device_to(SERVER[0]), "onebox0");

            system.undo().await.unwrap();
            assert_eq!(rules(), rules_before);
            assert_eq!(main(), main_before);
        });
    });
}

#[test]
fn a_socket_leaves_by_its_wan_whatever_the_routes_say() {
    let Some((client, internet)) = two_wans() else { return };
    let servers = internet.run(|| {
        SERVER.map(|address| {
            let socket = PlainSocket::bind((address, 5000)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        })
    });
    let (_tun, _system) = client.run(|| {
        let state = StateFile::new();
        let tun = Tun::open("onebox0", true).unwrap();
        let system = block_on(async {
            let desired = full_tunnel(&tun).await;
            let mut system = System::open(ids(), &state.0, false).await.unwrap();
            make(&mut system, &desired).await;
            system
        });
        (tun, system)
    });
    for (server, family) in servers.iter().zip([Family::V4, Family::V6]) {
        for (wan, v4, v6) in
            [("wan2", "10.2.0.2", "2001:db8:2::2"), ("wan1", "10.1.0.2", "2001:db8:1::2")]
        {
            let to = server.local_addr().unwrap();
            client.run(move || {
                let options = Options {
                    device: Some(wan.to_owned()),
                    mark: ids().mark,
                    ..Options::default()
                };
                let socket = UdpSocket::open(family, &options).unwrap();
                socket.send(to, None, wan.as_bytes(), None).unwrap();
            });
            let mut buffer = [0; 16];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], wan.as_bytes());
            let expected: IpAddr = if family == Family::V4 { v4 } else { v6 }.parse().unwrap();
            assert_eq!(from.ip(), expected);
        }
    }
    // An ordinary socket goes into the tunnel, where nobody reads here.
    let to = servers[0].local_addr().unwrap();
    let from = client.run(move || {
        let socket = PlainSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(to).unwrap();
        socket.local_addr().unwrap()
    });
    assert_eq!(from.ip().to_string(), "10.99.0.2");
}

#[test]
fn answers_leave_by_the_wan_that_was_asked() {
    let Some((client, internet)) = two_wans() else { return };
    let (_tun, _system, port) = client.run(|| {
        let state = StateFile::new();
        let tun = Tun::open("onebox0", true).unwrap();
        let system = block_on(async {
            let desired = full_tunnel(&tun).await;
            let mut system = System::open(ids(), &state.0, false).await.unwrap();
            make(&mut system, &desired).await;
            system
        });
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut byte = [0; 1];
                stream.read_exact(&mut byte).unwrap();
                stream.write_all(&byte).unwrap();
            }
        });
        (tun, system, port)
    });
    for address in ["10.1.0.2", "10.2.0.2", "2001:db8:1::2", "2001:db8:2::2"] {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        let counters = || {
            ["isp1", "isp2"].map(|name| {
                let (_, text) = command("ip", &format!("-s -o link show {name}"));
                // "RX: bytes packets errors ..." and their numbers.
                text.split_ascii_whitespace()
                    .skip_while(|word| !word.starts_with("RX:"))
                    .filter_map(|word| word.trim_end_matches('\\').parse::<u64>().ok())
                    .nth(1)
                    .unwrap_or(0)
            })
        };
        internet.run(move || {
            let before = counters();
            // From the far address: only a default route leads back to it.
            let source = if to.is_ipv4() { SERVER[0] } else { SERVER[1] };
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)
                    .unwrap();
            let source = SocketAddr::new(source.parse().unwrap(), 0);
            socket.bind(&source.into()).unwrap();
            socket.connect_timeout(&to.into(), Duration::from_secs(5)).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.write_all(&[7]).unwrap();
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [7]);
            // The answers arrived by the link of the address that was asked.
            let by_second = address.starts_with("10.2") || address.contains(":2::");
            let wanted = usize::from(by_second);
            eventually(Duration::from_secs(2), "the answers' counter", || {
                counters()[wanted] > before[wanted]
            });
        });
    }
}
