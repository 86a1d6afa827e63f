//! What of the system around the program keeps it from working, and the command that mends it.
//!
//! Why: the tunnel is up, and nothing gets through: another program's firewall drops what is
//! forwarded, the kernel does not forward, IPv6 is off. None of that is a failure of the program, so
//! it has to be looked for.
//!
//! How: [`read`] gathers [`Facts`] from the system, and [`findings`] says what they mean; it is pure.
//! `onebox check --system` prints that. The running program looks for a firewall that drops with
//! [`Forwarding::dropping`], the same rules.
//!
//! Limits: what a provider, a cloud's own firewall or the other end does is not to be seen from here.
//! See [`firewall`] for what is seen of rules.

pub mod firewall;
pub mod overlap;
pub mod read;

use crate::prefix::Prefix;
use firewall::{Firewall, Maker, Packet, Place};
use overlap::Overlap;
use std::fmt::Write;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A firewall drops what is forwarded through the tunnel.
    ForwardDropped,
    /// A firewall drops what routers send to this server.
    InputBlocked,
    /// The kernel does not forward.
    ForwardingOff,
    /// There is no IPv6.
    Ipv6Off,
    /// Another VPN has a default route.
    OtherTunnel,
    /// There is no way out.
    NoDefaultRoute,
    /// The kernel checks sources strictly on the tunnel's device.
    StrictSources,
    /// The program `nft` is not there, or does not answer.
    NoNft,
    /// There is no TUN device.
    NoTun,
    /// One network is at two places.
    NetworksOverlap,
}

impl Kind {
    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            Kind::ForwardDropped => "forward_dropped",
            Kind::InputBlocked => "input_blocked",
            Kind::ForwardingOff => "forwarding_off",
            Kind::Ipv6Off => "ipv6_off",
            Kind::OtherTunnel => "other_tunnel",
            Kind::NoDefaultRoute => "no_default_route",
            Kind::StrictSources => "strict_sources",
            Kind::NoNft => "no_nft",
            Kind::NoTun => "no_tun",
            Kind::NetworksOverlap => "networks_overlap",
        }
    }
}

/// Something that keeps the program, or a part of the traffic, from working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: Kind,
    /// It stops traffic; else it is only good to know.
    pub stops: bool,
    /// What is wrong and what that means, in a sentence or two.
    pub words: String,
    /// A line for a shell that mends it; empty where there is none.
    pub command: String,
}

/// What forwards through the tunnel, and by which devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The tunnel's device.
    pub device: String,
    /// This is a server, else a router.
    pub server: bool,
    /// The tunnel carries IPv4.
    pub v4: bool,
    /// The tunnel carries IPv6.
    pub v6: bool,
    /// The devices at the other side: the LAN's of a router, those with a default route of a server.
    pub others: Vec<String>,
    /// The networks of the LANs, here or behind routers.
    pub networks: Vec<Prefix>,
}

impl Forwarding {
    /// The base chains that drop what should be forwarded: of a router with several LANs, from each
    /// of them, since one may be kept from the tunnel on purpose.
    pub fn dropping(&self, firewall: &Firewall) -> Vec<Place> {
        if !self.server && self.others.is_empty() {
            return Vec::new();
        }
        let mut others: Vec<Option<&str>> = self.others.iter().map(|one| Some(&**one)).collect();
        if others.is_empty() {
            others.push(None);
        }
        let mut all = Vec::new();
        for v4 in [true, false] {
            let carried = if v4 { self.v4 } else { self.v6 };
            if let (true, [first, more @ ..]) = (carried, &*others) {
                let mut places = self.dropping_between(firewall, v4, *first);
                for other in more {
                    let those = self.dropping_between(firewall, v4, *other);
                    places.retain(|place| those.contains(place));
                }
                add(&mut all, places);
            }
        }
        all
    }

    /// The base chains that drop what is asked of the internet, or what it answers.
    fn dropping_between(&self, firewall: &Firewall, v4: bool, other: Option<&str>) -> Vec<Place> {
        let (tunnel, inner) = (Some(&*self.device), Some(&*self.networks));
        let asks = if self.server { [tunnel, other] } else { [other, tunnel] };
        let question = Packet {
            v4,
            devices: asks,
            networks: [inner, None],
            is_first: true,
            protocol: "tcp",
            port: None,
            tunnel: &self.device,
        };
        let answer = Packet {
            devices: [asks[1], asks[0]],
            networks: [None, inner],
            is_first: false,
            ..question
        };
        let mut places = firewall.dropping("forward", &question);
        add(&mut places, firewall.dropping("forward", &answer));
        places
    }
}

/// Those that are not there yet.
fn add(all: &mut Vec<Place>, places: Vec<Place>) {
    for place in places {
        if !all.contains(&place) {
            all.push(place);
        }
    }
}

/// A switch of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwards {
    /// It is on; None: there is no such switch.
    pub on: Option<bool>,
    /// It can be turned.
    pub can_be_turned: bool,
}

/// What there is of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// It works.
    #[default]
    On,
    /// It is switched off.
    Off,
    /// The kernel has none.
    Absent,
}

/// Why the rules are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no program `nft`.
    Missing,
    /// It has another reason, in its words.
    Refused(String),
}

/// How the system is.
#[derive(Debug)]
pub struct Facts {
    /// What is forwarded.
    pub forwarding: Forwarding,
    /// The rules of all firewalls.
    pub firewall: Result<Firewall, Unread>,
    /// The port of a server.
    pub listen_port: u16,
    /// The addresses of this host.
    pub own: Vec<Prefix>,
    /// On a router: whether a WAN works; why not, by WAN. On a server: whether there is a default
    /// route.
    pub ways_out: Result<(), Vec<String>>,
    /// Other VPNs with a default route that the configuration does not name.
    pub tunnels: Vec<String>,
    /// Forwarding of IPv4 and IPv6.
    pub forwards: [Forwards; 2],
    /// Whether the tunnel gets its IPv6.
    pub ipv6: Ipv6,
    /// The check of sources drops what comes out of the tunnel by another way than back.
    pub strict_sources: bool,
    /// Networks that are at two places.
    pub overlaps: Vec<Overlap>,
    /// `/dev/net/tun`, or why not.
    pub tun: Result<(), String>,
    /// The program runs.
    pub running: bool,
    /// The file of the configuration.
    pub file: String,
    /// This is OpenWrt.
    pub openwrt: bool,
    /// The interface of OpenWrt's network that the tunnel is.
    pub netifd: Option<String>,
}

/// What the facts mean, the worst first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut list = Vec::new();
    list.extend(tun(facts));
    list.extend(nft(facts));
    list.extend(ways_out(facts));
    if let Ok(firewall) = &facts.firewall {
        list.extend(input(facts, firewall));
        list.extend(forward(facts, firewall));
    }
    list.extend(forwarding_off(facts));
    list.extend(ipv6(facts));
    list.extend(strict_sources(facts));
    list.extend(other_tunnels(facts));
    list.extend(networks_overlap(facts));
    let (mut list, notes): (Vec<_>, Vec<_>) = list.into_iter().partition(|finding| finding.stops);
    list.extend(notes);
    list
}

fn stops(kind: Kind, words: String, command: String) -> Finding {
    Finding { kind, stops: true, words, command }
}

fn note(kind: Kind, words: String, command: String) -> Finding {
    Finding { kind, stops: false, words, command }
}

/// A chain in words: `chain FORWARD of table ip filter (Docker)`.
pub fn shown(firewall: &Firewall, place: &Place) -> String {
    let mut text = format!("chain {} of table {} {}", place.chain, place.family, place.table);
    if let Some(name) = firewall.maker(place).name() {
        let _ = write!(text, " ({name})");
    }
    text
}

fn forward(facts: &Facts, firewall: &Firewall) -> Vec<Finding> {
    let Forwarding { device, server, .. } = &facts.forwarding;
    let places = facts.forwarding.dropping(firewall);
    let finding = |place: &Place| {
        let words = format!(
            "{} drops what is forwarded {} {device}: {} have a tunnel and {} internet through it. That \
             onebox accepts it in a table of its own does not help: a packet has to pass the chains of \
             every program.",
            capital(&shown(firewall, place)),
            if *server { "from and to" } else { "between the LAN and" },
            if *server { "the routers" } else { "the devices of the LAN" },
            match place.family.as_str() {
                "ip" => "no IPv4",
                "ip6" => "no IPv6",
                _ => "no",
            }
        );
        stops(Kind::ForwardDropped, words, let_forward(facts, firewall, place))
    };
    places.iter().map(finding).collect()
}

/// What lets OpenWrt's firewall forward where the tunnel has a zone of its own, which leads nowhere.
fn between_zones(facts: &Facts, firewall: &Firewall, place: &Place) -> Option<String> {
    let Forwarding { device, server, others, .. } = &facts.forwarding;
    let tunnel = firewall.zone(place, device)?;
    let other = others.iter().find_map(|other| firewall.zone(place, other))?;
    let (from, to) = if *server { (tunnel, other) } else { (other, tunnel) };
    let set = |option: &str, zone: &str| {
        format!(" && uci set firewall.@forwarding[-1].{option}={}", shell(zone))
    };
    Some(format!("uci add firewall forwarding{}{}", set("src", from), set("dest", to)))
}

/// A rule for OpenWrt's firewall that lets the zone at the other side use the tunnel.
fn let_zone_in(facts: &Facts, firewall: &Firewall, place: &Place) -> Option<String> {
    let Forwarding { device, server, others, .. } = &facts.forwarding;
    let zone = shell(others.iter().find_map(|other| firewall.zone(place, other))?);
    let (src, dest, direction) =
        if *server { ("'*'", &*zone, "in") } else { (&*zone, "'*'", "out") };
    let device = &*shell(device);
    let options = [
        ("src", src),
        ("dest", dest),
        ("device", device),
        ("direction", direction),
        ("proto", "all"),
        ("target", "ACCEPT"),
    ];
    let mut command = "uci add firewall rule".to_owned();
    for (option, value) in options {
        let _ = write!(command, " && uci set firewall.@rule[-1].{option}={value}");
    }
    Some(command)
}

fn let_forward(facts: &Facts, firewall: &Firewall, place: &Place) -> String {
    let device = &facts.forwarding.device;
    let word = shell(device);
    match firewall.maker(place) {
        Maker::Docker => {
            let program = if place.family == "ip6" { "ip6tables" } else { "iptables" };
            let rule = |way: &str| format!("{program} -I DOCKER-USER {way} {word} -j ACCEPT");
            format!("{} && {}", rule("-i"), rule("-o"))
        }
        Maker::Ufw => format!("ufw route allow in on {word} && ufw route allow out on {word}"),
        Maker::Firewalld => format!(
            "firewall-cmd --permanent --zone=trusted --add-interface={word} && firewall-cmd --reload"
        ),
        Maker::Fw4 => match &facts.netifd {
            Some(interface) => {
                let change = between_zones(facts, firewall, place).unwrap_or_else(|| {
                    // As OpenWrt has them: the first is the LAN's, which may go out by the second.
                    let zone = if facts.forwarding.server { 0 } else { 1 };
                    format!("uci add_list firewall.@zone[{zone}].network={}", shell(interface))
                });
                format!("{change} && uci commit firewall && service firewall reload")
            }
            // The service lets zones in that may forward to a WAN's; another is for the user to let in.
            None => match facts.running.then(|| let_zone_in(facts, firewall, place)).flatten() {
                Some(change) => {
                    format!("{change} && uci commit firewall && service firewall reload")
                }
                None => "service onebox restart && service firewall reload".to_owned(),
            },
        },
        Maker::Other => {
            let rule = |key: &str| insert(place, &format!("{key} {} accept", literal(device)));
            format!("{} && {}", rule("iifname"), rule("oifname"))
        }
    }
}

fn input(facts: &Facts, firewall: &Firewall) -> Vec<Finding> {
    let Forwarding { device, server: true, others, .. } = &facts.forwarding else {
        return Vec::new();
    };
    let mut devices: Vec<Option<&str>> = others.iter().map(|one| Some(&**one)).collect();
    if devices.is_empty() {
        devices.push(None);
    }
    let mut places = Vec::new();
    for (v4, from) in [true, false].into_iter().flat_map(|v4| devices.iter().map(move |d| (v4, *d)))
    {
        if !facts.own.iter().any(|own| own.is_ipv4() == v4) {
            continue;
        }
        let packet = Packet {
            v4,
            devices: [from, None],
            networks: [None, Some(&facts.own)],
            is_first: true,
            protocol: "udp",
            port: Some(facts.listen_port),
            tunnel: device,
        };
        add(&mut places, firewall.dropping("input", &packet));
    }
    let port = facts.listen_port;
    let finding = |place: &Place| {
        let words = format!(
            "{} drops UDP to port {port}: routers do not reach this server{}.",
            capital(&shown(firewall, place)),
            match place.family.as_str() {
                "ip" => " over IPv4",
                "ip6" => " over IPv6",
                _ => "",
            }
        );
        let command = match firewall.maker(place) {
            Maker::Ufw => format!("ufw allow {port}/udp"),
            Maker::Firewalld => {
                format!("firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload")
            }
            Maker::Fw4 => "service onebox restart && service firewall reload".to_owned(),
            Maker::Docker | Maker::Other => insert(place, &format!("udp dport {port} accept")),
        };
        stops(Kind::InputBlocked, words, command)
    };
    places.iter().map(finding).collect()
}

fn forwarding_off(facts: &Facts) -> Vec<Finding> {
    let Forwarding { server, others, v4, v6, .. } = &facts.forwarding;
    let needed = *server || !others.is_empty();
    let families = [
        ("IPv4", *v4, "net.ipv4.ip_forward"),
        ("IPv6", *v6 && facts.ipv6 == Ipv6::On, "net.ipv6.conf.all.forwarding"),
    ];
    let mut list = Vec::new();
    for ((family, carried, key), switch) in families.into_iter().zip(facts.forwards) {
        if !carried || switch.on != Some(false) {
            continue;
        }
        let command = format!("sysctl -w {key}=1");
        let who = if *server { "the routers" } else { "the devices of the LAN" };
        let off = format!("The kernel does not forward {family} ({key} is 0)");
        list.push(if !needed {
            let words = format!(
                "{off}, and onebox leaves it so: there is no LAN here, no device that is up with an \
                 address and without a default route. If there is to be one, its {family} stays here."
            );
            note(Kind::ForwardingOff, words, command)
        } else if facts.running {
            let words = format!(
                "{off} although onebox runs, which turns that on: {who} get no {family} through the \
                 tunnel until it is turned on again, within half a minute if onebox may."
            );
            stops(Kind::ForwardingOff, words, command)
        } else if !switch.can_be_turned {
            let words = format!(
                "{off}, and onebox cannot turn that on: /proc/sys cannot be written here, as in many \
                 containers. {} get no {family} through the tunnel. It has to be turned on from outside.",
                capital(who)
            );
            stops(Kind::ForwardingOff, words, command)
        } else {
            let words = format!("{off}. onebox turns that on when it starts, and back when it stops; \
                 to have it on in any case:");
            note(Kind::ForwardingOff, words, command)
        });
    }
    list
}

fn ipv6(facts: &Facts) -> Option<Finding> {
    let Forwarding { v4, v6: true, .. } = facts.forwarding else { return None };
    let (how, command) = match facts.ipv6 {
        Ipv6::On => return None,
        Ipv6::Off => {
            ("is switched off here", "sysctl -w net.ipv6.conf.all.disable_ipv6=0".to_owned())
        }
        // The kernel was started, or built, without it.
        Ipv6::Absent => {
            ("is not in this kernel", "grep -o ipv6.disable=1 /proc/cmdline".to_owned())
        }
    };
    let hint = match facts.ipv6 {
        Ipv6::Absent => " If the command finds it, take that word from the kernel's command line.",
        _ => "",
    };
    Some(match v4 {
        true => note(
            Kind::Ipv6Off,
            format!(
                "IPv6 {how}: the tunnel carries IPv4 alone, and its IPv6 addresses and routes, which the \
                 configuration has, cannot be set.{hint}"
            ),
            command,
        ),
        false => stops(
            Kind::Ipv6Off,
            format!("IPv6 {how}, and the tunnel has no other addresses: it carries nothing.{hint}"),
            command,
        ),
    })
}

fn networks_overlap(facts: &Facts) -> Vec<Finding> {
    let finding = |overlap: &Overlap| {
        let device = &overlap.inner.0;
        let lan = *device != facts.forwarding.device;
        let words = format!(
            "{overlap}: one network at two places, so what is at the one cannot be reached from the \
             other. Give {} another, for instance {}.",
            if lan { "the LAN" } else { "the tunnel, on both ends," },
            if lan { "192.168.77.0/24" } else { "10.77.0.0/24" },
        );
        // OpenWrt's own LAN; what another device is called there is not known.
        let command = match facts.openwrt && device == "br-lan" && overlap.inner.1.is_ipv4() {
            true => {
                let set = "uci set network.lan.ipaddr=192.168.77.1 && uci commit network";
                format!("{set} && service network reload")
            }
            false => String::new(),
        };
        stops(Kind::NetworksOverlap, words, command)
    };
    facts.overlaps.iter().map(finding).collect()
}

fn other_tunnels(facts: &Facts) -> Vec<Finding> {
    let finding = |device: &String| {
        let words = format!(
            "{device} is a tunnel of another VPN with a default route. It is not used as a WAN: what it \
             carries leaves by one that is used already. To use it all the same, name it in the \
             configuration."
        );
        let command = match facts.openwrt {
            true => {
                let name: String = device
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                    .collect();
                format!(
                    "uci set onebox.{name}=wan && uci set onebox.{name}.device={} && uci commit onebox && \
                     service onebox reload",
                    shell(device)
                )
            }
            false => format!(
                "printf \"config wan\\n\\toption device '%s'\\n\" {} >> {} && onebox reload",
                shell(device),
                shell(&facts.file)
            ),
        };
        note(Kind::OtherTunnel, words, command)
    };
    facts.tunnels.iter().map(finding).collect()
}

fn ways_out(facts: &Facts) -> Option<Finding> {
    let Err(why) = &facts.ways_out else { return None };
    let command = "ip route add default via GATEWAY dev DEVICE".to_owned();
    Some(match facts.forwarding.server {
        true => note(
            Kind::NoDefaultRoute,
            "There is no default route: this server answers only routers in its own networks, and its \
             routers get no internet through it. With the gateway and the device of its provider:"
                .to_owned(),
            command,
        ),
        false => {
            let each = match why.as_slice() {
                [] => "no device has a default route".to_owned(),
                some => some.join(", "),
            };
            let words = format!(
                "There is no WAN that works ({each}): the server cannot be reached. With the gateway and \
                 the device of a WAN, if DHCP does not set it:"
            );
            stops(Kind::NoDefaultRoute, words, command)
        }
    })
}

fn strict_sources(facts: &Facts) -> Option<Finding> {
    let device = &facts.forwarding.device;
    facts.strict_sources.then(|| {
        let words = format!(
            "The kernel checks sources strictly on {device} (rp_filter is 1): what comes out of the \
             tunnel is dropped wherever the way back is another one, as it is after an outage."
        );
        // With slashes, since the name of a device may have dots.
        let command = format!("sysctl -w net/ipv4/conf/{}/rp_filter=2", shell(device));
        note(Kind::StrictSources, words, command)
    })
}

fn nft(facts: &Facts) -> Option<Finding> {
    let install = match facts.openwrt {
        true => "opkg update && opkg install nftables-json kmod-nft-nat",
        false => "apt install nftables",
    };
    Some(match facts.firewall.as_ref().err()? {
        Unread::Missing => {
            let nat = match facts.forwarding.server {
                true => {
                    "the routers get no internet through this server, since nothing translates \
                         their addresses"
                }
                false => {
                    "a LAN that the server does not know gets no answers, and TCP may stall, since \
                          nothing translates addresses and lowers segment sizes"
                }
            };
            let words = format!("The program nft is not installed: {nat}.");
            stops(Kind::NoNft, words, install.to_owned())
        }
        Unread::Refused(why) => {
            let words = format!(
                "The rules of firewalls cannot be read ({why}): whether one of them drops the tunnel's \
                 traffic is not known."
            );
            let command = match why.contains("JSON") {
                true => install.to_owned(),
                false => "nft -j list ruleset > /dev/null".to_owned(),
            };
            note(Kind::NoNft, words, command)
        }
    })
}

fn tun(facts: &Facts) -> Option<Finding> {
    let why = facts.tun.as_ref().err()?;
    let command = match facts.openwrt {
        true => "opkg update && opkg install kmod-tun",
        false => "modprobe tun",
    };
    let words = format!(
        "/dev/net/tun cannot be opened ({why}): there can be no tunnel. In a container, whoever runs it \
         has to hand in that device."
    );
    Some(stops(Kind::NoTun, words, command.to_owned()))
}

/// A command that puts a rule in front of a chain's others.
fn insert(place: &Place, rule: &str) -> String {
    let Place { family, table, chain } = place;
    format!("nft insert rule {family} {} {} {rule}", shell(table), shell(chain))
}

/// A device in a rule: quoted for nft if it may be no word of its language.
fn literal(device: &str) -> String {
    let plain = device.starts_with(|c: char| c.is_ascii_alphabetic())
        && device.chars().any(|c| c.is_ascii_digit())
        && device.chars().all(|c| c.is_ascii_alphanumeric());
    if plain { device.to_owned() } else { shell(&format!("\"{device}\"")) }
}

/// A word for a shell: quoted where it has to be.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
