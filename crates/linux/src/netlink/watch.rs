//! Keeps the state of the network true.
//!
//! Why: a WAN that appears, loses its carrier, changes its address or gets another gateway has
//! to be seen at once, and without asking again and again.
//!
//! How: a task listens to the kernel's messages about links, addresses and routes and folds them
//! into the state. A lost carrier is told at once; everything else settles for [`SETTLE`],
//! because a WAN that comes up makes a dozen messages. Default routes are read anew whenever one
//! changes or a link does. If the kernel had to drop messages (`ENOBUFS`), everything is read
//! anew.
//!
//! Limits: whoever listens gets the newest state, not every one in between.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::{RouteHeader, RouteMessage};
use nix::errno::Errno;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::sys::AsyncSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Network;
use super::handle::Handle;
use super::message::{Link, Message, Object, Verb};
use super::network::{Change, is_default};
use crate::clock;

/// How long changes may gather before they are told, other than the loss of a link.
pub const SETTLE: Duration = Duration::from_millis(15);
/// Bytes of messages that the kernel keeps for us.
const RECEIVE_BUFFER: usize = 256 << 10;
/// After this long an answer of the kernel counts as lost.
const DUMP_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches the network; stops when dropped.
#[derive(Debug)]
pub struct Watcher {
    newest: watch::Receiver<Arc<Network>>,
    tasks: [JoinHandle<()>; 2],
}

impl Watcher {
    /// Reads the network of the calling thread's namespace and begins to watch it. `own` is the
    /// name of the device to leave out. Needs a tokio runtime with IO and time.
    ///
    /// # Errors
    /// The kernel refuses the socket or the first reading.
    pub async fn start(own: &str) -> io::Result<Watcher> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (mut connection, handle, mut messages) = Handle::open(&groups)?;
        // It only helps.
        let _ = connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER as i32);
        let reader = tokio::spawn(connection);
        let mut state = State::new(handle, own.to_owned());
        if let Err(error) = state.read_all().await {
            reader.abort();
            return Err(error);
        }
        let (sender, newest) = watch::channel(Arc::new(state.network.clone()));
        let folder = tokio::spawn(async move {
            loop {
                let due = state.due;
                tokio::select! {
                    message = messages.next() => match message {
                        Some(message) => state.fold(&message),
                        None => return,
                    },
                    () = async { sleep_until(due.unwrap_or_else(clock::timer_now)).await },
                        if due.is_some() => state.settle().await,
                }
                if state.tell {
                    state.tell = false;
                    let changed = **sender.borrow() != state.network;
                    if changed && sender.send(Arc::new(state.network.clone())).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Watcher { newest, tasks: [reader, folder] })
    }

    /// The network as it is now.
    pub fn current(&mut self) -> Arc<Network> {
        self.newest.borrow_and_update().clone()
    }

    /// Waits until the network differs from the one last taken, and takes it. May be cancelled.
    ///
    /// # Errors
    /// The connection to the kernel has ended: start anew.
    pub async fn changed(&mut self) -> io::Result<Arc<Network>> {
        self.newest.changed().await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(self.current())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct State {
    handle: Handle,
    own: String,
    network: Network,
    /// When to read what is stale and tell.
    due: Option<Instant>,
    routes_stale: bool,
    all_stale: bool,
    tell: bool,
}

impl State {
    fn new(handle: Handle, own: String) -> State {
        State {
            handle,
            own,
            network: Network::default(),
            due: None,
            routes_stale: false,
            all_stale: false,
            tell: false,
        }
    }

    fn fold(&mut self, message: &NetlinkPayload<Message>) {
        let change = match message {
            NetlinkPayload::InnerMessage(Message { verb, object }) => {
                let gone = *verb == Verb::Del;
                match object {
                    Object::Link(link) => self.network.link(link, gone, &self.own),
                    Object::Address(address) => self.network.address(address, gone),
                    Object::Route(route) if is_default(route) => Change::Link,
                    _ => Change::None,
                }
            }
            NetlinkPayload::Overrun(_) => {
                log::debug!("netlink messages were lost, reading everything anew");
                self.all_stale = true;
                Change::Link
            }
            _ => Change::None,
        };
        if change == Change::None {
            return;
        }
        // An address takes routes with it when it goes.
        self.routes_stale = true;
        self.tell |= change == Change::Loss;
        self.due.get_or_insert_with(|| clock::timer_now() + SETTLE);
    }

    async fn settle(&mut self) {
        self.due = None;
        let read = if self.all_stale {
            timeout(DUMP_TIMEOUT, self.read_all()).await
        } else if self.routes_stale {
            timeout(DUMP_TIMEOUT, self.read_routes()).await
        } else {
            Ok(Ok(()))
        };
        match read {
            Ok(Ok(())) => self.tell = true,
            // Interrupted by a change, or the answer was lost: the next one may be whole.
            Ok(Err(_)) | Err(_) => {
                self.all_stale = true;
                self.due = Some(clock::timer_now() + SETTLE);
            }
        }
    }

    async fn read_all(&mut self) -> io::Result<()> {
        let mut network = Network::default();
        let links = self.handle.each(Object::Link(Link::default()), |object| {
            if let Object::Link(link) = object {
                network.link(&link, false, &self.own);
            }
        });
        links.await?;
        let addresses = self.handle.each(Object::Address(AddressMessage::default()), |object| {
            if let Object::Address(address) = object {
                network.address(&address, false);
            }
        });
        addresses.await?;
        self.network = network;
        self.read_routes().await?;
        self.all_stale = false;
        Ok(())
    }

    async fn read_routes(&mut self) -> io::Result<()> {
        let mut list = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            filter.header.table = RouteHeader::RT_TABLE_MAIN;
            let routes = self.handle.each(Object::Route(filter), |object| match object {
                Object::Route(route) if is_default(&route) => list.push(route),
                _ => {}
            });
            match routes.await {
                // A namespace that never had a route has no table.
                Err(error) if !error.errno().is_some_and(|e| NO_TABLE.contains(&e)) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        self.network.default_routes(&list);
        self.routes_stale = false;
        Ok(())
    }
}

/// Answers to who asks for the routes of a family of which there is none.
const NO_TABLE: [Errno; 3] = [Errno::EAFNOSUPPORT, Errno::ENOENT, Errno::EOPNOTSUPP];
