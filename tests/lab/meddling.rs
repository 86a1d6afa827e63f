//! What others do to what is ours in the kernel of a router or server, and whether it is as before.
//!
//! Limits: the commands are those of iproute2 and nftables; a daemon that meddles does the same by
//! netlink.

use super::netns::Netns;

/// What somebody does, one command a line, and a question whose answer has to be again as before.
pub struct Meddling {
    /// A word for it.
    pub key: &'static str,
    /// What it is.
    pub name: &'static str,
    /// What is run.
    pub commands: &'static str,
    /// What shows that it is as before.
    pub question: &'static str,
}

/// All that is known.
pub const MEDDLING: [Meddling; 11] = [
    Meddling {
        key: "nft-flush",
        name: "all of nftables flushed",
        commands: "nft flush ruleset",
        question: "nft list table inet onebox",
    },
    Meddling {
        key: "nft-delete",
        name: "our nftables table deleted",
        commands: "nft delete table inet onebox",
        question: "nft list table inet onebox",
    },
    Meddling {
        key: "nft-empty",
        name: "our nftables chains emptied",
        commands: "nft flush table inet onebox",
        question: "nft list table inet onebox",
    },
    Meddling {
        key: "rules4",
        name: "IPv4 rules deleted, as another network daemon does when it starts anew",
        commands: "ip -4 rule flush\nip -4 rule add priority 32766 lookup main\n\
                   ip -4 rule add priority 32767 lookup default",
        question: "ip -4 rule show protocol 111",
    },
    Meddling {
        key: "rules6",
        name: "IPv6 rules deleted",
        commands: "ip -6 rule flush\nip -6 rule add priority 32766 lookup main",
        question: "ip -6 rule show protocol 111",
    },
    Meddling {
        key: "routes",
        name: "routes of our table deleted",
        commands: "ip -4 route flush table 51\nip -6 route flush table 51",
        question: "ip -4 route show table 51",
    },
    Meddling {
        key: "addresses",
        name: "addresses taken from the device",
        commands: "ip addr flush dev onebox0 scope global",
        question: "ip -br addr show dev onebox0 scope global",
    },
    Meddling {
        key: "addresses-routes",
        name: "addresses taken from the device, and with them its routes",
        commands: "ip addr flush dev onebox0 scope global",
        question: "ip -4 route show table 51",
    },
    Meddling {
        key: "device-off",
        name: "the device switched off",
        commands: "ip link set onebox0 down",
        question: "ip -br addr show dev onebox0 scope global",
    },
    Meddling {
        key: "device-mtu",
        name: "the device's MTU changed",
        commands: "ip link set onebox0 mtu 600",
        question: "cat /sys/class/net/onebox0/mtu",
    },
    Meddling {
        key: "device-delete",
        name: "the device deleted",
        commands: "ip link del onebox0",
        question: "ip -br addr show dev onebox0 scope global",
    },
];

/// What a command says; nothing if it fails.
pub fn say(namespace: &Netns, line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = namespace.command(words.next().expect("a program")).args(words).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { text } else { String::new() }
}

/// The answer in its lines, sorted: what is made again need not come in the same order. IPv6 shows a
/// new address a moment later.
pub fn answer(namespace: &Netns, question: &str) -> Vec<String> {
    let mut lines: Vec<String> = say(namespace, question)
        .lines()
        .map(|line| line.split_whitespace().filter(|word| *word != "tentative").collect::<Vec<_>>())
        .map(|words| words.join(" "))
        .collect();
    lines.sort();
    lines
}

/// What a kernel has of ours, or of anybody.
pub fn system(namespace: &Netns) -> Vec<String> {
    let commands = [
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip -o link",
        "nft list ruleset",
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
    ];
    commands.iter().map(|command| namespace.output(command)).collect()
}
