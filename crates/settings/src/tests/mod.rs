//! Stores that are used, cut off, dropped and damaged.

mod interruptions;

use std::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use wakeful_block::{
    BlockDevice, Error as DeviceError, RamDisk,
    fake::{Disk, Random, run, run_for},
};

use crate::{Error, MAX_KEY, Settings};

/// What a store should hold.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn seed_and_count(count: usize) -> (u64, usize) {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let count = std::env::var("COUNT").map_or(count, |count| count.parse().unwrap());
    println!("SEED={seed} COUNT={count}");
    (seed, count)
}

/// A change of a key: to a value, or to none.
#[derive(Debug, Clone)]
struct Change {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Change {
    fn random(random: &mut Random, keys: u64, most: u64) -> Self {
        let number = random.below(keys);
        let mut key = std::format!("key {number}").into_bytes();
        key.resize(key.len().max(number as usize * MAX_KEY / keys as usize), b'.');
        let len = match random.below(8) {
            0 => 0,
            1 => random.below(most + 1),
            _ => random.below(most / 8 + 1),
        };
        let value = (0..len).map(|_| random.number() as u8).collect();
        Self { key, value: (random.below(5) != 0).then_some(value) }
    }

    async fn apply<D: BlockDevice, const PAGE: usize>(
        &self,
        settings: &mut Settings<D, PAGE>,
    ) -> Result<(), Error> {
        match &self.value {
            Some(value) => settings.set(&self.key, value).await,
            None => settings.remove(&self.key).await.map(drop),
        }
    }

    fn apply_to(&self, model: &mut Model) {
        match &self.value {
            Some(value) => _ = model.insert(self.key.clone(), value.clone()),
            None => _ = model.remove(&self.key),
        }
    }
}

/// Checks that the store holds what the model does, or that with the change that was under way; and remembers which.
fn check<D: BlockDevice, const PAGE: usize>(
    settings: &mut Settings<D, PAGE>,
    model: &mut Model,
    under_way: Option<&Change>,
    polls: impl Fn() -> u32,
) {
    if let Some(change) = under_way {
        let found = loop {
            if let Some(found) = run_for(settings.get(&change.key), polls()) {
                break found.unwrap().map(<[u8]>::to_vec);
            }
        };
        if found == change.value {
            change.apply_to(model);
        }
    }
    for (key, value) in &*model {
        assert_eq!(run(settings.get(key)).unwrap(), Some(&value[..]), "{}", key.escape_ascii());
    }
    let keys = run(settings.keys()).unwrap();
    assert!(keys.iter().map(crate::Key::as_bytes).eq(model.keys()), "{keys:?}");
}

#[test]
fn as_a_map() {
    let (seed, count) = seed_and_count(100_000);
    let mut random = Random::new(seed);
    let disk = RamDisk::new(512, 5 * 8).unwrap();
    let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
    let mut model = Model::new();
    let mut full = 0;
    for number in 0..count {
        let change = Change::random(&mut random, 40, 2500);
        match run(change.apply(&mut settings)) {
            Ok(()) => change.apply_to(&mut model),
            Err(Error::Full) => full += 1,
            Err(error) => panic!("{error} at {number}"),
        }
        let key = Change::random(&mut random, 42, 0).key;
        let value = run(settings.get(&key)).unwrap();
        assert_eq!(value, model.get(&key).map(|value| &value[..]), "at {number}");
        if number % 1000 == 0 {
            settings = run(Settings::open(&disk)).unwrap();
            check(&mut settings, &mut model, None, || u32::MAX);
            let space = run(settings.space()).unwrap();
            let len = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                (9 + key.len() + value.len()).next_multiple_of(8)
            };
            assert_eq!((space.used, space.total), (model.iter().map(len).sum(), 3 * 4080));
        }
    }
    assert!(full > 0, "it was never full");
}

/// Whatever happens to a device, what comes of it is an error or a store, in bounded work; and what such a store
/// says that it has set is set.
#[test]
fn damaged_by_a_die() {
    let (seed, count) = seed_and_count(10_000);
    let mut random = Random::new(seed);
    let mut outcomes = BTreeSet::new();
    for number in 0..count {
        let disk = Disk::new(512, 4 * 8, number as u64).with_polls(0);
        let mut settings: Settings<_, 2048> = run(Settings::format(&disk)).unwrap();
        for _ in 0..random.below(60) {
            let _ = run(Change::random(&mut random, 8, 500).apply(&mut settings));
        }
        damage(&disk, &mut random);
        let before = disk.counts().reads;
        let mut settings: Settings<_, 2048> = match run(Settings::open(&disk)) {
            Ok(settings) => settings,
            Err(error) => {
                outcomes.insert(std::format!("open: {error}"));
                continue;
            }
        };
        for _ in 0..10 {
            let change = Change::random(&mut random, 8, 500);
            let result = run(change.apply(&mut settings));
            if result.is_ok() {
                assert_eq!(
                    run(settings.get(&change.key)).unwrap(),
                    change.value.as_deref(),
                    "store {number}"
                );
            } else {
                let _ = run(settings.get(&change.key));
            }
            outcomes.insert(std::format!("{result:?}"));
            let _ = run(settings.keys());
        }
        let reads = disk.counts().reads - before;
        assert!(reads < 30_000, "store {number} has read {reads} times");
    }
    println!("{outcomes:?}");
    assert!(outcomes.contains("Ok(())") && outcomes.contains("open: the settings are damaged"));
}

fn damage(disk: &Disk, random: &mut Random) {
    let geometry = disk.geometry();
    for _ in 0..=random.below(6) {
        // The block in front is one of many.
        let block = if random.below(16) == 0 { 0 } else { 4 + random.below(geometry.blocks - 4) };
        let mut bytes = vec![0; 512];
        run(disk.read(block, &mut bytes)).unwrap();
        match random.below(6) {
            0 => bytes.fill(0),
            1 => bytes.fill(0xff),
            2 => bytes.iter_mut().for_each(|byte| *byte = random.number() as u8),
            3 => run(disk.read(random.below(geometry.blocks), &mut bytes)).unwrap(),
            4 => bytes[random.below(32) as usize] = random.number() as u8,
            _ => bytes[random.below(512) as usize] ^= 1 << random.below(8),
        }
        run(disk.write(block, &bytes)).unwrap();
    }
}

#[test]
fn devices_without_a_store() {
    for byte in [0, 0xff, b'w'] {
        let disk = Disk::from_bytes(512, vec![byte; 8 * 4096], 1);
        assert_eq!(run(Settings::<_>::open(&disk)).err(), Some(Error::NotFormatted));
        let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
        assert_eq!(run(settings.keys()), Ok(vec![]));
        run(settings.set("a", "b")).unwrap();
        assert_eq!(run(Settings::<_, 512>::open(&disk)).err(), Some(Error::OtherFormat));
        drop(run(Settings::<_>::format(&disk)).unwrap());
        let mut settings: Settings<_> = run(Settings::open(&disk)).unwrap();
        assert_eq!(run(settings.get("a")), Ok(None));
    }
    let disk = RamDisk::new(512, 23).unwrap();
    assert_eq!(run(Settings::<_>::format(&disk)).err(), Some(Error::TooSmall));
    assert_eq!(run(Settings::<_>::open(&disk)).err(), Some(Error::TooSmall));
    let unsupported = Some(Error::Device(DeviceError::Unsupported));
    assert_eq!(run(Settings::<_, 1000>::format(&disk)).err(), unsupported);
    let large = RamDisk::new(8192, 23).unwrap();
    assert_eq!(run(Settings::<_>::format(&large)).err(), unsupported);
    let mut settings: Settings<_, 8192> = run(Settings::format(&large)).unwrap();
    run(settings.set("a", [7; 8000])).unwrap();
    let read_only = large.read_only();
    let mut settings: Settings<_, 8192> = run(Settings::open(&read_only)).unwrap();
    assert_eq!(run(settings.get("a")), Ok(Some(&[7; 8000][..])));
    assert_eq!(run(settings.set("a", "")), Err(Error::Device(DeviceError::ReadOnly)));
    assert_eq!(run(settings.get("a")), Ok(Some(&[7; 8000][..])));
}

#[test]
fn keys_and_values_that_do_not_fit() {
    let disk = RamDisk::new(512, 5 * 8).unwrap();
    let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
    assert_eq!(Settings::<RamDisk>::MAX_VALUE, 4007);
    let key = [b'k'; MAX_KEY];
    run(settings.set(key, [1; 4007])).unwrap();
    assert_eq!(run(settings.get(key)).unwrap().map(<[u8]>::len), Some(4007));
    assert_eq!(run(settings.set(key, [1; 4008])), Err(Error::TooLarge));
    assert_eq!(run(settings.set([b'k'; MAX_KEY + 1], "")), Err(Error::InvalidKey));
    assert_eq!(run(settings.set("", "")), Err(Error::InvalidKey));
    assert_eq!(run(settings.text(key)).unwrap().map(str::len), Some(4007));
    run(settings.set("a", [0xff])).unwrap();
    assert_eq!(run(settings.text("a")), Err(Error::NotText));
    assert_eq!((run(settings.remove("a")), run(settings.remove("a"))), (Ok(true), Ok(false)));
}

/// At the end all is there that was, and room is found again when something is removed.
#[test]
fn full_stores() {
    let disk = RamDisk::new(512, 5 * 8).unwrap();
    let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
    let mut model = Model::new();
    for number in 0_u8.. {
        let change = Change { key: vec![number], value: Some(vec![number; 100]) };
        match run(change.apply(&mut settings)) {
            Ok(()) => change.apply_to(&mut model),
            Err(error) => {
                assert_eq!(error, Error::Full);
                break;
            }
        }
    }
    let space = run(settings.space()).unwrap();
    assert!(model.len() == 108 && space.used == 108 * 112, "{} keys, {space:?}", model.len());
    assert_eq!(run(settings.set([1], [9; 100])), Err(Error::Full));
    check(&mut settings, &mut model, None, || u32::MAX);
    run(settings.remove([7])).unwrap();
    model.remove(&[7][..]);
    run(settings.set([1], [9; 100])).unwrap();
    model.insert(vec![1], vec![9; 100]);
    check(&mut settings, &mut model, None, || u32::MAX);
}

/// What a change costs, in requests: a write and a flush, and a few more when a page is full. What was read lately is
/// found without a request.
#[test]
fn requests() {
    for block_size in [512, 4096] {
        let disk = Disk::new(block_size, 17 * 4096 / u64::from(block_size), 1);
        let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
        let mut measure = |what: &str, keys: u64, value: &[u8], is_set: bool| {
            let before = disk.counts();
            for number in 0..1000 {
                let key = (number % keys).to_le_bytes();
                if is_set {
                    run(settings.set(key, value)).unwrap();
                } else {
                    assert_eq!(run(settings.get(key)), Ok(Some(value)));
                }
            }
            let after = disk.counts();
            let counts = [
                after.reads - before.reads,
                after.writes - before.writes,
                after.flushes - before.flushes,
                after.blocks_written - before.blocks_written,
            ];
            println!("{block_size}, {what}: reads, writes, flushes, blocks written: {counts:?}");
            counts
        };
        let [_, writes, flushes, _] = measure("20 bytes", 20, &[1; 20], true);
        assert!(writes <= 1130 && flushes <= 1120);
        assert_eq!(measure("20 bytes, get", 20, &[1; 20], false), [0; 4]);
        let [_, writes, flushes, _] = measure("1000 bytes", 20, &[1; 1000], true);
        assert!(writes <= 4800 && flushes <= 4800);
    }
}

/// A task may be 16 KiB, and a store be used in the middle of one.
#[test]
fn futures_are_small() {
    let disk = RamDisk::new(512, 5 * 8).unwrap();
    let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
    let mut sizes = vec![size_of_val(&settings)];
    sizes.push(size_of_val(&settings.get("a")));
    sizes.push(size_of_val(&settings.set("a", "b")));
    sizes.push(size_of_val(&settings.remove("a")));
    sizes.push(size_of_val(&settings.keys()));
    assert!(sizes.iter().all(|size| *size < 4096), "{sizes:?}");
}

/// A task on any hart can wait for one, if the device can be used there.
#[test]
fn futures_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let disk = RamDisk::new(512, 5 * 8).unwrap();
    let mut settings: Settings<_> = run(send(Settings::format(&disk))).unwrap();
    run(send(settings.set("a", "b"))).unwrap();
    assert_eq!(run(send(settings.get("a"))), Ok(Some(&b"b"[..])));
    assert_eq!(run(send(settings.remove("a"))), Ok(true));
    assert!(run(send(settings.keys())).unwrap().is_empty());
}
