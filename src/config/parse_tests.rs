use super::*;
use crate::config::Host;
use crate::prefix::Prefix;

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const SECRET: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

/// The problems of a text as `check` would print them without the file.
fn problems(text: &str) -> Vec<String> {
    let (config, problems) = parse(text.as_bytes());
    assert_eq!(config.is_none(), has_errors(&problems), "{problems:#?}");
    problems.iter().map(|problem| format!("{}: {problem}", problem.line)).collect()
}

fn read(text: &str) -> Config {
    let (config, problems) = parse(text.as_bytes());
    assert!(problems.is_empty(), "{problems:#?}");
    config.unwrap()
}

/// A client that is right, with more options in main, the peer and behind.
fn client(main: &str, peer: &str, rest: &str) -> String {
    format!(
        "config onebox main\noption private_key_file /k\nlist address 10.9.0.2/24\n{main}\n\
         config peer vps\noption public_key {ALICE}\nlist endpoint a:1\nlist allowed_ips ::/0\n\
         {peer}\n{rest}\n"
    )
}

fn server(main: &str, rest: &str) -> String {
    format!(
        "config onebox main\noption role server\noption private_key_file /k\n\
         list address 10.9.0.1/24\n{main}\n\
         config peer home\noption public_key {ALICE}\nlist allowed_ips 10.9.0.2\n{rest}\n"
    )
}

/// The one problem of an option of main on line 4 of a client.
fn of_main(option: &str) -> String {
    let problems = problems(&client(option, "", ""));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let main = read(&client("", "", "")).main;
    assert!(main.enabled && main.mss_clamp);
    let outage = Outage::Direct { after_s: 10 };
    assert_eq!(main.role, Role::Client(Client { discover: true, outage, wans: Vec::new() }));
    assert_eq!(main.netifd, None);
    assert_eq!(main.device, "onebox0");
    assert_eq!(main.private_key, KeySource::File("/k".into()));
    assert_eq!(main.mtu, None);
    let routing =
        Routing { table: 51, fwmark: 0x1000_0000, fwmask: 0xf000_0000, rule_priority: 900 };
    assert_eq!(main.routing, routing);
    assert_eq!((main.hold_ms_max, main.memory_mb, main.probe_interval_s), (1000, 16, 15));
    assert_eq!(main.log_level, log::LevelFilter::Info);
    assert_eq!(main.control, PathBuf::from(crate::config::DEFAULT_CONTROL));
    assert_eq!(main.ubus_socket, PathBuf::from("/var/run/ubus/ubus.sock"));
    let main = read(&server("", "")).main;
    let Role::Server(server) = main.role else { panic!("{main:?}") };
    assert_eq!((server.listen_port, server.nat), (51830, true));
}

#[test]
fn the_client_example_reads_in_full() {
    let config = read(include_str!("../../tests/config/client.conf"));
    assert_eq!(config.main.mtu, Some(1420));
    let peer = &config.peers[0];
    assert_eq!(peer.endpoints[0].host, Host::Name("vps.example.net".to_owned()));
    assert!(peer.allowed_ips.iter().all(Prefix::is_default));
    let [dsl, lte] = config.wans() else { panic!("{config:?}") };
    assert_eq!(dsl.link, WanLink::Device("pppoe-wan".to_owned()));
    assert_eq!((dsl.mode, dsl.metered, dsl.max_upload_kbps), (Mode::Active, false, None));
    assert_eq!(lte.link, WanLink::Interface("wwan".to_owned()));
    assert_eq!((lte.mode, lte.metered), (Mode::Backup, true));
    assert_eq!((lte.max_upload_kbps, lte.max_download_kbps), (Some(20_000), Some(100_000)));
    assert_eq!((lte.quota_mb, lte.quota_day), (Some(50_000), 15));
}

#[test]
fn the_server_example_reads_in_full() {
    let config = read(include_str!("../../tests/config/server.conf"));
    assert_eq!(config.peers.len(), 2);
    let [https, game] = config.forwards() else { panic!("{config:?}") };
    assert_eq!((https.protocol, https.dest_ports), (Protocol::Tcp, https.src_ports));
    assert_eq!(game.src_ports, Ports { first: 27015, last: 27020 });
    assert_eq!(game.peer, "home");
}

#[test]
fn the_configuration_as_shipped_is_disabled_and_has_only_warnings() {
    let text = include_str!("../../openwrt/files/etc/config/onebox");
    let (config, problems) = parse(text.as_bytes());
    assert!(!config.unwrap().main.enabled);
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "warning: section 'main', option 'address': missing, accepted: an address with prefix \
             length, such as 10.99.0.2/24 or fd99::2/64, one or several",
            "warning: section 'main': no section of type 'peer', accepted: one for the server",
        ]
    );
}

#[test]
fn wrong_values_of_main_are_named_with_what_is_accepted() {
    let flag = "0 or 1 (also off, on, false, true, no, yes, disabled, enabled)";
    let device = "a device name, 1 to 15 characters without '/', ':' and white space";
    let path = "an absolute path of at most 107 bytes";
    let table = "a routing table's number from 1 on, but not 253, 254 or 255";
    let mark = "a number from 1 to 0xffffffff, decimal or with 0x";
    let mtu = "0 (from the paths) or a whole number from 1280 to 1920";
    for (option, value, accepted) in [
        ("enabled", "maybe", flag),
        ("role", "both", "client or server"),
        ("device", "a/b", device),
        ("device", "sixteen_letters_", device),
        ("mtu", "1279", mtu),
        ("mtu", "1921", mtu),
        ("mtu", "-1", mtu),
        ("mss_clamp", "2", flag),
        ("discover", "2", flag),
        ("table", "254", table),
        ("table", "main", table),
        ("fwmark", "0", mark),
        ("fwmark", "0x", mark),
        ("fwmask", "x", mark),
        ("rule_priority", "32765", "a whole number from 1 to 32764"),
        ("hold_ms_max", "9", "a whole number from 10 to 5000"),
        ("memory_mb", "1025", "a whole number from 4 to 1024"),
        ("probe_interval", "1.5", "a whole number from 1 to 300"),
        ("log_level", "verbose", "error, warn, info, debug or trace"),
        ("control", "run/x", path),
        ("ubus_socket", "x", path),
    ] {
        assert_eq!(
            of_main(&format!("option {option} '{value}'")),
            format!(
                "4: error: section 'main', option '{option}': read '{value}', accepted: {accepted}"
            )
        );
    }
    assert_eq!(
        of_main("option fwmark 0x0f000000"),
        "4: error: section 'main', option 'fwmark': read '0x0f000000', accepted: a mark within \
         the bits of fwmask, 0xf0000000"
    );
    assert_eq!(
        of_main("list address 10.0.0.0/40"),
        "4: error: section 'main', option 'address': read '10.0.0.0/40', accepted: an address \
         with prefix length, such as 10.99.0.2/24 or fd99::2/64"
    );
    assert_eq!(
        of_main("list mtu 0\nlist mtu 1400"),
        "4: error: section 'main', option 'mtu': a list with 2 values, accepted: 0 (from the \
         paths) or a whole number from 1280 to 1920"
    );
}

#[test]
fn every_word_for_yes_and_no_is_understood() {
    for (word, value) in [("on", true), ("yes", true), ("off", false), ("disabled", false)] {
        let main = read(&client(&format!("option mss_clamp {word}"), "", "")).main;
        assert_eq!(main.mss_clamp, value, "{word}");
    }
    assert_eq!(read(&client("option fwmark 268435456", "", "")).main.routing.fwmark, 1 << 28);
}

#[test]
fn unknown_options_and_types_are_warnings() {
    assert_eq!(
        of_main("option privat_key x"),
        "4: warning: section 'main', option 'privat_key': unknown, has no effect; is \
         'private_key' meant?"
    );
    assert_eq!(
        of_main("option colour red"),
        "4: warning: section 'main', option 'colour': unknown, has no effect"
    );
    assert_eq!(
        of_main("option listen_port 1"),
        "4: warning: section 'main', option 'listen_port': is for servers, has no effect on a \
         client"
    );
    assert_eq!(
        problems(&client("", "", "config pear x\noption a b")),
        ["10: warning: section 'x': unknown section type 'pear', has no effect; known: onebox, \
          peer, wan, forward"]
    );
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    let text = "config onebox main\nconfig peer\nconfig wan w\nconfig wan\noption interface x\n";
    let key = "a key, 44 characters of base64";
    let peer = "error: section 'peer (without name)', option";
    assert_eq!(
        problems(text),
        [
            "1: error: section 'main', option 'private_key_file': missing, accepted: the path of \
             a file, or option private_key"
                .to_owned(),
            "1: error: section 'main', option 'address': missing, accepted: an address with \
             prefix length, such as 10.99.0.2/24 or fd99::2/64, one or several"
                .to_owned(),
            format!("2: {peer} 'public_key': missing, accepted: {key}"),
            format!(
                "2: {peer} 'endpoint': missing, accepted: host:port, such as \
                 vps.example.net:51830, 192.0.2.1:51830 or [2001:db8::1]:51830, one or several"
            ),
            format!(
                "2: {peer} 'allowed_ips': missing, accepted: a network, such as 192.168.1.0/24, \
                 0.0.0.0/0 or ::/0, one or several"
            ),
            "3: error: section 'w', option 'interface': missing, accepted: the name of an \
             interface of netifd, or option device with a device's name"
                .to_owned(),
        ]
    );
    // The same without being used.
    let disabled = text.replacen("main", "main\noption enabled 0", 1);
    let problems = problems(&disabled);
    assert_eq!(problems.len(), 6);
    assert!(problems.iter().all(|problem| problem.contains(": warning: ")), "{problems:#?}");
}

#[test]
fn there_is_one_main_section() {
    assert_eq!(
        problems("config peer a\n"),
        ["1: error: no section of type 'onebox', accepted: config onebox 'main'"]
    );
    assert_eq!(
        problems(&client("", "", "config onebox other")),
        ["10: error: section 'other': a second section of type 'onebox', the first is on line 1"]
    );
    assert_eq!(
        problems("config onebox main\n optoin a b"),
        ["2: error: not UCI: Parse error (invalid command) at line 1, byte 1"]
    );
}

#[test]
fn secrets_are_never_repeated() {
    let almost = &SECRET[..43];
    let text = client(
        &format!("option private_key {almost}"),
        &format!("option preshared_key {almost}\noption public_key {almost}"),
        "",
    )
    .replace("option private_key_file /k\n", "");
    assert_eq!(
        problems(&text),
        [
            "3: error: section 'main', option 'private_key': the value is not usable, accepted: \
             a key, 44 characters of base64"
                .to_owned(),
            "8: error: section 'vps', option 'preshared_key': the value is not usable, accepted: \
             a key, 44 characters of base64"
                .to_owned(),
            format!(
                "9: error: section 'vps', option 'public_key': read '{almost}', accepted: a key, \
                 44 characters of base64"
            ),
        ]
    );
    let both = of_main(&format!("option private_key {SECRET}"));
    assert_eq!(
        both,
        "4: error: section 'main', option 'private_key': given beside 'private_key_file', \
         accepted: one of the two"
    );
    // A mistyped name does not make the value public.
    assert!(!of_main(&format!("option private_keys {SECRET}")).contains(SECRET));
    let text = client(&format!("option private_key {SECRET}"), "", "")
        .replace("option private_key_file /k\n", "");
    let config = read(&text);
    assert!(matches!(&config.main.private_key, KeySource::Inline(_)));
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn wans_have_one_link_each_and_sane_numbers() {
    let wan = "config wan w\noption device w0\n";
    for (option, accepted) in [
        ("mode 'on'", "read 'on', accepted: active, backup or off"),
        ("max_upload '1M'", "read '1M', accepted: a whole number from 0 to 100000000"),
        ("quota_mb '-1'", "read '-1', accepted: a whole number from 0 to 4294967295"),
        ("quota_day '0'", "read '0', accepted: a whole number from 1 to 31"),
        ("quota_day '32'", "read '32', accepted: a whole number from 1 to 31"),
        ("interface 'x'", "read 'x', accepted: "),
    ] {
        let problems = problems(&client("", "", &format!("{wan}option {option}")));
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let told = problems[0].contains(accepted) || problems[0].contains("given beside");
        assert!(told && problems[0].starts_with("1"), "{problems:#?}");
    }
    assert_eq!(
        problems(&client("", "", &format!("{wan}config wan v\noption device w0"))),
        ["12: error: section 'v', option 'device': read 'w0', accepted: another one, WAN 'w' has \
          this one"]
    );
    assert_eq!(
        problems(&server("", wan)),
        ["9: warning: section 'w': a server has no WANs, has no effect"]
    );
}

#[test]
fn a_wan_without_name_is_called_as_its_link() {
    let wans = "config wan\noption device a0\nconfig wan\noption interface b\n";
    let config = read(&client("", "", wans));
    let names: Vec<&str> = config.wans().iter().map(|wan| wan.name.as_str()).collect();
    assert_eq!(names, ["a0", "b"]);
    assert_eq!(
        problems(&client("", "", &format!("{wans}config wan b\noption device c0"))),
        ["14: error: section 'b': the section on line 12 has this name too, accepted: another"]
    );
}

#[test]
fn peers_share_neither_keys_nor_networks() {
    let peer = |name: &str, key: &str, network: &str| {
        format!("config peer {name}\noption public_key {key}\nlist allowed_ips {network}\n")
    };
    assert_eq!(
        problems(&server("", &peer("b", ALICE, "10.9.0.2/32"))),
        [
            format!(
                "9: error: section 'b', option 'public_key': read '{ALICE}', accepted: a key of \
                 its own, peer 'home' has this one"
            ),
            "9: error: section 'b', option 'allowed_ips': read '10.9.0.2/32', accepted: networks \
             that no other peer has, peer 'home' has this one"
                .to_owned(),
        ]
    );
    // Different prefixes may overlap: the longest decides.
    assert_eq!(read(&server("", &peer("b", BOB, "10.9.0.0/16"))).peers.len(), 2);
    assert_eq!(
        problems(&server("", &format!("{}list endpoint a:1", peer("b", BOB, "::1")))),
        [
            "12: warning: section 'b', option 'endpoint': a server waits for its peers, has no effect"
        ]
    );
}

#[test]
fn forwards_name_a_peer_and_free_ports() {
    let forward = |options: &str| format!("config forward f\noption dest_ip 10.9.0.2\n{options}");
    let text = |options: &str| server("", &forward(options));
    assert_eq!(
        problems(&text("option peer nobody\noption src_port 80")),
        ["9: error: section 'f', option 'peer': read 'nobody', accepted: the name of a peer: home"]
    );
    assert_eq!(
        problems(&text("option peer home\noption src_port 51000-52000")),
        [
            "9: error: section 'f', option 'src_port': read '51000-52000', accepted: UDP ports other \
          than listen_port, 51830"
        ]
    );
    assert!(
        problems(&text("option peer home\noption src_port 51830\noption proto tcp")).is_empty()
    );
    assert_eq!(
        problems(&text("option peer home\noption src_port 80\noption dest_port 80-81")),
        ["13: error: section 'f', option 'dest_port': read '80-81', accepted: as many ports as \
          src_port has, 1"]
    );
    assert_eq!(
        problems(&text("option peer home\noption src_port 9-8\noption proto icmp")),
        [
            "12: error: section 'f', option 'src_port': read '9-8', accepted: a port from 1 to \
             65535, or several as '1000-1010'",
            "13: error: section 'f', option 'proto': read 'icmp', accepted: tcp, udp or tcpudp",
        ]
    );
    let second = "option peer home\noption src_port 80-90\nconfig forward g\noption proto tcp\n\
                  option dest_ip 10.1.1.1\noption peer home\noption src_port 85";
    assert_eq!(
        problems(&text(second)),
        [
            "13: warning: section 'g', option 'dest_ip': read '10.1.1.1', not in allowed_ips of \
             peer 'home', which will refuse it",
            "13: error: section 'g', option 'src_port': read '85', accepted: ports that no other \
             section forwards, 'f' does",
        ]
    );
    assert_eq!(
        problems(&client("", "", &forward("option src_port 1\noption peer vps"))),
        ["10: warning: section 'f': ports are forwarded by the server, has no effect on a client"]
    );
}

#[test]
fn values_are_cut_and_made_harmless() {
    let told = of_main(&format!("option device '{}'", "x".repeat(500)));
    assert!(told.contains(&format!("'{}…'", "x".repeat(80))), "{told}");
    assert!(of_main("option device '\x1b[2J'").contains("'\\u{1b}[2J'"));
    let (_, problems) = parse(b"config onebox main\noption device '\xff'\n");
    assert!(problems.iter().any(|p| p.to_string().contains("read '\u{fffd}', accepted: a device")));
}

#[test]
fn an_outage_is_direct_or_closed() {
    let outage = |options: &str| match read(&client(options, "", "")).main.role {
        Role::Client(client) => client.outage,
        Role::Server(_) => panic!("a client"),
    };
    assert_eq!(outage("option fallback_after 3"), Outage::Direct { after_s: 3 });
    assert_eq!(outage("option fallback closed"), Outage::Closed { kill_switch: false });
    for options in ["option kill_switch 1", "option kill_switch 1\noption fallback closed"] {
        assert_eq!(outage(options), Outage::Closed { kill_switch: true });
    }
    assert_eq!(
        of_main("option fallback open"),
        "4: error: section 'main', option 'fallback': read 'open', accepted: direct or closed"
    );
    let both = problems(&client("option kill_switch 1\noption fallback direct", "", ""));
    assert_eq!(
        both,
        ["5: error: section 'main', option 'fallback': read 'direct', accepted: closed, since \
          kill_switch is on"]
    );
    let idle = problems(&client("option fallback closed\noption fallback_after 5", "", ""));
    assert!(idle[0].contains("'fallback_after'") && idle[0].contains("warning"), "{idle:?}");
    let idle = problems(&server("option kill_switch 1", ""));
    assert!(idle[0].contains("is for clients"), "{idle:?}");
}

#[test]
fn an_interface_of_netifd_may_hold_addresses_and_routes() {
    let config = read(&client("option netifd vpn", "", ""));
    assert_eq!(config.main.netifd.as_deref(), Some("vpn"));
    assert!(config.main.netifd_routes);
    let zone_only = read(&client("option netifd vpn\noption netifd_routes 0", "", ""));
    assert!(!zone_only.main.netifd_routes);
    assert!(of_main("option netifd_routes rules").contains("'netifd_routes'"));
    assert!(of_main("option netifd 'a b'").contains("the name of an interface of netifd"));
}
