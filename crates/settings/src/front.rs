//! The block before the pages, which says that there is a store, and what it is like.

use alloc::vec::Vec;

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use wakeful_block::{BlockDevice, Partition};

use crate::Error;

/// The most pages that a store uses: what it costs to look for a key grows with them.
pub(crate) const MAX_PAGES: u64 = 64;

/// The least: one to write to, and an empty one to move to.
const MIN_PAGES: u64 = 2;

const MAGIC: [u8; 8] = *b"wakefulS";

/// Grows whenever a store could not be read by the program of before: with the layout of keys, and that of
/// `sequential-storage`, which is the one of its version 7 and 8.
const VERSION: u32 = 1;

/// Places in the block. All numbers have their lowest byte first.
const VERSION_AT: usize = 8;
const PAGE_AT: usize = 12;
const PAGES_AT: usize = 16;
const CHECKSUM_AT: usize = 20;

static CHECKSUM: Crc<u32, Table<0>> = Crc::<u32, Table<0>>::new(&CRC_32_ISO_HDLC);

/// Makes an empty store, and says how many pages it has. Power may fail at any time: there is a store only
/// when the last step is done.
pub(crate) async fn write(device: &impl BlockDevice, page: usize) -> Result<u32, Error> {
    let geometry = device.geometry();
    let pages = pages_of(device, page)?;
    let mut front = zeros(geometry.block_size as usize)?;
    let mut erased = zeros(page)?;
    erased.fill(0xff);

    // Writes that others have dropped end here.
    device.flush().await?;
    device.write(0, &front).await?;
    device.flush().await?;
    let blocks = (page / geometry.block_size as usize) as u64;
    for number in 1..=u64::from(pages) {
        device.write(number * blocks, &erased).await?;
    }
    device.flush().await?;
    front[..8].copy_from_slice(&MAGIC);
    put(&mut front, VERSION_AT, VERSION);
    put(&mut front, PAGE_AT, page as u32);
    put(&mut front, PAGES_AT, pages);
    let checksum = CHECKSUM.checksum(&front[..CHECKSUM_AT]);
    put(&mut front, CHECKSUM_AT, checksum);
    device.write(0, &front).await?;
    device.flush().await?;
    Ok(pages)
}

/// How many pages the store on a device has.
pub(crate) async fn read(device: &impl BlockDevice, page: usize) -> Result<u32, Error> {
    let most = pages_of(device, page)?;
    let mut front = zeros(device.geometry().block_size as usize)?;
    device.flush().await?;
    device.read(0, &mut front).await?;
    if front[..8] != MAGIC {
        return Err(Error::NotFormatted);
    }
    if number(&front, CHECKSUM_AT) != CHECKSUM.checksum(&front[..CHECKSUM_AT]) {
        return Err(Error::Damaged);
    }
    if number(&front, VERSION_AT) != VERSION || number(&front, PAGE_AT) as usize != page {
        return Err(Error::OtherFormat);
    }
    match number(&front, PAGES_AT) {
        pages if u64::from(pages) < MIN_PAGES => Err(Error::Damaged),
        pages if pages > most => Err(Error::TooSmall),
        pages => Ok(pages),
    }
}

/// The pages themselves, as a device.
pub(crate) fn pages<D: BlockDevice>(
    device: D,
    page: usize,
    pages: u32,
) -> Result<Partition<D>, Error> {
    let blocks = (page / device.geometry().block_size as usize) as u64;
    Ok(Partition::new(device, blocks, blocks * u64::from(pages))?)
}

/// For how many pages there is room behind the first one, which the front has for itself.
fn pages_of(device: &impl BlockDevice, page: usize) -> Result<u32, Error> {
    let geometry = device.geometry();
    if page < 512 || !page.is_multiple_of(geometry.block_size as usize) {
        return Err(Error::Device(wakeful_block::Error::Unsupported));
    }
    let pages = (geometry.bytes() / page as u64).saturating_sub(1).min(MAX_PAGES);
    if pages < MIN_PAGES { Err(Error::TooSmall) } else { Ok(pages as u32) }
}

fn zeros(len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| wakeful_block::Error::OutOfMemory)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

fn put(block: &mut [u8], at: usize, number: u32) {
    block[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn number(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*block[at..].first_chunk().expect("a field of the block"))
}
