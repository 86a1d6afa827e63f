//! What a person notices first: everything works through the bond, over every WAN.

use crate::lab::onebox::Pair;
use crate::lab::programs::{interface_bytes, iperf, ping};
use crate::lab::topology::{INTERNET, INTERNET6, Lab, SERVER_INSIDE, SERVER_INSIDE6, Wan};
use crate::lab::traffic::{Echo, ask_dns};
use std::net::IpAddr;
use std::time::Duration;

/// The LAN host pings, asks DNS, and exchanges datagrams with the internet host, over IPv4 and
/// IPv6, which sees nothing but the server.
#[test]
fn the_internet_is_reached_and_sees_the_server_only() {
    let lab = Lab::new(&[Wan::mbit_ms(50, 20), Wan::mbit_ms(50, 20)]);
    let lan = &lab.site().lan;
    assert_eq!(ping(lan, INTERNET, 2, 100, &[]).rtts_ms.len(), 0, "reached without a tunnel");
    let _pair = Pair::up(&lab);
    for (address, seen_as) in [(INTERNET, SERVER_INSIDE), (INTERNET6, SERVER_INSIDE6)] {
        assert_eq!(ping(lan, address, 10, 50, &[]).rtts_ms.len(), 10, "{address}");
        let echo = Echo::start(lan, &lab.internet, address, Duration::from_millis(10), "hello");
        echo.wait_for(50, Duration::from_secs(5));
        assert_eq!(echo.sources(), [seen_as.parse::<IpAddr>().unwrap()]);
        assert_eq!(echo.foreign(), Vec::<Vec<u8>>::new());
    }
    let answer = [203, 0, 113, 7];
    assert_eq!(ask_dns(lan, &lab.internet, INTERNET, answer), Some(answer));
    assert_eq!(ask_dns(lan, &lab.internet, INTERNET6, answer), Some(answer));
}

/// Under TCP load in either direction and over both protocols, both WANs carry data.
#[test]
fn both_wans_carry_data() {
    let lab = Lab::new(&[Wan::mbit_ms(20, 20), Wan::mbit_ms(20, 20)]);
    let site = lab.site();
    let _pair = Pair::up(&lab);
    for (address, options) in
        [(INTERNET, "-t 3"), (INTERNET, "-t 3 -R"), (INTERNET6, "-t 3"), (INTERNET6, "-t 3 -R")]
    {
        let bytes = || ["wan1", "wan2"].map(|device| interface_bytes(&site.router, device));
        let before = bytes();
        let mbit = iperf(&site.lan, &lab.internet, address, options).mbit;
        let down = options.contains("-R");
        for (wan, (before, after)) in before.into_iter().zip(bytes()).enumerate() {
            let carried = if down { after.0 - before.0 } else { after.1 - before.1 };
            assert!(carried > 1_000_000, "{address} {options}: {carried} bytes on {wan}");
        }
        assert!(mbit > 20.0, "{address} {options}: {mbit} Mbit/s of 2 × 20");
    }
}
