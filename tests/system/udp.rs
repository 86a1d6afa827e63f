//! UDP sockets: trains of datagrams, addresses, faults.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use onebox_linux::udp::{Family, Fault, Options, ReceiveBuffer, UdpSocket};

use crate::world::{Namespace, eventually};

/// Two namespaces with a link: device `a0` and `b0`, addresses .1 and .2.
fn pair() -> Option<(Namespace, Namespace)> {
    let a = Namespace::new()?;
    let b = Namespace::new()?;
    a.link("a0", &b, "b0");
    a.ip("address add 10.5.0.1/24 dev a0");
    b.ip("address add 10.5.0.2/24 dev b0");
    b.ip("address add 10.5.0.3/24 dev b0");
    a.ip("-6 address add 2001:db8:5::1/64 dev a0 nodad");
    b.ip("-6 address add 2001:db8:5::2/64 dev b0 nodad");
    b.ip("-6 address add 2001:db8:5::3/64 dev b0 nodad");
    Some((a, b))
}

fn client(namespace: &Namespace, family: Family) -> UdpSocket {
    let options =
        Options { device: Some("a0".to_owned()), mark: 0x6f00_0000, ..Options::default() };
    namespace.run(move || UdpSocket::open(family, &options).unwrap())
}

/// What arrives until there are `count` datagrams.
fn receive(socket: &UdpSocket, count: usize) -> Vec<(SocketAddr, Option<IpAddr>, Vec<u8>)> {
    let mut buffer = ReceiveBuffer::new(8);
    let mut list = Vec::new();
    eventually(Duration::from_secs(5), "all datagrams", || {
        let _ = socket.recv_batch(&mut buffer, |origin, datagram| {
            list.push((origin.from, origin.local, datagram.to_vec()));
        });
        list.len() >= count
    });
    list
}

#[test]
fn trains_arrive_as_datagrams_and_answers_come_from_the_asked_address() {
    let Some((a, b)) = pair() else { return };
    let servers = b.run(|| UdpSocket::open_server(&Options::default()).unwrap());
    assert_eq!(servers.len(), 2);
    let port = servers[0].local_addr().unwrap().port();
    assert_eq!(servers[1].local_addr().unwrap().port(), port);
    for (server, asked) in servers.iter().zip(["10.5.0.3", "2001:db8:5::3"]) {
        let asked: IpAddr = asked.parse().unwrap();
        let client = client(&a, Family::of(asked));
        assert!(client.segments_max() > 1, "this kernel segments");
        // More than one train, and a short one at the end.
        let contents: Vec<u8> = (0..100 * 1200 + 77).map(|i| (i / 1200) as u8).collect();
        client.send(SocketAddr::new(asked, port), None, &contents, Some(1200)).unwrap();
        let list = receive(server, 101);
        assert_eq!(list.len(), 101);
        for (index, (from, local, datagram)) in list.iter().enumerate() {
            assert_eq!(*local, Some(asked));
            assert_eq!(from.port(), client.local_addr().unwrap().port());
            assert_eq!(datagram.len(), if index < 100 { 1200 } else { 77 });
            assert!(datagram.iter().all(|byte| usize::from(*byte) == index));
        }
        server.send(list[0].0, list[0].1, &[1; 2400], Some(1200)).unwrap();
        let answers = receive(&client, 2);
        assert_eq!(answers[0].0, SocketAddr::new(asked, port));
        assert_eq!(client.counts().of(Fault::Other), 0);
    }
}

#[test]
fn nothing_is_fragmented_and_faults_are_counted() {
    let Some((a, b)) = pair() else { return };
    let servers = b.run(|| UdpSocket::open_server(&Options::default()).unwrap());
    let port = servers[0].local_addr().unwrap().port();
    for (server, address) in servers.iter().zip(["10.5.0.2", "2001:db8:5::2"]) {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        let client = client(&a, Family::of(to.ip()));
        let error = client.send(to, None, &[0; 1600], None).unwrap_err();
        assert_eq!(Fault::of(&error), Fault::TooBig);
        assert_eq!(client.counts().of(Fault::TooBig), 1);
        // A train of pieces that are too long says the same, and segmentation goes on after.
        let error = client.send(to, None, &[0; 3200], Some(1600)).unwrap_err();
        assert_eq!(Fault::of(&error), Fault::TooBig);
        assert!(client.segments_max() > 1);
        client.send(to, None, &[0; 2400], Some(1200)).unwrap();
        assert_eq!(receive(server, 2).len(), 2);

        let far = if to.is_ipv4() { "192.0.2.1" } else { "2001:db8:aaaa::1" };
        let far = SocketAddr::new(far.parse().unwrap(), port);
        let unbound = a.run(move || {
            let options = Options::default();
            UdpSocket::open(Family::of(far.ip()), &options).unwrap()
        });
        let error = unbound.send(far, None, &[0; 10], None).unwrap_err();
        assert_eq!(Fault::of(&error), Fault::Unreachable);
        let mut buffer = ReceiveBuffer::new(1);
        let error = unbound.recv_batch(&mut buffer, |_, _| ()).unwrap_err();
        assert_eq!(Fault::of(&error), Fault::WouldBlock);
        assert_eq!(unbound.counts().of(Fault::WouldBlock), 0);
    }
    let client = client(&a, Family::V4);
    a.ip("link del a0");
    let to = SocketAddr::new("10.5.0.2".parse().unwrap(), port);
    let error = client.send(to, None, &[0; 10], None).unwrap_err();
    assert!(matches!(Fault::of(&error), Fault::Gone | Fault::Unreachable), "{error}");
    let gone = a.run(|| {
        UdpSocket::open(
            Family::V4,
            &Options { device: Some("a0".to_owned()), ..Options::default() },
        )
    });
    assert_eq!(Fault::of(&gone.unwrap_err()), Fault::Gone);
}
