//! A ping of our own, for when an interval of 10 ms has to be 10 ms.
//!
//! Why: the times of `ping -i` are rounded up to ticks of the kernel, so that on some machines it
//! sends every 17 ms when told 10, and lasts longer than the load that it runs beside.
//!
//! How: ICMP echo (RFC 792) on a raw socket inside the namespace, one thread that sleeps until the
//! next request is due or an answer comes. The other side's kernel answers, no program. Requests
//! are sent on a fixed schedule; after a delay they are not caught up on in a burst.
//!
//! Limits: IPv4; needs the right to raw sockets, which whoever makes the namespaces has.

use super::clock;
use super::emulator::become_punctual;
use super::netns::Netns;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, connect, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeSpec;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes behind the ICMP header, as ping has them.
const PAYLOAD: usize = 56;
const HEADER: usize = 8;

/// One request: when it was sent and answered, milliseconds since the ping began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// When it was sent.
    pub sent_ms: f64,
    /// When its first answer came.
    pub answered_ms: Option<f64>,
}

impl Request {
    /// Whether it was answered within a time.
    pub fn in_time(&self, within_ms: f64) -> bool {
        self.answered_ms.is_some_and(|at| at - self.sent_ms <= within_ms)
    }
}

/// A running ping.
pub struct Pinger {
    start: Instant,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pinger {
    /// Ping an address from a namespace, from a device if one is named.
    pub fn start(from: &Netns, to: &str, interval: Duration, device: Option<&str>) -> Pinger {
        static IDS: AtomicU16 = AtomicU16::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let address: Ipv4Addr = to.parse().expect("an IPv4 address");
        let socket = from.run(|| raw_socket(address, device));
        let (start, stop) = (clock::now(), Arc::<AtomicBool>::default());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let worker = Worker { socket, id, start, requests: requests.clone(), stop: stop.clone() };
        let thread = std::thread::spawn(move || worker.run(interval));
        Pinger { start, requests, stop, thread: Some(thread) }
    }

    /// Milliseconds since it began: the scale of everything else.
    pub fn age_ms(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1000.0
    }

    /// What became so far of the requests sent at this moment or later, in milliseconds since it.
    pub fn since(&self, moment: Instant) -> Requests {
        let shift_ms = moment.saturating_duration_since(self.start).as_secs_f64() * 1000.0;
        let requests = self.requests.lock().expect("no panic inside");
        let first = requests.partition_point(|request| request.sent_ms < shift_ms);
        let shifted = requests[first..].iter().map(|request| Request {
            sent_ms: request.sent_ms - shift_ms,
            answered_ms: request.answered_ms.map(|at| at - shift_ms),
        });
        Requests(shifted.collect())
    }

    /// Wait for answers that are on their way, end it, and give all requests.
    pub fn finish(self, patience: Duration) -> Requests {
        clock::pass(patience);
        let requests = self.requests.lock().expect("no panic inside").clone();
        Requests(requests)
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn raw_socket(address: Ipv4Addr, device: Option<&str>) -> UdpSocket {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp)
        .expect("the right to raw sockets");
    if let Some(device) = device {
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(device)).expect("bind");
    }
    let target = SockaddrIn::from(SocketAddrV4::new(address, 0));
    connect(socket.as_raw_fd(), &target).expect("route to the address");
    // Only to send and receive: std has no raw sockets.
    UdpSocket::from(socket)
}

struct Worker {
    socket: UdpSocket,
    id: u16,
    start: Instant,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(&self, interval: Duration) {
        become_punctual();
        let mut due = Duration::ZERO;
        while !self.stop.load(Ordering::Relaxed) {
            let age = self.start.elapsed();
            if age >= due {
                self.send();
                due = (due + interval).max(age);
            }
            self.sleep(due.saturating_sub(self.start.elapsed()));
            self.receive();
        }
    }

    fn sleep(&self, time: Duration) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // An interrupted sleep is a short one.
        let _ = ppoll(&mut fds, Some(TimeSpec::from(time)), None);
    }

    fn now_ms(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1000.0
    }

    fn send(&self) {
        let mut requests = self.requests.lock().expect("no panic inside");
        let packet = echo_request(self.id, requests.len() as u16);
        requests.push(Request { sent_ms: self.now_ms(), answered_ms: None });
        // An unreachable network is a loss like any other.
        let _ = self.socket.send(&packet);
    }

    fn receive(&self) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let now_ms = self.now_ms();
            let Some((id, low)) = echo_reply(&buffer[..length]) else { continue };
            let mut requests = self.requests.lock().expect("no panic inside");
            // The newest request with these low bits.
            let newest = requests.len().saturating_sub(1);
            let number = newest.checked_sub(usize::from((newest as u16).wrapping_sub(low)));
            if let Some(request) = number.and_then(|number| requests.get_mut(number))
                && id == self.id
            {
                request.answered_ms.get_or_insert(now_ms);
            }
        }
    }
}

/// ICMP type 8 with its checksum (RFC 1071).
fn echo_request(id: u16, number: u16) -> [u8; HEADER + PAYLOAD] {
    let mut packet = [0; HEADER + PAYLOAD];
    packet[0] = 8;
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    let words = packet.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

/// Identifier and number of an echo reply behind its IPv4 header.
fn echo_reply(packet: &[u8]) -> Option<(u16, u16)> {
    let icmp = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let number = |at: usize| Some(u16::from_be_bytes([*icmp.get(at)?, *icmp.get(at + 1)?]));
    (*icmp.first()? == 0).then_some((number(4)?, number(6)?))
}

/// What became of the requests, in order.
pub struct Requests(pub Vec<Request>);

impl Requests {
    /// Those sent between two times.
    pub fn between(&self, from_ms: f64, to_ms: f64) -> impl Iterator<Item = &Request> {
        self.0.iter().filter(move |request| (from_ms..to_ms).contains(&request.sent_ms))
    }

    /// Round trips of those sent between two times, milliseconds.
    pub fn rtts_ms(&self, from_ms: f64, to_ms: f64) -> Vec<f64> {
        let rtt = |request: &Request| Some(request.answered_ms? - request.sent_ms);
        self.between(from_ms, to_ms).filter_map(rtt).collect()
    }

    /// The first request from which on `row` in a row but for one were answered within a time: when
    /// traffic is back. None while it is not.
    pub fn steady_ms(&self, row: usize, within_ms: f64) -> Option<f64> {
        let good = |request: &Request| request.in_time(within_ms);
        let steady = |requests: &[Request]| {
            good(&requests[0]) && requests.iter().filter(|r| good(r)).count() + 1 >= row
        };
        self.0.windows(row).find(|requests| steady(requests)).map(|requests| requests[0].sent_ms)
    }

    /// How many of those sent between two times were not answered within a time.
    pub fn late(&self, from_ms: f64, to_ms: f64, within_ms: f64) -> usize {
        self.between(from_ms, to_ms).filter(|request| !request.in_time(within_ms)).count()
    }

    /// How many of those sent between two times were not answered.
    pub fn lost(&self, from_ms: f64, to_ms: f64) -> usize {
        self.between(from_ms, to_ms).filter(|request| request.answered_ms.is_none()).count()
    }

    /// Longest time between two answers between two times, milliseconds.
    pub fn longest_gap_ms(&self, from_ms: f64, to_ms: f64) -> f64 {
        let mut times: Vec<f64> = self.0.iter().filter_map(|r| r.answered_ms).collect();
        times.retain(|at| (from_ms..to_ms).contains(at));
        times.extend([from_ms, to_ms]);
        times.sort_by(f64::total_cmp);
        times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }
}
