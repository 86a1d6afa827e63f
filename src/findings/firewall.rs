//! Whether a firewall drops a packet, by its rules.
//!
//! Why: each base chain of a hook judges for itself. Our own table accepts what belongs to the tunnel,
//! and a chain of Docker, ufw or firewalld drops it all the same: the tunnel is up, and nothing gets
//! through.
//!
//! How: the rules as `nft -j list ruleset` shows them, and one typical packet, which walks through each
//! base chain of a hook as in the kernel. A condition is met, is not, or cannot be told.
//!
//! | what accepts | counts |
//! |---|---|
//! | a rule whose conditions are met | yes |
//! | one with a condition that cannot be told (a named set, a mark) | as if it did: nothing is told that may be wrong |
//! | one with a condition of iptables' own (`xt`), which are not shown | where it names the tunnel's device; as if it did, for an answer, or where it names the protocol or the device and the state; else no: nearly all of them let answers pass |
//!
//! Limits: rules of `iptables-legacy` and of eBPF are not seen. A packet is typical: TCP (what is
//! forwarded) to a port that no rule names. At most `STEPS_MAX` rules are walked for a packet.

use crate::prefix::Prefix;
use serde_json::Value;
use std::net::IpAddr;

/// Rules that are looked at for one packet and chain, after which it counts as let through.
const STEPS_MAX: usize = 10_000;
/// Chains that call each other; the kernel allows 16 (`NFT_JUMP_STACK_SIZE`).
const DEPTH_MAX: usize = 16;
/// Our own table, which drops nothing.
const OWN: (&str, &str) = ("inet", onebox_linux::nft::TABLE);

/// What is judged: a packet of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// IPv4, else IPv6.
    pub v4: bool,
    /// The device by which it comes, and that by which it leaves, as far as known.
    pub devices: [Option<&'a str>; 2],
    /// Where it comes from and goes to; None: some address on the internet.
    pub networks: [Option<&'a [Prefix]>; 2],
    /// The first of its connection, else an answer.
    pub is_first: bool,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The port of this host that it goes to; None: it is forwarded, to one that no rule names.
    pub port: Option<u16>,
    /// The tunnel's device.
    pub tunnel: &'a str,
}

/// Who made a chain, as far as its table tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Docker.
    Docker,
    /// ufw.
    Ufw,
    /// firewalld.
    Firewalld,
    /// OpenWrt's firewall.
    Fw4,
    /// Somebody else.
    Other,
}

impl Maker {
    /// Its name; None: nobody's.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Maker::Docker => Some("Docker"),
            Maker::Ufw => Some("ufw"),
            Maker::Firewalld => Some("firewalld"),
            Maker::Fw4 => Some("OpenWrt's firewall"),
            Maker::Other => None,
        }
    }
}

/// A base chain that drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

/// The rules of all programs.
#[derive(Debug, Default)]
pub struct Firewall(Vec<Chain>);

#[derive(Debug)]
struct Chain {
    place: Place,
    hook: Option<String>,
    drops: bool,
    rules: Vec<Vec<Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
}

/// Whether a condition is met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Yes,
    No,
    Unknown,
}

impl Met {
    fn of(yes: bool) -> Met {
        if yes { Met::Yes } else { Met::No }
    }

    fn not(self) -> Met {
        match self {
            Met::Yes => Met::No,
            Met::No => Met::Yes,
            Met::Unknown => Met::Unknown,
        }
    }
}

impl Firewall {
    /// Reads what `nft -j list ruleset` says. By hand: what serde would make of it takes 10 kB more.
    /// None: it is no such list.
    pub fn read(text: &[u8]) -> Option<Firewall> {
        let mut list: Value = serde_json::from_slice(text).ok()?;
        let mut firewall = Firewall::default();
        for item in list.get_mut("nftables")?.as_array_mut()? {
            let item = item.as_object_mut()?;
            if let Some(chain) = item.get("chain") {
                let word = |key: &str| chain.get(key).and_then(Value::as_str);
                firewall.0.push(Chain {
                    place: Place::read(chain, "name")?,
                    hook: word("hook").map(str::to_owned),
                    drops: word("policy") == Some("drop"),
                    rules: Vec::new(),
                });
            }
            // A chain is listed before its rules.
            if let Some(rule) = item.get_mut("rule") {
                let place = Place::read(rule, "chain")?;
                let chain = firewall.0.iter_mut().rfind(|chain| chain.place == place);
                let expressions = rule.get_mut("expr").and_then(Value::as_array_mut);
                if let (Some(chain), Some(expressions)) = (chain, expressions) {
                    chain.rules.push(std::mem::take(expressions));
                }
            }
        }
        firewall.0.retain(|chain| (&*chain.place.family, &*chain.place.table) != OWN);
        Some(firewall)
    }

    fn chain(&self, place: &Place) -> Option<&Chain> {
        self.0.iter().find(|chain| chain.place == *place)
    }

    /// The base chains of a hook that drop a packet for certain.
    pub fn dropping(&self, hook: &str, packet: &Packet<'_>) -> Vec<Place> {
        let families = if packet.v4 { ["ip", "inet"] } else { ["ip6", "inet"] };
        let of_hook = self.0.iter().filter(|chain| {
            chain.hook.as_deref() == Some(hook) && families.contains(&&*chain.place.family)
        });
        let dropping = of_hook.filter(|chain| {
            let mut walk = Walk { firewall: self, packet, steps: STEPS_MAX, perhaps: false };
            let verdict = walk.chain(chain, 0);
            let drops = verdict.map_or(chain.drops, |verdict| verdict == Verdict::Drop);
            drops && !walk.perhaps
        });
        dropping.map(|chain| chain.place.clone()).collect()
    }

    /// The zone of OpenWrt's firewall that a device belongs to, from its base chain of what is forwarded.
    pub fn zone(&self, place: &Place, device: &str) -> Option<&str> {
        let named = |statement: &Value| {
            let content = statement.get("match")?;
            let left = content.get("left")?.get("meta")?.get("key")?;
            let is = |value: &Value| Met::of(value.as_str() == Some(device));
            (left == "iifname" && any(content.get("right")?, &mut |value| is(value)) == Met::Yes)
                .then_some(())
        };
        self.chain(place)?.rules.iter().find_map(|rule| {
            let target = rule.iter().find_map(|statement| statement.get("jump")?.get("target"))?;
            rule.iter().find_map(named)?;
            target.as_str()?.strip_prefix("forward_")
        })
    }

    /// Who made the table of a chain.
    pub fn maker(&self, place: &Place) -> Maker {
        let beside = |name: &str| {
            let chain = name.to_owned();
            self.chain(&Place { chain, ..place.clone() }).is_some()
        };
        match place.table.as_str() {
            "firewalld" => Maker::Firewalld,
            "fw4" => Maker::Fw4,
            _ if place.chain != "INPUT" && beside("DOCKER-USER") => Maker::Docker,
            _ if beside("ufw-user-forward") || beside("ufw6-user-forward") => Maker::Ufw,
            _ => Maker::Other,
        }
    }
}

impl Place {
    fn read(object: &Value, chain: &str) -> Option<Place> {
        let word = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        Some(Place { family: word("family")?, table: word("table")?, chain: word(chain)? })
    }
}

/// A packet on its way through a base chain.
struct Walk<'a> {
    firewall: &'a Firewall,
    packet: &'a Packet<'a>,
    steps: usize,
    /// A rule may have accepted it.
    perhaps: bool,
}

impl Walk<'_> {
    /// None: it comes out at the end.
    fn chain(&mut self, chain: &Chain, depth: usize) -> Option<Verdict> {
        for rule in &chain.rules {
            if self.steps == 0 || depth > DEPTH_MAX {
                return Some(Verdict::Accept);
            }
            self.steps -= 1;
            match self.rule(&chain.place, rule, depth) {
                Flow::Next => {}
                Flow::Return => return None,
                Flow::End(verdict) => return Some(verdict),
            }
        }
        None
    }

    fn rule(&mut self, place: &Place, rule: &[Value], depth: usize) -> Flow {
        let mut conditions = Conditions::default();
        for statement in rule {
            let Some((kind, content)) = statement.as_object().and_then(|map| map.iter().next())
            else {
                continue;
            };
            match kind.as_str() {
                "match" => {
                    let met = self.packet.meets(content);
                    if met == Met::No {
                        return Flow::Next;
                    }
                    conditions.add(met, content, self.packet);
                }
                "limit" => conditions.unknown = true,
                "xt" => match xt(content) {
                    Xt::Met => {}
                    Xt::OfState => (conditions.hidden, conditions.of_state) = (true, true),
                    Xt::Unknown => conditions.hidden = true,
                    Xt::Reject => return self.verdict(place, "reject", content, conditions, depth),
                },
                "vmap" => {
                    let Some((kind, content)) = self.packet.look_up(content) else { continue };
                    match self.verdict(place, kind, content, conditions, depth) {
                        Flow::Next => {}
                        flow => return flow,
                    }
                }
                "accept" | "queue" | "drop" | "reject" | "return" | "jump" | "goto" => {
                    return self.verdict(place, kind, content, conditions, depth);
                }
                _ => {}
            }
        }
        Flow::Next
    }

    /// What a verdict does under these conditions.
    fn verdict(
        &mut self,
        place: &Place,
        kind: &str,
        content: &Value,
        conditions: Conditions,
        depth: usize,
    ) -> Flow {
        let mut met = conditions.met(self.packet.is_first);
        if conditions.hidden && met == Met::No && kind == "return" {
            // ufw has what is meant for this host return from the chain that drops all else.
            met = Met::Yes;
        }
        if met == Met::No {
            return Flow::Next;
        }
        let flow = match kind {
            "accept" | "queue" => Flow::End(Verdict::Accept),
            "drop" | "reject" => Flow::End(Verdict::Drop),
            "return" => Flow::Return,
            "jump" | "goto" => {
                let name = content.get("target").and_then(Value::as_str).unwrap_or_default();
                let target = Place { chain: name.to_owned(), ..place.clone() };
                let firewall = self.firewall;
                let chain = firewall.chain(&target);
                match chain.and_then(|chain| self.chain(chain, depth + 1)) {
                    Some(verdict) => Flow::End(verdict),
                    None if kind == "goto" => Flow::Return,
                    None => Flow::Next,
                }
            }
            _ => Flow::Next,
        };
        match (met, flow) {
            (Met::Yes, flow) => flow,
            (_, Flow::End(Verdict::Accept) | Flow::Return) => {
                self.perhaps = true;
                Flow::Next
            }
            _ => Flow::Next,
        }
    }
}

/// Where a packet goes after a rule.
enum Flow {
    Next,
    Return,
    End(Verdict),
}

/// The conditions of a rule that may be met, so far.
#[derive(Clone, Copy, Default)]
struct Conditions {
    /// One cannot be told.
    unknown: bool,
    /// One of iptables' own is not shown.
    hidden: bool,
    /// It is about the state of the connection.
    of_state: bool,
    /// The rule names the tunnel's device.
    names_tunnel: bool,
    /// The rule names the protocol.
    names_protocol: bool,
}

impl Conditions {
    fn add(&mut self, met: Met, content: &Value, packet: &Packet<'_>) {
        self.unknown |= met == Met::Unknown;
        self.names_tunnel |= content.get("right").and_then(Value::as_str) == Some(packet.tunnel);
        let key = content.get("left").and_then(|left| left.get("meta")?.get("key")?.as_str());
        self.names_protocol |= key == Some("l4proto")
            || content.get("right").and_then(Value::as_str) == Some(packet.protocol);
    }

    fn met(self, is_first: bool) -> Met {
        match self {
            Conditions { unknown: true, .. } => Met::Unknown,
            Conditions { hidden: false, .. } => Met::Yes,
            Conditions { names_tunnel: true, of_state: false, .. } => Met::Yes,
            Conditions { names_tunnel: true, .. } | Conditions { names_protocol: true, .. } => {
                Met::Unknown
            }
            // Nearly all of them let answers pass.
            _ if is_first => Met::No,
            _ => Met::Unknown,
        }
    }
}

/// What is to be seen of a part of a rule that is iptables' own.
enum Xt {
    Met,
    OfState,
    Unknown,
    Reject,
}

fn xt(content: &Value) -> Xt {
    let name = content.get("name").and_then(Value::as_str);
    let target = content.get("type").and_then(Value::as_str) == Some("target");
    match (target, name) {
        (true, Some("REJECT")) => Xt::Reject,
        (true, _) | (false, Some("comment")) => Xt::Met,
        (false, Some("conntrack" | "state")) => Xt::OfState,
        _ => Xt::Unknown,
    }
}

impl Packet<'_> {
    /// Whether it meets a condition (`match`).
    fn meets(&self, content: &Value) -> Met {
        let (Some(left), Some(right)) = (content.get("left"), content.get("right")) else {
            return Met::Unknown;
        };
        let equal = self.equals(left, right);
        match content.get("op").and_then(Value::as_str) {
            Some("==" | "in") => equal,
            // What has another header is none of it either way.
            Some("!=") if self.lacks(left) => Met::No,
            Some("!=") => equal.not(),
            _ => Met::Unknown,
        }
    }

    /// The verdict that a map has for it: its kind and what belongs to it.
    fn look_up<'v>(&self, content: &'v Value) -> Option<(&'v String, &'v Value)> {
        let key = content.get("key")?;
        let pairs = content.get("data")?.get("set")?.as_array()?;
        let found = pairs.iter().find_map(|pair| {
            let [value, verdict] = pair.as_array()?.as_slice() else { return None };
            (self.equals(key, value) == Met::Yes).then_some(verdict)
        });
        found?.as_object()?.iter().next()
    }

    /// Whether it has no such header.
    fn lacks(&self, left: &Value) -> bool {
        match left.get("payload").and_then(|p| p.get("protocol")).and_then(Value::as_str) {
            Some("ip") => !self.v4,
            Some("ip6") => self.v4,
            Some("th") | None => false,
            Some(protocol) => protocol != self.protocol,
        }
    }

    fn equals(&self, left: &Value, right: &Value) -> Met {
        if self.lacks(left) {
            return Met::No;
        }
        let key = |kind: &str| left.get(kind).and_then(|inner| inner.get("key")?.as_str());
        if let Some(key) = key("meta") {
            return match key {
                "iif" | "iifname" => self.on_device(0, right),
                "oif" | "oifname" => self.on_device(1, right),
                "nfproto" => is_one_of(right, &[if self.v4 { "ipv4" } else { "ipv6" }]),
                "protocol" => is_one_of(right, &[if self.v4 { "ip" } else { "ip6" }]),
                "l4proto" => self.has_protocol(right),
                _ => Met::Unknown,
            };
        }
        if let Some(key) = key("ct") {
            return match key {
                "state" => is_one_of(right, &[if self.is_first { "new" } else { "established" }]),
                "direction" => {
                    is_one_of(right, &[if self.is_first { "original" } else { "reply" }])
                }
                "status" if is_one_of(right, &["dnat", "snat"]) == Met::Yes => Met::No,
                _ => Met::Unknown,
            };
        }
        if let Some(fib) = left.get("fib") {
            let is_type = fib.get("result").and_then(Value::as_str) == Some("type");
            let of_target = fib.get("flags").and_then(|flags| flags.get(0)?.as_str());
            let own = if self.port.is_some() { "local" } else { "unicast" };
            return match is_type && of_target == Some("daddr") {
                true => is_one_of(right, &[own]),
                false => Met::Unknown,
            };
        }
        if let Some(payload) = left.get("payload") {
            return match payload.get("field").and_then(Value::as_str) {
                Some("saddr") => self.at(0, right),
                Some("daddr") => self.at(1, right),
                Some("protocol" | "nexthdr") => self.has_protocol(right),
                Some("dport") => self.goes_to(right),
                Some("sport") => any(right, &mut |_| Met::No),
                _ => Met::Unknown,
            };
        }
        Met::Unknown
    }

    fn on_device(&self, end: usize, right: &Value) -> Met {
        any(right, &mut |value| {
            let (Some(name), Some(asked)) = (self.devices[end], value.as_str()) else {
                // Whatever other device it is, it is not the tunnel's.
                return match value.as_str() == Some(self.tunnel) {
                    true => Met::No,
                    false => Met::Unknown,
                };
            };
            Met::of(match asked.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == asked,
            })
        })
    }

    fn has_protocol(&self, right: &Value) -> Met {
        let number = if self.protocol == "tcp" { 6 } else { 17 };
        any(right, &mut |value| {
            Met::of(value.as_str() == Some(self.protocol) || value.as_u64() == Some(number))
        })
    }

    fn goes_to(&self, right: &Value) -> Met {
        let Some(port) = self.port.map(u64::from) else { return any(right, &mut |_| Met::No) };
        any(right, &mut |value| match (value.as_u64(), value.get("range")) {
            (Some(number), _) => Met::of(number == port),
            (None, Some(range)) => {
                let end = |index: usize| range.get(index).and_then(Value::as_u64);
                Met::of(end(0) <= Some(port) && Some(port) <= end(1))
            }
            _ => Met::Unknown,
        })
    }

    fn at(&self, end: usize, right: &Value) -> Met {
        any(right, &mut |value| {
            let Some((first, last)) = span(value) else { return Met::Unknown };
            match self.networks[end] {
                // Some address on the internet is not among those that are named, unless all are.
                None => Met::of(Prefix::new(first, 0).map(ends) == Some((first, last))),
                Some(networks) => Met::of(networks.iter().any(|network| {
                    let (from, to) = ends(*network);
                    from.is_ipv4() == first.is_ipv4() && from <= last && first <= to
                })),
            }
        })
    }
}

/// Whether one value of a condition's right side is met: a value, a list, a set. The elements of a
/// named set are not known.
fn any(right: &Value, meets: &mut dyn FnMut(&Value) -> Met) -> Met {
    let list = right.as_array().or_else(|| right.get("set")?.as_array());
    if let Some(list) = list {
        let mut all = Met::No;
        for value in list {
            match any(value, meets) {
                Met::Yes => return Met::Yes,
                Met::Unknown => all = Met::Unknown,
                Met::No => {}
            }
        }
        return all;
    }
    match right.as_str() {
        Some(name) if name.starts_with('@') => Met::Unknown,
        _ => meets(right),
    }
}

fn is_one_of(right: &Value, names: &[&str]) -> Met {
    any(right, &mut |value| Met::of(value.as_str().is_some_and(|value| names.contains(&value))))
}

/// First and last address of what a rule names.
fn span(value: &Value) -> Option<(IpAddr, IpAddr)> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(range) = value.get("range") {
        return Some((address(range.get(0)?)?, address(range.get(1)?)?));
    }
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return Prefix::new(address(prefix.get("addr")?)?, length).map(ends);
    }
    address(value).map(|address| (address, address))
}

fn ends(network: Prefix) -> (IpAddr, IpAddr) {
    let (address, length) = (network.address(), u32::from(network.length()));
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            (address, std::net::Ipv4Addr::from(u32::from(v4) | host).into())
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            (address, std::net::Ipv6Addr::from(u128::from(v6) | host).into())
        }
    }
}
