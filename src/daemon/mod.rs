//! The running program.

pub mod control;
pub mod logging;

use crate::config::{Config, Diagnostic};
use std::path::{Path, PathBuf};

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration has errors.
    #[error("{}: the configuration has errors, 'onebox check' shows them", .0.display())]
    Configuration(PathBuf),
    /// Logging could not be set up.
    #[error(transparent)]
    Logging(#[from] logging::LoggingError),
    /// The parts of the program are not put together yet.
    #[error("not assembled yet")]
    NotAssembled,
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// What prevents the start.
pub fn run(config_path: &Path, target: logging::Target) -> Result<(), RunError> {
    let (config, diagnostics) = load(config_path)?;
    let level = config.as_ref().map_or(log::LevelFilter::Info, |config| config.main.log_level);
    logging::init(target, level)?;
    for diagnostic in &diagnostics {
        let place = format!("{}:{}", config_path.display(), diagnostic.line);
        match diagnostic.severity {
            crate::config::Severity::Error => log::error!("{place}: {diagnostic}"),
            crate::config::Severity::Warning => log::warn!("{place}: {diagnostic}"),
        }
    }
    match config {
        None => Err(RunError::Configuration(config_path.to_owned())),
        Some(_) => Err(RunError::NotAssembled),
    }
}

/// Reads the configuration from its file.
///
/// # Errors
///
/// The file cannot be read.
pub fn load(path: &Path) -> Result<(Option<Config>, Vec<Diagnostic>), RunError> {
    let text = read_bounded(path)
        .map_err(|error| RunError::Unreadable { path: path.to_owned(), error })?;
    Ok(Config::parse(&text))
}

/// Reads a configuration's text; of a file that is too long, as much as shows that.
///
/// # Errors
///
/// What the system says.
pub fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    let bound = crate::config::uci::TEXT_MAX as u64 + 1;
    std::fs::File::open(path)?.take(bound).read_to_end(&mut text)?;
    Ok(text)
}
