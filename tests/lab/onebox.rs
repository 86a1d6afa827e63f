//! Routers and servers of the lab: keys, UCI files, processes and their status.
//!
//! The program under test is the one that `ONEBOX_BIN` names, else the release build, else the
//! debug build. Every instance has its own directory with its configuration, key, control socket
//! and log, so that several run side by side.

use super::netns::Netns;
use super::programs::{Program, TempDir, poll_until, run};
use super::topology::{Lab, SERVER, Site};
use nix::sys::signal::Signal;
use onebox::status::{Path as PathStatus, PathState, State, Status};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Port of the server.
pub const PORT: u16 = 51830;
/// How long a start may take.
pub const START: Duration = Duration::from_secs(10);
/// A command of the program ends within this.
const COMMAND: Duration = Duration::from_secs(15);

/// The program under test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ONEBOX_BIN") {
        return std::path::absolute(path).expect("a path");
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let builds = ["release/onebox", "debug/onebox"].map(|build| target.join(build));
    let found = builds.iter().find(|path| path.exists());
    found.expect("build onebox first, or name it with ONEBOX_BIN").clone()
}

/// The library that gives a program another wall clock, if it is installed (Debian: `faketime`).
pub fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    files.find(|file| file.exists())
}

/// A private key and its public key.
#[derive(Clone)]
pub struct Keys {
    /// The private key, base64.
    pub private: String,
    /// The public key, base64.
    pub public: String,
}

impl Keys {
    /// New ones, made by the program itself.
    pub fn new() -> Keys {
        let private = key_command("genkey", "");
        let public = key_command("pubkey", &private);
        Keys { private, public }
    }
}

/// A preshared key.
pub fn preshared_key() -> String {
    key_command("genpsk", "")
}

fn key_command(command: &str, input: &str) -> String {
    let mut child = Command::new(binary())
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("onebox runs");
    // A command that reads nothing may have ended already.
    let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("output");
    assert!(output.status.success(), "onebox {command}");
    String::from_utf8(output.stdout).expect("text").trim().to_string()
}

/// One router as the server's configuration has it.
pub struct Peer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its public key.
    pub public: &'a str,
    /// Preshared key, if there is one.
    pub preshared: Option<&'a str>,
    /// Number of its tunnel address: `10.99.0.N` and `fd99::N`.
    pub number: u32,
    /// Number of its LAN: `192.168.N.0/24` and `fd00:N::/64`.
    pub lan_number: u32,
}

/// Configuration of a server.
pub fn server_config(keys: &Keys, peers: &[Peer<'_>]) -> String {
    let mut text = format!(
        "config onebox 'main'\n\
         \toption enabled '1'\n\
         \toption role 'server'\n\
         \toption device 'onebox0'\n\
         \toption private_key '{}'\n\
         \tlist address '10.99.0.1/24'\n\
         \tlist address 'fd99::1/64'\n\
         \toption listen_port '{PORT}'\n\
         \toption nat '1'\n",
        keys.private
    );
    for peer in peers {
        text += &format!(
            "config peer '{}'\n\
             \toption public_key '{}'\n\
             \tlist allowed_ips '10.99.0.{number}/32'\n\
             \tlist allowed_ips 'fd99::{number}/128'\n\
             \tlist allowed_ips '192.168.{lan}.0/24'\n\
             \tlist allowed_ips 'fd00:{lan}::/64'\n\
             \toption route_allowed_ips '1'\n",
            peer.name,
            peer.public,
            number = peer.number,
            lan = peer.lan_number,
        );
        text += &preshared_line(peer.preshared);
    }
    text
}

/// Configuration of a router with the tunnel address `10.99.0.N`; `wans` are sections of their
/// own, empty for discovery.
pub fn router_config(
    keys: &Keys,
    server_public: &str,
    preshared: Option<&str>,
    number: u32,
    wans: &str,
) -> String {
    format!(
        "config onebox 'main'\n\
         \toption enabled '1'\n\
         \toption role 'client'\n\
         \toption device 'onebox0'\n\
         \toption private_key '{}'\n\
         \tlist address '10.99.0.{number}/24'\n\
         \tlist address 'fd99::{number}/64'\n\
         \toption discover '{}'\n\
         config peer 'vps'\n\
         \toption public_key '{server_public}'\n\
         \tlist endpoint '{SERVER}:{PORT}'\n\
         \tlist allowed_ips '0.0.0.0/0'\n\
         \tlist allowed_ips '::/0'\n\
         \toption route_allowed_ips '1'\n\
         {}{wans}",
        keys.private,
        u8::from(wans.is_empty()),
        preshared_line(preshared),
    )
}

fn preshared_line(key: Option<&str>) -> String {
    key.map_or(String::new(), |key| format!("\toption preshared_key '{key}'\n"))
}

/// A configuration section for a WAN.
pub fn wan_section(device: &str) -> String {
    format!("config wan '{device}'\n\toption device '{device}'\n\toption mode 'active'\n")
}

/// One instance of the program, running or not.
pub struct Instance<'a> {
    /// Where it runs.
    pub namespace: &'a Netns,
    /// What it finds in the place of `/etc/resolv.conf`, if that is another.
    pub resolv_conf: Option<PathBuf>,
    /// The file that says what its wall clock has.
    wall_clock: Option<PathBuf>,
    program: Option<Program>,
    files: TempDir,
}

impl<'a> Instance<'a> {
    /// Write its configuration, start nothing.
    pub fn new(namespace: &'a Netns, config: &str) -> Instance<'a> {
        let files = TempDir::new();
        let instance =
            Instance { namespace, resolv_conf: None, wall_clock: None, program: None, files };
        instance.write_config(config);
        instance
    }

    /// Write its configuration and start it.
    pub fn started(namespace: &'a Netns, config: &str) -> Instance<'a> {
        let mut instance = Instance::new(namespace, config);
        instance.start();
        instance
    }

    /// Its configuration, with the sockets of this instance put in.
    pub fn write_config(&self, config: &str) {
        let sockets = format!(
            "config onebox 'main'\n\toption control '{}'\n\toption ubus_socket '{}'\n",
            self.files.file("control").display(),
            self.files.file("no-ubus").display()
        );
        let text = config.replacen("config onebox 'main'\n", &sockets, 1);
        std::fs::write(self.config_file(), text).expect("configuration");
    }

    /// Where its configuration is.
    pub fn config_file(&self) -> PathBuf {
        self.files.file("onebox.conf")
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.files.file("control")
    }

    /// A command line of the program about this instance.
    pub fn command(&self, words: &[&str]) -> Output {
        let binary = binary();
        let mut command = self.namespace.command(binary.to_str().expect("UTF-8"));
        command.args(words).arg("-c").arg(self.config_file());
        run(command, COMMAND)
    }

    /// Start it, and wait for nothing.
    pub fn launch(&mut self) {
        let mut command = match &self.resolv_conf {
            None => self.namespace.command(binary().to_str().expect("UTF-8")),
            Some(file) => {
                // `ip netns exec` gives it mounts of its own.
                let mut command = self.namespace.command("sh");
                command.args(["-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
                command.arg(file).arg(binary());
                command
            }
        };
        if let Some(file) = &self.wall_clock {
            command.env("LD_PRELOAD", faketime().expect("libfaketime"));
            command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
            // Deadlines are of the monotonic clock.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.args(["start", "-c"]).arg(self.config_file());
        self.program = Some(Program::start(command, &self.files.file("log")));
    }

    /// Start it; it has to answer on its control socket.
    pub fn start(&mut self) {
        self.launch();
        poll_until(START, "onebox answers", || {
            let running = self.program.as_mut().is_some_and(Program::is_running);
            assert!(running, "onebox ended: {}", self.log());
            self.try_status()
        });
    }

    /// The running process.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it was started")
    }

    /// SIGTERM; it has to end by itself and well.
    pub fn stop(&mut self) {
        let mut program = self.program.take().expect("it was started");
        let status = program.stop(Duration::from_secs(5));
        assert!(status.success(), "{status} after SIGTERM: {}", self.log());
    }

    /// Wait until it has ended.
    pub fn wait(&mut self, limit: Duration) -> std::process::ExitStatus {
        self.program.take().expect("it was started").wait(limit)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut program = self.program.take().expect("it was started");
        program.signal(Signal::SIGKILL);
        program.wait(Duration::from_secs(5));
    }

    /// Gives it another wall clock, in the words of libfaketime: one that is running follows if it was
    /// started with one. Whether that can be done.
    pub fn set_wall_clock(&mut self, what: &str) -> bool {
        if faketime().is_none() {
            return false;
        }
        let [new, file] = ["wall-clock-new", "wall-clock"].map(|name| self.files.file(name));
        // Renamed, so that nobody reads half of it.
        std::fs::write(&new, format!("{what}\n")).expect("a clock");
        std::fs::rename(new, &file).expect("a clock");
        self.wall_clock = Some(file);
        true
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.files.file("log")).unwrap_or_default()
    }

    /// Its status, if it answers.
    pub fn try_status(&self) -> Option<Status> {
        let output = self.command(&["status", "--json"]);
        output.status.success().then(|| {
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                panic!("status: {error}: {}", String::from_utf8_lossy(&output.stdout))
            })
        })
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.try_status().unwrap_or_else(|| panic!("no status: {}", self.log()))
    }

    /// Its paths, of every peer.
    pub fn paths(&self) -> Vec<PathStatus> {
        self.status().peers.into_iter().flat_map(|peer| peer.paths).collect()
    }

    /// The path over a device of the router.
    pub fn path(&self, device: &str) -> Option<PathStatus> {
        self.paths().into_iter().find(|path| path.device == device)
    }

    /// Everything dropped so far.
    pub fn drops(&self) -> u64 {
        self.status().drops.values().sum()
    }

    /// Wait until it is up with that many active paths.
    pub fn wait_up(&self, active: usize, limit: Duration) {
        let what = format!("up with {active} active paths");
        let mut seen = None;
        let up = |status: &Status| {
            let paths = status.peers.iter().flat_map(|peer| &peer.paths);
            status.state == State::Up
                && paths.filter(|path| path.state == PathState::Active).count() >= active
        };
        let start = super::clock::now();
        while start.elapsed() < limit {
            seen = self.try_status();
            if seen.as_ref().is_some_and(up) {
                return;
            }
            super::clock::pass(Duration::from_millis(20));
        }
        panic!("not within {limit:?}: {what}; status {seen:#?}; log {}", self.log());
    }

    /// Wait until the path over a device is in one of these states.
    pub fn wait_path(&self, device: &str, states: &[&str], limit: Duration) -> PathStatus {
        poll_until(limit, &format!("{device} is one of {states:?}"), || {
            self.path(device).filter(|path| states.contains(&path.state.as_str()))
        })
    }
}

/// A server and one router, both running.
pub struct Pair<'a> {
    /// The server.
    pub server: Instance<'a>,
    /// The router.
    pub router: Instance<'a>,
    /// Keys of the server.
    pub server_keys: Keys,
    /// Keys of the router.
    pub router_keys: Keys,
    /// The preshared key of both.
    pub preshared: String,
}

impl<'a> Pair<'a> {
    /// Start both and wait until every WAN of the router is active.
    pub fn up(lab: &'a Lab) -> Pair<'a> {
        Pair::with_wans(lab, "", lab.site().links.len())
    }

    /// The same with sections for WANs (empty: discovery) and a number of paths to wait for.
    pub fn with_wans(lab: &'a Lab, wans: &str, active: usize) -> Pair<'a> {
        let (server_keys, router_keys) = (Keys::new(), Keys::new());
        let preshared = preshared_key();
        let site = lab.site();
        let peer = peer_of(site, "home", &router_keys, Some(&preshared), 2);
        let server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
        let config = router_config(&router_keys, &server_keys.public, Some(&preshared), 2, wans);
        let router = Instance::started(&site.router, &config);
        router.wait_up(active, START);
        Pair { server, router, server_keys, router_keys, preshared }
    }

    /// The router's configuration with other WANs.
    pub fn router_config(&self, wans: &str) -> String {
        router_config(&self.router_keys, &self.server_keys.public, Some(&self.preshared), 2, wans)
    }
}

/// A site as a peer of the server.
pub fn peer_of<'k>(
    site: &Site,
    name: &'k str,
    keys: &'k Keys,
    preshared: Option<&'k str>,
    number: u32,
) -> Peer<'k> {
    Peer { name, public: &keys.public, preshared, number, lan_number: site.lan_number }
}
