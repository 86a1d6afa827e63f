//! The network of the lab.
//!
//! ```text
//!  lan 192.168.7.2 ── router ══ wan1 10.1.0.2 ══ emulator ══ 10.1.0.1 ── isp ── server ── internet
//!      fd00:7::2             ══ wan2 10.2.0.2 ══ emulator ══ 10.2.0.1      198.51.100.1  192.0.2.2
//!                               fd00:N::2                     fd00:N::1    2001:db8:100::1
//! ```
//! Every WAN of a router is a link of its own with a default route of metric 10+N. The provider
//! knows the way to the WANs and to the server and to nothing else, and the internet host knows
//! only its own subnet: a packet of the LAN gets an answer only if it went through a tunnel to the
//! server and was masqueraded there.
//!
//! A second router has the same shape with LAN 192.168.8.0/24 and WANs from 11 up. One lab runs
//! at a time per process, so that tests do not disturb each other's measurements.

use super::emulator::model::Profile;
use super::emulator::{Ends, Link};
use super::netns::Netns;
use super::programs::poll_until;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Address of the server toward its provider.
pub const SERVER: &str = "198.51.100.1";
/// The same, IPv6.
pub const SERVER6: &str = "2001:db8:100::1";
/// Address of the provider toward the server: the stranger of the security tests.
pub const ISP: &str = "198.51.100.254";
/// Address of the server toward the internet host: what masquerading shows.
pub const SERVER_INSIDE: &str = "192.0.2.1";
/// The same, IPv6.
pub const SERVER_INSIDE6: &str = "2001:db8:2::1";
/// The internet host.
pub const INTERNET: &str = "192.0.2.2";
/// The same, IPv6.
pub const INTERNET6: &str = "2001:db8:2::2";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static LABS: AtomicU32 = AtomicU32::new(0);

/// One WAN of a router: what the link is like up and down.
#[derive(Clone, Copy, Debug)]
pub struct Wan {
    /// Router to provider.
    pub up: Profile,
    /// Provider to router.
    pub down: Profile,
}

impl Wan {
    /// The same both ways.
    pub const fn both(profile: Profile) -> Wan {
        Wan { up: profile, down: profile }
    }

    /// Clean, the same both ways, in Mbit/s and milliseconds one way.
    pub const fn mbit_ms(rate_mbit: u64, delay_ms: u64) -> Wan {
        Wan::both(Profile::mbit_ms(rate_mbit, delay_ms))
    }
}

/// A router with its LAN host and its links.
pub struct Site {
    /// The router.
    pub router: Netns,
    /// The host behind it.
    pub lan: Netns,
    /// The links in order; index 0 is the device of `device(0)`.
    pub links: Vec<Link>,
    /// Third number of the LAN's addresses: 7 or 8.
    pub lan_number: u32,
    first_wan: u32,
}

impl Site {
    /// Name of the device of the link with this index.
    pub fn device(&self, link: usize) -> String {
        format!("wan{}", self.first_wan + link as u32)
    }

    /// Address of the router on that link.
    pub fn wan_address(&self, link: usize) -> String {
        format!("10.{}.0.2", self.first_wan + link as u32)
    }

    /// Address of the provider on that link, which answers pings.
    pub fn gateway(&self, link: usize) -> String {
        format!("10.{}.0.1", self.first_wan + link as u32)
    }

    /// Address of the LAN host.
    pub fn lan_address(&self) -> String {
        format!("192.168.{}.2", self.lan_number)
    }

    /// The same, IPv6.
    pub fn lan_address6(&self) -> String {
        format!("fd00:{}::2", self.lan_number)
    }
}

/// The whole network. Dropping it removes everything.
pub struct Lab {
    /// The sites; tests of one router use `lab.site()`.
    pub sites: Vec<Site>,
    /// The provider of every WAN.
    pub isp: Netns,
    /// The server.
    pub server: Netns,
    /// The host behind the server.
    pub internet: Netns,
    number: u32,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Lab {
    /// One router with these WANs.
    pub fn new(wans: &[Wan]) -> Lab {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let [isp, server, internet] =
            ["isp", "server", "internet"].map(|name| Netns::create(number, name));
        let mut lab =
            Lab { sites: Vec::new(), isp, server, internet, number, _one_at_a_time: guard };
        lab.connect_server();
        lab.add_site(wans);
        lab
    }

    /// The first router and what belongs to it.
    pub fn site(&self) -> &Site {
        &self.sites[0]
    }

    /// The link with this index of the first router.
    pub fn link(&self, link: usize) -> &Link {
        &self.sites[0].links[link]
    }

    fn connect_server(&self) {
        let Lab { isp, server, internet, .. } = self;
        forwarder(isp);
        host(server);
        host(internet);
        isp.ip(&format!(
            "link add srv type veth peer name eth0 netns {}\n\
             addr add {ISP}/24 dev srv\n\
             addr add 2001:db8:100::fe/64 dev srv nodad\n\
             link set srv up\n",
            server.name()
        ));
        server.ip(&format!(
            "addr add {SERVER}/24 dev eth0\n\
             addr add {SERVER6}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {ISP}\n\
             route add default via 2001:db8:100::fe\n\
             link add inet0 type veth peer name eth0 netns {}\n\
             addr add {SERVER_INSIDE}/24 dev inet0\n\
             addr add {SERVER_INSIDE6}/64 dev inet0 nodad\n\
             link set inet0 up\n",
            internet.name()
        ));
        internet.ip(&format!(
            "addr add {INTERNET}/24 dev eth0\n\
             addr add {INTERNET6}/64 dev eth0 nodad\n\
             link set eth0 up\n"
        ));
    }

    /// Another router with its LAN host.
    pub fn add_site(&mut self, wans: &[Wan]) -> usize {
        let index = self.sites.len();
        let lan_number = 7 + index as u32;
        let router = Netns::create(self.number, &format!("router{index}"));
        let lan = Netns::create(self.number, &format!("lan{index}"));
        forwarder(&router);
        host(&lan);
        router.ip(&format!(
            "link add lan0 type veth peer name eth0 netns {}\n\
             addr add 192.168.{lan_number}.1/24 dev lan0\n\
             addr add fd00:{lan_number}::1/64 dev lan0 nodad\n\
             link set lan0 up\n",
            lan.name()
        ));
        lan.ip(&format!(
            "addr add 192.168.{lan_number}.2/24 dev eth0\n\
             addr add fd00:{lan_number}::2/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via 192.168.{lan_number}.1\n\
             route add default via fd00:{lan_number}::1\n"
        ));
        let first_wan = 1 + 10 * index as u32;
        self.sites.push(Site { router, lan, links: Vec::new(), lan_number, first_wan });
        for wan in wans {
            self.add_wan(index, *wan);
        }
        self.settle(index);
        index
    }

    /// Wait until the wires answer over IPv6 too. The kernel handles news of carriers once a
    /// second (linkwatch), and only after that a device takes part in neighbour discovery.
    fn settle(&self, index: usize) {
        let site = &self.sites[index];
        let router6 = format!("fd00:{}::1", site.lan_number);
        let wires = [
            (&self.isp, SERVER6.to_string()),
            (&self.server, "2001:db8:100::fe".to_string()),
            (&self.server, INTERNET6.to_string()),
            (&self.internet, SERVER_INSIDE6.to_string()),
            (&site.router, site.lan_address6()),
            (&site.lan, router6),
        ];
        for (from, to) in wires {
            poll_until(Duration::from_secs(10), &format!("{to} answers"), || {
                let mut ping = from.command("ping");
                ping.args(["-n", "-q", "-c", "1", "-W", "0.1", &to]);
                let output = ping.output().expect("ping");
                output.status.success().then_some(())
            });
        }
    }

    /// Another WAN on a router.
    fn add_wan(&mut self, site: usize, wan: Wan) {
        let link = self.connect_wan(site, self.sites[site].links.len(), wan);
        self.sites[site].links.push(link);
    }

    /// The link with this index of a router, also while everything runs: it lasts as long as what
    /// this gives.
    pub fn connect_wan(&self, site: usize, index: usize, wan: Wan) -> Link {
        let site = &self.sites[site];
        let number = site.first_wan + index as u32;
        let (device, gateway) = (format!("wan{number}"), format!("gw{number}"));
        let ends = Ends { router: (&site.router, &device), provider: (&self.isp, &gateway) };
        let link = Link::start(&ends, wan.up, wan.down, u64::from(number));
        // A long device queue: the emulator's queue has to be the only one that drops.
        self.isp.ip(&format!(
            "link set {gateway} txqueuelen 10000\n\
             addr add 10.{number}.0.1/24 dev {gateway}\n\
             addr add fd00:{number}::1/64 dev {gateway} nodad\n\
             link set {gateway} up\n"
        ));
        site.router.ip(&format!(
            "link set {device} txqueuelen 10000\n\
             addr add 10.{number}.0.2/24 dev {device}\n\
             addr add fd00:{number}::2/64 dev {device} nodad\n\
             link set {device} up\n\
             route add default via 10.{number}.0.1 dev {device} metric {metric}\n\
             route add default via fd00:{number}::1 dev {device} metric {metric}\n",
            metric = 10 + number
        ));
        link
    }
}

/// What an end host needs to fill the links: windows large enough for every environment, and no
/// memory of earlier connections. IPv6 addresses work at once, without the second that the search
/// for duplicates takes. (CUBIC is chosen per socket: a namespace may not make it its
/// default where the machine's own default is another one.)
fn host(namespace: &Netns) {
    namespace.sysctl(&[
        ("ipv4/tcp_rmem", "4096 131072 33554432"),
        ("ipv4/tcp_wmem", "4096 131072 33554432"),
        ("ipv4/tcp_no_metrics_save", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
    ]);
}

/// A host that forwards, as OpenWrt and providers do: without reverse path filter.
fn forwarder(namespace: &Netns) {
    host(namespace);
    namespace.sysctl(&[("ipv4/conf/all/forwarding", "1"), ("ipv6/conf/all/forwarding", "1")]);
}
