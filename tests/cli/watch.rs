//! `status --watch` on a terminal.

use crate::terminal::{Terminal, resize};
use crate::{socket, with_program};
use nix::sys::signal::Signal;
use std::io::Write;

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

fn start(socket: &str, columns: u16) -> Terminal {
    Terminal::start(&["status", "--watch", "--control", socket], columns)
}

fn ended(mut terminal: Terminal) {
    terminal.wait(LEAVE);
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert!(terminal.echoes());
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
        let mut terminal = start(socket, 90);
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
        ended(terminal);
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let terminal = start(socket, 90);
            terminal.wait("\x1b[?2026l");
            terminal.signal(signal);
            ended(terminal);
        }
    });
}
