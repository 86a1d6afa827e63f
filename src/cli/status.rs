//! `status`: the snapshot of the running program, as JSON or for people, once or every second.
//!
//! How the display in place works without knowing the terminal's size: each time the cursor goes
//! to the upper left corner, every line is written over the old one and its rest erased, with
//! the terminal's own wrapping switched off, so that a line that is too long is cut at the edge,
//! wherever that is at the moment. After each time the terminal is as it was, so that Ctrl-C
//! needs no care.

use super::args::{self, control_path};
use super::remote::failed;
use super::{Exit, complain, fail, print, table};
use crate::daemon::control::Request;
use crate::daemon::control::client::{self, ClientError};
use crate::status::Status;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::Duration;

pub(super) fn status(options: &args::Status) -> Exit {
    let path = control_path(options.control.as_ref(), &options.config);
    if options.watch {
        return watch(&path);
    }
    let status: Status = match client::ask(&path, &Request::Status) {
        Ok(status) => status,
        Err(error) => return failed(&path, &error),
    };
    if options.json {
        return match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(error),
        };
    }
    print(&table::table(&status, colour()))
}

/// Whether the reader is a person in front of a terminal who has not declined colours.
fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn watch(path: &Path) -> Exit {
    let terminal = stdout().is_terminal();
    let mut first = true;
    loop {
        let text = match client::ask::<Status>(path, &Request::Status) {
            Ok(status) => table::table(&status, colour()),
            // Whoever watches wants to see it come back.
            Err(ClientError::NotRunning) if !first => "Not running.\n".to_owned(),
            Err(error) if first => return failed(path, &error),
            Err(error) => format!("{error}\n"),
        };
        let shown = if terminal { in_place(&text, first) } else { format!("{text}\n") };
        match print_or_end(&shown) {
            None => {}
            Some(exit) => return exit,
        }
        first = false;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Prints; how to end if nobody reads any more.
fn print_or_end(text: &str) -> Option<Exit> {
    use std::io::Write;
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => None,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Some(Exit::Done),
        Err(error) => {
            complain(format_args!("cannot write: {error}"));
            Some(Exit::Failed)
        }
    }
}

/// The text with what makes a terminal show it in place (ECMA-48; wrapping: DECAWM).
fn in_place(text: &str, first: bool) -> String {
    let mut shown = String::from("\x1b[?7l");
    shown.push_str(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in text.lines() {
        shown.push_str(line);
        shown.push_str("\x1b[K\n");
    }
    shown.push_str("\x1b[J\x1b[?7h");
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_replaces_the_old_one_and_wrapping_is_restored() {
        assert_eq!(in_place("a\nb\n", false), "\x1b[?7l\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert!(in_place("", true).contains("\x1b[2J"));
    }
}
