//! A terminal that is drawn on as a whole.
//!
//! Why: a picture that is renewed every second must neither flicker nor scroll, must fit whatever
//! size the window has at the moment, and must leave the terminal as it was.
//!
//! How: the alternate screen, without cursor, wrapping and echo. A frame is written over the last
//! one, each line cut to the width and its rest erased, all of it in one write, and held back by
//! terminals that know synchronized updates until it is whole. What is changed is changed back when
//! the screen is dropped, and for as long as the program is stopped with Ctrl-Z.
//!
//! Limits: a character is taken to be one column wide; names with others are cut early or late.

use crate::status::{PathState, PeerState, State};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Write, stdin, stdout};

/// Alternate screen on; cursor and wrapping off (xterm, DECTCEM, DECAWM). And back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Begin and end of an update that is to be seen as a whole (mode 2026).
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";
/// Columns and rows of a terminal that does not say.
const SIZE: (usize, usize) = (80, 24);

/// How a piece of text looks (ECMA-48, SGR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As it is.
    Plain,
    /// What is important.
    Bold,
    /// What is less so.
    Dim,
    /// Works.
    Good,
    /// Works if need be.
    Spare,
    /// May not work.
    Doubtful,
    /// Does not work.
    Bad,
}

impl Style {
    pub(super) fn sequence(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "\x1b[1m",
            Style::Dim => "\x1b[2m",
            Style::Good => "\x1b[32m",
            Style::Spare => "\x1b[36m",
            Style::Doubtful => "\x1b[33m",
            Style::Bad => "\x1b[31m",
        }
    }

    /// That of a path's state.
    pub(super) fn of_path(state: PathState) -> Style {
        match state {
            PathState::Active => Style::Good,
            PathState::Down => Style::Bad,
            PathState::Backup => Style::Spare,
            _ => Style::Doubtful,
        }
    }

    /// That of a peer's state.
    pub(super) fn of_peer(state: PeerState) -> Style {
        match state {
            PeerState::Up => Style::Good,
            PeerState::Down => Style::Bad,
            _ => Style::Doubtful,
        }
    }

    /// That of the state of all.
    pub(super) fn of_state(state: State) -> Style {
        match state {
            State::Up => Style::Good,
            State::Down => Style::Bad,
            _ => Style::Doubtful,
        }
    }
}

/// A line of pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    /// One with this text.
    pub(super) fn of(style: Style, text: impl Into<String>) -> Line {
        Line::default().with(style, text)
    }

    /// The same with more; what could steer the terminal is made harmless.
    pub(super) fn with(mut self, style: Style, text: impl Into<String>) -> Line {
        let text: String = text.into();
        let text = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        self.0.push((style, text));
        self
    }

    /// Its length in characters.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// As much as fits, with or without its looks.
    pub(super) fn shown(&self, width: usize, colour: bool) -> String {
        let mut out = String::new();
        let mut left = width;
        for (style, text) in &self.0 {
            let cut: String = text.chars().take(left).collect();
            left -= cut.chars().count();
            let looks = if colour && !cut.is_empty() { style.sequence() } else { "" };
            out.push_str(looks);
            out.push_str(&cut);
            out.push_str(if looks.is_empty() { "" } else { "\x1b[0m" });
        }
        out
    }
}

/// A text in lines of at most this width, cut between words where there are any. Blanks before it stay;
/// the second line and those after it begin with `indent` of them.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(1);
    let indent = indent.min(width / 2);
    let words = text.trim_start_matches(' ');
    let mut room = width - (text.len() - words.len()).min(width / 2);
    let mut line = " ".repeat(width - room);
    let mut lines: Vec<String> = Vec::new();
    let mut begun = false;
    for word in words.split(' ') {
        let length = word.chars().count();
        if begun && 1 + length > room {
            lines.push(core::mem::replace(&mut line, " ".repeat(indent)));
            room = width - indent;
        } else if begun {
            line.push(' ');
            room -= 1;
        }
        begun = true;
        for c in word.chars() {
            if room == 0 {
                lines.push(core::mem::replace(&mut line, " ".repeat(indent)));
                room = width - indent;
            }
            line.push(c);
            room -= 1;
        }
    }
    lines.push(line);
    lines
}

/// A name in at most so many columns.
pub(super) fn clip(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(columns.saturating_sub(1)).collect();
    short.push('~');
    short
}

/// What makes a terminal of this size show these lines.
fn frame(lines: &[Line], (width, height): (usize, usize), colour: bool) -> String {
    let mut out = String::from(BEGIN);
    for (row, line) in lines.iter().take(height).enumerate() {
        // A line end behind the last row would scroll.
        out.push_str(if row == 0 { "" } else { "\r\n" });
        out.push_str(&line.shown(width, colour));
        out.push_str("\x1b[K");
    }
    out.push_str(END);
    out
}

/// The terminal while it is drawn on.
pub(super) struct Screen {
    colour: bool,
    /// The modes of the keyboard as they were; none if that is no terminal.
    modes: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open(colour: bool) -> io::Result<Screen> {
        let screen = Screen { colour, modes: tcgetattr(stdin()).ok() };
        screen.enter()?;
        Ok(screen)
    }

    /// Whether keys can be read.
    pub(super) fn has_keyboard(&self) -> bool {
        self.modes.is_some()
    }

    /// Takes it over again.
    pub(super) fn enter(&self) -> io::Result<()> {
        if let Some(modes) = &self.modes {
            let mut silent = modes.clone();
            silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            tcsetattr(stdin(), OptionalActions::Now, &silent)?;
        }
        write(ENTER)
    }

    /// Gives it back.
    pub(super) fn leave(&self) -> io::Result<()> {
        if let Some(modes) = &self.modes {
            tcsetattr(stdin(), OptionalActions::Now, modes)?;
        }
        write(LEAVE)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => SIZE,
        }
    }

    /// Shows these lines and nothing else.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        write(&frame(lines, self.size(), self.colour))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.leave();
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_screen() {
        let lines =
            ["one", "two, longer", "three"].map(|text| Line::of(Style::Good, text)).to_vec();
        let shown = frame(&lines, (5, 2), false);
        assert_eq!(shown, format!("{BEGIN}one\x1b[K\r\ntwo, \x1b[K{END}"));
        let shown = frame(&lines[..1], (2, 9), true);
        assert_eq!(shown, format!("{BEGIN}\x1b[32mon\x1b[0m\x1b[K{END}"));
        assert_eq!(frame(&lines, (0, 0), true), format!("{BEGIN}{END}"));
    }

    #[test]
    fn texts_are_wrapped_at_words() {
        assert_eq!(wrap("one two three", 7, 2), ["one two", "  three"]);
        assert_eq!(wrap("   one two three", 80, 2), ["   one two three"]);
        assert_eq!(wrap("abcdefghij k", 4, 1), ["abcd", " efg", " hij", " k"]);
        assert_eq!(wrap("", 4, 1), [""]);
        for width in 0..20 {
            let lines = wrap("a bb  ccc dddd eeeee ffffffffff", width, 3);
            assert!(lines.iter().all(|l| l.chars().count() <= width.max(1)), "{lines:?}");
        }
        assert_eq!((clip("wan", 3).as_str(), clip("wan12", 4).as_str()), ("wan", "wan~"));
    }

    #[test]
    fn no_text_steers_the_terminal() {
        let line = Line::of(Style::Plain, "a\x1b[2J\n").with(Style::Bold, "ä");
        assert_eq!((line.width(), line.shown(80, false).as_str()), (7, "a?[2J?ä"));
        assert_eq!(line.shown(7, true), "a?[2J?\x1b[1mä\x1b[0m");
        assert_eq!(line.shown(6, true), "a?[2J?");
    }
}
