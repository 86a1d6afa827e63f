//! Addresses, routes, rules, switches and the nftables table: made as they should be, and undone.
//!
//! Why: the tunnel takes over a host's default route without touching its main table, keeps its
//! own packets out of itself, and leaves nothing behind, not even after a crash.
//!
//! How: [`System::apply`] takes the whole desired state. `plan` says what that means entry by
//! entry, `diff` what has to be done for it, the same for each kind of entries; `kernel` and
//! `switches` read and write the kinds. The nftables table is made by a task of its own, see
//! [`nft`]. `monitor` hears what others do to it: [`System::news`] says when to apply again, and
//! does so every half a minute in any case. The rules, for both families, in this order from priority P on:
//!
//! | Priority | Rule | For |
//! |---|---|---|
//! | P | `fwmark MARK/MASK lookup main` | the tunnel's own packets: their sockets are bound to a WAN, so the main table's route of that WAN is taken, whatever its metric |
//! | P+1 | `lookup main suppress_prefixlength 0` | the LAN and everything more specific than a default route stays direct |
//! | P+2 | `from WAN-ADDRESS lookup WAN-TABLE` | answers to those who connected to a WAN's address leave by that WAN |
//! | P+2 | `fwmark WAN-MARK/MASK lookup WAN-TABLE` | answers of the LAN to those who connected by that WAN, by a port forward: the nftables table marks such a connection, and the packets of its answers |
//! | P+2 | `iif lo to RESOLVER lookup WAN-TABLE` | this host's questions to a provider's name servers, which may answer its own customers only |
//! | P+2 | `iif lo udp dport 53 lookup main`, or a WAN's table | only when asked for: this host's own questions to name servers, without which a server given by name is not found while nothing may leave |
//! | P+3 | `lookup TABLE` | everything else: our routes into the tunnel |
//!
//! A WAN's table holds only its default route, copied from the main table. A rule to the main
//! table would not do: it would take the best WAN, whatever the source address, and strict
//! reverse path filtering would drop what arrives by the others.
//!
//! All numbers come from [`ids`](crate::ids). Rules and routes carry our protocol number; whatever
//! carries it is ours, in any table and with any priority, so that after a crash what another
//! configuration has set is found as well. Rules and routes of others in the same table stay.
//! While the tunnel is down, the caller applies a state without routes: rule P+3 then finds
//! nothing and the main table decides. Or it has barred what must not leave any other way: a route
//! to nowhere, behind ours in the same table, does not go away with the device, so that it holds
//! after a crash as well.
//!
//! Where netifd owns the device, addresses and routes into the tunnel are its own, in the main
//! table; of the rules only P and the first of P+2 are made, unless something is barred.
//!
//! Limits: the rules run before those of mwan3 (1001 and up) and pbr (below 30000), so what the
//! tunnel routes is not theirs to balance any more. An address range that a WAN's provider gave
//! to the LAN (delegated prefix) goes into the tunnel like all else of the LAN. There is one such
//! program in a network namespace: a second one would take the first one's routes for its own.

mod diff;
mod kernel;
mod monitor;
mod part;
mod plan;
mod route;
mod rule;
mod switches;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::clock;
use super::ids::Ids;
use super::netlink::{Network, Wan};
use super::nft::{self, Nft, Ruleset};
use super::sysctl::Sysctls;
use diff::{Entry, Kind, reconcile};
use kernel::{Addresses, Kernel, Routes, Rules};
use monitor::Monitor;
use onebox_core::prefix::{InterfaceAddress, Prefix};
pub use part::Part;
use part::Parts;
use plan::{Device, Entries};
use rule::{Rule, RuleKind};
use switches::Switches;

/// Whose the TUN device's state, addresses and routes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// Ours.
    #[default]
    Us,
    /// OpenWrt's network daemon's.
    Netifd,
    /// The addresses are OpenWrt's network daemon's, the routes ours.
    Shared,
}

/// How the system should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The TUN device's name.
    pub device: String,
    /// The TUN device's index.
    pub ifindex: u32,
    /// Who sets the addresses and routes.
    pub owner: Owner,
    /// The TUN device's addresses, of the families that it [carries](Desired::carries). Others of global
    /// scope are removed from it.
    pub addresses: Vec<InterfaceAddress>,
    /// The TUN device's MTU in bytes; 0 leaves it.
    pub mtu: u32,
    /// What goes into the tunnel. Empty while the tunnel is down.
    pub routes: Vec<Prefix>,
    /// What leaves into the tunnel or not at all.
    pub barred: Vec<Prefix>,
    /// The way of this host's own questions to name servers.
    pub lookups: Lookups,
    /// The WANs' default routes and addresses, see [`wan_routes`].
    pub wans: Vec<WanRoute>,
    /// The nftables table. None: none.
    pub tables: Option<nft::Tables>,
    /// Forward packets between devices, both families.
    pub forwarding: bool,
}

impl Desired {
    /// Whether the device is wide enough for a family: IPv6 needs 1280 bytes (RFC 8200 §5), and the
    /// kernel takes it from a device that has less.
    pub fn carries(&self, v4: bool) -> bool {
        v4 || self.mtu == 0 || self.mtu >= 1280
    }
}

/// The way of this host's own questions to name servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lookups {
    /// That of everything else.
    #[default]
    Plain,
    /// Past the tunnel, as the main table says.
    Main,
    /// By the WAN whose device has this index.
    Wan(u32),
}

/// How one family leaves by a WAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WanRoute {
    /// The WAN's number, the same as long as there is this WAN.
    pub number: u8,
    /// The WAN's device.
    pub device: String,
    /// The WAN's index.
    pub ifindex: u32,
    /// None on a point-to-point device.
    pub gateway: Option<IpAddr>,
    /// All addresses of that family on the device.
    pub sources: Vec<IpAddr>,
    /// The provider's name servers of that family, which may answer its own customers only: this
    /// host asks them by this WAN.
    pub resolvers: Vec<IpAddr>,
}

/// The default routes and addresses of numbered `wans`, for [`Desired::wans`].
pub fn wan_routes<'a>(
    network: &Network,
    wans: impl IntoIterator<Item = (u8, &'a Wan)>,
) -> Vec<WanRoute> {
    let mut list = Vec::new();
    for (number, wan) in wans {
        let Some(interface) = network.interfaces.get(&wan.ifindex) else { continue };
        for (v4, route) in [(true, wan.v4), (false, wan.v6)] {
            let Some(route) = route else { continue };
            let own = interface.addresses.iter().map(|a| a.ip).filter(|ip| ip.is_ipv4() == v4);
            list.push(WanRoute {
                number,
                device: wan.device.clone(),
                ifindex: wan.ifindex,
                gateway: route.gateway,
                sources: own.collect(),
                resolvers: Vec::new(),
            });
        }
    }
    list
}

/// Why the system could not be made as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a change or a question.
    #[error("cannot {what}: {error}")]
    Netlink {
        /// What was to be done.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The nftables table.
    #[error(transparent)]
    Nft(#[from] nft::Error),
    /// A switch.
    #[error("cannot turn the switch {key}: {error}")]
    Sysctl {
        /// Which.
        key: String,
        /// What the kernel said.
        error: io::Error,
    },
}

/// The nftables table as a kind of entries, of which there is one at most.
impl Entry for Option<Ruleset> {
    type Key = ();
    fn key(&self) {}
}

impl Kind for Nft {
    type Entry = Option<Ruleset>;
    type Found = ();

    /// What was asked for last: the task sees to it.
    async fn read(&mut self) -> Result<Vec<(Option<Ruleset>, ())>, Error> {
        Ok(self.desired().map(|ruleset| (ruleset, ())).into_iter().collect())
    }

    async fn add(&mut self, ruleset: &Option<Ruleset>) -> Result<(), Error> {
        self.set(ruleset.clone());
        Ok(())
    }

    async fn remove(&mut self, _: &Option<Ruleset>, (): ()) -> Result<(), Error> {
        self.set(None);
        Ok(())
    }
}

/// Longest time until all is compared with what is desired, whatever was heard.
const COMPARE: Duration = Duration::from_secs(30);
/// How long news of one cause may gather, and the least time between two comparisons for news: a
/// daemon that starts anew removes dozens of rules.
const GATHER: Duration = Duration::from_millis(20);
const APART: Duration = Duration::from_millis(300);

/// What makes [`System::apply`] due.
#[derive(Debug)]
pub enum News {
    /// The nftables table is in force, or fails and is tried again.
    Table(Result<(), nft::Error>),
    /// Somebody else may have changed something of ours, or the last look was long ago.
    Compare {
        /// The TUN device is not there any more.
        device_gone: bool,
    },
}

/// How it went with a part.
pub type Outcome = (Part, Result<(), Error>);

/// What we have done to the system.
#[derive(Debug)]
pub struct System {
    ids: Ids,
    kernel: Kernel,
    sysctls: Sysctls,
    nft: Nft,
    monitor: Monitor,
    /// What was applied last, with the devices of `advertised`; None after it was undone.
    wanted: Option<(Desired, Vec<String>)>,
    /// What that means.
    entries: Entries,
    /// Devices whose IPv6 default route comes from router advertisements.
    advertised: Vec<String>,
    /// Parts that may not be as they should.
    stale: Parts,
    /// When to compare because of what was heard, and in any case.
    news_due: Option<Instant>,
    compare_due: Instant,
    compared: Option<Instant>,
}

impl System {
    /// Opens a connection to the kernel and removes what an earlier run has left behind, without
    /// its routes and rules if they are `barred`: the next [`apply`](Self::apply) makes them
    /// right, and nothing leaves meanwhile. `state` is a file on a RAM disk for the former values
    /// of switches. Needs a tokio runtime with IO and time.
    ///
    /// # Errors
    /// There is no connection to the kernel. What cannot be removed is only logged: it is compared
    /// again.
    pub async fn open(ids: Ids, state: &Path, barred: bool) -> Result<System, Error> {
        let (kernel, sysctls) = (Kernel::open()?, Sysctls::load(state));
        let mut system = System {
            ids,
            kernel,
            sysctls,
            nft: Nft::start(),
            monitor: Monitor::start(),
            wanted: None,
            entries: Entries::default(),
            advertised: Vec::new(),
            stale: Parts::ALL,
            news_due: None,
            compare_due: clock::timer_now() + COMPARE,
            compared: None,
        };
        let undone = if barred { system.undo_but_routes().await } else { system.undo().await };
        if let Err(error) = undone {
            log::error!("cleaning up after an earlier run: {error}");
        }
        Ok(system)
    }

    /// Makes the system as desired. May be called again at any time: parts of which something else is
    /// desired than last time, or of which somebody may have changed something, are compared with
    /// what is there. What is right is not touched. The nftables table is only asked for: see
    /// [`news`](Self::news).
    ///
    /// Returns how it went with each part that was compared, with the first error of each; the rest
    /// of a part is made all the same, so that a kernel without IPv6 gets its IPv4 routes. What
    /// failed is tried again with the next call.
    pub async fn apply(&mut self, desired: &Desired) -> Vec<Outcome> {
        if desired.forwarding && self.stale.contains(Part::Switches) {
            match self.kernel.advertised().await {
                Ok(devices) => self.advertised = devices,
                Err(error) => log::debug!("{error}"),
            }
        }
        let is_wanted = |(known, advertised): &(Desired, Vec<String>)| {
            known == desired && *advertised == self.advertised
        };
        if !self.wanted.as_ref().is_some_and(is_wanted) {
            let known = self.wanted.as_ref().map(|(known, _)| (known, &self.entries));
            let entries = Entries::of(&self.ids, desired, &self.advertised, known);
            self.stale.add(entries.differing(&self.entries));
            self.entries = entries;
            self.monitor.set_interest(self.entries.interest());
            self.wanted = Some((desired.clone(), self.advertised.clone()));
        }
        let mut outcomes = Vec::new();
        // The table first: it takes longest, and what is routed into the tunnel is to find it.
        for part in Part::ALL {
            if self.stale.contains(part) {
                self.stale.remove(part);
                let outcome = self.reconcile(part).await;
                if outcome.is_err() {
                    self.stale.add(Parts::of(&[part]));
                }
                outcomes.push((part, outcome));
            }
        }
        outcomes
    }

    /// Is notified when others have changed their rules of nftables: to be waited for by one task.
    pub fn firewall(&self) -> Arc<Notify> {
        self.monitor.firewall()
    }

    /// The programs (mwan3, pbr) whose policies of routing are without effect, since our rule that has
    /// everything go into the tunnel comes first.
    ///
    /// # Errors
    /// The kernel does not tell its rules.
    pub async fn dead_policies(&self) -> Result<Vec<&'static str>, Error> {
        let of_all = |rule: &&Rule| rule.kind == RuleKind::All;
        let last = self.entries.rules.iter().filter(of_all).map(|rule| rule.priority).max();
        let routed = self
            .wanted
            .as_ref()
            .is_some_and(|(desired, _)| !desired.routes.is_empty() || !desired.barred.is_empty());
        match last {
            Some(priority) if routed => self.kernel.policies_behind(priority).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Compares everything with the next [`apply`](Self::apply).
    pub fn distrust(&mut self) {
        self.stale = Parts::ALL;
    }

    /// Waits for something that makes [`apply`](Self::apply) due. May be cancelled.
    pub async fn news(&mut self) -> News {
        loop {
            let due = self.news_due.unwrap_or(self.compare_due).min(self.compare_due);
            tokio::select! {
                outcome = self.nft.changed() => {
                    // Connection tracking has switches only when a table needs it.
                    self.stale.add(Parts::of(&[Part::Switches]));
                    return News::Table(outcome);
                }
                () = self.monitor.heard(), if self.news_due.is_none() => {
                    let now = clock::timer_now();
                    let earliest = self.compared.map_or(now, |compared| compared + APART);
                    self.news_due = Some(earliest.max(now + GATHER));
                }
                () = sleep_until(due) => break,
            }
        }
        let (now, (heard, device_gone)) = (clock::timer_now(), self.monitor.take());
        if self.compare_due <= now {
            self.stale = Parts::ALL;
            self.compare_due = now + COMPARE;
        }
        (self.news_due, self.compared) = (None, Some(now));
        self.stale.add(heard);
        if self.stale.contains(Part::Table) {
            self.nft.check();
        }
        News::Compare { device_gone }
    }

    /// Waits until the nftables table is in force or known to fail, for a bounded time; see
    /// [`Nft::settled`].
    ///
    /// # Errors
    /// Why it fails. It is tried again.
    pub async fn table_settled(&mut self) -> Result<(), nft::Error> {
        self.nft.settled().await
    }

    /// Takes everything back that is ours, and waits for it.
    ///
    /// # Errors
    /// The first that failed; the rest is taken back all the same.
    pub async fn undo(&mut self) -> Result<(), Error> {
        (self.wanted, self.entries) = (None, Entries::default());
        let routes = self.reconcile(Part::Routes).await;
        routes.and(self.reconcile(Part::Rules).await).and(self.undo_but_routes().await)
    }

    /// Takes back what is ours but for routes and rules: what is barred stays so until the next
    /// start.
    ///
    /// # Errors
    /// The first that failed; the rest is taken back all the same.
    pub async fn undo_but_routes(&mut self) -> Result<(), Error> {
        (self.wanted, self.entries) = (None, Entries::default());
        let asked = self.reconcile(Part::Table).await;
        let switches = self.reconcile(Part::Switches).await;
        let table = self.table_settled().await;
        asked.and(switches).and(table.map_err(Error::from))
    }

    /// Makes a part what the entries say.
    async fn reconcile(&mut self, part: Part) -> Result<(), Error> {
        let entries = &self.entries;
        let device = entries.device.as_ref();
        match part {
            Part::Table => reconcile(&mut self.nft, std::slice::from_ref(&entries.table)).await,
            Part::Switches => {
                let mut desired = entries.switches.clone();
                desired.retain(|switch| self.sysctls.applies(switch));
                let keep = device.is_some();
                let mut kind = Switches { sysctls: &mut self.sysctls, desired: &desired, keep };
                reconcile(&mut kind, &desired).await
            }
            Part::Device => match device {
                Some(device) => self.kernel.device(device).await,
                None => Ok(()),
            },
            Part::Addresses => match device {
                Some(device @ Device { addresses: Some(addresses), .. }) => {
                    reconcile(&mut Addresses { kernel: &self.kernel, device }, addresses).await
                }
                _ => Ok(()),
            },
            Part::Routes => reconcile(&mut Routes(&self.kernel), &entries.routes).await,
            Part::Rules => reconcile(&mut Rules(&self.kernel), &entries.rules).await,
        }
    }
}

fn family(v4: bool) -> AddressFamily {
    if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
