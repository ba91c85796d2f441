//! Numbers in bytes. What is not there is an error of the volume.

use crate::Error;

/// A little-endian number of 16 bits.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Error> {
    Ok(u16::from_le_bytes(array_at(bytes, at)?))
}

/// A little-endian number of 32 bits.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    Ok(u32::from_le_bytes(array_at(bytes, at)?))
}

/// A big-endian number of 32 bits, as journals have them.
pub(crate) fn be32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    Ok(u32::from_be_bytes(array_at(bytes, at)?))
}

/// A number whose halves are in two places.
pub(crate) fn u64_of(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Error> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.copied().ok_or(Error::Corrupt)
}
