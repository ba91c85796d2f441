//! First in, first out, in place.

/// A ring of `N` bytes, a power of two.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    /// Counts of bytes ever taken and put; they wrap.
    taken: usize,
    put: usize,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Ring<N> {
    /// An empty ring: all zeros.
    pub const fn new() -> Self {
        assert!(N.is_power_of_two());
        Self { bytes: [0; N], taken: 0, put: 0 }
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.taken == self.put
    }

    /// Puts a byte; returns whether there was room.
    pub fn push(&mut self, byte: u8) -> bool {
        let room = self.put.wrapping_sub(self.taken) < N;
        if room {
            self.bytes[self.put % N] = byte;
            self.put = self.put.wrapping_add(1);
        }
        room
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        let byte = (!self.is_empty()).then(|| self.bytes[self.taken % N])?;
        self.taken = self.taken.wrapping_add(1);
        Some(byte)
    }

    /// Lends its memory, while it is empty, to a copy of at most `N` bytes.
    pub fn copy(&mut self, text: &[u8]) -> &[u8] {
        debug_assert!(self.is_empty());
        let copied = self.bytes.iter_mut().zip(text).map(|(to, &from)| *to = from).count();
        &self.bytes[..copied]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lends_its_memory() {
        let mut ring = Ring::<4>::new();
        assert_eq!(ring.copy(b"ab"), b"ab");
        assert_eq!(ring.copy(b"abcdef"), b"abcd");
        assert!(ring.is_empty() && ring.pop().is_none());
    }

    proptest! {
        #[test]
        fn behaves_as_a_queue(steps in prop::collection::vec(prop::option::of(any::<u8>()), 0..200)) {
            // Near the end of counting, so that the counts wrap.
            let mut ring = Ring::<8> { taken: usize::MAX - 50, put: usize::MAX - 50, ..Ring::new() };
            let mut model = VecDeque::new();
            for step in steps {
                match step {
                    Some(byte) => {
                        let room = model.len() < 8;
                        prop_assert_eq!(ring.push(byte), room);
                        if room {
                            model.push_back(byte);
                        }
                    }
                    None => prop_assert_eq!(ring.pop(), model.pop_front()),
                }
                prop_assert_eq!(ring.is_empty(), model.is_empty());
            }
        }
    }
}
