//! Random choices that can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A stream of random numbers (xorshift64*): good enough to choose with, and the same for the same seed.
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32).max(1);
        Self { seed, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// From 1 to `most`, each order of magnitude as likely as the others.
    pub(crate) fn magnitude(&mut self, most: u64) -> u64 {
        let bits = 64 - most.leading_zeros();
        let top = 1 << self.below(u64::from(bits));
        (top + self.below(top)).min(most)
    }

    /// A stream of its own for somebody else.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(Some(self.next() >> 1))
    }
}
