//! Disks with tables, changed at places that the fuzzer chooses, and with checksums that are right if it wants.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wakeful_block::Geometry;

#[path = "../../tests/disks/mod.rs"]
mod disks;

use disks::{DISKS, Sparse, check};

// A byte that says which disk and whether to seal it, then changes: block, place, length, bytes.
fuzz_target!(|said: &[u8]| {
    let Some((which, changes)) = said.split_first() else { return };
    let mut disk = Sparse::parse(DISKS[*which as usize % DISKS.len()]);
    let block_size = u64::from(disk.geometry.block_size);
    for change in changes.chunks_exact(12) {
        let bytes = change[4..].first_chunk().expect("12 bytes");
        let number = u64::from_le_bytes(*bytes);
        let len = (change[3] % 9) as usize;
        let place = u64::from(u16::from_le_bytes([change[1], change[2]])) % (block_size - 8);
        match change[0] {
            0xff => disk.geometry = Geometry::new(block_size as u32, number >> 16).expect("few blocks"),
            0xfe => _ = disk.bad.insert(number % 200),
            block => {
                let known: Vec<u64> = disk.blocks.keys().copied().collect();
                let block = known.get(block as usize).copied().unwrap_or(block.into());
                disk.put(block * block_size + place, &bytes[..len]);
            }
        }
    }
    if which & 0x80 != 0 {
        disk.seal();
    }
    let _ = check(&disk);
});
