//! From bytes to commands, through a line buffer that works like libuci's.
//!
//! Why like libuci's: libuci cuts words in place, in the buffer that holds the line. Where a word
//! ends, what a `;` or `#` does and what becomes of the rest of the line all follow from which
//! byte of the buffer is overwritten when. A grammar written anew would have to list each of
//! these consequences as an exception; the same buffer has them by itself.
//!
//! How: [`Reader`] holds one logical line (several lines of the text if a value spans them), a
//! position in it, and the place in the text to continue from. Words are unquoted in place: the
//! write position never passes the read position. A zero byte ends the line.
//!
//! Limits: a zero byte in the text ends what is read of that piece of the line, as in C. How
//! long a piece is depends on the size of libuci's buffer, which is therefore kept too.

use super::{Error, Reason};

/// Size of libuci's line buffer at first; it doubles as needed.
const BUFFER: usize = 32;

/// One command with its words unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `package NAME`: no effect.
    Package,
    /// `config KIND [NAME]`; without a name, that is empty.
    Config {
        /// Type of the section.
        kind: Vec<u8>,
        /// Name of the section.
        name: Vec<u8>,
        /// Line of the command.
        line: u32,
    },
    /// `option NAME [VALUE]`; without a value, that is empty.
    Option {
        /// Name of the option.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// Line of the command.
        line: u32,
    },
    /// `list NAME [VALUE]`; without a value, that is empty.
    List {
        /// Name of the option.
        name: Vec<u8>,
        /// The value to append.
        value: Vec<u8>,
        /// Line of the command.
        line: u32,
    },
}

impl Command {
    /// The line on which the command begins; 0 for `package`.
    pub fn line(&self) -> u32 {
        match self {
            Command::Package => 0,
            Command::Config { line, .. }
            | Command::Option { line, .. }
            | Command::List { line, .. } => *line,
        }
    }
}

/// Which characters a word may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    Any,
    Name,
    PackageName,
}

/// Reads commands from a text, one after the other.
pub struct Reader<'a> {
    text: &'a [u8],
    /// Bytes of the text that were read.
    read: usize,
    at_end: bool,
    /// The logical line, up to a zero byte or the end of the vector.
    buffer: Vec<u8>,
    /// Size of the buffer in libuci.
    size: usize,
    /// Where the line ends, words not yet cut.
    filled: usize,
    position: usize,
    /// Lines read to their end.
    lines: u32,
    /// The line that the last piece of the buffer came from, counted from 1.
    last_line: u32,
    /// Whether the buffer holds a line with commands still to read.
    in_line: bool,
    /// The line on which the command begins that is being read.
    command_line: u32,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a text.
    pub fn new(text: &'a [u8]) -> Reader<'a> {
        Reader {
            text,
            read: 0,
            at_end: false,
            buffer: Vec::new(),
            size: BUFFER,
            filled: 0,
            position: 0,
            lines: 0,
            last_line: 0,
            in_line: false,
            command_line: 0,
        }
    }

    /// The next command, or none at the end of the text. The caller knows the sections:
    /// `section_open` says whether there is one that an option could belong to, `conflict`
    /// whether a section of this type and name clashes with an earlier one.
    ///
    /// # Errors
    ///
    /// Where libuci refuses the text. The reader is of no use afterwards.
    pub fn next_command(
        &mut self,
        section_open: bool,
        conflict: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Command>, Error> {
        loop {
            if !self.in_line {
                if self.at_end {
                    return Ok(None);
                }
                self.position = 0;
                self.fetch(0);
                if self.current() == 0 {
                    continue;
                }
                self.in_line = true;
                self.skip_whitespace();
            }
            self.command_line = self.last_line;
            let Some((start, end)) = self.command_word() else {
                self.in_line = false;
                continue;
            };
            let word = self.buffer.get(start..end).unwrap_or_default();
            return match word {
                [b'#', ..] => {
                    self.in_line = false;
                    continue;
                }
                b"p" | b"package" => self.package(end).map(Some),
                b"c" | b"config" => self.config(end, conflict).map(Some),
                b"o" | b"option" => self.option(end, section_open, false).map(Some),
                b"l" | b"list" => self.option(end, section_open, true).map(Some),
                _ => Err(self.error(Reason::InvalidCommand)),
            };
        }
    }

    fn package(&mut self, word_end: usize) -> Result<Command, Error> {
        self.pass_word(word_end, Reason::PackageWithoutName)?;
        self.argument(true, Charset::PackageName)?;
        self.end_of_command()?;
        Ok(Command::Package)
    }

    fn config(
        &mut self,
        word_end: usize,
        conflict: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Command, Error> {
        let line = self.command_line;
        self.pass_word(word_end, Reason::ConfigWithoutName)?;
        let kind = self.argument(true, Charset::Any)?;
        if kind.is_empty() || !kind.iter().all(|byte| (33..=126).contains(byte)) {
            return Err(self.error(Reason::InvalidType));
        }
        let name = self.argument(false, Charset::Name)?;
        self.end_of_command()?;
        if conflict(&kind, &name) {
            return Err(self.error(Reason::TypeConflict));
        }
        Ok(Command::Config { kind, name, line })
    }

    fn option(
        &mut self,
        word_end: usize,
        section_open: bool,
        list: bool,
    ) -> Result<Command, Error> {
        let line = self.command_line;
        if !section_open {
            return Err(self.error(Reason::OptionBeforeSection));
        }
        self.pass_word(word_end, Reason::OptionWithoutName)?;
        let name = self.argument(true, Charset::Name)?;
        let value = self.argument(false, Charset::Any)?;
        self.end_of_command()?;
        Ok(if list {
            Command::List { name, value, line }
        } else {
            Command::Option { name, value, line }
        })
    }

    fn error(&self, reason: Reason) -> Error {
        Error {
            reason,
            line: self.lines,
            byte: self.position,
            command_line: self.command_line.max(1),
        }
    }

    fn at(&self, index: usize) -> u8 {
        self.buffer.get(index).copied().unwrap_or(0)
    }

    fn current(&self) -> u8 {
        self.at(self.position)
    }

    fn put(&mut self, index: usize, byte: u8) {
        if let Some(place) = self.buffer.get_mut(index) {
            *place = byte;
        }
    }

    /// Reads the next line of the text into the buffer, from `offset` on.
    fn fetch(&mut self, offset: usize) {
        if offset >= self.size - 1 {
            self.size *= 2;
        }
        self.buffer.truncate(offset);
        self.last_line = self.lines + 1;
        loop {
            let at = self.buffer.len();
            let piece = self.piece(self.size - at - 1);
            let piece = piece.split(|byte| *byte == 0).next().unwrap_or_default();
            if piece.is_empty() {
                return;
            }
            self.buffer.extend_from_slice(piece);
            self.filled = self.buffer.len();
            if piece.ends_with(b"\n") {
                self.lines += 1;
                return;
            }
            self.size *= 2;
        }
    }

    /// What C's `fgets` gives: up to `max` bytes, up to and with a line end.
    fn piece(&mut self, max: usize) -> &'a [u8] {
        let rest = self.text.get(self.read..).unwrap_or_default();
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        if line == rest.len() && !rest.ends_with(b"\n") && line < max {
            self.at_end = true;
        }
        let piece = rest.get(..line.min(max)).unwrap_or_default();
        self.read += piece.len();
        piece
    }

    fn skip_whitespace(&mut self) {
        while is_space(self.current()) {
            self.position += 1;
        }
    }

    /// Start and end of the next word, which only blanks and tabs separate; the byte behind it
    /// becomes the end of the line.
    fn command_word(&mut self) -> Option<(usize, usize)> {
        let blank = |byte| byte == b' ' || byte == b'\t';
        let mut start = self.position;
        while blank(self.at(start)) {
            start += 1;
        }
        let mut end = start;
        while self.at(end) != 0 && !blank(self.at(end)) {
            end += 1;
        }
        if start == end {
            return None;
        }
        self.put(end, 0);
        Some((start, end))
    }

    /// Moves behind the command's name.
    fn pass_word(&mut self, end: usize, reason: Reason) -> Result<(), Error> {
        if end + 1 > self.filled {
            return Err(self.error(reason));
        }
        self.position = end + 1;
        Ok(())
    }

    /// The next word with quotes and escapes taken out; empty if there is none.
    fn argument(&mut self, required: bool, charset: Charset) -> Result<Vec<u8>, Error> {
        self.skip_whitespace();
        let start = self.position;
        let end = if self.current() == b';' {
            self.put(start, 0);
            self.position += 1;
            start
        } else {
            self.unquote()?
        };
        let word = self.buffer.get(start..end).unwrap_or_default().to_vec();
        if word.is_empty() {
            return if required {
                Err(self.error(Reason::InsufficientArguments))
            } else {
                Ok(word)
            };
        }
        let legal = |byte: &u8| match charset {
            Charset::Any => true,
            Charset::Name => byte.is_ascii_alphanumeric() || *byte == b'_',
            Charset::PackageName => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
        };
        if !word.iter().all(legal) {
            return Err(self.error(Reason::InvalidName));
        }
        Ok(word)
    }

    fn end_of_command(&mut self) -> Result<(), Error> {
        if self.argument(false, Charset::Any)?.is_empty() {
            Ok(())
        } else {
            Err(self.error(Reason::TooManyArguments))
        }
    }

    /// Unquotes one word in place; returns where it ends in the buffer.
    fn unquote(&mut self) -> Result<usize, Error> {
        let mut target = self.position;
        let mut pass_separator = true;
        loop {
            match self.current() {
                b'\'' => self.single_quoted(&mut target)?,
                b'"' => self.double_quoted(&mut target)?,
                b'#' => {
                    self.put(self.position, 0);
                    break;
                }
                0 => break,
                b';' => {
                    pass_separator = false;
                    break;
                }
                b'\\' => {
                    if self.escaped() {
                        self.copy(&mut target);
                    }
                }
                _ => self.copy(&mut target),
            }
            if self.current() == 0 || is_space(self.current()) {
                break;
            }
        }
        if self.current() != 0 && pass_separator {
            self.position += 1;
        }
        self.put(target, 0);
        Ok(target)
    }

    fn single_quoted(&mut self, target: &mut usize) -> Result<(), Error> {
        self.position += 1;
        loop {
            match self.current() {
                b'\'' => {
                    self.position += 1;
                    return Ok(());
                }
                0 => {
                    self.fetch(self.position);
                    if self.current() == 0 {
                        return Err(self.error(Reason::UnterminatedSingle));
                    }
                }
                _ => self.copy(target),
            }
        }
    }

    fn double_quoted(&mut self, target: &mut usize) -> Result<(), Error> {
        self.position += 1;
        loop {
            match self.current() {
                b'"' => {
                    self.position += 1;
                    return Ok(());
                }
                0 => {
                    self.fetch(self.position);
                    if self.current() == 0 {
                        return Err(self.error(Reason::UnterminatedDouble));
                    }
                }
                b'\\' => {
                    if self.escaped() {
                        self.copy(target);
                    }
                }
                _ => self.copy(target),
            }
        }
    }

    /// Passes a backslash; whether a byte follows that it protects. At the end of the line, the
    /// next line continues there.
    fn escaped(&mut self) -> bool {
        self.position += 1;
        let at = self.position;
        let rest = [self.at(at), self.at(at + 1), self.at(at + 2)];
        if matches!(rest, [0 | b'\n', ..] | [b'\r', b'\n', 0]) {
            self.fetch(at);
            return false;
        }
        true
    }

    fn copy(&mut self, target: &mut usize) {
        let byte = self.current();
        self.put(*target, byte);
        *target += 1;
        self.position += 1;
    }
}

/// Whitespace of C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
