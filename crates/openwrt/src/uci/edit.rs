//! Changes to a UCI text that leave everything else in it as it is, comments included.
//!
//! Why: people write comments, order and blank lines into their configuration; a program that
//! adds a peer must not take them away.
//!
//! How: whole lines are taken out and put in. A command's lines are found by reading the text from
//! its first line on until it is complete. After each change the text is read again and compared
//! with what it should mean then: if that is something else, because the text has several commands
//! in a line or spreads a section over several places, the change is refused and nothing happens.
//!
//! Limits: a comment behind an option goes with the option; one above it stays. Names and values
//! that are put in must be printable text. The texts are wiped from memory, what was read of them (the
//! [`Document`]) is not: this is for commands that end at once.

use super::reader::{Command, Reader};
use super::{Document, Section, Text};
use crate::uci;
use zeroize::Zeroizing;

/// Most lines of one command.
const COMMAND_LINES_MAX: usize = 64;

/// Why a text is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not UCI.
    #[error("line {}: not UCI: {_0}", _0.command_line)]
    NotUci(uci::Error),
    /// It is UCI of an unusual form.
    #[error("line {line}: {what}: this line cannot be changed automatically, edit it by hand")]
    Unusual {
        /// The line.
        line: u32,
        /// What was to be done.
        what: String,
    },
}

/// A text that is being changed.
#[derive(Debug)]
pub struct Editor {
    text: Zeroizing<Vec<u8>>,
    document: Document,
}

/// An option or a list with its values.
#[derive(Clone, Copy, Debug)]
pub enum Put<'a> {
    /// `option`.
    Option(&'a str, &'a str),
    /// `list`, with one line for each value.
    List(&'a str, &'a [String]),
}

impl Put<'_> {
    fn name(&self) -> &str {
        match self {
            Put::Option(name, _) | Put::List(name, _) => name,
        }
    }

    /// Its lines.
    fn lines(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::new());
        match self {
            Put::Option(name, value) => push(&mut out, "option", name, value),
            Put::List(name, values) => values.iter().for_each(|v| push(&mut out, "list", name, v)),
        }
        out
    }

    fn entry(&self) -> Plain {
        let values = match self {
            Put::Option(_, value) => vec![value.as_bytes().to_vec()],
            Put::List(_, values) => values.iter().map(|v| v.as_bytes().to_vec()).collect(),
        };
        (self.name().to_owned(), matches!(self, Put::List(..)), values)
    }
}

fn push(out: &mut String, command: &str, name: &str, value: &str) {
    out.reserve(command.len() + name.len() + value.len() + 8);
    out.push('\t');
    out.push_str(command);
    out.push(' ');
    out.push_str(name);
    out.push_str(" '");
    out.push_str(&value.replace('\'', r"'\''"));
    out.push_str("'\n");
}

/// An option without its place: name, whether it is a list, values.
type Plain = (String, bool, Vec<Vec<u8>>);
/// A section likewise: type, name if it has one, options by name.
type PlainSection = (String, String, Vec<Plain>);

fn plain(section: &Section) -> PlainSection {
    let bytes = |texts: &[Text]| texts.iter().map(|t| t.bytes.clone()).collect();
    let entries = section.entries.iter().map(|entry| {
        let list = matches!(entry.value, uci::Value::List(_));
        (entry.name.clone(), list, bytes(entry.value.texts()))
    });
    let mut entries: Vec<Plain> = entries.collect();
    entries.sort();
    let name = if section.anonymous { String::new() } else { section.name.clone() };
    (section.kind.clone(), name, entries)
}

/// Where a command stands.
#[derive(Debug)]
struct Place {
    /// Index of the section that it opens or belongs to.
    section: usize,
    /// The option that it is about; none for `config`.
    option: Option<String>,
    /// Its first and its last line, counted from 0.
    lines: (usize, usize),
}

type Lines = Vec<Zeroizing<Vec<u8>>>;

impl Editor {
    /// The text to be changed.
    ///
    /// # Errors
    ///
    /// It is not UCI.
    pub fn new(text: &[u8]) -> Result<Editor, EditError> {
        let document = uci::parse(text).map_err(EditError::NotUci)?;
        Ok(Editor { text: Zeroizing::new(text.to_vec()), document })
    }

    /// What the text means now.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The text as it is now.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Gives an option or a list of a section these values, in the place of those it has, else at
    /// the end of the section.
    ///
    /// # Errors
    ///
    /// The text is of an unusual form, or has no such section.
    pub fn set(&mut self, section: &str, put: Put<'_>) -> Result<(), EditError> {
        let what = format!("to set '{}' of section '{section}'", put.name());
        let index = self.index(section, &what)?;
        let places = self.places();
        let of_section = || places.iter().filter(|place| place.section == index);
        let old = of_section().find(|place| place.option.as_deref() == Some(put.name()));
        let end = of_section().next_back().map_or(0, |place| place.lines.1 + 1);
        let at = old.map_or(end, |place| place.lines.0);
        self.unset(section, put.name())?;
        let mut expected = self.meaning();
        if let Some((_, _, entries)) = expected.get_mut(index) {
            entries.push(put.entry());
            entries.sort();
        }
        let mut lines = self.lines();
        finish_last(&mut lines);
        lines.insert(at.min(lines.len()), Zeroizing::new(put.lines().as_bytes().to_vec()));
        self.replace(&lines, &expected, at, &what)
    }

    /// Takes an option or a list out of a section, if it is there.
    ///
    /// # Errors
    ///
    /// The text is of an unusual form, or has no such section.
    pub fn unset(&mut self, section: &str, option: &str) -> Result<(), EditError> {
        let what = format!("to remove '{option}' of section '{section}'");
        let index = self.index(section, &what)?;
        let places = self.places();
        let ours =
            |place: &&Place| place.section == index && place.option.as_deref() == Some(option);
        let ranges: Vec<(usize, usize)> = places.iter().filter(ours).map(|p| p.lines).collect();
        let Some(&(first, _)) = ranges.first() else { return Ok(()) };
        let mut expected = self.meaning();
        if let Some((_, _, entries)) = expected.get_mut(index) {
            entries.retain(|(name, ..)| name != option);
        }
        self.remove(&ranges, &expected, first, &what)
    }

    /// Takes a section out, with the comments between its options.
    ///
    /// # Errors
    ///
    /// The text is of an unusual form, or has no such section.
    pub fn remove_section(&mut self, section: &str) -> Result<(), EditError> {
        let what = format!("to remove section '{section}'");
        let index = self.index(section, &what)?;
        let places = self.places();
        let ours = || places.iter().filter(|place| place.section == index);
        let first = ours().next().map_or(0, |place| place.lines.0);
        let last = ours().next_back().map_or(0, |place| place.lines.1);
        let mut expected = self.meaning();
        expected.remove(index);
        self.remove(&[(first, last)], &expected, first, &what)
    }

    /// Appends a section, behind a blank line.
    ///
    /// # Errors
    ///
    /// The text is of an unusual form, or has a section of this name.
    pub fn append(&mut self, kind: &str, name: &str, puts: &[Put<'_>]) -> Result<(), EditError> {
        let what = format!("to add section '{name}'");
        let mut expected = self.meaning();
        let mut entries: Vec<Plain> = puts.iter().map(Put::entry).collect();
        entries.sort();
        expected.push((kind.to_owned(), name.to_owned(), entries));
        let mut lines = self.lines();
        finish_last(&mut lines);
        let at = lines.len();
        let blank = if lines.is_empty() { "" } else { "\n" };
        lines.push(Zeroizing::new(format!("{blank}config {kind} '{name}'\n").into_bytes()));
        lines.extend(puts.iter().map(|put| Zeroizing::new(put.lines().as_bytes().to_vec())));
        self.replace(&lines, &expected, at, &what)
    }

    fn index(&self, section: &str, what: &str) -> Result<usize, EditError> {
        let found = self.document.sections.iter().position(|other| other.name == section);
        found.ok_or_else(|| EditError::Unusual { line: 1, what: what.to_owned() })
    }

    fn meaning(&self) -> Vec<PlainSection> {
        self.document.sections.iter().map(plain).collect()
    }

    fn lines(&self) -> Lines {
        let lines = self.text.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| Zeroizing::new(line.to_vec())).collect()
    }

    /// All commands but `package`, in their order.
    fn places(&self) -> Vec<Place> {
        let lines = self.lines();
        let mut reader = Reader::new(&self.text);
        let mut places = Vec::new();
        let mut sections: Vec<String> = Vec::new();
        let mut current = None;
        // The text has been read before, so that nothing is refused here.
        while let Ok(Some(command)) = reader.next_command(current.is_some(), |_, _| false) {
            let first = command.line().saturating_sub(1) as usize;
            let option = match command {
                Command::Package => continue,
                Command::Config { name, .. } => {
                    let name = String::from_utf8(name).unwrap_or_default();
                    let known = sections.iter().position(|s| !name.is_empty() && *s == name);
                    current = Some(known.unwrap_or_else(|| {
                        sections.push(name);
                        sections.len() - 1
                    }));
                    None
                }
                Command::Option { name, .. } | Command::List { name, .. } => {
                    Some(String::from_utf8(name).unwrap_or_default())
                }
            };
            let last = last_line(&lines, first);
            places.extend(current.map(|section| Place { section, option, lines: (first, last) }));
        }
        places
    }

    fn remove(
        &mut self,
        ranges: &[(usize, usize)],
        expected: &[PlainSection],
        at: usize,
        what: &str,
    ) -> Result<(), EditError> {
        let gone = |line: usize| ranges.iter().any(|&(from, to)| (from..=to).contains(&line));
        let numbered = self.lines().into_iter().enumerate();
        let lines: Lines =
            numbered.filter(|(line, _)| !gone(*line)).map(|(_, text)| text).collect();
        self.replace(&lines, expected, at, what)
    }

    /// Takes these lines over if they mean what is expected.
    fn replace(
        &mut self,
        lines: &Lines,
        expected: &[PlainSection],
        at: usize,
        what: &str,
    ) -> Result<(), EditError> {
        let mut text = Zeroizing::new(Vec::with_capacity(lines.iter().map(|l| l.len()).sum()));
        lines.iter().for_each(|line| text.extend(line.iter()));
        let unusual = || EditError::Unusual { line: at as u32 + 1, what: what.to_owned() };
        let document = uci::parse(&text).map_err(|_| unusual())?;
        if document.sections.iter().map(plain).collect::<Vec<_>>() != expected {
            return Err(unusual());
        }
        self.text = text;
        self.document = document;
        Ok(())
    }
}

/// The last line of the command that begins in this one.
fn last_line(lines: &Lines, first: usize) -> usize {
    let mut text = Zeroizing::new(b"config x\n".to_vec());
    for (at, line) in lines.iter().enumerate().skip(first).take(COMMAND_LINES_MAX) {
        text.extend(line.iter());
        if uci::parse(&text).is_ok() {
            return at;
        }
    }
    first
}

/// Ends the last line, which need not be.
fn finish_last(lines: &mut Lines) {
    if let Some(last) = lines.last_mut()
        && !last.ends_with(b"\n")
    {
        last.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# top\n\nconfig onebox 'main'\n\t# who\n\toption role 'server' # here\n\
        \n\tlist address '10.0.0.1/24'\n\tlist address 'fd00::1/64'\n\toption nat '1'\n\n\
        # the first\nconfig peer 'a'\n\toption public_key 'x'\n\t# inside\n\toption mtu '1'\n\
        \n# the last\nconfig wan\n\toption device 'eth0'";

    fn edited(change: impl FnOnce(&mut Editor) -> Result<(), EditError>) -> String {
        let mut editor = Editor::new(TEXT.as_bytes()).unwrap();
        change(&mut editor).unwrap();
        String::from_utf8(editor.text().to_vec()).unwrap()
    }

    #[test]
    fn only_what_is_changed_changes() {
        let list = ["10.0.0.7/24".to_owned()];
        let text = edited(|e| e.set("main", Put::List("address", &list)));
        let gone = "\tlist address '10.0.0.1/24'\n\tlist address 'fd00::1/64'\n";
        assert_eq!(text, format!("{}\n", TEXT.replace(gone, "\tlist address '10.0.0.7/24'\n")));
        let text = edited(|e| e.set("main", Put::Option("mtu", "it's")));
        let added = "\toption nat '1'\n\toption mtu 'it'\\''s'\n";
        assert_eq!(text, format!("{}\n", TEXT.replace("\toption nat '1'\n", added)));
        let text = edited(|e| e.unset("main", "role"));
        assert_eq!(text, TEXT.replace("\toption role 'server' # here\n", ""));
        assert_eq!(edited(|e| e.unset("main", "nothing")), TEXT);
        let text = edited(|e| e.remove_section("a"));
        let gone = "config peer 'a'\n\toption public_key 'x'\n\t# inside\n\toption mtu '1'\n";
        assert_eq!(text, TEXT.replace(gone, ""));
        let text = edited(|e| e.append("peer", "b", &[Put::Option("public_key", "y")]));
        assert_eq!(text, format!("{TEXT}\n\nconfig peer 'b'\n\toption public_key 'y'\n"));
    }

    #[test]
    fn an_option_that_is_there_twice_goes_twice() {
        let text = "config a x\noption b 1\noption c 1\noption b 2\nconfig a x\noption b '3\n4'\n";
        let mut editor = Editor::new(text.as_bytes()).unwrap();
        editor.set("x", Put::Option("b", "5")).unwrap();
        let expected = "config a x\n\toption b '5'\noption c 1\nconfig a x\n";
        assert_eq!(core::str::from_utf8(editor.text()), Ok(expected));
    }

    #[test]
    fn unusual_texts_are_refused_and_left_alone() {
        for text in [
            "config a x\noption b 'c' ; option d 'e'\n",
            "config a 'x' ; option b c\nconfig a y\n",
            "config a x\nconfig a y\nconfig a x\noption b c\n",
        ] {
            let mut editor = Editor::new(text.as_bytes()).unwrap();
            let outcome = [editor.unset("x", "b"), editor.remove_section("x")];
            let error = outcome.into_iter().find_map(Result::err);
            assert!(error.is_some_and(|e| e.to_string().starts_with("line ")), "{text}");
        }
        assert!(matches!(Editor::new(b"nonsense"), Err(EditError::NotUci(_))));
        let mut editor = Editor::new(TEXT.as_bytes()).unwrap();
        assert!(editor.append("peer", "main", &[]).is_err());
        assert!(editor.set("nobody", Put::Option("a", "b")).is_err());
        assert_eq!(editor.text(), TEXT.as_bytes());
    }

    proptest! {
        /// Whatever the text, a change does what it should or nothing.
        #[test]
        fn a_change_is_right_or_refused(
            lines in prop::collection::vec(
                "(config a [xy]|option [bc] [1-3]|list [bc] ['\"]?[1-3 ]['\"]?| ; |#.?|\\\\|option b '1\n2')[ \t;]{0,2}",
                0..12,
            ),
        ) {
            let text = lines.join("\n");
            let Ok(mut editor) = Editor::new(text.as_bytes()) else { return Ok(()) };
            let before = editor.text().to_vec();
            let changed = editor.set("x", Put::Option("b", "9"));
            if changed.is_ok() {
                let document = uci::parse(editor.text()).unwrap();
                let section = document.sections.iter().find(|s| s.name == "x").unwrap();
                prop_assert_eq!(&section.get("b").unwrap().texts()[0].bytes, b"9");
            } else if uci::parse(&before).unwrap().sections.iter().all(|s| s.get("b").is_none()) {
                prop_assert_eq!(editor.text(), &before[..]);
            }
        }
    }
}
