//! What is measured: the bond, the links without it, and the peers.

use super::load::{Ends, Figures, Load};
use super::peers::Peer;
use crate::lab::onebox::Pair;
use crate::lab::topology::{INTERNET, Lab, SERVER};

/// A way from the client to the server.
pub enum Network {
    /// onebox over both links: from a host behind the router to a host behind the server.
    Bond,
    /// The links without a tunnel, from the router to the server. They are measured at the same
    /// time, each alone: nothing is shared but the machine.
    Links,
    /// Another program.
    Peer(Peer),
}

/// Name of the network, what was sent, and what came of it.
pub type Measured = (&'static str, Load, Result<Figures, String>);

impl Network {
    /// The bond, the links if they are wanted, and the peers that are named; without names, all
    /// that this machine has. What is not there is said.
    ///
    /// # Errors
    /// A peer that nobody knows.
    pub fn all(links: bool, names: &Option<Vec<String>>) -> Result<Vec<Network>, String> {
        let mut names_left = names.iter().flatten();
        if let Some(name) = names_left.find(|name| Peer::ALL.iter().all(|p| p.name() != *name)) {
            return Err(format!("no peer {name}"));
        }
        let mut networks = vec![Network::Bond];
        networks.extend(links.then_some(Network::Links));
        let wanted =
            |peer: &Peer| names.as_ref().is_none_or(|n| n.iter().any(|n| n == peer.name()));
        for peer in Peer::ALL.into_iter().filter(wanted) {
            match peer.missing() {
                None => networks.push(Network::Peer(peer)),
                Some(reason) => println!("skipped: {}, {reason}", peer.name()),
            }
        }
        Ok(networks)
    }

    /// Their names in records.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Network::Bond => vec!["bond"],
            Network::Links => LINKS.to_vec(),
            Network::Peer(peer) => vec![peer.name()],
        }
    }

    /// Set it up, measure every load, take it down.
    pub fn measure(&self, lab: &Lab, loads: &[Load]) -> Vec<Measured> {
        match self {
            Network::Bond => {
                let mut pair = Pair::up(lab);
                let ends = bonded(lab);
                let measured = loads.iter().map(|load| ("bond", load.clone(), load.measure(&ends)));
                let measured = measured.collect();
                // What it set up would be in the way of what comes next.
                pair.router.stop();
                pair.server.stop();
                measured
            }
            Network::Links => loads.iter().flat_map(|load| alone(lab, load)).collect(),
            Network::Peer(peer) => peer.measure(lab, loads),
        }
    }
}

/// Names of the links in records.
const LINKS: [&str; 2] = ["a", "b"];

/// Through the bond.
fn bonded(lab: &Lab) -> Ends<'_> {
    let (client, server) = (&lab.site().lan, &lab.internet);
    Ends { client, server, address: INTERNET, device: None, wrapper: &[] }
}

/// Over each link, at the same time.
fn alone(lab: &Lab, load: &Load) -> Vec<Measured> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..LINKS.len())
            .map(|link| {
                let ends = Ends {
                    client: &lab.site().router,
                    server: &lab.server,
                    address: SERVER,
                    device: Some(lab.site().device(link)),
                    wrapper: &[],
                };
                (LINKS[link], scope.spawn(move || load.measure(&ends)))
            })
            .collect();
        let end = |thread: std::thread::ScopedJoinHandle<'_, Result<Figures, String>>| {
            thread.join().unwrap_or_else(|_| Err("the measurement failed".to_string()))
        };
        threads.into_iter().map(|(name, thread)| (name, load.clone(), end(thread))).collect()
    })
}
