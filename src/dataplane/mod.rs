//! The thread that moves packets: TUN device and sockets on one side, the endpoint on the other.
//!
//! Why: what decides about packets must not wait for names to resolve, for netlink or for a
//! status page. So it has a thread of its own, and the rest of the program talks to it by
//! messages.
//!
//! How: one epoll over the TUN device, the sockets, a timer and a wake-up. Each round reads what
//! there is in batches, hands it to the [`Endpoint`], and writes what that wants to send, in
//! batches again. Between rounds the thread sleeps until something arrives or the endpoint's next
//! deadline is due.
//!
//! Limits: one thread for all peers; about a round's work is done before the others get their
//! turn, so a round is bounded in packets.

use crate::buffer::{Buf, Pool};
use crate::endpoint::{
    self, Drops, Endpoint, PeerError, PeerId, PeerSettings, SocketId, Total, TransmitBatch, Udp,
    Via,
};
use crate::engine::{PathSettings, Reason, SpeedTestPlan};
use crate::time::Time;
use crate::wire::PathId;
use litemap::LiteMap;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use onebox_linux::clock;
use onebox_linux::tun::Tun;
use onebox_linux::udp::{Family, Fault, Options, ReceiveBuffer, UdpSocket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

/// Free buffers that the pool keeps.
const POOL: usize = 1024;
/// Trains of datagrams that one system call may bring.
const RECEIVE_SLOTS: usize = 8;
/// System calls per round and descriptor before the others get their turn.
const ROUND: usize = 4;
/// Tokens of the epoll that are not sockets.
const TUN: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const WAKE: u64 = u64::MAX - 2;

/// A WAN as the data plane needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct WanPlan {
    /// The path's id, the same towards every peer.
    pub path: PathId,
    /// Device to bind to, and its index: another index is another device.
    pub device: String,
    /// Index of the device.
    pub ifindex: u32,
    /// Our addresses that datagrams are sent from, one for each family that can leave by it.
    pub sources: Vec<IpAddr>,
    /// How the path is opened.
    pub settings: PathSettings,
}

/// Something that the endpoint tells.
#[derive(Debug)]
pub struct Told {
    /// The peer that it is about.
    pub peer: PeerId,
    /// What has happened.
    pub event: endpoint::Event,
    /// Of a path in another state: why.
    pub reason: Option<Reason>,
}

/// That something could not be sent, or was not taken.
#[derive(Clone, Copy, Debug)]
pub struct PathFault {
    /// What is wrong.
    pub fault: Fault,
    /// Where it was sent to.
    pub remote: SocketAddr,
    /// Who said so by ICMP; None: the own kernel.
    pub from: Option<IpAddr>,
    /// When that was last.
    pub at: Time,
}

/// Peers in one [`Report`] at most: some 0.1 ms in which no packet moves.
pub const REPORT_PEERS: usize = 64;

/// What there is to see of the data plane.
#[derive(Debug)]
pub struct Report {
    /// When it was made.
    pub now: Time,
    /// The endpoint: [`REPORT_PEERS`] of its peers.
    pub endpoint: endpoint::Snapshot,
    /// What all peers carry together; only of a [`Command::Sample`].
    pub total: endpoint::Total,
    /// What the TUN device dropped.
    pub tun: onebox_linux::tun::Drops,
    /// What went wrong last on a WAN towards a peer, since something was heard from there.
    pub faults: LiteMap<(PeerId, u8), PathFault>,
    /// What the kernel said where it refuses a WAN's socket.
    pub refused: LiteMap<u8, String>,
    /// Address and local port of each WAN's sockets.
    pub ports: LiteMap<u8, Vec<(IpAddr, u16)>>,
}

/// What the rest of the program tells the data plane.
#[derive(Debug)]
pub enum Command {
    /// A peer is to be served; the answer is its number.
    AddPeer(Box<PeerSettings>, oneshot::Sender<Result<PeerId, PeerError>>),
    /// What is configured of a peer has changed.
    UpdatePeer(PeerId, Box<PeerSettings>),
    /// A peer is not to be served any more.
    RemovePeer(PeerId),
    /// The addresses at which a peer is reached (router).
    SetEndpoints(PeerId, Vec<SocketAddr>),
    /// A WAN can be used like this now; `moved` says that its addresses or its link have changed.
    SetWan {
        /// How.
        plan: Box<WanPlan>,
        /// Whether its paths have to be proved anew.
        moved: bool,
    },
    /// A WAN cannot be used now.
    LoseWan(PathId, Reason),
    /// A WAN is not to be used any more.
    CloseWan(PathId),
    /// The TUN device was removed: this one takes its place.
    SetTun(Box<Tun>),
    /// Begin anew with a peer.
    Reconnect(PeerId),
    /// Test the speed towards a peer; the answer is whether it is connected.
    StartTest(PeerId, SpeedTestPlan, oneshot::Sender<bool>),
    /// End that.
    StopTest(PeerId),
    /// What there is to see, with the peers from this one on.
    Report(PeerId, oneshot::Sender<Box<Report>>),
    /// What all peers carry together, and this many of those that have been there.
    Sample(usize, oneshot::Sender<Box<Report>>),
    /// Say good-bye and end.
    Stop,
}

/// The handle of the running thread.
#[derive(Debug)]
pub struct DataPlane {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl DataPlane {
    /// Starts the thread. `peers` are those that `endpoint` has, `server` the sockets of a server;
    /// `mark` is put on the sockets of WANs.
    ///
    /// # Errors
    /// The kernel refuses an epoll, a timer or a thread.
    pub fn start(
        endpoint: Endpoint,
        peers: &[PeerId],
        tun: Tun,
        server: Vec<UdpSocket>,
        mark: u32,
        events: UnboundedSender<Told>,
    ) -> io::Result<DataPlane> {
        let (commands, inbox) = channel();
        let wake = Arc::new(EventFd::new()?);
        let mut worker = Worker::new(endpoint, tun, mark, inbox, wake.clone(), events)?;
        worker.peers.extend(peers.iter().map(|&id| (id, Vec::new())));
        for socket in server {
            worker.add_socket(socket)?;
        }
        let builder = std::thread::Builder::new().name("data".into());
        let thread = builder.spawn(move || worker.run())?;
        Ok(DataPlane { commands, wake, thread: Some(thread) })
    }

    /// Hands a command over; after the thread has ended, nothing happens.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok()
            && let Err(error) = self.wake.write(1)
        {
            log::debug!("waking the data plane: {error}");
        }
    }

    /// Says good-bye to the peers and waits until the thread has ended.
    pub fn stop(mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the data plane ended by a panic");
        }
    }
}

/// The sockets of one WAN, each with the address that it sends from.
#[derive(Debug)]
struct WanSockets {
    plan: WanPlan,
    sockets: Vec<(IpAddr, SocketId)>,
    /// What the kernel said when it refused one.
    refused: Option<String>,
}

/// A socket, and what went wrong on it last.
#[derive(Debug)]
struct Socket {
    udp: UdpSocket,
    fault: Option<PathFault>,
}

impl Socket {
    /// Keeps a fault that tells something about the way.
    fn note(&mut self, fault: PathFault) {
        use Fault::{NoBuffers, TooBig, WouldBlock};
        if !matches!(fault.fault, WouldBlock | NoBuffers | TooBig) {
            self.fault = Some(fault);
        }
    }
}

impl WanSockets {
    /// Tells the endpoint over which sockets and to which addresses the WAN reaches a peer.
    fn offer(
        &self,
        now: Time,
        endpoint: &mut Endpoint,
        peer: PeerId,
        remotes: &[SocketAddr],
        moved: bool,
    ) {
        let path = self.plan.path;
        let mut candidates = Vec::new();
        for &remote in remotes {
            let family = Family::of(remote.ip());
            let sockets = self.sockets.iter().filter(|(source, _)| Family::of(*source) == family);
            let ways = sockets
                .map(|&(source, socket)| Via::Udp(Udp { socket, remote, local: Some(source) }));
            candidates.extend(ways);
        }
        // Until the path is proved, nobody knows which family it will use: the longer header fits
        // in any case.
        let v6 = candidates.iter().any(|via| via.remote().is_ipv6());
        let ip_overhead = if v6 { 48 } else { 28 };
        let settings = PathSettings { ip_overhead, ..self.plan.settings };
        endpoint.open_path(now, peer, path, settings);
        endpoint.set_candidates(now, peer, path, &candidates);
        if moved {
            endpoint.revalidate(now, peer, path);
        }
    }
}

struct Worker {
    endpoint: Endpoint,
    tun: Tun,
    mark: u32,
    sockets: LiteMap<u32, Socket>,
    next_socket: u32,
    wans: LiteMap<u8, WanSockets>,
    /// Peers, and where they are reached.
    peers: LiteMap<PeerId, Vec<SocketAddr>>,
    epoll: Epoll,
    timer: TimerFd,
    armed: Time,
    wake: Arc<EventFd>,
    inbox: Receiver<Command>,
    events: UnboundedSender<Told>,
    pool: Pool,
    receive: ReceiveBuffer,
    batch: TransmitBatch,
    packets: Vec<Buf>,
}

impl Worker {
    fn new(
        endpoint: Endpoint,
        tun: Tun,
        mark: u32,
        inbox: Receiver<Command>,
        wake: Arc<EventFd>,
        events: UnboundedSender<Told>,
    ) -> io::Result<Worker> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        epoll.add(&tun, EpollEvent::new(EpollFlags::EPOLLIN, TUN))?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Worker {
            endpoint,
            tun,
            mark,
            sockets: LiteMap::new(),
            next_socket: 0,
            wans: LiteMap::new(),
            peers: LiteMap::new(),
            epoll,
            timer,
            armed: Time::FAR,
            wake,
            inbox,
            events,
            pool: Pool::new(POOL),
            receive: ReceiveBuffer::new(RECEIVE_SLOTS),
            batch: TransmitBatch::new(),
            packets: Vec::new(),
        })
    }

    fn add_socket(&mut self, udp: UdpSocket) -> io::Result<SocketId> {
        let id = self.next_socket;
        self.next_socket += 1;
        self.epoll.add(&udp, EpollEvent::new(EpollFlags::EPOLLIN, u64::from(id)))?;
        self.sockets.insert(id, Socket { udp, fault: None });
        Ok(SocketId(id))
    }

    fn remove_socket(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.remove(&id.0) {
            // It is closed next, which removes it in any case.
            let _ = self.epoll.delete(&socket.udp);
        }
    }

    fn run(&mut self) {
        let mut ready = [EpollEvent::empty(); 32];
        loop {
            self.arm();
            let n = match self.epoll.wait(&mut ready, EpollTimeout::NONE) {
                Ok(n) => n,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    log::error!("waiting for packets: {error}");
                    return;
                }
            };
            let now = clock::now();
            for event in &ready[..n] {
                match event.data() {
                    TUN => self.read_tun(now),
                    TIMER => {
                        self.armed = Time::FAR;
                        // Only to make it silent again.
                        let _ = self.timer.wait();
                    }
                    WAKE => {
                        let _ = self.wake.read();
                        if self.handle_commands(now) {
                            return;
                        }
                    }
                    id => {
                        if event.events().contains(EpollFlags::EPOLLERR) {
                            self.take_errors(now, id as u32);
                        }
                        self.read_socket(now, id as u32);
                    }
                }
            }
            self.endpoint.handle_timeout(now, clock::unix_us(), &mut self.pool);
            self.flush(clock::now());
        }
    }

    /// Sets the timer to the endpoint's next deadline.
    fn arm(&mut self) {
        let due = self.endpoint.poll_timeout();
        if due >= self.armed && self.armed > clock::now() {
            return;
        }
        if due == Time::FAR {
            return;
        }
        let us = due.since(clock::now()).max(1);
        let span = TimeSpec::from_duration(std::time::Duration::from_micros(us));
        match self.timer.set(Expiration::OneShot(span), TimerSetTimeFlags::empty()) {
            Ok(()) => self.armed = due,
            Err(error) => log::error!("setting the timer: {error}"),
        }
    }

    fn read_tun(&mut self, now: Time) {
        for _ in 0..ROUND {
            match self.tun.read_batch(&mut self.pool, &mut self.packets) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::debug!("reading {}: {error}", self.tun.name());
                    // A device that is gone is ready to be read for ever (EBADFD). It is replaced.
                    if error.raw_os_error() == Some(Errno::EBADFD as i32) {
                        let _ = self.epoll.delete(&self.tun);
                    }
                    break;
                }
            }
            for packet in self.packets.drain(..) {
                self.endpoint.push_packet(now, &mut self.pool, packet);
            }
        }
    }

    /// Keeps what ICMP says about a WAN's datagrams.
    fn take_errors(&mut self, now: Time, id: u32) {
        let Worker { sockets, peers, wans, .. } = self;
        let Some(socket) = sockets.get_mut(&id) else { return };
        let (family, mut last) = (socket.udp.family(), None);
        let mut own = wans.values().flat_map(|wan| &wan.sockets);
        let own = own.find(|(_, socket)| socket.0 == id).map(|(source, _)| *source);
        socket.udp.take_errors(|fault, from| {
            // This host's own firewall refuses as the server would, in this host's name.
            let (fault, from) = match from.is_some() && from == own {
                true => (Fault::Denied, None),
                false => (fault, from),
            };
            // Where the datagram went is whoever says so himself, or most likely the first.
            let of_family = peers.values().flatten().filter(|r| Family::of(r.ip()) == family);
            let remote = of_family.min_by_key(|remote| Some(remote.ip()) != from);
            last = remote.map(|&remote| PathFault { fault, remote, from, at: now }).or(last);
        });
        if let Some(last) = last {
            socket.note(last);
        }
    }

    fn read_socket(&mut self, now: Time, id: u32) {
        let Worker { sockets, receive, endpoint, pool, .. } = self;
        let Some(Socket { udp, fault }) = sockets.get_mut(&id) else { return };
        for _ in 0..ROUND {
            let result = udp.recv_batch(receive, |origin, datagram| {
                fault.take_if(|fault| fault.remote == origin.from);
                let udp = Udp { socket: SocketId(id), remote: origin.from, local: origin.local };
                endpoint.handle_datagram(now, pool, Via::Udp(udp), datagram);
            });
            match result {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::trace!("receiving: {error}");
                    break;
                }
            }
        }
    }

    /// Writes what the endpoint wants to send and to deliver.
    fn flush(&mut self, now: Time) {
        while self.endpoint.poll_transmit(now, &mut self.pool, &mut self.batch) {
            self.send_batch(now);
        }
        while let Some((_, packet)) = self.endpoint.poll_deliver(&mut self.pool) {
            self.packets.push(packet);
        }
        if !self.packets.is_empty()
            && let Err(error) = self.tun.write_batch(&mut self.packets, &mut self.pool)
        {
            log::trace!("writing {}: {error}", self.tun.name());
        }
        while let Some((peer, event)) = self.endpoint.poll_event() {
            let reason = match &event {
                endpoint::Event::PathChanged(path, state) => {
                    self.endpoint.path_reason(now, peer, *path, *state)
                }
                _ => None,
            };
            // The receiver ends with the program.
            let _ = self.events.send(Told { peer, event, reason });
        }
    }

    /// Sends a batch: datagrams of one length to one address that lie back to back go to the
    /// kernel together.
    fn send_batch(&mut self, now: Time) {
        let Worker { batch, sockets, .. } = self;
        let datagrams = batch.datagrams();
        let mut at = 0;
        while let Some(first) = datagrams.get(at) {
            let size = first.range.len();
            let mut end = first.range.end;
            let mut last = size;
            at += 1;
            while let Some(next) = datagrams.get(at) {
                // Only the last one of a train may be shorter.
                if next.via != first.via
                    || next.range.start != end
                    || next.range.len() > size
                    || last < size
                {
                    break;
                }
                last = next.range.len();
                end = next.range.end;
                at += 1;
            }
            let Via::Udp(udp) = first.via;
            let Some(socket) = sockets.get_mut(&udp.socket.0) else { continue };
            let bytes = &batch.bytes()[first.range.start..end];
            // Counted by the socket; a path that cannot send is found silent by the engine.
            if let Err(error) = socket.udp.send(udp.remote, udp.local, bytes, Some(size)) {
                log::trace!("sending: {error}");
                let fault = Fault::of(&error);
                socket.note(PathFault { fault, remote: udp.remote, from: None, at: now });
            }
        }
    }

    /// Does what was commanded; whether to end.
    fn handle_commands(&mut self, now: Time) -> bool {
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::AddPeer(settings, reply) => {
                    let added = self.endpoint.add_peer(now, *settings);
                    if let Ok(id) = added {
                        self.peers.insert(id, Vec::new());
                    }
                    let _ = reply.send(added);
                }
                Command::UpdatePeer(peer, settings) => {
                    let PeerSettings { preshared_key, allowed_ips, .. } = *settings;
                    if let Err(error) = self.endpoint.update_peer(peer, preshared_key, &allowed_ips)
                    {
                        log::error!("changing a peer: {error}");
                    }
                }
                Command::RemovePeer(peer) => {
                    self.peers.remove(&peer);
                    self.endpoint.close_peer(now, peer);
                    self.flush(now);
                    self.endpoint.remove_peer(peer);
                }
                Command::SetEndpoints(peer, remotes) => {
                    for wan in self.wans.values() {
                        wan.offer(now, &mut self.endpoint, peer, &remotes, false);
                    }
                    self.peers.insert(peer, remotes);
                }
                Command::SetWan { plan, moved } => self.set_wan(now, *plan, moved),
                Command::LoseWan(path, reason) => {
                    for &peer in self.peers.keys() {
                        self.endpoint.path_lost(now, peer, path, reason);
                    }
                }
                Command::CloseWan(path) => self.close_wan(now, path),
                Command::SetTun(tun) => self.set_tun(*tun),
                Command::Reconnect(peer) => self.endpoint.reconnect(now, peer),
                Command::StartTest(peer, plan, reply) => {
                    let _ = reply.send(self.endpoint.start_speed_test(now, peer, plan));
                }
                Command::StopTest(peer) => self.endpoint.stop_speed_test(now, peer),
                Command::Report(first, reply) => {
                    let peers = self.endpoint.snapshot_from(now, first, REPORT_PEERS);
                    let _ = reply.send(Box::new(self.report(now, peers, Total::default())));
                }
                Command::Sample(max, reply) => {
                    self.open_refused(now);
                    let (total, peers) = self.endpoint.sample(now, max);
                    let peers = endpoint::Snapshot { peers, drops: Drops::default() };
                    let _ = reply.send(Box::new(self.report(now, peers, total)));
                }
                Command::Stop => {
                    self.endpoint.close(now);
                    self.flush(now);
                    return true;
                }
            }
        }
        false
    }

    /// Reads and writes another device from here on.
    fn set_tun(&mut self, tun: Tun) {
        // One that is gone may have been taken out already.
        let _ = self.epoll.delete(&self.tun);
        if let Err(error) = self.epoll.add(&tun, EpollEvent::new(EpollFlags::EPOLLIN, TUN)) {
            log::error!("waiting for {}: {error}", tun.name());
        }
        self.tun = tun;
    }

    /// Brings the sockets of a WAN in line with its plan and offers its paths to the peers.
    fn set_wan(&mut self, now: Time, plan: WanPlan, moved: bool) {
        let key = plan.path.0;
        let (mut kept, mut refused) = (Vec::new(), None);
        if let Some(old) = self.wans.remove(&key) {
            for (source, id) in old.sockets {
                // With another address begins another socket: the kernel answers the first
                // datagram from one that has gone in a way that ends segmentation on a socket.
                if old.plan.ifindex == plan.ifindex && plan.sources.contains(&source) {
                    kept.push((source, id));
                } else {
                    self.remove_socket(id);
                }
            }
        }
        for &source in &plan.sources {
            if kept.iter().any(|(known, _)| *known == source) {
                continue;
            }
            let family = Family::of(source);
            let device = Some(plan.device.clone());
            let options = Options { device, mark: self.mark, ..Options::default() };
            let opened =
                UdpSocket::open(family, &options).and_then(|socket| self.add_socket(socket));
            match opened {
                Ok(id) => kept.push((source, id)),
                Err(error) => refused = Some(format!("{}: {error}", plan.device)),
            }
        }
        let wan = WanSockets { plan, sockets: kept, refused };
        for (&peer, remotes) in &self.peers {
            wan.offer(now, &mut self.endpoint, peer, remotes, moved);
        }
        self.wans.insert(key, wan);
    }

    /// Tries again to open sockets that were refused.
    fn open_refused(&mut self, now: Time) {
        let refused = self.wans.values().filter(|wan| wan.refused.is_some());
        for plan in refused.map(|wan| wan.plan.clone()).collect::<Vec<_>>() {
            self.set_wan(now, plan, false);
        }
    }

    fn close_wan(&mut self, now: Time, path: PathId) {
        if let Some(old) = self.wans.remove(&path.0) {
            for (_, id) in old.sockets {
                self.remove_socket(id);
            }
        }
        for &peer in self.peers.keys() {
            self.endpoint.close_path(now, peer, path);
        }
    }

    /// The last faults of the WANs' sockets, for the peers that they are about.
    fn faults(&self) -> LiteMap<(PeerId, u8), PathFault> {
        let mut faults = LiteMap::new();
        for (&path, wan) in &self.wans {
            let sockets = wan.sockets.iter().filter_map(|(_, id)| self.sockets.get(&id.0));
            for fault in sockets.filter_map(|socket| socket.fault) {
                let concerned = self.peers.iter().filter(|(_, r)| r.contains(&fault.remote));
                faults.extend(concerned.map(|(&peer, _)| ((peer, path), fault)));
            }
        }
        faults
    }

    fn report(&self, now: Time, endpoint: endpoint::Snapshot, total: Total) -> Report {
        let port = |id: &SocketId| {
            let socket = self.sockets.get(&id.0);
            socket.and_then(|s| s.udp.local_addr().ok()).map_or(0, |a| a.port())
        };
        let wans = self.wans.iter();
        let refused = wans.clone().filter_map(|(&key, w)| Some((key, w.refused.clone()?)));
        Report {
            now,
            endpoint,
            total,
            tun: self.tun.drops(),
            faults: self.faults(),
            refused: refused.collect(),
            ports: wans
                .map(|(&key, w)| (key, w.sockets.iter().map(|(ip, id)| (*ip, port(id))).collect()))
                .collect(),
        }
    }
}
