//! The system's chance.

use std::cell::Cell;

use harbor_model::chance::Rng;

/// Draws ids and jitter from a generator of each thread's own, and secrets from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemRng;

thread_local! {
    /// The state of xoshiro256++ (Blackman and Vigna), seeded by the operating system: as good as ids
    /// need, and a nanosecond each where the system takes a call.
    static STATE: Cell<[u64; 4]> = Cell::new(seed());
}

fn seed() -> [u64; 4] {
    loop {
        let mut bytes = [0; 32];
        fill(&mut bytes);
        let (words, _) = bytes.as_chunks::<8>();
        let state = [0, 1, 2, 3].map(|at: usize| u64::from_le_bytes(words[at]));
        // From nothing but zeros the generator draws nothing but zeros.
        if state != [0; 4] {
            return state;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the system's chance that others are handed")]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        STATE.with(|cell| {
            let mut s = cell.get();
            let drawn = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
            let shifted = s[1] << 17;
            s[2] ^= s[0];
            s[3] ^= s[1];
            s[1] ^= s[2];
            s[0] ^= s[3];
            s[2] ^= shifted;
            s[3] = s[3].rotate_left(45);
            cell.set(s);
            drawn
        })
    }

    fn fill_secret(&self, bytes: &mut [u8]) {
        fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        // The first values of the reference implementation from this state.
        STATE.with(|state| state.set([1, 2, 3, 4]));
        let drawn = [(); 4].map(|()| SystemRng.next_u64());
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn threads_draw_different_values() {
        let draw = || [SystemRng.next_u64(), SystemRng.next_u64()];
        let other = std::thread::spawn(draw).join().unwrap();
        assert_ne!(draw(), other);
    }

    #[test]
    fn a_secret_is_filled_throughout() {
        let mut secret = [0; 64];
        SystemRng.fill_secret(&mut secret);
        assert!(secret.chunks(16).all(|part| part.iter().any(|byte| *byte != 0)));
    }
}
