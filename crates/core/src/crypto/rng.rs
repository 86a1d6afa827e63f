//! Two generators that must not be mixed up.
//!
//! Why: nothing in the pure layers may ask the system for randomness, otherwise no run could be
//! repeated. What they need comes in two kinds, with opposite demands: jitter, sampling and the
//! simulation want a cheap generator that may be guessed; keys want one that must not be.
//!
//! How: [`Dice`] is xoshiro256** seeded by splitmix64. [`SecretRng`] expands a 32-byte seed with
//! BLAKE3's extendable output and replaces its key on every call ("fast key erasure"): whoever
//! reads the memory later cannot compute what was handed out before, so that forward secrecy of
//! the handshakes does not end at the generator.
//!
//! Limits: [`SecretRng`] is as good as its seed, and two generators with one seed give the same
//! keys: each seed comes fresh from the system or from [`SecretRng::seed`].

use zeroize::{Zeroize, Zeroizing};

/// A small, fast, seeded generator for statistics: jitter, sampling, simulation. Never for keys.
#[derive(Clone, Debug)]
pub struct Dice {
    state: [u64; 4],
}

impl Dice {
    /// The generator of this seed; every seed is good, also zero.
    pub fn new(seed: u64) -> Dice {
        let mut mix = seed;
        Dice { state: core::array::from_fn(|_| splitmix64(&mut mix)) }
    }

    /// The next 64 bits (xoshiro256**, Blackman and Vigna 2018, <https://prng.di.unimi.it>).
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A whole number from zero up to and without `n`, all equally likely; zero when `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // Lemire 2019, "Fast Random Integer Generation in an Interval": the upper half of a
        // product, drawn again in the rare case that would favour some results.
        let refuse_below = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= refuse_below {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number from zero up to and without one, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// One step of splitmix64, which turns any seed into well-mixed words (same source).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// BLAKE3 context of [`SecretRng`].
const SECRET_CONTEXT: &str = "onebox v1 secret random bytes";

/// The generator for key material, session indices and cookies.
///
/// Not `Clone`: two of the same state would give the same keys.
pub struct SecretRng {
    key: Zeroizing<[u8; 32]>,
}

impl SecretRng {
    /// The generator of this seed, which must be secret and used for nothing else.
    pub fn new(seed: [u8; 32]) -> SecretRng {
        SecretRng { key: Zeroizing::new(seed) }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key(SECRET_CONTEXT);
        hasher.update(self.key.as_slice());
        let mut output = hasher.finalize_xof();
        output.fill(self.key.as_mut_slice());
        output.fill(bytes);
        output.zeroize();
        hasher.zeroize();
    }

    /// Four bytes, for a session index.
    pub fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Eight bytes, for the number of an instance.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The seed of another generator or of one handshake.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }
}

impl core::fmt::Debug for SecretRng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SecretRng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_and_xoshiro_follow_the_reference() {
        // First outputs of the authors' splitmix64.c for the seed 1234567.
        let mut state = 1_234_567;
        assert_eq!(splitmix64(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(splitmix64(&mut state), 3_203_168_211_198_807_973);
        // First outputs of the authors' xoshiro256starstar.c for the state 1, 2, 3, 4.
        let mut dice = Dice { state: [1, 2, 3, 4] };
        let first: Vec<u64> = (0..4).map(|_| dice.next_u64()).collect();
        assert_eq!(first, [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    #[test]
    fn dice_stay_in_range_and_cover_it() {
        let mut dice = Dice::new(0);
        let mut counts = [0u32; 7];
        for _ in 0..7_000 {
            counts[dice.below(7) as usize] += 1;
            let unit = dice.unit();
            assert!((0.0..1.0).contains(&unit));
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.below(1), 0);
        assert!(dice.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn same_seed_same_bytes() {
        let (mut a, mut b) = (Dice::new(5), Dice::new(5));
        let (mut x, mut y) = ([0; 13], [0; 13]);
        a.fill(&mut x);
        b.fill(&mut y);
        assert_eq!(x, y);
        assert_ne!(Dice::new(6).next_u64(), Dice::new(5).next_u64());

        let (mut a, mut b) = (SecretRng::new([7; 32]), SecretRng::new([7; 32]));
        assert_eq!(a.seed(), b.seed());
        assert_eq!(a.next_u32(), b.next_u32());
        assert_ne!(a.next_u64(), SecretRng::new([8; 32]).next_u64());
    }

    #[test]
    fn secret_rng_replaces_its_key_and_is_not_its_output() {
        let mut rng = SecretRng::new([7; 32]);
        let first = rng.seed();
        assert_ne!(*rng.key, [7; 32]);
        assert_ne!(*rng.key, first);
        assert_ne!(rng.seed(), first);
        assert_eq!(format!("{rng:?}"), "SecretRng");
    }
}
