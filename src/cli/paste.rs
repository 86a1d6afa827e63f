//! A code that is pasted into a terminal.
//!
//! Why: mail breaks a code into lines and quotes them. Whoever reads one line of it leaves the others
//! to the shell, which runs them and keeps them in its history, though they are half a private key.
//!
//! How: the terminal gives every character as it comes and shows none of them. After each pause the
//! text is looked at: whole, not whole yet, or no code at all. What follows within the pause belongs
//! to the paste and is thrown away, and so is what is still unread when the terminal is given back.
//!
//! Limits: no line editing but erasing one character or all. A program that is killed meanwhile
//! leaves the terminal without echo; Ctrl-C and a lost terminal do not.

use super::complain;
use crate::config::invitation::{CODE_MAX, CodeError, Invitation};
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, stdin};
use zeroize::Zeroizing;

/// How long nothing may come before the text is looked at, in ms: a paste over a slow line has
/// gaps, a person does not wait longer.
const PAUSE: Duration = Duration::from_millis(400);
/// What some terminals send around a paste (bracketed paste, mode 2004).
const BRACKETS: [&str; 2] = ["\x1b[200~", "\x1b[201~"];
/// Keys in ASCII.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

/// The terminal without echo; as it was when this is dropped, and nothing left to read.
struct Silent(Termios);

impl Silent {
    fn new() -> io::Result<Silent> {
        let modes = tcgetattr(stdin())?;
        let mut silent = modes.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(stdin(), OptionalActions::Drain, &silent)?;
        Ok(Silent(modes))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Whether more is needed.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Nothing has come yet, or a line is not ended.
    Nothing,
    /// It is a code, but not all of it.
    More(CodeError),
    /// It is one, or will never be.
    Decided,
}

fn judge(text: &str) -> Verdict {
    match Invitation::decode(text) {
        Err(error @ CodeError::Truncated(..)) => Verdict::More(error),
        // Of a code that began, nothing can be said; what is something else has been ended.
        Err(CodeError::Foreign)
            if text.len() < CODE_MAX && (text.trim().is_empty() || !text.ends_with('\n')) =>
        {
            Verdict::Nothing
        }
        _ => Verdict::Decided,
    }
}

/// Waits for a code on the terminal that standard input is; what comes instead is returned as well.
///
/// # Errors
///
/// Ctrl-C, or what the system says.
pub(super) fn code() -> io::Result<Zeroizing<String>> {
    let _silent = Silent::new()?;
    complain("paste the code here, in one line or several; it is not shown");
    // Never grown: growing would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(CODE_MAX + 1));
    let mut buffer = Zeroizing::new([0; 1024]);
    let mut told = 0;
    loop {
        let mut ready = [PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN)];
        // Always in range.
        let pause = Timespec::try_from(PAUSE).unwrap_or_default();
        if poll(&mut ready, Some(&pause))? == 0 {
            match judge(&text) {
                Verdict::Decided => return Ok(text),
                Verdict::More(error) if told != text.len() => {
                    told = text.len();
                    complain(format_args!("{error}, or paste what is missing"));
                }
                Verdict::More(_) | Verdict::Nothing => {}
            }
            continue;
        }
        let count = rustix::io::read(rustix::stdio::stdin(), buffer.as_mut_slice())?;
        for byte in &buffer[..count] {
            match *byte {
                CTRL_C => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
                CTRL_D => return Ok(text),
                BACKSPACE | DELETE => drop(text.pop()),
                CTRL_U => text.clear(),
                // What is not ASCII is a mark of a quotation at best.
                byte if byte.is_ascii() && text.len() < CODE_MAX => text.push(char::from(byte)),
                _ => {}
            }
        }
        if count == 0 {
            return Ok(text);
        }
        for bracket in BRACKETS {
            if let Some(at) = text.find(bracket) {
                text.replace_range(at..at + bracket.len(), "");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_waited_for_until_it_is_decided() {
        let code = include_str!("../config/invitation_1.txt").trim();
        assert_eq!(judge(code), Verdict::Decided);
        assert_eq!(judge(&format!("> {}\n> {}", &code[..60], &code[60..])), Verdict::Decided);
        for part in [&code[..60], &code[..code.len() - 1], "onebox1-"] {
            assert!(matches!(judge(&format!("> {part}\n")), Verdict::More(_)), "{part}");
        }
        for nothing in ["", "\n", " \n\n", "one", "> "] {
            assert_eq!(judge(nothing), Verdict::Nothing, "{nothing}");
        }
        for other in ["ls\n", &format!("{code}A"), &code.replace("onebox1", "onebox9")] {
            assert_eq!(judge(other), Verdict::Decided, "{other}");
        }
        assert_eq!(judge(&" x".repeat(CODE_MAX)), Verdict::Decided);
    }
}
