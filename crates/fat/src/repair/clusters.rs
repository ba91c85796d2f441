//! Which clusters are in use: a bit for each.

use alloc::vec::Vec;

use crate::Error;

/// A set of clusters.
pub(super) struct Clusters(Vec<u64>);

impl Clusters {
    /// None, of those up to `last`. Takes a bit for each: 128 KiB for a card of 32 GiB with clusters of 32 KiB.
    pub(super) fn new(last: u32) -> Result<Self, Error> {
        let words = last as usize / 64 + 1;
        let mut bits = Vec::new();
        bits.try_reserve_exact(words).map_err(|_| Error::OutOfMemory)?;
        bits.resize(words, 0);
        Ok(Self(bits))
    }

    pub(super) fn contains(&self, cluster: u32) -> bool {
        self.0.get(cluster as usize / 64).is_some_and(|word| word & bit(cluster) != 0)
    }

    /// Says whether it was not there before.
    pub(super) fn insert(&mut self, cluster: u32) -> bool {
        match self.0.get_mut(cluster as usize / 64) {
            Some(word) if *word & bit(cluster) == 0 => {
                *word |= bit(cluster);
                true
            }
            _ => false,
        }
    }
}

const fn bit(cluster: u32) -> u64 {
    1 << (cluster % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once() {
        let mut clusters = Clusters::new(64).unwrap();
        for cluster in [0, 2, 63, 64] {
            assert!(!clusters.contains(cluster));
            assert!(clusters.insert(cluster));
            assert!(clusters.contains(cluster));
            assert!(!clusters.insert(cluster));
        }
        assert!(!clusters.contains(3));
        assert!(!clusters.insert(1000));
    }
}
