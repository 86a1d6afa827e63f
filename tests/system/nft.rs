//! The program while `nft` is slow, or refuses.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Namespace, StateFile, command, eventually, ip};

/// Longest time for an answer of the control socket.
const ANSWER: Duration = Duration::from_secs(1);

/// The program in the calling thread's namespace, with a script as `nft`.
struct Daemon {
    program: Child,
    folder: PathBuf,
    _state: StateFile,
}

impl Daemon {
    /// `with_chains` is what the script does when it is to make chains, rather than to remove the
    /// table; it has read its input into `input`.
    fn start(with_chains: &str) -> Daemon {
        let state = StateFile::new();
        let folder = state.0.parent().unwrap().to_owned();
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let script = format!(
            "#!/bin/sh\ncd {}\ncat > input\nif grep -q chain input; then\n{with_chains}\nfi\n",
            folder.display()
        );
        write("nft", &script);
        assert!(command("chmod", &format!("755 {}", folder.join("nft").display())).0);
        // The keys of RFC 7748 §6.1.
        write(
            "conf",
            &format!(
                "config onebox 'main'
                    option enabled '1'
                    option role 'client'
                    option private_key 'dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo='
                    option control '{0}/control'
                    option ubus_socket '{0}/no-ubus'
                    list address '10.99.0.2/24'
                config peer 'vps'
                    option public_key '3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08='
                    list endpoint '192.0.2.1:51830'
                    list allowed_ips '0.0.0.0/0'
                ",
                folder.display()
            ),
        );
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let program = Command::new(env!("CARGO_BIN_EXE_onebox"))
            .args(["start", "-c"])
            .arg(folder.join("conf"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Daemon { program, folder, _state: state };
        eventually(Duration::from_secs(10), "the first answer", || daemon.answers());
        daemon
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn answers(&self) -> bool {
        let status = format!("status --json --control {}/control", self.folder.display());
        command(env!("CARGO_BIN_EXE_onebox"), &status).0
    }

    /// Asks it to stop, and waits; whether it ended well.
    fn stop(&mut self) -> bool {
        kill(Pid::from_raw(self.program.id() as i32), Signal::SIGTERM).unwrap();
        self.program.wait().unwrap().success()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// How long something takes.
fn took(job: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a test measures a real program in real time")]
    let now = std::time::Instant::now;
    let start = now();
    job();
    now() - start
}

#[test]
fn a_slow_nft_holds_nothing_up() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let mut daemon = Daemon::start("sleep 4; echo > done");
        eventually(Duration::from_secs(2), "the rules", || ip("address").contains("10.99.0.2"));
        let mut answers = 0;
        while daemon.file("done").is_empty() {
            let answer = took(|| assert!(daemon.answers()));
            assert!(answer < ANSWER, "{answer:?}");
            answers += 1;
        }
        assert!(answers > 1, "{answers}");
        assert!(daemon.stop());
        assert!(!daemon.file("input").contains("chain"), "the table is removed last");
        assert!(!daemon.file("log").contains("nft"), "{}", daemon.file("log"));
    });
}

#[test]
fn an_nft_that_refuses_is_told_and_the_rest_goes_on() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let mut daemon = Daemon::start("echo 'Error: no such thing' >&2; exit 1");
        let words = "`nft` refused the rules: Error: no such thing";
        eventually(Duration::from_secs(2), "the words", || daemon.file("log").contains(words));
        assert!(daemon.answers());
        assert!(ip("address").contains("10.99.0.2"));
        assert!(daemon.stop());
        assert_eq!(daemon.file("log").matches(words).count(), 1);
    });
}
