//! Where log lines go: to stderr, which procd and systemd collect, or to syslog.
//!
//! What the levels mean: error, a person must act; warn, service is degraded; info, a change that
//! a user cares about; debug, decisions; trace, packets. No key at any level, and no address of a
//! client above debug.
//!
//! systemd's journal takes the level of a line from a number before it (sd-daemon(3)); without one all
//! would be "info" there, and `journalctl -p warning` empty.
//!
//! Limits: stderr gets no time; whoever collects the lines adds it. A line that cannot be written
//! is lost: there is nobody left to tell. Syslog gets no time either: every collector notes when a
//! line came, and the crate's own format brings 60 KB of calendar.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error: level, module, text.
    Stderr,
    /// The system's log, facility daemon.
    Syslog,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// No syslog is listening.
    #[error("syslog: {0}")]
    Syslog(String),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// Whether it is the journal, which wants a number before each line.
struct Stderr {
    journal: bool,
}

/// Whether stderr is the journal, by the numbers of its socket that systemd gives (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| told == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Text as the journal reads it: each line is an entry of its own, with its level (RFC 5424 §6.2.1).
fn for_journal(level: Level, text: &str) -> String {
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    text.lines().map(|line| format!("<{severity}>{line}\n")).collect()
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let target = record.target();
            let module = ["onebox::", "onebox_core::", "onebox_linux::", "onebox_openwrt::"]
                .iter()
                .find_map(|package| target.strip_prefix(package))
                .unwrap_or(target);
            let mut line = format!("{:<5} {module}: {}\n", record.level().as_str(), record.args());
            if self.journal {
                line = for_journal(record.level(), &line);
            }
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// `<priority>name[process]: text` (RFC 3164 §4.3.2, the form without time and host).
#[derive(Clone)]
struct Format {
    pid: u32,
}

impl<T: Display> LogFormat<T> for Format {
    fn format<W: Write>(&self, to: &mut W, severity: Severity, text: T) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        write!(to, "<{priority}>onebox[{}]: {text}", self.pid).map_err(syslog::Error::Write)
    }
}

struct Syslog(Mutex<Logger<LoggerBackend, Format>>);

impl Log for Syslog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let mut logger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let text = record.args();
            let _ = match record.level() {
                Level::Error => logger.err(text),
                Level::Warn => logger.warning(text),
                Level::Info => logger.info(text),
                Level::Debug | Level::Trace => logger.debug(text),
            };
        }
    }

    fn flush(&self) {}
}

/// Sets logging up, once per process.
///
/// # Errors
///
/// Syslog is asked for and not there, or logging was set up before.
pub fn init(target: Target, level: LevelFilter) -> Result<(), LoggingError> {
    let logger: Box<dyn Log> = match target {
        Target::Stderr => Box::new(Stderr { journal: is_journal() }),
        Target::Syslog => {
            let logger = syslog::unix(Format { pid: std::process::id() })
                .map_err(|error| LoggingError::Syslog(error.to_string()))?;
            Box::new(Syslog(Mutex::new(logger)))
        }
    };
    log::set_boxed_logger(logger).map_err(|_| LoggingError::Twice)?;
    set_level(level);
    Ok(())
}

/// Changes the level, as a reload does.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_for_the_journal_has_its_level() {
        let text = for_journal(Level::Error, "ERROR daemon: not taken over:\nline 2\n");
        assert_eq!(text, "<3>ERROR daemon: not taken over:\n<3>line 2\n");
    }

    #[test]
    fn a_line_for_syslog_has_priority_name_and_process() {
        let mut line = Vec::new();
        Format { pid: 42 }.format(&mut line, Severity::LOG_WARNING, "a path is down").unwrap();
        assert_eq!(line, b"<28>onebox[42]: a path is down");
    }
}
