//! The TUN device: batches of packets out of and into the kernel.
//!
//! Why: one packet per system call keeps a router's processor busy with the calls. With offload
//! (`IFF_VNET_HDR`) the kernel hands over and takes up to 64 kB at once and leaves checksums to
//! us, where they are cheap.
//!
//! How: reading goes straight into a pooled buffer; only what is longer than that is a joined
//! packet, which is put together and split into pooled buffers, its checksums filled in.
//! Writing joins what belongs together ([`coalesce`](super::coalesce)) and hands it over in
//! place. A kernel that refuses offload gets plain packets; which it is, is found out when the
//! device is opened.
//!
//! Limits: a packet is at most [`PACKET_MAX`] bytes, so the device's MTU must not be larger;
//! longer ones are counted and dropped. The device is not persistent: it goes away with the
//! process, and its addresses and routes with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use tun_rs::{DeviceBuilder, SyncDevice, VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use super::coalesce::{Coalescer, GROUP_MAX, GSO_UDP_L4, NEEDS_CSUM};
use onebox_core::buffer::{Buf, HEADROOM, PACKET_MAX, Pool};

/// Packets after which [`Tun::read_batch`] stops reading further.
pub const BATCH: usize = 64;
/// The longest packet that the kernel joins.
const SUPER_MAX: usize = 65_535;
/// `VIRTIO_NET_HDR_GSO_NONE`: not a joined packet.
const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_ECN`: a joined TCP packet has the CWR flag.
const GSO_ECN: u8 = 0x80;

/// What was not moved, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Read, but longer than a buffer.
    pub too_long: u64,
    /// Read, but not to be made sense of.
    pub malformed: u64,
    /// The kernel refused it: not an IP packet, or the device is down.
    pub refused: u64,
}

/// An open TUN device, not blocking.
pub struct Tun {
    device: SyncDevice,
    name: String,
    ifindex: u32,
    offload: bool,
    udp_offload: bool,
    coalescer: Coalescer,
    /// Where a joined packet is put together.
    large: Vec<u8>,
    segments: Vec<Buf>,
    sizes: Vec<usize>,
    drops: Drops,
}

impl Tun {
    /// Creates the device `name`, with offload if the kernel has it and `offload` is wanted.
    /// It is down and has no address: see [`System`](super::system::System).
    ///
    /// # Errors
    /// No `/dev/net/tun` (package kmod-tun), no capability `CAP_NET_ADMIN`, or the name is taken.
    pub fn open(name: &str, offload: bool) -> io::Result<Tun> {
        let build = |offload: bool| {
            DeviceBuilder::new()
                .name(name)
                .inherit_enable_state()
                .with(|builder| {
                    builder.offload(offload);
                })
                .build_sync()
        };
        let device = match build(offload) {
            Ok(device) => device,
            Err(error) if offload => match build(false) {
                Ok(device) => {
                    log::info!("{name}: no offload ({error}), packets go one by one");
                    device
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        device.set_nonblocking(true)?;
        let (offload, udp_offload) = (device.tcp_gso(), device.udp_gso());
        Ok(Tun {
            name: device.name()?,
            ifindex: device.if_index()?,
            device,
            offload,
            udp_offload,
            coalescer: Coalescer::default(),
            large: vec![0; SUPER_MAX],
            segments: Vec::new(),
            sizes: Vec::new(),
            drops: Drops::default(),
        })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's index.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the kernel joins and splits TCP, and whether UDP too.
    pub fn offload(&self) -> (bool, bool) {
        (self.offload, self.udp_offload)
    }

    /// What was not moved since the device was opened.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Reads what waits, until there is no more or `out` has grown by [`BATCH`]; the last read
    /// may add more, as one read gives up to 64 kB. Returns how many packets were added.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits. Any other means that the device is gone.
    pub fn read_batch(&mut self, pool: &mut Pool, out: &mut Vec<Buf>) -> io::Result<usize> {
        let before = out.len();
        while out.len() - before < BATCH {
            match self.read_one(pool, out) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if out.len() > before => break,
                Err(error) => return Err(error),
            }
        }
        Ok(out.len() - before)
    }

    fn read_one(&mut self, pool: &mut Pool, out: &mut Vec<Buf>) -> io::Result<()> {
        let mut buf = pool.take();
        let mut header = [0; VIRTIO_NET_HDR_LEN];
        let prefix = if self.offload { header.len() } else { 0 };
        let read = self.device.recv_vectored(&mut [
            IoSliceMut::new(&mut header[..prefix]),
            IoSliceMut::new(&mut buf.storage()[HEADROOM..]),
            IoSliceMut::new(&mut self.large[PACKET_MAX..]),
        ]);
        let length = match read {
            Ok(read) => read.saturating_sub(prefix),
            Err(error) => {
                pool.give(buf);
                return Err(error);
            }
        };
        let header = VirtioNetHdr::decode(&header)?;
        if header.gso_type != GSO_NONE {
            let first = length.min(PACKET_MAX);
            buf.set_len(first);
            self.large[..first].copy_from_slice(buf.bytes());
            pool.give(buf);
            self.split(header, length, pool, out);
            return Ok(());
        }
        if length > PACKET_MAX {
            self.drops.too_long += 1;
            pool.give(buf);
            return Ok(());
        }
        buf.set_len(length);
        let partial = header.flags & NEEDS_CSUM != 0;
        if length == 0 || (partial && !fill_checksum(buf.bytes_mut(), &header)) {
            self.drops.malformed += 1;
            pool.give(buf);
            return Ok(());
        }
        out.push(buf);
        Ok(())
    }

    /// Splits the joined packet in `large`.
    fn split(&mut self, header: VirtioNetHdr, length: usize, pool: &mut Pool, out: &mut Vec<Buf>) {
        let packet = &mut self.large[..length];
        let Some((header, segments)) = true_header(packet, header) else {
            self.drops.malformed += 1;
            return;
        };
        if usize::from(header.hdr_len) + usize::from(header.gso_size) > PACKET_MAX {
            self.drops.too_long += segments as u64;
            return;
        }
        self.segments.extend(std::iter::repeat_with(|| pool.take()).take(segments));
        self.sizes.clear();
        self.sizes.resize(segments, 0);
        let v6 = packet[0] >> 4 == 6;
        let split =
            tun_rs::gso_split(packet, header, &mut self.segments, &mut self.sizes, HEADROOM, v6);
        let count = split.unwrap_or_else(|_| {
            self.drops.malformed += 1;
            0
        });
        for (index, mut buf) in self.segments.drain(..).enumerate() {
            if index < count {
                buf.set_len(self.sizes[index]);
                out.push(buf);
            } else {
                pool.give(buf);
            }
        }
    }

    /// Writes `packets` and gives their buffers back to `pool`, whatever happens. Returns how
    /// many the kernel took.
    ///
    /// # Errors
    /// None for a single packet, those are counted in [`Drops::refused`]. An error means that the
    /// device is gone; the packets are lost with it.
    pub fn write_batch(&mut self, packets: &mut Vec<Buf>, pool: &mut Pool) -> io::Result<usize> {
        let result =
            if self.offload { self.write_joined(packets) } else { self.write_plain(packets) };
        for buf in packets.drain(..) {
            pool.give(buf);
        }
        result
    }

    fn write_joined(&mut self, packets: &mut [Buf]) -> io::Result<usize> {
        self.coalescer.plan(packets, self.udp_offload);
        let mut written = 0;
        for group in 0..self.coalescer.len() {
            let (header, members) = self.coalescer.group(group);
            let mut encoded = [0; VIRTIO_NET_HDR_LEN];
            header.encode(&mut encoded)?;
            let mut slices = [IoSlice::new(&[]); GROUP_MAX + 1];
            slices[0] = IoSlice::new(&encoded);
            let mut count = 0;
            for ((index, from), slice) in members.zip(&mut slices[1..]) {
                *slice = IoSlice::new(&packets[index].bytes()[from..]);
                count += 1;
            }
            match self.device.send_vectored(&slices[..=count]) {
                Ok(_) => written += count,
                Err(error) if gone(&error) => return Err(error),
                Err(_) => self.drops.refused += count as u64,
            }
        }
        Ok(written)
    }

    fn write_plain(&mut self, packets: &[Buf]) -> io::Result<usize> {
        let mut written = 0;
        for packet in packets {
            match self.device.send(packet.bytes()) {
                Ok(_) => written += 1,
                Err(error) if gone(&error) => return Err(error),
                Err(_) => self.drops.refused += 1,
            }
        }
        Ok(written)
    }
}

/// The descriptor has no device any more (it was deleted by hand).
fn gone(error: &io::Error) -> bool {
    use nix::errno::Errno::{EBADF, EBADFD, ENODEV};
    [EBADF, EBADFD, ENODEV].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Completes a checksum that the kernel left to us. False if it points outside the packet.
fn fill_checksum(packet: &mut [u8], header: &VirtioNetHdr) -> bool {
    let at = usize::from(header.csum_start) + usize::from(header.csum_offset);
    if at + 2 > packet.len() {
        return false;
    }
    // The field holds the pseudo header's sum and so takes part itself.
    let sum = !tun_rs::checksum(&packet[usize::from(header.csum_start)..], 0);
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    // A UDP checksum of zero means that there is none, which IPv6 forbids (RFC 8200 §8.1).
    if header.csum_offset == 6 && packet[at..at + 2] == [0, 0] {
        packet[at..at + 2].fill(0xff);
    }
    true
}

/// The header with the true length of the packet's headers, and the number of segments. What the
/// kernel says of that length is wrong for forwarded packets.
fn true_header(packet: &[u8], mut header: VirtioNetHdr) -> Option<(VirtioNetHdr, usize)> {
    let transport = usize::from(header.csum_start);
    let headers = transport
        + if header.gso_type & !GSO_ECN == GSO_UDP_L4 {
            8
        } else {
            usize::from(packet.get(transport + 12)? >> 4) * 4
        };
    let payload = packet.len().checked_sub(headers)?;
    if header.gso_size == 0 || payload == 0 {
        return None;
    }
    header.hdr_len = u16::try_from(headers).ok()?;
    Some((header, payload.div_ceil(usize::from(header.gso_size))))
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun").field("name", &self.name).field("ifindex", &self.ifindex).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_udp_checksum_of_zero_becomes_ones() {
        let mut packet = vec![0; 28];
        // The partial sum is such that the complement of the total is zero.
        packet[26..28].copy_from_slice(&0xffff_u16.to_be_bytes());
        let header = VirtioNetHdr { csum_start: 20, csum_offset: 6, ..VirtioNetHdr::default() };
        assert!(fill_checksum(&mut packet, &header));
        assert_eq!(packet[26..28], [0xff, 0xff]);
    }

    #[test]
    fn a_checksum_outside_the_packet_is_refused() {
        let header = VirtioNetHdr { csum_start: 20, csum_offset: 16, ..VirtioNetHdr::default() };
        assert!(!fill_checksum(&mut [0; 37], &header));
        assert!(fill_checksum(&mut [0; 38], &header));
    }

    #[test]
    fn segments_are_counted_by_the_true_headers() {
        let mut packet = vec![0; 20 + 32 + 2500];
        packet[32] = 0x80;
        let header = VirtioNetHdr {
            gso_type: tun_rs::VIRTIO_NET_HDR_GSO_TCPV4,
            csum_start: 20,
            gso_size: 1000,
            hdr_len: 1500,
            ..VirtioNetHdr::default()
        };
        let (header, segments) = true_header(&packet, header).unwrap();
        assert_eq!((header.hdr_len, segments), (52, 3));
        let zero = VirtioNetHdr { gso_size: 0, ..header };
        assert!(true_header(&packet, zero).is_none());
        assert!(true_header(&packet[..30], header).is_none());
    }
}
