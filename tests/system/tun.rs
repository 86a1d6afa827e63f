//! Two TUN devices, joined by hand: whole transfers through them, with and without offload.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket as PlainSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use onebox::buffer::Pool;
use onebox_linux::system::{Desired, System};
use onebox_linux::tun::Tun;

use crate::world::{Namespace, StateFile, block_on, command, eventually, ids, ip, make};
use std::os::fd::AsFd;

/// The MTU of the devices in bytes.
pub const MTU: u32 = 1400;
/// Bytes of each TCP transfer.
const TRANSFER: usize = 8 << 20;

/// A namespace with a TUN device that is up and has the addresses .`host`.
pub fn open(host: u8, offload: bool) -> Option<(Namespace, Tun)> {
    let namespace = Namespace::new()?;
    let tun = namespace.run(move || {
        let state = StateFile::new();
        let tun = Tun::open("onebox0", offload).unwrap();
        block_on(async {
            let mut system = System::open(ids(), &state.0, false).await.unwrap();
            let desired = Desired {
                device: tun.name().to_owned(),
                ifindex: tun.ifindex(),
                addresses: vec![
                    format!("10.99.0.{host}/24").parse().unwrap(),
                    format!("fd99::{host}/64").parse().unwrap(),
                ],
                mtu: MTU,
                ..Desired::default()
            };
            make(&mut system, &desired).await;
        });
        // The kernel takes an IPv6 address into use a while after it is there.
        eventually(Duration::from_secs(5), "the address", || {
            !ip("-6 address show dev onebox0").contains("tentative")
        });
        tun
    });
    Some((namespace, tun))
}

/// Carries packets between two devices until told to stop.
pub struct Pump {
    stop: Arc<AtomicBool>,
    largest: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<(Tun, Tun)>>,
}

impl Pump {
    pub fn start(mut a: Tun, mut b: Tun) -> Pump {
        let stop = Arc::new(AtomicBool::new(false));
        let largest = Arc::new(AtomicUsize::new(0));
        let (stopped, most) = (stop.clone(), largest.clone());
        let thread = std::thread::spawn(move || {
            let mut pool = Pool::new(256);
            let mut batch = Vec::new();
            let timeout = PollTimeout::from(20_u8);
            while !stopped.load(Ordering::Relaxed) {
                let mut ready = [
                    PollFd::new(a.as_fd(), PollFlags::POLLIN),
                    PollFd::new(b.as_fd(), PollFlags::POLLIN),
                ];
                poll(&mut ready, timeout).unwrap();
                for forth in [true, false] {
                    let (from, to) = if forth { (&mut a, &mut b) } else { (&mut b, &mut a) };
                    if let Ok(count) = from.read_batch(&mut pool, &mut batch) {
                        most.fetch_max(count, Ordering::Relaxed);
                        assert!(batch.iter().all(|packet| packet.len() <= MTU as usize));
                        assert_eq!(to.write_batch(&mut batch, &mut pool).unwrap(), count);
                        assert!(batch.is_empty());
                    }
                }
            }
            (a, b)
        });
        Pump { stop, largest, thread: Some(thread) }
    }

    /// Stops; the devices, and the most packets that one batch had.
    pub fn end(mut self) -> (Tun, Tun, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (a, b) = self.thread.take().unwrap().join().unwrap();
        (a, b, self.largest.load(Ordering::Relaxed))
    }
}

fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(TRANSFER)
    .collect()
}

/// TCP in both directions, UDP of all sizes, pings; through devices with and without offload.
fn transfers(offload_a: bool, offload_b: bool) {
    let Some((a, tun_a)) = open(1, offload_a) else { return };
    let Some((b, tun_b)) = open(2, offload_b) else { return };
    assert_eq!(tun_a.offload().0, offload_a);
    let pump = Pump::start(tun_a, tun_b);
    for (address, any) in [("10.99.0.2", "0.0.0.0"), ("fd99::2", "::")] {
        tcp(&a, &b, address);
        udp(&a, &b, address, any);
        // Longer than the MTU: fragments.
        for size in [0, 1, 56, 1301, 4000] {
            let (ok, said) =
                a.run(move || command("ping", &format!("-c 1 -W 5 -s {size} {address}")));
            assert!(ok, "{said}");
        }
    }
    let (tun_a, tun_b, largest) = pump.end();
    for tun in [&tun_a, &tun_b] {
        assert_eq!(tun.drops(), onebox_linux::tun::Drops::default());
    }
    if offload_a {
        assert!(largest > 4, "joined packets were read: {largest}");
    }
}

fn tcp(a: &Namespace, b: &Namespace, address: &'static str) {
    let listener = b.run(move || TcpListener::bind((address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let server = b.start(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut data = vec![0; TRANSFER];
        stream.read_exact(&mut data).unwrap();
        stream.write_all(&data).unwrap();
    });
    a.run(move || {
        let mut stream = TcpStream::connect((address, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let data = pattern();
        stream.write_all(&data).unwrap();
        let mut back = vec![0; TRANSFER];
        stream.read_exact(&mut back).unwrap();
        assert!(back == data, "what came back is what was sent");
    });
    server.join().unwrap();
}

fn udp(a: &Namespace, b: &Namespace, address: &'static str, any: &'static str) {
    let server = b.run(move || PlainSocket::bind((address, 0)).unwrap());
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = server.local_addr().unwrap().port();
    a.run(move || {
        let socket = PlainSocket::bind((any, 0)).unwrap();
        let mut buffer = vec![0; 65_535];
        for size in [0, 1, 2, 511, 1352, 1353, 1372, 1373, 9000, 60_000] {
            let data: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
            socket.send_to(&data, (address, port)).unwrap();
            let length = server.recv(&mut buffer).unwrap();
            assert!(buffer[..length] == data, "{size} bytes");
        }
    });
}

#[test]
fn transfers_with_offload() {
    transfers(true, true);
}

#[test]
fn transfers_without_offload() {
    transfers(false, false);
}

#[test]
fn transfers_from_offload_to_none() {
    transfers(true, false);
}

#[test]
fn datagrams_of_a_train_pass_one_by_one() {
    use onebox_linux::udp::{Family, Options, ReceiveBuffer, UdpSocket};
    let Some((a, tun_a)) = open(1, true) else { return };
    let Some((b, tun_b)) = open(2, true) else { return };
    let pump = Pump::start(tun_a, tun_b);
    for (family, address) in [(Family::V4, "10.99.0.2"), (Family::V6, "fd99::2")] {
        let server = b.run(move || UdpSocket::open(family, &Options::default()).unwrap());
        let to = std::net::SocketAddr::new(
            address.parse().unwrap(),
            server.local_addr().unwrap().port(),
        );
        a.run(move || {
            let client = UdpSocket::open(family, &Options::default()).unwrap();
            let contents: Vec<u8> = (0..40 * 1000 + 5).map(|i| (i / 1000) as u8).collect();
            client.send(to, None, &contents, Some(1000)).unwrap();
        });
        let mut buffer = ReceiveBuffer::new(4);
        let mut sizes = Vec::new();
        eventually(Duration::from_secs(5), "the train", || {
            let _ = server.recv_batch(&mut buffer, |_, datagram| {
                assert!(datagram.iter().all(|byte| usize::from(*byte) == sizes.len()));
                sizes.push(datagram.len());
            });
            sizes.len() == 41
        });
        assert_eq!(sizes[40], 5);
    }
    let (tun_a, tun_b, _) = pump.end();
    assert_eq!((tun_a.drops(), tun_b.drops()), Default::default());
}

#[test]
fn a_device_that_is_down_refuses_and_counts() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let mut tun = Tun::open("onebox0", true).unwrap();
        let mut pool = Pool::new(4);
        let mut packet = [0; 28];
        packet[0] = 0x45;
        let mut batch = vec![pool.copy(&packet)];
        assert_eq!(tun.write_batch(&mut batch, &mut pool).unwrap(), 0);
        assert_eq!(tun.drops().refused, 1);
        assert!(tun.read_batch(&mut pool, &mut Vec::new()).is_err());
        assert!(Tun::open("onebox0", true).is_err(), "the name is taken");
    });
}
