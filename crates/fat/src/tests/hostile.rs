//! Volumes that say anything.

use std::env;

use wakeful_block::{
    BlockDevice,
    fake::{self, Random},
};

use super::{
    KINDS,
    sparse::Sparse,
    tree::{self, Op, bytes},
};
use crate::{Cache, Error, Kind, Options, Volume};

/// More requests than any round can need.
const PATIENCE: u64 = 100_000;

/// A small volume, left in peace or not.
fn base(kind: Kind, is_dirty: bool) -> Sparse {
    let kib = match kind {
        Kind::Fat12 => 64,
        Kind::Fat16 => 2200,
        Kind::Fat32 => 34 << 10,
    };
    let device = Sparse::formatted(kind, kib << 10, 512);
    let volume = super::mount(&device);
    let mut random = Random::new(5);
    let mut ops = vec![
        Op::CreateDir("/d".into()),
        Op::CreateDir("/d/sub".into()),
        Op::CreateDir("/e".into()),
    ];
    for number in 0..6 {
        ops.push(Op::Write(format!("/d/a long name {number}"), bytes(&mut random, 700 * number)));
        ops.push(Op::Write(format!("/e/F{number}"), bytes(&mut random, 900)));
    }
    for number in 0..6 {
        ops.push(Op::Append(format!("/e/F{number}"), bytes(&mut random, 900)));
    }
    ops.push(Op::Sync);
    for op in &ops {
        fake::run(op.run(&volume)).unwrap();
    }
    if is_dirty {
        fake::run(volume.write("/e/F0", &[1; 600])).unwrap();
    }
    device.copy(u64::MAX)
}

/// Of ten thousand volumes with some bytes changed where it hurts, each is an error or a volume; every call ends,
/// within bounds. `FAT_SEED` is for one that failed, `FAT_ROUNDS` for more.
#[test]
fn broken_volumes_are_errors() {
    let seed = env::var("FAT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::from(std::process::id()));
    let rounds: u64 =
        env::var("FAT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    eprintln!("FAT_SEED={seed} FAT_ROUNDS={rounds}");
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || run(kind, seed, rounds / 3));
        }
    });
}

fn run(kind: Kind, seed: u64, rounds: u64) {
    let bases = [base(kind, false), base(kind, true)];
    let places = bases.each_ref().map(weak_places);
    let mut random = Random::new(seed);
    let (mut mounted, mut worst) = (0, 0);
    for round in 0..rounds {
        let which = random.below(2) as usize;
        let device = bases[which].copy(PATIENCE);
        for _ in 0..=random.below(8) {
            let blocks = &places[which];
            let block = match random.below(8) {
                0 => 0,
                _ => blocks[random.below(blocks.len() as u64) as usize],
            };
            let at = block * 512 + random.below(if block == 0 { 96 } else { 512 });
            let byte = match random.below(6) {
                0 => 0,
                1 => 0xff,
                2 => 1 << random.below(8),
                3 => random.below(32) as u8,
                _ => random.number() as u8,
            };
            device.change(at, byte);
        }
        let cache = if round % 2 == 0 { Cache::default() } else { Cache::NONE };
        let options = Options { cache, ..Options::default() };
        match fake::run(Volume::mount(&device, options)) {
            Ok(volume) => {
                mounted += 1;
                fake::run(use_it(&volume));
            }
            Err(error) => assert!(
                matches!(error, Error::NotFat | Error::Corrupt | Error::Unsupported),
                "{kind:?} round {round}: {error}"
            ),
        }
        worst = worst.max(PATIENCE - device.left());
    }
    eprintln!("{kind:?}: {mounted} of {rounds} mounted, at most {worst} requests in a round");
}

/// Blocks of tables and directories that are in use.
fn weak_places(disk: &Sparse) -> Vec<u64> {
    let used = disk.used();
    let is_slot = |slot: &[u8]| slot[0] != 0 && [0x0f, 0x10, 0x20].contains(&slot[11]);
    let is_table = |block: &[u8]| block[0] == 0xf8 && block[1] == 0xff;
    used.iter()
        .filter(|(_, block)| is_table(block) || is_slot(&block[..32]))
        .map(|(at, _)| *at)
        .collect()
}

/// Everything that can be done. What comes of it does not matter here.
async fn use_it<D: BlockDevice>(volume: &Volume<D>) {
    let found = tree::read(volume, 500).await.unwrap_or_default();
    let name = |at: usize| found.keys().nth(at).map_or("/d/x", String::as_str).into();
    let ops = [
        Op::Write("/d/something new".into(), vec![1; 2000]),
        Op::Append(name(3), vec![2; 1500]),
        Op::Append(name(9), vec![2; 1500]),
        Op::SetLen(name(5), 600),
        Op::SetLen(name(7), 20_000),
        Op::Remove(name(4)),
        Op::Rename(name(6), "/e/zzz".into()),
        Op::Rename(name(8), "/e/F1".into()),
        Op::Rename("/e".into(), "/d/e".into()),
        Op::CreateDir("/d/new".into()),
        Op::RemoveDir("/d/new".into()),
        Op::Sync,
    ];
    for op in ops {
        let _ = op.run(volume).await;
    }
    let _ = tree::read(volume, 500).await;
    let _ = volume.space().await;
    let _ = volume.label().await;
}
