//! What a peer can make the other end believe by its acknowledgements, and so send.

use crate::served::Server;
use crate::villain::{Villain, frames};
use onebox::endpoint::{Breach, Event, PeerState};
use onebox::time::{MS, SEC, Time};
use onebox::wire::frame::{Ack, Frame, Frames};
use onebox::wire::{AckRanges, PathId};
use std::collections::VecDeque;

/// What the way to the peer carries, bytes per second, and how long it takes, microseconds.
const LINE: u64 = 1_250_000;
const DELAY_US: u64 = 20 * MS;
/// Bytes that wait for the line at most.
const LINE_QUEUE: u64 = 100_000;
/// Within so many datagrams who lies has to be found.
const FOUND_WITHIN: u64 = 1000;

/// What has arrived at the peer, and what it says about it.
struct Receiver {
    villain: Villain,
    /// Under way to it: when each is there.
    line: VecDeque<(Time, Vec<u8>)>,
    free_at: Time,
    /// Of the numbers that came: inclusive, the newest first.
    ranges: Vec<(u64, u64)>,
    arrived: Time,
    challenges: Vec<u64>,
    /// Pings to be answered.
    pings: Vec<u32>,
    /// Datagrams that the server has sent, and those that arrived.
    sent: u64,
    came: u64,
    closed: Option<u8>,
}

/// What it says has arrived, and when.
type Claim = fn(&Receiver, Time) -> Option<(Vec<(u64, u64)>, u64)>;

impl Receiver {
    fn new(server: &mut Server) -> Receiver {
        let villain = server.admit(1);
        Receiver {
            villain,
            line: VecDeque::new(),
            free_at: server.now,
            ranges: Vec::new(),
            arrived: server.now,
            challenges: Vec::new(),
            pings: Vec::new(),
            sent: 0,
            came: 0,
            closed: None,
        }
    }

    fn receive(&mut self, now: Time, datagram: &[u8]) {
        let Some((_, number, payload)) = self.villain.open(datagram) else { return };
        let number = u64::from(number);
        self.came += 1;
        self.arrived = now;
        match self.ranges.first_mut() {
            Some((_, high)) if *high + 1 == number => *high = number,
            _ => self.ranges.insert(0, (number, number)),
        }
        self.ranges.truncate(32);
        for frame in Frames::new(&payload).flatten() {
            match frame {
                Frame::Challenge { data } => self.challenges.push(data),
                Frame::Ping { sent } => self.pings.push(sent),
                Frame::Close { reason } => self.closed = Some(reason),
                _ => {}
            }
        }
    }

    /// What there is to say, as a datagram.
    fn answer(&mut self, now: Time, claim: Claim) -> Option<Vec<u8>> {
        let mut says = Vec::new();
        says.extend(self.challenges.drain(..).map(|data| Frame::Response { data }));
        says.extend(self.pings.drain(..).map(|echo| Frame::Pong { echo }));
        if let Some((ranges, arrived)) = claim(self, now) {
            let largest = ranges.first()?.1;
            says.push(Frame::Ack(Ack {
                path: PathId(0),
                largest_low: largest as u32,
                arrived: arrived as u32,
                delay_us: 0,
                ranges: AckRanges::from_descending(ranges.into_iter())?,
            }));
        }
        let mut says = says.into_iter();
        let payload = frames(|w| says.next().is_some_and(|frame| frame.write(w)));
        (!payload.is_empty()).then(|| self.villain.datagram(0, &payload))
    }

    /// Has the server send as fast as it will, for at most `us`. Until the connection ends.
    fn play(&mut self, server: &mut Server, us: u64, claim: Claim) {
        let end = server.now + us;
        let mut answers: VecDeque<(Time, Vec<u8>)> = VecDeque::new();
        let hello = frames(|w| w.is_empty() && Frame::Challenge { data: 1 }.write(w));
        let hello = self.villain.datagram(0, &hello);
        server.take(1, hello);
        while server.now < end && self.closed.is_none() {
            let queued = server.snapshot().peers[0].engine.queued_bytes;
            (queued..200_000).step_by(1200).for_each(|_| server.push(1, 1200));
            server.pass(MS / 2);
            for (_, datagram) in server.sent.drain(..) {
                if datagram[0] != 4 {
                    continue;
                }
                self.sent += 1;
                let waits = self.free_at.since(server.now) * LINE / SEC;
                if waits < LINE_QUEUE {
                    self.free_at =
                        self.free_at.max(server.now) + datagram.len() as u64 * SEC / LINE;
                    self.line.push_back((self.free_at + DELAY_US, datagram));
                }
            }
            while self.line.front().is_some_and(|(at, _)| *at <= server.now) {
                let (at, datagram) = self.line.pop_front().unwrap();
                self.receive(at, &datagram);
            }
            if let Some(answer) = self.answer(server.now, claim) {
                answers.push_back((server.now + DELAY_US, answer));
            }
            while answers.front().is_some_and(|(at, _)| *at <= server.now) {
                let (_, answer) = answers.pop_front().unwrap();
                server.take(1, answer);
                server.settle();
            }
        }
    }
}

/// As it is.
fn honest(receiver: &Receiver, _: Time) -> Option<(Vec<(u64, u64)>, u64)> {
    (receiver.came > 0).then(|| (receiver.ranges.clone(), receiver.arrived.0))
}

/// Everything up to the newest, whatever was lost.
fn hides_losses(receiver: &Receiver, _: Time) -> Option<(Vec<(u64, u64)>, u64)> {
    let newest = receiver.ranges.first()?.1;
    Some((vec![(0, newest)], receiver.arrived.0))
}

/// What must be under way by now.
fn optimist(receiver: &Receiver, now: Time) -> Option<(Vec<(u64, u64)>, u64)> {
    let newest = receiver.ranges.first()?.1 + 3;
    Some((vec![(newest - 3, newest)], now.0))
}

/// Much more than can have been sent.
fn boaster(_: &Receiver, now: Time) -> Option<(Vec<(u64, u64)>, u64)> {
    Some((vec![(0, 1 << 30)], now.0))
}

/// The truth, all at the same time.
fn presses_time(receiver: &Receiver, now: Time) -> Option<(Vec<(u64, u64)>, u64)> {
    // Of each 200 ms everything is said to have come within the last tenth.
    let slot = now.0 / (200 * MS) * 200 * MS;
    let within = (receiver.arrived.0 - slot.min(receiver.arrived.0)) / 10;
    (receiver.came > 0).then(|| (receiver.ranges.clone(), slot + within))
}

#[test]
fn who_acknowledges_what_was_not_received_is_found() {
    for (name, claim) in [
        ("hides losses", hides_losses as Claim),
        ("is ahead of what arrives", optimist),
        ("acknowledges more than was sent", boaster),
    ] {
        let mut server = Server::new();
        let mut receiver = Receiver::new(&mut server);
        receiver.play(&mut server, 30 * SEC, claim);
        let rate = server.snapshot().peers[0].engine.paths.first().map_or(0, |p| p.bandwidth);
        println!(
            "who {name}: found after {} datagrams, closed with {:?}, believed at the end {} kbit/s",
            receiver.sent,
            receiver.closed,
            rate / 125
        );
        assert!(receiver.sent <= FOUND_WITHIN, "{name}: {} datagrams", receiver.sent);
        assert!(server.events.contains(&Event::Broken(Breach::Theirs)), "{name}");
        let peer = &server.snapshot().peers[0];
        assert_eq!(peer.state, PeerState::Down);
        assert!(matches!(peer.breach, Some((_, Breach::Theirs))));
    }
}

#[test]
fn who_does_not_lie_is_believed() {
    let mut server = Server::new();
    let mut receiver = Receiver::new(&mut server);
    receiver.play(&mut server, 20 * SEC, honest);
    let rate = server.snapshot().peers[0].engine.paths[0].bandwidth;
    println!(
        "{} datagrams, {} arrived, believed {} kbit/s",
        receiver.sent,
        receiver.came,
        rate / 125
    );
    assert!(receiver.came > 15_000 && receiver.closed.is_none());
    assert!(!server.events.iter().any(|event| matches!(event, Event::Broken(_))));
    assert!((LINE * 8 / 10..LINE * 12 / 10).contains(&rate), "{rate}");
}

#[test]
fn the_time_of_arrival_cannot_be_made_up() {
    let mut rates = Vec::new();
    for claim in [honest as Claim, presses_time] {
        let mut server = Server::new();
        let mut receiver = Receiver::new(&mut server);
        let mut most = 0;
        for _ in 0..20 {
            receiver.play(&mut server, SEC, claim);
            most = most.max(server.snapshot().peers[0].engine.paths[0].bandwidth);
        }
        rates.push(most);
    }
    println!("line {LINE}, believed at most {} and {} bytes per second", rates[0], rates[1]);
    assert!(rates[1] < 4 * LINE, "{rates:?}");
}
