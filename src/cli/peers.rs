//! The routers of a server: who is invited, and how one is shut out again.
//!
//! Limits: a list shows the handshakes of the running program; without it, only who may come.

use super::args::{Invite, Revoke, control_path};
use super::error::SetupError;
use super::invite::{router_name, usable};
use super::setup::{self, Applied, Existing};
use super::table::span;
use super::{Exit, complain, print, suggest};
use crate::config::{Config, Role};
use crate::control::Request;
use crate::control::client::{self, ClientError};
use crate::daemon::files::Locked;
use crate::prefix::width;
use crate::status::Status;
use std::fmt::Write;
use std::path::Path;

/// `invite --list`.
pub(super) fn list(options: &Invite) -> Exit {
    let path = options.config.as_path();
    let existing = match Existing::read(path) {
        Ok(existing) => existing,
        Err(error) => return error.fail(),
    };
    let config = match existing.usable(path).and_then(|config| server(config, path)) {
        Ok(config) => config,
        // Nothing is set up yet.
        Err(_) if existing.is_blank() => {
            complain("nobody is invited: 'onebox invite NAME' does it");
            return Exit::Done;
        }
        Err(error) => return error.fail(),
    };
    if config.peers.is_empty() {
        complain("nobody is invited: 'onebox invite NAME' does it");
        return Exit::Done;
    }
    let status = match client::ask::<Status>(&control_path(None, path), &Request::Status) {
        Ok(status) => Some(status),
        Err(ClientError::NotRunning) => {
            complain("not running: handshakes are not known");
            None
        }
        Err(error) => {
            complain(error);
            None
        }
    };
    print(&table(config, status.as_ref()))
}

fn server<'a>(config: &'a Config, path: &Path) -> Result<&'a Config, SetupError> {
    match config.main.role {
        Role::Server(_) => Ok(config),
        Role::Client(_) => Err(SetupError::NotAServer(path.to_owned())),
    }
}

/// One line for each router.
fn table(config: &Config, status: Option<&Status>) -> String {
    let row = |peer: &crate::config::Peer| {
        let of_peer = status.and_then(|s| s.peers.iter().find(|other| other.name == peer.name));
        let seen = of_peer.map(|peer| match peer.last_handshake_s {
            Some(seconds) => format!("{} ago", span(seconds)),
            None => "none since the start".to_owned(),
        });
        let shown = |p: &crate::prefix::Prefix| {
            let single = p.length() == width(p.address());
            if single { p.address().to_string() } else { p.to_string() }
        };
        let addresses: Vec<String> = peer.allowed_ips.iter().map(shown).collect();
        [peer.name.clone(), addresses.join(", "), seen.unwrap_or_else(|| "-".to_owned())]
    };
    let titles = ["Name", "Addresses", "Last handshake"].map(str::to_owned);
    let rows: Vec<[String; 3]> =
        core::iter::once(titles).chain(config.peers.iter().map(row)).collect();
    let wide = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let (name, addresses) = (wide(0), wide(1));
    let mut out = String::new();
    for [first, second, third] in &rows {
        let _ = writeln!(out, "{first:name$}  {second:addresses$}  {third}");
    }
    out
}

pub(super) fn revoke(options: &Revoke) -> Exit {
    match remove(options) {
        Ok((name, applied)) => {
            complain(format_args!(
                "'{name}' is shut out: its keys and its code are worth nothing now"
            ));
            match applied {
                Ok(Applied::Taken) => complain(Applied::Taken.words(&options.config)),
                Ok(Applied::NotRunning) => {}
                Err(error) => return error.fail(),
            }
            Exit::Done
        }
        Err(error) => error.fail(),
    }
}

/// Removes a router; its name, and how the running program took it.
fn remove(options: &Revoke) -> Result<(String, Result<Applied, SetupError>), SetupError> {
    let path = options.config.as_path();
    let io = SetupError::file(path);
    let file = Locked::wait(path).map_err(&io)?;
    let existing = Existing::read(path)?;
    let names: Vec<String> = match existing.usable(path).and_then(|config| server(config, path)) {
        Ok(config) => config.peers.iter().map(|peer| peer.name.clone()).collect(),
        Err(_) if existing.is_blank() => Vec::new(),
        Err(error) => return Err(error),
    };
    let found = [options.name.clone(), router_name(&options.name)];
    let found = found.into_iter().find(|name| names.contains(name));
    let (Some(name), Some(mut editor)) = (found, existing.editor) else {
        let similar = suggest::nearest(&options.name, names.iter().map(String::as_str));
        let similar = similar.map(str::to_owned);
        return Err(SetupError::NoRouter { name: options.name.clone(), similar });
    };
    editor.remove_section(&name)?;
    usable(&editor, path)?;
    file.replace(editor.text(), 0).map_err(io)?;
    drop(file);
    Ok((name, setup::apply(path)))
}
