//! What the table does, as the text that makes it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use onebox_core::prefix::Prefix;

/// The name of the table.
pub const TABLE: &str = "onebox";

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of this host that leads to a host behind the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port on this host's own addresses.
    pub port: u16,
    /// Where it leads.
    pub to: SocketAddr,
}

/// What the table is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Server: packets from these networks that leave by any other device than the tunnel's get
    /// this host's address. Empty: none. A prefix of length 0 is left out: it would translate
    /// the host's whole traffic.
    pub masquerade_sources: Vec<Prefix>,
    /// Client: packets that leave by the tunnel's device from an address other than these (the
    /// device's own) get the device's address. Empty: none. For a LAN that the server does not
    /// know; a family without an address here is left alone.
    pub masquerade_into_tunnel: Vec<IpAddr>,
    /// Server: ports handed on. Connections that come out of the tunnel are not affected.
    pub forwards: Vec<Forward>,
    /// Tell TCP connections that are forwarded through the tunnel a segment size that fits.
    pub mss_clamp: bool,
    /// Accept forwarded packets to and from the tunnel's device in our own chain.
    pub accept_forward: bool,
    /// Who reaches the tunnel's own addresses from outside of it.
    pub guard: Guard,
}

/// Addresses of the tunnel's device, and who reaches them past the tunnel: Linux answers for an address
/// on every device, also to a neighbour who sends there what pretends to come through the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Guard {
    /// Everybody.
    #[default]
    Nothing,
    /// All but what comes in by a WAN: a router's.
    FromWans(Vec<IpAddr>),
    /// This host only: a server's.
    FromAll(Vec<IpAddr>),
}

/// The mark of connections that come in by a WAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WanMark {
    /// The WAN's device.
    pub device: String,
    /// The mark, within our mask.
    pub mark: u32,
}

/// The text for `nft` that puts a table of ours in the place of the former one, in one
/// transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset(String);

impl Ruleset {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The ruleset that does `tables` for the tunnel's `device`, with the marks of `wans` under `mask`.
pub fn ruleset(device: &str, tables: &Tables, mask: u32, wans: &[WanMark]) -> Ruleset {
    let device = quoted(device);
    // The first line makes the second succeed when there is no table yet.
    let mut text =
        format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    if tables.mss_clamp {
        chain(
            &mut text,
            "mss",
            "filter hook forward priority mangle; policy accept;",
            &[
                format!("iifname {device} tcp flags syn tcp option maxseg size set rt mtu"),
                format!("oifname {device} tcp flags syn tcp option maxseg size set rt mtu"),
            ],
        );
    }
    if tables.accept_forward {
        chain(
            &mut text,
            "forward",
            "filter hook forward priority filter; policy accept;",
            &[format!("iifname {device} accept"), format!("oifname {device} accept")],
        );
    }
    let dropped = guarded(&device, &tables.guard, wans);
    chain(&mut text, "guard", "filter hook prerouting priority raw; policy accept;", &dropped);
    inbound(&mut text, mask, wans);
    let forwards: Vec<String> = tables.forwards.iter().map(|f| dnat(&device, f)).collect();
    chain(
        &mut text,
        "prerouting",
        "nat hook prerouting priority dstnat; policy accept;",
        &forwards,
    );
    let mut source = Vec::new();
    for v4 in [true, false] {
        let ip = if v4 { "ip" } else { "ip6" };
        let networks = networks(&tables.masquerade_sources, v4);
        if let Some(networks) = networks {
            source.push(format!("oifname != {device} {ip} saddr {networks} masquerade"));
        }
        // Not `masquerade`: that forgets its connections with the device, and a restart of the
        // program would reset them all.
        let own = tables.masquerade_into_tunnel.iter().filter(|a| a.is_ipv4() == v4);
        let first = own.clone().next();
        if let (Some(own), Some(first)) = (set(own.map(IpAddr::to_string)), first) {
            source.push(format!("oifname {device} {ip} saddr != {own} snat {ip} to {first}"));
        }
    }
    chain(
        &mut text,
        "postrouting",
        "nat hook postrouting priority srcnat; policy accept;",
        &source,
    );
    text.push_str("}\n");
    Ruleset(text)
}

/// The one that removes our table, and succeeds when there is none.
pub(super) fn removal() -> Ruleset {
    Ruleset(format!("table inet {TABLE}\ndelete table inet {TABLE}\n"))
}

fn chain(text: &mut String, name: &str, hook: &str, rules: &[String]) {
    if rules.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\tchain {name} {{\n\t\ttype {hook}");
    for rule in rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

fn dnat(device: &str, forward: &Forward) -> String {
    let protocol = match forward.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let (nfproto, ip) = if forward.to.is_ipv4() { ("ipv4", "ip") } else { ("ipv6", "ip6") };
    let Forward { port, to, .. } = forward;
    format!(
        "iifname != {device} meta nfproto {nfproto} fib daddr type local {protocol} dport {port} \
         dnat {ip} to {to}"
    )
}

/// What is dropped for the sake of the tunnel's own addresses.
fn guarded(device: &str, guard: &Guard, wans: &[WanMark]) -> Vec<String> {
    let (from, own, kind) = match guard {
        Guard::Nothing => return Vec::new(),
        Guard::FromWans(own) => {
            let Some(wans) = set(wans.iter().map(|wan| quoted(&wan.device))) else {
                return Vec::new();
            };
            (wans, own, "")
        }
        Guard::FromAll(own) => (format!("!= {device}"), own, " fib saddr type != local"),
    };
    let mut rules = Vec::new();
    for (v4, ip) in [(true, "ip"), (false, "ip6")] {
        let own = own.iter().filter(|address| address.is_ipv4() == v4).map(IpAddr::to_string);
        if let Some(own) = set(own) {
            rules.push(format!("iifname {from} {ip} daddr {own}{kind} drop"));
        }
    }
    rules
}

/// Connections that come in by a WAN bear its mark, and so do the packets that answer them: a rule
/// sends those by that WAN. What this host itself answers is routed anew once it is marked.
fn inbound(text: &mut String, mask: u32, wans: &[WanMark]) {
    let (mut arriving, mut answering) = (Vec::new(), Vec::new());
    for WanMark { device, mark } in wans {
        let (device, others) = (quoted(device), !mask);
        arriving.push(format!(
            "iifname {device} ct state new ct mark set ct mark and {others:#x} or {mark:#x}"
        ));
        answering.push(format!(
            "ct direction reply ct mark and {mask:#x} == {mark:#x} \
             meta mark set meta mark and {others:#x} or {mark:#x}"
        ));
    }
    let answers = "route hook output priority mangle; policy accept;";
    chain(text, "answers", answers, &answering);
    arriving.append(&mut answering);
    chain(text, "inbound", "filter hook prerouting priority mangle; policy accept;", &arriving);
}

/// The networks of one family, without those that another one contains: nft takes no overlaps.
fn networks(all: &[Prefix], v4: bool) -> Option<String> {
    let mut all: Vec<Prefix> = all.to_vec();
    all.retain(|prefix| prefix.is_ipv4() == v4 && !prefix.is_default());
    // By address, then length: one that contains others comes right before them.
    all.sort_unstable();
    all.dedup_by(|next, kept| kept.covers(*next));
    set(all.iter().map(Prefix::to_string))
}

/// `{ a, b }`, sorted and each once; None when empty.
fn set(items: impl Iterator<Item = String>) -> Option<String> {
    let mut items: Vec<String> = items.collect();
    items.sort_unstable();
    items.dedup();
    (!items.is_empty()).then(|| format!("{{ {} }}", items.join(", ")))
}

/// A device name as a string literal. The kernel allows quotes in names, nft has no escape for
/// them: such a name cannot be matched, and characters that would end the literal are dropped.
fn quoted(device: &str) -> String {
    let safe: String = device.chars().filter(|c| !c.is_control() && *c != '"').collect();
    format!("\"{safe}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_client_only_clamps_the_mss() {
        let expected = "\
table inet onebox
delete table inet onebox
table inet onebox {
\tchain mss {
\t\ttype filter hook forward priority mangle; policy accept;
\t\tiifname \"onebox0\" tcp flags syn tcp option maxseg size set rt mtu
\t\toifname \"onebox0\" tcp flags syn tcp option maxseg size set rt mtu
\t}
}
";
        let tables = Tables { mss_clamp: true, ..Tables::default() };
        assert_eq!(ruleset("onebox0", &tables, 0, &[]).text(), expected);
    }

    #[test]
    fn a_server_translates_accepts_and_forwards() {
        let tables = Tables {
            mss_clamp: true,
            masquerade_sources: vec![
                "10.99.0.1/24".parse().unwrap(),
                "192.168.1.0/24".parse().unwrap(),
                "10.99.0.0/24".parse().unwrap(),
                "10.99.0.128/25".parse().unwrap(),
                "0.0.0.0/0".parse().unwrap(),
                "fd00:99::/64".parse().unwrap(),
            ],
            forwards: vec![
                Forward {
                    protocol: Protocol::Tcp,
                    port: 443,
                    to: "192.168.1.10:8443".parse().unwrap(),
                },
                Forward { protocol: Protocol::Udp, port: 53, to: "[fd00::5]:53".parse().unwrap() },
            ],
            accept_forward: true,
            ..Tables::default()
        };
        let expected = "\
table inet onebox
delete table inet onebox
table inet onebox {
\tchain mss {
\t\ttype filter hook forward priority mangle; policy accept;
\t\tiifname \"onebox0\" tcp flags syn tcp option maxseg size set rt mtu
\t\toifname \"onebox0\" tcp flags syn tcp option maxseg size set rt mtu
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname \"onebox0\" accept
\t\toifname \"onebox0\" accept
\t}
\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tiifname != \"onebox0\" meta nfproto ipv4 fib daddr type local tcp dport 443 dnat ip to 192.168.1.10:8443
\t\tiifname != \"onebox0\" meta nfproto ipv6 fib daddr type local udp dport 53 dnat ip6 to [fd00::5]:53
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname != \"onebox0\" ip saddr { 10.99.0.0/24, 192.168.1.0/24 } masquerade
\t\toifname != \"onebox0\" ip6 saddr { fd00:99::/64 } masquerade
\t}
}
";
        assert_eq!(ruleset("onebox0", &tables, 0, &[]).text(), expected);
    }

    #[test]
    fn a_client_may_translate_its_lan() {
        let tables = Tables {
            mss_clamp: true,
            masquerade_into_tunnel: vec!["10.99.0.2".parse().unwrap()],
            ..Tables::default()
        };
        let ruleset = ruleset("onebox0", &tables, 0, &[]);
        let text = ruleset.text();
        assert!(
            text.contains(
                "\t\toifname \"onebox0\" ip saddr != { 10.99.0.2 } snat ip to 10.99.0.2\n"
            )
        );
        assert!(!text.contains("ip6 saddr"));
    }

    #[test]
    fn the_tunnels_addresses_are_reached_through_it_only() {
        let own = vec!["10.99.0.2".parse().unwrap(), "fd99::2".parse().unwrap()];
        let wan = |device: &str| WanMark { device: device.to_owned(), mark: 0x1000_0000 };
        let text = |guard, wans: &[WanMark]| {
            let tables = Tables { guard, ..Tables::default() };
            ruleset("onebox0", &tables, 0xf000_0000, wans).text().to_owned()
        };
        let router = text(Guard::FromWans(own.clone()), &[wan("wan2"), wan("wan1")]);
        for rule in [
            "\tchain guard {\n\t\ttype filter hook prerouting priority raw; policy accept;\n",
            "\t\tiifname { \"wan1\", \"wan2\" } ip daddr { 10.99.0.2 } drop\n",
            "\t\tiifname { \"wan1\", \"wan2\" } ip6 daddr { fd99::2 } drop\n",
        ] {
            assert!(router.contains(rule), "{router}");
        }
        assert!(!text(Guard::FromWans(own.clone()), &[]).contains("guard"));
        let server = text(Guard::FromAll(own), &[]);
        let rule =
            "\t\tiifname != \"onebox0\" ip daddr { 10.99.0.2 } fib saddr type != local drop\n";
        assert!(server.contains(rule), "{server}");
    }

    #[test]
    fn a_device_name_cannot_end_its_literal() {
        assert_eq!(quoted("a\" accept\n"), "\"a accept\"");
    }

    #[test]
    fn connections_that_come_in_by_a_wan_are_marked_and_answered_by_it() {
        let wan = |device: &str, mark| WanMark { device: device.to_owned(), mark };
        let wans = [wan("wan1", 0x5000_0000), wan("wan2", 0x7000_0000)];
        let ruleset = ruleset("onebox0", &Tables::default(), 0xf000_0000, &wans);
        for rule in [
            "iifname \"wan2\" ct state new ct mark set ct mark and 0xfffffff or 0x70000000\n",
            "ct direction reply ct mark and 0xf0000000 == 0x50000000 \
             meta mark set meta mark and 0xfffffff or 0x50000000\n",
        ] {
            assert!(ruleset.text().contains(rule), "{}", ruleset.text());
        }
        assert_eq!(ruleset.text().matches("ct direction reply").count(), 4);
    }
}
