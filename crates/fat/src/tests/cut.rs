//! Power fails, at any write, and with any of the writes since the last flush.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
};

use wakeful_block::fake::{self, Disk, Random};

use super::{
    KINDS, fsck, image,
    tree::{self, Op, Tree, bytes},
};
use crate::{Error, Health, Kind, Options, Volume};

fn long(number: usize) -> String {
    format!("/dir one/some long file name number {number}.data")
}

/// A volume with fragments and directories, and what is on it.
fn base(kind: Kind) -> (Vec<u8>, Tree) {
    let device = Disk::from_bytes(512, image(kind), 1).with_polls(0);
    let volume = super::mount(&device);
    let mut random = Random::new(7);
    let mut ops = vec![];
    for name in ["/dir one", "/dir two", "/dir two/sub"] {
        ops.push(Op::CreateDir(name.into()));
    }
    for number in 0..12 {
        ops.push(Op::Write(long(number), bytes(&mut random, 1 + number * 700)));
    }
    for number in 0..6 {
        ops.push(Op::Write(format!("/dir two/F{number}.BIN"), bytes(&mut random, 3000)));
    }
    for number in 0..6 {
        ops.push(Op::Append(long(number), bytes(&mut random, 2000)));
    }
    ops.push(Op::Remove("/dir two/F2.BIN".into()));
    ops.push(Op::Write("/top.txt".into(), bytes(&mut random, 5000)));
    ops.push(Op::Sync);
    let tree = tree::grow(&volume, &ops);
    (device.contents(), tree)
}

/// One of everything, each by itself between syncs; and then some without.
fn script(random: &mut Random) -> Vec<Op> {
    let mut ops = vec![];
    for op in [
        Op::Write(
            "/dir one/a brand new file with a rather long name.txt".into(),
            bytes(random, 9000),
        ),
        Op::Append(long(3), bytes(random, 150_000)),
        Op::Append(long(0), bytes(random, 300)),
        Op::SetLen(long(9), 1000),
        Op::SetLen(long(8), 0),
        Op::SetLen(long(3), 700),
        Op::SetLen(long(4), 30_000),
        Op::Write("/dir two/EMPTY.X".into(), vec![]),
        Op::Remove(long(5)),
        Op::Remove("/dir two/F1.BIN".into()),
        Op::Rename(long(6), "/dir one/renamed inside the same directory.bin".into()),
        Op::Rename("/dir two/F3.BIN".into(), "/dir two/G3.BIN".into()),
        Op::Rename(long(7), "/dir two/sub/moved across directories here.bin".into()),
        Op::Rename("/dir two/F4.BIN".into(), long(10)),
        Op::Rename("/dir two/F0.BIN".into(), "/dir two/G3.BIN".into()),
        Op::CreateDir("/dir one/new directory with long name".into()),
        Op::Write("/dir one/new directory with long name/f".into(), bytes(random, 600)),
        Op::Rename("/dir one/new directory with long name".into(), "/dir two/sub/moved dir".into()),
        Op::CreateDir("/E".into()),
        Op::CreateDir("/G".into()),
        Op::Rename("/E".into(), "/G".into()),
        Op::RemoveDir("/G".into()),
        Op::Write(long(11), bytes(random, 4000)),
    ] {
        ops.push(op);
        ops.push(Op::Sync);
    }
    ops.extend([
        Op::Remove(long(1)),
        Op::Write("/dir two/reuses the clusters.bin".into(), bytes(random, 20_000)),
        Op::SetLen(long(2), 100),
        Op::Append("/dir two/F5.BIN".into(), bytes(random, 9000)),
        Op::Rename("/top.txt".into(), "/dir one/top.txt".into()),
        Op::Write("/top.txt".into(), bytes(random, 6000)),
        Op::Sync,
    ]);
    ops
}

/// Lines of fsck.vfat that are about clusters of nobody alone, or about nothing.
fn is_harmless(line: &str) -> bool {
    const WORDS: [&str; 10] = [
        "fsck.fat",
        " files, ",
        "Leaving filesystem unchanged",
        "Reclaimed",
        "Reclaiming",
        "unused cluster",
        "ree cluster summary",
        "Free cluster",
        "Setting",
        "Correcting",
    ];
    line.is_empty() || line.starts_with('/') || WORDS.iter().any(|word| line.contains(word))
}

/// What `fsck.vfat` may find before the volume is mounted again: what nobody loses anything by. Two names with the same clusters are not
/// among it.
fn is_allowed(line: &str) -> bool {
    const WORDS: [&str; 16] = [
        "Dirty bit is set",
        "Automatically removing dirty bit",
        "There are differences between boot sector and its backup",
        "This is mostly harmless",
        "Not automatically fixing",
        "long file name",
        "LFN sequence",
        "eleting",
        "cluster chain length is",
        "Truncating",
        "FATs differ",
        "Using first FAT",
        "sequence number",
        "uto-correcting",
        "Maybe the start bit is missing",
        "Invalid '..' entry in the second slot",
    ];
    is_harmless(line) || WORDS.iter().any(|word| line.contains(word))
}

struct Counts {
    cuts: u64,
    healths: BTreeMap<&'static str, u64>,
}

/// At every write and flush of the script, for each kind, with several throws of the die: the volume is repaired when it is
/// mounted; what was synced is there; what was renamed has a name; what was replaced is old or new; the tool
/// finds nothing; and all of this also if power fails again in the middle of the repair.
#[test]
fn power_fails_anywhere() {
    let seed = env::var("FAT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::from(std::process::id()));
    let throws = env::var("FAT_THROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    eprintln!("FAT_SEED={seed} FAT_THROWS={throws}");
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || cuts(kind, seed, throws));
        }
    });
}

fn cuts(kind: Kind, seed: u64, throws: u64) {
    let (bytes, before) = base(kind);
    let mut random = Random::new(seed);
    let ops = script(&mut random);
    let mut counts = Counts { cuts: 0, healths: BTreeMap::new() };
    // Power fails within each of the steps from one sync to the next.
    let (mut bytes, mut tree) = (bytes, before);
    let mut rest = &ops[..];
    while !rest.is_empty() {
        let len = rest.iter().position(|op| matches!(op, Op::Sync)).unwrap() + 1;
        let (part, others) = rest.split_at(len);
        rest = others;
        let mut number = 0;
        loop {
            let mut has_ended = true;
            for _ in 0..throws {
                let device = Disk::from_bytes(512, bytes.clone(), random.number()).with_polls(0);
                has_ended &= one_cut(&device, part, &tree, number, &mut random, &mut counts);
            }
            if has_ended {
                break;
            }
            // Each of the first ones, then some; of the large volumes fewer.
            number += match kind {
                Kind::Fat32 => 1 + random.below(24),
                _ if number < 40 => 1,
                _ => 1 + random.below(12),
            };
        }
        let device = Disk::from_bytes(512, bytes, 1).with_polls(0);
        let volume = super::mount(&device);
        for op in part {
            fake::run(op.run(&volume)).unwrap();
            op.apply(&mut tree);
        }
        bytes = device.contents();
    }
    eprintln!("{kind:?}: {} cuts, {:?}", counts.cuts, counts.healths);
}

/// Says whether all was done before power could fail.
fn one_cut(
    device: &Disk,
    part: &[Op],
    synced: &Tree,
    number: u64,
    random: &mut Random,
    counts: &mut Counts,
) -> bool {
    {
        let volume = super::mount(device);
        device.cut_after(number);
        let mut result = Ok(());
        for op in part {
            result = fake::run(op.run(&volume));
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            return true;
        }
        assert_eq!(result, Err(Error::Gone));
    }
    counts.cuts += 1;
    let about = format!(
        "{part:.60?}… cut {number}",
        part = part.iter().map(Op::touched).collect::<Vec<_>>()
    );
    // It may fail again while it is repaired, several times.
    for _ in 0..3 {
        device.restore();
        if part.iter().any(|op| matches!(op, Op::Rename(..)))
            && let Some(Err(lines)) = fsck(&device.contents())
        {
            let bad: Vec<_> = lines.iter().filter(|line| !is_allowed(line)).collect();
            assert!(bad.is_empty(), "{about}, before it is mounted: {lines:#?}");
        }
        if random.below(2) == 0 {
            break;
        }
        device.cut_after(random.below(12));
        match fake::run(Volume::mount(device, Options::default())) {
            Ok(_) => {}
            Err(error) => assert_eq!(error, Error::Gone, "{about}"),
        }
        device.cut();
    }
    device.restore();
    let volume = fake::run(Volume::mount(device, Options::default())).unwrap();
    let health = match volume.health() {
        Health::Clean => "clean",
        Health::Repaired => "repaired",
        Health::Damaged => "damaged",
    };
    *counts.healths.entry(health).or_default() += 1;
    if volume.health() == Health::Damaged {
        let lines = fsck(&device.contents());
        panic!("{about}: damaged: {lines:#?}");
    }
    let found =
        fake::run(tree::read(&volume, 1000)).unwrap_or_else(|error| panic!("{about}: {error}"));
    check(&found, part, synced, &about);
    if let Some(Err(lines)) = fsck(&device.contents()) {
        let bad: BTreeSet<_> = lines.iter().filter(|line| !is_harmless(line)).collect();
        assert!(bad.is_empty(), "{about}: {lines:#?}");
    }
    // And it can be used.
    fake::run(async {
        volume.write("/after.txt", &[1; 3000]).await?;
        for path in found.iter().filter(|(_, entry)| entry.is_some()).map(|(path, _)| path) {
            volume.remove_file(path).await?;
        }
        assert_eq!(volume.read("/after.txt").await?, [1; 3000]);
        volume.sync().await
    })
    .unwrap();
    if random.below(8) == 0 {
        super::assert_clean(&device.contents());
    }
    false
}

/// One volume that power leaves again and again: what a repair leaves behind does no harm later.
#[test]
fn power_fails_again_and_again() {
    let seed = env::var("FAT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(u64::from(std::process::id()));
    eprintln!("FAT_SEED={seed}");
    for kind in [Kind::Fat12, Kind::Fat16] {
        let mut random = Random::new(seed);
        let (bytes, mut tree) = base(kind);
        let device = Disk::from_bytes(512, bytes, seed).with_polls(0);
        let (mut id, mut repairs) = (0, 0);
        for step in 0..3000 {
            let Some(op) = tree::any_op(&mut random, &tree, &mut id, 6000) else { continue };
            if let Op::Rename(from, _) = &op
                && tree[from].as_ref().is_some_and(Vec::is_empty)
            {
                continue;
            }
            let about = format!("{kind:?} step {step} {:?}", op.touched());
            let volume = super::mount(&device);
            device.cut_after(random.below(24));
            let part = [op, Op::Sync];
            let _ = fake::run(async {
                part[0].run(&volume).await?;
                part[1].run(&volume).await
            });
            device.cut();
            device.restore();
            if random.below(3) == 0 {
                device.cut_after(random.below(8));
                let _ = fake::run(Volume::mount(&device, Options::default()));
                device.cut();
                device.restore();
            }
            let volume = super::mount(&device);
            assert_ne!(volume.health(), Health::Damaged, "{about}");
            repairs += u32::from(volume.health() == Health::Repaired);
            let found = fake::run(tree::read(&volume, 1000)).unwrap();
            check(&found, &part, &tree, &about);
            tree = found;
            fake::run(volume.sync()).unwrap();
        }
        super::assert_clean(&device.contents());
        assert!(repairs > 300, "{repairs}");
    }
}

/// What none of these touched is as it was synced, and nothing else is there.
fn check(found: &Tree, part: &[Op], synced: &Tree, about: &str) {
    let touched: Vec<&str> = part.iter().flat_map(Op::touched).collect();
    let is_touched = |path: &str| {
        touched.iter().any(|other| {
            path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    for (path, entry) in synced {
        if !is_touched(path) {
            assert_eq!(found.get(path), Some(entry), "{about}: {path}");
        }
    }
    for path in found.keys() {
        assert!(is_touched(path) || synced.contains_key(path), "{about}: {path} is new");
    }
    let [Op::Rename(from, to), Op::Sync] = part else {
        return;
    };
    let (source, target) = (&synced[from], synced.get(to));
    match (source, target) {
        // Replaced: either, whole. The other name has what is left, or is gone.
        (Some(_), Some(_)) => {
            let found_target = found.get(to);
            let is_new = found_target == Some(source) && !found.contains_key(from);
            let is_old = found_target == target && found.get(from) == Some(source);
            assert!(is_new || is_old, "{about}");
        }
        // Renamed: one name or the other.
        (Some(_), None) => {
            let has = [found.get(from) == Some(source), found.get(to) == Some(source)];
            assert!(has == [true, false] || has == [false, true], "{about}: {has:?}");
        }
        (None, None) => {
            assert!(found.contains_key(from) != found.contains_key(to), "{about}");
        }
        // An empty directory was replaced: it may be gone before the other one has its name.
        (None, Some(_)) => {
            assert!(found.contains_key(from) || found.contains_key(to), "{about}");
        }
    }
}
