//! Chance, handed in: ids and jitter draw from a [`Rng`], and so do secrets.

use std::sync::Mutex;

/// Draws random values. One implementation asks the operating system, another repeats itself from a seed.
pub trait Rng: Send + Sync {
    /// Draws 64 bits for ids and jitter; need not be hard to guess.
    fn next_u64(&self) -> u64;

    /// Fills `bytes` with values that nobody can guess, for secrets and keys.
    fn fill_secret(&self, bytes: &mut [u8]);

    /// Draws a number in `0.0..1.0`.
    fn unit(&self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }
}

/// Draws the same values again for the same seed (SplitMix64, by Sebastiano Vigna). For tests and simulations.
#[derive(Debug)]
pub struct SeededRng(Mutex<u64>);

impl SeededRng {
    /// Begins the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Rng for SeededRng {
    fn next_u64(&self) -> u64 {
        let mut state = self.0.lock().expect("no draw panics");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill_secret(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}
