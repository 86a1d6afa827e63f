//! Seeded randomness, one stream per entity.
//!
//! Why: if all entities drew from one stream, adding a link would change what every other entity
//! draws, and two runs that should differ in one thing would differ in everything.
//!
//! How: a stream is seeded from the world's seed and the entity's name; the generator is
//! splitmix64 (Steele, Lea and Flood 2014), which is small, fast and good enough for dice.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of the entity called `name` in the world with this seed.
    pub fn of(seed: u64, name: &str) -> Rng {
        let mut rng = Rng(seed ^ crate::packet::digest(name.as_bytes()));
        rng.next();
        rng
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True `ppm` times in a million. Draws nothing when that is never.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }
}
