//! The server's name: the resolver is late, dead, refuses, lies, or answers something else later.

use crate::lab::clock;
use crate::lab::emulator::Link;
use crate::lab::netns::Netns;
use crate::lab::onebox::{Instance, START};
use crate::lab::programs::poll_until;
use crate::lab::resolver::{ELSEWHERE, Habit, NAME, Resolver, pair};
use crate::lab::topology::{ISP, Lab, SERVER, SERVER6, Wan};
use onebox::control::{Request, client};
use onebox::status::{State, Status};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// From the end of the server in its old place to the connection with it in the new one.
const MOVED: Duration = Duration::from_secs(6);
/// From the first answer of the resolver to the connection.
const CONNECT: Duration = Duration::from_secs(2);

/// To a connection where a question has to go by the second WAN or the third way.
const FURTHER: Duration = Duration::from_secs(9);

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

/// The first WAN has a link and leads nowhere; the name server is reached by the other.
#[test]
fn a_name_is_found_by_any_wan_that_works() {
    for option in ["enabled", "kill_switch"] {
        let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
        lab.link(0).set("blackhole on");
        let resolver = Resolver::start(&lab, Habit::answers(&[SERVER]));
        let (_server, mut router) =
            pair(&lab, &resolver, &format!("\toption enabled '1'\n\toption {option} '1'\n"), "");
        let start = clock::now();
        router.start();
        router.wait_up(1, Duration::from_secs(60));
        println!("{option}: found {:?} after the start", start.elapsed());
        assert!(start.elapsed() < FURTHER, "{:?}", start.elapsed());
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
