//! Makes the kernel forget translated connections whose way has changed.
//!
//! Why: a connection keeps the source address that it got with its first packet. When traffic
//! moves from the tunnel to a WAN or back, what goes on (a call, a game, QUIC) would leave with an
//! address to which no answer comes, and would do so for as long as it tries.
//!
//! How: the table of connections is read over netlink (ctnetlink), and those that this host
//! translated to one of the given addresses are deleted; their next packet is a new connection. A
//! kernel without ctnetlink (OpenWrt without `kmod-nf-conntrack-netlink`) may have OpenWrt's own
//! file for that, which forgets all connections of an address.
//!
//! Limits: blocks for the time that reading takes, some milliseconds per 10,000 connections.
//! Connections that are not translated, as IPv6 of a LAN with public addresses, stay.

use std::io;
use std::net::IpAddr;

use crate::nfnetlink::{DUMP, GENERIC, Socket, attributes, message};

/// OpenWrt's file: an address that is written there loses its connections.
const OPENWRT_FILE: &str = "/proc/net/nf_conntrack";
/// `NFNL_SUBSYS_CTNETLINK << 8`, of linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_NEW`, of linux/netfilter/nfnetlink_conntrack.h, as all that follows.
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
/// More than this is not deleted at once: a table is rarely larger.
const DELETED_MAX: usize = 65_536;

/// Forgets the connections that were translated to one of `addresses`; how many.
///
/// # Errors
/// The kernel has neither way, or refuses.
pub fn forget(addresses: &[IpAddr]) -> io::Result<usize> {
    match by_netlink(addresses) {
        Err(error) if error.raw_os_error().is_some() => by_file(addresses).map_err(|_| error),
        other => other,
    }
}

fn by_file(addresses: &[IpAddr]) -> io::Result<usize> {
    for address in addresses {
        std::fs::write(OPENWRT_FILE, format!("{address}\n"))?;
    }
    Ok(0)
}

fn by_netlink(addresses: &[IpAddr]) -> io::Result<usize> {
    let socket = Socket::open()?;
    let mut deletions = Vec::new();
    socket.dump(&message(GET, DUMP, 0, &[]), |kind, body| {
        if kind == NEW {
            deletions.extend(deletion(body, addresses));
        }
    })?;
    deletions.truncate(DELETED_MAX);
    for message in &deletions {
        socket.send(message)?;
    }
    Ok(deletions.len())
}

/// Source and destination of a direction.
fn ends(tuple: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (_, ip, _) = attributes(tuple).find(|(kind, ..)| *kind == TUPLE_IP)?;
    let mut found = [None; 2];
    for (kind, content, _) in attributes(ip) {
        let address = match content.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(content).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(content).ok()?),
            _ => continue,
        };
        // 1 and 3 are sources, 2 and 4 destinations.
        found[usize::from(kind % 2 == 0)] = Some(address);
    }
    Some((found[0]?, found[1]?))
}

/// The message that deletes this connection, if it was translated to one of `addresses`.
fn deletion(body: &[u8], addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let (&family, rest) = (body.first()?, body.get(GENERIC..)?);
    let of = |wanted: u16| attributes(rest).find(|(kind, ..)| *kind == wanted);
    let (_, original, whole) = of(TUPLE_ORIG)?;
    let (source, _) = ends(original)?;
    let (_, answered) = ends(of(TUPLE_REPLY)?.1)?;
    let chosen = source != answered && addresses.contains(&answered);
    let id = of(ID).map_or(&[][..], |(.., whole)| whole);
    let zone = of(ZONE).map_or(&[][..], |(.., whole)| whole);
    chosen.then(|| message(DELETE, 0, family, &[whole, id, zone]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::messages;

    fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut out = ((content.len() + 4) as u16).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let ends = [attribute(1, &from), attribute(2, &to)].concat();
        attribute(kind | 0x8000, &attribute(TUPLE_IP | 0x8000, &ends))
    }

    #[test]
    fn only_what_was_translated_to_the_address_is_deleted() {
        let (lan, host, wan) = ([192, 168, 1, 2], [203, 0, 113, 9], [10, 1, 0, 2]);
        let connection = |source, answered| {
            let body = [tuple(TUPLE_ORIG, source, host), tuple(TUPLE_REPLY, host, answered)];
            [&[2, 0, 0, 0][..], &body.concat(), &attribute(ID, &[9; 4])].concat()
        };
        let addresses = [IpAddr::from(wan)];
        let deleted = deletion(&connection(lan, wan), &addresses).unwrap();
        assert!(deletion(&connection(wan, wan), &addresses).is_none());
        assert!(deletion(&connection(lan, lan), &addresses).is_none());
        let (kind, body) = messages(&deleted).next().unwrap();
        assert_eq!((kind, body[0]), (DELETE, 2));
        let kinds: Vec<u16> = attributes(&body[GENERIC..]).map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [TUPLE_ORIG, ID]);
    }

    #[test]
    fn whatever_the_kernel_sends_is_read() {
        for length in 0..64 {
            for byte in [0, 1, 4, 0xff] {
                let bytes = vec![byte; length];
                messages(&bytes).for_each(drop);
                attributes(&bytes).for_each(drop);
                assert!(deletion(&bytes, &[]).is_none());
            }
        }
    }
}
