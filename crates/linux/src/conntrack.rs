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

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

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
/// `NLMSG_ERROR` and `NLMSG_DONE`, of linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST`, and `NLM_F_ROOT | NLM_F_MATCH` for a whole table.
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// Bits of an attribute's type that are none.
const TYPE_MASK: u16 = 0x3fff;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// The kernel's answers are no longer than this.
const ANSWER_MAX: usize = 32 * 1024;
/// More than this is not deleted at once: a table is rarely larger.
const DELETED_MAX: usize = 65_536;
/// Longest time for an answer, seconds.
const ANSWER_S_MAX: i64 = 1;

/// Forgets the connections that were translated to one of `addresses`; how many.
///
/// # Errors
/// The kernel has neither way, or refuses.
pub fn forget(addresses: &[IpAddr]) -> io::Result<usize> {
    let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    match by_netlink(&addresses) {
        Err(error) if error.raw_os_error().is_some() => by_file(&addresses).map_err(|_| error),
        other => other,
    }
}

fn by_file(addresses: &BTreeSet<IpAddr>) -> io::Result<usize> {
    for address in addresses {
        std::fs::write(OPENWRT_FILE, format!("{address}\n"))?;
    }
    Ok(0)
}

fn by_netlink(addresses: &BTreeSet<IpAddr>) -> io::Result<usize> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_S_MAX))?;
    let kernel = NetlinkAddr::new(0, 0);
    let send = |message: &[u8]| sendto(socket.as_raw_fd(), message, &kernel, MsgFlags::empty());
    send(&message(GET, REQUEST | DUMP, 0, &[]))?;
    let mut deletions = Vec::new();
    let mut buffer = vec![0; ANSWER_MAX];
    'all: loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..length]) {
            match kind {
                NEW => deletions.extend(deletion(body, addresses)),
                DONE => break 'all,
                ERROR => {
                    let code = body.get(..4).and_then(|code| code.try_into().ok());
                    let code = code.map_or(nix::libc::EIO, |code| -i32::from_ne_bytes(code));
                    return Err(io::Error::from_raw_os_error(code));
                }
                _ => {}
            }
        }
    }
    deletions.truncate(DELETED_MAX);
    for message in &deletions {
        send(message)?;
    }
    Ok(deletions.len())
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[&[u8]]) -> Vec<u8> {
    let length = HEADER + GENERIC + attributes.iter().map(|a| a.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    // Sequence and port: there is one question at a time.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0, 0, 0]);
    attributes.iter().for_each(|attribute| out.extend_from_slice(attribute));
    out
}

/// The messages of a datagram: kind and what is behind the header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes: type, content, and all of it with header and padding.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let content = bytes.get(4..length)?;
        let whole = bytes.get(..length.next_multiple_of(4)).unwrap_or(bytes);
        bytes = &bytes[whole.len()..];
        Some((kind, content, whole))
    })
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
fn deletion(body: &[u8], addresses: &BTreeSet<IpAddr>) -> Option<Vec<u8>> {
    let (&family, rest) = (body.first()?, body.get(GENERIC..)?);
    let of = |wanted: u16| attributes(rest).find(|(kind, ..)| *kind == wanted);
    let (_, original, whole) = of(TUPLE_ORIG)?;
    let (source, _) = ends(original)?;
    let (_, answered) = ends(of(TUPLE_REPLY)?.1)?;
    let chosen = source != answered && addresses.contains(&answered);
    let id = of(ID).map_or(&[][..], |(.., whole)| whole);
    let zone = of(ZONE).map_or(&[][..], |(.., whole)| whole);
    chosen.then(|| message(DELETE, REQUEST, family, &[whole, id, zone]))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let addresses = BTreeSet::from([IpAddr::from(wan)]);
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
                assert!(deletion(&bytes, &BTreeSet::new()).is_none());
            }
        }
    }
}
