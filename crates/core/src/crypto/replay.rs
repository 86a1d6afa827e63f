//! Each packet only once.
//!
//! Why: whoever can record a packet can send it again. A receiver must remember which packet
//! numbers it has taken, in bounded memory, while packets arrive in another order than they were
//! sent.
//!
//! How: the sliding window of RFC 6479. The bitmap has more blocks than the window needs and is
//! addressed as a ring, so that moving the window clears whole blocks and never shifts bits.
//! Asking ([`check`](ReplayWindow::check)) is apart from remembering
//! ([`accept`](ReplayWindow::accept)): ask before opening, which is cheap, remember after it,
//! because only an authentic packet may move the window.
//!
//! Limits: a packet that is more than [`WINDOW`] numbers behind is refused, replayed or not. One
//! window per path and connection: skew between paths does not drop good packets, and since
//! packet numbers go on over a change of keys, so does the window.

/// Numbers that the window spans, counted back from the highest. 2048 packets of 1,400 bytes are
/// 230 ms of reordering on one path at 100 Mbit/s (PROTOCOL.md, Replay).
pub const WINDOW: u64 = 2048;

/// Bits in a block. Blocks are `u32` so that 32-bit routers handle them in one register.
const BLOCK_BITS: u64 = 32;
/// Blocks in the ring: the power of two above the 65 that the window can touch.
const BLOCKS: usize = 128;

/// The packet numbers that were accepted on one path.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The next number after the highest accepted one; zero before the first.
    next: u64,
    bits: [u32; BLOCKS],
}

impl ReplayWindow {
    /// A window that has accepted nothing yet.
    pub fn new() -> ReplayWindow {
        ReplayWindow { next: 0, bits: [0; BLOCKS] }
    }

    /// The highest number that was accepted.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether `number` is worth opening: not accepted before, and not behind the window.
    pub fn check(&self, number: u64) -> bool {
        if number == u64::MAX {
            // Has no successor; senders stop long before (`PACKET_NUMBER_END`).
            return false;
        }
        if number >= self.next {
            return true;
        }
        self.next - number <= WINDOW && self.bits[slot(number)] & bit(number) == 0
    }

    /// Remembers `number`, whose packet was authentic. Returns what [`check`](Self::check) would
    /// have: `false` means that the packet must be dropped.
    pub fn accept(&mut self, number: u64) -> bool {
        if !self.check(number) {
            return false;
        }
        if number >= self.next {
            self.advance(number);
        }
        self.bits[slot(number)] |= bit(number);
        true
    }

    /// Makes `number` the highest one: clears the blocks that enter the window.
    fn advance(&mut self, number: u64) {
        let entered = match self.highest() {
            Some(highest) => number / BLOCK_BITS - highest / BLOCK_BITS,
            // The ring is all clear.
            None => 0,
        };
        let first = number / BLOCK_BITS - entered.min(BLOCKS as u64);
        for block in first..number / BLOCK_BITS {
            self.bits[ring(block + 1)] = 0;
        }
        self.next = number + 1;
    }
}

impl Default for ReplayWindow {
    fn default() -> ReplayWindow {
        ReplayWindow::new()
    }
}

/// The place of a block in the ring.
fn ring(block: u64) -> usize {
    block as usize % BLOCKS
}

/// The block of a number.
fn slot(number: u64) -> usize {
    ring(number / BLOCK_BITS)
}

/// The bit of a number in its block.
fn bit(number: u64) -> u32 {
    1 << (number % BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What the window should do, without any cleverness.
    #[derive(Default)]
    struct Naive {
        accepted: BTreeSet<u64>,
    }

    impl Naive {
        fn accept(&mut self, number: u64) -> bool {
            let highest = self.accepted.last().copied();
            let behind = highest.is_some_and(|h| h.saturating_sub(number) >= WINDOW);
            !behind && self.accepted.insert(number)
        }
    }

    proptest! {
        #[test]
        fn window_agrees_with_the_naive_model(
            start in prop_oneof![0u64..5_000, (1 << 32) - 5_000..(1u64 << 32), Just((1 << 60) - 9)],
            steps in prop::collection::vec(
                prop_oneof![
                    8 => -40i64..40,
                    4 => -2_100i64..2_100,
                    1 => -5_000i64..5_000,
                    1 => 4_000i64..20_000,
                ],
                1..400,
            ),
        ) {
            let mut window = ReplayWindow::new();
            let mut naive = Naive::default();
            let mut number = start;
            for step in steps {
                number = number.saturating_add_signed(step);
                let expected = naive.accept(number);
                prop_assert_eq!(window.check(number), expected);
                prop_assert_eq!(window.accept(number), expected);
                prop_assert!(!window.check(number));
                prop_assert_eq!(window.highest(), naive.accepted.last().copied());
            }
        }
    }

    #[test]
    fn edges_of_the_window() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.highest(), None);
        assert!(window.accept(0));
        assert!(!window.accept(0));
        assert!(window.accept(WINDOW));
        assert!(!window.check(0), "just behind the window");
        assert!(window.accept(1), "the last one inside");
        assert!(!window.accept(1));
        assert_eq!(window.highest(), Some(WINDOW));
    }

    #[test]
    fn a_first_number_far_from_zero() {
        let mut window = ReplayWindow::new();
        assert!(window.accept(1 << 40));
        assert!(window.accept((1 << 40) - WINDOW + 1));
        assert!(!window.accept((1 << 40) - WINDOW));
    }

    #[test]
    fn a_jump_longer_than_the_ring_forgets_nothing_wrongly() {
        let mut window = ReplayWindow::new();
        for number in 0..4_096 {
            assert!(window.accept(number));
        }
        assert!(window.accept(1_000_000));
        for number in 1_000_000 - WINDOW + 1..1_000_000 {
            assert!(window.accept(number), "{number}");
            assert!(!window.accept(number), "{number}");
        }
    }

    #[test]
    fn the_last_number_does_not_overflow() {
        let mut window = ReplayWindow::new();
        assert!(!window.accept(u64::MAX));
        assert!(window.accept(u64::MAX - 1));
        assert_eq!(window.highest(), Some(u64::MAX - 1));
        assert!(window.accept(u64::MAX - 2));
    }
}
