//! `join`: makes a router of this machine from the code of an invitation.
//!
//! Of a configuration that is there, the sections of WANs and all options that the code says
//! nothing about stay, with their comments. One with a peer is replaced only with `--force`;
//! joining with the code of the set-up that is there changes nothing.
//!
//! Then the service is started, where there is one, and the server's first answer waited for, so that
//! whoever has typed the command knows whether it worked. Without an answer the exit code is that of a
//! failure; the set-up stays.
//!
//! Limits: first the key's file is written, then the configuration. If the power fails in between
//! while an existing set-up is replaced, that has the new key: join again. The former key is kept
//! beside it with the ending `.old`.

use super::args::{Join, control_path};
use super::error::SetupError;
use super::service::Service;
use super::setup::{self, Applied, Existing};
use super::{Exit, answer, complain, fail, paste, print};
use crate::config::invitation::{CODE_MAX, Invitation};
use crate::config::{Config, PrivateKey, Role};
use crate::daemon::{
    self,
    files::{Locked, write_private},
};
use onebox_openwrt::uci::edit::{EditError, Editor, Put};
use serde::Serialize;
use std::io::{IsTerminal, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// What a new router's configuration begins with.
const NEW: &str = "\
# onebox, router: made by 'onebox join'.
# Check with 'onebox check', look with 'onebox status'.

config onebox 'main'
";
/// Name of the server's section.
const PEER: &str = "vps";

/// What there is after it.
enum Outcome {
    /// The set-up that was there; it is switched off.
    Off,
    /// The set-up that was there.
    Same(Applied),
    /// Another.
    New(Applied),
}

/// What a code says without its secrets, for programs.
#[derive(Serialize)]
struct Shown {
    version: u32,
    name: String,
    public_key: String,
    server_public_key: String,
    addresses: Vec<String>,
    endpoints: Vec<String>,
}

pub(super) fn join(options: &Join) -> Exit {
    let invitation = match read(options).and_then(|code| Ok(Invitation::decode(&code)?)) {
        Ok(invitation) => invitation,
        Err(error) => return error.fail(),
    };
    if options.json || options.show {
        return show(&invitation, options.json);
    }
    match run(options, &invitation) {
        Ok(outcome) => follow(options, outcome),
        Err(error) => error.fail(),
    }
}

/// The code: of the command line, or from standard input, so that no list of processes shows it.
fn read(options: &Join) -> Result<Zeroizing<String>, SetupError> {
    if let Some(code) = &options.code {
        return Ok(code.0.clone());
    }
    let failed = SetupError::io("standard input");
    let input = std::io::stdin();
    if input.is_terminal() {
        return paste::code().map_err(failed);
    }
    let mut text = Zeroizing::new(String::with_capacity(CODE_MAX + 1));
    input.lock().take(CODE_MAX as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn list<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn show(invitation: &Invitation, json: bool) -> Exit {
    let shown = Shown {
        version: 1,
        name: invitation.name.clone(),
        public_key: invitation.private_key.public().to_string(),
        server_public_key: invitation.server.to_string(),
        addresses: list(&invitation.addresses),
        endpoints: list(&invitation.endpoints),
    };
    if json {
        return match serde_json::to_string_pretty(&shown) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => fail(error),
        };
    }
    print(&format!(
        "router      {}\naddresses   {}\npublic key  {}\nserver      {}\nits key     {}\n",
        shown.name,
        shown.addresses.join(", "),
        shown.public_key,
        shown.endpoints.join(", "),
        shown.server_public_key,
    ))
}

fn run(options: &Join, invitation: &Invitation) -> Result<Outcome, SetupError> {
    let path = options.config.as_path();
    let io = SetupError::file(path);
    let file = Locked::wait(path).map_err(&io)?;
    let existing = match Existing::read(path) {
        // What cannot be read has nothing worth keeping.
        Err(_) if options.force && path.is_file() => {
            Existing { editor: None, config: None, problems: Vec::new() }
        }
        other => other?,
    };
    if let Some(config) = &existing.config
        && is_joined(config, invitation)
    {
        if !config.main.enabled {
            complain("joined already, nothing has changed; it is switched off by option enabled");
            return Ok(Outcome::Off);
        }
        complain("joined already, nothing has changed");
        drop(file);
        return Ok(Outcome::Same(setup::apply(path)?));
    }
    if existing.has_peer() && !options.force {
        let config = existing.config.as_ref();
        let what = config.map_or_else(|| "something is set up".to_owned(), set_up);
        return Err(SetupError::SetUp { path: path.to_owned(), what });
    }
    let key_file = setup::key_path(existing.editor.as_ref(), path);
    let key_name = key_file.to_str().ok_or(SetupError::KeyPath)?;
    let editor = edited(existing.editor, key_name, invitation)?;
    let (config, problems) = Config::parse(editor.text());
    Existing { editor: None, config, problems }.usable(path)?;
    write_private_key(&key_file, &invitation.private_key)?;
    file.replace(editor.text(), 0o007).map_err(io)?;
    drop(file);
    let addresses: Vec<String> =
        invitation.addresses.iter().map(|a| a.address.to_string()).collect();
    complain(format_args!(
        "joined as '{}', {}, with the server at {}",
        invitation.name,
        addresses.join(" and "),
        list(&invitation.endpoints).join(", ")
    ));
    Ok(Outcome::New(setup::apply(path)?))
}

/// Sees to it that the program runs, and tells whether the server answers.
fn follow(options: &Join, outcome: Outcome) -> Exit {
    let path = options.config.as_path();
    let (applied, new) = match outcome {
        Outcome::Off => return Exit::Done,
        Outcome::Same(applied) => (applied, false),
        Outcome::New(applied) => (applied, true),
    };
    let service = Service::of(path).filter(|_| !options.no_start);
    match (applied, service) {
        (Applied::NotRunning, Some(service)) => {
            if let Err(words) = service.start() {
                return fail(words);
            }
        }
        (Applied::NotRunning, None) => {
            complain(applied.words(path));
            return Exit::Done;
        }
        (Applied::Taken, _) if new => complain(applied.words(path)),
        (Applied::Taken, _) => {}
    }
    if options.no_start {
        return Exit::Done;
    }
    complain(format_args!("waiting for the server's answer, up to {} s", answer::WAIT_S));
    match answer::wait(&control_path(None, path), new) {
        Ok(words) => {
            complain(words);
            Exit::Done
        }
        Err(words) => fail(words),
    }
}

/// What an existing configuration is for.
fn set_up(config: &Config) -> String {
    let first = config.peers.first();
    match &config.main.role {
        Role::Server(_) => "a server is set up here".to_owned(),
        Role::Client(_) => {
            let to = first.map_or_else(String::new, |peer| {
                let at = list(&peer.endpoints).join(", ");
                format!(" to '{}' at {at}", peer.name)
            });
            format!("a tunnel{to} is set up here")
        }
    }
}

/// Whether this configuration is what the invitation makes.
fn is_joined(config: &Config, invitation: &Invitation) -> bool {
    let peer = config.peers.iter().any(|peer| {
        peer.public_key == invitation.server
            && peer.preshared_key.as_ref() == Some(&invitation.preshared_key)
            && invitation.endpoints.iter().all(|e| peer.endpoints.contains(e))
    });
    matches!(config.main.role, Role::Client(_))
        && peer
        && invitation.addresses.iter().all(|a| config.main.addresses.contains(a))
        && daemon::private_key(&config.main.private_key)
            .is_ok_and(|key| key == invitation.private_key)
}

/// The configuration that the code makes of the old one.
fn edited(
    old: Option<Editor>,
    key_file: &str,
    invitation: &Invitation,
) -> Result<Editor, EditError> {
    let mut editor = match old {
        Some(editor) if setup::main_name(&editor).is_some() => editor,
        _ => Editor::new(NEW.as_bytes())?,
    };
    let main = setup::main_name(&editor).unwrap_or_default();
    // What only a server or another tunnel has.
    loop {
        let mut sections = editor.document().sections.iter();
        let old = sections.find(|s| s.kind == "peer" || s.kind == "forward");
        let Some(old) = old.map(|section| section.name.clone()) else { break };
        editor.remove_section(&old)?;
    }
    for option in ["private_key", "listen_port", "nat", "endpoint"] {
        editor.unset(&main, option)?;
    }
    let addresses = list(&invitation.addresses);
    editor.set(&main, Put::Option("enabled", "1"))?;
    editor.set(&main, Put::Option("role", "client"))?;
    editor.set(&main, Put::Option("private_key_file", key_file))?;
    editor.set(&main, Put::List("address", &addresses))?;
    let server = invitation.server.to_string();
    let shared = invitation.preshared_key.to_base64();
    let endpoints = list(&invitation.endpoints);
    // Of a family without address in the tunnel, nothing would come back.
    let family = |v4: bool| invitation.addresses.iter().any(|a| a.address.is_ipv4() == v4);
    let everything = [(true, "0.0.0.0/0"), (false, "::/0")];
    let allowed: Vec<String> =
        everything.iter().filter(|(v4, _)| family(*v4)).map(|(_, all)| (*all).into()).collect();
    let puts = [
        Put::Option("public_key", &server),
        Put::Option("preshared_key", &shared),
        Put::List("endpoint", &endpoints),
        Put::List("allowed_ips", &allowed),
        Put::Option("route_allowed_ips", "1"),
    ];
    let taken = |name: &str| editor.document().sections.iter().any(|s| s.name == name);
    let mut names = std::iter::once(PEER.to_owned()).chain((2..).map(|n| format!("{PEER}{n}")));
    let name = names.find(|name| !taken(name)).unwrap_or_default();
    editor.append("peer", &name, &puts)?;
    Ok(editor)
}

/// Writes the key's file; another key that was in it goes to one beside it.
fn write_private_key(path: &Path, key: &PrivateKey) -> Result<(), SetupError> {
    let failed = SetupError::file(path);
    let text = key.to_base64();
    let line = Zeroizing::new(format!("{}\n", text.as_str()));
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(old) if old.trim_ascii() == text.as_bytes() => {}
        Ok(old) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".old");
            write_private(Path::new(&name), &old).map_err(&failed)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    write_private(path, line.as_bytes()).map_err(failed)
}
