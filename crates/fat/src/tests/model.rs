//! A volume does what a map does.

use std::env;

use wakeful_block::{
    BlockDevice,
    fake::{self, Random},
};

use super::{
    KINDS, assert_clean, disk,
    tree::{self, Op, Tree},
};
use crate::{Cache, Error, Kind, Options, Volume};

/// `FAT_STEPS` are how many, `FAT_SEED` is for one that failed.
fn setting(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_volume_is_a_map() {
    let seed = setting("FAT_SEED", u64::from(std::process::id()));
    let steps = setting("FAT_STEPS", 100_000);
    eprintln!("FAT_SEED={seed} FAT_STEPS={steps}");
    std::thread::scope(|scope| {
        for (number, kind) in (0..).zip(KINDS) {
            let mut random = Random::new(seed.wrapping_add(number));
            scope.spawn(move || run(kind, steps / 3, &mut random));
        }
    });
}

fn run(kind: Kind, steps: u64, random: &mut Random) {
    let device = disk(kind);
    let most = if kind == Kind::Fat12 { 6_000 } else { 12_000 };
    let mut volume = fake::run(Volume::mount(&device, Options::default())).unwrap();
    let mut model = Tree::new();
    let mut id = 0;
    for step in 1..=steps {
        let Some(op) = tree::any_op(random, &model, &mut id, most) else { continue };
        match fake::run(op.run(&volume)) {
            Ok(()) => op.apply(&mut model),
            Err(Error::NoSpace) => {
                accept_part(&volume, &op, &mut model);
                make_room(&volume, &mut model);
            }
            Err(error) => panic!("{kind:?} step {step}: {error} of {:?}", op.touched()),
        }
        if step % 1000 == 0 || step == steps {
            check(&volume, &model, step);
            fake::run(volume.sync()).unwrap();
            assert_clean(&device.contents());
            if random.below(2) == 0 {
                let cache = match random.below(3) {
                    0 => Cache::NONE,
                    1 => Cache { blocks: 2048, places: 3, names: 5 },
                    _ => Cache::default(),
                };
                let options = Options { cache, ..Options::default() };
                drop(volume);
                volume = fake::run(Volume::mount(&device, options)).unwrap();
                check(&volume, &model, step);
            }
        }
    }
}

fn check<D: BlockDevice>(volume: &Volume<D>, model: &Tree, step: u64) {
    let found = fake::run(tree::read(volume, usize::MAX)).unwrap();
    let differs: Vec<_> = found
        .keys()
        .chain(model.keys())
        .filter(|path| found.get(*path) != model.get(*path))
        .collect();
    assert!(differs.is_empty(), "{:?} step {step}: {differs:?}", volume.kind());
    assert_eq!(fake::run(volume.0.begin()).unwrap().pinned(), 0);
}

/// A write for which there was no room has written a first part, or nothing; all else has changed nothing.
fn accept_part<D: BlockDevice>(volume: &Volume<D>, op: &Op, model: &mut Tree) {
    let (path, all) = match op {
        Op::Write(path, bytes) => (path, bytes.clone()),
        Op::Append(path, bytes) => {
            let mut all = model[path].clone().unwrap();
            all.extend(bytes);
            (path, all)
        }
        _ => return,
    };
    match fake::run(volume.read(path)) {
        Ok(part) => {
            assert!(all.starts_with(&part));
            model.insert(path.clone(), Some(part));
        }
        Err(Error::NotFound) => assert!(!model.contains_key(path)),
        Err(error) => panic!("{error}"),
    }
}

fn make_room<D: BlockDevice>(volume: &Volume<D>, model: &mut Tree) {
    let files: Vec<_> =
        model.iter().filter(|(_, entry)| entry.is_some()).map(|(path, _)| path.clone()).collect();
    for path in files.into_iter().step_by(3) {
        fake::run(volume.remove_file(&path)).unwrap();
        model.remove(&path);
    }
}
