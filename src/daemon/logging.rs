//! Where log lines go: to stderr, which procd and systemd collect, or to syslog.
//!
//! What the levels mean: error, a person must act; warn, service is degraded; info, a change that
//! a user cares about; debug, decisions; trace, packets. No key at any level, and no address of a
//! client above debug.
//!
//! Limits: stderr gets no time; whoever collects the lines adds it. A line that cannot be written
//! is lost: there is nobody left to tell.

use log::{LevelFilter, Log, Metadata, Record};
use std::io::Write;
use syslog::{BasicLogger, Facility, Formatter3164, LoggerBackend};

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

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let target = record.target();
            let module = target.strip_prefix("onebox::").unwrap_or(target);
            let line = format!("{:<5} {module}: {}\n", record.level().as_str(), record.args());
            let _ = std::io::stderr().write_all(line.as_bytes());
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
        Target::Stderr => Box::new(Stderr),
        Target::Syslog => {
            let formatter = Formatter3164 {
                facility: Facility::LOG_DAEMON,
                hostname: None,
                process: "onebox".to_owned(),
                pid: std::process::id(),
            };
            let logger: syslog::Logger<LoggerBackend, Formatter3164> =
                syslog::unix(formatter).map_err(|error| LoggingError::Syslog(error.to_string()))?;
            Box::new(BasicLogger::new(logger))
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
