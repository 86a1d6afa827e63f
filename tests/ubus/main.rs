//! The program on ubus: its object, its events, and WANs by netifd's names.
//!
//! Every test runs with a stand-in for ubusd (`stand_in.rs`) and, where OpenWrt's own `ubusd` is on
//! PATH, with that as well; what its command line `ubus` prints is looked at if it is there. The
//! tests in `tunnel`, `link` and `page` move packets: they need what `net` needs, and are skipped without.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the functions that tests share are part of the tests"
)]

#[path = "../lab/mod.rs"]
mod lab;

mod bus;
mod hostile;
mod link;
mod object;
mod page;
mod stand_in;
mod tunnel;

use bus::SOON;
use lab::programs::{Program, TempDir, poll_until, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The program with a configuration that is switched off: all of it but the tunnel.
pub struct Daemon {
    program: Program,
    files: TempDir,
}

impl Daemon {
    /// One for the bus at this socket, as the user with this number if one is given.
    pub fn start(socket: &Path, user: Option<u32>) -> Daemon {
        let files = TempDir::new();
        if user.is_some() {
            use std::os::unix::fs::PermissionsExt;
            let open = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(files.file("."), open).expect("permissions");
        }
        let daemon_files = &files;
        std::fs::write(daemon_files.file("conf"), Daemon::config(daemon_files, socket, ""))
            .expect("configuration");
        let mut command = match user {
            None => Command::new(env!("CARGO_BIN_EXE_onebox")),
            Some(user) => {
                // The build directory need not be open to that user.
                let copy = files.file("onebox");
                std::fs::copy(env!("CARGO_BIN_EXE_onebox"), &copy).expect("copy");
                let mut command = Command::new("setpriv");
                let id = user.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(copy);
                command
            }
        };
        command.arg("start").arg("-c").arg(files.file("conf"));
        let program = Program::start(command, &files.file("log"));
        let daemon = Daemon { program, files };
        poll_until(SOON, "onebox answers", || daemon.try_status());
        daemon
    }

    fn config(files: &TempDir, socket: &Path, more: &str) -> String {
        format!(
            "config onebox main\n\toption enabled 0\n\toption control {}\n\toption ubus_socket {}\n\
             \toption private_key_file /nowhere\n\tlist address 10.0.0.2/24\n{more}",
            files.file("control").display(),
            socket.display()
        )
    }

    /// Its configuration, with more options.
    pub fn configure(&self, socket: &Path, more: &str) {
        let text = Daemon::config(&self.files, socket, more);
        std::fs::write(self.files.file("conf"), text).expect("configuration");
    }

    /// Have it read its configuration again.
    pub fn reload(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onebox"));
        command.args(["reload", "--control"]).arg(self.files.file("control"));
        let output = run(command, SOON);
        assert!(output.status.success(), "{output:?}");
    }

    /// Its status from the control socket.
    pub fn try_status(&self) -> Option<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onebox"));
        command.args(["status", "--json", "--control"]).arg(self.files.file("control"));
        let output = run(command, SOON);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.files.file("log")).unwrap_or_default()
    }

    /// How many lines of its log have these words.
    pub fn said(&self, words: &str) -> usize {
        self.log().lines().filter(|line| line.contains(words)).count()
    }

    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        self.files.file("conf")
    }

    /// SIGTERM; it has to end well.
    pub fn stop(mut self) {
        let status = self.program.stop(Duration::from_secs(5));
        assert!(status.success(), "{status}: {}", self.log());
    }
}
