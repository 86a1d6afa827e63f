//! Gathers the facts from the system.
//!
//! Limits: an interface of OpenWrt's network that the configuration names as a WAN is taken for a device
//! of that name. Bridges of containers and virtual machines, told by their names, are no LAN.

use super::firewall::Firewall;
use super::overlap::overlaps;
use super::{Facts, Forwarding, Forwards, Ipv6, Unread};
use crate::config::{Config, Mode, Role, WanLink};
use crate::prefix::{InterfaceAddress, Prefix, width};
use onebox_linux::netlink::{Network, Selection, Watcher, wans};
use onebox_linux::{nft, sysctl};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Bytes of rules that are read: some five thousand rules, which take up to 40 MB meanwhile.
const RULES_MAX: usize = 1 << 20;
/// Where the kernel shows its switches.
const SWITCHES: &str = "/proc/sys";
/// How the names of bridges begin that lead to containers and virtual machines.
const CONTAINERS: [&str; 7] = ["docker", "veth", "virbr", "lxcbr", "lxdbr", "podman", "cni"];
/// Docker names its bridges `br-` and twelve digits of a hexadecimal number.
const BRIDGE_DIGITS: usize = 12;

/// Everything that [`findings`](super::findings) looks at, for the configuration in `file`. Needs a tokio runtime with IO and time.
///
/// # Errors
/// The kernel does not say which interfaces there are.
pub async fn facts(config: &Config, file: &Path) -> io::Result<Facts> {
    let device = &config.main.device;
    let network = Watcher::start(device).await?.current();
    let firewall = match rules().await {
        Ok(text) => Firewall::read(&text)
            .ok_or_else(|| Unread::Refused("nft lists them otherwise".to_owned())),
        Err(nft::Error::Missing) => Err(Unread::Missing),
        Err(error) => Err(Unread::Refused(error.to_string())),
    };
    let own = network.interfaces.values().flat_map(|interface| &interface.addresses);
    let own = own.filter_map(|address| Prefix::new(address.ip, width(address.ip))).collect();
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    Ok(Facts {
        forwarding: forwarding(config, &network),
        firewall,
        listen_port: match &config.main.role {
            Role::Server(server) => server.listen_port,
            Role::Client(_) => 0,
        },
        own,
        ways_out: ways_out(config, &network),
        tunnels: tunnels(config, &network),
        forwards: [sysctl::FORWARD_V4, sysctl::FORWARD_V6].map(forwards),
        ipv6: ipv6(device),
        strict_sources: strict_sources(device),
        overlaps: overlaps(device, &config.main.addresses, &network),
        tun: tun.map(|_| ()).map_err(|error| error.to_string()),
        running: UnixStream::connect(&config.main.control).is_ok(),
        file: file.display().to_string(),
        openwrt: Path::new("/etc/openwrt_release").exists(),
        netifd: config.main.netifd.clone(),
    })
}

/// The rules of all firewalls, as [`Firewall::read`] understands them.
///
/// # Errors
/// See [`nft::Error`].
pub async fn rules() -> Result<Vec<u8>, nft::Error> {
    nft::list(RULES_MAX).await
}

/// What is forwarded through the tunnel of a configuration in this network.
pub fn forwarding(config: &Config, network: &Network) -> Forwarding {
    let server = matches!(config.main.role, Role::Server(_));
    let interfaces = network.interfaces.values();
    let chosen = interfaces.filter(|interface| {
        let routed = !interface.routes_v4.is_empty() || !interface.routes_v6.is_empty();
        match server {
            true => routed,
            false => {
                let lan = interface.up && !interface.addresses.is_empty() && !interface.tunnel;
                lan && !routed && !leads_to_containers(&interface.name)
            }
        }
    });
    let chosen: Vec<_> = chosen.collect();
    let lans = chosen.iter().flat_map(|interface| &interface.addresses);
    let lans = lans.map(|a| InterfaceAddress { address: a.ip, length: a.length }.network());
    Forwarding {
        device: config.main.device.clone(),
        server,
        v4: config.main.addresses.iter().any(|own| own.address.is_ipv4()),
        v6: config.main.addresses.iter().any(|own| own.address.is_ipv6()),
        others: chosen.iter().map(|interface| interface.name.clone()).collect(),
        networks: if server { config.inner_networks() } else { lans.collect() },
    }
}

/// The devices but this one that have a default route, for who does not watch the network.
pub fn routed_devices(own: &str) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(Path::new("/proc/self/net").join(file));
    let mut devices: Vec<String> = Vec::new();
    for line in read("route").unwrap_or_default().lines() {
        // Device, destination, …; the mask is the eighth.
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [device, "00000000", _, _, _, _, _, "00000000", ..] = words[..] {
            devices.push(device.to_owned());
        }
    }
    for line in read("ipv6_route").unwrap_or_default().lines() {
        // Destination and its length first, the device last; its unreachable ones are lo's.
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [destination, "00", .., device] = words[..]
            && destination.bytes().all(|digit| digit == b'0')
        {
            devices.push(device.to_owned());
        }
    }
    devices.retain(|device| device != own && device != "lo");
    devices.sort_unstable();
    devices.dedup();
    devices
}

fn leads_to_containers(device: &str) -> bool {
    let of_docker = device.strip_prefix("br-").is_some_and(|number| {
        number.len() == BRIDGE_DIGITS && number.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    of_docker || CONTAINERS.iter().any(|name| device.starts_with(name))
}

/// Which devices the configuration names, and whether discovery goes on beside.
fn selection(config: &Config) -> Option<Selection> {
    let Role::Client(client) = &config.main.role else { return None };
    let device = |wan: &crate::config::Wan| match &wan.link {
        WanLink::Interface(name) | WanLink::Device(name) => name.clone(),
    };
    let (off, used): (Vec<_>, Vec<_>) = client.wans.iter().partition(|wan| wan.mode == Mode::Off);
    Some(Selection {
        discover: client.discover,
        configured: used.iter().map(|wan| (wan.name.clone(), device(wan))).collect(),
        excluded: off.into_iter().map(device).collect(),
        in_use: Vec::new(),
    })
}

fn ways_out(config: &Config, network: &Network) -> Result<(), Vec<String>> {
    let Some(selection) = selection(config) else {
        let routed = network
            .interfaces
            .values()
            .any(|interface| !interface.routes_v4.is_empty() || !interface.routes_v6.is_empty());
        return if routed { Ok(()) } else { Err(Vec::new()) };
    };
    // What device is behind an interface of netifd's, netifd knows.
    let by_name = config.wans().iter().any(|wan| matches!(wan.link, WanLink::Interface(_)));
    let all = wans(network, &selection);
    if by_name || all.iter().any(|wan| wan.fault.is_none()) {
        return Ok(());
    }
    let why = |wan: &onebox_linux::netlink::Wan| {
        wan.fault.map(|fault| format!("{}: {}", wan.name, fault.reason()))
    };
    Err(all.iter().filter_map(why).collect())
}

fn tunnels(config: &Config, network: &Network) -> Vec<String> {
    let Some(selection) = selection(config) else { return Vec::new() };
    let interfaces = network.interfaces.values().filter(|interface| {
        let routed = !interface.routes_v4.is_empty() || !interface.routes_v6.is_empty();
        interface.tunnel && routed && selection.discover && !selection.decides(&interface.name)
    });
    interfaces.map(|interface| interface.name.clone()).collect()
}

fn path(key: &str) -> PathBuf {
    Path::new(SWITCHES).join(key)
}

fn value(key: &str) -> Option<i32> {
    fs::read_to_string(path(key)).ok()?.trim().parse().ok()
}

/// Opened for writing, and nothing written.
fn can_be_turned(key: &str) -> bool {
    OpenOptions::new().write(true).open(path(key)).is_ok()
}

fn forwards(key: &str) -> Forwards {
    Forwards { on: value(key).map(|value| value != 0), can_be_turned: can_be_turned(key) }
}

fn ipv6(device: &str) -> Ipv6 {
    let of = |name: &str| value(&format!("net/ipv6/conf/{name}/disable_ipv6"));
    // A new device begins as the default says.
    match of(device).or_else(|| of("default")) {
        None => Ipv6::Absent,
        Some(0) => Ipv6::On,
        Some(_) => Ipv6::Off,
    }
}

fn strict_sources(device: &str) -> bool {
    let of = |name: &str| value(&sysctl::rp_filter(name));
    let all = of("all").unwrap_or(0);
    // The kernel takes the larger one. The program sets its own device's to 2, the loose check.
    match of(device) {
        Some(own) => own.max(all) == 1,
        None => {
            let new = of("default").unwrap_or(0).max(all);
            new == 1 && !can_be_turned(&sysctl::rp_filter("all"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_of_containers_are_no_lan() {
        for name in ["docker0", "br-3f2a9c01d2e4", "veth12", "virbr0"] {
            assert!(leads_to_containers(name), "{name}");
        }
        for name in ["br-lan", "lan0", "eth1", "br0"] {
            assert!(!leads_to_containers(name), "{name}");
        }
    }
}
