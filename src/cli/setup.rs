//! What `invite`, `revoke` and `join` have in common: the configuration as it is, and what follows a change.

use super::args::control_path;
use super::error::SetupError;
use super::service::start_command;
use crate::config::{Config, DEFAULT_PATH, Diagnostic};
use crate::control::client::{self, ClientError};
use crate::control::{Reloaded, Request};
use crate::daemon;
use onebox_openwrt::uci::edit::Editor;
use onebox_openwrt::uci::{Document, Section};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the private key is unless the configuration says otherwise.
const DEFAULT_KEY: &str = "/etc/onebox/private.key";

/// A configuration's text, before it is changed.
pub(super) struct Existing {
    /// The text; none if there is no file, or nothing in it.
    pub(super) editor: Option<Editor>,
    /// What it means, if it has no errors.
    pub(super) config: Option<Config>,
    /// Its problems.
    pub(super) problems: Vec<Diagnostic>,
}

impl Existing {
    /// Reads a file, which need not exist.
    pub(super) fn read(path: &Path) -> Result<Existing, SetupError> {
        let text = match daemon::read_bounded(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Zeroizing::default(),
            Err(error) => return Err(SetupError::file(path)(error)),
        };
        let editor = Editor::new(&text)
            .map_err(|error| SetupError::Text { path: path.to_owned(), error })?;
        if editor.document().sections.is_empty() {
            return Ok(Existing { editor: None, config: None, problems: Vec::new() });
        }
        let (config, problems) = Config::parse(&text);
        Ok(Existing { editor: Some(editor), config, problems })
    }

    /// Whether nothing has been set up yet: no file, or one as it is shipped, which is switched
    /// off and has neither address nor peer.
    pub(super) fn is_blank(&self) -> bool {
        self.editor.as_ref().is_none_or(|editor| is_blank(editor.document()))
    }

    /// Whether it leads anywhere: without a peer there is nothing to lose.
    pub(super) fn has_peer(&self) -> bool {
        self.editor.as_ref().is_some_and(|editor| {
            editor.document().sections.iter().any(|section| section.kind == "peer")
        })
    }

    /// The configuration without errors, or what they are.
    pub(super) fn usable(&self, path: &Path) -> Result<&Config, SetupError> {
        let (path, problems) = (path.to_owned(), self.problems.clone());
        self.config.as_ref().ok_or(SetupError::Configuration { path, problems })
    }
}

fn is_blank(document: &Document) -> bool {
    let main = document.sections.iter().find(|section| section.kind == "onebox");
    let off = |main: &Section| {
        let words: [&[u8]; 5] = [b"0", b"off", b"false", b"no", b"disabled"];
        let enabled = main.get("enabled").and_then(|value| value.texts().first());
        enabled.is_some_and(|text| words.contains(&text.bytes.as_slice()))
    };
    let blank = main.is_none_or(|main| off(main) && main.get("address").is_none());
    blank && document.sections.iter().all(|section| section.kind != "peer")
}

/// The name of the main section.
pub(super) fn main_name(editor: &Editor) -> Option<String> {
    let sections = &editor.document().sections;
    sections.iter().find(|section| section.kind == "onebox").map(|section| section.name.clone())
}

/// Where the private key belongs: where the text says, else beside a configuration that is not at
/// the usual place. A copy of what packages install names the usual key, which is another set-up's.
pub(super) fn key_path(editor: Option<&Editor>, path: &Path) -> PathBuf {
    let said = editor.and_then(|editor| {
        let sections = &editor.document().sections;
        let main = sections.iter().find(|section| section.kind == "onebox")?;
        let text = main.get("private_key_file")?.texts().first()?;
        String::from_utf8(text.bytes.clone()).ok().map(PathBuf::from)
    });
    let usual = path == Path::new(DEFAULT_PATH);
    let said = said.filter(|said| usual || said != Path::new(DEFAULT_KEY));
    said.unwrap_or_else(|| {
        if usual {
            return PathBuf::from(DEFAULT_KEY);
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut name = path.into_os_string();
        name.push(".key");
        PathBuf::from(name)
    })
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// The running program has taken it over.
    Taken,
    /// There is no running program.
    NotRunning,
}

impl Applied {
    /// What to say about it.
    pub(super) fn words(self, config: &Path) -> String {
        match self {
            Applied::Taken => "the running program has taken it over".to_owned(),
            Applied::NotRunning => format!("start it: {}", start_command(config)),
        }
    }
}

/// Has the running program take a change over.
pub(super) fn apply(config: &Path) -> Result<Applied, SetupError> {
    match client::ask::<Reloaded>(&control_path(None, config), &Request::Reload) {
        Ok(_) => Ok(Applied::Taken),
        Err(ClientError::NotRunning) => Ok(Applied::NotRunning),
        Err(error) => Err(SetupError::NotTaken(error)),
    }
}
