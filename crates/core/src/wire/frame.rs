//! Frames: what a datagram says.
//!
//! A control frame is `type (1 B, below 0x40), length (varint), body`; an unknown type is skipped
//! by its length and bytes behind a known body are ignored, so that fields can be added. A packet
//! frame (0x40 to 0x43) has a fixed head, and its packet runs to the end of the datagram unless
//! the frame says a length:
//!
//! ```text
//! 0x40 | ordered (1) | sized (2),  flow u16,  sequence u24,  [length u16,]  IP packet
//! ```
//!
//! All integers are little-endian but for varints (RFC 9000 §16). Times are the low 32 bits of
//! the sender's own microsecond clock: only differences are ever used, so that the clocks need no
//! agreement.

use super::{Malformed, PathId, Reader, Writer};
use core::net::{IpAddr, SocketAddr};

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const PONG: u8 = 0x02;
const ACK: u8 = 0x03;
const CHALLENGE: u8 = 0x04;
const RESPONSE: u8 = 0x05;
const PATH_STATUS: u8 = 0x06;
const PATH_REPORT: u8 = 0x07;
const HOLD: u8 = 0x08;
const SKIP: u8 = 0x09;
const CLOSE: u8 = 0x0a;
const REPAIR: u8 = 0x0b;
const LOAD: u8 = 0x0c;
const LOAD_STATE: u8 = 0x0d;
const OBSERVED_ADDRESS: u8 = 0x0e;
const PACKET: u8 = 0x40;
const ORDERED: u8 = 0x01;
const SIZED: u8 = 0x02;
/// Families of an address, as IP numbers its versions.
const V4: u8 = 4;
const V6: u8 = 6;

/// Bytes of a packet frame in front of the packet, without the length field.
pub const PACKET_HEAD: usize = 6;
/// Bytes of the length field of a sized packet frame.
pub const SIZE_FIELD: usize = 2;
/// Ranges in one acknowledgement at most: the newest are kept.
pub const ACK_RANGES_MAX: usize = 32;
/// Frames of a datagram that count, padding apart.
pub const FRAMES_MAX: usize = 64;
/// Sequence numbers of one [`Skip`](Frame::Skip) that count.
pub const SKIP_MAX: u16 = 1024;
/// Bytes of a repair frame in front of the parity, at most.
pub const REPAIR_HEAD: usize = 1 + 2 + REPAIR_FIXED;
/// Bytes of its fields.
const REPAIR_FIXED: usize = 4 + 8 + 2;

/// One frame.
#[allow(clippy::large_enum_variant)] // Frames are read one at a time and never stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// Asks for a [`Pong`](Frame::Pong) on the same path. Padding behind it makes it a probe of
    /// the path MTU.
    Ping {
        /// When it was sent.
        sent: u32,
    },
    /// Answers a ping.
    Pong {
        /// The ping's time, unchanged.
        echo: u32,
    },
    /// What has arrived on a path.
    Ack(Ack),
    /// Asks whoever is at the other end of this path to prove that it is the peer.
    Challenge {
        /// To be sent back.
        data: u64,
    },
    /// The proof.
    Response {
        /// The challenge's data.
        data: u64,
    },
    /// How the sender wants a path to be used.
    PathStatus {
        /// Which path.
        path: PathId,
        /// 0 active, 1 backup, 2 off, 3 the link is gone for now.
        mode: u8,
        /// Whether its bytes cost money.
        metered: bool,
        /// Limit of the receiver's sending rate on it in kbit/s; 0: none.
        rate_max_kbps: u32,
    },
    /// What the sender has measured of what it sends on a path.
    PathReport {
        /// Which path.
        path: PathId,
        /// Packets lost, in millionths.
        loss_ppm: u32,
        /// What it carries, kbit/s.
        rate_kbps: u32,
        /// What it is believed to carry at most, kbit/s; 0 while unknown.
        capacity_kbps: u32,
    },
    /// How long the receiver of this frame may keep a packet waiting for its predecessors.
    Hold {
        /// Microseconds.
        us: u32,
    },
    /// Sequence numbers that will never come: nobody needs to wait for them.
    Skip {
        /// Their flow.
        flow: u16,
        /// The first of them.
        first: u32,
        /// How many; [`SKIP_MAX`] at most.
        count: u16,
    },
    /// The sender goes away.
    Close {
        /// 0: it is stopping; 1, which we do not send: it was told to reconnect; 2: the receiver has
        /// acknowledged what was never sent.
        reason: u8,
    },
    /// Asks the server to fill paths with padding for a while, for a speed test.
    Load {
        /// Names the request: repeated, it is still the same.
        id: u32,
        /// Which paths, a bit each from the lowest.
        paths: u16,
        /// For how long, milliseconds; 0 ends the one of this name.
        ms: u16,
        /// Kilobytes (1000 bytes) that each path may take at most, with all headers.
        kbytes: u32,
    },
    /// What has become of such a request.
    LoadState {
        /// Its name.
        id: u32,
        /// What: 0 begun, 1 at its end, 2 refused, as another is under way, 3 refused, as the hour's
        /// bytes are used up, 4 refused, as no such path works.
        state: u8,
        /// Seconds after which to ask again, where that helps.
        wait_s: u16,
    },
    /// Where the receiver's datagrams on this path come from.
    ObservedAddress {
        /// Address and port, as the sender of the frame sees them.
        address: SocketAddr,
    },
    /// Parity of datagrams of this path, from which a lost one can be rebuilt.
    Repair(Repair<'a>),
    /// An inner packet.
    Packet {
        /// Its flow, as the sender counts them.
        flow: u16,
        /// Its place in the flow, low 24 bits.
        sequence: u32,
        /// Whether it has to wait for its predecessors.
        ordered: bool,
        /// The packet.
        packet: &'a [u8],
    },
}

/// The parity of a group of datagrams of the path that the frame comes on: their payloads, shorter
/// ones padded with zeros, added bit by bit (RFC 5109 §8.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repair<'a> {
    /// Low half of the packet number of the group's first member.
    pub first: u32,
    /// The members: bit *i* for the number that is greater by *i*. Bit 0 is set.
    pub members: u64,
    /// The lengths of their payloads, added bit by bit.
    pub lengths: u16,
    /// As long as the longest payload.
    pub parity: &'a [u8],
}

impl<'a> Repair<'a> {
    /// Writes the frame; `false`, and nothing written, when it does not fit.
    fn write(&self, w: &mut Writer<'_>) -> bool {
        let len = REPAIR_FIXED + self.parity.len();
        w.room() >= 1 + Writer::varint_len(len as u64) + len
            && w.u8(REPAIR)
            && w.varint(len as u64)
            && w.u32(self.first)
            && w.u64(self.members)
            && w.u16(self.lengths)
            && w.bytes(self.parity)
    }

    fn read(r: &mut Reader<'a>) -> Result<Repair<'a>, Malformed> {
        let (first, members, lengths) = (r.u32()?, r.u64()?, r.u16()?);
        if members & 1 == 0 {
            return Err(Malformed);
        }
        Ok(Repair { first, members, lengths, parity: r.rest() })
    }
}

/// An acknowledgement of one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The path that the packets came on.
    pub path: PathId,
    /// Low half of the highest packet number.
    pub largest_low: u32,
    /// When that one arrived, on the receiver's clock.
    pub arrived: u32,
    /// Microseconds between that and the sending of this frame.
    pub delay_us: u32,
    /// What has arrived.
    pub ranges: AckRanges,
}

/// Which packets have arrived: runs of packet numbers from the highest downwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckRanges {
    /// How many packets below the highest arrived too, without a gap.
    first: u64,
    /// Then, repeatedly: missing ones, and how many arrived below them.
    more: [(u32, u32); ACK_RANGES_MAX - 1],
    count: usize,
}

impl AckRanges {
    /// From ranges in descending order, each `(low, high)` inclusive; `None` when there are none.
    /// The lowest ones are left out when there are too many.
    pub fn from_descending(mut ranges: impl Iterator<Item = (u64, u64)>) -> Option<AckRanges> {
        let (mut low, high) = ranges.next()?;
        let mut out = AckRanges { first: high - low, more: [(0, 0); ACK_RANGES_MAX - 1], count: 0 };
        for ((l, h), slot) in ranges.zip(out.more.iter_mut()) {
            *slot = ((low - h - 1) as u32, (h - l + 1) as u32);
            out.count += 1;
            low = l;
        }
        Some(out)
    }

    /// The ranges, from the one that ends with `largest` downwards, each `(low, high)` inclusive.
    /// Ends early where they would go below zero.
    pub fn descending(&self, largest: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut low = largest.checked_sub(self.first);
        let first = low.map(|l| (l, largest));
        first.into_iter().chain(self.more[..self.count].iter().map_while(move |&(gap, len)| {
            let high = low?.checked_sub(u64::from(gap) + 1)?;
            let l = high.checked_sub(u64::from(len) - 1)?;
            low = Some(l);
            Some((l, high))
        }))
    }

    fn read(r: &mut Reader<'_>) -> Result<AckRanges, Malformed> {
        let first = r.varint()?;
        let count = usize::from(r.u8()?);
        if count >= ACK_RANGES_MAX {
            return Err(Malformed);
        }
        let mut more = [(0, 0); ACK_RANGES_MAX - 1];
        for slot in &mut more[..count] {
            let gap = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
            let len = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
            if gap == 0 || len == 0 {
                return Err(Malformed);
            }
            *slot = (gap, len);
        }
        Ok(AckRanges { first, more, count })
    }

    fn write(&self, w: &mut Writer<'_>) -> bool {
        w.varint(self.first)
            && w.u8(self.count as u8)
            && self.more[..self.count]
                .iter()
                .all(|&(gap, len)| w.varint(u64::from(gap)) && w.varint(u64::from(len)))
    }
}

impl<'a> Frame<'a> {
    /// Whether the other side has to acknowledge a datagram with this frame.
    pub fn elicits_ack(&self) -> bool {
        !matches!(self, Frame::Ack(_) | Frame::Pong { .. } | Frame::Close { .. })
    }

    /// Writes the frame; `false`, and nothing written, when it does not fit. A packet is written
    /// without its length, to be the last frame; see [`PacketHead::write_sized`].
    pub fn write(&self, w: &mut Writer<'_>) -> bool {
        if let &Frame::Packet { flow, sequence, ordered, packet } = self {
            let head = PacketHead { flow, sequence, ordered };
            return w.room() >= PACKET_HEAD + packet.len() && head.write(w, 0) && w.bytes(packet);
        }
        if let Frame::Repair(repair) = self {
            return repair.write(w);
        }
        let mut body = [0u8; 400];
        let mut b = Writer::new(&mut body);
        let (kind, fits) = self.write_body(&mut b);
        let len = b.len();
        let needed = 1 + Writer::varint_len(len as u64) + len;
        fits && w.room() >= needed && w.u8(kind) && w.varint(len as u64) && w.bytes(&body[..len])
    }

    fn write_body(&self, b: &mut Writer<'_>) -> (u8, bool) {
        match *self {
            Frame::Ping { sent } => (PING, b.u32(sent)),
            Frame::Pong { echo } => (PONG, b.u32(echo)),
            Frame::Ack(ref a) => (
                ACK,
                b.u8(a.path.0)
                    && b.u32(a.largest_low)
                    && b.u32(a.arrived)
                    && b.varint(u64::from(a.delay_us))
                    && a.ranges.write(b),
            ),
            Frame::Challenge { data } => (CHALLENGE, b.u64(data)),
            Frame::Response { data } => (RESPONSE, b.u64(data)),
            Frame::PathStatus { path, mode, metered, rate_max_kbps } => (
                PATH_STATUS,
                b.u8(path.0) && b.u8(mode) && b.u8(u8::from(metered)) && b.u32(rate_max_kbps),
            ),
            Frame::PathReport { path, loss_ppm, rate_kbps, capacity_kbps } => (
                PATH_REPORT,
                b.u8(path.0) && b.u32(loss_ppm) && b.u32(rate_kbps) && b.u32(capacity_kbps),
            ),
            Frame::Hold { us } => (HOLD, b.u32(us)),
            Frame::Skip { flow, first, count } => {
                (SKIP, b.u16(flow) && b.u24(first) && b.u16(count))
            }
            Frame::Close { reason } => (CLOSE, b.u8(reason)),
            Frame::Load { id, paths, ms, kbytes } => {
                (LOAD, b.u32(id) && b.u16(paths) && b.u16(ms) && b.u32(kbytes))
            }
            Frame::LoadState { id, state, wait_s } => {
                (LOAD_STATE, b.u32(id) && b.u8(state) && b.u16(wait_s))
            }
            Frame::ObservedAddress { address } => (OBSERVED_ADDRESS, write_address(b, address)),
            Frame::Repair(_) => (REPAIR, false),
            Frame::Packet { .. } => (PACKET, false),
        }
    }
}

/// The head of a packet frame, for writers that put the packet behind it by themselves.
#[derive(Clone, Copy, Debug)]
pub struct PacketHead {
    /// The packet's flow.
    pub flow: u16,
    /// Its place in the flow.
    pub sequence: u32,
    /// Whether it waits for its predecessors.
    pub ordered: bool,
}

impl PacketHead {
    fn write(&self, w: &mut Writer<'_>, flags: u8) -> bool {
        let kind = PACKET | flags | if self.ordered { ORDERED } else { 0 };
        w.u8(kind) && w.u16(self.flow) && w.u24(self.sequence)
    }

    /// Writes `packet` with its length, so that more frames may follow.
    pub fn write_sized(&self, w: &mut Writer<'_>, packet: &[u8]) -> bool {
        w.room() >= PACKET_HEAD + SIZE_FIELD + packet.len()
            && self.write(w, SIZED)
            && w.u16(packet.len() as u16)
            && w.bytes(packet)
    }
}

/// Writes `n` bytes of padding.
pub fn pad(w: &mut Writer<'_>, n: usize) -> bool {
    w.room() >= n && (0..n).all(|_| w.u8(PADDING))
}

/// Reads the frames of a datagram one after the other. After an error it ends, and more than
/// [`FRAMES_MAX`] frames are one: nobody has that much to say, and each costs work.
#[derive(Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    /// Frames that may still come.
    left: usize,
}

impl<'a> Frames<'a> {
    /// Reads the frames of `payload`.
    pub fn new(payload: &'a [u8]) -> Frames<'a> {
        Frames { reader: Reader::new(payload), left: FRAMES_MAX }
    }

    fn read(&mut self) -> Result<Option<Frame<'a>>, Malformed> {
        let r = &mut self.reader;
        loop {
            if r.is_empty() {
                return Ok(None);
            }
            let kind = r.u8()?;
            if kind == PADDING {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or(Malformed)?;
            match kind {
                0x40..=0x43 => {
                    let (flow, sequence) = (r.u16()?, r.u24()?);
                    let packet = if kind & SIZED != 0 {
                        let len = r.u16()?;
                        r.bytes(usize::from(len))?
                    } else {
                        r.rest()
                    };
                    let ordered = kind & ORDERED != 0;
                    return Ok(Some(Frame::Packet { flow, sequence, ordered, packet }));
                }
                0x01..0x40 => {
                    let len = usize::try_from(r.varint()?).map_err(|_| Malformed)?;
                    if let Some(frame) = read_control(kind, Reader::new(r.bytes(len)?))? {
                        return Ok(Some(frame));
                    }
                }
                _ => return Err(Malformed),
            }
        }
    }
}

/// An IPv4 address in IPv6 clothes is written, and read, as what it is.
fn write_address(b: &mut Writer<'_>, address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => b.u8(V4) && b.u16(address.port()) && b.bytes(&v4.octets()),
        IpAddr::V6(v6) => b.u8(V6) && b.u16(address.port()) && b.bytes(&v6.octets()),
    }
}

/// `None` for one of a family that is not known.
fn read_address(b: &mut Reader<'_>) -> Result<Option<SocketAddr>, Malformed> {
    let (family, port) = (b.u8()?, b.u16()?);
    let ip = match family {
        V4 => IpAddr::from(b.array::<4>()?),
        V6 => IpAddr::from(b.array::<16>()?).to_canonical(),
        _ => return Ok(None),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

fn read_control(kind: u8, mut b: Reader<'_>) -> Result<Option<Frame<'_>>, Malformed> {
    Ok(Some(match kind {
        PING => Frame::Ping { sent: b.u32()? },
        PONG => Frame::Pong { echo: b.u32()? },
        ACK => Frame::Ack(Ack {
            path: PathId(b.u8()?),
            largest_low: b.u32()?,
            arrived: b.u32()?,
            delay_us: u32::try_from(b.varint()?).map_err(|_| Malformed)?,
            ranges: AckRanges::read(&mut b)?,
        }),
        CHALLENGE => Frame::Challenge { data: b.u64()? },
        RESPONSE => Frame::Response { data: b.u64()? },
        PATH_STATUS => Frame::PathStatus {
            path: PathId(b.u8()?),
            mode: b.u8()?,
            metered: b.u8()? & 1 != 0,
            rate_max_kbps: b.u32()?,
        },
        PATH_REPORT => Frame::PathReport {
            path: PathId(b.u8()?),
            loss_ppm: b.u32()?,
            rate_kbps: b.u32()?,
            capacity_kbps: b.u32()?,
        },
        HOLD => Frame::Hold { us: b.u32()? },
        SKIP => Frame::Skip { flow: b.u16()?, first: b.u24()?, count: b.u16()? },
        CLOSE => Frame::Close { reason: b.u8()? },
        LOAD => Frame::Load { id: b.u32()?, paths: b.u16()?, ms: b.u16()?, kbytes: b.u32()? },
        LOAD_STATE => Frame::LoadState { id: b.u32()?, state: b.u8()?, wait_s: b.u16()? },
        OBSERVED_ADDRESS => match read_address(&mut b)? {
            Some(address) => Frame::ObservedAddress { address },
            None => return Ok(None),
        },
        REPAIR => Frame::Repair(Repair::read(&mut b)?),
        _ => return Ok(None),
    }))
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read();
        if item.is_err() {
            self.reader.rest();
        }
        item.transpose()
    }
}

#[cfg(test)]
mod tests;
