//! Joins packets of one flow into one large packet for the kernel.
//!
//! Why: the kernel's work per packet written to the TUN device (system call, route, firewall,
//! TCP) is far more than ours. Sixty segments of a TCP stream written as one cost little more
//! than one.
//!
//! How: [`Coalescer::plan`] sorts a batch into groups: consecutive TCP segments, or UDP datagrams
//! of one length, that agree in every header field. A group is written with one vectored call as
//! it lies: a `virtio_net_hdr`, the first packet with its lengths patched, the payloads of the
//! others. Nothing is copied and, once the vectors have grown, nothing allocated. The order
//! within a flow is kept; between flows it is free.
//!
//! A joined packet is handed over with its checksum still to be filled in, so a segment is only
//! joined if its own checksum is right: what was damaged before the tunnel stays damaged and
//! visible.
//!
//! Limits: IPv4 without options, IPv6 without extension headers, TCP with nothing but ACK and
//! PSH. All else is written by itself. Only the last 16 groups of a batch are looked at.

use tun_rs::{VirtioNetHdr, checksum, checksum_no_fold};

/// Packets in a group at most: what `UDP_MAX_SEGMENTS` allows, and TCP gains no more.
pub const GROUP_MAX: usize = 64;
/// Groups looked at when a packet seeks its group.
const OPEN_MAX: usize = 16;
/// The longest IP packet.
const TOTAL_MAX: usize = 65_535;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds only the pseudo header's sum.
pub(super) const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: joined datagrams.
pub(super) const GSO_UDP_L4: u8 = 5;
const END: u16 = u16::MAX;

/// What of a packet's headers decides where it goes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    protocol: u8,
    ip: usize,
    headers: usize,
    payload: usize,
    sequence: u32,
    push: bool,
    joinable: bool,
}

/// Packets to be written as one.
#[derive(Debug)]
struct Group {
    head: u16,
    tail: u16,
    count: usize,
    /// None for a packet that stands alone and belongs to no TCP or UDP flow.
    shape: Option<Shape>,
    payload: usize,
    open: bool,
}

/// The groups of one batch; kept between batches for its memory.
#[derive(Debug, Default)]
pub struct Coalescer {
    groups: Vec<Group>,
    /// For each packet the one that follows it in its group.
    next: Vec<u16>,
}

impl Coalescer {
    /// Sorts `packets` into groups and patches the first packet of each, `udp` too if the kernel
    /// takes joined datagrams. At most 65,534 packets are looked at.
    pub fn plan<P: AsMutPacket>(&mut self, packets: &mut [P], udp: bool) {
        self.groups.clear();
        self.next.clear();
        let count = packets.len().min(usize::from(END));
        self.next.resize(count, END);
        for index in 0..count {
            self.place(packets, index as u16, udp);
        }
        for group in &self.groups {
            if let (Some(shape), 2..) = (group.shape, group.count) {
                let push = group.count > 1 && shape.push;
                patch(packets[usize::from(group.head)].packet_mut(), &shape, group.payload, push);
            }
        }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The header for the kernel of a group, and its packets: index and where in the packet its
    /// part begins.
    pub fn group(&self, index: usize) -> (VirtioNetHdr, impl Iterator<Item = (usize, usize)>) {
        let group = &self.groups[index];
        let header = match (group.shape, group.count) {
            (Some(shape), 2..) => header(&shape, group),
            _ => VirtioNetHdr::default(),
        };
        let skip = group.shape.map_or(0, |shape| shape.headers);
        let mut at = group.head;
        let members = std::iter::from_fn(move || {
            let member = (at != END).then_some(usize::from(at))?;
            at = self.next[member];
            Some(member)
        });
        let head = usize::from(group.head);
        (header, members.map(move |i| (i, if i == head { 0 } else { skip })))
    }

    fn place<P: AsMutPacket>(&mut self, packets: &mut [P], index: u16, udp: bool) {
        let packet = packets[usize::from(index)].packet_mut();
        let shape = shape(packet, udp);
        if let Some(shape) = shape {
            let packet: &[u8] = packets[usize::from(index)].packet();
            let start = self.groups.len().saturating_sub(OPEN_MAX);
            let mut same = self.groups[start..].iter_mut().rev();
            let group = same.find(|group| {
                let head = packets[usize::from(group.head)].packet();
                group.open
                    && group.shape.is_some_and(|other| same_flow(packet, &shape, head, &other))
            });
            if let Some(group) = group {
                let head = packets[usize::from(group.head)].packet();
                if shape.joinable && joins(packet, &shape, head, group) {
                    self.next[usize::from(group.tail)] = index;
                    group.tail = index;
                    group.count += 1;
                    group.payload += shape.payload;
                    let segment = group.shape.map_or(0, |first| first.payload);
                    group.open = shape.payload == segment && !shape.push && group.count < GROUP_MAX;
                    if let (true, Some(first)) = (shape.push, &mut group.shape) {
                        first.push = true;
                    }
                    return;
                }
                // A later packet of the flow must not overtake this one.
                group.open = false;
            }
        }
        self.groups.push(Group {
            head: index,
            tail: index,
            count: 1,
            shape,
            payload: shape.map_or(0, |s| s.payload),
            open: shape.is_some_and(|s| s.joinable && !s.push),
        });
    }
}

/// A buffer that holds a packet.
pub trait AsMutPacket {
    /// The packet.
    fn packet(&self) -> &[u8];
    /// The packet, to change it in place.
    fn packet_mut(&mut self) -> &mut [u8];
}

impl AsMutPacket for onebox_core::buffer::Buf {
    fn packet(&self) -> &[u8] {
        self.bytes()
    }

    fn packet_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl AsMutPacket for Vec<u8> {
    fn packet(&self) -> &[u8] {
        self
    }

    fn packet_mut(&mut self) -> &mut [u8] {
        self
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Reads the headers; None for what belongs to no TCP or UDP flow or is not well-formed.
fn shape(packet: &[u8], udp: bool) -> Option<Shape> {
    let (ip, protocol, length) = match packet.first()? >> 4 {
        4 if packet.len() >= 20 && packet[0] == 0x45 => {
            // More fragments, or not the first.
            if u16_at(packet, 6) & 0x3fff != 0 {
                return None;
            }
            (20, packet[9], usize::from(u16_at(packet, 2)))
        }
        6 if packet.len() >= 40 => (40, packet[6], 40 + usize::from(u16_at(packet, 4))),
        _ => return None,
    };
    if length != packet.len() {
        return None;
    }
    match protocol {
        TCP if length >= ip + 20 => {
            let headers = ip + usize::from(packet[ip + 12] >> 4) * 4;
            if headers < ip + 20 || headers > length {
                return None;
            }
            let flags = packet[ip + 13];
            let payload = length - headers;
            let plain = flags & !PSH == ACK && payload > 0;
            Some(Shape {
                protocol,
                ip,
                headers,
                payload,
                sequence: u32::from_be_bytes([
                    packet[ip + 4],
                    packet[ip + 5],
                    packet[ip + 6],
                    packet[ip + 7],
                ]),
                push: flags & PSH != 0,
                joinable: plain && checksum_right(packet, ip, protocol),
            })
        }
        UDP if length >= ip + 8 => {
            let payload = length - ip - 8;
            let plain = udp
                && payload > 0
                && usize::from(u16_at(packet, ip + 4)) == payload + 8
                && u16_at(packet, ip + 6) != 0;
            Some(Shape {
                protocol,
                ip,
                headers: ip + 8,
                payload,
                sequence: 0,
                push: false,
                joinable: plain && checksum_right(packet, ip, protocol),
            })
        }
        _ => None,
    }
}

/// The sum over addresses, protocol and length that TCP and UDP checksums begin with.
fn pseudo_sum(packet: &[u8], ip: usize, protocol: u8, length: usize) -> u64 {
    let addresses = if ip == 20 { &packet[12..20] } else { &packet[8..40] };
    checksum_no_fold(addresses, u64::from(protocol) + length as u64)
}

fn checksum_right(packet: &[u8], ip: usize, protocol: u8) -> bool {
    let sum = pseudo_sum(packet, ip, protocol, packet.len() - ip);
    checksum(&packet[ip..], sum) == 0xffff
}

/// Addresses, protocol and ports.
fn same_flow(packet: &[u8], shape: &Shape, head: &[u8], first: &Shape) -> bool {
    let addresses = if shape.ip == 20 { 12..20 } else { 8..40 };
    shape.protocol == first.protocol
        && shape.ip == first.ip
        && packet[shape.ip..shape.ip + 4] == head[first.ip..first.ip + 4]
        && packet[addresses.clone()] == head[addresses]
}

/// Whether a packet of the flow continues the group, all other header fields being the same.
fn joins(packet: &[u8], shape: &Shape, head: &[u8], group: &Group) -> bool {
    let Some(first) = group.shape else { return false };
    let ip = shape.ip;
    let same_ip = if ip == 20 {
        // Type of service; flags; time to live.
        packet[1] == head[1] && packet[6] == head[6] && packet[8] == head[8]
    } else {
        // Traffic class and flow label; hop limit.
        packet[..4] == head[..4] && packet[7] == head[7]
    };
    let same_transport = shape.protocol == UDP
        || (shape.headers == first.headers
            && shape.sequence == first.sequence.wrapping_add(group.payload as u32)
            // Acknowledgement and data offset; window; urgent pointer and options. Not the
            // flags, of which only PSH can differ, and not the checksum.
            && packet[ip + 8..ip + 13] == head[ip + 8..ip + 13]
            && packet[ip + 14..ip + 16] == head[ip + 14..ip + 16]
            && packet[ip + 18..shape.headers] == head[ip + 18..first.headers]);
    same_ip
        && same_transport
        && shape.payload <= first.payload
        && first.headers + group.payload + shape.payload <= TOTAL_MAX
}

/// Makes the first packet's headers those of the whole group.
fn patch(packet: &mut [u8], shape: &Shape, payload: usize, push: bool) {
    let transport = shape.headers - shape.ip + payload;
    if shape.ip == 20 {
        put_u16(packet, 2, (shape.ip + transport) as u16);
        put_u16(packet, 10, 0);
        let sum = !checksum(&packet[..20], 0);
        put_u16(packet, 10, sum);
    } else {
        put_u16(packet, 4, transport as u16);
    }
    let sum = checksum(&[], pseudo_sum(packet, shape.ip, shape.protocol, transport));
    if shape.protocol == TCP {
        if push {
            packet[shape.ip + 13] |= PSH;
        }
        put_u16(packet, shape.ip + 16, sum);
    } else {
        put_u16(packet, shape.ip + 4, transport as u16);
        put_u16(packet, shape.ip + 6, sum);
    }
}

fn header(shape: &Shape, group: &Group) -> VirtioNetHdr {
    let (gso_type, csum_offset) = match (shape.protocol, shape.ip) {
        (UDP, _) => (GSO_UDP_L4, 6),
        (_, 20) => (GSO_TCPV4, 16),
        _ => (GSO_TCPV6, 16),
    };
    debug_assert!(group.count > 1);
    VirtioNetHdr {
        flags: NEEDS_CSUM,
        gso_type,
        hdr_len: shape.headers as u16,
        gso_size: shape.payload as u16,
        csum_start: shape.ip as u16,
        csum_offset,
    }
}

#[cfg(test)]
mod tests;
