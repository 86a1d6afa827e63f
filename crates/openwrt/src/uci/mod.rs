//! Reader of UCI text, the configuration language of OpenWrt, exactly as libuci reads it.
//!
//! Why: the same file is written by LuCI and `uci`, edited by hand, and read here without
//! libuci, which cannot be linked into a static program that also runs on plain Linux. A reader
//! that understands a file a little differently from `uci show` is worse than none: so even the
//! odd corners are libuci's, and a differential test against the real library (`tests/uci`)
//! judges.
//!
//! How: [`reader`] turns bytes into commands the way libuci's line buffer does; this file gives
//! the commands their effect on a [`Document`]: sections merge, options replace or become lists.
//! Every section and value keeps the line it was read from, so that a complaint about its meaning
//! can name it.
//!
//! Limits: a text longer than [`TEXT_MAX`] is refused. Looking up names is linear, as in libuci;
//! the bound on the text bounds that too. `package` lines are read and have no effect, as when
//! libuci loads one file. Values are bytes: libuci knows no character set.

pub mod edit;
pub mod reader;

use core::fmt;
use reader::{Command, Reader};

/// The longest text that is read, in bytes.
pub const TEXT_MAX: usize = 1 << 20;

/// What a text says: its sections in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The sections in order of their first appearance.
    pub sections: Vec<Section>,
}

/// One `config TYPE ['NAME']` and the options below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name; for an anonymous one what libuci calls it, such as `cfg01a2b3`.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Whether the text gives it no name.
    pub anonymous: bool,
    /// The line that opens it first, counted from 1.
    pub line: u32,
    /// Its options in libuci's order: a replaced one moves to the end.
    pub entries: Vec<Entry>,
}

/// One option of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub value: Value,
}

/// What an option holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// From `option NAME VALUE`; never empty.
    One(Text),
    /// From `list NAME VALUE`; never without items, but an item may be empty.
    List(Vec<Text>),
}

impl Value {
    /// Its texts: one of an option, all of a list.
    pub fn texts(&self) -> &[Text] {
        match self {
            Value::One(text) => core::slice::from_ref(text),
            Value::List(texts) => texts,
        }
    }
}

/// One value, with the place it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The bytes without quotes and escapes.
    pub bytes: Vec<u8>,
    /// The line of its command, counted from 1.
    pub line: u32,
}

/// Why a text is not UCI. The words are those of libuci.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A command that is none of `package`, `config`, `option`, `list`.
    InvalidCommand,
    /// A command without what it needs.
    InsufficientArguments,
    /// A command with more than it takes.
    TooManyArguments,
    /// A name with something else than letters, digits and `_`.
    InvalidName,
    /// A section type with something else than printable ASCII.
    InvalidType,
    /// An option before any section.
    OptionBeforeSection,
    /// Two sections of one name and two types.
    TypeConflict,
    /// The text ends inside `'…'`.
    UnterminatedSingle,
    /// The text ends inside `"…"`.
    UnterminatedDouble,
    /// The text ends behind the word `package`.
    PackageWithoutName,
    /// The text ends behind the word `config`.
    ConfigWithoutName,
    /// The text ends behind the word `option` or `list`.
    OptionWithoutName,
    /// More than [`TEXT_MAX`] bytes. libuci has no such bound.
    TooLong,
}

impl Reason {
    /// libuci's words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InvalidCommand => "invalid command",
            Reason::InsufficientArguments => "insufficient arguments",
            Reason::TooManyArguments => "too many arguments",
            Reason::InvalidName => "invalid character in name field",
            Reason::InvalidType => "invalid character in type field",
            Reason::OptionBeforeSection => "option/list command found before the first section",
            Reason::TypeConflict => {
                "section of different type overwrites prior section with same name"
            }
            Reason::UnterminatedSingle => "EOF with unterminated '",
            Reason::UnterminatedDouble => "EOF with unterminated \"",
            Reason::PackageWithoutName => "package without name",
            Reason::ConfigWithoutName => "config without name",
            Reason::OptionWithoutName => "option without name",
            Reason::TooLong => "more than 1 MiB of text",
        }
    }
}

/// Why and where a text is not UCI: the writer of the text is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub reason: Reason,
    /// Lines that were read to their end, which is the line that libuci reports: the faulty one,
    /// or the one before it if the faulty one is the last and has no line end.
    pub line: u32,
    /// Bytes of the line that were read, as libuci counts them: from 0, and across the lines of
    /// a value that spans several.
    pub byte: usize,
    /// The line on which the faulty command begins, counted from 1.
    pub command_line: u32,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { reason, line, byte, .. } = self;
        write!(f, "Parse error ({}) at line {line}, byte {byte}", reason.as_str())
    }
}

impl std::error::Error for Error {}

/// Reads a text.
///
/// # Errors
///
/// The first place at which libuci would refuse it, or its length if that is above [`TEXT_MAX`].
pub fn parse(text: &[u8]) -> Result<Document, Error> {
    if text.len() > TEXT_MAX {
        return Err(Error { reason: Reason::TooLong, line: 1, byte: 0, command_line: 1 });
    }
    let mut reader = Reader::new(text);
    let mut document = Document::default();
    let mut current = None;
    let mut reopened = Vec::new();
    // Whether a command is allowed at all is decided before its arguments are read.
    while let Some(command) = reader.next_command(current.is_some(), |kind, name| {
        document.sections.iter().any(|s| s.name.as_bytes() == name && s.kind.as_bytes() != kind)
    })? {
        let line = command.line();
        match command {
            Command::Package => {}
            Command::Config { kind, name, .. } => {
                current = document.open(ascii(kind), ascii(name), line, &mut reopened);
            }
            Command::Option { name, value, .. } => {
                if let Some(section) = current.and_then(|at| document.sections.get_mut(at)) {
                    section.set(ascii(name), Text { bytes: value, line });
                }
            }
            Command::List { name, value, .. } => {
                if let Some(section) = current.and_then(|at| document.sections.get_mut(at)) {
                    section.add(ascii(name), Text { bytes: value, line });
                }
            }
        }
    }
    Ok(document)
}

/// Names and types, which the reader has found to be ASCII, as text.
fn ascii(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

impl Document {
    /// Opens a section, or an earlier one of the same name again; returns its index.
    ///
    /// libuci opens a section twice, but loses its way when it is opened a third time: options
    /// then belong to no section, which is an error. So it is here, by `reopened`.
    fn open(
        &mut self,
        kind: String,
        name: String,
        line: u32,
        reopened: &mut Vec<usize>,
    ) -> Option<usize> {
        if !name.is_empty()
            && let Some(at) = self.sections.iter().position(|section| section.name == name)
        {
            let known = reopened.contains(&at);
            reopened.push(at);
            return (!known).then_some(at);
        }
        let anonymous = name.is_empty();
        let count = self.sections.len() + 1;
        let name = if anonymous { anonymous_name(count, &kind) } else { name };
        self.sections.push(Section { name, kind, anonymous, line, entries: Vec::new() });
        Some(count - 1)
    }
}

/// The name that libuci gives to the `count`th section if the text gives none: a number and a
/// hash (Bernstein's) of the type.
fn anonymous_name(count: usize, kind: &str) -> String {
    let hash = kind.bytes().fold(5381u32, |hash, byte| {
        hash.wrapping_shl(5).wrapping_add(hash).wrapping_add(u32::from(byte))
    });
    format!("cfg{count:02x}{:04x}", hash & 0xffff)
}

impl Section {
    /// The option of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
    }

    /// `option`: an empty value changes nothing, another one replaces what was there.
    fn set(&mut self, name: String, text: Text) {
        if text.bytes.is_empty() {
            return;
        }
        if let Some(at) = self.entries.iter().position(|entry| entry.name == name) {
            if let Some(Entry { value: Value::One(old), .. }) = self.entries.get_mut(at)
                && old.bytes == text.bytes
            {
                old.line = text.line;
                return;
            }
            self.entries.remove(at);
        }
        self.entries.push(Entry { name, value: Value::One(text) });
    }

    /// `list`: appends, and makes an option of this name the first item.
    fn add(&mut self, name: String, text: Text) {
        let Some(at) = self.entries.iter().position(|entry| entry.name == name) else {
            self.entries.push(Entry { name, value: Value::List(vec![text]) });
            return;
        };
        if let Some(Entry { value: Value::List(texts), .. }) = self.entries.get_mut(at) {
            texts.push(text);
            return;
        }
        if let Value::One(first) = self.entries.remove(at).value {
            self.entries.push(Entry { name, value: Value::List(vec![first, text]) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(document: &Document, at: usize, name: &str) -> Vec<String> {
        let value = document.sections[at].get(name).unwrap();
        value.texts().iter().map(|t| String::from_utf8(t.bytes.clone()).unwrap()).collect()
    }

    #[test]
    fn sections_options_and_lists_keep_their_lines() {
        let text = b"# top\nconfig a 'x'\n\toption b 'c d'\n\tlist e 1\n\tlist e 2\n\nconfig f\n";
        let document = parse(text).unwrap();
        assert_eq!(document.sections[0].line, 2);
        assert_eq!(document.sections[1].line, 7);
        assert_eq!(document.sections[1].name, "cfg02b60b");
        assert_eq!(values(&document, 0, "b"), ["c d"]);
        assert_eq!(values(&document, 0, "e"), ["1", "2"]);
        let lines: Vec<u32> =
            document.sections[0].get("e").unwrap().texts().iter().map(|t| t.line).collect();
        assert_eq!(lines, [4, 5]);
    }

    #[test]
    fn an_error_tells_libucis_line_and_the_one_to_look_at() {
        let error = parse(b"config a x\noption b 'c\nd").unwrap_err();
        assert_eq!(error.to_string(), "Parse error (EOF with unterminated ') at line 2, byte 13");
        assert_eq!(error.command_line, 2);
        let error = parse(b"config a x\noptoin b c").unwrap_err();
        assert_eq!((error.line, error.command_line), (1, 2));
    }

    #[test]
    fn a_text_above_the_bound_is_refused() {
        let text = vec![b'\n'; TEXT_MAX + 1];
        assert_eq!(parse(&text).unwrap_err().reason, Reason::TooLong);
        assert!(parse(&text[1..]).is_ok());
    }
}
