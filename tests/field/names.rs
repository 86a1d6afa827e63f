//! The server's name: the resolver is late, dead, refuses, lies, or answers something else later.

use crate::lab::clock;
use crate::lab::emulator::Link;
use crate::lab::netns::Netns;
use crate::lab::onebox::{Instance, Keys, PORT, START, peer_of, router_config, server_config};
use crate::lab::programs::{TempDir, poll_until};
use crate::lab::topology::{ISP, Lab, SERVER, SERVER6, Wan};
use onebox::control::{Request, client};
use onebox::status::{State, Status};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The server's name.
pub const NAME: &str = "vps.onebox.test";
/// Where the resolver is, at the provider.
const RESOLVER: &str = "203.0.113.53";
/// Another address of the server.
const ELSEWHERE: &str = "198.51.100.7";
/// From the end of the server in its old place to the connection with it in the new one.
const MOVED: Duration = Duration::from_secs(6);
/// From the first answer of the resolver to the connection.
const CONNECT: Duration = Duration::from_secs(2);

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
    pub fn answers(addresses: &[&str]) -> Habit {
        Habit::late(addresses, Duration::ZERO)
    }

    fn late(addresses: &[&str], after: Duration) -> Habit {
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
    fn first(&self) -> Option<Instant> {
        *self.shared.first.lock().unwrap()
    }

    /// How often it was asked.
    fn questions(&self) -> usize {
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

fn lab() -> Lab {
    Lab::new(&[Wan::mbit_ms(30, 10)])
}

/// Asks for the status over and over from a thread of its own, and says how long that took.
struct Asker {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Duration>>,
}

impl Asker {
    fn start(router: &Instance<'_>) -> Asker {
        let (stop, socket) = (Arc::<AtomicBool>::default(), router.control());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let start = clock::now();
                client::ask::<Status>(&socket, &Request::Status).expect("a status");
                took.push(start.elapsed());
                clock::pass(Duration::from_millis(20));
            }
            took
        });
        Asker { stop, thread }
    }

    /// The median and the largest.
    fn end(self, what: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.thread.join().expect("every status");
        took.sort_unstable();
        let (median, largest) = (took[took.len() / 2], took[took.len() - 1]);
        println!("{what}: {} answers, median {median:?}, largest {largest:?}", took.len());
        assert!(median < Duration::from_millis(100), "{median:?}");
        assert!(largest < Duration::from_millis(500), "{largest:?}");
    }
}

/// Waits until it is up, and says how long after the resolver's first answer.
fn connects(router: &Instance<'_>, resolver: &Resolver, what: &str) {
    router.wait_up(1, Duration::from_secs(60));
    let took = resolver.first().expect("it has answered").elapsed();
    println!("{what}: connected {took:?} after the first answer");
    assert!(took < CONNECT, "{what}: {took:?}");
}

fn code(status: &Status) -> Option<String> {
    let peer = status.peers.first()?;
    peer.last_error.as_ref().map(|error| error.code.clone())
}

/// Whether the router has seen that WAN: its address has a rule of ours.
fn is_seen(router: &Netns, address: &str) -> bool {
    router.output("ip rule").contains(&format!("from {address} lookup"))
}

#[test]
fn a_resolver_that_comes_late_holds_up_nothing() {
    for (habit, seconds) in [(Habit::Silent, 13), (Habit::Code(2), 6), (Habit::Code(5), 4)] {
        let lab = lab();
        let what = format!("{habit:?} for {seconds} s");
        let resolver = Resolver::start(&lab, habit);
        let (_server, mut router) = pair(&lab, &resolver, "\toption enabled '1'\n", "");
        let start = clock::now();
        router.start();
        assert!(start.elapsed() < CONNECT, "{what}: running after {:?}", start.elapsed());
        let asker = Asker::start(&router);
        let (_link, seen) = new_wan(&lab);
        println!("{what}: a new WAN is seen after {seen:?}");
        assert!(seen < Duration::from_secs(1), "{seen:?}");
        let start_reload = clock::now();
        assert!(router.command(&["reload"]).status.success());
        assert!(start_reload.elapsed() < Duration::from_secs(1), "{:?}", start_reload.elapsed());
        poll_until(Duration::from_secs(12), "it is told", || {
            let status = router.status();
            assert_eq!(status.state, State::Connecting);
            let shown = status.problems.iter().any(|p| p.subject == NAME && !p.remedy.is_empty());
            (shown && code(&status).as_deref() == Some("name_unresolved")).then_some(())
        });
        clock::pass(Duration::from_secs(seconds).saturating_sub(start.elapsed()));
        resolver.set(Habit::answers(&[SERVER]));
        connects(&router, &resolver, &what);
        asker.end(&what);
        let status = router.status();
        let told = status.problems.iter().any(|problem| problem.code == "name_unresolved");
        assert!(!told && code(&status).is_none(), "{status:#?}");
        assert_eq!(router.log().matches("cannot be resolved").count(), 1, "{}", router.log());
        assert!(resolver.questions() < 80, "{} questions", resolver.questions());
    }
}

/// Connects another WAN; how long it took until the router had seen it.
fn new_wan(lab: &Lab) -> (Link, Duration) {
    let link = lab.connect_wan(0, 1, Wan::mbit_ms(30, 10));
    let start = clock::now();
    poll_until(Duration::from_secs(30), "the new WAN is seen", || {
        is_seen(&lab.site().router, &lab.site().wan_address(1)).then_some(())
    });
    (link, start.elapsed())
}

#[test]
fn slow_answers_and_those_of_one_family_will_do() {
    for (addresses, late_s) in [(&[SERVER, SERVER6][..], 3), (&[SERVER6], 0), (&[SERVER], 0)] {
        let lab = lab();
        let what = format!("{addresses:?} after {late_s} s");
        let habit = Habit::late(addresses, Duration::from_secs(late_s));
        let resolver = Resolver::start(&lab, habit);
        let (_server, mut router) = pair(&lab, &resolver, "\toption enabled '1'\n", "");
        let start = clock::now();
        router.start();
        assert!(start.elapsed() < CONNECT, "{what}: running after {:?}", start.elapsed());
        let asker = Asker::start(&router);
        connects(&router, &resolver, &what);
        asker.end(&what);
        let endpoint = router.status().peers[0].endpoint.clone();
        assert!(addresses.iter().any(|address| endpoint.contains(address)), "{endpoint}");
    }
}

/// With everything closed as well: the questions leave all the same.
#[test]
fn a_name_is_found_while_nothing_may_leave() {
    let lab = lab();
    let resolver = Resolver::start(&lab, Habit::Silent);
    let (_server, mut router) = pair(&lab, &resolver, "\toption kill_switch '1'\n", "");
    router.start();
    clock::pass(Duration::from_secs(1));
    resolver.set(Habit::answers(&[SERVER]));
    connects(&router, &resolver, "kill switch");
}

/// A portal answers for everybody, a filter with nobody's address; neither is believed for long.
#[test]
fn a_wrong_answer_is_followed_by_a_right_one() {
    for wrong in ["10.1.0.1", "0.0.0.0"] {
        let lab = lab();
        let resolver = Resolver::start(&lab, Habit::answers(&[wrong]));
        let (_server, mut router) = pair(&lab, &resolver, "\toption enabled '1'\n", "");
        router.start();
        clock::pass(Duration::from_secs(3));
        assert_eq!(router.status().state, State::Connecting);
        resolver.set(Habit::answers(&[SERVER]));
        connects(&router, &resolver, wrong);
        assert!(kept(&router).contains(SERVER) && !kept(&router).contains(wrong));
    }
}

/// What is kept for the next start, as soon as there is something.
fn kept(router: &Instance<'_>) -> String {
    let file = router.control().with_extension("names");
    let text = poll_until(Duration::from_secs(3), "the addresses are kept", || {
        std::fs::read_to_string(&file).ok()
    });
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    text
}

#[test]
fn a_start_needs_no_resolver_once_the_server_was_found() {
    let lab = lab();
    let resolver = Resolver::start(&lab, Habit::answers(&[SERVER]));
    let (_server, mut router) = pair(&lab, &resolver, "\toption enabled '1'\n", "");
    router.start();
    router.wait_up(1, START);
    assert_eq!(kept(&router), format!("{NAME} {SERVER}\n"));
    for (habit, kill) in [(Habit::Silent, false), (Habit::Code(2), true)] {
        let what = format!("{habit:?}, killed {kill}");
        resolver.set(habit);
        if kill {
            router.kill()
        } else {
            router.stop()
        }
        let start = clock::now();
        router.start();
        router.wait_up(1, START);
        println!("{what}: up {:?} after the start", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    // What others have written into it does no harm.
    router.kill();
    let file = router.control().with_extension("names");
    let text = format!("elsewhere 192.0.2.9\n\u{0} {NAME}\n{NAME} x 0.0.0.0 {SERVER}\n");
    std::fs::write(&file, text + &"long ".repeat(1 << 20)).unwrap();
    router.start();
    router.wait_up(1, START);
}

/// The server moves. While the path works it is left alone, then the name leads to the new place.
#[test]
fn a_server_that_moves_is_found_again() {
    let lab = lab();
    let resolver = Resolver::start(&lab, Habit::answers(&[SERVER]));
    let (mut server, mut router) = pair(&lab, &resolver, "\toption enabled '1'\n", "");
    router.start();
    router.wait_up(1, START);
    kept(&router);
    resolver.set(Habit::answers(&[ELSEWHERE]));
    assert!(router.command(&["reload"]).status.success());
    clock::pass(Duration::from_secs(1));
    assert!(router.status().peers[0].endpoint.starts_with(SERVER));
    let start = clock::now();
    server.stop();
    lab.server.ip(&format!(
        "addr del {SERVER}/24 dev eth0\n\
         addr add {ELSEWHERE}/24 dev eth0\n\
         route add default via {ISP}\n"
    ));
    server.start();
    poll_until(MOVED, "the router finds it", || {
        let status = router.status();
        let there = status.peers[0].endpoint.starts_with(ELSEWHERE);
        (status.state == State::Up && there).then_some(())
    });
    println!("found again {:?} after it has begun to move", start.elapsed());
    poll_until(Duration::from_secs(3), "the new place is kept", || {
        kept(&router).contains(ELSEWHERE).then_some(())
    });
}
