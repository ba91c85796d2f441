//! Numbers that nobody can guess, made of the randomness that there is.
//!
//! [`Generator`] is the ChaCha block function (RFC 8439 §2.3) with 12 rounds and erasure of the key:
//! of each block the first half is the next key and the other half is handed out, each word once.
//! Who learns the state cannot compute what it gave before, and numbers that it gave say nothing
//! about others. How hard the first key is to guess depends on what was [mixed](Generator::mix) in;
//! more can be mixed in at any time and never harms.
//!
//! It needs nothing: no allocator, no globals, no `unsafe`.

#![no_std]
#![forbid(unsafe_code)]

/// Rounds of the block function, as in the standard generator of the crate `rand`. No attack is known
/// on more than 7.
const ROUNDS: usize = 12;

/// Words of a key; a block has twice as many.
const KEY: usize = 8;

/// A source of random numbers.
///
/// Its state is not shown by `Debug`.
pub struct Generator {
    key: [u32; KEY],
    /// What is left of the last block is at its end; words that were handed out are 0.
    output: [u32; KEY],
    left: usize,
}

impl core::fmt::Debug for Generator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Generator").finish_non_exhaustive()
    }
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl Generator {
    /// A generator that gives the same numbers each time, until something is mixed in.
    #[must_use]
    pub const fn new() -> Self {
        Self { key: [0; KEY], output: [0; KEY], left: 0 }
    }

    /// Makes all further numbers depend on these bytes too.
    pub fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(4 * KEY) {
            for (word, bytes) in self.key.iter_mut().zip(chunk.chunks(4)) {
                let mut cell = [0; 4];
                cell[..bytes.len()].copy_from_slice(bytes);
                *word ^= u32::from_le_bytes(cell);
            }
            self.refill();
        }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        if self.left < 2 {
            self.refill();
        }
        let mut take = || {
            self.left -= 1;
            u64::from(core::mem::take(&mut self.output[self.left]))
        };
        take() << 32 | take()
    }

    /// A new key, and numbers.
    fn refill(&mut self) {
        let block = block(&self.key, [0; 4], ROUNDS);
        self.key.copy_from_slice(&block[..KEY]);
        self.output.copy_from_slice(&block[KEY..]);
        self.left = KEY;
    }
}

/// The ChaCha block function; `input` is counter and nonce.
fn block(key: &[u32; KEY], input: [u32; 4], rounds: usize) -> [u32; 2 * KEY] {
    let mut start = [0; 2 * KEY];
    // "expand 32-byte k".
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    start[4..12].copy_from_slice(key);
    start[12..].copy_from_slice(&input);
    let mut state = start;
    for _ in 0..rounds / 2 {
        for column in 0..4 {
            quarter(&mut state, [column, column + 4, column + 8, column + 12]);
        }
        for diagonal in 0..4 {
            let next = |row: usize| 4 * row + (diagonal + row) % 4;
            quarter(&mut state, [next(0), next(1), next(2), next(3)]);
        }
    }
    for (word, start) in state.iter_mut().zip(start) {
        *word = word.wrapping_add(start);
    }
    state
}

/// The quarter round (RFC 8439 §2.1).
#[inline(always)]
fn quarter(state: &mut [u32; 2 * KEY], [a, b, c, d]: [usize; 4]) {
    let mut step = |to: usize, from: usize, mixed: usize, by: u32| {
        state[to] = state[to].wrapping_add(state[from]);
        state[mixed] = (state[mixed] ^ state[to]).rotate_left(by);
    };
    step(a, b, d, 16);
    step(c, d, b, 12);
    step(a, b, d, 8);
    step(c, d, b, 7);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::HashSet, format, string::String, vec::Vec};

    use super::*;

    /// RFC 8439 §2.3.2.
    #[test]
    fn block_of_the_rfc() {
        let bytes: Vec<u8> = (0..32).collect();
        let words: Vec<u32> =
            bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        let key = words.try_into().unwrap();
        let block = block(&key, [1, 0x0900_0000, 0x4a00_0000, 0], 20);
        let bytes: Vec<u8> = block.iter().flat_map(|word| word.to_le_bytes()).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e\
             d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
        );
    }

    #[test]
    fn no_number_comes_twice() {
        let mut generator = Generator::new();
        generator.mix(b"seed");
        let numbers: HashSet<u64> = (0..10_000).map(|_| generator.next_u64()).collect();
        assert_eq!(numbers.len(), 10_000);
    }

    #[test]
    fn every_byte_of_the_seed_counts() {
        let first = |seed: &[u8]| {
            let mut generator = Generator::new();
            generator.mix(seed);
            generator.next_u64()
        };
        let zeros = [0; 100];
        let mut seen = HashSet::from([first(&[]), first(&zeros)]);
        for at in 0..zeros.len() {
            let mut seed = zeros;
            seed[at] = 1;
            assert!(seen.insert(first(&seed)), "byte {at}");
        }
    }

    #[test]
    fn what_is_mixed_in_later_counts_too() {
        let mut one = Generator::new();
        let mut other = Generator::new();
        assert_eq!(one.next_u64(), other.next_u64());
        one.mix(&[1]);
        assert_ne!(one.next_u64(), other.next_u64());
    }

    #[test]
    fn what_was_given_is_forgotten() {
        let mut generator = Generator::new();
        let given = generator.next_u64();
        let words = [given as u32, (given >> 32) as u32];
        assert!(generator.output.iter().chain(&generator.key).all(|word| !words.contains(word)));
    }
}
