//! Packet buffers and the pool they return to.
//!
//! Why: a packet is stored from the moment it leaves the TUN device until its peer has
//! acknowledged it, and from the moment it is decrypted until its predecessors have arrived.
//! Taking that memory from the allocator for each packet costs more than everything else the
//! engine does with it.
//!
//! How: every buffer has the same capacity, [`CAPACITY`], and free ones wait in a [`Pool`], a
//! stack: the warmest buffer is used next. A packet starts at [`HEADROOM`], so that a header can
//! be written in front of it where it lies.
//!
//! Limits: an inner packet is at most [`PACKET_MAX`] bytes. The pool keeps at most `keep` free
//! buffers; further ones go back to the allocator. A buffer that is dropped instead of returned
//! is merely freed.

/// Bytes in a buffer.
pub const CAPACITY: usize = 2048;
/// Free bytes in front of a packet.
pub const HEADROOM: usize = 64;
/// The longest packet that a buffer takes.
pub const PACKET_MAX: usize = CAPACITY - HEADROOM;

/// One packet in a buffer of its own.
pub struct Buf {
    data: Box<[u8; CAPACITY]>,
    start: u16,
    len: u16,
}

impl Buf {
    /// A buffer outside any pool, empty, starting at [`HEADROOM`].
    pub fn new() -> Buf {
        Buf { data: Box::new([0; CAPACITY]), start: HEADROOM as u16, len: 0 }
    }

    /// The packet.
    pub fn bytes(&self) -> &[u8] {
        let start = usize::from(self.start);
        &self.data[start..start + usize::from(self.len)]
    }

    /// The packet, to change it in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let start = usize::from(self.start);
        &mut self.data[start..start + usize::from(self.len)]
    }

    /// Length of the packet in bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole buffer, for a reader that fills it from [`HEADROOM`] on and then says
    /// [`set_len`](Buf::set_len).
    pub fn storage(&mut self) -> &mut [u8; CAPACITY] {
        &mut self.data
    }

    /// Says that the packet is the `len` bytes from [`HEADROOM`] on; more than [`PACKET_MAX`]
    /// is cut to that.
    pub fn set_len(&mut self, len: usize) {
        self.start = HEADROOM as u16;
        self.len = len.min(PACKET_MAX) as u16;
    }

    /// Makes the packet a copy of `bytes`, cut to [`PACKET_MAX`].
    pub fn copy_from(&mut self, bytes: &[u8]) {
        self.set_len(bytes.len());
        let len = self.len();
        self.bytes_mut().copy_from_slice(&bytes[..len]);
    }
}

impl Default for Buf {
    fn default() -> Self {
        Buf::new()
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        &self.data[..]
    }
}

impl AsMut<[u8]> for Buf {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.data[..]
    }
}

impl core::fmt::Debug for Buf {
    /// Only the length: what is inside is the user's.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Buf({} B)", self.len)
    }
}

/// Free buffers, ready for the next packets.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Buf>,
    keep: usize,
}

impl Pool {
    /// A pool that keeps at most `keep` free buffers.
    pub fn new(keep: usize) -> Pool {
        Pool { free: Vec::with_capacity(keep), keep }
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Buf {
        let mut buf = self.free.pop().unwrap_or_default();
        buf.set_len(0);
        buf
    }

    /// A buffer holding a copy of `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.take();
        buf.copy_from(bytes);
        buf
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buf: Buf) {
        if self.free.len() < self.keep {
            self.free.push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_comes_back_empty() {
        let mut pool = Pool::new(1);
        let buf = pool.copy(b"abc");
        assert_eq!(buf.bytes(), b"abc");
        pool.give(buf);
        assert!(pool.take().is_empty());
    }

    #[test]
    fn a_packet_is_cut_at_the_capacity() {
        let mut buf = Buf::new();
        buf.copy_from(&[7; 3000]);
        assert_eq!(buf.len(), PACKET_MAX);
    }
}
