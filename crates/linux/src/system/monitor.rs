//! Listens for what others do to our part of the system.
//!
//! Why: another network daemon that starts anew removes rules that it does not know, a firewall
//! flushes all tables, a hand deletes the device. What is gone has to be back before anybody notices,
//! and before traffic leaves where it must not.
//!
//! How: a task folds the kernel's messages about links, addresses, routes and rules, and those of
//! nftables, into a set of parts that may not be as they should. What we do ourselves is heard as
//! well: that costs a comparison which finds nothing to do. The kernel drops routes without a word
//! when their device goes down or loses its last address, so that a device that comes up again, and
//! an address less, concern them too. Other messages about a device, of which there are many, do
//! not: to compare thousands of routes takes tens of milliseconds.
//!
//! Limits: switches make no message, and messages can be lost; therefore all is compared every so
//! often in any case (see [`System`](super::System)).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::part::{Part, Parts};
use super::route::OwnRoute;
use super::rule::Rule;
use crate::netlink::handle::Handle;
use crate::netlink::message::{Message, Object, Verb};
use crate::nfnetlink::messages;
use crate::nft::{is_about_our_table, is_of_rules, is_removal};

/// Group of nftables' messages (`NFNLGRP_NFTABLES`, linux/netfilter/nfnetlink.h).
const NFTABLES: u32 = 7;
/// Bytes of messages that the kernel keeps for us.
const RECEIVE_BUFFER: i32 = 256 << 10;
/// Bytes read at once.
const READ: usize = 16 << 10;

/// What is ours at the moment, to tell what concerns us.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Index of the TUN device.
    pub(super) device: u32,
    /// Indices of the devices that our routes use.
    pub(super) devices: Vec<u32>,
    /// Tables that our routes are in.
    pub(super) tables: Vec<u32>,
}

/// What the task has heard.
#[derive(Debug, Default)]
struct Heard {
    interest: Interest,
    /// Devices that are up since we know of them.
    up: Vec<u32>,
    parts: Parts,
    gone: bool,
}

/// The task; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Monitor {
    heard: Arc<Mutex<Heard>>,
    news: Arc<Notify>,
    /// Rules of nftables that are not ours have changed.
    firewall: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Monitor {
    /// Begins to listen. What cannot be listened to is only compared every so often. Needs a tokio
    /// runtime with IO.
    pub(super) fn start() -> Monitor {
        let (heard, news, firewall) = Default::default();
        let mut monitor = Monitor { heard, news, firewall, tasks: Vec::new() };
        for (what, listening) in
            [("routes", monitor.listen_routes()), ("nftables", monitor.listen_nftables())]
        {
            if let Err(error) = listening {
                log::info!("changes of {what} by others are noticed late: {error}");
            }
        }
        monitor
    }

    /// What is ours from here on.
    pub(super) fn set_interest(&self, interest: Interest) {
        lock(&self.heard).interest = interest;
    }

    /// Waits until something may not be as it should. May be cancelled.
    pub(super) async fn heard(&self) {
        self.news.notified().await;
    }

    /// Is notified when others have changed their rules of nftables.
    pub(super) fn firewall(&self) -> Arc<Notify> {
        self.firewall.clone()
    }

    /// What may not be as it should, and whether the TUN device is gone; since the last time.
    pub(super) fn take(&self) -> (Parts, bool) {
        let mut heard = lock(&self.heard);
        (std::mem::take(&mut heard.parts), std::mem::take(&mut heard.gone))
    }

    fn listen_routes(&mut self) -> io::Result<()> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (mut connection, handle, mut messages) = Handle::open(&groups)?;
        // It only helps.
        let _ = connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER);
        self.tasks.push(tokio::spawn(connection));
        let (heard, news) = (self.heard.clone(), self.news.clone());
        self.tasks.push(tokio::spawn(async move {
            // The connection ends without its handle.
            let _handle = handle;
            while let Some(message) = messages.next().await {
                let changed = lock(&heard).fold(&message);
                if changed {
                    news.notify_one();
                }
            }
        }));
        Ok(())
    }

    fn listen_nftables(&mut self) -> io::Result<()> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_mut().add_membership(NFTABLES)?;
        let (heard, news) = (self.heard.clone(), self.news.clone());
        let firewall = self.firewall.clone();
        self.tasks.push(tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(READ);
            loop {
                buffer.clear();
                let (mut ours, mut others) = (false, false);
                match socket.recv_from(&mut buffer).await {
                    Ok(_) => {
                        for (kind, body) in messages(&buffer) {
                            let about_ours = is_about_our_table(body);
                            ours |= about_ours && is_removal(kind);
                            others |= !about_ours && is_of_rules(kind);
                        }
                    }
                    // Messages were lost.
                    Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                        (ours, others) = (true, true);
                    }
                    Err(error) => {
                        log::info!("changes of nftables by others are noticed late: {error}");
                        return;
                    }
                }
                if ours {
                    lock(&heard).parts.add(Parts::of(&[Part::Table]));
                    news.notify_one();
                }
                if others {
                    firewall.notify_one();
                }
            }
        }));
        Ok(())
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    // Whatever panicked elsewhere has left a whole value.
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard {
    /// Whether a message concerns us.
    fn fold(&mut self, message: &NetlinkPayload<Message>) -> bool {
        let parts = match message {
            NetlinkPayload::InnerMessage(Message { verb, object }) => {
                self.concerned(*verb == Verb::Del, object)
            }
            NetlinkPayload::Overrun(_) => {
                // Some may have gone down unheard: the next word of each counts as news.
                self.up.clear();
                Parts::ALL
            }
            _ => Parts::default(),
        };
        self.parts.add(parts);
        !parts.is_empty()
    }

    fn concerned(&mut self, gone: bool, object: &Object) -> Parts {
        let Interest { device, devices, tables } = &self.interest;
        match object {
            Object::Link(link) => {
                let LinkHeader { index, flags, .. } = link.header;
                let is_up = !gone && flags.contains(LinkFlags::Up);
                let was_up = self.up.contains(&index);
                self.up.retain(|other| *other != index);
                self.up.extend(is_up.then_some(index));
                let came_up = is_up && !was_up;
                if index != *device {
                    return match came_up && devices.contains(&index) {
                        true => Parts::of(&[Part::Routes]),
                        false => Parts::default(),
                    };
                }
                self.gone |= gone;
                match came_up {
                    true => Parts::of(&[Part::Device, Part::Addresses, Part::Routes]),
                    false => Parts::of(&[Part::Device]),
                }
            }
            Object::Address(address) if address.header.index == *device => match gone {
                true => Parts::of(&[Part::Addresses, Part::Routes]),
                false => Parts::of(&[Part::Addresses]),
            },
            // One of another's in a table of ours may have taken the place of one of ours.
            Object::Route(route) => match OwnRoute::read(route) {
                Some(_) if gone => Parts::of(&[Part::Routes]),
                None if !gone && tables.contains(&OwnRoute::table_of(route)) => {
                    Parts::of(&[Part::Routes])
                }
                _ => Parts::default(),
            },
            Object::Rule(rule) if gone && Rule::read(rule).is_some() => Parts::of(&[Part::Rules]),
            _ => Parts::default(),
        }
    }
}
