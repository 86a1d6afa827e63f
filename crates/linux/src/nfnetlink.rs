//! The messages of netfilter's netlink sockets, as far as we send and read them.
//!
//! Why: the two things that we ask netfilter (which connections are translated, whether our table is
//! whole) are a question and a list of answers each, for which a crate would be larger than this.
//!
//! How: a message is a header (`struct nlmsghdr`), a family (`struct nfgenmsg`) and attributes;
//! linux/netlink.h and linux/netfilter/nfnetlink.h have the numbers. Whatever arrives is read within
//! its bounds.
//!
//! Limits: a [`Socket`] blocks, for [`ANSWER_S_MAX`] at most for each answer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLM_F_ROOT | NLM_F_MATCH`: all there are.
pub(crate) const DUMP: u16 = 0x300;
/// Bits of an attribute's type that are none.
const TYPE_MASK: u16 = 0x3fff;
/// Bytes of `struct nlmsghdr`, and of `struct nfgenmsg` behind it.
const HEADER: usize = 16;
pub(crate) const GENERIC: usize = 4;
/// The kernel's answers are no longer than this.
const ANSWER_MAX: usize = 32 * 1024;
/// Longest time for an answer, seconds.
const ANSWER_S_MAX: i64 = 1;

/// A connection to netfilter.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens one.
    pub(crate) fn open() -> io::Result<Socket> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_S_MAX))?;
        Ok(Socket(socket))
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.0.as_raw_fd(), message, &kernel, MsgFlags::empty())?;
        Ok(())
    }

    /// Asks, and hands over every answer: its kind, and what is behind the header.
    pub(crate) fn dump(&self, question: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(question)?;
        let mut buffer = vec![0; ANSWER_MAX];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = body.get(..4).and_then(|code| code.try_into().ok());
                        let code = code.map_or(nix::libc::EIO, |code| -i32::from_ne_bytes(code));
                        return Err(io::Error::from_raw_os_error(code));
                    }
                    _ => take(kind, body),
                }
            }
        }
    }
}

/// A question or an order, of a kind and a family.
pub(crate) fn message(kind: u16, flags: u16, family: u8, attributes: &[&[u8]]) -> Vec<u8> {
    let length = HEADER + GENERIC + attributes.iter().map(|a| a.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
    // Sequence and port: there is one question at a time.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0, 0, 0]);
    attributes.iter().for_each(|attribute| out.extend_from_slice(attribute));
    out
}

/// The messages of a datagram: kind and what is behind the header.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes: type, content, and all of it with header and padding.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let content = bytes.get(4..length)?;
        let whole = bytes.get(..length.next_multiple_of(4)).unwrap_or(bytes);
        bytes = &bytes[whole.len()..];
        Some((kind, content, whole))
    })
}
