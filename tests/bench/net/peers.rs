//! Other programs that bond links, where this machine has them.
//!
//! MPTCP is the kernel's own: no tunnel, but the same links under one TCP connection whose both
//! ends speak it. The ping beside it goes over the first link, as everything that is not TCP.
//! What is not there is skipped, and said.

use super::load::{Ends, Load};
use super::networks::Measured;
use crate::lab::topology::{Lab, SERVER};

/// Another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Multipath TCP of the kernel (RFC 8684), by `mptcpize`.
    Mptcp,
}

impl Peer {
    /// All that are known.
    pub const ALL: [Peer; 1] = [Peer::Mptcp];

    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Mptcp => "mptcp",
        }
    }

    /// Why it cannot be measured here, if it cannot.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Peer::Mptcp if !std::path::Path::new("/proc/sys/net/mptcp/enabled").exists() => {
                Some("which this kernel does not have")
            }
            Peer::Mptcp if !on_path("mptcpize") => Some("for which mptcpize is missing"),
            Peer::Mptcp => None,
        }
    }

    /// Set it up, measure every load.
    pub fn measure(self, lab: &Lab, loads: &[Load]) -> Vec<Measured> {
        let ends = match self {
            Peer::Mptcp => mptcp(lab),
        };
        let one = |load: &Load| (self.name(), load.clone(), load.measure(&ends));
        loads.iter().map(one).collect()
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A connection over the first link gets a subflow over the second.
fn mptcp(lab: &Lab) -> Ends<'_> {
    let site = lab.site();
    for namespace in [&site.router, &lab.server] {
        namespace.ip("mptcp limits set subflows 2 add_addr_accepted 2\n");
    }
    let (address, device) = (site.wan_address(1), site.device(1));
    site.router.ip(&format!("mptcp endpoint add {address} dev {device} subflow\n"));
    Ends {
        client: &site.router,
        server: &lab.server,
        address: SERVER,
        device: None,
        wrapper: &["mptcpize", "run"],
    }
}
