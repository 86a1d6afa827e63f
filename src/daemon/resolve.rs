//! From configured endpoints to addresses.

use crate::config::{Endpoint, Host};
use crate::status::{Problem, Problems};
use onebox_linux::clock;
use std::net::SocketAddr;

/// Addresses of one peer at most.
const ADDRESSES_MAX: usize = 8;

/// The addresses of `endpoints`, names resolved, in the order of the configuration. What cannot be
/// resolved now is left out and told.
pub async fn resolve(endpoints: &[Endpoint], problems: &Problems) -> Vec<SocketAddr> {
    let mut list = Vec::new();
    for endpoint in endpoints {
        match &endpoint.host {
            Host::Address(address) => list.push(SocketAddr::new(*address, endpoint.port)),
            Host::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), endpoint.port)).await;
                let news = problems.note(clock::now(), Problem::NameUnresolved, name, &found);
                match found {
                    Ok(found) => list.extend(found),
                    Err(error) if news => log::warn!("endpoint {name}: {error}"),
                    Err(_) => {}
                }
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|address| seen.insert(*address));
    list.truncate(ADDRESSES_MAX);
    list
}
