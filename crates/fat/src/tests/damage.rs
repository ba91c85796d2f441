//! Volumes that were not left in peace, by us or by others.

use hadris_fat_raw::FatKind;
use wakeful_block::fake::{self, Disk};

use super::{assert_clean, image};
use crate::{Error, Health, Kind, Options, Volume, detach};

/// FAT12 or FAT16 with clusters of one block: where its tables are, and its data.
struct Layout {
    tables: [usize; 2],
    root: usize,
    data: usize,
}

impl Layout {
    fn of(bytes: &[u8]) -> Self {
        let number = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let (reserved, sectors, entries) = (number(14), number(22), number(17));
        let root = reserved + 2 * sectors;
        Self {
            tables: [reserved * 512, (reserved + sectors) * 512],
            root: root * 512,
            data: root * 512 + entries * 32,
        }
    }
}

fn number(bytes: &[u8], table: usize, cluster: u16) -> u16 {
    let at = table + usize::from(cluster) * 2;
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn set_number(bytes: &mut [u8], table: usize, cluster: u16, value: u16) {
    let at = table + usize::from(cluster) * 2;
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// A file `A` of three clusters from 2 on, `B` of two, a directory `D` with a file; and the mark that somebody is writing.
fn unfinished() -> (Vec<u8>, Layout) {
    let device = Disk::from_bytes(512, image(Kind::Fat16), 1).with_polls(0);
    let volume = super::mount(&device);
    fake::run(async {
        volume.write("A", &[1; 1500]).await?;
        volume.write("B", &[2; 1000]).await?;
        volume.create_dir("D").await?;
        volume.write("D/F", &[3; 100]).await?;
        volume.sync().await
    })
    .unwrap();
    let mut bytes = device.contents();
    let layout = Layout::of(&bytes);
    for table in layout.tables {
        // The bit that says "left in peace".
        set_number(&mut bytes, table, 1, 0x7fff);
    }
    (bytes, layout)
}

fn repaired(bytes: Vec<u8>) -> Vec<u8> {
    let device = Disk::from_bytes(512, bytes, 1).with_polls(0);
    let volume = super::mount(&device);
    assert_eq!(volume.health(), Health::Repaired);
    fake::run(async {
        assert_eq!(volume.read("A").await?, [1; 1500]);
        assert_eq!(volume.read("B").await?, [2; 1000]);
        assert_eq!(volume.read("D/F").await?, [3; 100]);
        Ok::<(), Error>(())
    })
    .unwrap();
    let bytes = device.contents();
    assert_clean(&bytes);
    let device = Disk::from_bytes(512, bytes.clone(), 1).with_polls(0);
    assert_eq!(super::mount(&device).health(), Health::Clean);
    assert_eq!(device.counts().writes, 0);
    bytes
}

#[test]
fn nothing_but_the_mark() {
    let (bytes, layout) = unfinished();
    let after = repaired(bytes);
    for table in layout.tables {
        assert_eq!(number(&after, table, 1), 0xffff);
    }
    // The mark of Linux, in the first sector.
    let (mut bytes, layout) = unfinished();
    for table in layout.tables {
        set_number(&mut bytes, table, 1, 0xffff);
    }
    bytes[37] = 0x01;
    assert_eq!(repaired(bytes)[37], 0);
}

#[test]
fn clusters_of_nobody() {
    let (mut bytes, layout) = unfinished();
    for table in layout.tables {
        set_number(&mut bytes, table, 100, 101);
        set_number(&mut bytes, table, 101, 0xffff);
        // A bad cluster stays bad.
        set_number(&mut bytes, table, 102, 0xfff7);
    }
    let after = repaired(bytes);
    let found = [100, 101, 102].map(|cluster| number(&after, layout.tables[0], cluster));
    assert_eq!(found, [0, 0, 0xfff7]);
}

#[test]
fn copies_that_differ() {
    let (mut bytes, layout) = unfinished();
    set_number(&mut bytes, layout.tables[1], 2, 0xffff);
    set_number(&mut bytes, layout.tables[1], 90, 3);
    let after = repaired(bytes);
    let [first, second] = layout.tables;
    assert_eq!(after[first..second], after[second..layout.root]);
}

/// FAT12 with a file `A` of so many clusters, from 2 on, and the mark of Linux: what is in the file, and the volume.
fn long_file(clusters: usize) -> (Vec<u8>, Vec<u8>) {
    let contents = vec![7; clusters * 512];
    let device = Disk::from_bytes(512, image(Kind::Fat12), 1).with_polls(0);
    let volume = super::mount(&device);
    fake::run(async {
        volume.write("A", &contents).await?;
        volume.sync().await
    })
    .unwrap();
    let mut bytes = device.contents();
    bytes[37] = 0x01;
    (contents, bytes)
}

/// FAT12: the number of cluster 341 lies in two blocks, and shares the byte at the end of the first one with that of 340.
#[test]
fn half_a_number_and_its_neighbour() {
    let (contents, bytes) = long_file(400);
    let [first, second] = Layout::of(&bytes).tables;
    let place = |table: usize, cluster| table + FatKind::Fat12.entry_offset(cluster) as usize;
    assert_eq!((place(first, 341) + 1) % 512, 0);
    let number = |bytes: &[u8], table, cluster| {
        FatKind::Fat12.decode(cluster, &bytes[place(table, cluster)..][..2])
    };
    assert_eq!([340, 341].map(|cluster| number(&bytes, first, cluster)), [341, 342]);
    let is_whole = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let device = Disk::from_bytes(512, bytes, 1).with_polls(0);
        let volume = super::mount(&device);
        assert_eq!(volume.health(), Health::Repaired);
        assert_eq!(fake::run(volume.read("A")).unwrap(), contents);
        let after = device.contents();
        assert_clean(&after);
        assert_eq!(after[first..second], after[second..2 * second - first]);
    };
    // The neighbour's is new in the first copy, and not yet in the second.
    let neighbour = |bytes: &mut [u8]| {
        let at = place(second, 340);
        FatKind::Fat12.encode(340, 0, &mut bytes[at..at + 2]);
    };
    is_whole(&neighbour);
    // Half of a number of its own.
    let half = |bytes: &mut [u8]| bytes[place(first, 341)] ^= 0xf0;
    is_whole(&half);
    is_whole(&|bytes| {
        neighbour(bytes);
        half(bytes);
    });
}

/// The same cluster, which ended a file that was about to grow: the second copy of the table has half of the new number. Repair
/// makes it the end again, in both copies, wherever power fails meanwhile.
#[test]
fn half_a_number_in_the_second_copy() {
    let (contents, mut bytes) = long_file(340);
    let [first, second] = Layout::of(&bytes).tables;
    let mut set = |table: usize, cluster, value| {
        let at = table + FatKind::Fat12.entry_offset(cluster) as usize;
        FatKind::Fat12.encode(cluster, value, &mut bytes[at..at + 2]);
    };
    for table in [first, second] {
        set(table, 342, 0xfff);
    }
    set(first, 341, 342);
    // The end is 0xfff, and 342 is 0x156. Of an odd number the lowest digit is written first.
    set(second, 341, 0xff6);
    for requests in 0.. {
        let device = Disk::from_bytes(512, bytes.clone(), 1).with_polls(0);
        device.cut_after(requests);
        let is_whole = fake::run(Volume::mount(&device, Options::default())).is_ok();
        device.cut();
        device.restore();
        let volume = super::mount(&device);
        assert_ne!(volume.health(), Health::Damaged, "{requests}");
        assert_eq!(fake::run(volume.read("A")).unwrap(), contents, "{requests}");
        assert_clean(&device.contents());
        if is_whole {
            assert!(requests > 5, "{requests}");
            break;
        }
    }
}

#[test]
fn too_many_clusters() {
    let (mut bytes, layout) = unfinished();
    for table in layout.tables {
        set_number(&mut bytes, table, 4, 50);
        set_number(&mut bytes, table, 50, 0xffff);
    }
    let after = repaired(bytes);
    assert!(number(&after, layout.tables[0], 4) >= 0xfff8);
    assert_eq!(number(&after, layout.tables[0], 50), 0);
}

#[test]
fn a_wrong_parent() {
    let (mut bytes, layout) = unfinished();
    let up = (layout.data..bytes.len())
        .step_by(32)
        .find(|at| bytes[*at..].starts_with(b"..         "))
        .unwrap();
    bytes[up + 26] = 2;
    assert_eq!(repaired(bytes)[up + 26], 0);
}

/// The slot of an entry, by its short name's beginning.
fn slot(bytes: &[u8], layout: &Layout, name: &[u8]) -> usize {
    let mut places = (layout.root..bytes.len()).step_by(32);
    places.find(|at| bytes[*at..].starts_with(name)).unwrap()
}

fn detach_at(bytes: &mut [u8], at: usize) {
    detach::detach(bytes[at..].first_chunk_mut().unwrap());
}

#[test]
fn no_name() {
    for name in [b"A          ", b"D          ", b"F          "] {
        let (mut bytes, layout) = unfinished();
        let at = slot(&bytes, &layout, name);
        let before: [u8; 32] = *bytes[at..].first_chunk().unwrap();
        detach_at(&mut bytes, at);
        let after = repaired(bytes);
        let mut found: [u8; 32] = *after[at..].first_chunk().unwrap();
        // The tenths of a second.
        found[13] = before[13];
        assert_eq!(found, before);
    }
}

/// What is left of renames that were finished, or looks like it, is not brought back.
#[test]
fn no_name_any_more() {
    type Change = fn(&mut [u8; 32]);
    let changes: [(&str, Change); 5] = [
        ("A has another name", |_| {}),
        ("in the middle of A", |slot| slot[26] = 3),
        ("free clusters", |slot| slot[26] = 80),
        ("clusters of nobody, too few", |slot| slot[26] = 100),
        ("no cluster", |slot| slot[26..28].copy_from_slice(&[0xff, 0xef])),
    ];
    for (what, change) in changes {
        let (mut bytes, layout) = unfinished();
        for table in layout.tables {
            set_number(&mut bytes, table, 100, 101);
            set_number(&mut bytes, table, 101, 0xffff);
        }
        let mut old: [u8; 32] = *bytes[slot(&bytes, &layout, b"A  ")..].first_chunk().unwrap();
        old[0] = b'O';
        change(&mut old);
        detach::detach(&mut old);
        let end = slot(&bytes, &layout, &[0]);
        // More of them than one would remember.
        for at in (end..).step_by(32).take(20) {
            bytes[at..at + 32].copy_from_slice(&old);
        }
        let after = repaired(bytes);
        let volume = super::mount(Disk::from_bytes(512, after.clone(), 1).with_polls(0));
        assert_eq!(fake::run(volume.metadata("O")).err(), Some(Error::NotFound), "{what}");
        assert_eq!(number(&after, layout.tables[0], 100), 0, "{what}");
    }
}

/// Others have used the bits by which we tell who replaces whom.
#[test]
fn marks_of_others() {
    for (marks, names) in [
        (0x40, &[b"A  ", b"B  "][..]),
        (0x80, &[b"A  ", b"B  "]),
        (0xc0, &[b"A  ", b"B  ", b"F  "]),
    ] {
        let (mut bytes, layout) = unfinished();
        for name in names {
            let at = slot(&bytes, &layout, *name);
            bytes[at + 12] |= marks;
        }
        let after = repaired(bytes);
        let device = Disk::from_bytes(512, after, 1).with_polls(0);
        let volume = super::mount(&device);
        fake::run(async {
            volume.rename("A", "B").await?;
            assert_eq!(volume.read("B").await?, [1; 1500]);
            assert_eq!(volume.read("A").await.err(), Some(Error::NotFound));
            volume.rename("D/F", "B").await?;
            assert_eq!(volume.read("B").await?, [3; 100]);
            volume.sync().await
        })
        .unwrap();
        assert_clean(&device.contents());
    }
}

/// What cannot be mended is left as it is, and can be read.
#[test]
fn real_damage() {
    type Damage = fn(&mut [u8], &Layout);
    let damages: [(&str, Damage); 5] = [
        ("A goes on in B", |bytes, layout| set_number(bytes, layout.tables[0], 3, 5)),
        ("A ends too early", |bytes, layout| set_number(bytes, layout.tables[0], 2, 0xffff)),
        ("A leads into a free cluster", |bytes, layout| set_number(bytes, layout.tables[0], 2, 70)),
        ("A begins nowhere", |bytes, layout| bytes[layout.root + 27] = 0xf0),
        ("D contains itself", |bytes, layout| {
            let at = (layout.data..bytes.len())
                .step_by(32)
                .find(|at| bytes[*at..].starts_with(b"F    "))
                .unwrap();
            let own = bytes[at - 64 + 26];
            bytes[at + 11] = 0x10;
            bytes[at + 26] = own;
        }),
    ];
    for (what, damage) in damages {
        let (mut bytes, layout) = unfinished();
        damage(&mut bytes, &layout);
        let device = Disk::from_bytes(512, bytes, 1).with_polls(0);
        let volume = super::mount(&device);
        assert_eq!(volume.health(), Health::Damaged, "{what}");
        fake::run(async {
            assert!(volume.is_read_only().await?);
            assert_eq!(volume.read("B").await?, [2; 1000]);
            assert_eq!(volume.write("C", b"").await, Err(Error::ReadOnly));
            volume.sync().await
        })
        .unwrap();
        assert_eq!(device.counts().writes, 0, "{what}");
    }
}

/// Directories that lie in each other two hundred times are walked through without a stack of calls.
#[test]
fn deep_directories() {
    let device = Disk::from_bytes(512, image(Kind::Fat16), 1).with_polls(0);
    let volume = super::mount(&device);
    let mut path = String::new();
    fake::run(async {
        for _ in 0..200 {
            path.push_str("/d");
            volume.create_dir(&path).await?;
        }
        path.push_str("/f");
        volume.write(&path, b"deep").await
    })
    .unwrap();
    device.cut();
    device.restore();
    let volume = super::mount(&device);
    assert_eq!(volume.health(), Health::Repaired);
    assert_eq!(fake::run(volume.rename("/d", "/d/d/d")), Err(Error::InvalidInput));
    assert_eq!(fake::run(Volume::sync(&volume)), Ok(()));
    assert_clean(&device.contents());
}
