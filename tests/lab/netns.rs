//! Network namespaces that clean up after themselves.
//!
//! Names are `obPID.N-NAME`, so that runs do not clash. A namespace is removed when its handle is
//! dropped, when the process gets SIGINT, SIGTERM or SIGHUP, and, if the process was killed, by
//! the next run: every name tells the process that made it.
//!
//! Limit: a process id that is in use again hides the leftovers of its former owner.

use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, Once};

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "ob";

/// Every namespace that this process has to remove.
static OURS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A namespace of our own.
pub struct Netns {
    name: String,
}

impl Netns {
    /// Make the namespace `name` of the lab with the number `lab`.
    pub fn create(lab: u32, name: &str) -> Netns {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            remove_stale();
            clean_up_at_signals();
        });
        let name = format!("{PREFIX}{}.{lab}-{name}", std::process::id());
        OURS.lock().unwrap_or_else(|e| e.into_inner()).push(name.clone());
        let status = Command::new("ip").args(["netns", "add", &name]).status().expect("ip");
        assert!(status.success(), "no namespaces: root or `unshare -Urnm` is needed");
        let namespace = Netns { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Run commands of `ip`, one a line; all have to work.
    pub fn ip(&self, lines: &str) {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("ip");
        let mut stdin = child.stdin.take().expect("stdin of ip");
        stdin.write_all(lines.as_bytes()).expect("write to ip");
        drop(stdin);
        let status = child.wait().expect("ip ends");
        assert!(status.success(), "ip in {}: {lines}", self.name);
    }

    /// What a program prints inside; it has to succeed.
    pub fn output(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        let output = self.command(program).args(words).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line} in {}: {text}{errors}", self.name);
        text
    }

    /// Run code inside, on a thread of its own. Sockets that it opens stay inside.
    pub fn run<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("{DIRECTORY}/{}", self.name)).expect("our namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                code()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Set `net/…` of sysctl inside.
    pub fn sysctl(&self, settings: &[(&str, &str)]) {
        self.run(|| {
            for (key, value) in settings {
                std::fs::write(format!("/proc/sys/net/{key}"), value)
                    .unwrap_or_else(|e| panic!("sysctl {key}={value}: {e}"));
            }
        });
    }

    /// A file of `/proc/net` inside, such as `tcp`.
    pub fn proc_net(&self, file: &str) -> String {
        self.run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")))
            .unwrap_or_default()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
        OURS.lock().unwrap_or_else(|e| e.into_inner()).retain(|n| *n != self.name);
    }
}

fn remove(name: &str) {
    // Called while cleaning up: what is gone already is what is wanted.
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

/// Remove the namespaces of processes that are no more, and what still runs in them.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = owner(&name) else { continue };
        if Path::new(&format!("/proc/{pid}")).exists() {
            continue;
        }
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        let pids = pids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        for pid in pids.unwrap_or_default().lines().filter_map(|l| l.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        remove(&name);
    }
}

/// The process that made a namespace, by its name.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('.')?;
    rest.contains('-').then(|| pid.parse().ok())?
}

static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn tell(signal: libc::c_int) {
    let byte = signal as u8;
    let pipe = SIGNAL_PIPE.load(Ordering::Relaxed);
    // SAFETY: write(2) is async-signal-safe and the byte outlives the call.
    unsafe { libc::write(pipe, (&raw const byte).cast(), 1) };
}

/// The handler only writes to a pipe; a thread behind it does the work and then lets the signal
/// have its ordinary effect.
fn clean_up_at_signals() {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    SIGNAL_PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
    std::thread::spawn(move || {
        let mut byte = [0];
        if File::from(reader).read_exact(&mut byte).is_err() {
            return;
        }
        let names = OURS.lock().unwrap_or_else(|e| e.into_inner()).clone();
        names.iter().for_each(|name| remove(name));
        let signal = Signal::try_from(i32::from(byte[0])).expect("one of those below");
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }.expect("default action");
        let _ = raise(signal);
        std::process::exit(1);
    });
    let action = SigAction::new(SigHandler::Handler(tell), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but write to a pipe.
        unsafe { sigaction(signal, &action) }.expect("signal handler");
    }
}
