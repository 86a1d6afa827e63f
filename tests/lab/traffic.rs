//! Load of our own, where a measurement needs to look at it while it runs.
//!
//! [`Flow`] is one TCP connection that sends as fast as it can; what the receiver gets is counted
//! in steps of 10 ms, so that a test can wait for progress, find the longest stall, and compare
//! the time before and after an event. [`Echo`] is a stream of numbered datagrams that come back:
//! losses and gaps as an interactive application sees them. [`ask_dns`] is one DNS question.
//!
//! Sockets are opened inside the namespaces and used from threads outside.

use super::clock;
use super::netns::Netns;
use super::pinger::{Request, Requests};
use super::programs::poll_until;
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Width of a counting step, milliseconds.
const STEP_MS: u64 = 10;
/// How long a blocking call may take before a thread looks whether it has to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A port that no other load of this process uses.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn socket_address(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port)
}

fn any_address_like(address: SocketAddr) -> SocketAddr {
    let any = if address.is_ipv4() { "0.0.0.0" } else { "::" };
    socket_address(any, address.port())
}

/// Which way a flow sends, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// One TCP flow as fast as it can.
pub struct Flow {
    start: Instant,
    steps: Arc<Mutex<Vec<u64>>>,
    failure: Arc<Mutex<Option<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flow {
    /// Connect `client` to `address`, which `server` owns, and start to send. With `device`, the
    /// client is bound to that network device.
    pub fn start(
        client: &Netns,
        server: &Netns,
        address: &str,
        sends: Sends,
        device: Option<&str>,
    ) -> Flow {
        let address = socket_address(address, next_port());
        let listener =
            server.run(|| TcpListener::bind(any_address_like(address)).expect("listener"));
        let near = connect(client, address, device);
        let (far, _) = listener.accept().expect("the connection just made");
        let (sender, receiver) = match sends {
            Sends::Up => (near, far),
            Sends::Down => (far, near),
        };
        let mut flow = Flow {
            start: clock::now(),
            steps: Arc::default(),
            failure: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        setsockopt(&sender, sockopt::TcpCongestion, &OsString::from("cubic")).expect("CUBIC");
        sender.set_write_timeout(Some(PATIENCE)).expect("timeout");
        receiver.set_read_timeout(Some(PATIENCE)).expect("timeout");
        flow.threads = vec![flow.send_from(sender), flow.receive_at(receiver)];
        flow
    }

    fn send_from(&self, mut sender: TcpStream) -> JoinHandle<()> {
        let (stop, failure) = (self.stop.clone(), self.failure.clone());
        std::thread::spawn(move || {
            let block = vec![0x5a; 128 * 1024];
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = sender.write(&block)
                    && !is_patience(&error)
                {
                    *failure.lock().expect("no panic inside") = Some(format!("send: {error}"));
                    return;
                }
            }
        })
    }

    fn receive_at(&self, mut receiver: TcpStream) -> JoinHandle<()> {
        let (stop, failure) = (self.stop.clone(), self.failure.clone());
        let (steps, start) = (self.steps.clone(), self.start);
        std::thread::spawn(move || {
            let mut block = vec![0; 256 * 1024];
            while !stop.load(Ordering::Relaxed) {
                match receiver.read(&mut block) {
                    Ok(0) => return,
                    Ok(length) => {
                        let step = step_at(start);
                        let mut steps = steps.lock().expect("no panic inside");
                        if steps.len() <= step {
                            steps.resize(step + 1, 0);
                        }
                        steps[step] += length as u64;
                    }
                    Err(error) if is_patience(&error) => {}
                    Err(error) => {
                        let text = format!("receive: {error}");
                        *failure.lock().expect("no panic inside") = Some(text);
                        return;
                    }
                }
            }
        })
    }

    /// Milliseconds since the flow began: the scale of the other functions.
    pub fn age_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Why the connection broke, if it did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().expect("no panic inside").clone()
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.steps.lock().expect("no panic inside").iter().sum()
    }

    /// Mean goodput between two ages, Mbit/s.
    pub fn mbit_between(&self, from_ms: u64, to_ms: u64) -> f64 {
        let bytes: u64 = self.between(from_ms, to_ms).iter().sum();
        bytes as f64 * 8.0 / 1000.0 / (to_ms - from_ms) as f64
    }

    /// Longest time without a byte between two ages, milliseconds, in steps of 10.
    pub fn longest_stall_ms(&self, from_ms: u64, to_ms: u64) -> u64 {
        let mut longest = 0;
        let mut current = 0;
        for bytes in self.between(from_ms, to_ms) {
            current = if bytes == 0 { current + STEP_MS } else { 0 };
            longest = longest.max(current);
        }
        longest
    }

    /// Bytes of each 10 ms between two ages.
    pub fn between(&self, from_ms: u64, to_ms: u64) -> Vec<u64> {
        let steps = self.steps.lock().expect("no panic inside");
        (from_ms / STEP_MS..to_ms / STEP_MS)
            .map(|step| steps.get(step as usize).copied().unwrap_or(0))
            .collect()
    }

    /// Let it run for a while and give the mean goodput of that time, Mbit/s.
    pub fn measure(&self, duration: Duration) -> f64 {
        let from_ms = self.age_ms();
        clock::pass(duration);
        self.mbit_between(from_ms, self.age_ms())
    }

    /// Wait until at least `bytes` more arrive.
    pub fn wait_for(&self, bytes: u64, limit: Duration) -> Duration {
        let (start, before) = (clock::now(), self.received());
        while self.received() < before + bytes {
            assert!(
                start.elapsed() < limit,
                "the TCP flow got {} of {bytes} bytes within {limit:?}; failure {:?}",
                self.received() - before,
                self.failure()
            );
            clock::pass(Duration::from_millis(5));
        }
        start.elapsed()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn step_at(start: Instant) -> usize {
    (start.elapsed().as_millis() as u64 / STEP_MS) as usize
}

fn is_patience(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Connect inside a namespace; bound to a device, std's connect does not do.
fn connect(client: &Netns, address: SocketAddr, device: Option<&str>) -> TcpStream {
    client.run(|| {
        let Some(device) = device else {
            return TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("connect");
        };
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect};
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket =
            nix::sys::socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .expect("socket");
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(device)).expect("bind");
        let target = SockaddrStorage::from(address);
        connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &target).expect("connect");
        TcpStream::from(socket)
    })
}

/// Numbered datagrams, sent at an interval and sent back by the other side.
pub struct Echo {
    start: Instant,
    sent: Arc<Mutex<Vec<Duration>>>,
    answers: Arc<Mutex<BTreeMap<u64, Duration>>>,
    foreign: Arc<Mutex<Vec<Vec<u8>>>>,
    sources: Arc<Mutex<Vec<IpAddr>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    /// Send `marker` and a number from `client` to `address`, which `server` owns.
    pub fn start(
        client: &Netns,
        server: &Netns,
        address: &str,
        interval: Duration,
        marker: &str,
    ) -> Echo {
        let address = socket_address(address, next_port());
        let far = server.run(|| UdpSocket::bind(any_address_like(address)).expect("echo"));
        let near = client.run(|| {
            let mut any = any_address_like(address);
            any.set_port(0);
            let socket = UdpSocket::bind(any).expect("socket");
            socket.connect(address).expect("route to the echo");
            socket
        });
        let mut echo = Echo {
            start: clock::now(),
            sent: Arc::default(),
            answers: Arc::default(),
            foreign: Arc::default(),
            sources: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let back = near.try_clone().expect("second handle");
        echo.threads = vec![
            echo.answer(far),
            echo.receive(back, marker.as_bytes().to_vec()),
            echo.send(near, marker.as_bytes().to_vec(), interval),
        ];
        echo
    }

    fn answer(&self, far: UdpSocket) -> JoinHandle<()> {
        let (stop, sources) = (self.stop.clone(), self.sources.clone());
        far.set_read_timeout(Some(PATIENCE)).expect("timeout");
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = far.recv_from(&mut buffer) else { continue };
                let _ = far.send_to(&buffer[..length], from);
                let mut sources = sources.lock().expect("no panic inside");
                if !sources.contains(&from.ip()) {
                    sources.push(from.ip());
                }
            }
        })
    }

    fn send(&self, near: UdpSocket, marker: Vec<u8>, interval: Duration) -> JoinHandle<()> {
        let (stop, sent, start) = (self.stop.clone(), self.sent.clone(), self.start);
        std::thread::spawn(move || {
            let mut number: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut datagram = marker.clone();
                datagram.extend_from_slice(&number.to_be_bytes());
                sent.lock().expect("no panic inside").push(start.elapsed());
                // An unreachable network is a loss like any other.
                let _ = near.send(&datagram);
                number += 1;
                let next = interval * number as u32;
                clock::pass(next.saturating_sub(start.elapsed()));
            }
        })
    }

    fn receive(&self, near: UdpSocket, marker: Vec<u8>) -> JoinHandle<()> {
        let (stop, start) = (self.stop.clone(), self.start);
        let (answers, foreign) = (self.answers.clone(), self.foreign.clone());
        near.set_read_timeout(Some(PATIENCE)).expect("timeout");
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok(length) = near.recv(&mut buffer) else { continue };
                let number = buffer[..length].strip_prefix(&marker[..]);
                match number.and_then(|n| n.try_into().ok()).map(u64::from_be_bytes) {
                    Some(number) => {
                        let mut answers = answers.lock().expect("no panic inside");
                        answers.entry(number).or_insert(start.elapsed());
                    }
                    None => {
                        foreign.lock().expect("no panic inside").push(buffer[..length].to_vec());
                    }
                }
            }
        })
    }

    /// Milliseconds since it began.
    pub fn age_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// What became so far of the datagrams sent at this moment or later, in milliseconds since it.
    pub fn since(&self, moment: Instant) -> Requests {
        let shift = moment.saturating_duration_since(self.start);
        let sent = self.sent.lock().expect("no panic inside");
        let answers = self.answers.lock().expect("no panic inside");
        let first = sent.partition_point(|at| *at < shift);
        let ms = |at: Duration| (at.as_secs_f64() - shift.as_secs_f64()) * 1000.0;
        let requests = (first..sent.len()).map(|number| Request {
            sent_ms: ms(sent[number]),
            answered_ms: answers.get(&(number as u64)).map(|at| ms(*at)),
        });
        Requests(requests.collect())
    }

    /// How many answers came so far.
    pub fn answered(&self) -> usize {
        self.answers.lock().expect("no panic inside").len()
    }

    /// Wait for that many more answers.
    pub fn wait_for(&self, answers: usize, limit: Duration) -> Duration {
        let (start, before) = (clock::now(), self.answered());
        poll_until(limit, "datagrams come back", || {
            (self.answered() >= before + answers).then_some(())
        });
        start.elapsed()
    }

    /// Numbers sent between two ages and not answered yet.
    pub fn lost_between(&self, from_ms: u64, to_ms: u64) -> usize {
        let sent = self.sent.lock().expect("no panic inside");
        let answers = self.answers.lock().expect("no panic inside");
        let within = |at: &Duration| (from_ms..to_ms).contains(&(at.as_millis() as u64));
        let sent = sent.iter().enumerate().filter(|(_, at)| within(at));
        sent.filter(|(number, _)| !answers.contains_key(&(*number as u64))).count()
    }

    /// Longest time between two answers between two ages, milliseconds.
    pub fn longest_gap_ms(&self, from_ms: u64, to_ms: u64) -> u64 {
        let answers = self.answers.lock().expect("no panic inside");
        let mut times: Vec<u64> = answers.values().map(|at| at.as_millis() as u64).collect();
        times.retain(|at| (from_ms..to_ms).contains(at));
        times.push(from_ms);
        times.push(to_ms);
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// Datagrams that were not ours.
    pub fn foreign(&self) -> Vec<Vec<u8>> {
        self.foreign.lock().expect("no panic inside").clone()
    }

    /// Source addresses that the other side saw.
    pub fn sources(&self) -> Vec<IpAddr> {
        self.sources.lock().expect("no panic inside").clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Ask a responder of ours in `server` for an address over UDP, as a resolver does (RFC 1035 §4),
/// and give the address in the answer.
pub fn ask_dns(client: &Netns, server: &Netns, address: &str, answer: [u8; 4]) -> Option<[u8; 4]> {
    let address = socket_address(address, 53);
    let far = server.run(|| UdpSocket::bind(any_address_like(address)).expect("responder"));
    far.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    let responder = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let Ok((length, from)) = far.recv_from(&mut buffer) else { return };
        let mut reply = buffer[..length].to_vec();
        reply[2..4].copy_from_slice(&[0x81, 0x80]);
        reply[7] = 1;
        // The name of the question, type A, class IN, 60 s, four bytes of address.
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend_from_slice(&answer);
        let _ = far.send_to(&reply, from);
    });
    let near = client.run(|| {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).expect("socket")
    });
    near.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    let mut question = vec![0x0b, 0x0c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(b"\x06onebox\x04test\0\0\x01\0\x01");
    near.send_to(&question, address).ok()?;
    let mut buffer = [0; 512];
    let length = near.recv(&mut buffer).ok();
    responder.join().expect("responder");
    let reply = buffer.get(..length?)?;
    if reply[..2] != question[..2] || reply[3] & 15 != 0 {
        return None;
    }
    reply.last_chunk::<4>().copied()
}
