//! The running tunnel: device, routes, watcher, data plane and endpoint for one configuration.
//!
//! How: [`Tunnel::start`] sets everything up, [`Tunnel::stop`] takes everything back. In between
//! the owner calls [`wait`](Tunnel::wait), which may be cancelled at any time, and hands what it
//! returns to [`handle`](Tunnel::handle), which may not.
//!
//! What goes into the tunnel, each peer's [`Fallback`] says. Where an interface of OpenWrt's network
//! daemon is ours, it is told that by whoever asks for the [`link`](Tunnel::link), and sets
//! addresses and routes.

use super::Error;
use super::fallback::Fallback;
use super::report;
use super::resolve::resolve;
use super::translate::{
    self, barred, forwards, ids, inner_networks, kill_switch, new_endpoint, outage, private_key,
    settings, state_file, unchanged_key,
};
use super::wans::Wans;
use crate::config::{self, Config, Host, Outage, Role};
use crate::dataplane::{Command, DataPlane, Report, Told};
use crate::endpoint::{self, PeerId, PeerState};
use crate::status::{Change, Status};
use onebox_linux::netlink::{Network, Wan, Watcher};
use onebox_linux::system::{Desired, Owner, System, wan_routes};
use onebox_linux::tun::Tun;
use onebox_linux::udp::{Options, UdpSocket};
use onebox_linux::{clock, conntrack, nft};
use onebox_openwrt::netifd::{Interfaces, Link};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

/// MTU of the device until the paths have shown theirs.
const MTU_FIRST: u32 = 1400;
/// Names of endpoints are looked up again after this time while there is no connection.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);

/// A peer of the configuration and its number in the data plane.
struct PeerEntry {
    id: PeerId,
    name: String,
    state: PeerState,
    fallback: Fallback,
    mtu: Option<u16>,
}

impl PeerEntry {
    fn new(id: PeerId, name: &str, config: &Config) -> PeerEntry {
        PeerEntry {
            id,
            name: name.to_owned(),
            state: PeerState::Connecting,
            fallback: Fallback::new(outage(config), clock::now()),
            mtu: None,
        }
    }
}

/// Something to [`handle`](Tunnel::handle).
pub enum Input {
    /// The network has changed.
    Network(Arc<Network>),
    /// The watcher has ended.
    WatcherLost(std::io::Error),
    /// The data plane tells something.
    Event(Told),
    /// It is time to look names up again.
    Resolve,
    /// A peer has been silent for long enough.
    Silence,
}

/// See the module.
pub struct Tunnel {
    config: Config,
    system: System,
    desired: Desired,
    /// On a router.
    watcher: Option<Watcher>,
    network: Arc<Network>,
    /// What netifd knows, where there is one.
    interfaces: Arc<Interfaces>,
    wans: Wans,
    data: DataPlane,
    events: UnboundedReceiver<Told>,
    peers: Vec<PeerEntry>,
    /// Whether there has been a connection.
    connected: bool,
}

impl Tunnel {
    /// Sets everything up, after removing what an earlier run may have left behind.
    ///
    /// # Errors
    /// The key cannot be read, or the system refuses something; what was set up is taken back.
    pub async fn start(config: Config, interfaces: Arc<Interfaces>) -> Result<Tunnel, Error> {
        let key = private_key(&config.main.private_key)?;
        let (ids, state) = (ids(&config.main.routing), state_file(&config.main.control));
        let system = System::open(ids, &state, kill_switch(&config)).await?;
        let device = &config.main.device;
        let tun = Tun::open(device, true).map_err(|error| Error::io(device, error))?;
        let mark = config.main.routing.fwmark;
        let (server, watcher) = match &config.main.role {
            Role::Server(server) => {
                let options = Options { mark, port: server.listen_port, ..Options::default() };
                let sockets = UdpSocket::open_server(&options);
                let port = format!("UDP port {}", server.listen_port);
                (sockets.map_err(|error| Error::io(&port, error))?, None)
            }
            Role::Client(_) => {
                let watcher = Watcher::start(device).await;
                (Vec::new(), Some(watcher.map_err(|error| Error::io("netlink", error))?))
            }
        };
        let mut endpoint = new_endpoint(&config, key)?;
        let mut peers = Vec::new();
        for peer in &config.peers {
            let added = endpoint.add_peer(clock::now(), settings(&config, peer));
            let id = added.map_err(|error| Error::Peer { name: peer.name.clone(), error })?;
            peers.push(PeerEntry::new(id, &peer.name, &config));
        }
        let desired = Desired {
            device: device.clone(),
            ifindex: tun.ifindex(),
            addresses: config.main.addresses.clone(),
            mtu: u32::from(config.main.mtu.unwrap_or(0)).max(MTU_FIRST),
            ..Desired::default()
        };
        let numbers: Vec<PeerId> = peers.iter().map(|p| p.id).collect();
        let (events_in, events) = unbounded_channel();
        let data = DataPlane::start(endpoint, &numbers, tun, server, mark, events_in)
            .map_err(|error| Error::io("data plane", error))?;
        let mut tunnel = Tunnel {
            connected: false,
            config,
            system,
            desired,
            watcher,
            network: Arc::default(),
            interfaces,
            wans: Wans::default(),
            data,
            events,
            peers,
        };
        match tunnel.begin().await {
            Ok(()) => Ok(tunnel),
            Err(error) => {
                let barred = kill_switch(&tunnel.config);
                tunnel.stop(barred).await;
                Err(error)
            }
        }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.update_desired();
        self.system.apply(&self.desired).await?;
        self.resolve().await;
        if let Some(watcher) = &mut self.watcher {
            let network = watcher.current();
            self.follow(network).await;
        }
        Ok(())
    }

    /// Says good-bye to the peers and takes everything back; all but what must not leave past
    /// the tunnel, if that is to stay `barred`.
    pub async fn stop(mut self, barred: bool) {
        let undone = if barred { self.system.undo_but_routes() } else { self.system.undo().await };
        self.data.stop();
        if let Err(error) = undone {
            log::error!("cleaning up: {error}");
        }
    }

    /// Waits for something to handle. May be cancelled.
    pub async fn wait(&mut self) -> Input {
        let connecting = self.watcher.is_some() && !self.is_up();
        let due = self.peers.iter().filter_map(|p| p.fallback.due()).min();
        let left = due.map(|due| Duration::from_micros(due.since(clock::now())));
        tokio::select! {
            changed = async {
                match &mut self.watcher {
                    Some(watcher) => watcher.changed().await,
                    None => std::future::pending().await,
                }
            } => changed.map_or_else(Input::WatcherLost, Input::Network),
            Some(told) = self.events.recv() => Input::Event(told),
            () = tokio::time::sleep(RESOLVE_AGAIN), if connecting => Input::Resolve,
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => Input::Silence,
        }
    }

    /// Does what has to be done; what is to be told of it.
    pub async fn handle(&mut self, input: Input) -> Option<Change> {
        match input {
            Input::Network(network) => self.follow(network).await,
            Input::WatcherLost(error) => {
                log::warn!("netlink: {error}; starting anew");
                match Watcher::start(&self.config.main.device).await {
                    Ok(watcher) => self.watcher = Some(watcher),
                    Err(error) => {
                        log::error!("netlink: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            Input::Event(told) => return self.on_event(told).await,
            Input::Resolve => self.resolve().await,
            Input::Silence => {
                let (now, mut closed) = (clock::now(), false);
                for peer in &mut self.peers {
                    if peer.fallback.on_tick(now) {
                        closed = true;
                        log::warn!(
                            "{}: no answer, its traffic leaves by the WANs until there is one",
                            peer.name
                        );
                    }
                }
                self.apply().await;
                if closed {
                    let own = self.config.main.addresses.iter().map(|a| a.address);
                    forget(&own.collect::<Vec<_>>());
                }
            }
        }
        None
    }

    fn is_up(&self) -> bool {
        self.peers.iter().any(|p| p.state == PeerState::Up)
    }

    async fn on_event(&mut self, told: Told) -> Option<Change> {
        let Told { peer: id, event, reason } = told;
        let peer = self.peers.iter_mut().find(|p| p.id == id)?;
        match event {
            endpoint::Event::State(state) => {
                log::info!("{}: {}", peer.name, state.as_str());
                peer.state = state;
                let change =
                    Change::Peer { peer: peer.name.clone(), state: state.as_str().to_owned() };
                let up = state == PeerState::Up;
                self.connected |= up;
                // The router's own lookups are another matter with a connection and without.
                let opened = peer.fallback.on_message(up, clock::now());
                if opened || self.desired.lookups == up {
                    self.apply().await;
                }
                if opened && self.watcher.is_some() {
                    let wans = self.desired.wans.iter().flat_map(|wan| &wan.sources);
                    forget(&wans.copied().collect::<Vec<_>>());
                }
                Some(change)
            }
            endpoint::Event::PathChanged(path, state) => {
                let (wan, device) = self.wans.names(path);
                let state = report::state_name(state).to_owned();
                let reason = reason.map(|reason| reason.to_string()).unwrap_or_default();
                let why = if reason.is_empty() { String::new() } else { format!(", {reason}") };
                log::info!("{}: {wan} is {state}{why}", peer.name);
                Some(Change::Path { peer: peer.name.clone(), wan, device, state, reason })
            }
            endpoint::Event::AddressChanged(path, via) => {
                log::debug!("{}: path {} leads to {}", peer.name, path.0, via.remote());
                None
            }
            endpoint::Event::Mtu(mtu) => {
                peer.mtu = Some(mtu);
                self.apply().await;
                None
            }
        }
    }

    /// The peers and their states.
    pub fn peers(&self) -> Vec<(String, PeerState)> {
        self.peers.iter().map(|peer| (peer.name.clone(), peer.state)).collect()
    }

    /// netifd knows this now.
    pub async fn set_interfaces(&mut self, interfaces: Arc<Interfaces>) {
        self.interfaces = interfaces;
        self.follow(self.network.clone()).await;
    }

    /// The network is like this now.
    async fn follow(&mut self, network: Arc<Network>) {
        self.network = network;
        let Role::Client(client) = &self.config.main.role else { return };
        let (found, commands) = self.wans.update(&self.network, client, &self.interfaces);
        for command in commands {
            self.data.send(command);
        }
        let usable: Vec<Wan> = found.into_iter().filter(|w| w.fault.is_none()).collect();
        self.desired.wans = wan_routes(&self.network, &usable);
        self.apply().await;
    }

    /// Looks the peers' endpoints up.
    async fn resolve(&mut self) {
        if self.watcher.is_none() {
            return;
        }
        for peer in &self.config.peers {
            if let Some(entry) = self.peers.iter().find(|e| e.name == peer.name) {
                let addresses = resolve(&peer.endpoints).await;
                if !addresses.is_empty() {
                    self.data.send(Command::SetEndpoints(entry.id, addresses));
                }
            }
        }
    }

    /// Makes the system as it should be; what it refuses is logged.
    async fn apply(&mut self) {
        self.update_desired();
        if let Err(error) = self.system.apply(&self.desired).await {
            log::error!("{error}");
        }
    }

    /// Writes down how the system should be, from configuration and state.
    fn update_desired(&mut self) {
        let Config { main, peers } = &self.config;
        let mtu = self.peers.iter().filter_map(|p| p.mtu).min();
        self.desired.mtu = match (main.mtu, mtu) {
            (Some(fixed), _) => u32::from(fixed),
            (None, Some(found)) => u32::from(found),
            (None, None) => MTU_FIRST,
        };
        self.desired.addresses = self.config.main.addresses.clone();
        let open = |name: &str| self.peers.iter().any(|p| p.name == name && p.fallback.is_open());
        let routed = || peers.iter().filter(|p| p.route_allowed_ips);
        let inside = routed().filter(|p| open(&p.name));
        self.desired.routes = inside.flat_map(|p| &p.allowed_ips).copied().collect();
        self.desired.barred = if kill_switch(&self.config) { barred(routed()) } else { vec![] };
        self.desired.owner = if main.netifd.is_some() { Owner::Netifd } else { Owner::Us };
        let named = peers.iter().flat_map(|p| &p.endpoints);
        let named = named.into_iter().any(|e| matches!(e.host, Host::Name(_)));
        let closed = matches!(outage(&self.config), Some(Outage::Closed { .. }));
        self.desired.lookups = closed && named && !self.is_up();
        let own = main.addresses.iter().map(|a| a.address);
        self.desired.forwarding = matches!(main.role, Role::Server(_));
        self.desired.tables = Some(match &main.role {
            Role::Client(_) => nft::Tables {
                masquerade_into_tunnel: own.collect(),
                accept_forward: true,
                mss_clamp: main.mss_clamp,
                ..nft::Tables::default()
            },
            Role::Server(server) => nft::Tables {
                masquerade_sources: if server.nat { inner_networks(&self.config) } else { vec![] },
                forwards: forwards(&server.forwards),
                accept_forward: true,
                mss_clamp: main.mss_clamp,
                ..nft::Tables::default()
            },
        });
    }

    /// Everything there is to see, but for what the program knows of itself.
    pub async fn status(&self) -> Result<Status, Error> {
        let report = self.report().await?;
        let client = self.watcher.is_some();
        let wans = client.then_some(&self.wans);
        let peers = self.peers.iter().filter_map(|entry| {
            let snapshot = report.endpoint.peers.iter().find(|p| p.id == entry.id)?;
            Some(report::peer(&entry.name, snapshot, &report, wans))
        });
        let state = match self.is_up() {
            true => "up",
            false if self.connected => "down",
            false => "connecting",
        };
        Ok(Status {
            state: state.to_owned(),
            device: self.desired.device.clone(),
            mtu: self.desired.mtu,
            addresses: self.config.main.addresses.iter().map(ToString::to_string).collect(),
            peers: peers.collect(),
            drops: report::drops(&report),
            ..Status::default()
        })
    }

    /// How the interface of netifd's is that is ours, if one is.
    pub fn link(&self) -> Option<Link> {
        let interface = self.config.main.netifd.clone()?;
        let open = self.peers.iter().any(|peer| peer.fallback.is_open());
        let up = open.then(|| (self.config.main.addresses.clone(), self.desired.routes.clone()));
        Some(Link { interface, device: self.desired.device.clone(), up })
    }

    async fn report(&self) -> Result<Box<Report>, Error> {
        let (reply, answer) = oneshot::channel();
        self.data.send(Command::Report(reply));
        answer.await.map_err(|_| Error::DataPlane)
    }

    /// Begins anew with a peer, or with all; whether there is such a peer.
    pub fn reconnect(&self, name: Option<&str>) -> bool {
        let mut known = name.is_none();
        for peer in self.peers.iter().filter(|peer| name.is_none_or(|name| peer.name == name)) {
            known = true;
            self.data.send(Command::Reconnect(peer.id));
        }
        known
    }

    /// These WANs have used up their quota: they are only backups.
    pub async fn set_limited(&mut self, wans: BTreeSet<String>) {
        if self.wans.set_limited(wans) {
            self.follow(self.network.clone()).await;
        }
    }

    /// Uses a WAN in another way until the next start; whether there is such a WAN.
    pub async fn set_mode(&mut self, wan: &str, mode: config::Mode) -> bool {
        let known = self.wans.set_mode(wan, translate::mode(mode));
        if known {
            self.follow(self.network.clone()).await;
        }
        known
    }

    /// Takes over a configuration that needs no new device: sessions that it does not concern go
    /// on.
    ///
    /// # Errors
    /// The data plane refuses a new peer.
    pub async fn reconfigure(
        &mut self,
        new: Config,
        change: &config::Difference,
    ) -> Result<(), Error> {
        let gone = change.peers.removed.iter().chain(&change.peers.changed);
        let kept = |name: &String| unchanged_key(&self.config, &new, name);
        for name in gone.filter(|name| !kept(name)).cloned().collect::<Vec<_>>() {
            self.peers.retain(|entry| {
                if entry.name == name {
                    self.data.send(Command::RemovePeer(entry.id));
                }
                entry.name != name
            });
        }
        self.config = new;
        for peer in &self.config.peers {
            if let Some(entry) = self.peers.iter_mut().find(|e| e.name == peer.name) {
                entry.fallback.configure(outage(&self.config));
                self.data
                    .send(Command::UpdatePeer(entry.id, Box::new(settings(&self.config, peer))));
                continue;
            }
            let (reply, answer) = oneshot::channel();
            self.data.send(Command::AddPeer(Box::new(settings(&self.config, peer)), reply));
            let added = answer.await.map_err(|_| Error::DataPlane)?;
            let id = added.map_err(|error| Error::Peer { name: peer.name.clone(), error })?;
            self.peers.push(PeerEntry::new(id, &peer.name, &self.config));
        }
        for command in self.wans.forget(&change.wans.removed) {
            self.data.send(command);
        }
        self.resolve().await;
        self.follow(self.network.clone()).await;
        self.apply().await;
        Ok(())
    }
}

/// Makes connections begin anew that were translated to these addresses: they go another way now.
fn forget(addresses: &[std::net::IpAddr]) {
    match conntrack::forget(addresses) {
        Ok(number) => log::debug!("{number} connections begin anew"),
        Err(error) => log::info!("connections keep their former addresses: {error}"),
    }
}

/// Takes back what a program that is not there any more has left behind.
///
/// # Errors
/// The system refuses something.
pub async fn clean(config: Option<&Config>) -> Result<(), Error> {
    let routing = config.map(|config| ids(&config.main.routing)).unwrap_or_default();
    let control = config.map_or(Path::new(config::DEFAULT_CONTROL), |c| &c.main.control);
    System::open(routing, &state_file(control), false).await?;
    Ok(())
}
