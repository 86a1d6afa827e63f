//! `status --watch` on a terminal.

use crate::{socket, with_program};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The program on a terminal of its own.
struct Terminal {
    child: Child,
    master: File,
    written: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(socket: &str, columns: u16) -> Terminal {
        let pty = openpty(None, None).unwrap();
        let master = File::from(pty.master);
        let slave = || pty.slave.try_clone().unwrap();
        let mut terminal_child = Command::new(env!("CARGO_BIN_EXE_onebox"));
        terminal_child.args(["status", "--watch", "--control", socket]);
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
        Terminal { child, master, written }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// What was written since the last time, once it has these words.
    fn wait(&self, words: &str) -> String {
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

    fn echoes(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    fn ended(mut self) {
        self.wait(LEAVE);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(self.echoes());
    }
}

fn resize(master: &File, columns: u16) {
    let size = Winsize { ws_row: 12, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

/// The frame without what is not text.
fn rows(frame: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = frame;
    while let Some((before, after)) = rest.split_once('\x1b') {
        text.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = &after[end..];
    }
    text.push_str(rest);
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn the_screen_is_drawn_resized_and_given_back() {
    let path = socket("watch");
    let socket = path.clone();
    with_program(&path, move || {
        let socket = socket.to_str().unwrap();
        let mut terminal = Terminal::start(socket, 90);
        terminal.wait(ENTER);
        let first = terminal.wait("\x1b[?2026l");
        assert!(first.contains("Bonded over 2 of 3 links") && first.contains("\x1b[32mactive"));
        assert!(!terminal.echoes());
        // Narrow: drawn anew at once, and nothing is longer than a row.
        resize(&terminal.master, 20);
        terminal.signal(Signal::SIGWINCH);
        let narrow = loop {
            let frame = rows(&terminal.wait("\x1b[?2026l"));
            if frame.iter().all(|row| row.chars().count() <= 20) {
                break frame;
            }
        };
        assert!(narrow.len() <= 12 && narrow[0].starts_with("onebox Bonded over"), "{narrow:?}");
        terminal.master.write_all(b"xq").unwrap();
        terminal.ended();
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let terminal = Terminal::start(socket, 90);
            terminal.wait("\x1b[?2026l");
            terminal.signal(signal);
            terminal.ended();
        }
    });
}
