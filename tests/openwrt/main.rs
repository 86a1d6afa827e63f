//! The package on a miniature OpenWrt: install, configure, start, use, change, stop.
//!
//! `machine.rs` is the router, `root/` the stand-ins for what OpenWrt brings. The bus is OpenWrt's
//! `ubusd` with our access list if that is on PATH, else the stand-in of `tests/ubus`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the functions that tests share are part of the tests"
)]

#[path = "../lab/mod.rs"]
mod lab;
mod machine;
#[path = "../ubus/stand_in.rs"]
#[allow(dead_code, reason = "the other crate uses all of it")]
mod stand_in;

use lab::onebox::{Instance, Keys, peer_of, router_config, server_config};
use lab::programs::{Program, ping, poll_until};
use lab::topology::{INTERNET, INTERNET6, Lab, Wan};
use lab::traffic::{Flow, Sends};
use machine::{Machine, copy_program, missing, which};
use onebox::status::{PathState, Status};
use onebox_openwrt::ubus::{Client, Incoming};
use serde_json::{Map, Value};
use stand_in::StandIn;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// The bus of the machine; it ends with this.
enum Bus {
    StandIn { _bus: StandIn },
    Real { _bus: Program },
}

impl Bus {
    fn start(machine: &Machine<'_>) -> Bus {
        let socket = machine.file("tmp/run/ubus/ubus.sock");
        let Some(ubusd) = which("ubusd") else {
            println!("with a stand-in for ubusd, which is not on PATH");
            let bus = StandIn::start(&socket, false);
            let all = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(&socket, all).expect("permissions");
            return Bus::StandIn { _bus: bus };
        };
        println!("with {}", ubusd.display());
        copy_program(&ubusd, &machine.file(""), "sbin/ubusd");
        let command = machine.command("exec /sbin/ubusd -s /var/run/ubus/ubus.sock");
        let bus = Program::start(command, &machine.file("tmp/log/ubusd"));
        poll_until(SOON, "ubusd listens", || std::os::unix::net::UnixStream::connect(&socket).ok());
        Bus::Real { _bus: bus }
    }
}

/// What `ubus call onebox METHOD` answers.
fn call(machine: &Machine<'_>, method: &str) -> Option<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = machine.file("tmp/run/ubus/ubus.sock");
    runtime.block_on(async {
        let mut client = Client::connect(&socket).await.ok()?;
        let object = client.lookup("onebox").await.ok()??;
        let ticket = client.call(object, method, &Map::new()).ok()?;
        loop {
            let incoming = tokio::time::timeout(SOON, client.next()).await.ok()?.ok()?;
            if let Incoming::Reply(of, reply) = incoming
                && of == ticket
            {
                return reply.table().ok().map(Value::Object);
            }
        }
    })
}

fn status(machine: &Machine<'_>) -> Option<Status> {
    serde_json::from_value(call(machine, "status")?).ok()
}

fn wait_active(machine: &Machine<'_>, wans: &[&str]) -> Status {
    poll_until(SOON, &format!("{wans:?} are active"), || {
        let status = status(machine)?;
        let paths = status.peers.iter().flat_map(|peer| &peer.paths);
        let active: Vec<_> =
            paths.filter(|p| p.state == PathState::Active).map(|p| p.wan.as_str()).collect();
        (wans.iter().all(|wan| active.contains(wan)) && active.len() == wans.len())
            .then(|| status.clone())
    })
}

/// The number of the daemon's process.
fn daemon(machine: &Machine<'_>) -> i32 {
    poll_until(SOON, "the daemon runs", || {
        let all = machine.processes();
        all.into_iter().find(|(_, command)| command == "/usr/sbin/onebox start").map(|(pid, _)| pid)
    })
}

fn wan(name: &str, device: &str) -> String {
    format!("config wan '{name}'\n\toption device '{device}'\n")
}

/// With a user of its own and without, for which the jail is left out.
#[test]
fn a_router_is_installed_used_changed_and_left_as_it_was() {
    if let Some(reason) = missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    for confined in [true, false] {
        let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
        let (server_keys, router_keys) = (Keys::new(), Keys::new());
        let peer = peer_of(lab.site(), "home", &router_keys, None, 2);
        let _server = Instance::started(&lab.server, &server_config(&server_keys, &[peer]));
        let machine = Machine::new(&lab.site().router);
        if !confined {
            machine.run("rm /sbin/ujail");
        }
        let _bus = Bus::start(&machine);

        // As shipped it is off, and a start does nothing.
        assert!(machine.run("/usr/sbin/onebox --version").starts_with("onebox "));
        machine.run("/etc/init.d/onebox enable && /etc/init.d/onebox enabled");
        machine.run("/etc/init.d/onebox start");
        assert!(machine.processes().is_empty(), "{:?}", machine.processes());

        let config = |wans: &[String]| {
            let text = router_config(&router_keys, &server_keys.public, None, 2, &wans.concat());
            std::fs::write(machine.file("etc/config/onebox"), text).unwrap();
            machine.run("chmod 600 /etc/config/onebox");
        };
        config(&[wan("dsl", "wan1"), wan("lte", "wan2")]);
        machine.run("/usr/sbin/onebox check");
        let before = machine.state();

        machine.run("/etc/init.d/onebox start");
        let shown = wait_active(&machine, &["dsl", "lte"]);
        assert_eq!((shown.role.as_str(), shown.state.as_str()), ("client", "up"));
        assert_eq!(machine.run("/etc/init.d/onebox status"), "running\n");
        assert!(machine.run("/usr/sbin/onebox status --json").contains("\"up\""));
        let pid = daemon(&machine);
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        // NET_BIND_SERVICE 10, NET_ADMIN 12, NET_RAW 13, DAC_READ_SEARCH 2.
        let (user, rights) = (field("Uid:"), field("CapEff:"));
        println!("user {user}, capabilities {rights}");
        if confined {
            assert_eq!((user.as_str(), rights.as_str()), ("453", "0000000000003404"));
            assert_eq!((field("CapBnd:"), field("NoNewPrivs:")), (rights, "1".to_owned()));
        } else {
            assert_eq!(user, "0");
        }

        // Traffic through the bond, and through a reload that takes a WAN away.
        let lan = &lab.site().lan;
        for address in [INTERNET, INTERNET6] {
            assert_eq!(ping(lan, address, 5, 50, &[]).rtts_ms.len(), 5, "{address}");
        }
        let flow = Flow::start(lan, &lab.internet, INTERNET, Sends::Down, None);
        flow.wait_for(3_000_000, SOON);
        config(&[wan("dsl", "wan1")]);
        machine.run("/etc/init.d/onebox reload");
        wait_active(&machine, &["dsl"]);
        flow.wait_for(1_000_000, SOON);
        assert_eq!((flow.failure(), daemon(&machine)), (None, pid), "{}", machine.log());
        drop(flow);
        // What has not changed is not even told.
        let lines = machine.log().lines().count();
        machine.run("/etc/init.d/onebox reload");
        assert_eq!(machine.log().lines().count(), lines);

        // It comes again after a crash, and after a restart.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
        poll_until(SOON, "another process", || (daemon(&machine) != pid).then_some(()));
        wait_active(&machine, &["dsl"]);
        // After its own command as well, which says so.
        let pid = daemon(&machine);
        let stopped = machine.try_run("onebox stop");
        assert!(String::from_utf8_lossy(&stopped.stderr).contains("/etc/init.d/onebox stop"));
        poll_until(SOON, "one more process", || (daemon(&machine) != pid).then_some(()));
        wait_active(&machine, &["dsl"]);
        config(&[wan("dsl", "wan1"), wan("lte", "wan2")]);
        machine.run("/etc/init.d/onebox restart");
        wait_active(&machine, &["dsl", "lte"]);

        machine.run("/etc/init.d/onebox stop");
        poll_until(SOON, "all processes have ended", || {
            machine.processes().is_empty().then_some(())
        });
        for (what, now) in machine.state() {
            assert_eq!(Some(&now), before.get(&what), "{what} after stop");
        }
        assert_eq!(machine.state().len(), before.len());
        assert_eq!(call(&machine, "status"), None);
        machine.run("/etc/init.d/onebox disable");
        let log = machine.log();
        assert!(!log.contains(&router_keys.private), "a key in the log");
        assert!(!log.contains("ERROR") && !log.contains("panic"), "{log}");
    }
}

/// One code on a router as it is shipped: set up, started, answered; and without a server, why not.
#[test]
fn joining_starts_the_service_and_tells_whether_the_server_answers() {
    if let Some(reason) = missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let mut server = Instance::new(&lab.server, "config onebox 'main'\n\toption enabled '0'\n");
    let invited = server.command(&["invite", "home"]);
    let code = String::from_utf8(invited.stdout).unwrap();
    let machine = Machine::new(&lab.site().router);
    let _bus = Bus::start(&machine);
    std::fs::write(machine.file("tmp/code"), code.trim()).unwrap();
    let join = || machine.run("/usr/sbin/onebox join - < /tmp/code 2>&1; echo exit $?");
    let said = join();
    println!("{said}");
    assert!(said.contains("joined as 'home'") && said.ends_with("exit 1\n"), "{said}");
    assert!(said.contains("no answer of the server within 10 s:"), "{said}");
    assert!(said.contains("refuses UDP 51830: is the program running there?"), "{said}");
    machine.run("/etc/init.d/onebox enabled");
    server.start();
    let said = join();
    println!("{said}");
    assert!(said.contains("joined already") && said.contains("connected: "), "{said}");
    assert!(said.ends_with("exit 0\n"), "{said}");
    machine.run("/etc/init.d/onebox stop");
    // Started anew by the same code.
    let said = join();
    assert!(said.contains("connected: ") && said.ends_with("exit 0\n"), "{said}");
    assert_eq!(machine.run("/etc/init.d/onebox status"), "running\n");
    machine.run("/etc/init.d/onebox stop");
}

/// From an empty server and an empty router to the first byte through the bond: the commands that a
/// user types, the packages being installed, and how long they take.
#[test]
fn three_commands_and_seconds_to_the_first_byte() {
    if let Some(reason) = missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let lab = Lab::new(&[Wan::mbit_ms(30, 10), Wan::mbit_ms(30, 10)]);
    let mut server = Instance::new(&lab.server, "config onebox 'main'\n\toption enabled '0'\n");
    let machine = Machine::new(&lab.site().router);
    let _bus = Bus::start(&machine);
    let start = lab::clock::now();
    let invited = server.command(&["invite", "home"]);
    // What the service does after it on a server with systemd.
    server.start();
    let code = String::from_utf8(invited.stdout).unwrap();
    std::fs::write(machine.file("tmp/code"), code.trim()).unwrap();
    let said = machine.run("/usr/sbin/onebox join - < /tmp/code 2>&1");
    assert!(said.contains("connected: "), "{said}");
    let told = start.elapsed();
    poll_until(SOON, "the first byte", || {
        (ping(&lab.site().lan, INTERNET, 1, 50, &[]).rtts_ms.len() == 1).then_some(())
    });
    let first = start.elapsed();
    wait_active(&machine, &["wan1", "wan2"]);
    let bonded = start.elapsed();
    println!(
        "invite, join, status: connected after {:.1} s, first byte after {:.1} s, bonded after {:.1} s",
        told.as_secs_f64(),
        first.as_secs_f64(),
        bonded.as_secs_f64()
    );
    assert!(machine.run("/usr/sbin/onebox status").starts_with("Bonded over 2 of 2 links"));
    assert!(bonded < 2 * SOON, "{bonded:?}");
    machine.run("/etc/init.d/onebox stop");
}

/// What the service gives the firewall follows the firewall's zones, and does not go round in circles:
/// a start tells the firewall that something is new, which tells the service.
#[test]
fn the_firewall_gets_rules_for_the_zones_that_may_use_a_wan() {
    if let Some(reason) = missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let lab = Lab::new(&[Wan::mbit_ms(30, 10)]);
    let machine = Machine::new(&lab.site().router);
    let keys = Keys::new();
    let text = router_config(&keys, &Keys::new().public, None, 2, &wan("wan", "wan1"));
    std::fs::write(machine.file("etc/config/onebox"), text).unwrap();
    machine.run("chmod 600 /etc/config/onebox");
    let zone = |name: &str| format!("config zone\n\toption name '{name}'\n");
    let forwarding =
        |from: &str| format!("config forwarding\n\toption src {from}\n\toption dest wan\n");
    let firewall = |forwardings: &[&str]| {
        let zones = ["lan", "guest", "wan"].map(zone).concat();
        let text = zones + &forwardings.iter().map(|from| forwarding(from)).collect::<String>();
        std::fs::write(machine.file("etc/config/firewall"), text).unwrap();
    };
    let given = || {
        let text = std::fs::read_to_string(machine.file("var/run/procd/onebox/data")).unwrap();
        let rule = |line: &str| {
            let rule: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
            assert_eq!((&*rule["device"], &*rule["direction"]), ("onebox0", "out"), "{line}");
            assert_eq!((&*rule["dest"], &*rule["target"]), ("*", "ACCEPT"), "{line}");
            rule["src"].clone()
        };
        text.lines().map(rule).collect::<Vec<_>>()
    };
    let told = |file: &str| {
        let path = machine.file("var/run/procd").join(file);
        std::fs::read_to_string(path).unwrap_or_default().lines().count()
    };

    // Without a configuration of the firewall there are none.
    machine.run("/etc/init.d/onebox start");
    assert_eq!(given(), [""; 0]);
    let triggers = std::fs::read_to_string(machine.file("var/run/procd/onebox/triggers")).unwrap();
    assert_eq!(triggers, "onebox firewall\n");
    assert_eq!((told("changed"), told("data-changed")), (1, 0));
    let pid = daemon(&machine);
    for (forwardings, changes) in [(&["lan"][..], 1), (&["lan", "guest"], 2), (&["guest"], 3)] {
        firewall(forwardings);
        for _ in 0..2 {
            machine.run("/etc/init.d/onebox reload");
            assert_eq!(given(), forwardings);
            assert_eq!((told("changed"), told("data-changed")), (1, changes));
        }
    }
    assert_eq!(daemon(&machine), pid, "the program went on");
    machine.run("/etc/init.d/onebox stop");
}
