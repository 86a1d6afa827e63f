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
use super::firewall::FirewallWatch;
use super::names::Names;
use super::peers::Peers;
use super::report;
use super::translate::{
    self, barred, forwards, ids, kill_switch, names_file, new_endpoint, outage, private_key,
    settings, state_file,
};
use super::wans::Wans;
use crate::config::{self, Config, Host, PublicKey, Role};
use crate::control::{RequestError, Testing};
use crate::dataplane::{Command, DataPlane, REPORT_PEERS, Report, Told};
use crate::endpoint::{self, PeerId, PeerState};
use crate::engine::{self, SpeedTestPlan};
use crate::findings::overlap::overlaps;
use crate::findings::read::forwarding;
use crate::status::history::{Rates, SERIES_MAX};
use crate::status::refusal::{breach, refusal};
use crate::status::{self, Change, LastError, Peer, Problem, Problems, State, Status};
use crate::time::{SEC, Time};
use litemap::LiteMap;
use onebox_linux::link_kind::LinkKind;
use onebox_linux::netlink::{Network, Wan, Watcher};
use onebox_linux::system::{Desired, Lookups, News, Owner, Part, System, wan_routes};
use onebox_linux::tun::Tun;
use onebox_linux::udp::{Options, UdpSocket};
use onebox_linux::{clock, conntrack, nft};
use onebox_openwrt::netifd::{self, Interfaces, Link};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

/// MTU of the device until the paths have shown theirs.
const MTU_FIRST: u32 = 1400;
/// Least MTU of a device that several peers share, below which Linux takes IPv6 from it (RFC 8200
/// §5): one peer with narrow paths is not to cost the others that.
const MTU_SHARED_MIN: u32 = 1280;
/// Name servers of a WAN's that are asked by it.
const RESOLVERS: usize = 4;

/// The problems of a tunnel, which end with it.
const PROBLEMS: [Problem; 10] = [
    Problem::RoutesRefused,
    Problem::FirewallRefused,
    Problem::SwitchRefused,
    Problem::NameUnresolved,
    Problem::NetworkUnwatched,
    Problem::TooManyWans,
    Problem::SocketRefused,
    Problem::ForwardBlocked,
    Problem::NetworksOverlap,
    Problem::PoliciesDead,
];

/// Something to [`handle`](Tunnel::handle).
pub enum Input {
    /// The network has changed.
    Network(Arc<Network>),
    /// The watcher has ended.
    WatcherLost(std::io::Error),
    /// The data plane tells something.
    Event(Told),
    /// The system may not be as it should.
    System(News),
    /// A server's name has other addresses.
    Names,
    /// A peer has been silent for long enough.
    Silence,
}

/// See the module.
pub struct Tunnel {
    config: Arc<Config>,
    system: System,
    desired: Desired,
    /// On a router.
    watcher: Option<Watcher>,
    network: Arc<Network>,
    /// What netifd knows, where there is one.
    interfaces: Arc<Interfaces>,
    wans: Wans,
    names: Names,
    firewall: FirewallWatch,
    data: DataPlane,
    events: UnboundedReceiver<Told>,
    peers: Peers,
    /// Whether there has been a connection.
    connected: bool,
    /// The TUN device was removed and could not be made anew yet.
    device_lost: bool,
    problems: Problems,
}

impl Tunnel {
    /// Sets everything up, after removing what an earlier run may have left behind.
    ///
    /// # Errors
    /// The key cannot be read, or the system refuses something; what was set up is taken back.
    pub async fn start(
        config: Arc<Config>,
        interfaces: Arc<Interfaces>,
        problems: Problems,
    ) -> Result<Tunnel, Error> {
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
        let mut peers = Peers::default();
        for peer in &config.peers {
            let added = endpoint.add_peer(clock::now(), settings(&config, peer));
            let id = added.map_err(|error| Error::Peer { name: peer.name.clone(), error })?;
            peers.add(id, &peer.name, outage(&config), clock::now());
        }
        let desired = Desired {
            device: device.clone(),
            ifindex: tun.ifindex(),
            addresses: config.main.addresses.clone(),
            mtu: MTU_FIRST,
            ..Desired::default()
        };
        let numbers: Vec<PeerId> = peers.ids().collect();
        let (events_in, events) = unbounded_channel();
        let data = DataPlane::start(endpoint, &numbers, tun, server, mark, events_in)
            .map_err(|error| Error::io("data plane", error))?;
        let names = Names::new(names_file(&config.main.control), problems.clone());
        let firewall = FirewallWatch::start(system.firewall(), problems.clone());
        let mut tunnel = Tunnel {
            connected: false,
            device_lost: false,
            config,
            system,
            desired,
            watcher,
            network: Arc::default(),
            interfaces,
            wans: Wans::default(),
            names,
            firewall,
            data,
            events,
            peers,
            problems,
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
        self.apply().await;
        self.configure_names();
        if let Some(watcher) = &mut self.watcher {
            let network = watcher.current();
            self.follow(network).await;
        }
        Ok(())
    }

    /// Says good-bye to the peers and takes everything back; all but what must not leave past
    /// the tunnel, if that is to stay `barred`.
    pub async fn stop(mut self, barred: bool) {
        let undone = match barred {
            true => self.system.undo_but_routes().await,
            false => self.system.undo().await,
        };
        self.data.stop();
        PROBLEMS.iter().for_each(|problem| self.problems.clear_all(*problem));
        if let Err(error) = undone {
            log::error!("cleaning up: {error}");
        }
    }

    /// Waits for something to handle. May be cancelled.
    pub async fn wait(&mut self) -> Input {
        let due = self.peers.due();
        let until = |due: Time| Duration::from_micros(due.since(clock::now()));
        let left = due.map(until);
        let forget = self.wans.due().map(until);
        tokio::select! {
            changed = async {
                match &mut self.watcher {
                    Some(watcher) => watcher.changed().await,
                    None => std::future::pending().await,
                }
            } => changed.map_or_else(Input::WatcherLost, Input::Network),
            Some(told) = self.events.recv() => Input::Event(told),
            news = self.system.news() => Input::System(news),
            () = self.names.changed() => Input::Names,
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => Input::Silence,
            () = tokio::time::sleep(forget.unwrap_or_default()), if forget.is_some() => {
                Input::Network(self.network.clone())
            }
        }
    }

    /// Does what has to be done; what is to be told of it.
    pub async fn handle(&mut self, input: Input) -> Option<Change> {
        match input {
            Input::Network(network) => {
                self.names.hurry(clock::now());
                self.follow(network).await;
            }
            Input::WatcherLost(error) => {
                log::warn!("netlink: {error}; starting anew");
                let again = Watcher::start(&self.config.main.device).await;
                let now = clock::now();
                let news = self.problems.note(now, Problem::NetworkUnwatched, "", &again);
                match again {
                    Ok(watcher) => self.watcher = Some(watcher),
                    Err(error) => {
                        if news {
                            log::error!("netlink: {error}");
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            Input::Event(told) => return self.on_event(told).await,
            Input::System(News::Table(outcome)) => {
                let now = clock::now();
                let news = self.problems.note(now, Problem::FirewallRefused, "", &outcome);
                match outcome {
                    Ok(()) => {
                        self.firewall.set(forwarding(&self.config, &self.network));
                        self.apply().await;
                    }
                    Err(error) if news => log::error!("{error}"),
                    Err(_) => {}
                }
            }
            Input::System(News::Compare { device_gone }) => {
                if device_gone || self.device_lost {
                    self.replace_device();
                }
                self.apply_desired().await;
            }
            Input::Names => {
                self.set_endpoints();
                if self.desired.lookups != self.lookups() {
                    self.apply().await;
                }
            }
            Input::Silence => {
                let (now, mut closed) = (clock::now(), false);
                for peer in self.peers.iter_mut() {
                    if peer.fallback.on_tick(now) {
                        closed = true;
                        log::warn!(
                            "{}: no answer, its traffic leaves by the WANs until there is one",
                            peer.name
                        );
                    }
                }
                self.apply().await;
                // The resolver may be reached by another way.
                self.names.hurry(now);
                if closed {
                    let own = self.config.main.addresses.iter().map(|a| a.address);
                    forget(&own.collect::<Vec<_>>());
                }
            }
        }
        None
    }

    fn is_up(&self) -> bool {
        self.peers.any_up()
    }

    async fn on_event(&mut self, told: Told) -> Option<Change> {
        let Told { peer: id, event, reason } = told;
        let peer = self.peers.get(id)?;
        match event {
            endpoint::Event::State(state) => {
                let (name, word) = (peer.name.clone(), state.as_str());
                match self.peers.may_tell(id, clock::now()) {
                    Some(0) => log::info!("{name}: {word}"),
                    Some(n) => log::info!("{name}: {word}; it has changed {n} times more"),
                    None => {}
                }
                let peer = self.peers.get(id)?;
                let change = Change::Peer { peer: peer.name.clone(), state: state.into() };
                let up = state == PeerState::Up;
                self.connected |= up;
                // The router's own lookups are another matter with a connection and without.
                self.names.set_up(clock::now(), &peer.name, up);
                let answered = |fallback: &mut Fallback| fallback.on_message(up, clock::now());
                let opened = self.peers.fallback(id, answered)?;
                self.peers.set_state(id, state);
                if opened || self.desired.lookups != self.lookups() {
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
                let state = status::PathState::from(state);
                let reason = reason.map(status::Reason::Engine);
                let why = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
                log::info!("{}: {wan} is {state}{why}", peer.name);
                Some(Change::path(peer.name.clone(), wan, device, state, reason))
            }
            endpoint::Event::PathRestless(path, left_out) => {
                let wan = self.wans.names(path).0;
                log::info!("{}: {wan} has changed {left_out} times more", peer.name);
                None
            }
            endpoint::Event::AddressChanged(path, via) => {
                log::debug!("{}: path {} leads to {}", peer.name, path.0, via.remote());
                None
            }
            endpoint::Event::Refused(why) => {
                let LastError { words, remedy, .. } = refusal(why, 0);
                log::warn!("{}: {words}; {remedy}", peer.name);
                None
            }
            endpoint::Event::Broken(whose) => {
                let LastError { words, remedy, .. } = breach(whose, 0);
                log::warn!("{}: {words}; {remedy}", peer.name);
                None
            }
            endpoint::Event::Mtu(mtu) => {
                self.peers.set_mtu(id, Some(mtu));
                if self.desired.mtu != self.mtu() {
                    self.desired.mtu = self.mtu();
                    self.apply_desired().await;
                }
                None
            }
        }
    }

    /// The peers and their states.
    pub fn peers(&self) -> LiteMap<String, PeerState> {
        self.peers.iter().map(|peer| (peer.name.clone(), peer.state)).collect()
    }

    /// netifd knows this now.
    pub async fn set_interfaces(&mut self, interfaces: Arc<Interfaces>) {
        self.interfaces = interfaces;
        match self.config.main.role {
            Role::Client(_) => self.follow(self.network.clone()).await,
            Role::Server(_) => self.apply().await,
        }
    }

    /// Tells of networks that are at two places.
    fn note_overlaps(&self, now: Time) {
        let found = overlaps(&self.desired.device, &self.config.main.addresses, &self.network);
        if found.is_empty() {
            self.problems.clear_all(Problem::NetworksOverlap);
            return;
        }
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let found = found.join("; ");
        if self.problems.raise(now, Problem::NetworksOverlap, "", &found) {
            log::warn!("{found}: {}", Problem::NetworksOverlap.remedy());
        }
    }

    /// The network is like this now.
    async fn follow(&mut self, network: Arc<Network>) {
        self.network = network;
        let Role::Client(client) = &self.config.main.role else { return };
        let now = clock::now();
        let (found, commands) = self.wans.update(now, &self.network, client, &self.interfaces);
        match self.wans.refused() {
            [] => self.problems.clear(Problem::TooManyWans, ""),
            refused => {
                self.problems.raise(now, Problem::TooManyWans, "", refused.join(", "));
            }
        }
        self.note_overlaps(now);
        for command in commands {
            self.data.send(command);
        }
        // One that has no path has no number either: its connections are not told apart.
        let number = |wan: &Wan| self.wans.path(&wan.name).map_or(u8::MAX, |path| path.0);
        let usable = found.iter().filter(|w| w.fault.is_none()).map(|wan| (number(wan), wan));
        self.desired.wans = wan_routes(&self.network, usable);
        // With a kill switch nothing but the tunnel leaves, names neither.
        if !kill_switch(&self.config) {
            for wan in &mut self.desired.wans {
                let v4 = wan.sources.first().is_some_and(IpAddr::is_ipv4);
                let resolvers = self.interfaces.resolvers(&wan.device);
                wan.resolvers = resolvers.filter(|ip| ip.is_ipv4() == v4).take(RESOLVERS).collect();
            }
        }
        self.firewall.set(forwarding(&self.config, &self.network));
        self.apply().await;
    }

    /// Has the names of the peers' endpoints looked up, and what is known of them used.
    fn configure_names(&mut self) {
        let up = |name: &str| self.peers.by_name(name).is_some_and(|p| p.state == PeerState::Up);
        self.names.configure(clock::now(), &self.config.peers, up);
        self.set_endpoints();
    }

    /// Tells where the peers are reached.
    fn set_endpoints(&self) {
        for peer in self.config.peers.iter().filter(|peer| !peer.endpoints.is_empty()) {
            if let Some(id) = self.peers.id(&peer.name) {
                let addresses = self.names.addresses(&peer.endpoints);
                self.data.send(Command::SetEndpoints(id, addresses));
            }
        }
    }

    /// Somebody has removed the TUN device: makes it anew. The sessions go on.
    fn replace_device(&mut self) {
        let name = &self.config.main.device;
        let made = Tun::open(name, true);
        self.device_lost = made.is_err();
        let news = self.problems.note(clock::now(), Problem::DeviceLost, name, &made);
        match made {
            Ok(tun) => {
                log::warn!("{name} was removed by somebody else: it is made anew");
                self.desired.ifindex = tun.ifindex();
                self.data.send(Command::SetTun(Box::new(tun)));
            }
            Err(error) if news => log::error!("{name} cannot be made anew: {error}"),
            Err(_) => {}
        }
    }

    /// Makes the system as it should be; what it refuses is told.
    async fn apply(&mut self) {
        self.update_desired();
        self.apply_desired().await;
    }

    async fn apply_desired(&mut self) {
        self.tell_mtu();
        for (part, outcome) in self.system.apply(&self.desired).await {
            let problem = match part {
                // It is made beside: how that went is told by itself.
                Part::Table => continue,
                Part::Switches => Problem::SwitchRefused,
                _ => Problem::RoutesRefused,
            };
            let news = self.problems.note(clock::now(), problem, part.name(), &outcome);
            if let (Err(error), true) = (outcome, news) {
                log::error!("{error}");
            }
            if part == Part::Rules {
                self.tell_policies().await;
            }
        }
    }

    /// Tells of policies of other programs that are without effect, by the rules as they are now.
    async fn tell_policies(&self) {
        let Ok(dead) = self.system.dead_policies().await else { return };
        for program in ["mwan3", "pbr"] {
            if !dead.contains(&program) {
                self.problems.clear(Problem::PoliciesDead, program);
            } else if self.problems.raise(clock::now(), Problem::PoliciesDead, program, "") {
                log::warn!("{program}: {}", Problem::PoliciesDead.words());
            }
        }
    }

    /// The device's MTU: what the paths take, and no more than the configuration says.
    fn mtu(&self) -> u32 {
        let found = match (self.peers.mtu(), &self.config.main.role) {
            (Some(found), Role::Server(_)) => u32::from(found).max(MTU_SHARED_MIN),
            (Some(found), Role::Client(_)) => u32::from(found),
            (None, _) => MTU_FIRST,
        };
        self.config.main.mtu.map_or(found, |wish| found.min(u32::from(wish)))
    }

    /// Tells when the paths take less than the configuration asks for, or than IPv6 does.
    fn tell_mtu(&self) {
        let wish = self.config.main.mtu.map_or(0, u32::from);
        if self.peers.mtu().is_some() && self.desired.mtu < wish {
            let detail = format!("{} of {wish} bytes", self.desired.mtu);
            self.problems.raise(clock::now(), Problem::MtuTooLarge, &self.desired.device, detail);
        } else {
            self.problems.clear_all(Problem::MtuTooLarge);
        }
        let of_v6 = self.config.main.addresses.iter().any(|address| !address.address.is_ipv4());
        if of_v6 && !self.desired.carries(false) {
            let detail = format!("{} of 1280 bytes", self.desired.mtu);
            self.problems.raise(
                clock::now(),
                Problem::TunnelTooNarrow,
                &self.desired.device,
                detail,
            );
        } else {
            self.problems.clear_all(Problem::TunnelTooNarrow);
        }
    }

    /// Writes down how the system should be, from configuration and state.
    fn update_desired(&mut self) {
        let Config { main, peers } = &*self.config;
        self.desired.mtu = self.mtu();
        self.desired.addresses = self.config.main.addresses.clone();
        let open = |name: &str| self.peers.by_name(name).is_some_and(|p| p.fallback.is_open());
        let routed = || peers.iter().filter(|p| p.route_allowed_ips);
        let inside = routed().filter(|p| open(&p.name));
        self.desired.routes = inside.flat_map(|p| &p.allowed_ips).copied().collect();
        self.desired.barred = if kill_switch(&self.config) { barred(routed()) } else { vec![] };
        self.desired.owner = match (&main.netifd, main.netifd_routes) {
            (None, _) => Owner::Us,
            (Some(_), true) => Owner::Netifd,
            (Some(_), false) => Owner::Shared,
        };
        let interface = main.netifd.as_ref().and_then(|name| self.interfaces.get(name));
        if self.desired.owner == Owner::Shared
            && interface.is_none_or(|i| i.state != netifd::State::Up)
        {
            // netifd has the device up when it has set the addresses; the kernel takes none before.
            self.desired.routes.clear();
        }
        self.desired.lookups = self.lookups();
        let own: Vec<IpAddr> = main.addresses.iter().map(|a| a.address).collect();
        // A router that is one for itself alone need not forward.
        let has_lan = self.network.interfaces.values().any(|interface| {
            let wan = !interface.routes_v4.is_empty() || !interface.routes_v6.is_empty();
            interface.up && !interface.addresses.is_empty() && !wan
        });
        self.desired.forwarding = matches!(main.role, Role::Server(_)) || has_lan;
        self.desired.tables = Some(match &main.role {
            Role::Client(_) => nft::Tables {
                masquerade_into_tunnel: own.clone(),
                accept_forward: true,
                mss_clamp: main.mss_clamp,
                guard: nft::Guard::FromWans(own),
                ..nft::Tables::default()
            },
            Role::Server(server) => nft::Tables {
                masquerade_sources: if server.nat { self.config.inner_networks() } else { vec![] },
                forwards: forwards(&server.forwards),
                accept_forward: true,
                mss_clamp: main.mss_clamp,
                guard: nft::Guard::FromAll(own),
                ..nft::Tables::default()
            },
        });
    }

    /// The way of this host's own questions to name servers: past the tunnel while there is no
    /// connection, and the server is still to be found. Into the tunnel they would lead nowhere. A WAN
    /// with a link and no internet may be the first of the main table, so each has its turn.
    fn lookups(&self) -> Lookups {
        let mut hosts = self.config.peers.iter().flat_map(|p| &p.endpoints).map(|e| &e.host);
        if self.is_up() || !hosts.any(|host| matches!(host, Host::Name(_))) {
            return Lookups::Plain;
        }
        let mut ways = vec![Lookups::Main];
        for wan in self.desired.wans.iter().map(|wan| Lookups::Wan(wan.ifindex)) {
            if !ways.contains(&wan) {
                ways.push(wan);
            }
        }
        ways[self.names.turn() % ways.len()]
    }

    /// Everything there is to see, but for what the program knows of itself. The data plane is asked
    /// for a part of the peers at a time.
    pub async fn status(&self) -> Result<Status, Error> {
        let mut first = PeerId(0);
        let mut peers = Vec::new();
        let report = loop {
            let report = self.ask(|reply| Command::Report(first, reply)).await?;
            peers.extend(self.shown(&report));
            match report.endpoint.peers.last() {
                Some(last) if report.endpoint.peers.len() == REPORT_PEERS => {
                    first = PeerId(last.id.0 + 1);
                }
                _ => break report,
            }
        };
        let state = match self.is_up() {
            true => State::Up,
            false if self.connected => State::Down,
            false => State::Connecting,
        };
        let paths = peers.iter_mut().flat_map(|peer: &mut Peer| &mut peer.paths);
        // A server's paths have no device.
        for path in paths.filter(|path| !path.device.is_empty()) {
            path.link_type = LinkKind::of(&path.device).map_or("", LinkKind::code).to_owned();
        }
        let drop_codes = report::drops(&report);
        Ok(Status {
            state,
            device: self.desired.device.clone(),
            mtu: self.desired.mtu,
            addresses: self.config.main.addresses.iter().map(ToString::to_string).collect(),
            peers,
            drops: drop_codes.iter().map(|(code, n)| (code.replace('_', " "), *n)).collect(),
            drop_codes,
            ..Status::default()
        })
    }

    /// That the name of a peer's endpoint cannot be resolved, if that is so.
    fn unresolved(&self, peer: &config::Peer) -> Option<LastError> {
        let names = peer.endpoints.iter().filter_map(|endpoint| match &endpoint.host {
            Host::Name(name) => Some(name.as_str()),
            Host::Address(_) => None,
        });
        let names: Vec<&str> = names.collect();
        self.problems.last_error(clock::now(), Problem::NameUnresolved, &names)
    }

    /// How the interface of netifd's is that is ours, if one is.
    pub fn link(&self) -> Option<Link> {
        let interface = self.config.main.netifd.clone()?;
        let open = self.peers.iter().any(|peer| peer.fallback.is_open());
        let routes = || match self.desired.owner {
            Owner::Netifd => self.desired.routes.clone(),
            Owner::Us | Owner::Shared => Vec::new(),
        };
        let up = open.then(|| (self.config.main.addresses.clone(), routes()));
        let unresolved = || self.config.peers.iter().any(|peer| self.unresolved(peer).is_some());
        let error = match open {
            true => "",
            false if unresolved() => "NAME_UNRESOLVED",
            false => "NO_ANSWER",
        };
        Some(Link { interface, device: self.desired.device.clone(), up, error })
    }

    /// What all peers carry together, and the first of those that have been there: all of them while
    /// a WAN's volume is counted, else as many as the history has series for.
    pub async fn sample(&mut self, counted: bool) -> Result<(Rates, Vec<Peer>), Error> {
        let max = if counted { usize::MAX } else { SERIES_MAX };
        let report = self.ask(|reply| Command::Sample(max, reply)).await?;
        self.note_sockets(&report);
        let total = report::total(&report, self.watcher.is_some());
        if self.watcher.is_some() {
            self.names.note_used(&report::in_use(&report));
        }
        Ok((total, self.shown(&report).collect()))
    }

    /// Tells of which WANs the kernel refuses a socket.
    fn note_sockets(&self, report: &Report) {
        if report.refused.is_empty() {
            self.problems.clear_all(Problem::SocketRefused);
        }
        for wan in self.wans.iter() {
            match report.refused.get(&wan.path.0) {
                Some(error) => {
                    self.problems.raise(report.now, Problem::SocketRefused, &wan.name, error);
                }
                None => self.problems.clear(Problem::SocketRefused, &wan.name),
            }
        }
    }

    /// The peers of a router, as the status shows them; none of a server, which may have many.
    pub async fn of_router(&self) -> Result<Vec<Peer>, Error> {
        if self.watcher.is_none() {
            return Ok(Vec::new());
        }
        let report = self.ask(|reply| Command::Report(PeerId(0), reply)).await?;
        Ok(self.shown(&report).collect())
    }

    /// The peers of a report as the status shows them.
    fn shown<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = Peer> + 'a {
        let wans = self.watcher.is_some().then_some(&self.wans);
        // Only a router has names to resolve; a server has too many peers to look each up.
        let named = self.config.peers.iter().filter(|_| wans.is_some());
        let configured: LiteMap<_, _> = named.map(|peer| (peer.name.as_str(), peer)).collect();
        report.endpoint.peers.iter().filter_map(move |snapshot| {
            let entry = self.peers.get(snapshot.id)?;
            let mut peer = report::peer(&entry.name, snapshot, report, wans);
            for path in &mut peer.paths {
                let refused = [path.wan.as_str()];
                let refused =
                    self.problems.last_error(report.now, Problem::SocketRefused, &refused);
                path.last_error = refused.or(path.last_error.take());
            }
            let unresolved = configured.get(entry.name.as_str()).and_then(|c| self.unresolved(c));
            let down = peer.state != status::PeerState::Up;
            let of_path = peer.paths.iter().find_map(|path| path.last_error.clone());
            peer.last_error = unresolved.or(of_path.filter(|_| down)).or(peer.last_error.take());
            Some(peer)
        })
    }

    /// Asks the data plane.
    async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<Box<Report>>) -> Command,
    ) -> Result<Box<Report>, Error> {
        let (reply, answer) = oneshot::channel();
        self.data.send(question(reply));
        answer.await.map_err(|_| Error::DataPlane)
    }

    /// Begins anew with a peer, or with all; whether there is such a peer.
    pub fn reconnect(&self, name: Option<&str>) -> bool {
        let chosen: Vec<PeerId> = match name {
            Some(name) => self.peers.id(name).into_iter().collect(),
            None => self.peers.ids().collect(),
        };
        chosen.iter().for_each(|&id| self.data.send(Command::Reconnect(id)));
        name.is_none() || !chosen.is_empty()
    }

    /// Begins a speed test of the WANs that `left` does not leave out: of each, the bytes that it may
    /// take, or why it is not tested. Those that are named must be there.
    ///
    /// # Errors
    /// There is nothing to test, or a test is under way.
    pub async fn start_test(
        &self,
        id: u32,
        wan: Option<&str>,
        ways: &[engine::Way],
        seconds: u64,
        left: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Testing, RequestError> {
        if self.watcher.is_none() {
            let why = "speed tests begin on the router: run 'onebox test' there";
            return Err(RequestError::NotTestable(why.to_owned()));
        }
        let up = self
            .peers
            .ids()
            .find(|id| self.peers.get(*id).is_some_and(|peer| peer.state == PeerState::Up));
        let peer = up.ok_or_else(|| RequestError::NotTestable("not connected".to_owned()))?;
        let report = self.ask(|reply| Command::Report(peer, reply)).await?;
        let snapshot = report.endpoint.peers.iter().find(|shown| shown.id == peer);
        let engine = snapshot.map(|shown| &shown.engine).ok_or(RequestError::DataPlane)?;
        if engine.speed_test.as_ref().is_some_and(|test| test.results.len() < test.steps.len()) {
            return Err(RequestError::TestRunning);
        }
        let (mut paths, mut skipped) = (Vec::new(), Vec::new());
        for entry in self.wans.iter().filter(|entry| wan.is_none_or(|wan| wan == entry.name)) {
            use engine::PathState::{Active, Backup, Held};
            let path = engine.paths.iter().find(|path| path.id == entry.path);
            match (path, left(&entry.name)) {
                (Some(path), Ok(bytes)) if matches!(path.state, Active | Backup | Held) => {
                    paths.push((entry.path, bytes));
                }
                (_, Ok(_)) => skipped.push(format!("{}: the link does not work", entry.name)),
                (_, Err(why)) => skipped.push(format!("{}: {why}", entry.name)),
            }
        }
        match wan {
            _ if !paths.is_empty() => {}
            Some(wan) if skipped.is_empty() => {
                return Err(RequestError::UnknownWan(wan.to_owned()));
            }
            _ if skipped.is_empty() => {
                return Err(RequestError::NotTestable("there is no WAN".to_owned()));
            }
            _ => return Err(RequestError::NotTestable(skipped.join("\n"))),
        }
        let steps = (paths.len() + usize::from(paths.len() > 1)) * ways.len();
        let plan = SpeedTestPlan {
            id,
            paths,
            ways: ways.to_vec(),
            step_us: seconds * SEC,
            together: true,
        };
        let (reply, answer) = oneshot::channel();
        self.data.send(Command::StartTest(peer, plan, reply));
        if !answer.await.map_err(|_| RequestError::DataPlane)? {
            return Err(RequestError::NotTestable("not connected".to_owned()));
        }
        let name = self.peers.get(peer).map(|peer| peer.name.clone()).unwrap_or_default();
        Ok(Testing { peer: name, id, seconds: steps as u64 * (seconds + 1), skipped })
    }

    /// Ends the speed test that is under way.
    pub fn stop_test(&self) {
        self.peers.ids().for_each(|id| self.data.send(Command::StopTest(id)));
    }

    /// These WANs have used up their quota: they are only backups.
    pub async fn set_limited(&mut self, wans: Vec<String>) {
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
        new: Arc<Config>,
        change: &config::Difference,
    ) -> Result<(), Error> {
        let keys = |config: &Config| -> LiteMap<String, PublicKey> {
            config.peers.iter().map(|peer| (peer.name.clone(), peer.public_key)).collect()
        };
        let (old_keys, new_keys) = (keys(&self.config), keys(&new));
        let gone = change.peers.removed.iter().chain(&change.peers.changed);
        for name in gone.filter(|name| old_keys.get(*name) != new_keys.get(*name)) {
            if let Some(id) = self.peers.remove(name) {
                self.data.send(Command::RemovePeer(id));
            }
        }
        self.config = new;
        for peer in &self.config.peers {
            if let Some(id) = self.peers.id(&peer.name) {
                let outage = outage(&self.config);
                self.peers.fallback(id, |fallback| fallback.configure(outage));
                if change.peers.changed.binary_search(&peer.name).is_ok() {
                    let settings = Box::new(settings(&self.config, peer));
                    self.data.send(Command::UpdatePeer(id, settings));
                }
                continue;
            }
            let (reply, answer) = oneshot::channel();
            self.data.send(Command::AddPeer(Box::new(settings(&self.config, peer)), reply));
            let added = answer.await.map_err(|_| Error::DataPlane)?;
            let id = added.map_err(|error| Error::Peer { name: peer.name.clone(), error })?;
            self.peers.add(id, &peer.name, outage(&self.config), clock::now());
        }
        for command in self.wans.forget(&change.wans.removed) {
            self.data.send(command);
        }
        self.configure_names();
        self.firewall.set(forwarding(&self.config, &self.network));
        self.follow(self.network.clone()).await;
        self.apply().await;
        Ok(())
    }
}

/// Makes connections begin anew that were translated to these addresses: they go another way now.
fn forget(addresses: &[IpAddr]) {
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
    let routing = config.map(|config| config.main.routing).unwrap_or_default();
    let control = config.map_or(Path::new(config::DEFAULT_CONTROL), |c| &c.main.control);
    // Once more, to learn what could not be removed.
    System::open(ids(&routing), &state_file(control), false).await?.undo().await?;
    Ok(())
}
