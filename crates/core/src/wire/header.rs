//! The header of a data datagram.
//!
//! ```text
//! 0      1      2                     6                     10
//! +------+------+---------------------+---------------------+------------------+---------+
//! | 0x04 | path | receiver index (LE) | number, low 32 (LE) | frames, sealed   | tag 16  |
//! +------+------+---------------------+---------------------+------------------+---------+
//! ```
//!
//! The ten bytes are authenticated as additional data. The packet number is 64 bits wide; the
//! receiver restores the upper half from the highest one it has seen on the path, as RFC 9000
//! §A.3 does.

use super::{Malformed, PATHS_MAX, PathId, Reader};

/// First byte of a data datagram; 1 to 3 are the handshake's (see `crypto`).
pub const TYPE_DATA: u8 = 4;

/// Bytes of the header.
pub const LEN: usize = 10;

/// A parsed header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataHeader {
    /// The path it was sent on.
    pub path: PathId,
    /// The receiver's name for the session.
    pub receiver: u32,
    /// The low half of the packet number.
    pub number_low: u32,
}

impl DataHeader {
    /// Reads the header of `datagram`.
    pub fn read(datagram: &[u8]) -> Result<DataHeader, Malformed> {
        let mut r = Reader::new(datagram);
        if r.u8()? != TYPE_DATA {
            return Err(Malformed);
        }
        let path = PathId(r.u8()?);
        if path.index() >= PATHS_MAX {
            return Err(Malformed);
        }
        Ok(DataHeader { path, receiver: r.u32()?, number_low: r.u32()? })
    }

    /// The header for packet number `number`.
    pub fn bytes(path: PathId, receiver: u32, number: u64) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = TYPE_DATA;
        out[1] = path.0;
        out[2..6].copy_from_slice(&receiver.to_le_bytes());
        out[6..10].copy_from_slice(&(number as u32).to_le_bytes());
        out
    }

    /// The whole packet number, given the highest one seen on the path (RFC 9000 §A.3).
    pub fn number(&self, highest: u64) -> u64 {
        expand(self.number_low, highest)
    }
}

/// The 64-bit number with low half `low` that is nearest to `near` (RFC 9000 §A.3).
pub fn expand(low: u32, near: u64) -> u64 {
    const WINDOW: u64 = 1 << 32;
    let candidate = near & !(WINDOW - 1) | u64::from(low);
    if candidate + WINDOW / 2 <= near {
        candidate + WINDOW
    } else if candidate > near + WINDOW / 2 && candidate >= WINDOW {
        candidate - WINDOW
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let bytes = DataHeader::bytes(PathId(2), 0x1122_3344, 0x5_0000_0007);
        assert_eq!(bytes, [4, 2, 0x44, 0x33, 0x22, 0x11, 7, 0, 0, 0]);
        let header = DataHeader::read(&bytes).unwrap();
        assert_eq!(header, DataHeader { path: PathId(2), receiver: 0x1122_3344, number_low: 7 });
        assert_eq!(header.number(0x5_0000_0001), 0x5_0000_0007);
    }

    #[test]
    fn numbers_are_restored_across_the_wrap() {
        for near in [0, 5, 0xffff_fff0, 0x1_0000_0000, 0x7_8000_0000, 0x7_ffff_ffff] {
            for distance in [0i64, 1, -1, 1000, -1000, 0x3fff_ffff, -0x3fff_ffff] {
                let Some(number) = u64::checked_add_signed(near, distance) else { continue };
                assert_eq!(expand(number as u32, near), number, "{near:x} {distance:x}");
            }
        }
    }

    #[test]
    fn short_and_foreign_datagrams_are_refused() {
        let bytes = DataHeader::bytes(PathId(0), 1, 1);
        for n in 0..LEN {
            assert_eq!(DataHeader::read(&bytes[..n]), Err(Malformed));
        }
        assert_eq!(DataHeader::read(&[4, 16, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(DataHeader::read(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed));
    }
}
