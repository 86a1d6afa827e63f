//! The options of one section, read by name, with the complaints about them.
//!
//! Every way to read an option remembers its name: what is left in the end is unknown.

use super::diagnostic::{Diagnostic, Severity};
use onebox_openwrt::uci::{Section, Text};

/// Reads the options of a section.
pub struct Fields<'a> {
    section: &'a Section,
    problems: &'a mut Vec<Diagnostic>,
    known: Vec<&'static str>,
    /// How bad it is that something is missing.
    missing: Severity,
}

impl<'a> Fields<'a> {
    /// The options of this section; problems are appended to `problems`.
    pub fn new(
        section: &'a Section,
        problems: &'a mut Vec<Diagnostic>,
        missing: Severity,
    ) -> Fields<'a> {
        Fields { section, problems, known: Vec::new(), missing }
    }

    /// Says from now on how bad it is that something is missing.
    pub fn set_missing(&mut self, missing: Severity) {
        self.missing = missing;
    }

    /// The section's name as the user knows it.
    fn section_name(&self) -> String {
        if self.section.anonymous {
            format!("{} (without name)", self.section.kind)
        } else {
            self.section.name.clone()
        }
    }

    /// Complains about the section as a whole.
    pub fn complain(&mut self, severity: Severity, message: &str) {
        let section = Some(self.section_name());
        let line = self.section.line;
        let message = message.to_owned();
        self.problems.push(Diagnostic {
            severity,
            line,
            section,
            option: None,
            value: None,
            message,
        });
    }

    /// Complains about an option, at the line of its first value or else of the section.
    pub fn complain_about(
        &mut self,
        severity: Severity,
        option: &str,
        value: Option<&str>,
        message: &str,
    ) {
        let value_line = self.section.get(option).and_then(|v| v.texts().first()).map(|t| t.line);
        self.push(severity, value_line.unwrap_or(self.section.line), option, value, message);
    }

    fn push(
        &mut self,
        severity: Severity,
        line: u32,
        option: &str,
        value: Option<&str>,
        message: &str,
    ) {
        self.problems.push(Diagnostic {
            severity,
            line,
            section: Some(self.section_name()),
            option: Some(option.to_owned()),
            value: value.map(str::to_owned),
            message: message.to_owned(),
        });
    }

    /// Says that a required option is missing.
    pub fn complain_missing(&mut self, option: &str, accepted: &str) {
        self.push(
            self.missing,
            self.section.line,
            option,
            None,
            &format!("missing, accepted: {accepted}"),
        );
    }

    /// Whether the option is there.
    pub fn has(&mut self, option: &'static str) -> bool {
        self.known.push(option);
        self.section.get(option).is_some()
    }

    /// An option of one value.
    pub fn one<T>(
        &mut self,
        option: &'static str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.single(option, accepted, true, read)
    }

    /// An option of one value that must not be repeated in a complaint.
    pub fn secret<T>(
        &mut self,
        option: &'static str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.single(option, accepted, false, read)
    }

    fn single<T>(
        &mut self,
        option: &'static str,
        accepted: &str,
        show: bool,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(option);
        let section = self.section;
        let texts = section.get(option)?.texts();
        let [text] = texts else {
            let line = texts.first().map_or(section.line, |text| text.line);
            let message = format!("a list with {} values, accepted: {accepted}", texts.len());
            self.push(Severity::Error, line, option, None, &message);
            return None;
        };
        let value = core::str::from_utf8(&text.bytes).ok().and_then(read);
        if value.is_none() {
            self.wrong(option, text, &text.bytes, accepted, show);
        }
        value
    }

    fn wrong(&mut self, option: &str, text: &Text, read: &[u8], accepted: &str, show: bool) {
        let read = String::from_utf8_lossy(read);
        let read = show.then_some(read.as_ref());
        let wrong = if show { "" } else { "the value is not usable, " };
        let message = format!("{wrong}accepted: {accepted}");
        self.push(Severity::Error, text.line, option, read, &message);
    }

    /// An option of any number of values: of a list, or of one text separated by white space.
    pub fn many<T>(
        &mut self,
        option: &'static str,
        accepted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        self.known.push(option);
        let section = self.section;
        let mut values = Vec::new();
        for text in section.get(option).map(|value| value.texts()).unwrap_or_default() {
            for word in text.bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                match core::str::from_utf8(word).ok().and_then(&read) {
                    Some(value) => values.push(value),
                    None => self.wrong(option, text, word, accepted, true),
                }
            }
        }
        values
    }

    /// 0 or 1, in all the words that UCI has for them.
    pub fn flag(&mut self, option: &'static str, default: bool) -> bool {
        let accepted = "0 or 1 (also off, on, false, true, no, yes, disabled, enabled)";
        self.one(option, accepted, |text| match text {
            "1" | "on" | "true" | "yes" | "enabled" => Some(true),
            "0" | "off" | "false" | "no" | "disabled" => Some(false),
            _ => None,
        })
        .unwrap_or(default)
    }

    /// A whole number within bounds.
    pub fn number(&mut self, option: &'static str, min: u32, max: u32) -> Option<u32> {
        self.one(option, &format!("a whole number from {min} to {max}"), |text| {
            decimal(text).filter(|number| (min..=max).contains(number))
        })
    }

    /// A whole number of which 0 stands for none.
    pub fn number_or_none(&mut self, option: &'static str, max: u32) -> Option<u32> {
        self.number(option, 0, max).filter(|number| *number != 0)
    }

    /// Says of these options, if they are there, that they have no effect and why.
    pub fn ignored(&mut self, options: &[&'static str], why: &str) {
        for option in options {
            if self.has(option) {
                self.complain_about(Severity::Warning, option, None, why);
            }
        }
    }

    /// Complains about every option that nobody has read.
    pub fn finish(mut self) {
        let section = self.section;
        for entry in &section.entries {
            if self.known.contains(&entry.name.as_str()) {
                continue;
            }
            let message = match self.known.iter().find(|known| similar(known, &entry.name)) {
                Some(known) => format!("unknown, has no effect; is '{known}' meant?"),
                None => "unknown, has no effect".to_owned(),
            };
            self.complain_about(Severity::Warning, &entry.name, None, &message);
        }
    }
}

/// A number in decimal digits and nothing else.
pub fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Whether one name is likely the other one mistyped: the same but for `_`, `-`, case and a
/// final `s`, or but for two neighbouring letters exchanged, or one letter.
fn similar(known: &str, read: &str) -> bool {
    let plain =
        |name: &str| name.trim_end_matches('s').to_ascii_lowercase().replace('_', "").into_bytes();
    let (known, read) = (plain(known), plain(read));
    let start = known.iter().zip(&read).take_while(|(a, b)| a == b).count();
    let rest = (known.len() - start).min(read.len() - start);
    let end =
        known.iter().rev().zip(read.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let (a, b) = (&known[start..known.len() - end], &read[start..read.len() - end]);
    match (a, b) {
        ([], []) | ([_], []) | ([], [_]) | ([_], [_]) => start + end > 2,
        ([a1, a2], [b1, b2]) => a1 == b2 && a2 == b1,
        _ => false,
    }
}
