//! A die for tests, which says its seed when they fail.

use std::{
    eprintln, thread,
    time::{SystemTime, UNIX_EPOCH},
};

use wakeful_block::fake;

/// A die. Where a test that has one fails, `WAKEFUL_SEED=…` repeats it.
pub(crate) struct Random {
    seed: u64,
    die: fake::Random,
}

impl Random {
    pub(crate) fn new() -> Self {
        let given = std::env::var("WAKEFUL_SEED").ok().and_then(|seed| seed.parse().ok());
        let now =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_micros() as u64);
        let seed = given.unwrap_or_else(now);
        Self { seed, die: fake::Random::new(seed) }
    }

    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.die.below(end as u64) as usize
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("WAKEFUL_SEED={}", self.seed);
        }
    }
}
