//! Power fails, futures are dropped, and blocks are bad for a while: nothing is lost that was done.

use std::{vec, vec::Vec};

use wakeful_block::{
    Error as DeviceError,
    fake::{Disk, Random, run, run_for},
};

use super::{Change, Model, check, seed_and_count};
use crate::{Error, Settings};

/// A store with a few keys and few pages, so that things move all the time.
fn lives<const PAGE: usize>(
    block_size: u32,
    pages: u64,
    count: usize,
    mut live: impl FnMut(&Disk, &mut Random, &mut Model, usize),
) {
    let (seed, count) = seed_and_count(count);
    let mut random = Random::new(seed);
    let blocks = (pages + 1) * (PAGE as u64 / u64::from(block_size));
    let disk = Disk::new(block_size, blocks, seed);
    drop(run(Settings::<_, PAGE>::format(&disk)).unwrap());
    let mut model = Model::new();
    for number in 0..count {
        live(&disk, &mut random, &mut model, number);
    }
}

/// Power fails again and again, at any write or flush, also while the damage of the last time is repaired.
fn power_fails<const PAGE: usize>(block_size: u32, pages: u64, keys: u64, most: u64) {
    let mut durable = 0;
    let mut full = 0;
    lives::<PAGE>(block_size, pages, 2000, |disk, random, model, number| {
        disk.cut_after(random.below(if number % 4 == 0 { 400 } else { 12 }));
        let mut under_way = None;
        if let Ok(mut settings) = run(Settings::<_, PAGE>::open(disk)) {
            loop {
                let change = Change::random(random, keys, most);
                match run(change.apply(&mut settings)) {
                    Ok(()) => {
                        change.apply_to(model);
                        durable += 1;
                    }
                    Err(Error::Full) => full += 1,
                    Err(Error::Device(DeviceError::Gone)) => {
                        under_way = Some(change);
                        break;
                    }
                    Err(error) => panic!("{error} in life {number}"),
                }
            }
        }
        disk.cut();
        disk.restore();
        let mut settings: Settings<_, PAGE> = run(Settings::open(disk)).unwrap();
        check(&mut settings, model, under_way.as_ref(), || u32::MAX);
        // What was found to be there stays, even if power fails while it is looked at.
        disk.cut();
        disk.restore();
        let mut settings: Settings<_, PAGE> = run(Settings::open(disk)).unwrap();
        check(&mut settings, model, None, || u32::MAX);
    });
    println!("{durable} changes, {full} times full");
}

#[test]
fn power_fails_with_pages_of_many_blocks() {
    power_fails::<4096>(512, 4, 12, 2000);
}

#[test]
fn power_fails_with_large_values() {
    power_fails::<4096>(512, 5, 6, 4000);
}

#[test]
fn power_fails_with_pages_of_a_block() {
    power_fails::<4096>(4096, 4, 12, 2000);
}

#[test]
fn power_fails_with_small_pages() {
    power_fails::<512>(512, 8, 12, 400);
}

#[test]
fn power_fails_with_two_pages() {
    power_fails::<1024>(512, 2, 5, 200);
}

/// Power fails at each step of a history, several times.
#[test]
fn power_fails_at_each_step() {
    let mut random = Random::new(7);
    let history: Vec<Change> = (0..60).map(|_| Change::random(&mut random, 6, 900)).collect();
    let mut cuts = 0;
    for seed in 0..8 {
        for cut in 0.. {
            let disk = Disk::new(512, 4 * 4, seed * 1000 + cut);
            let mut settings: Settings<_, 2048> = run(Settings::format(&disk)).unwrap();
            disk.cut_after(cut);
            let mut model = Model::new();
            let mut under_way = None;
            for change in &history {
                match run(change.apply(&mut settings)) {
                    Ok(()) => change.apply_to(&mut model),
                    Err(Error::Full) => {}
                    Err(_) => {
                        under_way = Some(change);
                        break;
                    }
                }
            }
            if under_way.is_none() {
                break;
            }
            disk.restore();
            let mut settings: Settings<_, 2048> = run(Settings::open(&disk)).unwrap();
            check(&mut settings, &mut model, under_way, || u32::MAX);
            // And it can be used.
            for change in &history[..20] {
                match run(change.apply(&mut settings)) {
                    Ok(()) => change.apply_to(&mut model),
                    Err(error) => assert_eq!(error, Error::Full),
                }
            }
            check(&mut settings, &mut model, None, || u32::MAX);
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 8 * 100);
}

/// Futures are dropped at any of their polls, and the store is used on, or opened anew, or loses power as well.
fn futures_are_dropped<const PAGE: usize>(block_size: u32, pages: u64, keys: u64, most: u64) {
    lives::<PAGE>(block_size, pages, 2000, |disk, random, model, number| {
        let mut settings: Settings<_, PAGE> = run(Settings::open(disk)).unwrap();
        let mut under_way: Option<Change> = None;
        for _ in 0..random.below(8) {
            let change = Change::random(random, keys, most);
            let polls = random.below(40) as u32;
            match run_for(change.apply(&mut settings), polls) {
                Some(Ok(())) => change.apply_to(model),
                Some(Err(error)) => assert_eq!(error, Error::Full, "life {number}"),
                None if random.below(2) == 0 => {
                    // The first to ask decides, and may be dropped itself.
                    let polls = 1 + random.below(40) as u32;
                    check(&mut settings, model, Some(&change), || polls.max(20));
                }
                None => {
                    under_way = Some(change);
                    break;
                }
            }
        }
        drop(settings);
        if random.below(2) == 0 {
            disk.cut();
            disk.restore();
        }
        let mut settings: Settings<_, PAGE> = run(Settings::open(disk)).unwrap();
        check(&mut settings, model, under_way.as_ref(), || u32::MAX);
    });
}

#[test]
fn futures_are_dropped_with_pages_of_many_blocks() {
    futures_are_dropped::<4096>(512, 4, 12, 2000);
}

#[test]
fn futures_are_dropped_with_pages_of_a_block() {
    futures_are_dropped::<512>(512, 8, 12, 400);
}

/// A change is dropped at its first poll, its second, and so on: one that fits, one for which items move, a removal.
#[test]
fn futures_are_dropped_at_each_poll() {
    let mut random = Random::new(3);
    let history: Vec<Change> = (0..60).map(|_| Change::random(&mut random, 6, 900)).collect();
    let mut drops = 0;
    for number in 0..history.len() {
        for polls in 0.. {
            let disk = Disk::new(512, 4 * 4, u64::from(polls)).with_polls(2);
            let mut settings: Settings<_, 2048> = run(Settings::format(&disk)).unwrap();
            let mut model = Model::new();
            for change in &history[..number] {
                if run(change.apply(&mut settings)).is_ok() {
                    change.apply_to(&mut model);
                }
            }
            if run_for(history[number].apply(&mut settings), polls).is_some() {
                break;
            }
            drops += 1;
            if polls % 2 == 0 {
                settings = run(Settings::open(&disk)).unwrap();
            }
            check(&mut settings, &mut model, Some(&history[number]), || u32::MAX);
            for change in &history[number..] {
                match run(change.apply(&mut settings)) {
                    Ok(()) => change.apply_to(&mut model),
                    Err(error) => assert_eq!(error, Error::Full),
                }
            }
            disk.cut();
            disk.restore();
            let mut settings: Settings<_, 2048> = run(Settings::open(&disk)).unwrap();
            check(&mut settings, &mut model, None, || u32::MAX);
        }
    }
    println!("{drops} drops");
    assert!(drops > 400);
}

/// There is a store when formatting is done, or none.
#[test]
fn power_fails_while_formatting() {
    for cut in 0..20 {
        for seed in 0..20 {
            let disk = Disk::new(512, 4 * 8, seed);
            let mut settings: Settings<_> = run(Settings::format(&disk)).unwrap();
            run(settings.set("a", "b")).unwrap();
            disk.cut_after(cut);
            let is_done = run(Settings::<_>::format(&disk)).is_ok();
            disk.cut();
            disk.restore();
            match run(Settings::<_>::open(&disk)) {
                Ok(mut settings) => {
                    let value = run(settings.get("a")).unwrap();
                    assert!(value.is_none() || !is_done && value == Some(b"b"), "cut {cut}");
                }
                Err(error) => assert!(error == Error::NotFormatted && !is_done, "{error}"),
            }
        }
    }
}

/// A change is dropped at each of its polls, and then a removal at each of its own: what is found after that stays, also when
/// something is stored, which repairs.
#[test]
fn removals_are_dropped_after_changes() {
    let mut random = Random::new(5);
    let disk = Disk::new(512, 5, 1);
    let mut settings: Settings<_, 512> = run(Settings::format(&disk)).unwrap();
    let mut model = Model::new();
    let (mut drops, mut left) = (0, 0);
    // Some that are moved whenever a page is full.
    for number in 0..4 {
        let change = Change { key: vec![number], value: Some(vec![number; 20]) };
        run(change.apply(&mut settings)).unwrap();
        change.apply_to(&mut model);
    }
    for number in 0..60 {
        let change = Change::random(&mut random, 6, 200);
        let before = disk.contents();
        // First some history, so that items have to be moved.
        'changes: for polls in (0..).take_while(|_| number >= 40) {
            for number in 0.. {
                let disk = Disk::from_bytes(512, before.clone(), number.into());
                let mut settings: Settings<_, 512> = run(Settings::open(&disk)).unwrap();
                let mut model = model.clone();
                if run_for(change.apply(&mut settings), polls).is_some() {
                    break 'changes;
                }
                check(&mut settings, &mut model, Some(&change), || u32::MAX);
                let keys = model.len() as u32;
                let Some(key) = model.keys().nth(number as usize % model.len().max(1)) else {
                    break;
                };
                let removal = Change { key: key.clone(), value: None };
                if run_for(removal.apply(&mut settings), number / keys).is_some() {
                    break;
                }
                drops += 1;
                check(&mut settings, &mut model, Some(&removal), || u32::MAX);
                left += usize::from(model.contains_key(&removal.key));
                for value in [1, 2] {
                    match run(settings.set("repair", [value; 100])) {
                        Ok(()) => _ = model.insert(b"repair".to_vec(), [value; 100].to_vec()),
                        Err(error) => assert_eq!(error, Error::Full),
                    }
                    check(&mut settings, &mut model, None, || u32::MAX);
                }
            }
        }
        if run(change.apply(&mut settings)).is_ok() {
            change.apply_to(&mut model);
        }
    }
    println!("{drops} drops, {left} keys left");
    assert!(drops > 8000 && left > 8000);
}

/// A block that cannot be written for a while: the store says so, and goes on when it can be again.
#[test]
fn devices_that_fail_for_a_while() {
    lives::<2048>(512, 4, 2000, |disk, random, model, _| {
        let mut settings: Settings<_, 2048> = run(Settings::open(disk)).unwrap();
        let mut under_way = None;
        let good = random.below(10);
        for number in 0..good + 10 {
            if number == good {
                let block = 4 + random.below(16);
                disk.damage(block..block + 1);
            }
            let change = Change::random(random, 6, 500);
            match run(change.apply(&mut settings)) {
                Ok(()) => change.apply_to(model),
                Err(Error::Full) => {}
                Err(error) => {
                    assert!(number >= good && error == Error::Device(DeviceError::Device));
                    under_way = Some(change);
                    break;
                }
            }
        }
        disk.mend();
        if random.below(2) == 0 {
            drop(settings);
            settings = run(Settings::open(disk)).unwrap();
        }
        check(&mut settings, model, under_way.as_ref(), || u32::MAX);
    });
}
