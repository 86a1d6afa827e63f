//! `check`: every problem of a configuration at once, one line each.

use super::args::Check;
use super::{Exit, fail, print};
use crate::config::{self, Config};
use crate::daemon;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) fn check(options: &Check) -> Exit {
    let path = options.config.as_path();
    let text = match daemon::read_bounded(path) {
        Ok(text) => text,
        Err(error) => return fail(format_args!("{}: {error}", path.display())),
    };
    let (_, problems) = Config::parse(&text);
    let mut out = String::new();
    for problem in &problems {
        let _ = writeln!(out, "{}:{}: {problem}", path.display(), problem.line);
    }
    if let Some(warning) = readable_secrets(path, &text) {
        let _ = writeln!(out, "{}:{warning}", path.display());
    }
    match (print(&out), config::diagnostic::has_errors(&problems)) {
        (Exit::Done, true) => Exit::Failed,
        (exit, _) => exit,
    }
}

/// A warning if everybody may read the file and there are secrets in it. A configuration with
/// errors is searched too: its secrets are no less.
pub(super) fn readable_secrets(path: &Path, text: &[u8]) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o004 == 0 {
        return None;
    }
    let document = onebox_openwrt::uci::parse(text).ok()?;
    document.sections.iter().find_map(|section| {
        let secrets = ["private_key", "preshared_key"];
        let option = secrets.iter().find(|option| section.get(option).is_some())?;
        let line = section.get(option)?.texts().first()?.line;
        Some(format!(
            "{line}: warning: section '{}', option '{option}': everybody may read this file (mode \
             {:04o}), accepted: mode 0600",
            section.name,
            mode & 0o7777
        ))
    })
}
