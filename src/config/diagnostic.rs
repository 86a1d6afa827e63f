//! What is wrong with a configuration, said so that it can be put right.

use core::fmt;

/// Longest part of a value that a diagnostic repeats, in characters.
const VALUE_MAX: usize = 80;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works, perhaps not as meant.
    Warning,
    /// The configuration is refused.
    Error,
}

/// One problem. Its text form is `error: section 'x', option 'y': read 'z', accepted: …`; the
/// caller, who knows the file, puts file and [`line`](Diagnostic::line) before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The line it is about, counted from 1.
    pub line: u32,
    /// The section it is about.
    pub section: Option<String>,
    /// The option it is about.
    pub option: Option<String>,
    /// What was read; never a secret.
    pub value: Option<String>,
    /// What is wrong, or `accepted: ` and what would be right.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: ")?;
        match (&self.section, &self.option) {
            (Some(section), Some(option)) => write!(f, "section '{section}', option '{option}': ")?,
            (Some(section), None) => write!(f, "section '{section}': ")?,
            (None, _) => {}
        }
        if let Some(value) = &self.value {
            let shown: String = value.chars().take(VALUE_MAX).collect();
            let cut = if shown.len() < value.len() { "…" } else { "" };
            // Control characters would end up on a terminal.
            let plain = shown.chars().all(|c| !c.is_control());
            let shown = if plain { shown } else { shown.escape_debug().to_string() };
            write!(f, "read '{shown}{cut}', ")?;
        }
        f.write_str(&self.message)
    }
}

/// Whether any of these refuses the configuration.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}
