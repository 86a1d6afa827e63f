//! Bounded reading and writing.

/// The bytes end before what they promise, or promise what cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed or truncated")]
pub struct Malformed;

/// Reads integers and slices from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, little-endian.
    pub fn u24(&mut self) -> Result<u32, Malformed> {
        self.array::<3>().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A variable-length integer (RFC 9000 §16).
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let first = *self.0.first().ok_or(Malformed)?;
        let bytes = self.bytes(1 << (first >> 6))?;
        Ok(bytes[1..].iter().fold(u64::from(first & 0x3f), |v, &b| v << 8 | u64::from(b)))
    }
}

/// Writes integers and slices to the front of a slice; what does not fit is refused whole.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes into `out`.
    pub fn new(out: &'a mut [u8]) -> Writer<'a> {
        Writer { out, len: 0 }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.out.len() - self.len
    }

    /// Has `write` write at most `bytes`.
    pub fn limited(&mut self, bytes: usize, write: impl FnOnce(&mut Writer<'_>)) {
        let end = self.out.len().min(self.len + bytes);
        let mut part = Writer::new(&mut self.out[self.len..end]);
        write(&mut part);
        self.len += part.len;
    }

    /// Writes `bytes`; `false`, and nothing written, when they do not fit.
    pub fn bytes(&mut self, bytes: &[u8]) -> bool {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
                true
            }
            None => false,
        }
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) -> bool {
        self.bytes(&[v])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, v: u16) -> bool {
        self.bytes(&v.to_le_bytes())
    }

    /// The low three bytes, little-endian.
    pub fn u24(&mut self, v: u32) -> bool {
        self.bytes(&v.to_le_bytes()[..3])
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, v: u32) -> bool {
        self.bytes(&v.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, v: u64) -> bool {
        self.bytes(&v.to_le_bytes())
    }

    /// A variable-length integer (RFC 9000 §16); values of 2^62 and more are refused.
    pub fn varint(&mut self, v: u64) -> bool {
        match v {
            0..0x40 => self.u8(v as u8),
            0x40..0x4000 => self.bytes(&(v as u16 | 0x4000).to_be_bytes()),
            0x4000..0x4000_0000 => self.bytes(&(v as u32 | 0x8000_0000).to_be_bytes()),
            0x4000_0000..0x4000_0000_0000_0000 => {
                self.bytes(&(v | 0xc000_0000_0000_0000).to_be_bytes())
            }
            _ => false,
        }
    }

    /// Bytes that [`varint`](Writer::varint) takes for `v`.
    pub fn varint_len(v: u64) -> usize {
        match v {
            0..0x40 => 1,
            0x40..0x4000 => 2,
            0x4000..0x4000_0000 => 4,
            _ => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varints_of_rfc_9000_a_1() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
            let mut out = [0; 8];
            let mut w = Writer::new(&mut out);
            assert!(w.varint(value));
            assert_eq!(w.len(), Writer::varint_len(value));
            assert_eq!(&out[..bytes.len()], bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(a: u8, b: u16, c in 0u32..1 << 24, d: u32, e: u64, f in 0u64..1 << 62) {
            let mut out = [0; 64];
            let mut w = Writer::new(&mut out);
            prop_assert!(w.u8(a) && w.u16(b) && w.u24(c) && w.u32(d) && w.u64(e) && w.varint(f));
            let n = w.len();
            let mut r = Reader::new(&out[..n]);
            prop_assert_eq!((r.u8(), r.u16(), r.u24(), r.u32(), r.u64(), r.varint()), (Ok(a), Ok(b), Ok(c), Ok(d), Ok(e), Ok(f)));
            prop_assert!(r.is_empty());
        }

        #[test]
        fn a_full_writer_writes_nothing(room in 0usize..8) {
            let mut out = [0; 8];
            let mut w = Writer::new(&mut out[..room]);
            prop_assert!(!w.u64(u64::MAX));
            prop_assert!(w.is_empty());
        }
    }
}
