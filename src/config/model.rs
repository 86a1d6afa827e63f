//! The configuration as the program uses it: what cannot be is not representable.
//!
//! Each item says meaning, unit, default and consequence under the name of its UCI option.

use super::address::Endpoint;
use crate::crypto::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::prefix::{InterfaceAddress, Prefix};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// A whole configuration without errors.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The section of type `onebox`.
    pub main: Main,
    /// The sections of type `peer`, in their order.
    pub peers: Vec<Peer>,
}

impl Config {
    /// The WANs that are configured; none on a server.
    pub fn wans(&self) -> &[Wan] {
        match &self.main.role {
            Role::Client(client) => &client.wans,
            Role::Server(_) => &[],
        }
    }

    /// The forwarded ports; none on a client.
    pub fn forwards(&self) -> &[Forward] {
        match &self.main.role {
            Role::Client(_) => &[],
            Role::Server(server) => &server.forwards,
        }
    }

    /// Where packets that leave the tunnel of a server come from: the device's networks and the
    /// peers' own.
    pub fn inner_networks(&self) -> Vec<Prefix> {
        let own = self.main.addresses.iter().map(InterfaceAddress::network);
        let peers = self.peers.iter().flat_map(|p| p.allowed_ips.iter().copied());
        own.chain(peers).filter(|network| !network.is_default()).collect()
    }
}

/// What holds for the program as a whole: the section of type `onebox`.
#[derive(Clone, Debug, PartialEq)]
pub struct Main {
    /// `enabled`, default 1. With 0 the program runs, reports `disabled` and touches nothing; what
    /// is missing in the configuration is then a warning only.
    pub enabled: bool,
    /// `role`, `client` (default) or `server`, with what only that role has.
    pub role: Role,
    /// `device`, default `onebox0`: name of the TUN device.
    pub device: String,
    /// `private_key` or `private_key_file`: who we are. Required unless disabled.
    pub private_key: KeySource,
    /// `address`, a list, required unless disabled: addresses of the TUN device.
    pub addresses: Vec<InterfaceAddress>,
    /// `mtu` of the TUN device in bytes at most, 1280 to 1920 (RFC 8200 §5 asks for 1280). Default
    /// 0, here none: as large as all paths carry without fragments, which it never exceeds.
    pub mtu: Option<u16>,
    /// `mss_clamp`, default 1: TCP connections through the tunnel are told a segment size that
    /// fits. Without it, those whose path MTU discovery is filtered hang.
    pub mss_clamp: bool,
    /// `netifd`: name of an interface of OpenWrt's `/etc/config/network` with `option proto
    /// 'onebox'`. Addresses and routes are then set by netifd, with that interface's metric,
    /// table and firewall zone, and it is up while traffic belongs into the tunnel. Default none:
    /// the program sets them itself.
    pub netifd: Option<String>,
    /// `netifd_routes`, default 1: routes are that interface's as well. With 0 it has addresses and
    /// zone alone, and the program routes by rules of its own, so that metrics do not matter.
    pub netifd_routes: bool,
    /// How the tunnel's traffic is told from other traffic.
    pub routing: Routing,
    /// `hold_ms_max` in milliseconds, 10 to 5000, default 1000: longest time that a received packet
    /// waits for its predecessors. Shorter gives up on slow links' packets, longer lets one lost
    /// packet delay its flow for longer.
    pub hold_ms_max: u32,
    /// `memory_mb` in MiB, 4 to 1024, default 16: bound of the packets kept for each peer. Too little
    /// limits the rate over links with a long delay. All peers together keep at most twice that, or
    /// a quarter of the machine's memory if that is more.
    pub memory_mb: u32,
    /// `probe_interval` in seconds, 1 to 300, default 15: how often an idle path is probed. NAT on
    /// the way must not forget us in between; each probe costs about 100 bytes on metered links.
    pub probe_interval_s: u32,
    /// `log_level`, `error`, `warn`, `info` (default), `debug` or `trace`.
    pub log_level: log::LevelFilter,
    /// `control`, default `/var/run/onebox.sock`: socket for the command line.
    pub control: PathBuf,
    /// `state_dir`, default none: `/etc/onebox` on OpenWrt, `/var/lib/onebox` elsewhere. What has to
    /// be kept over a restart of the machine: what WANs with a quota have used, written at most once an
    /// hour and at the end; and, if it is given, the history of rates, at most once an hour. Without
    /// either nothing is written.
    pub state_dir: Option<PathBuf>,
    /// `ubus_socket`, default `/var/run/ubus/ubus.sock`. Where it does not exist (no OpenWrt),
    /// there is no ubus object.
    pub ubus_socket: PathBuf,
}

/// What only one role has.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// A router with several WANs.
    Client(Client),
    /// Where the WANs' traffic comes together.
    Server(Server),
}

impl Role {
    /// Its name in configuration and status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Role::Client(_) => "client",
            Role::Server(_) => "server",
        }
    }
}

/// What only a client has.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// `discover`, default 1: use every interface that has a default route, in addition to the
    /// WANs that are configured.
    pub discover: bool,
    /// `fallback` and `kill_switch`: what becomes of traffic for the tunnel while no server
    /// answers.
    pub outage: Outage,
    /// The sections of type `wan`, in their order.
    pub wans: Vec<Wan>,
}

/// What becomes of traffic for the tunnel while its server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// `fallback direct` (default): it leaves by the WANs as if there were no tunnel, from the
    /// start until the server answers for the first time, and when it has been silent for
    /// `fallback_after` seconds, 1 to 3600, default 10. Less would give up flows at each restart
    /// of the server. As soon as it answers, all goes through the tunnel again.
    Direct {
        /// Seconds of silence.
        after_s: u32,
    },
    /// `fallback closed`: it waits for the tunnel, from the start on.
    Closed {
        /// `kill_switch`, default 0: nothing leaves past the tunnel even while the program is not
        /// there after a crash, of neither IP version. It ends when the program is stopped. Makes
        /// `closed` the default of `fallback`.
        kill_switch: bool,
    },
}

/// What only a server has.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `listen_port`, default 51830: UDP port.
    pub listen_port: u16,
    /// `nat`, default 1: masquerade what leaves the tunnel, in an nft table of our own. Without
    /// it, the server's network needs routes to the clients' addresses.
    pub nat: bool,
    /// `endpoint`, a list: where routers reach this server, for `onebox invite`, which writes down
    /// here what it was given. Default none: then it is the machine's global addresses.
    pub endpoints: Vec<Endpoint>,
    /// The sections of type `forward`, in their order.
    pub forwards: Vec<Forward>,
}

/// How the tunnel's traffic is told from other traffic.
///
/// The defaults keep away from mwan3 (mark bits 0x3f00, rules from 1001, 2001 and 3001 on) and
/// from pbr (mark bits 0xff0000, rules from 30000 downwards).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// `table`, default 51: number of the routing table with the tunnel's routes. Not one of the
    /// system's own (0, 253 to 255).
    pub table: u32,
    /// `fwmark`, default 0x10000000: mark of our own datagrams, which must not enter the tunnel.
    pub fwmark: u32,
    /// `fwmask`, default 0xf0000000: the bits of the mark that are ours; the others are left to
    /// other programs.
    pub fwmask: u32,
    /// `rule_priority`, 1 to 32764, default 900: first of the four priorities of the ip rules
    /// with which traffic enters the tunnel. Below 1001 the tunnel comes
    /// before mwan3, whose rules would send all traffic to a WAN and leave the tunnel without
    /// any; sockets bound to a WAN, such as those of its tracking, still leave by that WAN. Above
    /// 3999, mwan3 decides first, above 30001 pbr as well; the rule for the tunnel's own packets
    /// stays at 900.
    pub rule_priority: u32,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing { table: 51, fwmark: 0x1000_0000, fwmask: 0xf000_0000, rule_priority: 900 }
    }
}

/// Where the private key is.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// `private_key`: in the configuration.
    Inline(PrivateKey),
    /// `private_key_file`: in a file of its own, which is read at start. A disabled configuration
    /// without a key has the path that the documentation uses here, which need not exist.
    File(PathBuf),
}

/// The other end of a tunnel: a section of type `peer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Name of the section.
    pub name: String,
    /// `public_key`, required: who it is.
    pub public_key: PublicKey,
    /// `preshared_key`: a secret that both ends have in addition. Default none.
    pub preshared_key: Option<PresharedKey>,
    /// `endpoint`, a list, required on a client: where it is reached, in order of preference.
    /// Empty on a server, where peers call.
    pub endpoints: Vec<Endpoint>,
    /// `allowed_ips`, a list, required: what may come from it, and what is sent to it. No two
    /// peers have the same prefix.
    pub allowed_ips: Vec<Prefix>,
    /// `route_allowed_ips`, default 1: set routes for `allowed_ips`. Without them, nothing is sent
    /// into the tunnel that other routes do not send there.
    pub route_allowed_ips: bool,
}

/// An internet connection of a client: a section of type `wan`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wan {
    /// Name of the section; of one without name, that of its interface or device.
    pub name: String,
    /// `interface` or `device`, one of them required: what it is about.
    pub link: WanLink,
    /// `mode`, `active` (default), `backup` or `off`.
    pub mode: Mode,
    /// `metered`, default 0: its data costs money. Nothing is sent over it twice as a precaution,
    /// and it is measured sparingly.
    pub metered: bool,
    /// `max_upload` in kbit/s; default 0, here none: measured.
    pub max_upload_kbps: Option<u32>,
    /// `max_download` in kbit/s; default 0, here none: measured.
    pub max_download_kbps: Option<u32>,
    /// `quota_mb`, megabytes of both directions in a period; default 0, here none: no limit. When
    /// it is used up, the WAN is only a backup.
    pub quota_mb: Option<u32>,
    /// `quota_day`, 1 to 31, default 1: day of the month on which a period begins; in a shorter
    /// month its last day.
    pub quota_day: u8,
}

/// What a WAN is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WanLink {
    /// `interface`: name of an interface of netifd (OpenWrt).
    Interface(String),
    /// `device`: name of a network device.
    Device(String),
}

/// What a WAN is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Carries traffic.
    Active,
    /// Carries traffic when no active WAN does.
    Backup,
    /// Is not used.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Active => "active",
            Mode::Backup => "backup",
            Mode::Off => "off",
        })
    }
}

/// A port of the server that reaches a host behind a router: a section of type `forward`.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Name of the section.
    pub name: String,
    /// `proto`, `tcp`, `udp` or `tcpudp` (default).
    pub protocol: Protocol,
    /// `src_port`, required: port of the server, or several as `1000-1010`.
    pub src_ports: Ports,
    /// `peer`, required: name of the router's section.
    pub peer: String,
    /// `dest_ip`, required: address of the host.
    pub dest_ip: IpAddr,
    /// `dest_port`: port of the host, or as many as `src_port` has. Default the same as there.
    pub dest_ports: Ports,
}

/// What a forwarded port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both.
    TcpUdp,
}

impl Protocol {
    /// Whether TCP is meant.
    pub fn tcp(self) -> bool {
        self != Protocol::Udp
    }

    /// Whether UDP is meant.
    pub fn udp(self) -> bool {
        self != Protocol::Tcp
    }
}

/// Ports in a row, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last; not before the first.
    pub last: u16,
}

impl Ports {
    /// How many there are.
    pub fn count(self) -> u32 {
        u32::from(self.last.saturating_sub(self.first)) + 1
    }

    /// Whether a port is in both.
    pub fn overlaps(self, other: Ports) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}
