//! The program on a terminal, as a person has it.

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The program on a terminal of its own.
pub struct Terminal {
    pub child: Child,
    pub master: File,
    /// What the next program on it would read.
    pub slave: File,
    written: Arc<Mutex<String>>,
}

impl Terminal {
    pub fn start(words: &[&str], columns: u16) -> Terminal {
        let pty = openpty(None, None).unwrap();
        let master = File::from(pty.master);
        let slave = || pty.slave.try_clone().unwrap();
        let mut terminal_child = Command::new(env!("CARGO_BIN_EXE_onebox"));
        terminal_child.args(words);
        terminal_child.env("TERM", "xterm").env_remove("NO_COLOR").env("LANG", "C.UTF-8");
        terminal_child.env_remove("LC_ALL").env_remove("LC_CTYPE");
        resize(&master, columns);
        let out: [OwnedFd; 3] = [slave(), slave(), slave()];
        let [stdin, stdout, stderr] = out.map(Stdio::from);
        let child = terminal_child.stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        let written = Arc::new(Mutex::new(String::new()));
        let (mut reader, into) = (master.try_clone().unwrap(), written.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(count) = reader.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Terminal { child, master, slave: File::from(pty.slave), written }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// What was written since the last time, once it has these words.
    pub fn wait(&self, words: &str) -> String {
        for _ in 0..500 {
            let mut written = self.written.lock().unwrap();
            if let Some(at) = written.find(words) {
                let rest = written.split_off(at + words.len());
                return core::mem::replace(&mut *written, rest);
            }
            drop(written);
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{words:?} was not written: {:?}", self.written.lock().unwrap());
    }

    pub fn echoes(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

pub fn resize(master: &File, columns: u16) {
    let size = Winsize { ws_row: 12, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}
