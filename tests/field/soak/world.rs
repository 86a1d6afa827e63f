//! The network of the soak: four WANs that differ, a name server, both programs, light traffic that
//! never stops, and the question when it is back.
//!
//! How: a ping of IPv4 every 50 ms and a datagram of IPv6 every 100 ms go from the LAN through the
//! tunnel to the internet host and back; after each disturbance small transfers over TCP are tried
//! until one succeeds. The router masquerades what leaves by a WAN, as routers do, so that a
//! connection that was begun past the tunnel has to begin anew.
//!
//! Limits: the paths between the programs are IPv4.

use super::health::Life;
use crate::lab::clock;
use crate::lab::emulator::Link;
use crate::lab::emulator::model::Random;
use crate::lab::fetch::Fetches;
use crate::lab::meddling::say;
use crate::lab::onebox::{Instance, START};
use crate::lab::pinger::Pinger;
use crate::lab::resolver::{ELSEWHERE, Habit, Resolver, pair};
use crate::lab::topology::{INTERNET, INTERNET6, Lab, SERVER, Wan};
use crate::lab::traffic::Echo;
use onebox::control::{Request, client};
use onebox::status::{PathState, State, Status};
use std::time::{Duration, Instant};

/// Mbit/s and milliseconds one way of each WAN.
pub const WANS: [Wan; 4] =
    [Wan::mbit_ms(30, 5), Wan::mbit_ms(20, 10), Wan::mbit_ms(10, 20), Wan::mbit_ms(6, 30)];
/// What is answered in a row, but for one, when traffic is back: a second of it.
const PING_ROW: usize = 20;
/// The same of the datagrams.
const ECHO_ROW: usize = 10;
/// An answer later than this is none, milliseconds.
pub const LATE_MS: f64 = 1000.0;
/// How long one transfer may take before the next is tried: 64 KiB, some round trips.
const FETCH: Duration = Duration::from_millis(1500);
/// Whatever is not back by then does not come back.
const HOPELESS: Duration = Duration::from_secs(60);
/// Where the internet host serves transfers.
const FETCH_PORT: u16 = 8080;

/// Router or server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Router,
    Server,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Router, Side::Server];

    pub fn name(self) -> &'static str {
        ["router", "server"][self as usize]
    }
}

/// One WAN as it is now.
pub struct Line {
    /// Its device's name.
    pub device: String,
    /// The last number of its address.
    host: u64,
    /// None while the modem is away.
    link: Option<Link>,
}

/// What was seen of one disturbance.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What it was in detail.
    pub detail: String,
    /// Until pings and datagrams were back; the worst of its phases.
    pub back: Duration,
    /// Until a transfer had ended; the worst of its phases.
    pub tcp: Duration,
    /// From the beginning of the last phase until every WAN was in use and nothing was wrong.
    pub whole: Duration,
}

pub struct World<'a> {
    pub lab: &'a Lab,
    pub lines: Vec<Line>,
    pub resolver: Resolver,
    /// Router and server.
    pub programs: [Instance<'a>; 2],
    pub lives: [Life; 2],
    pub pinger: Pinger,
    echo: Echo,
    fetches: Fetches,
    server_address: &'static str,
    modems: u64,
    pub seen: Seen,
    /// From when on the time counts.
    phase: Instant,
}

impl<'a> World<'a> {
    /// Everything runs and carries.
    pub fn start(lab: &'a Lab, kill_switch: bool) -> World<'a> {
        let line = |index: usize| Line {
            device: format!("wan{}", index + 1),
            host: 2,
            link: Some(lab.connect_wan(0, index, WANS[index])),
        };
        let lines: Vec<Line> = (0..WANS.len()).map(line).collect();
        masquerade(lab);
        let resolver = Resolver::start(lab, Habit::answers(&[SERVER]));
        let options = if kill_switch {
            "\toption enabled '1'\n\toption kill_switch '1'\n"
        } else {
            "\toption enabled '1'\n"
        };
        let (mut server, mut router) = pair(lab, &resolver, options, "");
        server.stop();
        for program in [&mut server, &mut router] {
            program.set_wall_clock("+0");
            program.start();
        }
        router.wait_up(WANS.len(), START);
        let lan = &lab.site().lan;
        let pinger = Pinger::start(lan, INTERNET, Duration::from_millis(50), None);
        let every = Duration::from_millis(100);
        let echo = Echo::start(lan, &lab.internet, INTERNET6, every, "soak");
        let fetches = Fetches::serve(&lab.internet, INTERNET, FETCH_PORT);
        World {
            lab,
            lines,
            resolver,
            programs: [router, server],
            lives: [Life::new(), Life::new()],
            pinger,
            echo,
            fetches,
            server_address: SERVER,
            modems: 0,
            seen: Seen::default(),
            phase: clock::now(),
        }
    }

    /// The program of a side.
    pub fn program(&mut self, side: Side) -> &mut Instance<'a> {
        &mut self.programs[side as usize]
    }

    /// Starts the program of a side, which does not run.
    pub fn start_program(&mut self, side: Side) {
        self.program(side).start();
        self.lives[side as usize] = Life::new();
    }

    /// Says what this disturbance is in detail.
    pub fn detail(&mut self, text: impl Into<String>) {
        self.seen.detail = text.into();
    }

    /// Waits until the traffic is as before. The time counts from `moment`.
    pub fn back(&mut self, moment: Instant) {
        self.phase = moment;
        let steady = |world: &World<'_>| {
            let pings = world.pinger.since(moment).steady_ms(PING_ROW, LATE_MS)?;
            Some(pings.max(world.echo.since(moment).steady_ms(ECHO_ROW, LATE_MS)?))
        };
        let back_ms = self.wait("traffic is back", || steady(self));
        let back = Duration::from_secs_f64(back_ms / 1000.0);
        // What a transfer takes by itself counts, but not that it was not tried earlier.
        let tried = clock::now();
        let tcp = self.wait("a transfer succeeds", || {
            self.fetches.fetch(&self.lab.site().lan, FETCH).ok().map(|_| tried.elapsed())
        });
        self.seen.back = self.seen.back.max(back);
        self.seen.tcp = self.seen.tcp.max(back + tcp);
    }

    /// Waits until every WAN is in use and no program has anything to complain of.
    pub fn whole(&mut self) {
        self.wait("every WAN is in use", || self.missing().is_none().then_some(()));
        self.seen.whole = self.phase.elapsed();
    }

    /// What is not as it should be.
    pub fn missing(&self) -> Option<String> {
        let [router, server] = [0, 1].map(|side| {
            client::ask::<Status>(&self.programs[side].control(), &Request::Status).ok()
        });
        let (Some(router), Some(server)) = (router, server) else {
            return Some("a program does not answer".into());
        };
        for line in &self.lines {
            let mut paths = router.peers.iter().flat_map(|peer| &peer.paths);
            let Some(path) = paths.find(|path| path.device == line.device) else {
                return Some(format!("no path over {}", line.device));
            };
            let narrow = path.reason_code == "too_narrow";
            if !matches!(path.state, PathState::Active | PathState::Backup | PathState::Held)
                || narrow
            {
                return Some(format!("{} is {}: {}", line.device, path.state, path.reason));
            }
        }
        for status in [router, server] {
            // The lab has no bus.
            let problem = status.problems.iter().find(|problem| problem.code != "ubus_missing");
            if status.state != State::Up || problem.is_some() {
                return Some(format!("{}: {problem:?}", status.state));
            }
        }
        None
    }

    fn wait<T>(&self, what: &str, check: impl Fn() -> Option<T>) -> T {
        let start = clock::now();
        loop {
            if let Some(found) = check() {
                return found;
            }
            if start.elapsed() > HOPELESS {
                panic!("not within {HOPELESS:?}: {what}; missing {:?}", self.missing());
            }
            clock::pass(Duration::from_millis(20));
        }
    }

    /// One of the WANs.
    pub fn draw_line(&self, random: &mut Random) -> usize {
        draw(random, 0, self.lines.len() as u64 - 1) as usize
    }

    /// The link of a WAN.
    pub fn link(&self, line: usize) -> &Link {
        self.lines[line].link.as_ref().expect("the modem is there")
    }

    /// A command of `ip` in the router about a device that may be gone.
    pub fn ip(&self, line: &str) {
        say(&self.lab.site().router, &format!("ip {line}"));
    }

    /// Gives a WAN its addresses and default routes, as a network daemon does.
    pub fn configure(&self, line: usize) {
        let Line { device, host, .. } = &self.lines[line];
        let (number, metric) = (line + 1, 11 + line);
        for command in [
            format!("link set {device} up"),
            format!("addr replace 10.{number}.0.{host}/24 dev {device}"),
            format!("addr replace fd00:{number}::2/64 dev {device} nodad"),
            format!("route replace default via 10.{number}.0.1 dev {device} metric {metric}"),
            format!("-6 route replace default via fd00:{number}::1 dev {device} metric {metric}"),
        ] {
            self.ip(&command);
        }
    }

    /// A WAN gets another address.
    pub fn move_wan(&mut self, line: usize, random: &mut Random) -> String {
        let Line { device, host, .. } = &mut self.lines[line];
        let old = format!("10.{}.0.{host}", line + 1);
        *host = 2 + (*host - 2 + draw(random, 1, 199)) % 200;
        let new = format!("10.{}.0.{host}", line + 1);
        let command = format!("addr del {old}/24 dev {device}");
        self.ip(&command);
        self.configure(line);
        format!("{old} becomes {new}")
    }

    /// A modem comes back under another name.
    pub fn rename(&mut self, line: usize) -> String {
        let old = self.lines[line].device.clone();
        let new = format!("wwan{}", self.modems);
        self.modems += 1;
        self.ip(&format!("link set {old} down"));
        self.ip(&format!("link set {old} name {new}"));
        self.lines[line].device.clone_from(&new);
        self.configure(line);
        format!("{old} becomes {new}")
    }

    /// A modem is pulled out.
    pub fn unplug(&mut self, line: usize) {
        self.lines[line].link = None;
    }

    /// A modem is plugged in: a device with the WAN's first name, and another index.
    pub fn plug(&mut self, line: usize) {
        self.lines[line].link = Some(self.lab.connect_wan(0, line, WANS[line]));
        self.lines[line].device = format!("wan{}", line + 1);
        self.lines[line].host = 2;
    }

    /// The server has another address, and its name leads there.
    pub fn move_server(&mut self) -> String {
        let old = self.server_address;
        let new = if old == SERVER { ELSEWHERE } else { SERVER };
        let server = &self.lab.server;
        say(server, &format!("ip addr del {old}/24 dev eth0"));
        say(server, &format!("ip addr add {new}/24 dev eth0"));
        say(server, &format!("ip route replace default via {}", crate::lab::topology::ISP));
        self.resolver.set(Habit::answers(&[new]));
        self.server_address = new;
        format!("{old} becomes {new}")
    }

    /// The server is where it was at first.
    pub fn move_server_home(&mut self) {
        if self.server_address != SERVER {
            self.move_server();
        }
    }

    /// The resolver works.
    pub fn resolve(&self) {
        self.resolver.set(Habit::answers(&[self.server_address]));
    }
}

/// Whoever fails wants to know what the programs said last.
impl Drop for World<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for side in Side::BOTH {
            let log = self.program(side).log();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}:\n{}", side.name(), lines[lines.len().saturating_sub(80)..].join("\n"));
            println!("{:#?}", self.program(side).try_status().map(|status| status.peers));
        }
    }
}

/// A whole number from `least` to `most`.
pub fn draw(random: &mut Random, least: u64, most: u64) -> u64 {
    least + random.next() % (most - least + 1)
}

/// A time from `least` to `most`, milliseconds.
pub fn draw_ms(random: &mut Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(draw(random, least, most))
}

/// The router's own firewall, which somebody who flushes everything loads again.
pub fn masquerade(lab: &Lab) {
    let chain = "chain inet firewall srcnat";
    lab.site().router.output(&format!(
        "nft add table inet firewall ; \
         add {chain} {{ type nat hook postrouting priority 100 ; }} ; flush {chain} ; \
         add rule inet firewall srcnat oifname wan* masquerade ; \
         add rule inet firewall srcnat oifname wwan* masquerade"
    ));
}
