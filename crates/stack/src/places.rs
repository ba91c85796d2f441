//! Places with numbers, for things that come and go; and boxes. Both say so when there is no memory.

use alloc::{boxed::Box, vec::Vec};
use core::{
    mem,
    ops::{Index, IndexMut},
};

/// Things, each in a place with a number.
#[derive(Debug)]
pub(crate) struct Places<T> {
    places: Vec<Place<T>>,
    /// The free place that is taken next, if there is one.
    free: Option<u32>,
    len: usize,
    /// Memory is given back when no more things than that are left.
    trim_at: usize,
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// And the free place after it.
    Free(Option<u32>),
}

impl<T> Places<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: None, len: 0, trim_at: 0 }
    }

    /// How many things there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes a place. `None` if there is no memory for one.
    pub(crate) fn insert(&mut self, thing: T) -> Option<u32> {
        let number = match self.free {
            Some(number) => {
                let place = self.places.get_mut(number as usize)?;
                if let Place::Free(next) = mem::replace(place, Place::Taken(thing)) {
                    self.free = next;
                }
                number
            }
            None => {
                let number = u32::try_from(self.places.len()).ok()?;
                self.places.try_reserve(1).ok()?;
                self.places.push(Place::Taken(thing));
                number
            }
        };
        self.len += 1;
        self.trim_at = self.trim_at.max(self.len / 8);
        Some(number)
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        match self.places.get(number as usize)? {
            Place::Taken(thing) => Some(thing),
            Place::Free(_) => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        match self.places.get_mut(number as usize)? {
            Place::Taken(thing) => Some(thing),
            Place::Free(_) => None,
        }
    }

    /// No place has this number, nor a higher one.
    pub(crate) fn end(&self) -> usize {
        self.places.len()
    }

    /// Takes a thing out. Memory is given back when few are left of many.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let place = self.places.get_mut(number as usize)?;
        if let Place::Free(_) = place {
            return None;
        }
        let Place::Taken(thing) = mem::replace(place, Place::Free(self.free)) else { return None };
        self.free = Some(number);
        self.len -= 1;
        if self.places.len() > FEW && self.len <= self.trim_at {
            self.trim();
        }
        Some(thing)
    }

    /// Gives back the free places behind the last thing. The lower ones of the others are taken first.
    #[cold]
    fn trim(&mut self) {
        while let Some(Place::Free(_)) = self.places.last() {
            self.places.pop();
        }
        self.places.shrink_to(FEW);
        // The last thing may be far behind the others. So this is done again when half of them are gone.
        (self.free, self.trim_at) = (None, self.len / 2);
        for (number, place) in self.places.iter_mut().enumerate().rev() {
            if let Place::Free(next) = place {
                *next = self.free.replace(number as u32);
            }
        }
    }

    /// All, with their numbers.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(number, place)| match place {
            Place::Taken(thing) => Some((number as u32, thing)),
            Place::Free(_) => None,
        })
    }
}

impl<T> Index<u32> for Places<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        self.get(number).expect("nobody keeps the number of a free place")
    }
}

impl<T> IndexMut<u32> for Places<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        self.get_mut(number).expect("nobody keeps the number of a free place")
    }
}

/// So many places are kept when nothing is in them.
pub(crate) const FEW: usize = 64;

/// A box, or `None` if there is no memory: `Box::try_new` is not stable yet.
#[expect(unsafe_code, reason = "there is no other way to a box that does not panic")]
pub(crate) fn try_box<T>(thing: T) -> Option<Box<T>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(1).ok()?;
    memory.push(thing);
    let array: Box<[T; 1]> = memory.into_boxed_slice().try_into().ok()?;
    // SAFETY: an array of one has the size and the alignment of what is in it (Rust's reference, "Type
    // layout"), so that its box is one of that.
    Some(unsafe { Box::from_raw(Box::into_raw(array).cast::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_again() {
        let mut places = Places::new();
        for number in 0..100 {
            assert_eq!(places.insert(number), Some(number));
        }
        assert_eq!((places.remove(7), places.remove(7), places.remove(100)), (Some(7), None, None));
        assert_eq!((places.remove(9), places.len()), (Some(9), 98));
        assert_eq!(
            (places.insert(90), places.insert(70), places.insert(1000)),
            (Some(9), Some(7), Some(100))
        );
        assert_eq!((places[9], places.get_mut(7)), (90, Some(&mut 70)));
        let sum: u32 = places.iter_mut().map(|(number, _)| number).sum();
        assert_eq!(sum, (0..=100).sum());
        // Even if those with high numbers stay longest.
        for last in [0, 63, 199] {
            let mut places = Places::new();
            (0..200).for_each(|number| assert_eq!(places.insert(number), Some(number)));
            for number in (0..200).filter(|&number| number != last).chain([last]) {
                assert_eq!(places.remove(number), Some(number));
            }
            assert!(places.len() == 0 && places.end() <= FEW && places.places.capacity() <= FEW);
        }
        // Those that stay keep their numbers, and the memory of those behind them is given back.
        for number in (0..=100).rev().filter(|number| ![3, 20].contains(number)) {
            assert!(places.remove(number).is_some());
        }
        assert_eq!((places.len(), places[3], places[20]), (2, 3, 20));
        assert!(places.end() <= 100 / 8 + 21 && places.places.capacity() <= FEW);
        let next = places.insert(0).unwrap();
        assert!(next < 21 && places.insert(0) != Some(next));
    }

    #[test]
    fn what_is_boxed_is_dropped() {
        let thing = alloc::rc::Rc::new(5);
        let mut boxed = try_box((alloc::rc::Rc::clone(&thing), 1)).unwrap();
        boxed.1 += 1;
        assert_eq!((*boxed.0, boxed.1), (5, 2));
        drop(boxed);
        assert_eq!(alloc::rc::Rc::strong_count(&thing), 1);
    }
}
