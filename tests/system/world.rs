//! Namespaces, links between them, and waiting without sleeping.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};
use onebox::config::Routing;
use onebox_linux::ids::Ids;
use onebox_linux::system::{Desired, System};

/// The numbers of a configuration that says nothing of them.
pub fn ids() -> Ids {
    let Routing { table, fwmark, fwmask, rule_priority } = Routing::default();
    Ids { table, priority: rule_priority, mark: fwmark, mask: fwmask }
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it and does what it is told.
pub struct Namespace {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

impl Namespace {
    /// A new one with its loopback up; None, after saying why, if this machine cannot.
    pub fn new() -> Option<Namespace> {
        if let Some(reason) = missing() {
            println!("skipped: {reason}");
            return None;
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            let entered = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid().as_raw());
            let _ = ready.send(entered);
            for job in queue {
                job();
            }
        });
        match started.recv().unwrap() {
            Ok(thread) => {
                let namespace = Namespace { jobs, thread };
                namespace.ip("link set lo up");
                Some(namespace)
            }
            Err(error) => {
                println!("skipped: no network namespace: {error}");
                None
            }
        }
    }

    /// Runs `job` inside and waits for its result.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (sender, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(sender.send(job())))).unwrap();
        result.recv().expect("the job inside the namespace panicked")
    }

    /// Runs `job` inside without waiting.
    pub fn start<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> std::thread::JoinHandle<R> {
        // A thread inherits the namespace of the one that starts it.
        self.run(move || std::thread::spawn(job))
    }

    /// Runs `ip` with these words inside; panics if it fails.
    pub fn ip(&self, words: &str) -> String {
        let words = words.to_owned();
        self.run(move || ip(&words))
    }

    /// Makes a link to `other`: a device of each name in each.
    pub fn link(&self, here: &str, other: &Namespace, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.thread));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }
}

/// Runs `ip` in the calling thread's namespace.
pub fn ip(words: &str) -> String {
    let (ok, out) = command("ip", words);
    assert!(ok, "ip {words}: {out}");
    out
}

/// Runs a program; whether it succeeded, and what it said.
pub fn command(program: &str, words: &str) -> (bool, String) {
    let output = Command::new(program).args(words.split_ascii_whitespace()).output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn missing() -> Option<String> {
    if !Uid::effective().is_root() {
        return Some("needs root".to_owned());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("no /dev/net/tun".to_owned());
    }
    for (program, words) in [("ip", "-V"), ("nft", "--version")] {
        if Command::new(program).arg(words).output().is_err() {
            return Some(format!("no program {program}"));
        }
    }
    None
}

/// A runtime on the calling thread, hence in its namespace.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Asks until `done` says so; panics after `limit`.
pub fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test waits for a real kernel in real time")]
    let now = std::time::Instant::now;
    let start = now();
    while !done() {
        assert!(now() - start < limit, "not within {limit:?}: {what}");
        std::thread::yield_now();
    }
}

/// A file of its own for former values of switches; removed when dropped.
pub struct StateFile(pub PathBuf);

impl StateFile {
    pub fn new() -> StateFile {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("onebox-test-{}-{number}", std::process::id());
        StateFile(std::env::temp_dir().join(name).join("sysctl"))
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        if let Some(directory) = self.0.parent() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// Makes the system as desired, whatever somebody has done to it meanwhile.
pub async fn make(system: &mut System, desired: &Desired) {
    system.distrust();
    for (part, outcome) in system.apply(desired).await {
        outcome.unwrap_or_else(|error| panic!("{}: {error}", part.name()));
    }
}
