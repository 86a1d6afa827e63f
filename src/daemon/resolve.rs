//! From configured endpoints to addresses.

use crate::config::{Endpoint, Host};
use std::net::SocketAddr;

/// Addresses of one peer at most.
const ADDRESSES_MAX: usize = 8;

/// The addresses of `endpoints`, names resolved, in the order of the configuration. What cannot be
/// resolved now is left out and logged.
pub async fn resolve(endpoints: &[Endpoint]) -> Vec<SocketAddr> {
    let mut list = Vec::new();
    for endpoint in endpoints {
        match &endpoint.host {
            Host::Address(address) => list.push(SocketAddr::new(*address, endpoint.port)),
            Host::Name(name) => {
                match tokio::net::lookup_host((name.as_str(), endpoint.port)).await {
                    Ok(found) => list.extend(found),
                    Err(error) => log::warn!("endpoint {name}: {error}"),
                }
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|address| seen.insert(*address));
    list.truncate(ADDRESSES_MAX);
    list
}
