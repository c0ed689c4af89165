//! Chance, as the simulation asks for it.

use std::time::Duration;

use harbor_model::chance::{Rng, SeededRng};

/// Draws from a seed, the same each time.
#[derive(Debug)]
pub(crate) struct Dice(SeededRng);

impl Dice {
    /// The dice of one purpose: each has a sequence of its own, so that a draw for one moves no other.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        // The constant keeps neighbouring seeds and purposes apart.
        Self(SeededRng::new(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(purpose)))
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a count fits 64 bits");
        usize::try_from(self.0.next_u64() % end).expect("it lies below a usize")
    }

    /// A number from `first` to `last`.
    pub(crate) fn between(&self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True once in `times`, on average.
    pub(crate) fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of these, each as likely as its weight says.
    pub(crate) fn weighted<T: Copy>(&self, choices: &[(usize, T)]) -> T {
        let total: usize = choices.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.below(total);
        for (weight, choice) in choices {
            if drawn < *weight {
                return *choice;
            }
            drawn -= weight;
        }
        unreachable!("what is drawn lies below the sum of the weights")
    }

    /// A time from `first` to `last`, in whole milliseconds.
    pub(crate) fn time(&self, first: Duration, last: Duration) -> Duration {
        let ms = |time: Duration| usize::try_from(time.as_millis()).expect("the times here are short");
        Duration::from_millis(u64::try_from(self.between(ms(first), ms(last))).expect("it was one before"))
    }
}
