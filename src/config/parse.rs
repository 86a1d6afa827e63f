//! From the sections of a UCI text to the [`model`](super::model).

use super::address::{DEFAULT_PORT, Endpoint};
use super::checks::{self, Found};
use super::diagnostic::{Diagnostic, Severity, has_errors};
use super::fields::{Fields, decimal};
use super::model::{
    Client, Config, Forward, KeySource, Main, Mode, Outage, Peer, Ports, Protocol, Role, Routing,
    Server, Wan, WanLink,
};
use crate::crypto::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::engine;
use crate::time::MS;
use onebox_openwrt::uci::{self, Section};
use std::path::PathBuf;

const KEY: &str = "a key, 44 characters of base64";
const DEVICE: &str = "a device name, 1 to 15 characters without '/', ':' and white space";
const ENDPOINT: &str =
    "host:port, such as vps.example.net:51830, 192.0.2.1:51830 or [2001:db8::1]:51830";
const INTERFACE: &str = "the name of an interface of netifd";
const PORTS: &str = "a port from 1 to 65535, or several as '1000-1010'";
/// Longest path of a unix socket in bytes (`sun_path` in unix(7), without its final zero).
const SOCKET_PATH_MAX: usize = 107;

/// Reads a configuration. It is returned if it has no error; warnings do not prevent it. All
/// problems are returned, in the order of their lines.
pub fn parse(text: &[u8]) -> (Option<Config>, Vec<Diagnostic>) {
    let document = match uci::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let problem = Diagnostic {
                severity: Severity::Error,
                line: error.command_line,
                section: None,
                option: None,
                value: None,
                message: format!("not UCI: {error}"),
            };
            return (None, vec![problem]);
        }
    };
    let mut problems = Vec::new();
    let config = config(&document.sections, &mut problems);
    problems.sort_by_key(|problem| problem.line);
    (config.filter(|_| !has_errors(&problems)), problems)
}

impl Config {
    /// The same as [`parse`].
    pub fn parse(text: &[u8]) -> (Option<Config>, Vec<Diagnostic>) {
        parse(text)
    }
}

fn config(sections: &[Section], problems: &mut Vec<Diagnostic>) -> Option<Config> {
    let mut mains = sections.iter().filter(|section| section.kind == "onebox");
    let Some(first) = mains.next() else {
        problems.push(Diagnostic {
            severity: Severity::Error,
            line: 1,
            section: None,
            option: None,
            value: None,
            message: "no section of type 'onebox', accepted: config onebox 'main'".to_owned(),
        });
        return None;
    };
    for other in mains {
        let message =
            format!("a second section of type 'onebox', the first is on line {}", first.line);
        Fields::new(other, problems, Severity::Error).complain(Severity::Error, &message);
    }
    let mut main = main(first, problems);
    let missing = if main.enabled { Severity::Error } else { Severity::Warning };
    let mut found = Found::default();
    for section in sections {
        let mut fields = Fields::new(section, problems, missing);
        match section.kind.as_str() {
            "onebox" => continue,
            "peer" => found
                .peers
                .extend(peer(&mut fields, section, &main.role).map(|peer| (section.line, peer))),
            "wan" => found.wans.extend(wan(&mut fields, section).map(|wan| (section.line, wan))),
            "forward" => {
                found.forwards.extend(forward(&mut fields, section).map(|f| (section.line, f)));
            }
            kind => {
                let message = format!(
                    "unknown section type '{kind}', has no effect; known: onebox, peer, wan, forward"
                );
                fields.complain(Severity::Warning, &message);
                continue;
            }
        }
        let elsewhere = match (section.kind.as_str(), &main.role) {
            ("wan", Role::Server(_)) => Some("a server has no WANs, has no effect"),
            ("forward", Role::Client(_)) => {
                Some("ports are forwarded by the server, has no effect on a client")
            }
            _ => None,
        };
        if let Some(message) = elsewhere {
            fields.complain(Severity::Warning, message);
        }
        fields.finish();
    }
    checks::check(&main, &found, sections, missing, problems);
    match &mut main.role {
        Role::Client(client) => client.wans = found.wans.into_iter().map(|(_, wan)| wan).collect(),
        Role::Server(server) => {
            server.forwards = found.forwards.into_iter().map(|(_, forward)| forward).collect();
        }
    }
    let peers = found.peers.into_iter().map(|(_, peer)| peer).collect();
    Some(Config { main, peers })
}

fn main(section: &Section, problems: &mut Vec<Diagnostic>) -> Main {
    let mut fields = Fields::new(section, problems, Severity::Error);
    let enabled = fields.flag("enabled", true);
    fields.set_missing(if enabled { Severity::Error } else { Severity::Warning });
    let role = role(&mut fields);
    let private_key = private_key(&mut fields);
    let address = "an address with prefix length, such as 10.99.0.2/24 or fd99::2/64";
    let listed = fields.has("address");
    let addresses = fields.many("address", address, |text| text.parse().ok());
    if !listed {
        fields.complain_missing("address", &format!("{address}, one or several"));
    }
    let accepted = "0 (from the paths) or a whole number from 1280 to 1920";
    let mtu = fields.one("mtu", accepted, |text| {
        decimal(text)
            .and_then(|mtu| u16::try_from(mtu).ok())
            .filter(|mtu| *mtu == 0 || (1280..=1920).contains(mtu))
    });
    let accepted = "error, warn, info, debug or trace";
    let log_level = fields.one("log_level", accepted, |text| match text {
        "error" => Some(log::LevelFilter::Error),
        "warn" => Some(log::LevelFilter::Warn),
        "info" => Some(log::LevelFilter::Info),
        "debug" => Some(log::LevelFilter::Debug),
        "trace" => Some(log::LevelFilter::Trace),
        _ => None,
    });
    let main = Main {
        enabled,
        role,
        device: fields.one("device", DEVICE, device_name).unwrap_or_else(|| "onebox0".to_owned()),
        private_key,
        addresses,
        mtu: mtu.filter(|mtu| *mtu != 0),
        mss_clamp: fields.flag("mss_clamp", true),
        netifd: fields.one("netifd", INTERFACE, interface_name),
        netifd_routes: fields.flag("netifd_routes", true),
        routing: routing(&mut fields),
        hold_ms_max: fields
            .number("hold_ms_max", 10, 5000)
            .unwrap_or((engine::HOLD_MAX_US / MS) as u32),
        memory_mb: fields.number("memory_mb", 4, 1024).unwrap_or((engine::MEMORY >> 20) as u32),
        probe_interval_s: fields.number("probe_interval", 1, 300).unwrap_or(15),
        log_level: log_level.unwrap_or(log::LevelFilter::Info),
        control: socket(&mut fields, "control", super::DEFAULT_CONTROL),
        state_dir: path(&mut fields, "state_dir"),
        ubus_socket: socket(&mut fields, "ubus_socket", super::DEFAULT_UBUS_SOCKET),
    };
    fields.finish();
    main
}

fn role(fields: &mut Fields) -> Role {
    let server = fields.one("role", "client or server", |text| match text {
        "client" => Some(false),
        "server" => Some(true),
        _ => None,
    });
    if server == Some(true) {
        let listen_port = fields.number("listen_port", 1, 65535).map_or(DEFAULT_PORT, port);
        let role = Role::Server(Server {
            listen_port,
            nat: fields.flag("nat", true),
            endpoints: fields.many("endpoint", ENDPOINT, |text| {
                Endpoint::with_default_port(text, listen_port).ok()
            }),
            forwards: Vec::new(),
        });
        let clients = ["discover", "fallback", "fallback_after", "kill_switch"];
        fields.ignored(&clients, "is for clients, has no effect on a server");
        role
    } else {
        let role = Role::Client(Client {
            discover: fields.flag("discover", true),
            outage: outage(fields),
            wans: Vec::new(),
        });
        let why = "is for servers, has no effect on a client";
        fields.ignored(&["listen_port", "nat", "endpoint"], why);
        role
    }
}

fn outage(fields: &mut Fields) -> Outage {
    let kill_switch = fields.flag("kill_switch", false);
    let closed = fields.one("fallback", "direct or closed", |text| match text {
        "direct" => Some(false),
        "closed" => Some(true),
        _ => None,
    });
    let after_s = fields.number("fallback_after", 1, 3600).unwrap_or(10);
    match (kill_switch, closed) {
        (true, Some(false)) => {
            let message = "accepted: closed, since kill_switch is on";
            fields.complain_about(Severity::Error, "fallback", Some("direct"), message);
        }
        (true, _) | (false, Some(true)) => {
            let why = "has no effect, since nothing falls back";
            fields.ignored(&["fallback_after"], why);
        }
        (false, _) => return Outage::Direct { after_s },
    }
    Outage::Closed { kill_switch }
}

/// A number that is known to be a port.
fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn private_key(fields: &mut Fields) -> KeySource {
    let inline = fields.secret("private_key", KEY, |text| text.parse::<PrivateKey>().ok());
    let path = path(fields, "private_key_file");
    match (fields.has("private_key"), fields.has("private_key_file")) {
        (true, true) => fields.complain_about(
            Severity::Error,
            "private_key",
            None,
            "given beside 'private_key_file', accepted: one of the two",
        ),
        (false, false) => {
            fields
                .complain_missing("private_key_file", "the path of a file, or option private_key");
        }
        _ => {}
    }
    let documented = || PathBuf::from("/etc/onebox/private.key");
    inline.map_or_else(|| KeySource::File(path.unwrap_or_else(documented)), KeySource::Inline)
}

fn path(fields: &mut Fields, option: &'static str) -> Option<PathBuf> {
    let accepted = "an absolute path";
    fields.one(option, accepted, |text| text.starts_with('/').then(|| PathBuf::from(text)))
}

fn socket(fields: &mut Fields, option: &'static str, default: &str) -> PathBuf {
    let accepted = "an absolute path of at most 107 bytes";
    let path = fields.one(option, accepted, |text| {
        (text.starts_with('/') && text.len() <= SOCKET_PATH_MAX).then(|| PathBuf::from(text))
    });
    path.unwrap_or_else(|| PathBuf::from(default))
}

fn routing(fields: &mut Fields) -> Routing {
    let default = Routing::default();
    let accepted = "a routing table's number from 1 on, but not 253, 254 or 255";
    let table = fields.one("table", accepted, |text| {
        decimal(text).filter(|table| !matches!(table, 0 | 253..=255))
    });
    let accepted = "a number from 1 to 0xffffffff, decimal or with 0x";
    let number = |text: &str| {
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let number = match hex {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u32::from_str_radix(digits, 16).ok()
            }
            Some(_) => None,
            None => decimal(text),
        };
        number.filter(|number| *number != 0)
    };
    let fwmark = fields.one("fwmark", accepted, number).unwrap_or(default.fwmark);
    let fwmask = fields.one("fwmask", accepted, number).unwrap_or(default.fwmask);
    if fwmark & !fwmask != 0 {
        let message = format!("accepted: a mark within the bits of fwmask, {fwmask:#010x}");
        let read = format!("{fwmark:#010x}");
        fields.complain_about(Severity::Error, "fwmark", Some(&read), &message);
    }
    let rule_priority = fields.number("rule_priority", 1, 32764);
    let rule_priority = rule_priority.unwrap_or(default.rule_priority);
    Routing { table: table.unwrap_or(default.table), fwmark, fwmask, rule_priority }
}

/// Names that the kernel takes for a device (`dev_valid_name`), in ASCII.
fn device_name(text: &str) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let valid = (1..=15).contains(&text.len()) && text.bytes().all(legal);
    (valid && text != "." && text != "..").then(|| text.to_owned())
}

fn interface_name(text: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (!text.is_empty() && text.chars().all(legal)).then(|| text.to_owned())
}

fn peer(fields: &mut Fields, section: &Section, role: &Role) -> Option<Peer> {
    let public_key = fields.one("public_key", KEY, |text| text.parse::<PublicKey>().ok());
    if !fields.has("public_key") {
        fields.complain_missing("public_key", KEY);
    }
    let preshared_key =
        fields.secret("preshared_key", KEY, |text| text.parse::<PresharedKey>().ok());
    let listed = fields.has("endpoint");
    let mut endpoints = fields.many("endpoint", ENDPOINT, |text| text.parse().ok());
    match role {
        Role::Client(_) if !listed => {
            fields.complain_missing("endpoint", &format!("{ENDPOINT}, one or several"));
        }
        Role::Client(_) => {}
        Role::Server(_) => {
            endpoints.clear();
            fields.ignored(&["endpoint"], "a server waits for its peers, has no effect");
        }
    }
    let prefix = "a network, such as 192.168.1.0/24, 0.0.0.0/0 or ::/0";
    let listed = fields.has("allowed_ips");
    let allowed_ips = fields.many("allowed_ips", prefix, |text| text.parse().ok());
    if !listed {
        fields.complain_missing("allowed_ips", &format!("{prefix}, one or several"));
    }
    let route_allowed_ips = fields.flag("route_allowed_ips", true);
    let name = section.name.clone();
    let public_key = public_key?;
    Some(Peer { name, public_key, preshared_key, endpoints, allowed_ips, route_allowed_ips })
}

fn wan(fields: &mut Fields, section: &Section) -> Option<Wan> {
    let interface = fields.one("interface", INTERFACE, interface_name);
    let device = fields.one("device", DEVICE, device_name);
    match (fields.has("interface"), fields.has("device")) {
        (true, true) => fields.complain_about(
            Severity::Error,
            "device",
            device.as_deref(),
            "given beside 'interface', accepted: one of the two",
        ),
        (false, false) => fields.complain_missing(
            "interface",
            "the name of an interface of netifd, or option device with a device's name",
        ),
        _ => {}
    }
    let mode = fields.one("mode", "active, backup or off", |text| match text {
        "active" => Some(Mode::Active),
        "backup" => Some(Mode::Backup),
        "off" => Some(Mode::Off),
        _ => None,
    });
    // 100 Gbit/s: whoever writes more has mistaken the unit.
    const RATE_MAX: u32 = 100_000_000;
    let metered = fields.flag("metered", false);
    let max_upload_kbps = fields.number_or_none("max_upload", RATE_MAX);
    let max_download_kbps = fields.number_or_none("max_download", RATE_MAX);
    let quota_mb = fields.number_or_none("quota_mb", u32::MAX);
    let quota_day = fields.number("quota_day", 1, 31).and_then(|day| u8::try_from(day).ok());
    let link = interface.map(WanLink::Interface).or(device.map(WanLink::Device))?;
    let name = match &link {
        WanLink::Interface(name) | WanLink::Device(name) if section.anonymous => name.clone(),
        _ => section.name.clone(),
    };
    Some(Wan {
        name,
        link,
        mode: mode.unwrap_or(Mode::Active),
        metered,
        max_upload_kbps,
        max_download_kbps,
        quota_mb,
        quota_day: quota_day.unwrap_or(1),
    })
}

fn ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text| decimal(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
    let ports = Ports { first: number(first)?, last: number(last)? };
    (ports.first <= ports.last).then_some(ports)
}

fn forward(fields: &mut Fields, section: &Section) -> Option<Forward> {
    let protocol = fields.one("proto", "tcp, udp or tcpudp", |text| match text {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "tcpudp" => Some(Protocol::TcpUdp),
        _ => None,
    });
    let src_ports = fields.one("src_port", PORTS, ports);
    let peer = fields.one("peer", "the name of a peer's section", |text| Some(text.to_owned()));
    let address = "an address, such as 192.168.1.10";
    let dest_ip = fields.one("dest_ip", address, |text| text.parse().ok());
    let dest_ports = fields.one("dest_port", PORTS, ports);
    for (option, accepted) in
        [("src_port", PORTS), ("peer", "the name of a peer's section"), ("dest_ip", address)]
    {
        if !fields.has(option) {
            fields.complain_missing(option, accepted);
        }
    }
    if let (Some(src), Some(dest)) = (src_ports, dest_ports)
        && src.count() != dest.count()
    {
        let message = format!("accepted: as many ports as src_port has, {}", src.count());
        fields.complain_about(Severity::Error, "dest_port", Some(&dest.to_string()), &message);
    }
    let src_ports = src_ports?;
    Some(Forward {
        name: section.name.clone(),
        protocol: protocol.unwrap_or(Protocol::TcpUdp),
        src_ports,
        peer: peer?,
        dest_ip: dest_ip?,
        dest_ports: dest_ports.unwrap_or(src_ports),
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
