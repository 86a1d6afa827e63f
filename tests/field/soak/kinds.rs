//! The kinds of disturbance, each with the time within which traffic has to be back.
//!
//! How: a kind plays what happens, and asks with [`World::back`] whether traffic is back, as often as
//! it has phases: while a link is bad and when it is good again. What is asked at random comes from a
//! stream of the seed and the disturbance's number alone.
//!
//! Limits: the wall clock cannot jump, since the machine has only one: a time namespace has none of
//! its own (time_namespaces(7)), and a program reads it without a system call that could be answered
//! otherwise. What a program sees of its monotonic clock does jump: it is stopped and goes on.

use super::world::{Side, World, draw, draw_ms};
use crate::lab::clock;
use crate::lab::emulator::model::Random;
use crate::lab::meddling::{MEDDLING, Meddling, answer, say};
use crate::lab::netns::Netns;
use crate::lab::programs::poll_until;
use crate::lab::resolver::Habit;
use nix::sys::signal::Signal;
use std::time::Duration;

/// One kind.
pub struct Kind {
    /// A word for it, with the side that it happens to.
    pub key: String,
    /// Seconds within which pings are back.
    pub back_s: f64,
    /// Seconds within which a transfer over TCP has ended.
    pub tcp_s: f64,
    /// Whether another WAN may be bad meanwhile.
    pub shadowed: bool,
    /// Whether it ends a program, whose memory then cannot be compared any more.
    pub restarts: bool,
    play: Play,
}

enum Play {
    /// Something happens to the lines.
    Plain(fn(&mut World<'_>, &mut Random)),
    /// Something happens to one side.
    Sided(Side, fn(&mut World<'_>, Side, &mut Random)),
    /// Somebody changes what is ours in a kernel.
    Meddle(Side, &'static Meddling),
}

impl Kind {
    pub fn play(&self, world: &mut World<'_>, random: &mut Random) {
        match self.play {
            Play::Plain(play) => play(world, random),
            Play::Sided(side, play) => play(world, side, random),
            Play::Meddle(side, meddling) => meddle(world, side, meddling),
        }
    }
}

/// Word, bounds of pings and of TCP in seconds, whether another WAN may be bad meanwhile.
type Plain = (&'static str, f64, f64, bool, fn(&mut World<'_>, &mut Random));
/// Word, bounds, whether it ends the program.
type Sided = (&'static str, f64, f64, bool, fn(&mut World<'_>, Side, &mut Random));

/// What happens to a WAN, to all, or to the server's place. On an idle machine pings are back within
/// 0.2 s and TCP within 1.5 s where the bounds are 2 and 5; the rest is for a machine that is busy.
const PLAIN: [Plain; 20] = [
    ("wan-address", 2.0, 5.0, true, wan_address),
    ("wan-renamed", 2.0, 5.0, true, wan_renamed),
    ("wan-replugged", 2.0, 5.0, true, wan_replugged),
    ("wan-carrier", 2.0, 5.0, true, wan_carrier),
    ("wan-off", 2.0, 5.0, true, wan_off),
    ("wan-silent", 2.0, 5.0, true, wan_silent),
    ("wan-lossy", 2.0, 5.0, true, wan_lossy),
    ("wan-rebound", 2.0, 5.0, true, wan_rebound),
    ("wan-route", 2.0, 5.0, true, wan_route),
    ("all-carrier", 8.0, 11.0, true, all_carrier),
    ("all-silent", 8.0, 11.0, true, all_silent),
    ("all-off", 8.0, 11.0, true, all_off),
    ("mtu-wan", 2.0, 5.0, true, mtu_wan),
    ("mtu-way", 2.0, 5.0, true, mtu_way),
    ("mtu-way-no-icmp", 2.0, 6.0, true, mtu_way_no_icmp),
    ("mtu-server", 8.0, 15.0, true, mtu_server),
    ("mtu-server-no-icmp", 8.0, 15.0, true, mtu_server_no_icmp),
    ("dns-dead", 2.0, 5.0, true, dns_dead),
    // Found by its name, which is asked for when nothing has come for some time, or since it sends first.
    ("server-moves", 6.0, 9.0, true, server_moves),
    ("server-renumbered", 6.0, 9.0, true, server_renumbered),
];

/// What happens to one side.
const SIDED: [Sided; 5] = [
    ("kill", 5.0, 8.0, true, kill),
    ("restart", 5.0, 8.0, true, restart),
    ("reload", 2.0, 5.0, false, reload),
    // TCP's pauses double: the next one is as long as all before, which is up to 9 s here.
    ("frozen", 3.0, 11.0, false, frozen),
    ("clock", 2.0, 5.0, true, wall_clock),
];

/// For what others do to our state in a kernel: it is put back, and the traffic with it.
const MEDDLE_S: f64 = 5.0;
const MEDDLE_TCP_S: f64 = 8.0;

/// The kinds whose names begin with one of the words; without words, all.
pub fn kinds(world: &World<'_>, words: &str) -> Vec<Kind> {
    let is_wanted = |kind: &Kind| words.split(',').any(|word| kind.key.starts_with(word));
    all(world).into_iter().filter(is_wanted).collect()
}

/// Every kind that makes sense here.
fn all(world: &World<'_>) -> Vec<Kind> {
    let plain = PLAIN.map(|(key, back_s, tcp_s, shadowed, play)| Kind {
        key: key.into(),
        back_s,
        tcp_s,
        shadowed,
        restarts: key == "server-moves",
        play: Play::Plain(play),
    });
    let mut kinds = Vec::from(plain);
    for side in Side::BOTH {
        kinds.extend(SIDED.map(|(key, back_s, tcp_s, restarts, play)| Kind {
            key: format!("{}-{key}", side.name()),
            back_s,
            tcp_s,
            shadowed: true,
            restarts,
            play: Play::Sided(side, play),
        }));
        // A server without routes into a table of its own has none to lose.
        let there = |m: &&Meddling| !answer(namespace(world, side), m.question).is_empty();
        kinds.extend(MEDDLING.iter().filter(there).map(|meddling| Kind {
            key: format!("{}-{}", side.name(), meddling.key),
            back_s: MEDDLE_S,
            tcp_s: MEDDLE_TCP_S,
            shadowed: true,
            restarts: false,
            play: Play::Meddle(side, meddling),
        }));
    }
    kinds
}

fn namespace<'w>(world: &'w World<'_>, side: Side) -> &'w Netns {
    match side {
        Side::Router => &world.lab.site().router,
        Side::Server => &world.lab.server,
    }
}

/// What one WAN is like meanwhile, as the commands of its link that begin and end it.
const SHADOWS: [(&str, &str, &str); 3] = [
    ("silent", "blackhole on", "blackhole off"),
    ("half deaf", "set loss=50%", "set loss=0%"),
    ("crawling", "set rate=300kbit", "set rate=10mbit"),
];

/// Half of the disturbances happen while a WAN is bad besides.
pub struct Shadow(Option<(usize, usize)>);

impl Shadow {
    pub fn begin(world: &World<'_>, kind: &Kind, random: &mut Random) -> Shadow {
        let (drawn, line) = (draw(random, 0, 1) == 1, world.draw_line(random));
        let wanted = drawn && kind.shadowed;
        let which = draw(random, 0, SHADOWS.len() as u64 - 1) as usize;
        if wanted {
            world.link(line).set(SHADOWS[which].1);
        }
        Shadow(wanted.then_some((line, which)))
    }

    pub fn end(&self, world: &World<'_>) {
        if let Shadow(Some((line, which))) = self {
            world.link(*line).set(SHADOWS[*which].2);
        }
    }

    pub fn name(&self) -> String {
        let Shadow(Some((line, which))) = self else { return String::new() };
        format!(", WAN {} {}", line + 1, SHADOWS[*which].0)
    }
}

fn meddle(world: &mut World<'_>, side: Side, meddling: &Meddling) {
    world.detail(meddling.name);
    let end = namespace(world, side);
    let before = answer(end, meddling.question);
    let start = clock::now();
    for command in meddling.commands.lines() {
        say(end, command);
    }
    if meddling.commands == "nft flush ruleset" && side == Side::Router {
        super::world::masquerade(world.lab);
    }
    poll_until(Duration::from_secs_f64(MEDDLE_S), &format!("as before: {before:#?}"), || {
        (answer(end, meddling.question) == before).then_some(())
    });
    world.back(start);
}

fn wan_address(world: &mut World<'_>, random: &mut Random) {
    let line = world.draw_line(random);
    let start = clock::now();
    let text = world.move_wan(line, random);
    world.detail(text);
    world.back(start);
}

fn wan_renamed(world: &mut World<'_>, random: &mut Random) {
    let line = world.draw_line(random);
    let start = clock::now();
    let text = world.rename(line);
    world.detail(text);
    world.back(start);
}

fn wan_replugged(world: &mut World<'_>, random: &mut Random) {
    let (line, away) = (world.draw_line(random), draw_ms(random, 100, 4000));
    world.detail(format!("{}, away for {away:?}", world.lines[line].device));
    let start = clock::now();
    world.unplug(line);
    world.back(start);
    clock::pass(away.saturating_sub(start.elapsed()));
    let start = clock::now();
    world.plug(line);
    world.back(start);
}

/// A WAN is bad for a while, by a command of its link, and good again.
fn bad(world: &mut World<'_>, random: &mut Random, worse: &str, good: &str) {
    let (line, lasts) = (world.draw_line(random), draw_ms(random, 300, 6000));
    world.detail(format!("{}: {worse} for {lasts:?}", world.lines[line].device));
    let start = clock::now();
    world.link(line).set(worse);
    world.back(start);
    clock::pass(lasts.saturating_sub(start.elapsed()));
    let start = clock::now();
    world.link(line).set(good);
    world.back(start);
}

fn wan_carrier(world: &mut World<'_>, random: &mut Random) {
    bad(world, random, "carrier off", "carrier on");
}

fn wan_silent(world: &mut World<'_>, random: &mut Random) {
    bad(world, random, "blackhole on", "blackhole off");
}

fn wan_lossy(world: &mut World<'_>, random: &mut Random) {
    bad(world, random, "set loss=50%", "set loss=0%");
}

fn wan_rebound(world: &mut World<'_>, random: &mut Random) {
    let line = world.draw_line(random);
    world.detail(format!("{}: other ports by the provider's NAT", world.lines[line].device));
    let start = clock::now();
    world.link(line).set("rebind");
    world.back(start);
}

fn wan_off(world: &mut World<'_>, random: &mut Random) {
    let (line, lasts) = (world.draw_line(random), draw_ms(random, 300, 6000));
    let device = world.lines[line].device.clone();
    world.detail(format!("{device} switched off for {lasts:?}"));
    let start = clock::now();
    world.ip(&format!("link set {device} down"));
    world.back(start);
    clock::pass(lasts.saturating_sub(start.elapsed()));
    let start = clock::now();
    world.configure(line);
    world.back(start);
}

fn wan_route(world: &mut World<'_>, random: &mut Random) {
    let (line, lasts) = (world.draw_line(random), draw_ms(random, 300, 6000));
    let device = world.lines[line].device.clone();
    world.detail(format!("{device} without a default route for {lasts:?}"));
    let start = clock::now();
    world.ip(&format!("route del default dev {device}"));
    world.ip(&format!("-6 route del default dev {device}"));
    world.back(start);
    clock::pass(lasts.saturating_sub(start.elapsed()));
    let start = clock::now();
    world.configure(line);
    world.back(start);
}

/// All WANs at once, by a command of their links; nothing can go on meanwhile.
fn all_bad(world: &mut World<'_>, random: &mut Random, worse: &str, good: &str) {
    let lasts = draw_ms(random, 500, 14_000);
    world.detail(format!("{worse} for {lasts:?}"));
    let all = |world: &World<'_>, command: &str| {
        (0..world.lines.len()).for_each(|line| world.link(line).set(command));
    };
    all(world, worse);
    clock::pass(lasts);
    all(world, good);
    world.back(clock::now());
}

fn all_carrier(world: &mut World<'_>, random: &mut Random) {
    all_bad(world, random, "carrier off", "carrier on");
}

fn all_silent(world: &mut World<'_>, random: &mut Random) {
    all_bad(world, random, "blackhole on", "blackhole off");
}

fn all_off(world: &mut World<'_>, random: &mut Random) {
    let lasts = draw_ms(random, 500, 14_000);
    world.detail(format!("switched off for {lasts:?}"));
    for line in &world.lines {
        world.ip(&format!("link set {} down", line.device));
    }
    clock::pass(lasts);
    (0..world.lines.len()).for_each(|line| world.configure(line));
    world.back(clock::now());
}

/// Something is narrow for a while. Transfers have to succeed while it is, and after.
fn narrow(world: &mut World<'_>, lasts: Duration, on: &[String], off: &[String]) {
    let run = |world: &World<'_>, commands: &[String]| {
        for command in commands {
            let (place, line) = command.split_once(": ").expect("a place");
            let router = place == "router";
            let end = if router { &world.lab.site().router } else { &world.lab.isp };
            end.output(line);
        }
    };
    let start = clock::now();
    run(world, on);
    world.back(start);
    clock::pass(lasts.saturating_sub(start.elapsed()));
    let start = clock::now();
    run(world, off);
    world.back(start);
}

/// A line, its length of packets, and for how long.
fn drawn(world: &World<'_>, random: &mut Random) -> (usize, u64, Duration) {
    (world.draw_line(random), draw(random, 1280, 1480), draw_ms(random, 1000, 8000))
}

fn mtu_wan(world: &mut World<'_>, random: &mut Random) {
    let (line, mtu, lasts) = drawn(world, random);
    let device = world.lines[line].device.clone();
    world.detail(format!("{device} has {mtu} for {lasts:?}"));
    let set = |mtu: u64| format!("router: ip link set {device} mtu {mtu}");
    narrow(world, lasts, &[set(mtu)], &[set(1500)]);
}

fn mtu_way(world: &mut World<'_>, random: &mut Random) {
    let (line, mtu, lasts) = drawn(world, random);
    world.detail(format!("{} has {mtu} downward for {lasts:?}", world.lines[line].device));
    let set = |mtu: u64| format!("isp: ip link set gw{} mtu {mtu}", line + 1);
    narrow(world, lasts, &[set(mtu)], &[set(1500)]);
}

fn mtu_server(world: &mut World<'_>, random: &mut Random) {
    let (_, mtu, lasts) = drawn(world, random);
    world.detail(format!("the server's way has {mtu} for {lasts:?}"));
    // The server's end of the wire drops in silence what is longer than the other end takes.
    let set = |mtu: u64| format!("isp: ip link set srv mtu {mtu}");
    narrow(world, lasts, &[set(mtu)], &[set(1500)]);
}

/// The provider drops in silence what is longer on one of its devices.
fn filtered(world: &mut World<'_>, device: &str, mtu: u64, lasts: Duration) {
    let chain = "inet narrow forward";
    let on = [format!(
        "isp: nft add table inet narrow ; \
         add chain {chain} {{ type filter hook forward priority 0 ; }} ; \
         add rule {chain} iifname {device} meta length > {mtu} drop ; \
         add rule {chain} oifname {device} meta length > {mtu} drop"
    )];
    narrow(world, lasts, &on, &["isp: nft delete table inet narrow".into()]);
}

fn mtu_way_no_icmp(world: &mut World<'_>, random: &mut Random) {
    let (line, mtu, lasts) = drawn(world, random);
    world.detail(format!("{} has {mtu} for {lasts:?}", world.lines[line].device));
    filtered(world, &format!("gw{}", line + 1), mtu, lasts);
}

fn mtu_server_no_icmp(world: &mut World<'_>, random: &mut Random) {
    let (_, mtu, lasts) = drawn(world, random);
    world.detail(format!("the server's way has {mtu} for {lasts:?}"));
    filtered(world, "srv", mtu, lasts);
}

fn dns_dead(world: &mut World<'_>, random: &mut Random) {
    let habit =
        [Habit::Silent, Habit::Code(2), Habit::Code(3)][draw(random, 0, 2) as usize].clone();
    let lasts = draw_ms(random, 2000, 8000);
    world.detail(format!("{habit:?} for {lasts:?}"));
    let start = clock::now();
    world.resolver.set(habit);
    clock::pass(lasts);
    world.resolve();
    world.back(start);
}

/// The server stops in order, moves, and starts; its name follows.
fn server_moves(world: &mut World<'_>, _random: &mut Random) {
    world.program(Side::Server).stop();
    let text = world.move_server();
    world.detail(text);
    world.start_program(Side::Server);
    world.back(clock::now());
}

/// The server's address changes while it runs; its name follows.
fn server_renumbered(world: &mut World<'_>, _random: &mut Random) {
    let start = clock::now();
    let text = world.move_server();
    world.detail(text);
    world.back(start);
}

/// A crash, and a supervisor that starts it anew.
fn kill(world: &mut World<'_>, side: Side, random: &mut Random) {
    let pause = draw_ms(random, 0, 3000);
    world.detail(format!("starts anew after {pause:?}"));
    world.program(side).kill();
    clock::pass(pause);
    let start = clock::now();
    world.start_program(side);
    world.back(start);
}

fn restart(world: &mut World<'_>, side: Side, random: &mut Random) {
    let pause = draw_ms(random, 0, 1000);
    world.detail(format!("starts anew after {pause:?}"));
    world.program(side).stop();
    clock::pass(pause);
    let start = clock::now();
    world.start_program(side);
    world.back(start);
}

fn reload(world: &mut World<'_>, side: Side, random: &mut Random) {
    let start = clock::now();
    let by_signal = draw(random, 0, 1) == 1;
    world.detail(if by_signal { "by SIGHUP" } else { "by command" });
    if by_signal {
        world.program(side).program().signal(Signal::SIGHUP);
    } else {
        assert!(world.program(side).command(&["reload"]).status.success(), "reload");
    }
    world.back(start);
}

/// The program gets no time, as in a machine that is suspended: its clock jumps.
fn frozen(world: &mut World<'_>, side: Side, random: &mut Random) {
    let lasts = draw_ms(random, 200, 9000);
    world.detail(format!("for {lasts:?}"));
    world.program(side).program().signal(Signal::SIGSTOP);
    clock::pass(lasts);
    world.program(side).program().signal(Signal::SIGCONT);
    world.back(clock::now());
}

/// The wall clock jumps, and later back. If a handshake falls into that time, the next start has an
/// earlier timestamp.
fn wall_clock(world: &mut World<'_>, side: Side, random: &mut Random) {
    let jumps = ["@1970-01-03 12:00:00", "-1h", "+1h", "+10y"];
    let jump = jumps[draw(random, 0, jumps.len() as u64 - 1) as usize];
    let lasts = draw_ms(random, 200, 3000);
    if !world.program(side).set_wall_clock(jump) {
        world.detail("left out: needs libfaketime");
        world.back(clock::now());
        return;
    }
    world.detail(format!("{jump} for {lasts:?}"));
    clock::pass(lasts);
    world.program(side).set_wall_clock("+0");
    world.back(clock::now());
}
