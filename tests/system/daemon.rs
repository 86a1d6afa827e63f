//! The built program in a namespace.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{StateFile, command, eventually};

/// The program in the calling thread's namespace, with a script as `nft`.
pub struct Daemon {
    program: Child,
    pub folder: PathBuf,
    _state: StateFile,
}

impl Daemon {
    /// With these lines in its main section. `with_chains` is what the script does when it is to make
    /// chains, rather than to remove the table; it has read its input into `input`. What is asked about
    /// the rules of others is answered by the real program.
    pub fn start(options: &str, with_chains: &str) -> Daemon {
        let state = StateFile::new();
        let folder = state.0.parent().unwrap().to_owned();
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *list*) PATH=${{PATH#*:}} exec nft \"$@\";; esac\n\
             cd {}\ncat > input\nif grep -q chain input; then\n{with_chains}\nfi\n",
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
                    option control '{folder}/control'
                    option ubus_socket '{folder}/no-ubus'
                    list address '10.99.0.2/24'
                    {options}
                config peer 'vps'
                    option public_key '3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08='
                    list endpoint '192.0.2.1:51830'
                    list allowed_ips '0.0.0.0/0'
                    option route_allowed_ips '1'
                ",
                folder = folder.display()
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

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    pub fn answers(&self) -> bool {
        let status = format!("status --json --control {}/control", self.folder.display());
        command(env!("CARGO_BIN_EXE_onebox"), &status).0
    }

    /// Kills it, as the kernel does when memory is short.
    pub fn crash(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Asks it to stop, and waits; whether it ended well.
    pub fn stop(&mut self) -> bool {
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
