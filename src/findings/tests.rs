//! What is found, from rules in the form in which each program makes them and nft lists them.

use super::*;

const DOCKER: &str = include_str!("rulesets/docker.json");
const UFW: &str = include_str!("rulesets/ufw.json");
const FIREWALLD: &str = include_str!("rulesets/firewalld.json");
const FW4: &str = include_str!("rulesets/fw4.json");
const NOTHING: &str = r#"{"nftables": [{"metainfo": {"json_schema_version": 1}}]}"#;

fn prefixes(list: &[&str]) -> Vec<Prefix> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// A server with one way out, where nothing is wrong, under these rules.
fn server(rules: &str) -> Facts {
    let on = Forwards { on: Some(true), can_be_turned: true };
    Facts {
        forwarding: Forwarding {
            device: "onebox0".to_owned(),
            server: true,
            v4: true,
            v6: true,
            others: vec!["eth0".to_owned()],
            networks: prefixes(&["10.99.0.0/24", "192.168.7.0/24", "fd99::/64"]),
        },
        firewall: Ok(Firewall::read(rules.as_bytes()).unwrap()),
        listen_port: 51830,
        own: prefixes(&["198.51.100.1", "2001:db8::1"]),
        ways_out: Ok(()),
        tunnels: Vec::new(),
        forwards: [on, on],
        ipv6: Ipv6::On,
        strict_sources: false,
        overlaps: Vec::new(),
        tun: Ok(()),
        running: false,
        file: "/etc/config/onebox".to_owned(),
        openwrt: false,
        netifd: None,
    }
}

/// A router with one LAN, the same.
fn router(rules: &str) -> Facts {
    let mut facts = server(rules);
    facts.forwarding.server = false;
    facts.forwarding.others = vec!["br-lan".to_owned()];
    facts.forwarding.networks = prefixes(&["192.168.7.0/24", "fd00:7::/64"]);
    facts
}

#[test]
fn one_network_at_two_places_is_told_with_what_is_known_to_mend_it() {
    let mut facts = router(NOTHING);
    let network: Prefix = "192.168.1.0/24".parse().unwrap();
    for (device, openwrt, command) in
        [("br-lan", true, true), ("br-guest", true, false), ("br-lan", false, false)]
    {
        let (inner, outer) = ((device.to_owned(), network), ("eth1".to_owned(), network));
        facts.overlaps = vec![Overlap { inner, outer }];
        facts.openwrt = openwrt;
        let [(kind, stops, line)] = &told(&facts)[..] else { panic!("{:?}", told(&facts)) };
        assert_eq!((*kind, *stops, !line.is_empty()), (Kind::NetworksOverlap, true, command));
    }
}

fn told(facts: &Facts) -> Vec<(Kind, bool, String)> {
    findings(facts).into_iter().map(|f| (f.kind, f.stops, f.command)).collect()
}

/// A ruleset of one table `inet t` with one chain at a hook.
fn chain(hook: &str, policy: &str, rules: &[&str]) -> String {
    let of = r#""family":"inet","table":"t""#;
    let base = format!(
        r#"{{"chain":{{{of},"name":"c","type":"filter","hook":"{hook}","prio":0,"policy":"{policy}"}}}}"#
    );
    let rules = rules.iter().map(|e| format!(r#"{{"rule":{{{of},"chain":"c","expr":[{e}]}}}}"#));
    let all: Vec<String> = [base].into_iter().chain(rules).collect();
    format!(r#"{{"nftables":[{}]}}"#, all.join(","))
}

fn meta(key: &str, op: &str, right: &str) -> String {
    format!(r#"{{"match":{{"op":"{op}","left":{{"meta":{{"key":"{key}"}}}},"right":{right}}}}}"#)
}

fn drops(rules: &[&str]) -> bool {
    !told(&server(&chain("forward", "drop", rules))).is_empty()
}

#[test]
fn every_finding_has_a_code_of_its_own() {
    use Kind::*;
    let all = [
        ForwardDropped,
        InputBlocked,
        ForwardingOff,
        Ipv6Off,
        OtherTunnel,
        NoDefaultRoute,
        StrictSources,
        NoNft,
        NoTun,
    ];
    let codes: std::collections::BTreeSet<&str> = all.into_iter().map(Kind::code).collect();
    assert_eq!(codes.len(), all.len());
}

#[test]
fn where_nothing_is_wrong_nothing_is_told() {
    assert_eq!(told(&server(NOTHING)), []);
    assert_eq!(told(&router(NOTHING)), []);
}

#[test]
fn docker_drops_what_a_server_forwards() {
    let facts = server(DOCKER);
    let command = "iptables -I DOCKER-USER -i onebox0 -j ACCEPT && iptables -I DOCKER-USER -o onebox0 -j ACCEPT";
    assert_eq!(told(&facts), [(Kind::ForwardDropped, true, command.to_owned())]);
    let words = &findings(&facts)[0].words;
    let beginning =
        "Chain FORWARD of table ip filter (Docker) drops what is forwarded from and to onebox0";
    assert!(words.starts_with(beginning) && words.contains("no IPv4 internet"), "{words}");
    assert_eq!(told(&router(DOCKER)).len(), 1);
}

#[test]
fn ufw_drops_both_ways_and_both_families() {
    let facts = server(UFW);
    let (forward, input) = (
        "ufw route allow in on onebox0 && ufw route allow out on onebox0".to_owned(),
        "ufw allow 51830/udp".to_owned(),
    );
    let both = |kind, command: &String| vec![(kind, true, command.clone()); 2];
    let expected =
        [both(Kind::InputBlocked, &input), both(Kind::ForwardDropped, &forward)].concat();
    assert_eq!(told(&facts), expected);
    let families = findings(&facts)[2..].iter().map(|f| f.words.clone()).collect::<String>();
    assert!(families.contains("no IPv4") && families.contains("no IPv6"), "{families}");
    // What it then has: a rule for the device in the chain of the user, and one for the port.
    let rule = |chain: &str, expr: String| {
        format!(
            r#",{{"rule":{{"family":"ip","table":"filter","chain":"{chain}","expr":[{expr},{{"accept":null}}]}}}}]}}"#
        )
    };
    let add = |text: &str, more: String| {
        let end = text.rfind(']').unwrap();
        format!("{}{more}", &text[..end])
    };
    let port = r#"{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":51830}}"#;
    let mut rules = UFW.to_owned();
    for (chain, expr) in [
        ("ufw-user-forward", meta("iifname", "==", "\"onebox0\"")),
        ("ufw-user-forward", meta("oifname", "==", "\"onebox0\"")),
        ("ufw-user-input", port.to_owned()),
    ] {
        rules = add(&rules, rule(chain, expr));
    }
    let mut facts = server(&rules);
    facts.forwarding.v6 = false;
    facts.own.truncate(1);
    assert_eq!(told(&facts), []);
}

#[test]
fn firewalld_has_a_zone_for_the_tunnel_or_drops() {
    let facts = server(FIREWALLD);
    let forward = "firewall-cmd --permanent --zone=trusted --add-interface=onebox0 && \
                   firewall-cmd --reload";
    let input = "firewall-cmd --permanent --add-port=51830/udp && firewall-cmd --reload";
    let expected = [(Kind::InputBlocked, input), (Kind::ForwardDropped, forward)];
    assert_eq!(told(&facts), expected.map(|(kind, command)| (kind, true, command.to_owned())));
    // What it then has: a zone that forwards all that comes by the device. Before that, addresses of
    // IPv6 are refused that carry IPv4 (::/96).
    let of = r#""family": "inet", "table": "firewalld""#;
    let zone = format!(
        r#"{{"chain": {{{of}, "name": "filter_FWD_trusted", "handle": 50}}}},
           {{"rule": {{{of}, "chain": "filter_FWD_trusted", "handle": 51, "expr": [{{"accept": null}}]}}}},
           {{"rule": {{{of}, "chain": "filter_FORWARD_POLICIES", "handle": 52, "expr": [{}, {{"goto": {{"target": "filter_FWD_trusted"}}}}]}}}},"#,
        meta("iifname", "==", "\"onebox0\"")
    );
    let first = FIREWALLD.lines().find(|line| line.contains("\"handle\": 23,")).unwrap();
    let facts = server(&FIREWALLD.replace(first, &format!("{zone}{first}")));
    assert_eq!(told(&facts), [(Kind::InputBlocked, true, input.to_owned())]);
}

#[test]
fn openwrts_firewall_with_the_rules_of_the_service_drops_nothing() {
    assert_eq!(told(&router(FW4)), []);
    // Without them, or without a zone for the interface that the tunnel is.
    let without = FW4.replace("\"right\": \"onebox0\"", "\"right\": \"other0\"");
    let mut facts = Facts { openwrt: true, ..router(&without) };
    let command = "service onebox restart && service firewall reload".to_owned();
    assert_eq!(told(&facts), [(Kind::ForwardDropped, true, command)]);
    // With the service, a zone that may not use the WANs either.
    facts.running = true;
    let rule = "uci add firewall rule && uci set firewall.@rule[-1].src=lan && \
                uci set firewall.@rule[-1].dest='*' && \
                uci set firewall.@rule[-1].device=onebox0 && \
                uci set firewall.@rule[-1].direction=out && \
                uci set firewall.@rule[-1].proto=all && \
                uci set firewall.@rule[-1].target=ACCEPT && \
                uci commit firewall && service firewall reload";
    assert_eq!(told(&facts), [(Kind::ForwardDropped, true, rule.to_owned())]);
    facts.netifd = Some("vpn".to_owned());
    let end = "uci commit firewall && service firewall reload";
    let command = |facts: &Facts| told(facts).remove(0).2;
    assert_eq!(command(&facts), format!("uci add_list firewall.@zone[1].network=vpn && {end}"));
    // The tunnel has a zone of its own, from which and to which nothing is forwarded.
    let lan = without.lines().find(|line| line.contains("\"handle\": 31,")).unwrap();
    let own = lan.replace("br-lan", "onebox0").replace("forward_lan", "forward_vpn");
    let mut facts =
        Facts { netifd: facts.netifd, ..router(&without.replace(lan, &format!("{own}{lan}"))) };
    let between = |from: &str, to: &str| {
        format!(
            "uci add firewall forwarding && uci set firewall.@forwarding[-1].src={from} && \
             uci set firewall.@forwarding[-1].dest={to} && {end}"
        )
    };
    assert_eq!(command(&facts), between("lan", "vpn"));
    facts.forwarding.server = true;
    facts.forwarding.others = vec!["wan1".to_owned()];
    let forward = findings(&facts).into_iter().find(|one| one.kind == Kind::ForwardDropped);
    assert_eq!(forward.unwrap().command, between("vpn", "wan"));
}

#[test]
fn a_guest_network_may_be_kept_from_the_tunnel() {
    let mut facts = router(&FW4.replace("oifname", "iifgroup"));
    facts.forwarding.others = vec!["br-guest".to_owned(), "br-lan".to_owned()];
    assert_eq!(told(&facts), [], "what cannot be told is no finding");
    let only_lan = [
        &*format!(
            "{},{},{{\"accept\":null}}",
            meta("iifname", "==", "\"br-lan\""),
            meta("oifname", "==", "\"onebox0\"")
        ),
        r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}"#,
    ];
    facts.firewall = Ok(Firewall::read(chain("forward", "drop", &only_lan).as_bytes()).unwrap());
    assert_eq!(told(&facts), []);
    facts.forwarding.others.pop();
    assert_eq!(told(&facts).len(), 1);
}

#[test]
fn another_program_gets_a_rule_in_its_own_chain() {
    let facts = server(&chain("forward", "drop", &[]));
    let command = "nft insert rule inet t c iifname onebox0 accept && \
                   nft insert rule inet t c oifname onebox0 accept";
    assert_eq!(told(&facts), [(Kind::ForwardDropped, true, command.to_owned())]);
    let facts = server(&chain("input", "drop", &[]));
    let command = "nft insert rule inet t c udp dport 51830 accept".to_owned();
    assert_eq!(told(&facts), [(Kind::InputBlocked, true, command)]);
}

#[test]
fn a_rule_that_drops_all_drops_under_any_policy() {
    let drop = r#"{"counter":{"packets":1,"bytes":2}},{"drop":null}"#;
    assert_eq!(told(&server(&chain("forward", "accept", &[drop]))).len(), 1);
    assert_eq!(told(&server(&chain("forward", "accept", &[r#"{"reject":{}}"#]))).len(), 1);
    let other = format!("{},{drop}", meta("iifname", "==", "\"eth7\""));
    assert_eq!(told(&server(&chain("forward", "accept", &[&other]))), []);
}

#[test]
fn conditions_are_understood_or_not_told() {
    let accept = |conditions: &[String]| format!("{},{{\"accept\":null}}", conditions.join(","));
    let from = |right: &str| meta("iifname", "==", right);
    let to = |right: &str| meta("oifname", "==", right);
    let both = |from: String, to: String| {
        let (from, to) = (accept(&[from]), accept(&[to]));
        drops(&[&*from, &*to])
    };
    assert!(!both(from("\"onebox0\""), to("\"onebox0\"")));
    assert!(!both(from("\"one*\""), to(r#"{"set":["lo","onebox0"]}"#)));
    assert!(drops(&[&accept(&[from("\"onebox0\"")])]), "the answers");
    assert!(both(from("\"onebox1\""), to("\"onebox0\"")));
    // From elsewhere than docker0 is from the tunnel as well.
    assert!(!drops(&[&accept(&[meta("iifname", "!=", "\"docker0\"")])]));
    // A named set, a mark, a rate: it may be so.
    for unknown in [
        r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@mine"}}"#,
        r#"{"match":{"op":"==","left":{"meta":{"key":"mark"}},"right":7}}"#,
        r#"{"limit":{"rate":3,"per":"minute"}}"#,
    ] {
        let mut facts = server(&chain("forward", "drop", &[&accept(&[unknown.to_owned()])]));
        facts.forwarding.v6 = false;
        assert_eq!(told(&facts), [], "{unknown}");
    }
    // One of iptables' own counts where the rule names the device.
    let xt = r#"{"xt":null}"#.to_owned();
    assert!(!both(format!("{},{xt}", from("\"onebox0\"")), format!("{},{xt}", to("\"onebox0\""))));
    assert!(drops(&[&accept(&[xt])]));
    // As people set up a router with iptables: out by the device, answers by their state.
    let state = r#"{"xt":{"type":"match","name":"conntrack"}}"#.to_owned();
    let (out, answers) = (accept(&[from("\"onebox0\"")]), accept(&[state]));
    assert!(!drops(&[&*out, &*answers]));
    assert!(drops(&[&*answers]));
    // One port is not all traffic, nor is one address.
    let port = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":443}}"#;
    assert!(drops(&[&accept(&[port.to_owned()])]));
}

#[test]
fn addresses_of_the_lans_count() {
    let address = |field: &str, right: &str| {
        format!(
            r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"ip","field":"{field}"}}}},"right":{right}}}}},{{"accept":null}}"#
        )
    };
    let dropped = |right: &str| {
        let (from, to) = (address("saddr", right), address("daddr", right));
        let mut facts = server(&chain("forward", "drop", &[&from, &to]));
        facts.forwarding.v6 = false;
        !told(&facts).is_empty()
    };
    assert!(!dropped(r#"{"prefix":{"addr":"10.99.0.0","len":24}}"#));
    assert!(!dropped(r#"{"set":["1.2.3.4",{"range":["192.168.7.1","192.168.7.9"]}]}"#));
    assert!(dropped(r#"{"prefix":{"addr":"172.17.0.0","len":16}}"#));
    assert!(!dropped(r#"{"prefix":{"addr":"0.0.0.0","len":0}}"#));
}

#[test]
fn chains_that_call_each_other_for_ever_end() {
    let jump = r#"{"jump":{"target":"c"}}"#;
    assert_eq!(told(&server(&chain("forward", "drop", &[jump, jump]))), []);
    for broken in ["", "[]", "{\"nftables\":[{\"rule\":{}}]}", "{\"nftables\":[1]}"] {
        assert!(Firewall::read(broken.as_bytes()).is_none(), "{broken}");
    }
}

#[test]
fn our_own_table_is_not_judged() {
    let own = chain("forward", "drop", &[]).replace("\"t\"", "\"onebox\"");
    assert_eq!(told(&server(&own)), []);
}

#[test]
fn forwarding_that_is_off_is_told_by_who_turns_it_on() {
    let mut facts = server(NOTHING);
    facts.forwards[0].on = Some(false);
    let command = "sysctl -w net.ipv4.ip_forward=1".to_owned();
    assert_eq!(told(&facts), [(Kind::ForwardingOff, false, command.clone())]);
    facts.forwards[0].can_be_turned = false;
    assert_eq!(told(&facts), [(Kind::ForwardingOff, true, command.clone())]);
    facts.running = true;
    assert_eq!(told(&facts), [(Kind::ForwardingOff, true, command.clone())]);
    let mut alone = router(NOTHING);
    alone.forwarding.others.clear();
    alone.forwards[0].on = Some(false);
    assert_eq!(told(&alone), [(Kind::ForwardingOff, false, command)]);
    assert!(findings(&alone)[0].words.contains("no LAN"));
}

#[test]
fn the_rest_is_told_with_its_command() {
    let one = |change: fn(&mut Facts)| {
        let mut facts = router(NOTHING);
        change(&mut facts);
        let mut list = told(&facts);
        assert_eq!(list.len(), 1);
        let (kind, stops, command) = list.remove(0);
        (kind.code(), stops, command)
    };
    let (code, stops, command) = one(|facts| facts.ipv6 = Ipv6::Off);
    assert_eq!((code, stops), ("ipv6_off", false));
    assert_eq!(command, "sysctl -w net.ipv6.conf.all.disable_ipv6=0");
    assert!(one(|f| (f.ipv6, f.forwarding.v4) = (Ipv6::Absent, false)).1);
    let (code, stops, command) = one(|facts| facts.tunnels = vec!["vpn0".to_owned()]);
    assert_eq!((code, stops), ("other_tunnel", false));
    assert!(command.contains("vpn0 >> /etc/config/onebox"), "{command}");
    let (.., command) = one(|f| (f.tunnels, f.openwrt) = (vec!["vpn-0".to_owned()], true));
    assert!(command.starts_with("uci set onebox.vpn_0=wan && uci set onebox.vpn_0.device=vpn-0"));
    let (code, stops, _) = one(|f| f.ways_out = Err(vec!["dsl: no carrier".to_owned()]));
    assert_eq!((code, stops), ("no_default_route", true));
    let (code, _, command) = one(|facts| facts.strict_sources = true);
    assert_eq!(
        (code, &*command),
        ("strict_sources", "sysctl -w net/ipv4/conf/onebox0/rp_filter=2")
    );
    let (code, stops, command) = one(|facts| facts.firewall = Err(Unread::Missing));
    assert_eq!((code, stops, &*command), ("no_nft", true, "apt install nftables"));
    let (code, stops, _) = one(|f| f.firewall = Err(Unread::Refused("not permitted".to_owned())));
    assert_eq!((code, stops), ("no_nft", false));
    let (code, stops, command) = one(|f| f.tun = Err("No such file".to_owned()));
    assert_eq!((code, stops, &*command), ("no_tun", true, "modprobe tun"));
}

#[test]
fn words_of_others_do_not_leave_their_place_in_a_command() {
    assert_eq!(shell("a; reboot 'x'"), r"'a; reboot '\''x'\'''");
    assert_eq!(shell(""), "''");
    assert_eq!(literal("br-lan"), "'\"br-lan\"'");
    assert_eq!(literal("onebox0"), "onebox0");
}
