//! Tables that other programs have made, whole and broken.

mod disks;

use disks::{DISKS, Sparse, check};
use wakeful_block::{
    BlockDevice, Error, Geometry,
    fake::Random,
    table::{Entry, Kind, Table, guid},
};

const LINUX: Kind = Kind::Gpt(guid!("0fc63daf-8483-4772-8e79-3d69d8477de4"));

fn disk(number: usize) -> Sparse {
    Sparse::parse(DISKS[number])
}

/// Number, first block, blocks.
fn places(table: &Table) -> Vec<(u32, u64, u64)> {
    table.entries().iter().map(|entry| (entry.index, entry.first, entry.blocks)).collect()
}

fn kinds(table: &Table) -> Vec<u8> {
    let kind = |entry: &Entry| match entry.kind {
        Kind::Mbr(kind) => kind,
        Kind::Gpt(_) => 0,
    };
    table.entries().iter().map(kind).collect()
}

#[test]
fn sfdisk_mbr() {
    let table = check(&disk(0)).unwrap();
    assert!(matches!(table, Table::Mbr { signature: 0x1234_5678, .. }));
    assert_eq!(
        places(&table),
        [(1, 2048, 4096), (2, 6144, 2048), (5, 10240, 2048), (6, 14336, 4096), (7, 20480, 1000)]
    );
    assert_eq!(kinds(&table), [0x0c, 0x83, 0x83, 0x82, 0x83]);
}

#[test]
fn parted_mbr() {
    let table = check(&disk(1)).unwrap();
    assert_eq!(places(&table), [(1, 2048, 6144), (5, 10240, 6144), (6, 18432, 12288)]);
}

#[test]
fn fdisk_mbr_of_large_blocks() {
    let table = check(&disk(2)).unwrap();
    assert_eq!(places(&table), [(1, 256, 1024), (5, 1536, 256), (6, 2048, 256)]);
}

#[test]
fn sgdisk_gpt() {
    let table = check(&disk(3)).unwrap();
    let Table::Gpt { disk, is_backup: false, entries } = &table else { panic!("{table:?}") };
    assert_eq!(*disk, guid!("11111111-2222-3333-4444-555555555555"));
    assert_eq!(places(&table), [(1, 2048, 8192), (3, 20480, 16384), (128, 36864, 94175)]);
    assert_eq!(entries[0].kind, Kind::Gpt(guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")));
    assert_eq!(entries[1].kind, LINUX);
    assert_eq!(entries[1].unique, Some(guid!("aaaaaaaa-0000-4000-8000-000000000003")));
    let names: Vec<String> = entries.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["EFI system", "Daten ä€𝄞", ""]);
}

#[test]
fn parted_gpt() {
    let table = check(&disk(4)).unwrap();
    assert_eq!(places(&table), [(1, 2048, 6144), (2, 8192, 22528)]);
    assert_eq!(format!("{:?}", table.entries()[1].name), "\"root\"");
}

#[test]
fn fdisk_gpt_of_large_blocks() {
    let table = check(&disk(5)).unwrap();
    assert_eq!(places(&table), [(1, 512, 2048), (2, 2560, 4096)]);
}

/// Both end as a sector with a table does, and one has a partition in it, for Windows' sake.
#[test]
fn file_systems_without_table() {
    assert_eq!(check(&disk(6)), Ok(Table::None));
    assert_eq!(check(&disk(7)), Ok(Table::None));
}

#[test]
fn loaders_that_keep_fields_of_fat() {
    let mut disk = disk(6);
    disk.put(446, &[0x80, 0, 0, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 100, 0, 0, 0]);
    assert_eq!(places(&check(&disk).unwrap()), [(1, 8, 100)]);
}

#[test]
fn disks_without_anything() {
    assert_eq!(check(&Sparse::new(512, 0)), Ok(Table::None));
    assert_eq!(check(&Sparse::new(512, 1)), Ok(Table::None));
    assert_eq!(check(&Sparse::new(65536, 100)), Ok(Table::None));
    let mut code = Sparse::new(512, 100);
    code.put(0, &[0xf4; 512]);
    code.put(510, &[0x55, 0xaa]);
    assert_eq!(check(&code), Ok(Table::None), "a boot sector without a table");
    let mut empty = Sparse::new(512, 100);
    empty.put(510, &[0x55, 0xaa]);
    assert_eq!(check(&empty), Ok(Table::Mbr { signature: 0, entries: vec![] }));
}

/// The entry of a partition in a disk's first sector, or in one of the chain.
fn put_record(disk: &mut Sparse, sector: u64, record: u64, kind: u8, first: u32, blocks: u32) {
    let mut bytes = [0; 16];
    bytes[4] = kind;
    bytes[8..12].copy_from_slice(&first.to_le_bytes());
    bytes[12..].copy_from_slice(&blocks.to_le_bytes());
    let start = disk.block_at(sector);
    disk.put(start + 446 + record * 16, &bytes);
    disk.put(start + 510, &[0x55, 0xaa]);
}

#[test]
fn partitions_outside_of_the_disk() {
    for (first, blocks) in [(1, 100), (99, 2), (100, 1), (0, 100), (u32::MAX, u32::MAX)] {
        let mut disk = Sparse::new(512, 100);
        put_record(&mut disk, 0, 2, 0x83, first, blocks);
        assert_eq!(check(&disk), Err(Error::TableOutOfRange), "{first} {blocks}");
    }
    let mut disk = Sparse::new(512, 100);
    put_record(&mut disk, 0, 2, 0x83, 1, 99);
    assert_eq!(places(&check(&disk).unwrap()), [(3, 1, 99)]);
}

#[test]
fn logical_partitions_outside_of_their_container() {
    for (first, blocks) in [(0, 5), (1, 50), (u32::MAX, 1)] {
        let mut disk = Sparse::new(512, 100);
        put_record(&mut disk, 0, 0, 0x0f, 10, 50);
        put_record(&mut disk, 10, 0, 0x83, first, blocks);
        assert_eq!(check(&disk), Err(Error::TableOutOfRange), "{first} {blocks}");
    }
    let mut disk = Sparse::new(512, 100);
    put_record(&mut disk, 0, 0, 0x0f, 10, 50);
    assert_eq!(check(&disk).map(|table| table.entries().len()), Ok(0), "an empty container");
    put_record(&mut disk, 10, 1, 0x05, 50, 5);
    assert_eq!(check(&disk), Err(Error::TableOutOfRange), "a link");
}

#[test]
fn chains_that_bite_their_tail() {
    for to in [0, 5] {
        let mut disk = Sparse::new(512, 100);
        put_record(&mut disk, 0, 0, 0x05, 10, 50);
        put_record(&mut disk, 10, 0, 0x83, 1, 1);
        put_record(&mut disk, 10, 1, 0x05, 5, 5);
        put_record(&mut disk, 15, 0, 0x83, 1, 1);
        put_record(&mut disk, 15, 1, 0x05, to, 5);
        assert_eq!(check(&disk), Err(Error::TableLoop), "{to}");
    }
}

#[test]
fn chains_without_end() {
    let mut disk = Sparse::new(512, 1000);
    put_record(&mut disk, 0, 0, 0x05, 10, 900);
    for link in 0..300 {
        put_record(&mut disk, 10 + u64::from(link) * 2, 0, 0x83, 1, 1);
        put_record(&mut disk, 10 + u64::from(link) * 2, 1, 0x05, link * 2 + 2, 2);
    }
    assert_eq!(check(&disk), Err(Error::TableTooLarge));
    // With 128 the last link is the last.
    put_record(&mut disk, 10 + 127 * 2, 1, 0, 0, 0);
    let table = check(&disk).unwrap();
    assert_eq!(places(&table).last(), Some(&(132, 10 + 127 * 2 + 1, 1)));
}

fn is_backup(disk: &Sparse) -> Result<bool, Error> {
    match check(disk)? {
        Table::Gpt { is_backup, entries, .. } => {
            assert!(entries.len() >= 2);
            Ok(is_backup)
        }
        table => panic!("{table:?}"),
    }
}

/// Each byte of header and entries counts, and what cannot be read is damaged too.
#[test]
fn damaged_tables_have_a_backup() {
    for number in 3..6 {
        let whole = disk(number);
        assert_eq!(is_backup(&whole), Ok(false));
        let last = whole.geometry().blocks - 1;
        for at in (0..92)
            .map(|byte| whole.block_at(1) + byte)
            .chain((0..300).map(|byte| whole.block_at(2) + byte))
        {
            let mut disk = whole.clone();
            disk.put(at, &[!disk.bytes(at, 1)[0]]);
            assert_eq!(is_backup(&disk), Ok(true), "byte {at:#x}");
        }
        for block in [1, 2] {
            let mut disk = whole.clone();
            disk.bad.insert(block);
            assert_eq!(is_backup(&disk), Ok(true));
            disk.bad.insert(last);
            assert_eq!(check(&disk), Err(Error::TableDamaged));
        }
        let mut disk = whole.clone();
        let at = disk.block_at(last);
        disk.put(at, b"X");
        assert_eq!(is_backup(&disk), Ok(false));
    }
}

/// A disk that has grown since: the header says where the other table is, if only the entries are damaged.
#[test]
fn disks_that_grow_and_shrink() {
    let mut grown = disk(3);
    grown.geometry = Geometry::new(512, grown.geometry.blocks * 2).unwrap();
    assert_eq!(is_backup(&grown), Ok(false));
    grown.put(1024, b"X");
    assert_eq!(is_backup(&grown), Ok(true));
    let mut shrunk = disk(3);
    shrunk.geometry = Geometry::new(512, shrunk.geometry.blocks / 2).unwrap();
    assert_eq!(check(&shrunk), Err(Error::TableDamaged));
}

/// With the right checksums, so that it is meant.
#[test]
fn gpt_out_of_range() {
    for (first, last) in
        [(0_u64, 100_u64), (33, 100), (100, 99), (100, 131_039), (100, u64::MAX), (u64::MAX, 0)]
    {
        let mut disk = disk(3);
        disk.put(1024 + 32, &first.to_le_bytes());
        disk.put(1024 + 40, &last.to_le_bytes());
        disk.seal();
        assert_eq!(check(&disk), Err(Error::TableOutOfRange), "{first} {last}");
    }
}

#[test]
fn gpt_with_entries_of_other_sizes() {
    for (count, size) in [(32_u32, 512_u32), (4, 4096), (2, 8192), (3, 1024), (64, 256)] {
        let mut disk = disk(3);
        let entry = disk.bytes(1024, 128);
        disk.put(1024 + 256, &[0; 128]);
        disk.put(512 + 80, &count.to_le_bytes());
        disk.put(512 + 84, &size.to_le_bytes());
        disk.put(1024 + u64::from((count - 1) * size), &entry);
        disk.seal();
        let table = check(&disk).unwrap();
        assert_eq!(places(&table), [(1, 2048, 8192), (count, 2048, 8192)], "{count} of {size}");
    }
}

#[test]
fn gpt_that_is_too_large() {
    for (count, size) in [(1025_u32, 128_u32), (1024, 2048), (u32::MAX, 128), (0x0200_0000, 128)] {
        let mut disk = disk(3);
        disk.put(512 + 80, &count.to_le_bytes());
        disk.put(512 + 84, &size.to_le_bytes());
        disk.seal();
        assert_eq!(check(&disk), Err(Error::TableTooLarge), "{count} of {size}");
    }
    for size in [0_u32, 1, 64, 129, 192, u32::MAX] {
        let mut disk = disk(3);
        disk.put(512 + 84, &size.to_le_bytes());
        disk.seal();
        assert_eq!(is_backup(&disk), Ok(true), "entries of {size}");
    }
}

/// Headers may be longer than they are today, up to a block, and all of them is summed.
#[test]
fn gpt_with_a_longer_header() {
    let mut disk = disk(3);
    disk.put(512 + 12, &512_u32.to_le_bytes());
    disk.seal();
    assert_eq!(is_backup(&disk), Ok(false));
    disk.put(512 + 511, b"X");
    assert_eq!(is_backup(&disk), Ok(true));
    disk.put(512 + 12, &513_u32.to_le_bytes());
    disk.seal();
    assert_eq!(is_backup(&disk), Ok(true));
}

/// What was a GPT disk before a file system was made on all of it is none any more.
#[test]
fn gpt_without_its_protection() {
    let mut disk = disk(3);
    disk.put(450, &[0]);
    assert_eq!(check(&disk).map(|table| places(&table)), Ok(vec![]));
    let fat = Sparse::parse(DISKS[6]);
    let sector = fat.bytes(0, 512);
    disk.put(0, &sector);
    assert_eq!(check(&disk), Ok(Table::None));
}

#[test]
fn names_that_are_no_text() {
    let mut disk = disk(3);
    let units: Vec<u8> =
        [0x41_u16, 0xd800, 0x42, 0x1b].iter().flat_map(|unit| unit.to_le_bytes()).collect();
    disk.put(1024 + 56, &units);
    disk.put(1024 + 64, &[0; 64]);
    disk.seal();
    let name = check(&disk).unwrap().entries()[0].name;
    assert_eq!(name.to_string(), "A\u{fffd}B\u{1b}");
    assert_eq!(format!("{name:?}"), "\"A\u{fffd}B\\u{1b}\"");
}

/// Breaks it, a little.
fn mutate(disk: &mut Sparse, random: &mut Random) {
    let size = u64::from(disk.geometry.block_size);
    for _ in 0..=random.below(6) {
        let known: Vec<u64> = disk.blocks.keys().copied().collect();
        let Some(block) = known.get(random.below(known.len() as u64) as usize).copied() else {
            return;
        };
        // Mostly where something stands: in the table of the first sector, in the header, in the first entries.
        let within = match (block, random.below(4)) {
            (_, 0) => random.below(size),
            (0, _) => 446 + random.below(66),
            (_, _) => random.below(150),
        };
        let at = block * size + within.min(size - 8);
        let number = match random.below(8) {
            0 => 0,
            1 => random.below(16),
            2 => random.below(disk.geometry.blocks * 2 + 1),
            3 => u64::MAX - random.below(3),
            4 => 1 << random.below(64),
            5 => disk.geometry.blocks.wrapping_sub(random.below(3)),
            _ => random.number(),
        };
        match random.below(8) {
            0..3 => disk.put(at, &number.to_le_bytes()[..1]),
            3 => disk.put(at / 4 * 4, &number.to_le_bytes()[..4]),
            4 => disk.put(at / 8 * 8, &number.to_le_bytes()),
            5 => {
                let other = random.below(disk.geometry.blocks);
                let bytes = disk.blocks[&block].clone();
                disk.blocks.insert(other, bytes);
            }
            6 => _ = disk.bad.insert(block),
            _ => {
                let blocks = random.below(disk.geometry.blocks * 2 + 2);
                disk.geometry = Geometry::new(disk.geometry.block_size, blocks).unwrap();
            }
        }
    }
    if random.below(2) == 0 {
        disk.seal();
    }
}

/// Of broken disks nothing worse comes than an error, in bounded work; and all outcomes come.
#[test]
fn disks_broken_by_a_die() {
    let seed: u64 = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let count: usize = std::env::var("COUNT").map_or(100_000, |count| count.parse().unwrap());
    println!("SEED={seed} COUNT={count}");
    let whole: Vec<Sparse> = DISKS.iter().map(|text| Sparse::parse(text)).collect();
    let mut random = Random::new(seed);
    let mut outcomes = std::collections::BTreeMap::new();
    for number in 0..count {
        let mut disk = whole[number % whole.len()].clone();
        mutate(&mut disk, &mut random);
        let outcome = match check(&disk) {
            Ok(Table::None) => "none",
            Ok(Table::Mbr { .. }) => "mbr",
            Ok(Table::Gpt { is_backup: false, .. }) => "gpt",
            Ok(Table::Gpt { is_backup: true, .. }) => "backup",
            Err(Error::TableDamaged) => "damaged",
            Err(Error::TableOutOfRange) => "out of range",
            Err(Error::TableLoop) => "loop",
            Err(Error::TableTooLarge) => "too large",
            Err(Error::Device) => "device",
            Err(error) => panic!("{error}"),
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
    if count >= 100_000 {
        assert_eq!(outcomes.len(), 9, "{outcomes:?}");
    }
}
