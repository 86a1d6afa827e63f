//! What a configuration says, in the terms of the layers below.

use super::Error;
use crate::config::{self, Config, KeySource, Outage, Role};
use crate::crypto::keys::{PresharedKey, PrivateKey};
use crate::endpoint::{self, Endpoint, PeerSettings};
use crate::engine;
use crate::prefix::Prefix;
use crate::time::{MS, SEC};
use onebox_linux::ids::Ids;
use onebox_linux::{clock, nft};
use std::path::{Path, PathBuf};

/// Longest private key file, bytes.
const KEY_FILE_MAX: u64 = 4096;

/// How a WAN is used.
pub(super) fn mode(mode: config::Mode) -> engine::Mode {
    match mode {
        config::Mode::Active => engine::Mode::Active,
        config::Mode::Backup => engine::Mode::Backup,
        config::Mode::Off => engine::Mode::Off,
    }
}

/// What becomes of traffic without a connection; nothing of a server's.
pub(super) fn outage(config: &Config) -> Option<Outage> {
    match &config.main.role {
        Role::Client(client) => Some(client.outage),
        Role::Server(_) => None,
    }
}

pub(super) fn kill_switch(config: &Config) -> bool {
    config.main.enabled && outage(config) == Some(Outage::Closed { kill_switch: true })
}

/// Whether what must not leave past the tunnel stays so from one configuration to the other.
pub(super) fn stays_barred(old: &Config, new: &Config) -> bool {
    kill_switch(old) && kill_switch(new) && old.main.routing == new.main.routing
}

/// What must not leave past the tunnel: what is routed into it, and all of both families where
/// that is all of one, or the other would be the way out.
pub(super) fn barred<'a>(peers: impl Iterator<Item = &'a config::Peer>) -> Vec<Prefix> {
    let mut all: Vec<Prefix> = peers.flat_map(|p| &p.allowed_ips).copied().collect();
    if all.iter().any(Prefix::is_default) {
        all.extend([Prefix::ALL_V4, Prefix::ALL_V6]);
    }
    all
}

/// Where former values of switches are kept: beside the control socket, on a RAM disk, so that
/// programs in several network namespaces of one host keep theirs apart.
pub(super) fn state_file(control: &Path) -> PathBuf {
    crate::control::real_path(control).with_extension("sysctl")
}

/// Where the addresses of names are kept: beside the control socket as well.
pub(super) fn names_file(control: &Path) -> PathBuf {
    crate::control::real_path(control).with_extension("names")
}

/// Where results of speed tests are kept: likewise.
pub(super) fn speed_file(control: &Path) -> PathBuf {
    crate::control::real_path(control).with_extension("speed")
}

pub(super) fn ids(routing: &config::Routing) -> Ids {
    Ids {
        table: routing.table,
        priority: routing.rule_priority,
        mark: routing.fwmark,
        mask: routing.fwmask,
    }
}

pub(super) fn forwards(list: &[config::Forward]) -> Vec<nft::Forward> {
    let mut out = Vec::new();
    for forward in list {
        let ports = forward.src_ports.first..=forward.src_ports.last;
        for (port, to) in ports.zip(forward.dest_ports.first..) {
            let to = std::net::SocketAddr::new(forward.dest_ip, to);
            for (wanted, protocol) in [
                (forward.protocol.tcp(), nft::Protocol::Tcp),
                (forward.protocol.udp(), nft::Protocol::Udp),
            ] {
                if wanted {
                    out.push(nft::Forward { protocol, port, to });
                }
            }
        }
    }
    out
}

pub(super) fn new_endpoint(config: &Config, private_key: PrivateKey) -> Result<Endpoint, Error> {
    let mut seed = [0; 32];
    clock::random(&mut seed).map_err(|error| Error::io("random numbers", error))?;
    let memory = config.main.memory_mb as usize * (1 << 20);
    let settings = endpoint::Settings {
        private_key,
        memory: (2 * memory).max(onebox_linux::memory::total_bytes() / 4),
        seed,
        engine: engine::Settings {
            seed: 0,
            hold_max_us: u64::from(config.main.hold_ms_max) * MS,
            memory,
            probe_interval_us: u64::from(config.main.probe_interval_s) * SEC,
            side: side(config),
            fec: true,
        },
    };
    Ok(Endpoint::new(settings, clock::now()))
}

/// Which end of the connection with each peer this program is.
fn side(config: &Config) -> engine::Side {
    match config.main.role {
        Role::Client(_) => engine::Side::Opening,
        Role::Server(_) => engine::Side::Answering,
    }
}

pub(super) fn settings(config: &Config, peer: &config::Peer) -> PeerSettings {
    PeerSettings {
        side: side(config),
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.clone().unwrap_or_else(PresharedKey::none),
        allowed_ips: peer.allowed_ips.clone(),
    }
}

/// Reads the private key from where it is.
///
/// # Errors
/// Its file cannot be read, or holds no key.
pub fn private_key(source: &KeySource) -> Result<PrivateKey, Error> {
    let path = match source {
        KeySource::Inline(key) => return Ok(key.clone()),
        KeySource::File(path) => path,
    };
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let name = path.display().to_string();
    let failed = |error| Error::io(&name, error);
    let file = std::fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        log::warn!("{name} can be read by others: chmod 600");
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    text.trim().parse().map_err(|_| Error::Key(name.clone()))
}
