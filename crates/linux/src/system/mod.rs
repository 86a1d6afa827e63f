//! Addresses, routes, rules, switches and the nftables table: made as they should be, and undone.
//!
//! Why: the tunnel takes over a host's default route without touching its main table, keeps its
//! own packets out of itself, and leaves nothing behind, not even after a crash.
//!
//! How: [`System::apply`] takes the whole desired state. `plan` says what that means entry by
//! entry, `diff` what has to be done for it, the same for each kind of entries; `kernel` and
//! `switches` read and write the kinds. The nftables table is made by a task of its own, see
//! [`nft`]. The rules, for both families, in this order from priority P on:
//!
//! | Priority | Rule | For |
//! |---|---|---|
//! | P | `fwmark MARK/MASK lookup main` | the tunnel's own packets: their sockets are bound to a WAN, so the main table's route of that WAN is taken, whatever its metric |
//! | P+1 | `lookup main suppress_prefixlength 0` | the LAN and everything more specific than a default route stays direct |
//! | P+2 | `from WAN-ADDRESS lookup WAN-TABLE` | answers to those who connected to a WAN's address leave by that WAN |
//! | P+2 | `iif lo udp dport 53 lookup main` | only when asked for: this host's own questions to name servers, without which a server given by name is not found while nothing may leave |
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
mod plan;
mod route;
mod rule;
mod switches;

use std::io;
use std::net::IpAddr;
use std::path::Path;

use netlink_packet_route::AddressFamily;

use super::ids::Ids;
use super::netlink::{Network, Wan};
use super::nft::{self, Nft, Ruleset};
use super::sysctl::Sysctls;
use diff::{Entry, Kind, reconcile};
use kernel::{Addresses, Kernel, Routes, Rules};
use onebox_core::prefix::{InterfaceAddress, Prefix};
use plan::Entries;
use switches::Switches;

/// Whose the TUN device's state, addresses and routes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// Ours.
    #[default]
    Us,
    /// OpenWrt's network daemon's.
    Netifd,
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
    /// The TUN device's addresses. Others of global scope are removed from it.
    pub addresses: Vec<InterfaceAddress>,
    /// The TUN device's MTU in bytes; 0 leaves it.
    pub mtu: u32,
    /// What goes into the tunnel. Empty while the tunnel is down.
    pub routes: Vec<Prefix>,
    /// What leaves into the tunnel or not at all.
    pub barred: Vec<Prefix>,
    /// This host's own questions to name servers leave by the WANs.
    pub lookups: bool,
    /// The WANs' default routes and addresses, see [`wan_routes`].
    pub wans: Vec<WanRoute>,
    /// The nftables table. None: none.
    pub tables: Option<nft::Tables>,
    /// Forward packets between devices, both families.
    pub forwarding: bool,
}

/// How one family leaves by a WAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WanRoute {
    /// The WAN's device.
    pub device: String,
    /// The WAN's index.
    pub ifindex: u32,
    /// None on a point-to-point device.
    pub gateway: Option<IpAddr>,
    /// All addresses of that family on the device.
    pub sources: Vec<IpAddr>,
}

/// The default routes and addresses of `wans`, for [`Desired::wans`].
pub fn wan_routes(network: &Network, wans: &[Wan]) -> Vec<WanRoute> {
    let mut list = Vec::new();
    for wan in wans {
        let Some(interface) = network.interfaces.get(&wan.ifindex) else { continue };
        for (v4, route) in [(true, wan.v4), (false, wan.v6)] {
            let Some(route) = route else { continue };
            let own = interface.addresses.iter().map(|a| a.ip).filter(|ip| ip.is_ipv4() == v4);
            list.push(WanRoute {
                device: wan.device.clone(),
                ifindex: wan.ifindex,
                gateway: route.gateway,
                sources: own.collect(),
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

/// What we have done to the system.
#[derive(Debug)]
pub struct System {
    ids: Ids,
    kernel: Kernel,
    sysctls: Sysctls,
    nft: Nft,
}

impl System {
    /// Opens a connection to the kernel and removes what an earlier run has left behind, without
    /// its routes and rules if they are `barred`: the next [`apply`](Self::apply) makes them
    /// right, and nothing leaves meanwhile. `state` is a file on a RAM disk for the former values
    /// of switches. Needs a tokio runtime with IO and time.
    ///
    /// # Errors
    /// See [`Error`]. What becomes of the nftables table is logged only: the task goes on trying.
    pub async fn open(ids: Ids, state: &Path, barred: bool) -> Result<System, Error> {
        let (kernel, sysctls) = (Kernel::open()?, Sysctls::load(state));
        let mut system = System { ids, kernel, sysctls, nft: Nft::start() };
        let undone = if barred { system.undo_but_routes().await } else { system.undo().await };
        match undone {
            Err(Error::Nft(error)) => log::error!("{error}"),
            other => other?,
        }
        Ok(system)
    }

    /// Makes the system as desired. May be called again at any time; what is right already is
    /// not touched, and what somebody has removed is made again. The nftables table is only asked
    /// for: see [`table_changed`](Self::table_changed).
    ///
    /// # Errors
    /// The first that failed. The rest is made all the same, so that a kernel without IPv6 gets
    /// its IPv4 routes.
    pub async fn apply(&mut self, desired: &Desired) -> Result<(), Error> {
        let entries = Entries::of(&self.ids, desired);
        // The table first: it takes longest, and what is routed into the tunnel is to find it.
        let asked = self.table_and_switches(&entries).await;
        let device = self.device(&entries).await;
        device.and(self.routing(&entries).await).and(asked)
    }

    /// Waits for news of the nftables table: it is in force, or fails. May be cancelled. Once it
    /// is in force, [`apply`](Self::apply) is due again: connection tracking has switches only
    /// when a table needs it.
    ///
    /// # Errors
    /// Why it fails. It is tried again.
    pub async fn table_changed(&mut self) -> Result<(), nft::Error> {
        self.nft.changed().await
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
        let routing = self.routing(&Entries::default()).await;
        routing.and(self.undo_but_routes().await)
    }

    /// Takes back what is ours but for routes and rules: what is barred stays so until the next
    /// start.
    ///
    /// # Errors
    /// The first that failed; the rest is taken back all the same.
    pub async fn undo_but_routes(&mut self) -> Result<(), Error> {
        let undone = self.table_and_switches(&Entries::default()).await;
        let table = self.table_settled().await;
        undone.and(table.map_err(Error::from))
    }

    async fn device(&mut self, entries: &Entries) -> Result<(), Error> {
        let Some(device) = &entries.device else { return Ok(()) };
        let set = self.kernel.device(device).await;
        let Some(addresses) = &device.addresses else { return set };
        set.and(reconcile(&mut Addresses { kernel: &self.kernel, device }, addresses).await)
    }

    async fn routing(&mut self, entries: &Entries) -> Result<(), Error> {
        // Routes before the rules that lead to them.
        let routes = reconcile(&mut Routes(&self.kernel), &entries.routes).await;
        routes.and(reconcile(&mut Rules(&self.kernel), &entries.rules).await)
    }

    async fn table_and_switches(&mut self, entries: &Entries) -> Result<(), Error> {
        let table = reconcile(&mut self.nft, std::slice::from_ref(&entries.table)).await;
        let mut desired = entries.switches.clone();
        desired.retain(|switch| self.sysctls.applies(switch));
        let keep = entries.device.is_some();
        let mut switches = Switches { sysctls: &mut self.sysctls, desired: &desired, keep };
        table.and(reconcile(&mut switches, &desired).await)
    }
}

fn family(v4: bool) -> AddressFamily {
    if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
