//! What the compiler calls to copy, fill and compare bytes, against what each single byte must be.
//!
//! All memory is touched byte by byte and volatile, so that nothing here becomes one of those calls.

use alloc::{format, vec, vec::Vec};
use core::{ffi::c_int, hint::black_box, ops::Range};

use wakeful::println;
use wakeful_hal::timer;

use crate::{Outcome, ensure, heap::Random};

type Move = unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8;
type Compare = unsafe extern "C" fn(*const u8, *const u8, usize) -> c_int;

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: c_int, count: usize) -> *mut u8;
    fn memcmp(one: *const u8, other: *const u8, count: usize) -> c_int;
    fn bcmp(one: *const u8, other: *const u8, count: usize) -> c_int;
    /// The page below the stack of the boot hart, which is not mapped.
    static _stack_guard: u8;
    static _stack: u8;
}

/// Bytes on each side of what may be written that must stay as they are.
const GUARD: usize = 16;

/// Memory that starts at a multiple of 8 and is only touched by the byte.
struct Area(Vec<u64>);

impl Area {
    fn new(bytes: usize) -> Self {
        Self(vec![0; bytes / 8])
    }

    fn at(&mut self, index: usize) -> *mut u8 {
        assert!(index <= 8 * self.0.len());
        self.0.as_mut_ptr().cast::<u8>().wrapping_add(index)
    }

    fn read(&mut self, index: usize) -> u8 {
        // SAFETY: `at` has checked the index, but for one behind the end, which nobody asks for.
        unsafe { self.at(index).read_volatile() }
    }

    fn write(&mut self, index: usize, byte: u8) {
        // SAFETY: as in `read`.
        unsafe { self.at(index).write_volatile(byte) };
    }

    fn fill(&mut self, range: Range<usize>) {
        range.for_each(|index| self.write(index, pattern(index)));
    }
}

/// Neighbours differ, and so do bytes at a distance of any power of two.
fn pattern(index: usize) -> u8 {
    (index.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// Every size up to 300 at every alignment, every overlap, every first difference, and large ones.
pub(crate) fn all() -> Outcome {
    copies()?;
    overlaps()?;
    fills()?;
    comparisons()?;
    edges()?;
    large()
}

fn copies() -> Outcome {
    let mut area = Area::new(1024);
    for count in 0..=300 {
        for (to, from) in alignments() {
            let behind = (GUARD + 8 + count + GUARD).next_multiple_of(8);
            moves(memcpy, &mut area, behind + to, GUARD + from, count)?;
            moves(memcpy, &mut area, GUARD + to, behind + from, count)?;
            moves(memmove, &mut area, behind + to, GUARD + from, count)?;
        }
    }
    Ok(())
}

fn overlaps() -> Outcome {
    let mut area = Area::new(1024);
    let sizes = (0..=100).chain([127, 128, 129, 191, 200, 256, 300]);
    for count in sizes {
        for from in 96..104_usize {
            for distance in -70..=70 {
                moves(memmove, &mut area, from.strict_add_signed(distance), from, count)?;
            }
        }
    }
    Ok(())
}

/// Has `function` move `count` bytes within `area`, and looks at them and what is around them.
fn moves(function: Move, area: &mut Area, to: usize, from: usize, count: usize) -> Outcome {
    let around = to.min(from) - GUARD..to.max(from) + count + GUARD;
    area.fill(around.clone());
    let start = area.at(to);
    // SAFETY: `around` is within the area; there is no overlap where `function` is memcpy.
    let result = unsafe { black_box(function)(start, area.at(from), count) };
    let what = || format!("{count} bytes from {from} to {to}");
    ensure(result == start, || format!("{}: the result is {result:p}", what()))?;
    for index in around {
        let moved = (to..to + count).contains(&index);
        let expected = pattern(if moved { index - to + from } else { index });
        let found = area.read(index);
        ensure(found == expected, || {
            format!("{}: {found:#x} instead of {expected:#x} at {index}", what())
        })?;
    }
    Ok(())
}

fn fills() -> Outcome {
    let mut area = Area::new(512);
    for count in 0..=300 {
        for to in GUARD..GUARD + 8 {
            // Only the lowest byte counts.
            for byte in [0, 1, 0xa5, -1, 0x1200, 0x1280] {
                area.fill(0..to + count + GUARD);
                let start = area.at(to);
                // SAFETY: within the area.
                let result = unsafe { black_box(memset)(start, byte, count) };
                let what = || format!("{count} times {byte:#x} to {to}");
                ensure(result == start, || format!("{}: the result is {result:p}", what()))?;
                for index in 0..to + count + GUARD {
                    let filled = (to..to + count).contains(&index);
                    let expected = if filled { byte as u8 } else { pattern(index) };
                    let found = area.read(index);
                    ensure(found == expected, || {
                        format!("{}: {found:#x} instead of {expected:#x} at {index}", what())
                    })?;
                }
            }
        }
    }
    Ok(())
}

fn comparisons() -> Outcome {
    let (mut area, mut other_area) = (Area::new(512), Area::new(512));
    for count in (0..=72).chain([127, 128, 129, 300]) {
        for (one, other) in alignments() {
            // What is outside differs.
            area.write(one + count, 1);
            other_area.write(other + count, 2);
            for index in 0..count {
                area.write(one + index, pattern(index));
                other_area.write(other + index, pattern(index));
            }
            let compare = |function: Compare, area: &mut Area, other_area: &mut Area| {
                // SAFETY: both are within their areas.
                unsafe { black_box(function)(area.at(one), other_area.at(other), count) }
            };
            let check = |expected: c_int, area: &mut Area, other_area: &mut Area| {
                let found = compare(memcmp, area, other_area);
                let differ = compare(bcmp, area, other_area) != 0;
                ensure(found.signum() == expected && differ == (expected != 0), || {
                    format!("{count} bytes at {one} and {other}: {found}, {differ}, not {expected}")
                })
            };
            check(0, &mut area, &mut other_area)?;
            for index in 0..count {
                // The first difference decides, as numbers without a sign; the next one is opposite.
                for (low, high, sign) in [(0x7f, 0x80, -1), (0xff, 0x00, 1), (0x10, 0x11, -1)] {
                    area.write(one + index, low);
                    other_area.write(other + index, high);
                    if index + 1 < count {
                        area.write(one + index + 1, high);
                        other_area.write(other + index + 1, low);
                    }
                    check(sign, &mut area, &mut other_area)?;
                }
                for index in index..count.min(index + 2) {
                    area.write(one + index, pattern(index));
                    other_area.write(other + index, pattern(index));
                }
            }
        }
    }
    Ok(())
}

/// Nothing is read from the page behind or before the one that a source is in.
fn edges() -> Outcome {
    let mut area = Area::new(512);
    let end = (&raw const _stack_guard).cast_mut();
    let start = &raw const _stack;
    for count in 1..=300 {
        for to in GUARD..GUARD + 8 {
            for from in [end.wrapping_sub(count).cast_const(), start] {
                // SAFETY: one source is the top of the stack for faults, of which there are none, the
                // other the bottom of this hart's stack, which is not that full.
                unsafe { black_box(memcpy)(area.at(to), from, count) };
                // SAFETY: as above.
                let same = unsafe { black_box(memcmp)(from, area.at(to), count) } == 0;
                for index in 0..count {
                    // SAFETY: as above.
                    let expected = unsafe { from.add(index).read_volatile() };
                    ensure(same && area.read(to + index) == expected, || {
                        format!("{count} bytes from {from:p} to {to}")
                    })?;
                }
            }
        }
    }
    Ok(())
}

fn large() -> Outcome {
    let seed = timer::now() | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut area = Area::new(1 << 16);
    for _ in 0..100 {
        let count = random.below(20_000);
        let (to, from) = (GUARD + random.below(20_000), GUARD + random.below(20_000));
        moves(memmove, &mut area, to, from, count)?;
        moves(memcpy, &mut area, 40_040 + random.below(64), from.min(20_000), count)?;
    }
    Ok(())
}

fn alignments() -> impl Iterator<Item = (usize, usize)> {
    (0..8).flat_map(|one| (0..8).map(move |other| (one, other)))
}
