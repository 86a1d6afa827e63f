//! Programs inside namespaces: started, watched, and ended by process id.

use super::clock;
use super::netns::Netns;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Wait until `check` gives something; panic with `what` if it takes longer than `limit`.
pub fn poll_until<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = clock::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        clock::pass(POLL);
    }
}

/// A directory for the files of one run, removed at the end.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Make one that only we can read: keys go in there.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("onebox-lab-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left behind by a process that had our number and was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(&path)
            .expect("temporary directory");
        TempDir(path)
    }

    /// A path inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running program; it is killed when the handle is dropped or the lab dies.
pub struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// Start a command, both outputs into a file.
    pub fn start(mut command: Command, output: &Path) -> Program {
        let file = File::options().create(true).append(true).open(output).expect("output file");
        let errors = file.try_clone().expect("second handle");
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let name = format!("{command:?}");
        die_with_us(&mut command);
        let child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        Program { child, name }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, signal).unwrap_or_else(|e| panic!("{signal} to {}: {e}", self.name));
    }

    /// Wait for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        poll_until(limit, &format!("end of {}", self.name), || {
            self.child.try_wait().expect("our child")
        })
    }

    /// SIGTERM, and its end within the limit.
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(limit)
    }

    /// What its open descriptors are, such as `socket` or `/dev/net/tun`, sorted.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let entries = entries.unwrap_or_else(|_| panic!("{} runs no more", self.name)).flatten();
        // One that has been closed meanwhile is none.
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let name = |target: PathBuf| {
            let text = target.to_string_lossy().into_owned();
            // `socket:[4711]` and `pipe:[4711]` have numbers of their own.
            text.split_once(":[").map_or(text.clone(), |(kind, _)| kind.to_owned())
        };
        let mut names: Vec<String> = targets.map(name).collect();
        names.sort();
        names
    }

    /// The names of its threads, sorted.
    pub fn threads(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let entries = entries.unwrap_or_else(|_| panic!("{} runs no more", self.name)).flatten();
        let name = |task: PathBuf| std::fs::read_to_string(task.join("comm")).ok();
        let mut names: Vec<String> = entries.filter_map(|entry| name(entry.path())).collect();
        names.iter_mut().for_each(|name| name.truncate(name.trim_end().len()));
        names.sort();
        names
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kb = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kb.unwrap_or_else(|| panic!("{} runs no more", self.name)) * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The kernel kills the child when the thread that started it ends, however it ends.
fn die_with_us(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and nothing else is done between fork and exec.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}

/// Run a command to its end, which has to come within `limit`.
pub fn run(command: Command, limit: Duration) -> Output {
    try_run(command, limit).unwrap_or_else(|error| panic!("{error}"))
}

/// Run a command to its end, killed after `limit`.
///
/// # Errors
/// It could not be started, or it was killed.
pub fn try_run(mut command: Command, limit: Duration) -> Result<Output, String> {
    let name = format!("{command:?}");
    die_with_us(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let pid = Pid::from_raw(child.id() as i32);
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let timed_out = ended.recv_timeout(limit).is_err();
        if timed_out {
            let _ = kill(pid, Signal::SIGKILL);
        }
        timed_out
    });
    let output = child.wait_with_output().expect("output");
    let _ = end.send(());
    match watch.join().expect("watch") {
        true => Err(format!("{name} did not end within {limit:?}")),
        false => Ok(output),
    }
}

/// What `ping` saw.
#[derive(Clone, Debug)]
pub struct Ping {
    /// Requests sent.
    pub sent: usize,
    /// Round-trip times of the answers in order, milliseconds.
    pub rtts_ms: Vec<f64>,
}

impl Ping {
    /// Middle round-trip time.
    pub fn median_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }

    /// The round-trip time that this share of the answers does not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.rtts_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let index = ((sorted.len() as f64 - 1.0) * share).round().max(0.0) as usize;
        sorted.get(index).copied().unwrap_or(f64::INFINITY)
    }
}

/// Ping from a namespace: `count` requests every `interval_ms`, with further options if needed.
pub fn ping(from: &Netns, to: &str, count: usize, interval_ms: u64, options: &[&str]) -> Ping {
    let mut command = from.command("ping");
    command.args(["-n", "-c", &count.to_string(), "-W", "1"]);
    command.args(["-i", &format!("{:.3}", interval_ms as f64 / 1000.0)]).args(options).arg(to);
    let limit = Duration::from_millis(count as u64 * interval_ms + 10_000);
    let text = String::from_utf8_lossy(&run(command, limit).stdout).into_owned();
    let rtts_ms = text
        .lines()
        .filter(|line| !line.contains("DUP!"))
        .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
        .collect();
    Ping { sent: count, rtts_ms }
}

/// Result of one run of iperf3.
#[derive(Clone, Debug)]
pub struct Iperf {
    /// What arrived, Mbit/s.
    pub mbit: f64,
    /// The whole report.
    pub report: Value,
}

/// Run iperf3 (TCP, CUBIC) from one namespace to another; `options` such as `-t 5`, `-R`, `--bind-dev wan1`.
pub fn iperf(from: &Netns, to: &Netns, address: &str, options: &str) -> Iperf {
    let files = TempDir::new();
    let mut serve = to.command("iperf3");
    serve.args(["-s", "-1", "-p", "5201"]);
    let _server = Program::start(serve, &files.file("server"));
    poll_until(Duration::from_secs(5), "iperf3 listens", || listens(to, 5201).then_some(()));
    let mut command = from.command("iperf3");
    command.args(["-c", address, "-p", "5201", "-J", "--connect-timeout", "5000", "-C", "cubic"]);
    command.args(options.split_whitespace());
    let output = run(command, Duration::from_secs(90));
    let report: Value = serde_json::from_slice(&output.stdout).expect("report of iperf3");
    let end = &report["end"];
    let received = end["sum_received"]["bits_per_second"].as_f64();
    let bits = received.or(end["sum"]["bits_per_second"].as_f64());
    let mbit = bits.unwrap_or_else(|| panic!("iperf3 {options}: {report}")) / 1e6;
    Iperf { mbit, report }
}

/// Whether a TCP port is listened on in a namespace.
pub fn listens(namespace: &Netns, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|file| {
        namespace.proc_net(file).lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&wanted))
                && fields.nth(1) == Some("0A")
        })
    })
}

/// Bytes received and sent by an interface.
pub fn interface_bytes(namespace: &Netns, device: &str) -> (u64, u64) {
    let text = namespace.proc_net("dev");
    let line = text.lines().find_map(|l| l.trim().strip_prefix(device)?.strip_prefix(':'));
    let numbers: Vec<u64> = line
        .unwrap_or_else(|| panic!("no {device} in {}", namespace.name()))
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    (numbers[0], numbers[8])
}

/// A running capture of whole packets.
pub struct Capture {
    program: Program,
    file: PathBuf,
    log: PathBuf,
    _files: TempDir,
}

impl Capture {
    /// Start, and wait until tcpdump listens.
    pub fn start(namespace: &Netns, device: &str, filter: &str) -> Capture {
        let files = TempDir::new();
        let (file, log) = (files.file("packets"), files.file("log"));
        let mut command = namespace.command("tcpdump");
        command.args(["-i", device, "-n", "-U", "-s", "0", "-B", "16384", "-Z", "root", "-w"]);
        command.arg(&file).args(filter.split_whitespace());
        let program = Program::start(command, &log);
        poll_until(Duration::from_secs(5), "tcpdump listens", || {
            std::fs::read_to_string(&log).ok()?.contains("listening on").then_some(())
        });
        Capture { program, file, log, _files: files }
    }

    /// Stop, and give the packets.
    pub fn stop(mut self) -> Vec<super::pcap::Packet> {
        self.program.signal(Signal::SIGINT);
        self.program.wait(Duration::from_secs(5));
        let bytes = std::fs::read(&self.file).expect("capture");
        super::pcap::read(&bytes)
    }

    /// The packets so far.
    pub fn so_far(&self) -> Vec<super::pcap::Packet> {
        super::pcap::read(&std::fs::read(&self.file).unwrap_or_default())
    }

    /// What tcpdump said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
