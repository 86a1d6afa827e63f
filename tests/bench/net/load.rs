//! One measurement: TCP flows for some seconds, with a ping every 10 ms beside them.
//!
//! Goodput is what the receiver's iperf3 counted in its intervals of one second after
//! [`SETTLE`], never what the sender has put into its own buffers. The pings of that time count,
//! too, but for the last ones, whose answers would come when the load is gone.

use super::figures::statistics::percentile;
use super::options::SETTLE;
use crate::lab::clock;
use crate::lab::netns::Netns;
use crate::lab::pinger::Pinger;
use crate::lab::programs::{Program, TempDir, listens, try_run};
use serde_json::Value;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Distance of pings.
pub const PING: Duration = Duration::from_millis(10);
/// Pings sent so short a time before the end of the flows do not count.
const PING_TAIL: Duration = Duration::from_millis(1000);
/// Time for the last answers.
const PATIENCE: Duration = Duration::from_millis(1000);
/// Longest time for the flows to be there, and for a report after their end.
const CONNECT: Duration = Duration::from_secs(10);
const REPORT: Duration = Duration::from_secs(15);

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// `up` or `down`, as the client sees it.
    pub way: String,
    /// Congestion control.
    pub cc: String,
    /// TCP connections.
    pub flows: u32,
    /// How long, seconds.
    pub seconds: u64,
}

/// Between whom.
pub struct Ends<'a> {
    /// The client: sends upwards.
    pub client: &'a Netns,
    /// The server.
    pub server: &'a Netns,
    /// An address of the server.
    pub address: &'a str,
    /// Device that the client is bound to.
    pub device: Option<String>,
    /// Program in front of iperf3, with its arguments.
    pub wrapper: &'a [&'a str],
}

/// The figures of a measurement, by the names of `record::FIGURES`.
pub type Figures = Vec<(&'static str, f64)>;

/// Whether the kernel has it.
pub fn has_congestion_control(name: &str) -> bool {
    let file = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let known = std::fs::read_to_string(file).unwrap_or_default();
    known.split_whitespace().any(|known| known == name)
}

impl Load {
    /// Measure it.
    ///
    /// # Errors
    /// The load could not be made; why.
    pub fn measure(&self, ends: &Ends<'_>) -> Result<Figures, String> {
        let port = next_port();
        let files = TempDir::new();
        let report = files.file("server");
        let mut serve = iperf3(ends.server, ends.wrapper);
        serve.args(["-s", "-1", "-J", "-p", &port.to_string()]);
        let mut server = Program::start(serve, &report);
        wait(CONNECT, || listens(ends.server, port)).ok_or("iperf3 does not listen")?;
        let (client, ping) = std::thread::scope(|scope| {
            let client = scope.spawn(|| self.send(ends, port));
            // The control connection and every flow; then the time begins to count.
            let connected = || established(ends.server, port) > self.flows as usize;
            let ping = wait(CONNECT, connected).ok_or("the flows do not connect".to_string());
            let ping = ping.map(|()| self.ping(ends));
            (client.join().map_err(|_| "iperf3 failed".to_string()), ping)
        });
        let client = client??;
        let receiver = if self.way == "down" {
            client
        } else {
            wait(REPORT, || !server.is_running()).ok_or("the server of iperf3 does not end")?;
            std::fs::read(&report).map_err(|e| e.to_string())?
        };
        let mut figures = vec![("goodput_mbit", goodput(&receiver, self.seconds)?)];
        figures.extend(ping?);
        Ok(figures)
    }

    /// Run the client; its report.
    fn send(&self, ends: &Ends<'_>, port: u16) -> Result<Vec<u8>, String> {
        let mut command = iperf3(ends.client, ends.wrapper);
        command.args(["-c", ends.address, "-p", &port.to_string(), "-J", "-C", &self.cc]);
        command.args(["-t", &self.seconds.to_string(), "-P", &self.flows.to_string()]);
        command.args(["--connect-timeout", "5000"]);
        if let Some(device) = &ends.device {
            command.args(["--bind-dev", device]);
        }
        if self.way == "down" {
            command.arg("-R");
        }
        let limit = Duration::from_secs(self.seconds) + CONNECT + REPORT;
        Ok(try_run(command, limit)?.stdout)
    }

    fn ping(&self, ends: &Ends<'_>) -> Figures {
        clock::pass(Duration::from_secs(SETTLE));
        let ping = Pinger::start(ends.client, ends.address, PING, ends.device.as_deref());
        clock::pass(Duration::from_secs(self.seconds - SETTLE) - PING_TAIL);
        let until_ms = ping.age_ms();
        let requests = ping.finish(PATIENCE);
        let rtts_ms = requests.rtts_ms(0.0, until_ms);
        let quantile = |percent| percentile(&rtts_ms, percent).unwrap_or(f64::INFINITY);
        vec![
            ("ping_p50_ms", quantile(50.0)),
            ("ping_p95_ms", quantile(95.0)),
            ("ping_sent", requests.between(0.0, until_ms).count() as f64),
            ("ping_lost", requests.lost(0.0, until_ms) as f64),
        ]
    }
}

/// A port that no other measurement of this process uses.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(5201);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn iperf3(namespace: &Netns, wrapper: &[&str]) -> std::process::Command {
    match wrapper {
        [] => namespace.command("iperf3"),
        [program, arguments @ ..] => {
            let mut command = namespace.command(program);
            command.args(arguments).arg("iperf3");
            command
        }
    }
}

fn wait(limit: Duration, mut ready: impl FnMut() -> bool) -> Option<()> {
    let start = clock::now();
    while !ready() {
        if start.elapsed() > limit {
            return None;
        }
        clock::pass(Duration::from_millis(20));
    }
    Some(())
}

/// Connections to a local port (state 01 of `/proc/net/tcp`).
fn established(namespace: &Netns, port: u16) -> usize {
    let local = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|l| l.ends_with(&local)) && fields.nth(1) == Some("01")
    };
    ["tcp", "tcp6"].map(|file| namespace.proc_net(file).lines().filter(is_one).count()).iter().sum()
}

/// Mean of the whole seconds after the settle time in a receiver's report, Mbit/s.
fn goodput(report: &[u8], seconds: u64) -> Result<f64, String> {
    let report: Value = serde_json::from_slice(report)
        .map_err(|_| String::from_utf8_lossy(report).trim().to_string())?;
    if let Some(error) = report["error"].as_str() {
        return Err(format!("iperf3: {error}"));
    }
    let sums = report["intervals"].as_array().into_iter().flatten().map(|i| &i["sum"]);
    let (mut bits, mut length) = (0.0, 0.0);
    for sum in sums {
        let of = |key: &str| sum[key].as_f64().unwrap_or(0.0);
        // Intervals begin at whole seconds, give or take a few milliseconds.
        if of("start") > SETTLE as f64 - 0.5 && of("end") < seconds as f64 + 0.5 {
            bits += of("bytes") * 8.0;
            length += of("seconds");
        }
    }
    if length > 0.5 { Ok(bits / length / 1e6) } else { Err("iperf3 counted nothing".to_string()) }
}
