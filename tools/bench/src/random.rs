//! Repeatable random numbers (xorshift64*): every contender gets the same ones.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// Evenly spread over `0..limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high * limit) >> 32
    }

    /// `count` of `all`, in random order: brings them to the front.
    pub(crate) fn choose<'a>(&mut self, all: &'a mut [usize], count: usize) -> &'a [usize] {
        for place in 0..count {
            let rest = (all.len() - place) as u64;
            all.swap(place, place + self.below(rest) as usize);
        }
        &all[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_are_different_and_spread() {
        let mut all: Vec<usize> = (0..100).collect();
        let mut random = Random::new(1);
        let mut chosen = random.choose(&mut all, 50).to_vec();
        assert!(chosen.iter().any(|slot| *slot < 20) && chosen.iter().any(|slot| *slot >= 80));
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 50);
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
