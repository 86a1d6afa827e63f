//! A name server for the router, which fails in every way on command, and a router that knows its
//! server by name.
//!
//! How: a thread that answers questions at an address of the provider; the router's program finds it
//! in a `resolv.conf` of its own.
//!
//! Limits: one question a datagram, UDP only, no cache.

use super::clock;
use super::onebox::{Instance, Keys, PORT, peer_of, router_config, server_config};
use super::programs::TempDir;
use super::topology::{Lab, SERVER};
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The server's name.
pub const NAME: &str = "vps.onebox.test";
/// Where the resolver is, at the provider.
const RESOLVER: &str = "203.0.113.53";
/// Another address of the server.
pub const ELSEWHERE: &str = "198.51.100.7";

/// What the resolver does.
#[derive(Clone, Debug)]
pub enum Habit {
    /// Nothing.
    Silent,
    /// It answers with this code: 2 is SERVFAIL, 3 "no such name", 5 "refused" (RFC 1035 §4.1.1).
    Code(u8),
    /// It answers with those of the addresses that are of the family asked for, after a while.
    Answers(Vec<IpAddr>, Duration),
}

impl Habit {
    /// Answers with these addresses at once.
    pub fn answers(addresses: &[&str]) -> Habit {
        Habit::late(addresses, Duration::ZERO)
    }

    /// The same after a while.
    pub fn late(addresses: &[&str], after: Duration) -> Habit {
        Habit::Answers(addresses.iter().map(|address| address.parse().unwrap()).collect(), after)
    }
}

#[derive(Debug)]
struct Shared {
    habit: Mutex<Habit>,
    /// When it has answered with an address first under this habit.
    first: Mutex<Option<Instant>>,
    questions: Mutex<Vec<Instant>>,
    stop: AtomicBool,
}

/// The router's only name server.
pub struct Resolver {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    files: TempDir,
}

impl Resolver {
    /// Starts it.
    pub fn start(lab: &Lab, habit: Habit) -> Resolver {
        lab.isp.ip(&format!("addr add {RESOLVER}/32 dev lo\n"));
        let socket = lab.isp.run(|| UdpSocket::bind((RESOLVER, 53)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let files = TempDir::new();
        std::fs::write(files.file("resolv.conf"), format!("nameserver {RESOLVER}\n")).unwrap();
        let shared = Arc::new(Shared {
            habit: Mutex::new(habit),
            first: Mutex::new(None),
            questions: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let ours = shared.clone();
        let thread = Some(std::thread::spawn(move || serve(&ours, &socket)));
        Resolver { shared, thread, files }
    }

    /// It does this from now on.
    pub fn set(&self, habit: Habit) {
        *self.shared.first.lock().unwrap() = None;
        *self.shared.habit.lock().unwrap() = habit;
    }

    /// When it has answered with an address first, if it has.
    pub fn first(&self) -> Option<Instant> {
        *self.shared.first.lock().unwrap()
    }

    /// How often it was asked.
    pub fn questions(&self) -> usize {
        self.shared.questions.lock().unwrap().len()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn serve(shared: &Shared, socket: &UdpSocket) {
    let mut buffer = [0; 512];
    let mut waiting = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            shared.questions.lock().unwrap().push(clock::now());
            let question = &buffer[..length];
            match shared.habit.lock().unwrap().clone() {
                Habit::Silent => {}
                Habit::Code(code) => {
                    waiting.push((clock::now(), from, answer(question, code, &[])))
                }
                Habit::Answers(addresses, after) => {
                    waiting.push((clock::now() + after, from, answer(question, 0, &addresses)));
                }
            }
        }
        waiting.retain(|(due, from, (text, found))| {
            let ready = clock::now() >= *due;
            if ready {
                let _ = socket.send_to(text, from);
                if *found {
                    shared.first.lock().unwrap().get_or_insert_with(clock::now);
                }
            }
            !ready
        });
    }
}

/// An answer to a question of one name (RFC 1035 §4, RFC 3596 §2.2), and whether it has addresses.
fn answer(question: &[u8], code: u8, addresses: &[IpAddr]) -> (Vec<u8>, bool) {
    // Behind the header of 12 bytes the name's labels, an empty one, type and class.
    let mut end = 12;
    while question[end] != 0 {
        end += 1 + usize::from(question[end]);
    }
    let v6 = question[end + 1..end + 3] == [0, 28];
    let mut text = question[..end + 5].to_vec();
    text[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    let chosen: Vec<&IpAddr> = addresses.iter().filter(|a| a.is_ipv6() == v6).collect();
    text[6..12].copy_from_slice(&[0, chosen.len() as u8, 0, 0, 0, 0]);
    for address in &chosen {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // The question's name, its type, class IN, 60 s.
        text.extend([0xc0, 12, 0, if v6 { 28 } else { 1 }, 0, 1, 0, 0, 0, 60, 0]);
        text.push(bytes.len() as u8);
        text.extend(bytes);
    }
    (text, !chosen.is_empty())
}

/// A server that runs, and a router that knows it by name and is not started yet.
pub fn pair<'a>(
    lab: &'a Lab,
    resolver: &Resolver,
    options: &str,
    wans: &str,
) -> (Instance<'a>, Instance<'a>) {
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
    let config = router_config(&router_keys, &server_keys.public, None, 2, wans);
    let config = config.replace(&format!("{SERVER}:{PORT}"), &format!("{NAME}:{PORT}"));
    let config = config.replacen("\toption enabled '1'\n", options, 1);
    let mut router = Instance::new(&lab.site().router, &config);
    router.resolv_conf = Some(resolver.files.file("resolv.conf"));
    (server, router)
}
