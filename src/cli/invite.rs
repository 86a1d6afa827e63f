//! `invite`: makes a peer of a server and the code with which a router becomes it.
//!
//! The same name again gives the same code, and changes nothing: the router's key is derived from
//! the server's and the secret of the peer, see
//! [`PrivateKey::invited`](crate::crypto::keys::PrivateKey::invited). `--renew` makes new keys, so
//! that a code that fell into wrong hands is worth nothing any more. Where nothing is set up yet,
//! the server's configuration is made as well.

use super::args::Invite;
use super::error::SetupError;
use super::service::Service;
use super::setup::{self, Applied, Existing};
use super::{Exit, complain, print, qr};
use crate::config::free::{networks, next_free};
use crate::config::invitation::{ENDPOINTS_MAX, Invitation, is_name};
use crate::config::{
    Config, Endpoint, Host, KeySource, Main, Peer, PresharedKey, PrivateKey, Role, Server,
};
use crate::daemon::{
    self,
    files::{Locked, write_private},
};
use crate::prefix::{InterfaceAddress, Prefix, width};
use onebox_linux::clock;
use onebox_linux::netlink::Watcher;
use onebox_openwrt::uci::edit::{Editor, Put};
use std::io::{IsTerminal, stdout};
use std::net::IpAddr;
use std::path::Path;
use zeroize::Zeroizing;

/// What a new server's configuration begins with.
const NEW: &str = "\
# onebox, server: made by 'onebox invite', which adds a section for each router.
# Check with 'onebox check', look with 'onebox status'.

config onebox 'main'
";
/// The tunnel's IPv4 network of a new server: the first of these that the machine does not have.
const NEW_V4: std::ops::RangeInclusive<u8> = 90..=99;

/// What there is to say.
struct Invited {
    name: String,
    code: Zeroizing<String>,
    /// The UDP port on which the server listens.
    port: u16,
    notes: Vec<String>,
    applied: Result<String, SetupError>,
}

pub(super) fn invite(options: &Invite) -> Exit {
    let Invited { name, code, port, notes, applied } = match run(options) {
        Ok(invited) => invited,
        Err(error) => return error.fail(),
    };
    notes.iter().for_each(complain);
    let mut out = Zeroizing::new(format!("{}\n", code.as_str()));
    let picture = options.qr.then(|| qr::picture(&code, stdout().is_terminal())).flatten();
    if let Some(picture) = picture {
        out.push_str(&picture);
    }
    let printed = print(&out);
    let (applied, exit) = match applied {
        Ok(words) => (words, printed),
        Err(error) => (error.to_string(), Exit::Failed),
    };
    complain(format_args!("here: {applied}"));
    complain(format_args!(
        "routers come in by UDP port {port}: it must be open in this server's firewall, and at its \
         provider if that has one as well"
    ));
    complain(format_args!(
        "on the router '{name}': onebox join -\nand paste the code there. It holds the router's \
         private key: who has it can be that router."
    ));
    exit
}

/// The name that a router gets: sections of the configuration have no '-' in theirs.
pub(super) fn router_name(given: &str) -> String {
    given.replace('-', "_")
}

fn run(options: &Invite) -> Result<Invited, SetupError> {
    let path = options.config.as_path();
    let given = options.name.as_deref().unwrap_or_default();
    let name = router_name(given);
    let name = name.as_str();
    if !is_name(name) {
        return Err(SetupError::Name(given.to_owned()));
    }
    let io = SetupError::file(path);
    let file = Locked::wait(path).map_err(&io)?;
    let existing = Existing::read(path)?;
    let mut notes = Vec::new();
    if name != given {
        notes.push(format!("the router's name is '{name}': names have no '-' in them"));
    }
    let before = existing.editor.as_ref().map(|e| Zeroizing::new(e.text().to_vec()));
    // A file that is only now going to hold a secret is closed to others.
    let blank = existing.is_blank();
    let idle = !existing.has_peer();
    let forbidden = if blank { 0o007 } else { 0 };
    let (mut editor, config) = opened(existing, path, &mut notes)?;
    let Role::Server(server) = &config.main.role else {
        return Err(SetupError::NotAServer(path.to_owned()));
    };
    let endpoints = endpoints(options.endpoint.as_deref(), server, &config.main)?;
    let key = own_key(&config.main.private_key, &mut notes)?;
    if options.endpoint.is_some() && endpoints != server.endpoints {
        let list: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
        let main = setup::main_name(&editor).unwrap_or_default();
        editor.set(&main, Put::List("endpoint", &list))?;
        notes.push(format!("further invitations lead to {} as well", list.join(", ")));
    }
    let peer = config.peers.iter().find(|peer| peer.name == name);
    let (shared, addresses) = match peer {
        Some(peer) => again(peer, &config, &key, options.renew, &mut editor)?,
        None => add(name, &config, &key, &mut editor)?,
    };
    let invitation = Invitation {
        name: name.to_owned(),
        private_key: key.invited(name, &shared),
        preshared_key: shared,
        server: key.public(),
        addresses,
        endpoints,
    };
    let code = invitation.encode().map_err(SetupError::NoCode)?;
    usable(&editor, path)?;
    let applied = if before.as_deref().is_none_or(|before| before != editor.text()) {
        file.replace(editor.text(), forbidden).map_err(io)?;
        setup::apply(path).and_then(|applied| begin(applied, idle, path))
    } else {
        notes.push(format!("'{name}' is invited already: the same code again"));
        Ok("nothing has changed".to_owned())
    };
    drop(file);
    let to: Vec<String> = invitation.endpoints.iter().map(ToString::to_string).collect();
    let at: Vec<String> = invitation.addresses.iter().map(|a| a.address.to_string()).collect();
    notes.push(format!(
        "'{name}' will be {}, and reach this server at {}",
        at.join(" and "),
        to.join(", ")
    ));
    if let Some(warning) = super::check::readable_secrets(path, editor.text()) {
        notes.push(format!("{}:{warning}", path.display()));
    }
    let (name, port) = (name.to_owned(), server.listen_port);
    Ok(Invited { name, code, port, notes, applied })
}

/// The server's text and what it means; where nothing is set up yet, a new one.
fn opened(
    existing: Existing,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<(Editor, Config), SetupError> {
    let blank = existing.is_blank();
    if !blank {
        existing.usable(path)?;
    }
    let mut editor = match existing.editor {
        Some(editor) if !blank => editor,
        old => {
            let key_file = setup::key_path(old.as_ref(), path);
            set_up(old, &key_file.to_string_lossy(), notes)?
        }
    };
    let config = usable(&editor, path)?;
    // A copy of another set-up's configuration makes no key for that.
    let own = setup::key_path(Some(&editor), path);
    let foreign = |said: &Path| said != own && !said.exists();
    if !matches!(&config.main.private_key, KeySource::File(said) if foreign(said)) {
        return Ok((editor, config));
    }
    let main = setup::main_name(&editor).unwrap_or_default();
    editor.set(&main, Put::Option("private_key_file", &own.to_string_lossy()))?;
    let config = usable(&editor, path)?;
    Ok((editor, config))
}

/// Starts a server that had no router so far, where a service does it; what to say.
fn begin(applied: Applied, idle: bool, path: &Path) -> Result<String, SetupError> {
    match (applied, Service::of(path).filter(|_| idle)) {
        (Applied::NotRunning, Some(service)) => {
            service.start().map_err(SetupError::NotStarted)?;
            Ok("the service is started, and will be at each boot".to_owned())
        }
        _ => Ok(applied.words(path)),
    }
}

pub(super) fn usable(editor: &Editor, path: &Path) -> Result<Config, SetupError> {
    let (config, problems) = Config::parse(editor.text());
    let existing = Existing { editor: None, config, problems };
    existing.usable(path).cloned()
}

/// A server's configuration where there was none.
fn set_up(
    old: Option<Editor>,
    key_file: &str,
    notes: &mut Vec<String>,
) -> Result<Editor, SetupError> {
    let mut editor = match old {
        Some(editor) if setup::main_name(&editor).is_some() => editor,
        _ => Editor::new(NEW.as_bytes())?,
    };
    let main = setup::main_name(&editor).unwrap_or_default();
    let used: Vec<IpAddr> = machine()?.into_iter().map(|(address, _)| address).collect();
    let free = |number: &u8| {
        let network = Prefix::new(IpAddr::from([10, *number, 0, 0]), 24);
        network.is_some_and(|network| !used.iter().any(|used| network.contains(*used)))
    };
    let number = NEW_V4.rev().find(free).unwrap_or(*NEW_V4.end());
    // A unique local network of our own (RFC 4193 §3.2.2).
    let mut id = [0; 5];
    random(&mut id)?;
    let [a, b, c, d, e] = id;
    let v6 = std::net::Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let addresses = [format!("10.{number}.0.1/24"), format!("{v6}/64")];
    for put in [
        Put::Option("enabled", "1"),
        Put::Option("role", "server"),
        Put::Option("private_key_file", key_file),
        Put::List("address", &addresses),
    ] {
        editor.set(&main, put)?;
    }
    editor.unset(&main, "discover")?;
    notes.push(format!("a new server, in the tunnel {}", addresses.join(" and ")));
    Ok(editor)
}

/// The server's key; made if there is none yet.
fn own_key(source: &KeySource, notes: &mut Vec<String>) -> Result<PrivateKey, SetupError> {
    if let KeySource::File(path) = source
        && !path.exists()
    {
        let mut bytes = Zeroizing::new([0; 32]);
        random(bytes.as_mut_slice())?;
        let text = PrivateKey::from_bytes(*bytes).to_base64();
        let line = Zeroizing::new(format!("{}\n", text.as_str()));
        write_private(path, line.as_bytes()).map_err(SetupError::file(path))?;
        notes.push(format!("a new private key in {}", path.display()));
    }
    Ok(daemon::private_key(source)?)
}

fn random(bytes: &mut [u8]) -> Result<(), SetupError> {
    clock::random(bytes).map_err(SetupError::io("no randomness from the system"))
}

fn new_secret() -> Result<PresharedKey, SetupError> {
    let mut bytes = Zeroizing::new([0; 32]);
    random(bytes.as_mut_slice())?;
    Ok(PresharedKey::from_bytes(*bytes))
}

/// A new peer.
fn add(
    name: &str,
    config: &Config,
    key: &PrivateKey,
    editor: &mut Editor,
) -> Result<(PresharedKey, Vec<InterfaceAddress>), SetupError> {
    if let Some(other) = editor.document().sections.iter().find(|section| section.name == name) {
        let (name, kind) = (name.to_owned(), other.kind.clone());
        return Err(SetupError::NameTaken { name, kind });
    }
    let addresses = next_free(&networks(&config.main.addresses), &config.peers)?;
    let shared = new_secret()?;
    let public = key.invited(name, &shared).public().to_string();
    let secret = shared.to_base64();
    let host = |a: &InterfaceAddress| format!("{}/{}", a.address, width(a.address));
    let allowed: Vec<String> = addresses.iter().map(host).collect();
    let puts = [
        Put::Option("public_key", &public),
        Put::Option("preshared_key", &secret),
        Put::List("allowed_ips", &allowed),
    ];
    editor.append("peer", name, &puts)?;
    Ok((shared, addresses))
}

/// A peer that is there already: the same keys, or new ones.
fn again(
    peer: &Peer,
    config: &Config,
    key: &PrivateKey,
    renew: bool,
    editor: &mut Editor,
) -> Result<(PresharedKey, Vec<InterfaceAddress>), SetupError> {
    let name = &peer.name;
    let own = networks(&config.main.addresses);
    let addresses: Vec<InterfaceAddress> = own
        .iter()
        .filter_map(|own| {
            let single = |p: &&Prefix| p.length() == width(p.address());
            let mut singles = peer.allowed_ips.iter().filter(single);
            let found = singles.find(|p| own.network().covers(**p))?;
            Some(InterfaceAddress { address: found.address(), length: own.length })
        })
        .collect();
    if addresses.is_empty() {
        return Err(SetupError::NoAddress(name.clone()));
    }
    let same = peer
        .preshared_key
        .clone()
        .filter(|shared| key.invited(name, shared).public() == peer.public_key);
    if let (Some(shared), false) = (same, renew) {
        return Ok((shared, addresses));
    }
    if !renew {
        return Err(SetupError::ForeignKey(name.clone()));
    }
    let shared = new_secret()?;
    let public = key.invited(name, &shared).public().to_string();
    let secret = shared.to_base64();
    for put in [Put::Option("public_key", &public), Put::Option("preshared_key", &secret)] {
        editor.set(name, put)?;
    }
    Ok((shared, addresses))
}

/// Where routers reach this server: as given, as configured, or by the machine's own addresses.
fn endpoints(
    given: Option<&str>,
    server: &Server,
    main: &Main,
) -> Result<Vec<Endpoint>, SetupError> {
    if let Some(given) = given {
        // An IPv6 address without port may come without brackets.
        let bare = given.parse::<std::net::Ipv6Addr>().map(|address| format!("[{address}]"));
        let text = bare.as_deref().unwrap_or(given);
        let endpoint = Endpoint::with_default_port(text, server.listen_port)
            .map_err(|_| SetupError::Endpoint(given.to_owned()))?;
        return Ok(vec![endpoint]);
    }
    if !server.endpoints.is_empty() {
        return Ok(server.endpoints.iter().take(ENDPOINTS_MAX).cloned().collect());
    }
    let all = machine()?;
    let own = |address: &IpAddr| main.addresses.iter().any(|a| a.address == *address);
    let global = all.iter().filter(|(address, lasting)| *lasting && is_global(*address));
    let found: Vec<Endpoint> = global
        .filter(|(address, _)| !own(address))
        .map(|(address, _)| Endpoint { host: Host::Address(*address), port: server.listen_port })
        .take(ENDPOINTS_MAX)
        .collect();
    if found.is_empty() {
        return Err(SetupError::NoEndpoint(all.iter().map(|(address, _)| *address).collect()));
    }
    Ok(found)
}

/// The machine's addresses, IPv4 first, each with whether it is one by which to be found: of an
/// interface with a default route, and lasting.
fn machine() -> Result<Vec<(IpAddr, bool)>, SetupError> {
    let failed = SetupError::io("the machine's addresses");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let network = runtime
        .map_err(&failed)?
        .block_on(async { Watcher::start("").await.map(|mut watcher| watcher.current()) })
        .map_err(failed)?;
    let mut all = Vec::new();
    for interface in network.interfaces.values() {
        for address in &interface.addresses {
            let v4 = address.ip.is_ipv4();
            let routes = if v4 { &interface.routes_v4 } else { &interface.routes_v6 };
            let fleeting = address.unusable || address.deprecated || address.temporary;
            let lasting = !routes.is_empty() && !fleeting;
            all.push((address.ip, lasting));
        }
    }
    all.sort_by_key(|(address, _)| !address.is_ipv4());
    Ok(all)
}

/// Whether the internet may know this address (RFC 6890).
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared || a == 0)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_given_away() {
        for (address, expected) in [
            ("203.0.113.1", true),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("169.254.0.1", false),
            ("2001:db8::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_global(address.parse().unwrap()), expected, "{address}");
        }
    }
}
