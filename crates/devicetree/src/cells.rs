//! Numbers and strings in the values of properties (§2.2.4).

// Numbers are loaded byte by byte, a dozen instructions each, as nothing says that they are
// aligned. That is worth a call.

/// The big-endian 32-bit number at a byte offset.
#[inline(never)]
pub(crate) fn u32_at(value: &[u8], at: usize) -> Option<u32> {
    let bytes = value.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The big-endian 64-bit number at a byte offset.
pub(crate) fn u64_at(value: &[u8], at: usize) -> Option<u64> {
    let high = u32_at(value, at)?;
    let low = u32_at(value, at + 4)?;
    Some(u64::from(high) << 32 | u64::from(low))
}

/// Whether two byte strings are the same. Mostly their lengths differ already; the comparison
/// itself is out of line, as with a constant it is otherwise unrolled byte by byte.
#[inline(always)]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    #[inline(never)]
    fn same_bytes(a: &[u8], b: &[u8]) -> bool {
        a == b
    }
    a.len() == b.len() && same_bytes(a, b)
}

/// A value that is one number, of one or two cells.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => u32_at(value, 0).map(u64::from),
        8 => u64_at(value, 0),
        _ => None,
    }
}

/// How many cells an address and a size take in the `reg` of a node's children.
#[derive(Clone, Copy)]
pub(crate) struct Cells {
    pub(crate) address: u8,
    pub(crate) size: u8,
}

impl Cells {
    /// What a node has that does not say, §2.3.5.
    pub(crate) const DEFAULT: Self = Self { address: 2, size: 1 };

    /// From `#address-cells` and `#size-cells`. No number is refused here: one that is too large
    /// makes the `reg` of the children unreadable.
    pub(crate) fn new(address: Option<&[u8]>, size: Option<&[u8]>) -> Self {
        let count = |value: Option<&[u8]>, default| match value.and_then(|v| u32_at(v, 0)) {
            Some(count) => u8::try_from(count).unwrap_or(u8::MAX),
            None => default,
        };
        Self {
            address: count(address, Self::DEFAULT.address),
            size: count(size, Self::DEFAULT.size),
        }
    }

    /// Takes one address and size from the front of a `reg`. `None` if it is not whole, takes no
    /// bytes at all or has a number of more than 64 bits.
    #[inline(never)]
    pub(crate) fn take_pair(self, reg: &mut &[u8]) -> Option<(u64, u64)> {
        if self.address == 0 && self.size == 0 {
            return None;
        }
        Some((take(reg, self.address)?, take(reg, self.size)?))
    }
}

/// Takes a number of so many cells from the front of a value.
#[inline(never)]
pub(crate) fn take(value: &mut &[u8], cells: u8) -> Option<u64> {
    let mut number = 0_u64;
    for _ in 0..cells {
        let cell = u32_at(value, 0)?;
        *value = &value[4..];
        if number >> 32 != 0 {
            return None;
        }
        number = number << 32 | u64::from(cell);
    }
    Some(number)
}

/// The strings of a list, each without its NUL.
pub(crate) fn strings(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == 0).filter(|s| !s.is_empty())
}

/// The first string of a value, "" if there is none.
#[inline(never)]
pub(crate) fn first_string(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or(&[])
}

/// The first string of a value as text, "" if it is not UTF-8.
pub(crate) fn text(value: &[u8]) -> &str {
    core::str::from_utf8(first_string(value)).unwrap_or("")
}
