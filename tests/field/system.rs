//! What the system around the program does to it: firewalls of others that drop what is forwarded,
//! another VPN, forwarding or IPv6 switched off. Each is told by `onebox check --system` with the
//! command that mends it, and the firewalls by the running program as well.

use crate::lab::netns::Netns;
use crate::lab::onebox::{Instance, Keys, Pair, peer_of, router_config, server_config};
use crate::lab::programs::{ping, poll_until};
use crate::lab::topology::{INTERNET, Lab, Wan};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

/// How long it takes the running program to notice: 10 s after its last look, and the look.
const NOTICED: Duration = Duration::from_secs(15);
/// How long it may take until traffic passes that was stopped.
const BACK: Duration = Duration::from_secs(5);

/// Rules as Docker leaves them: what it did not make is dropped.
const DOCKER: &str = "
    table ip filter {
        chain DOCKER-USER { }
        chain DOCKER-CT { oifname docker0 ct state established,related counter accept; }
        chain DOCKER-FORWARD {
            counter jump DOCKER-CT
            oifname docker0 counter drop
            iifname docker0 counter accept
        }
        chain FORWARD {
            type filter hook forward priority filter; policy drop;
            counter jump DOCKER-USER
            counter jump DOCKER-FORWARD
        }
    }";

/// Rules as ufw leaves them once it is enabled: answers pass, nothing else.
const UFW: &str = "
    table ip filter {
        chain ufw-user-forward { }
        chain ufw-user-input { tcp dport 22 counter accept; }
        chain ufw-before-forward {
            ct state established,related counter accept
            counter jump ufw-user-forward
        }
        chain ufw-before-input {
            iifname lo counter accept
            ct state established,related counter accept
            counter jump ufw-user-input
        }
        chain INPUT {
            type filter hook input priority filter; policy drop;
            counter jump ufw-before-input
        }
        chain FORWARD {
            type filter hook forward priority filter; policy drop;
            counter jump ufw-before-forward
        }
    }";

/// Somebody's own, for both families.
const OWN: &str = "
    table inet wall {
        chain in { type filter hook input priority filter; policy accept; }
        chain through {
            type filter hook forward priority filter; policy drop;
            iifname eth7 accept
        }
    }";

/// Puts rules in force.
fn load(namespace: &Netns, rules: &str) {
    let mut child =
        namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
    child.stdin.take().expect("stdin").write_all(rules.as_bytes()).expect("rules");
    assert!(child.wait().expect("nft ends").success(), "{rules}");
}

/// Runs a line as it was printed.
fn shell(namespace: &Netns, line: &str) {
    let output = namespace.command("sh").args(["-c", line]).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One paragraph of what `check --system` prints.
#[derive(Debug)]
struct Told {
    words: String,
    command: String,
}

/// The exit code of `check --system`, and what it prints.
fn check(instance: &Instance<'_>) -> (i32, Vec<Told>) {
    understood(&{
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(instance.config_file(), mode).expect("its mode");
        instance.command(&["check", "--system"])
    })
}

fn understood(output: &std::process::Output) -> (i32, Vec<Told>) {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.is_empty());
    let told = paragraphs.map(|paragraph| {
        let (words, command) = paragraph.trim_end().split_once("\n    ").expect("a command");
        Told { words: words.to_owned(), command: command.to_owned() }
    });
    (output.status.code().expect("it ends"), told.collect())
}

fn lab() -> Lab {
    Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)])
}

/// Whether one ping of the LAN gets through the tunnel and back.
fn carries(lab: &Lab) -> bool {
    !ping(&lab.site().lan, INTERNET, 1, 50, &[]).rtts_ms.is_empty()
}

fn wait_noticed(end: &Instance<'_>) -> String {
    let told = poll_until(NOTICED, "the running program tells", || {
        let problems = end.status().problems;
        problems.into_iter().find(|problem| problem.code == "forward_blocked")
    });
    assert!(told.remedy.contains("onebox check --system"), "{told:?}");
    told.words
}

fn wait_over(end: &Instance<'_>) {
    poll_until(NOTICED, "the running program sees that it is over", || {
        let problems = end.status().problems;
        problems.iter().all(|problem| problem.code != "forward_blocked").then_some(())
    });
}

/// A server and a router that do not run.
fn ends(lab: &Lab) -> (Instance<'_>, Instance<'_>) {
    let (server_keys, router_keys) = (Keys::new(), Keys::new());
    let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
    let server = Instance::new(&lab.server, &server_config(&server_keys, &[peer]));
    let router = router_config(&router_keys, &server_keys.public, None, 2, "");
    (server, Instance::new(&lab.site().router, &router))
}

#[test]
fn where_nothing_is_wrong_nothing_is_told() {
    let lab = lab();
    let (server, router) = ends(&lab);
    for end in [&server, &router] {
        end.namespace.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
        let (code, told) = check(end);
        assert!(code == 0 && told.is_empty(), "{code} {told:?}");
    }
    let pair = Pair::up(&lab);
    for end in [&pair.server, &pair.router] {
        let (code, told) = check(end);
        assert!(code == 0 && told.is_empty(), "{code} {told:?}");
    }
}

/// On either side: the tunnel is up, and nothing gets through until the command that is printed has
/// been run.
#[test]
fn a_firewall_of_somebodys_own_that_drops() {
    let lab = lab();
    let pair = Pair::up(&lab);
    for end in [&pair.server, &pair.router] {
        poll_until(BACK, "it carries", || carries(&lab).then_some(()));
        load(end.namespace, OWN);
        assert!(!carries(&lab), "it drops");
        let (code, told) = check(end);
        assert_eq!((code, told.len()), (1, 1), "{told:?}");
        assert!(told[0].words.starts_with("Chain through of table inet wall drops"), "{told:?}");
        let noticed = wait_noticed(end);
        assert!(noticed.contains("chain through of table inet wall"), "{noticed}");

        shell(end.namespace, &told[0].command);
        poll_until(BACK, "it carries again", || carries(&lab).then_some(()));
        let (code, told) = check(end);
        assert!(code == 0 && told.is_empty(), "{code} {told:?}");
        wait_over(end);
        end.namespace.output("nft delete table inet wall");
    }
}

#[test]
fn docker_and_ufw_on_a_server() {
    let lab = lab();
    let pair = Pair::up(&lab);
    let server = &pair.server;
    let docker = "iptables -I DOCKER-USER -i onebox0 -j ACCEPT && iptables -I DOCKER-USER -o onebox0 -j ACCEPT";
    let ufw = "ufw route allow in on onebox0 && ufw route allow out on onebox0";
    for (rules, name, command, mended) in
        [(DOCKER, "(Docker)", docker, "DOCKER-USER"), (UFW, "(ufw)", ufw, "ufw-user-forward")]
    {
        poll_until(BACK, "it carries", || carries(&lab).then_some(()));
        load(&lab.server, rules);
        assert!(!carries(&lab), "{name} drops");
        let (code, told) = check(server);
        assert_eq!(code, 1);
        let dropped = told.iter().find(|told| told.words.contains("forwarded")).expect("told");
        assert!(dropped.words.contains(name), "{dropped:?}");
        assert_eq!(dropped.command, command);
        let blocked = told.iter().find(|told| told.words.contains("UDP to port 51830"));
        assert_eq!(
            blocked.map(|b| &*b.command),
            (name == "(ufw)").then_some("ufw allow 51830/udp")
        );
        let noticed = wait_noticed(server);
        assert!(noticed.contains(name), "{noticed}");

        // What those programs would do with these commands.
        for key in ["iifname", "oifname"] {
            lab.server.output(&format!("nft insert rule ip filter {mended} {key} onebox0 accept"));
        }
        if blocked.is_some() {
            lab.server.output("nft add rule ip filter ufw-user-input udp dport 51830 accept");
        }
        poll_until(BACK, "it carries again", || carries(&lab).then_some(()));
        let (code, told) = check(server);
        assert!(code == 0 && told.is_empty(), "{code} {told:?}");
        wait_over(server);
        lab.server.output("nft delete table ip filter");
    }
}

#[test]
fn another_vpn_is_told_with_the_section_that_names_it() {
    let lab = lab();
    let (_, router) = ends(&lab);
    lab.site().router.ip("tuntap add mode tun name vpn0\n\
         addr add 172.16.0.2/24 dev vpn0\n\
         link set vpn0 up\n\
         route add default via 172.16.0.1 dev vpn0 metric 5\n");
    let (code, told) = check(&router);
    assert_eq!((code, told.len()), (0, 1), "{told:?}");
    assert!(told[0].words.starts_with("Note: vpn0 is a tunnel of another VPN"), "{told:?}");
    let add = told[0].command.strip_suffix(" && onebox reload").expect("then a reload");
    shell(&lab.site().router, add);
    let (code, told) = check(&router);
    assert!(code == 0 && told.is_empty(), "{code} {told:?}");
}

#[test]
fn forwarding_that_is_off_is_turned_on_or_told() {
    let lab = lab();
    let (server, router) = ends(&lab);
    for end in [&server, &router] {
        end.namespace.sysctl(&[("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")]);
        let (code, told) = check(end);
        assert_eq!((code, told.len()), (0, 2), "{told:?}");
        assert!(told.iter().all(|told| told.words.contains("when it starts")), "{told:?}");
        // Where the switches cannot be turned, as in many containers.
        let command = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
                       exec \"$0\" check --system -c \"$1\"";
        let output = end
            .namespace
            .command("sh")
            .args(["-c", command])
            .arg(crate::lab::onebox::binary())
            .arg(end.config_file())
            .output()
            .expect("sh");
        let (code, told) = understood(&output);
        assert_eq!((code, told.len()), (1, 2), "{told:?}");
        assert!(told[0].words.contains("does not forward IPv4"), "{told:?}");
        told.iter().for_each(|told| shell(end.namespace, &told.command));
        let (code, told) = check(end);
        assert!(code == 0 && told.is_empty(), "{code} {told:?}");
    }
}

#[test]
fn ipv6_that_is_off_and_no_way_out_are_told() {
    let lab = lab();
    let (_, router) = ends(&lab);
    let namespace = &lab.site().router;
    namespace.sysctl(&[("ipv6/conf/all/disable_ipv6", "1")]);
    let (code, told) = check(&router);
    assert_eq!((code, told.len()), (0, 1), "{told:?}");
    assert!(told[0].words.contains("IPv6 is switched off here: the tunnel carries IPv4 alone"));
    shell(namespace, &told[0].command);
    assert_eq!(check(&router).1.len(), 0);

    for wan in ["wan1", "wan2"] {
        namespace.output(&format!("ip -4 route del default dev {wan}"));
    }
    // IPv6 routes have gone with IPv6.
    let (code, told) = check(&router);
    assert_eq!((code, told.len()), (1, 1), "{told:?}");
    assert!(told[0].words.starts_with("There is no WAN that works"), "{told:?}");
    let command = told[0].command.replace("GATEWAY", "10.1.0.1").replace("DEVICE", "wan1");
    shell(namespace, &command);
    assert_eq!(check(&router).0, 0);
}
