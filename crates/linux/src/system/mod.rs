//! Addresses, routes, rules, switches and the nftables table: made as they should be, and undone.
//!
//! Why: the tunnel takes over a host's default route without touching its main table, keeps its
//! own packets out of itself, and leaves nothing behind, not even after a crash.
//!
//! How: [`System::apply`] takes the whole desired state and makes the difference to what the
//! kernel has. The rules, for both families, in this order from priority P on:
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

mod kernel;
mod plan;

use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::ids::Ids;
use super::netlink::{Network, Wan};
use super::nft::{self, Nft, ruleset};
use super::sysctl::Sysctls;
use kernel::Kernel;
use onebox_core::prefix::{InterfaceAddress, Prefix};
pub use plan::{OwnRoute, Rule, RuleKind};

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
        // The table first: it takes longest, and what is routed into the tunnel is to find it.
        self.table(desired);
        let mut result = self.kernel.device(desired).await;
        let keep = |result: &mut Result<(), Error>, next: Result<(), Error>| {
            if result.is_ok() {
                *result = next;
            }
        };
        // Routes before the rules that lead to them, and the other way round when they go.
        let rules = plan::rules(&self.ids, desired);
        let routes = plan::routes(&self.ids, desired);
        keep(&mut result, self.kernel.routes(&routes).await);
        keep(&mut result, self.kernel.rules(&rules).await);
        keep(&mut result, self.switches(desired));
        result
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
        let rules = self.kernel.rules(&[]).await;
        let routes = self.kernel.routes(&[]).await;
        rules.and(routes).and(self.undo_but_routes().await)
    }

    /// Takes back what is ours but for routes and rules: what is barred stays so until the next
    /// start.
    ///
    /// # Errors
    /// The first that failed; the rest is taken back all the same.
    pub async fn undo_but_routes(&mut self) -> Result<(), Error> {
        self.nft.set(None);
        let tables = self.table_settled().await.map_err(Error::from);
        let switches = self.sysctls.restore();
        let switches =
            switches.map_err(|error| Error::Sysctl { key: "(former values)".to_owned(), error });
        tables.and(switches)
    }

    fn table(&mut self, desired: &Desired) {
        let wanted = desired.tables.as_ref().map(|tables| ruleset(&desired.device, tables));
        if self.nft.wish() != Some(wanted.clone()) {
            self.nft.set(wanted);
        }
    }

    fn switches(&mut self, desired: &Desired) -> Result<(), Error> {
        let failed = |key: &str| {
            let key = key.to_owned();
            move |error| Error::Sysctl { key, error }
        };
        // Answers to what arrived by the tunnel may be meant to leave by a WAN: loose.
        let filter = format!("net/ipv4/conf/{}/rp_filter", desired.device);
        let filter = self.sysctls.set_own(&filter, "2").map_err(failed(&filter));
        if desired.tables.is_some() {
            // After an outage of the tunnel the kernel has seen data whose acknowledgements it has
            // not, takes the connection's packets for invalid and sends them on untranslated: with
            // an inner address, to nobody. There is no such switch without connection tracking.
            let liberal = "net/netfilter/nf_conntrack_tcp_be_liberal";
            match self.sysctls.set(liberal, "1") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(failed(liberal))?,
            }
        }
        if !desired.forwarding {
            return filter;
        }
        // A host that forwards ignores router advertisements unless told otherwise, and would
        // lose its IPv6 default route.
        for wan in &desired.wans {
            let key = format!("net/ipv6/conf/{}/accept_ra", wan.device);
            if self.sysctls.get(&key).is_ok_and(|value| value == "1") {
                self.sysctls.set(&key, "2").map_err(failed(&key))?;
            }
        }
        let v4 = "net/ipv4/ip_forward";
        self.sysctls.set(v4, "1").map_err(failed(v4))?;
        let v6 = "net/ipv6/conf/all/forwarding";
        match self.sysctls.set(v6, "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed(v6))?,
        }
        filter
    }
}
