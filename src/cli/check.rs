//! `check`: every problem of a configuration at once, one line each; with `--system`, what of the system
//! around the program keeps it from working, a paragraph each: what is wrong, and the command that mends
//! it.

use super::args::Check;
use super::{Exit, fail, fail_io, print};
use crate::config::{self, Config};
use crate::daemon;
use crate::findings::{self, Finding};
use nix::unistd::geteuid;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) fn check(options: &Check) -> Exit {
    let path = options.config.as_path();
    let text = match daemon::read_bounded(path) {
        Ok(text) => text,
        Err(error) => return fail_io(&error, format_args!("{}: {error}", path.display())),
    };
    let (config, problems) = Config::parse(&text);
    let mut out = String::new();
    for problem in &problems {
        let _ = writeln!(out, "{}:{}: {problem}", path.display(), problem.line);
    }
    if let Some(warning) = readable_secrets(path, &text) {
        let _ = writeln!(out, "{}:{warning}", path.display());
    }
    match (print(&out), config::diagnostic::has_errors(&problems)) {
        (Exit::Done, true) => Exit::Failed,
        (Exit::Done, false) if options.system => match config {
            Some(config) => system(&config, path, !out.is_empty()),
            None => Exit::Failed,
        },
        (exit, _) => exit,
    }
}

/// Looks at the system around the program. `told`: something stands there already.
fn system(config: &Config, file: &Path, told: bool) -> Exit {
    if !geteuid().is_root() {
        return fail("--system reads the rules of firewalls: only root may, try it with sudo");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let facts = runtime.and_then(|runtime| runtime.block_on(findings::read::facts(config, file)));
    let found = match facts {
        Ok(facts) => findings::findings(&facts),
        Err(error) => return fail(format_args!("the network cannot be read: {error}")),
    };
    let blank = if told && !found.is_empty() { "\n" } else { "" };
    let exit = print(&format!("{blank}{}", paragraphs(&found)));
    if exit == Exit::Done && found.iter().any(|finding| finding.stops) {
        Exit::Failed
    } else {
        exit
    }
}

/// One paragraph for each, with its command on a line of its own.
fn paragraphs(found: &[Finding]) -> String {
    let mut list = Vec::new();
    for Finding { stops, words, command, .. } in found {
        let mut text = if *stops { String::new() } else { "Note: ".to_owned() };
        text.push_str(words);
        text.push('\n');
        if !command.is_empty() {
            let _ = writeln!(text, "    {command}");
        }
        list.push(text);
    }
    list.join("\n")
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
