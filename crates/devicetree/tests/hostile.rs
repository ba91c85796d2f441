//! Damaged trees: whatever the bytes are, there is an answer.

#![expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what this is about")]

use std::ops::Range;

use arrayvec::ArrayVec;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wakeful_devicetree::{Error, MAX_BLOB_LEN, Machine, PAGE_SIZE};

const BLOBS: [&[u8]; 5] = [
    include_bytes!("data/virt-1.dtb"),
    include_bytes!("data/virt-4.dtb"),
    include_bytes!("data/virt-numa.dtb"),
    include_bytes!("data/sifive-u.dtb"),
    include_bytes!("data/jh7110.dtb"),
];

/// Parses, and uses what came of it.
fn parse(blob: &[u8]) -> Result<Machine<'_>, Error> {
    let result = Machine::parse(blob);
    match &result {
        Ok(machine) => {
            check_free(machine, &[0x8020_0000..0x8030_0000]);
            check_sorted(&machine.memory);
            check_sorted(&machine.reserved);
            assert!(!machine.memory.is_empty() && !machine.harts.is_empty());
            for hart in &machine.harts {
                assert!(hart.isa.to_string().starts_with("rv64"));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    result
}

#[test]
fn every_truncation_is_refused() {
    for blob in BLOBS {
        parse(blob).unwrap();
        for len in 0..blob.len() {
            let there = len;
            let says = if len < 40 { 40 } else { blob.len() };
            assert_eq!(parse(&blob[..len]), Err(Error::CutShort { says, there }));
            // With a header that agrees.
            if len >= 40 {
                let mut blob = blob[..len].to_vec();
                blob[4..8].copy_from_slice(&(len as u32).to_be_bytes());
                parse(&blob).unwrap_err();
            }
        }
    }
}

#[test]
fn every_byte_may_be_anything() {
    for blob in [BLOBS[0], BLOBS[4]] {
        let mut blob = blob.to_vec();
        for at in 0..blob.len() {
            let kept = blob[at];
            for byte in [0, 1, 2, 3, 4, 9, 0x7f, 0x80, 0xff, kept ^ 1, kept ^ 0x20] {
                blob[at] = byte;
                let _ = parse(&blob);
            }
            blob[at] = kept;
        }
    }
}

/// Where a random place of a blob is, mostly in the structure block.
fn word_at(index: &Index, blob: &[u8]) -> usize {
    index.index(blob.len() / 4) * 4
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(mut bytes in vec(any::<u8>(), 0..2000), header in any::<bool>()) {
        if header && bytes.len() >= 40 {
            bytes[..40].copy_from_slice(&BLOBS[0][..40]);
            let len = bytes.len() as u32;
            bytes[4..8].copy_from_slice(&len.to_be_bytes());
        }
        let _ = parse(&bytes);
    }

    #[test]
    fn mutated_bytes(
        blob in 0..BLOBS.len(),
        changes in vec((any::<Index>(), any::<u8>()), 1..20),
    ) {
        let mut blob = BLOBS[blob].to_vec();
        for (at, byte) in changes {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        check_against_dtoolkit(&blob);
    }

    #[test]
    fn mutated_words(
        blob in 0..BLOBS.len(),
        changes in vec(
            (any::<Index>(), prop_oneof![0_u32..16, any::<u32>(), 0_u32..6000, Just(u32::MAX)]),
            1..8,
        ),
    ) {
        let mut blob = BLOBS[blob].to_vec();
        for (at, word) in changes {
            let at = word_at(&at, &blob);
            blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        check_against_dtoolkit(&blob);
    }

    /// Pieces of one tree put into another, or taken out.
    #[test]
    fn spliced(
        into in 0..BLOBS.len(),
        from in 0..BLOBS.len(),
        splices in vec(any::<[Index; 4]>(), 1..4),
    ) {
        let mut blob = BLOBS[into].to_vec();
        let from = BLOBS[from];
        for [start, end, source, source_end] in splices {
            let (a, b) = (word_at(&start, &blob), word_at(&end, &blob));
            let (c, d) = (word_at(&source, from), word_at(&source_end, from));
            blob.splice(a.min(b)..a.max(b), from[c.min(d)..c.max(d)].iter().copied());
        }
        if blob.len() >= 8 {
            let len = blob.len() as u32;
            blob[4..8].copy_from_slice(&len.to_be_bytes());
        }
        check_against_dtoolkit(&blob);
    }

    #[test]
    fn free_memory_is_free(
        memory in vec(any_range(), 0..6),
        reserved in vec(any_range(), 0..12),
        extra in vec(any_range(), 0..6),
        initrd in proptest::option::of(any_range()),
    ) {
        let mut machine = Machine::new();
        // Only in order and apart, as `read` leaves them.
        machine.memory = apart(memory);
        machine.reserved = apart(reserved);
        machine.initrd = initrd;
        check_free(&machine, &extra);
    }
}

/// What dtoolkit finds well formed must not be refused as damaged.
fn check_against_dtoolkit(blob: &[u8]) {
    let _ = parse(blob);
    let Some(len) = blob.get(4..8) else { return };
    let len = u32::from_be_bytes(len.try_into().unwrap()) as usize;
    let Some(blob) = blob.get(..len) else { return };
    if len > MAX_BLOB_LEN || dtoolkit::fdt::Fdt::new(blob).is_err() {
        return;
    }
    // It does not look at the size of the structure block, only at that of the blob.
    let mut blob = blob.to_vec();
    let start = u32::from_be_bytes(blob[8..12].try_into().unwrap());
    blob[36..40].copy_from_slice(&(len as u32 - start).to_be_bytes());
    let result = parse(&blob);
    assert!(
        !matches!(
            result,
            Err(Error::Damaged { .. }
                | Error::BadHeader { .. }
                | Error::NotADeviceTree { .. }
                | Error::CutShort { .. }
                | Error::UnlikelySize { .. }
                | Error::Version { .. })
        ),
        "{result:?}"
    );
}

/// Small numbers near each other, so that ranges touch, overlap and share pages; some at the very
/// end of the address space.
fn any_range() -> impl Strategy<Value = Range<u64>> {
    let small = (0_u64..0x40_000, 0_u64..0x8_000).prop_map(|(start, len)| start..start + len);
    let pages = (0_u64..0x40, 0_u64..8).prop_map(|(start, len)| start << 12..(start + len) << 12);
    let high = (0_u64..0x4000).prop_map(|back| u64::MAX - back..u64::MAX);
    prop_oneof![4 => small, 4 => pages, 1 => high]
}

fn apart<const N: usize>(mut ranges: Vec<Range<u64>>) -> ArrayVec<Range<u64>, N> {
    ranges.sort_by_key(|range| range.start);
    let mut apart = ArrayVec::<Range<u64>, N>::new();
    for range in ranges {
        if !range.is_empty() && apart.last().is_none_or(|last| last.end < range.start) {
            apart.push(range);
        }
    }
    apart
}

fn check_sorted(ranges: &[Range<u64>]) {
    assert!(ranges.iter().all(|range| !range.is_empty()));
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
}

/// Compares [`Machine::free_memory`] with a slow way that is easy to believe.
fn check_free(machine: &Machine<'_>, extra: &[Range<u64>]) {
    let mut taken: Vec<Range<u64>> = machine.reserved.to_vec();
    taken.extend(extra.iter().cloned());
    taken.extend(machine.initrd.clone());
    if let Some(image) = extra.first() {
        for ram in &machine.memory {
            let firmware = machine.reserved.iter().any(|range| range.contains(&ram.start));
            if ram.contains(&image.start) && !firmware {
                taken.push(ram.start..image.start);
            }
        }
    }
    taken.retain(|range| !range.is_empty());

    // Between two neighbours of all the borders everything is alike.
    let mut expected: Vec<Range<u64>> = Vec::new();
    for ram in &machine.memory {
        let mut borders = vec![ram.start, ram.end];
        borders.extend(taken.iter().flat_map(|range| [range.start, range.end]));
        borders.retain(|border| (ram.start..=ram.end).contains(border));
        borders.sort();
        borders.dedup();
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for pair in borders.windows(2) {
            if taken.iter().any(|range| range.contains(&pair[0])) {
                continue;
            }
            match gaps.last_mut() {
                Some(last) if last.end == pair[0] => last.end = pair[1],
                _ => gaps.push(pair[0]..pair[1]),
            }
        }
        for gap in gaps {
            let start = gap.start.checked_next_multiple_of(PAGE_SIZE);
            let end = gap.end / PAGE_SIZE * PAGE_SIZE;
            expected.extend(start.map(|start| start..end).filter(|range| !range.is_empty()));
        }
    }
    expected.truncate(64);
    assert_eq!(machine.free_memory(extra)[..], expected);
}
