//! Nothing is left behind, and nothing foreign is taken away.

use std::time::Duration;

use onebox_linux::ids::Ids;
use onebox_linux::nft::{self, Forward, Guard, Nft, Protocol, Tables};
use onebox_linux::system::{Desired, System};
use onebox_linux::tun::Tun;

use crate::daemon::Daemon;
use crate::routing::{full_tunnel, two_wans};
use crate::world::{Namespace, StateFile, block_on, command, eventually, ids, ip, make};

fn tables() -> Tables {
    Tables {
        mss_clamp: true,
        masquerade_sources: vec![
            "10.99.0.0/24".parse().unwrap(),
            "192.168.1.0/24".parse().unwrap(),
            "192.168.0.0/16".parse().unwrap(),
            "fd99::/64".parse().unwrap(),
        ],
        masquerade_into_tunnel: vec!["10.99.0.2".parse().unwrap(), "fd99::2".parse().unwrap()],
        forwards: vec![
            Forward { protocol: Protocol::Tcp, port: 443, to: "192.168.1.9:8443".parse().unwrap() },
            Forward { protocol: Protocol::Udp, port: 53, to: "[fd99::9]:53".parse().unwrap() },
        ],
        guard: Guard::FromAll(vec!["10.99.0.2".parse().unwrap(), "fd99::2".parse().unwrap()]),
        accept_forward: true,
    }
}

fn forwarding() -> String {
    let read = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap();
    read("ipv4/ip_forward") + &read("ipv6/conf/all/forwarding") + &read("ipv6/conf/wan1/accept_ra")
}

#[test]
fn after_a_crash_only_what_is_ours_is_removed() {
    let Some((client, _internet)) = two_wans() else { return };
    client.run(|| {
        let state = StateFile::new();
        std::fs::write("/proc/sys/net/ipv6/conf/wan1/accept_ra", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "0").unwrap();
        // Somebody else's, in our table and at our priority.
        ip("rule add from 203.0.113.9 lookup 51 priority 902");
        ip("-6 rule add from 2001:db8:9::9 lookup 51 priority 903");
        ip("route add 203.0.113.0/24 dev wan1 table 51");
        ip("-6 route add 2001:db8:77::/64 dev wan1 table 51");
        let seen = || {
            let all = ip("rule show") + &ip("-6 rule show") + &ip("route show table all");
            let all = all + &ip("-6 route show table all");
            all.lines().filter(|l| !l.contains("onebox0")).map(str::to_owned).collect::<Vec<_>>()
        };
        let before = (seen(), forwarding());
        block_on(async {
            let tun = Tun::open("onebox0", true).unwrap();
            let mut desired = full_tunnel(&tun).await;
            desired.tables = Some(tables());
            desired.forwarding = true;
            let mut crashed = System::open(ids(), &state.0, false).await.unwrap();
            make(&mut crashed, &desired).await;
            crashed.table_settled().await.unwrap();
            assert_eq!(forwarding(), "1\n1\n2\n");
            assert!(command("nft", "list table inet onebox").0);
            // No undo, as after kill -9; the device stays to make it harder.
            drop(crashed);
            assert_ne!(seen(), before.0);

            let mut next = System::open(ids(), &state.0, false).await.unwrap();
            assert_eq!((seen(), forwarding()), before);
            assert!(!command("nft", "list table inet onebox").0);
            assert!(!state.0.exists());

            make(&mut next, &desired).await;
            next.table_settled().await.unwrap();
            // Connection tracking has its switch only once a table needs it.
            make(&mut next, &desired).await;
            next.undo().await.unwrap();
            assert_eq!((seen(), forwarding()), before);
        });
    });
}

/// A configuration with other numbers, or one that does not parse, finds what the former has set:
/// at a start, at one that bars all else, and when it only cleans.
#[test]
fn after_a_crash_what_other_numbers_have_set_is_found() {
    let Some((client, _internet)) = two_wans() else { return };
    client.run(|| {
        let state = StateFile::new();
        let all = || {
            ip("rule show")
                + &ip("-6 rule show")
                + &ip("route show table all")
                + &ip("-6 route show table all")
        };
        block_on(async {
            let tun = Tun::open("onebox0", true).unwrap();
            let mut desired = full_tunnel(&tun).await;
            desired.barred = desired.routes.clone();
            // What the device itself brings is there before and after.
            let mut first = System::open(ids(), &state.0, false).await.unwrap();
            make(
                &mut first,
                &Desired { routes: vec![], barred: vec![], wans: vec![], ..desired.clone() },
            )
            .await;
            let before = all();
            drop(first);

            let other = Ids { table: 99_999, priority: 400, mark: 0x0a00_0000, mask: 0x0f00_0000 };
            for barred in [false, true] {
                let mut crashed = System::open(other, &state.0, false).await.unwrap();
                make(&mut crashed, &desired).await;
                assert!(ip("rule show").contains("400:") && all().contains("table 99999"));
                drop(crashed);
                // In the place of one of ours, with more to it.
                ip("rule add iif wan1 lookup 51 priority 903 protocol 0x6f");
                let mut next = System::open(ids(), &state.0, barred).await.unwrap();
                assert_eq!(barred, ip("rule show").contains("403:"), "what is barred stays");
                make(&mut next, &desired).await;
                let rules = ip("rule show");
                assert!(rules.contains("903:") && !rules.contains("403:"), "{rules}");
                assert!(!rules.contains("iif wan1"), "{rules}");
                assert!(!all().contains("99999"));
                next.undo().await.unwrap();
                assert_eq!(all(), before);
            }
        });
    });
}

/// The program crashes with the kill switch on; then its configuration is broken.
#[test]
fn stop_cleans_whatever_the_configuration_says() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let all = || {
            ip("rule show")
                + &ip("-6 rule show")
                + &ip("route show table all")
                + &ip("-6 route show table all")
        };
        let before = all();
        let numbers = "option table '77'
            option rule_priority '400'
            option fallback 'closed'
            option kill_switch '1'";
        let mut daemon = Daemon::start(numbers, ":");
        let seen = || ip("rule show").contains("403:") && all().contains("unreachable default");
        eventually(Duration::from_secs(2), "the kill switch", seen);
        daemon.crash();
        assert!(seen());
        std::fs::write(daemon.folder.join("conf"), "config onebox 'main'\n\toption role 'clown'\n")
            .unwrap();
        let words =
            format!("stop --clean -c {0}/conf --control {0}/control", daemon.folder.display());
        let (_, said) = command(env!("CARGO_BIN_EXE_onebox"), &words);
        assert_eq!(all(), before, "{said}");
    });
}

#[test]
fn the_table_is_in_force_and_goes() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| {
        let all = nft::ruleset("onebox0", &tables(), 0, &[]);
        let clamp =
            nft::ruleset("onebox0", &Tables { mss_clamp: true, ..Tables::default() }, 0, &[]);
        let set = |ruleset| {
            block_on(async {
                let mut nft = Nft::start();
                nft.set(ruleset);
                nft.settled().await.unwrap();
            });
        };
        let check = |text: &str| block_on(nft::check(text));
        check(all.text()).unwrap();
        assert!(!command("nft", "list table inet onebox").0, "checking puts nothing in force");
        assert!(command("nft", "add table inet foreign").0);
        set(Some(all));
        let (_, listed) = command("nft", "list table inet onebox");
        for rule in [
            "tcp option maxseg size set rt mtu",
            "masquerade",
            "tcp dport 443 dnat ip to 192.168.1.9:8443",
            "udp dport 53 dnat ip6 to [fd99::9]:53",
        ] {
            assert!(listed.contains(rule), "{rule} is not in {listed}");
        }
        // The second takes the place of the first.
        set(Some(clamp));
        let (_, listed) = command("nft", "list table inet onebox");
        assert!(listed.contains("maxseg") && !listed.contains("dnat"));
        let refused = check("table inet onebox { nonsense }").unwrap_err();
        assert!(matches!(refused, nft::Error::Refused(_)), "{refused}");
        set(None);
        set(None);
        assert!(!command("nft", "list table inet onebox").0);
        assert!(command("nft", "list table inet foreign").0);
    });
}
