//! The link emulator: two TAP devices and a thread that moves frames between them.
//!
//! Why not netem: it is not in every kernel, its queue counts packets in propagation, and it
//! cannot rebind a NAT. Here [`model`] says when a frame leaves, exactly, and this file drives it.
//!
//! How: one thread per link reads both devices, hands the frames to the model and writes what is
//! due. While frames move it naps for [`NAP_NS`] between rounds instead of waking for each frame:
//! that bounds the processor time and costs at most that much accuracy. Frames found after a nap
//! are taken to have come at its start, or the line would stand idle in the model while it did not
//! in reality. When nothing moves it sleeps until a frame arrives or is due.
//!
//! Limits: plain TAP without offloads, one frame per system call: some 500 Mbit/s of full-size
//! frames for most of a core. The thread asks for real-time priority and goes on without it where
//! that is refused (user namespaces); then a busy machine shows as lateness in `stats`.

pub mod command;
pub mod model;
pub mod nat;

use super::clock;
use super::netns::Netns;
use super::tap::Tap;
use command::{Command, Way};
use model::{Direction, Profile, Stats};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Rest between two rounds while frames move, nanoseconds.
pub const NAP_NS: u64 = 90_000;
/// Frames read from one device per round.
const FRAMES_PER_ROUND: usize = 128;
/// Longest frame, bytes.
const FRAME_MAX: usize = 9 * 1024;

/// A request to the thread of a link; `None` ends it.
type Request = (Option<Command>, Sender<Value>);

/// A running link. Dropping it takes the devices away.
pub struct Link {
    requests: Sender<Request>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

/// Where the ends of a link are.
pub struct Ends<'a> {
    /// Namespace of the router and the name of the device there.
    pub router: (&'a Netns, &'a str),
    /// Namespace of the provider and the name of the device there.
    pub provider: (&'a Netns, &'a str),
}

impl Link {
    /// Make the devices and start to move frames.
    pub fn start(ends: &Ends<'_>, up: Profile, down: Profile, seed: u64) -> Link {
        let (requests, inbox) = channel();
        let wake = Arc::new(
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .expect("eventfd"),
        );
        let mut worker = Worker {
            router: Tap::open(ends.router.0, ends.router.1).expect("TAP device of the router"),
            provider: Tap::open(ends.provider.0, ends.provider.1)
                .expect("TAP device of the provider"),
            up: Direction::new(up, seed * 2),
            down: Direction::new(down, seed * 2 + 1),
            nat: nat::Nat::default(),
            carrier: true,
            read_at_ns: clock::now_ns(),
            inbox,
            wake: wake.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("link-{}", ends.router.1))
            .spawn(move || worker.run())
            .expect("thread of the link");
        Link { requests, wake, thread: Some(thread) }
    }

    /// Send a command line, get the answer.
    pub fn control(&self, line: &str) -> Result<Value, String> {
        let (answer_to, answer) = channel();
        let command = Command::parse(line)?;
        self.requests
            .send((Some(command), answer_to))
            .map_err(|_| "the link is gone".to_string())?;
        self.wake.write(1).map_err(|e| e.to_string())?;
        answer
            .recv_timeout(Duration::from_secs(5))
            .map_err(|_| "the link does not answer".to_string())
    }

    /// Send a command that has to work.
    pub fn set(&self, line: &str) {
        let answer = self.control(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(answer, json!({ "ok": true }), "{line}");
    }

    /// The counters.
    pub fn stats(&self) -> Value {
        self.control("stats").expect("statistics")
    }

    /// Frames that left, up and down.
    pub fn frames_out(&self) -> (u64, u64) {
        let stats = self.stats();
        let of = |way: &str| stats[way]["out_frames"].as_u64().expect("a count");
        (of("up"), of("down"))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let (answer_to, _) = channel();
        // Either fails only if the thread has ended already, which is what is wanted.
        let _ = self.requests.send((None, answer_to));
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    router: Tap,
    provider: Tap,
    up: Direction,
    down: Direction,
    nat: nat::Nat,
    carrier: bool,
    /// When both devices were last read until they were empty.
    read_at_ns: u64,
    inbox: Receiver<Request>,
    wake: Arc<EventFd>,
}

impl Worker {
    fn run(&mut self) {
        become_punctual();
        let mut buffer = vec![0; FRAME_MAX];
        let mut napped = false;
        loop {
            while let Ok((command, answer_to)) = self.inbox.try_recv() {
                let Some(command) = command else { return };
                // Whoever asked may have given up.
                let _ = answer_to.send(self.obey(&command));
            }
            let now_ns = clock::now_ns();
            let arrived_ns = if napped { self.read_at_ns } else { now_ns };
            let read = self.read(&mut buffer, arrived_ns);
            self.read_at_ns = now_ns;
            let written = self.write(clock::now_ns());
            napped = read + written > 0;
            if napped {
                std::thread::sleep(Duration::from_nanos(NAP_NS));
            } else {
                self.sleep();
            }
        }
    }

    /// Take in what both devices have.
    fn read(&mut self, buffer: &mut [u8], now_ns: u64) -> usize {
        let mut frames = 0;
        while frames < FRAMES_PER_ROUND
            && let Some(length) = self.router.read(buffer)
        {
            frames += 1;
            self.nat.up(&mut buffer[..length]);
            self.up.arrive(now_ns, &buffer[..length]);
        }
        let mut frames_down = 0;
        while frames_down < FRAMES_PER_ROUND
            && let Some(length) = self.provider.read(buffer)
        {
            frames_down += 1;
            self.down.arrive(now_ns, &buffer[..length]);
        }
        frames + frames_down
    }

    /// Hand out what is due.
    fn write(&mut self, now_ns: u64) -> usize {
        let mut frames = 0;
        while let Some(frame) = self.up.depart(now_ns) {
            frames += 1;
            self.provider.write(&frame);
            self.up.recycle(frame);
        }
        while let Some(mut frame) = self.down.depart(now_ns) {
            frames += 1;
            if self.nat.down(&mut frame) {
                self.router.write(&frame);
            } else {
                self.down.stats.dropped_nat += 1;
            }
            self.down.recycle(frame);
        }
        frames
    }

    /// Until something arrives, is due, or is asked.
    fn sleep(&self) {
        let due_ns = [self.up.next_due_ns(), self.down.next_due_ns()].into_iter().flatten().min();
        let wait =
            due_ns.map(|d| TimeSpec::from(Duration::from_nanos(d.saturating_sub(clock::now_ns()))));
        let mut fds = [
            PollFd::new(self.router.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.provider.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted sleep is a short one.
        let _ = ppoll(&mut fds, wait, None);
        if fds[2].any().unwrap_or(false) {
            let _ = self.wake.read();
        }
    }

    fn obey(&mut self, command: &Command) -> Value {
        match self.carry_out(command) {
            Ok(answer) => answer,
            Err(error) => json!({ "error": error }),
        }
    }

    fn carry_out(&mut self, command: &Command) -> Result<Value, String> {
        match command {
            Command::Set(way, settings) => {
                if way.up() {
                    command::apply(&mut self.up.profile, settings)?;
                }
                if way.down() {
                    command::apply(&mut self.down.profile, settings)?;
                }
            }
            Command::Blackhole(on, way) => self.blackhole(*on, *way),
            Command::Carrier(on) => {
                self.router.set_carrier(*on).map_err(|e| e.to_string())?;
                self.carrier = *on;
                self.blackhole(!on, Way::Both);
            }
            Command::Rebind => self.nat.rebind(),
            Command::Stats => {
                return Ok(json!({
                    "up": describe(&self.up),
                    "down": describe(&self.down),
                    "carrier": self.carrier,
                    "cpu_us": clock::thread_cpu_ns() / 1000,
                }));
            }
        }
        Ok(json!({ "ok": true }))
    }

    fn blackhole(&mut self, on: bool, way: Way) {
        if way.up() {
            self.up.blackhole = on;
        }
        if way.down() {
            self.down.blackhole = on;
        }
    }
}

fn describe(direction: &Direction) -> Value {
    let Stats {
        in_frames,
        in_bytes,
        out_frames,
        out_bytes,
        dropped_queue,
        dropped_loss,
        dropped_blackhole,
        dropped_policer,
        dropped_nat,
        queue_ns_max,
        late_ns_sum,
        late_ns_max,
        late_frames,
    } = direction.stats;
    json!({
        "in_frames": in_frames,
        "in_bytes": in_bytes,
        "out_frames": out_frames,
        "out_bytes": out_bytes,
        "dropped_queue": dropped_queue,
        "dropped_loss": dropped_loss,
        "dropped_blackhole": dropped_blackhole,
        "dropped_policer": dropped_policer,
        "dropped_nat": dropped_nat,
        "waiting_bytes": direction.waiting_bytes(clock::now_ns()),
        "queue_us_max": queue_ns_max / 1000,
        "late_us_mean": late_ns_sum / out_frames.max(1) / 1000,
        "late_us_max": late_ns_max / 1000,
        "late_frames": late_frames,
    })
}

/// Real-time priority and exact timers for the calling thread; a lab without them is less exact
/// but works.
pub fn become_punctual() {
    // The timer slack of ordinary threads is 50 µs (prctl(2), PR_SET_TIMERSLACK).
    let _ = nix::sys::prctl::set_timerslack(1);
    let parameters = nix::libc::sched_param { sched_priority: 1 };
    // SAFETY: the structure is valid for the call; 0 names the calling thread.
    unsafe {
        nix::libc::sched_setscheduler(0, nix::libc::SCHED_RR, &parameters);
    }
}
