//! UDP sockets of the tunnel: one per WAN and family on a client, one per family on a server.
//!
//! Why: the tunnel decides by which WAN a datagram leaves, not the routing table. And a system
//! call per datagram would be most of the work.
//!
//! How: a WAN's socket is bound to its device and carries a mark, so that the rules of
//! [`system`](super::system) send it by the main table and never into the tunnel. Sending hands
//! the kernel up to 64 datagrams of one length in one call (UDP GSO), receiving takes a batch
//! (`recvmmsg`) of coalesced trains (UDP GRO). Where the kernel or a driver refuses, the same
//! calls go one by one. Every socket has Don't Fragment set and ignores what ICMP claims about
//! the path's MTU: the tunnel probes for itself.
//!
//! Limits: a socket is bound to the device of that name as it was then. When a device goes away
//! and another of the same name comes (its index differs), the socket must be opened anew.
//! Errors are counted by kind and told to the caller; none of them ends a socket except
//! [`Fault::Gone`]. A socket that is bound to a device also learns what ICMP says
//! ([`take_errors`](UdpSocket::take_errors)).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffer in each direction unless told otherwise, in bytes: 30 ms at 1 Gbit/s.
pub const KERNEL_BUFFER: usize = 4 << 20;
/// Bytes of one receive slot: the longest train of coalesced datagrams.
const SLOT: usize = 65_535;
/// The most datagrams in one send: the lowest `UDP_MAX_SEGMENTS` that a kernel has had.
pub const SEGMENTS_MAX: usize = 64;
/// The most bytes in one send: the longest UDP payload over IPv4 (RFC 768, RFC 791).
pub const SEND_MAX: usize = 65_507;

/// What is wrong when the system refuses a datagram, by whose fault and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The socket's buffer is full: wait until it is writable.
    WouldBlock,
    /// Longer than the device's MTU: lower the path's MTU.
    TooBig,
    /// No route by this device, or the network or host is known to be unreachable.
    Unreachable,
    /// The device's queue is full: treat as a lost datagram.
    NoBuffers,
    /// The other side has no such port.
    Refused,
    /// A filter or a missing capability forbids it.
    Denied,
    /// The device or the source address is gone: open the socket anew.
    Gone,
    /// Anything else.
    Other,
}

impl Fault {
    /// All of them, in the order of [`Counts`].
    pub const ALL: [Fault; 8] = [
        Fault::WouldBlock,
        Fault::TooBig,
        Fault::Unreachable,
        Fault::NoBuffers,
        Fault::Refused,
        Fault::Denied,
        Fault::Gone,
        Fault::Other,
    ];

    /// Tells which kind of fault an error is.
    pub fn of(error: &io::Error) -> Fault {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Fault::WouldBlock;
        }
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMSGSIZE) => Fault::TooBig,
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN) => {
                Fault::Unreachable
            }
            Some(Errno::ENOBUFS | Errno::ENOMEM) => Fault::NoBuffers,
            Some(Errno::ECONNREFUSED) => Fault::Refused,
            Some(Errno::EPERM | Errno::EACCES) => Fault::Denied,
            Some(Errno::ENODEV | Errno::ENXIO | Errno::EADDRNOTAVAIL) => Fault::Gone,
            _ => Fault::Other,
        }
    }

    /// Whether ICMP may be what has told it.
    fn is_by_icmp(self) -> bool {
        use Fault::{Denied, Refused, TooBig, Unreachable};
        matches!(self, Refused | Unreachable | Denied | TooBig)
    }

    /// A word for status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Fault::WouldBlock => "would_block",
            Fault::TooBig => "too_big",
            Fault::Unreachable => "unreachable",
            Fault::NoBuffers => "no_buffers",
            Fault::Refused => "refused",
            Fault::Denied => "denied",
            Fault::Gone => "gone",
            Fault::Other => "other",
        }
    }
}

/// How often each [`Fault`] was met. Wraps around like every counter of the kernel.
#[derive(Debug, Default)]
pub struct Counts([AtomicUsize; Fault::ALL.len()]);

impl Counts {
    fn add(&self, fault: Fault) {
        self.0[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often `fault` was met.
    pub fn of(&self, fault: Fault) -> usize {
        self.0[fault as usize].load(Ordering::Relaxed)
    }
}

/// Answers of ICMP that one call takes, so that a flood of them does not hold the caller up.
const ERRORS_MAX: usize = 16;

/// The family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What a socket is opened for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Bind to this device: nothing leaves or arrives by another. None: any.
    pub device: Option<String>,
    /// Mark on every packet, see [`Ids`](super::ids::Ids). 0: none.
    pub mark: u32,
    /// Local port. 0: any.
    pub port: u16,
    /// Bytes that the kernel may keep in each direction; it counts its own overhead, so that a
    /// full buffer takes about twice as much memory. 0: [`KERNEL_BUFFER`].
    pub kernel_buffer: usize,
}

/// Where a datagram came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who sent it.
    pub from: SocketAddr,
    /// The address of ours that it was sent to: the one to answer from.
    pub local: Option<IpAddr>,
}

/// Memory to receive into, shared by all sockets of one thread.
#[derive(Debug)]
pub struct ReceiveBuffer {
    storage: Vec<u8>,
    meta: Vec<RecvMeta>,
}

impl ReceiveBuffer {
    /// A buffer of `slots` trains of datagrams, 64 kB each; at most 32 are of use. Pages that
    /// are never written take no memory.
    pub fn new(slots: usize) -> ReceiveBuffer {
        let slots = slots.clamp(1, quinn_udp::BATCH_SIZE);
        ReceiveBuffer { storage: vec![0; slots * SLOT], meta: vec![RecvMeta::default(); slots] }
    }
}

/// A UDP socket of the tunnel.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    state: UdpSocketState,
    family: Family,
    /// Whether it learns what ICMP says.
    told: bool,
    counts: Counts,
}

impl UdpSocket {
    /// Opens a socket of `family`. Not blocking.
    ///
    /// # Errors
    /// The family is unknown to the kernel, the device does not exist, the port is taken, or the
    /// capability for device (`CAP_NET_RAW`) or mark (`CAP_NET_ADMIN`) is missing.
    pub fn open(family: Family, options: &Options) -> io::Result<UdpSocket> {
        let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if family == Family::V6 {
            socket.set_only_v6(true)?;
        }
        if let Some(device) = &options.device {
            setsockopt(&socket, sockopt::BindToDevice, &device.as_str().into())?;
        }
        if options.mark != 0 {
            setsockopt(&socket, sockopt::Mark, &options.mark)?;
        }
        let bytes = if options.kernel_buffer == 0 { KERNEL_BUFFER } else { options.kernel_buffer };
        // The forced size needs CAP_NET_ADMIN; without it the kernel's limit has to do.
        if setsockopt(&socket, sockopt::RcvBufForce, &bytes).is_err() {
            socket.set_recv_buffer_size(bytes)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_err() {
            socket.set_send_buffer_size(bytes)?;
        }
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(&SocketAddr::new(any, options.port).into())?;
        // Sets non-blocking, packet information, Don't Fragment (PMTUDISC_PROBE) and GRO.
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let told = options.device.is_some();
        if told {
            state.enable_transport_errors(UdpSockRef::from(&socket))?;
        }
        Ok(UdpSocket { socket, state, family, told, counts: Counts::default() })
    }

    /// Opens a server's sockets, on the same port of every address: IPv4 and, where the kernel
    /// has it, IPv6.
    ///
    /// # Errors
    /// The port is taken, or the kernel has neither family.
    pub fn open_server(options: &Options) -> io::Result<Vec<UdpSocket>> {
        let missing = |error: &io::Error| {
            matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
            )
        };
        let first = UdpSocket::open(Family::V4, options);
        // Port 0 means any, but the same for both.
        let port = match &first {
            Ok(socket) => socket.local_addr()?.port(),
            Err(_) => options.port,
        };
        let second = UdpSocket::open(Family::V6, &Options { port, ..options.clone() });
        match (first, second) {
            (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
            (Ok(only), Err(error)) | (Err(error), Ok(only)) if missing(&error) => Ok(vec![only]),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// The family it is of.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The local address and port; the address is the wildcard.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// The most datagrams of one length that one [`send`](UdpSocket::send) takes in a single
    /// call to the kernel; 1 where it cannot segment.
    pub fn segments_max(&self) -> usize {
        self.state.max_gso_segments().min(SEGMENTS_MAX)
    }

    /// Faults met since the socket was opened.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Sends `contents` to `to`: one datagram, or with `segment_size` one for each piece of that
    /// length (the last may be shorter). `source` is the address of ours to send from.
    ///
    /// At most [`SEND_MAX`] bytes and [`SEGMENTS_MAX`] pieces go to the kernel at once; more are
    /// split here. If a driver refuses segmentation, this call and all later ones send the
    /// pieces one by one. Older kernels refuse in the same way a train of pieces that do
    /// not fit the device's MTU: probe for the MTU with single datagrams.
    ///
    /// # Errors
    /// See [`Fault::of`]; counted. When pieces were sent one by one, some may have left.
    pub fn send(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let result = self.send_uncounted(to, source, contents, segment_size);
        if let Err(error) = &result {
            self.counts.add(Fault::of(error));
        }
        result
    }

    fn send_uncounted(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = |contents, segment_size| {
            let transmit =
                Transmit { destination: to, ecn: None, contents, segment_size, src_ip: source };
            let send = || self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
            match send() {
                // What ICMP said about an earlier datagram: nothing was sent.
                Err(error) if self.told && Fault::of(&error).is_by_icmp() => send(),
                sent => sent,
            }
        };
        let size = match segment_size {
            Some(size) if size > 0 && size < contents.len() => size,
            _ => return transmit(contents, None),
        };
        let at_once = self.segments_max().min(SEND_MAX / size).max(1);
        for train in contents.chunks(at_once * size) {
            let sent = transmit(train, Some(size));
            // The kernel says EINVAL or EIO to a train that the device cannot segment, and the
            // state remembers it; EMSGSIZE or EINVAL is also what a piece above the MTU gets.
            let retry = match &sent {
                Err(error) if train.len() > size => {
                    Fault::of(error) == Fault::Other || self.segments_max() == 1
                }
                _ => false,
            };
            if !retry {
                sent?;
                continue;
            }
            for piece in train.chunks(size) {
                transmit(piece, None)?;
            }
        }
        Ok(())
    }

    /// Takes what ICMP has said about datagrams that were sent, some of it at a time: what is
    /// wrong, and who says so. Counted. Until all is taken, the socket is reported as one with an
    /// error (`EPOLLERR`).
    pub fn take_errors(&self, mut each: impl FnMut(Fault, Option<IpAddr>)) {
        for _ in 0..ERRORS_MAX {
            let error = self.state.recv_transport_error(UdpSockRef::from(&self.socket));
            let Ok(Some(error)) = error else { return };
            let fault = Fault::of(&io::Error::from_raw_os_error(error.raw_errno));
            self.counts.add(fault);
            each(fault, error.addr.map(|from| from.ip().to_canonical()));
        }
    }

    /// Receives what has arrived, one call to the kernel, and hands each datagram to `each` to
    /// be worked on where it lies. Returns how many there were.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; others as in [`Fault::of`], counted, after which
    /// receiving may go on.
    pub fn recv_batch(
        &self,
        buffer: &mut ReceiveBuffer,
        mut each: impl FnMut(Origin, &mut [u8]),
    ) -> io::Result<usize> {
        let slots = buffer.meta.len();
        let mut slices: [IoSliceMut<'_>; quinn_udp::BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (slice, slot) in slices.iter_mut().zip(buffer.storage.chunks_exact_mut(SLOT)) {
            *slice = IoSliceMut::new(slot);
        }
        let socket = UdpSockRef::from(&self.socket);
        let trains = match self.state.recv(socket, &mut slices[..slots], &mut buffer.meta) {
            Ok(trains) => trains,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.counts.add(Fault::of(&error));
                }
                return Err(error);
            }
        };
        let mut count = 0;
        for (slot, meta) in buffer.storage.chunks_exact_mut(SLOT).zip(&buffer.meta[..trains]) {
            let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let origin = Origin { from, local: meta.dst_ip.map(|ip| ip.to_canonical()) };
            for datagram in slot[..meta.len.min(SLOT)].chunks_mut(meta.stride.max(1)) {
                each(origin, datagram);
                count += 1;
            }
        }
        Ok(count)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart() {
        let fault = |errno: Errno| Fault::of(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!(fault(Errno::EAGAIN), Fault::WouldBlock);
        assert_eq!(fault(Errno::EMSGSIZE), Fault::TooBig);
        assert_eq!(fault(Errno::ENETUNREACH), Fault::Unreachable);
        assert_eq!(fault(Errno::ENOBUFS), Fault::NoBuffers);
        assert_eq!(fault(Errno::ECONNREFUSED), Fault::Refused);
        assert_eq!(fault(Errno::EPERM), Fault::Denied);
        assert_eq!(fault(Errno::ENODEV), Fault::Gone);
        assert_eq!(fault(Errno::EINVAL), Fault::Other);
    }

    #[test]
    fn every_fault_has_its_own_counter() {
        let counts = Counts::default();
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
            counts.add(fault);
            assert_eq!(counts.of(fault), 1);
        }
    }
}
