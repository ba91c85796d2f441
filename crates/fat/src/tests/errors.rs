//! The device reports an error at any of the requests of a rename.

use std::sync::atomic::{AtomicU64, Ordering};

use wakeful_block::{
    BlockDevice, Error as DeviceError, Geometry,
    fake::{self, Disk, Random},
};

use super::{
    fsck, image,
    tree::{self, Op, Tree, bytes},
};
use crate::{Error, Health, Kind, OpenOptions};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The request fails, and nothing is done.
    Undone,
    /// It is done, and yet fails.
    Done,
    /// Some requests from this one on.
    Several,
    /// It cannot be written any more.
    ReadOnly,
}

/// A device that reports errors when it is told.
struct Faulty<'a> {
    disk: &'a Disk,
    fault: Fault,
    /// Requests until the error.
    left: AtomicU64,
    hits: AtomicU64,
}

impl Faulty<'_> {
    fn is_now(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left == u64::MAX {
            return false;
        }
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            return false;
        }
        let hits = self.hits.fetch_add(1, Ordering::Relaxed) + 1;
        let last = match self.fault {
            Fault::Undone | Fault::Done => 1,
            Fault::Several => 3,
            Fault::ReadOnly => u64::MAX,
        };
        if hits == last {
            self.left.store(u64::MAX, Ordering::Relaxed);
        }
        true
    }
}

impl BlockDevice for Faulty<'_> {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        if self.fault != Fault::ReadOnly && self.is_now() {
            return Err(DeviceError::Device);
        }
        self.disk.read(block, into).await
    }

    async fn write(&self, block: u64, from: &[u8]) -> Result<(), DeviceError> {
        if self.is_now() {
            if self.fault == Fault::Done {
                self.disk.write(block, from).await?;
            }
            return Err(match self.fault {
                Fault::ReadOnly => DeviceError::ReadOnly,
                _ => DeviceError::Device,
            });
        }
        self.disk.write(block, from).await
    }

    async fn flush(&self) -> Result<(), DeviceError> {
        if self.is_now() {
            return Err(DeviceError::Device);
        }
        self.disk.flush().await
    }
}

/// A file with a long name.
const A: &str = "/d/a long name of a file";

fn start(kind: Kind, block: u32) -> (Vec<u8>, Tree) {
    let device = Disk::from_bytes(block, image(kind), 1).with_polls(0);
    let volume = super::mount(&device);
    let mut random = Random::new(3);
    let mut ops = vec![
        Op::CreateDir("/d".into()),
        Op::CreateDir("/e".into()),
        Op::Write(A.into(), bytes(&mut random, 3000)),
        Op::Write("/d/another long name of one".into(), bytes(&mut random, 2500)),
        Op::Write("/B".into(), bytes(&mut random, 700)),
        Op::CreateDir("/d/a directory that is moved".into()),
        Op::Write("/d/a directory that is moved/x".into(), bytes(&mut random, 70)),
        Op::CreateDir("/e/empty".into()),
        Op::Write("/d/Z".into(), vec![]),
    ];
    for number in 0..12 {
        ops.push(Op::Write(format!("/d/filler with a name of some length {number}"), vec![4; 10]));
    }
    ops.push(Op::Sync);
    let tree = tree::grow(&volume, &ops);
    (device.contents(), tree)
}

fn renames() -> Vec<(&'static str, String, bool)> {
    let list = [
        (A, "/e/a name that is just as long", false),
        (A, "/d/A LONG NAME OF A FILE", false),
        (A, "/d/s", false),
        (A, "/top", false),
        (A, "/d/another long name of one", false),
        (A, "/d/another long name of one", true),
        (A, "/e/a name that is just as long", true),
        ("/d/a directory that is moved", "/e/here", false),
        ("/d/a directory that is moved", "/e/empty", false),
        ("/d/a directory that is moved", "/moved", false),
        ("/d/Z", "/e/Z", false),
        ("/d/Z", "/B", false),
        ("/B", "/d/Z", false),
    ];
    list.map(|(from, to, open)| (from, to.to_string(), open)).into()
}

/// After an error the volume goes on: each name has what it had or what it was to have, and each file or directory one name.
#[test]
fn errors_anywhere() {
    let mut hits = 0;
    let volumes = [(Kind::Fat12, 512), (Kind::Fat16, 512), (Kind::Fat16, 4096), (Kind::Fat32, 512)];
    for (kind, block) in volumes {
        let (bytes, before) = start(kind, block);
        // The smallest volume of FAT32 is large.
        let every = if kind == Kind::Fat32 { 8 } else { 1 };
        for (from, to, open) in renames().into_iter().step_by(every) {
            for fault in [Fault::Undone, Fault::Done, Fault::Several].into_iter().step_by(every) {
                for number in 0.. {
                    let disk = Disk::from_bytes(block, bytes.clone(), 1).with_polls(0);
                    let device = Faulty {
                        disk: &disk,
                        fault,
                        left: AtomicU64::new(u64::MAX),
                        hits: AtomicU64::new(0),
                    };
                    let about =
                        format!("{kind:?} {block} {from} -> {to} open {open} {fault:?} {number}");
                    let volume = super::mount(&device);
                    let file = open.then(|| {
                        fake::run(async {
                            let mut file =
                                volume.open_with(from, OpenOptions::new().append()).await?;
                            file.write(b"more").await?;
                            Ok::<_, Error>(file)
                        })
                        .unwrap()
                    });
                    device.left.store(number, Ordering::Relaxed);
                    let result = fake::run(volume.rename(from, &to));
                    let has_hit = device.hits.load(Ordering::Relaxed) > 0;
                    if !has_hit {
                        result.unwrap();
                        break;
                    }
                    hits += 1;
                    // What is seen at once, by those who only read.
                    device.left.store(u64::MAX, Ordering::Relaxed);
                    let seen = fake::run(tree::read(&volume, 1000));
                    let seen = seen.unwrap_or_else(|error| panic!("{about}: read {error}"));
                    check(&before, &seen, from, &to, open, &about);
                    fake::run(async {
                        if let Some(mut file) = file {
                            file.write(b" and more").await?;
                            file.close().await?;
                        }
                        volume.write("/e/new", &[1; 1000]).await?;
                        volume.sync().await
                    })
                    .unwrap_or_else(|error| panic!("{about}: {error}"));
                    if let Some(Err(lines)) = fsck(&disk.contents()) {
                        // FAT32 keeps how many clusters are free, which the driver no longer knows.
                        let is_known = lines.iter().all(|line| is_about_free_count(line));
                        assert!(kind == Kind::Fat32 && is_known, "{about}: {lines:#?}");
                    }
                    let again = super::mount(&disk);
                    assert_eq!(again.health(), Health::Clean, "{about}");
                    let found = fake::run(tree::read(&again, 1000)).unwrap();
                    check(&before, &found, from, &to, open, &about);
                    assert_eq!(seen.contains_key(&to), found.contains_key(&to), "{about}");
                    if open {
                        let mut expected = before[from].clone().unwrap();
                        expected.extend(b"more and more");
                        let n = [from, &to]
                            .iter()
                            .filter(|p| found.get(**p) == Some(&Some(expected.clone())))
                            .count();
                        assert_eq!(n, 1, "{about}: bytes");
                    }
                }
            }
        }
    }
    eprintln!("{hits} errors");
    assert!(hits > 1000);
}

/// Whether a line of fsck.vfat tells of nothing but the number of free clusters.
fn is_about_free_count(line: &str) -> bool {
    const WORDS: [&str; 5] =
        ["fsck.fat", "Free cluster summary", "Auto-setting", "Leaving filesystem", " files, "];
    line.is_empty() || WORDS.iter().any(|word| line.contains(word))
}

fn check(before: &Tree, found: &Tree, from: &str, to: &str, open: bool, about: &str) {
    let is = |path: &str, entry: Option<&Option<Vec<u8>>>| match (found.get(path), entry) {
        (Some(Some(found)), Some(Some(entry))) if open => found.starts_with(entry),
        (found, entry) => found == entry,
    };
    let is_done =
        is(to, before.get(from)) && (!found.contains_key(from) || from.eq_ignore_ascii_case(to));
    let is_not = is(from, before.get(from)) && is(to, before.get(to));
    assert!(
        is_done || is_not,
        "{about}: from {:?} to {:?}",
        found.get(from).map(|x| x.as_ref().map(Vec::len)),
        found.get(to).map(|x| x.as_ref().map(Vec::len)),
    );
    for (path, entry) in before {
        if !path.starts_with(from) && path != to {
            assert_eq!(found.get(path), Some(entry), "{about}: {path}");
        }
    }
}

/// A device that cannot be written any more in the middle of a rename can still be read.
#[test]
fn reading_goes_on() {
    let (bytes, before) = start(Kind::Fat16, 512);
    for (from, to, _) in renames() {
        for number in 0.. {
            let disk = Disk::from_bytes(512, bytes.clone(), 1).with_polls(0);
            let (left, hits) = (AtomicU64::new(number), AtomicU64::new(0));
            let device = Faulty { disk: &disk, fault: Fault::ReadOnly, left, hits };
            let volume = super::mount(&device);
            if fake::run(volume.rename(from, &to)).is_ok() {
                break;
            }
            let about = format!("{from} -> {to} {number}");
            let path = "/d/filler with a name of some length 3";
            for _ in 0..2 {
                let found = fake::run(volume.read(path)).map(Some);
                assert_eq!(found.as_ref(), Ok(&before[path]), "{about}");
                assert!(fake::run(volume.create_dir("/new")).is_err(), "{about}");
            }
            disk.cut();
            disk.restore();
            let found = fake::run(tree::read(&super::mount(&disk), 1000)).unwrap();
            // A directory that was to be replaced may be gone already, and an empty file may have both names.
            if before.get(&to) == Some(&None) || before[from] == Some(vec![]) {
                continue;
            }
            check(&before, &found, from, &to, false, &about);
        }
    }
}

/// The same for dropped futures of a file that is open, and goes on to be written.
#[test]
fn dropped_then_written() {
    let mut drops = 0;
    for (kind, block) in [(Kind::Fat12, 512), (Kind::Fat16, 512), (Kind::Fat16, 4096)] {
        let (bytes, before) = start(kind, block);
        for (from, to, _) in renames() {
            if before[from].is_none() {
                continue;
            }
            for polls in 1.. {
                let disk = Disk::from_bytes(block, bytes.clone(), u64::from(polls));
                let volume = super::mount(&disk);
                let about = format!("{kind:?} {block} {from} -> {to} {polls}");
                let mut file =
                    fake::run(volume.open_with(from, OpenOptions::new().append())).unwrap();
                fake::run(file.write(b"more")).unwrap();
                if fake::run_for(volume.rename(from, &to), polls).is_some() {
                    break;
                }
                drops += 1;
                fake::run(async {
                    // A second handle, by whichever name is there.
                    let mut other = match volume.open_with(&to, OpenOptions::new().append()).await {
                        Ok(file) if !before.contains_key(&to) || from.eq_ignore_ascii_case(&to) => {
                            file
                        }
                        _ => match volume.open_with(from, OpenOptions::new().append()).await {
                            Ok(file) => file,
                            Err(_) => volume.open_with(&to, OpenOptions::new().append()).await?,
                        },
                    };
                    file.write(b" and more").await?;
                    other.write(&[b'x'; 600]).await?;
                    file.close().await?;
                    other.close().await?;
                    volume.sync().await
                })
                .unwrap_or_else(|error| panic!("{about}: {error}"));
                if let Some(Err(lines)) = fsck(&disk.contents()) {
                    panic!("{about}: {lines:#?}");
                }
                let again = super::mount(&disk);
                let found = fake::run(tree::read(&again, 1000)).unwrap();
                let mut expected = before[from].clone().unwrap();
                expected.extend(b"more and more");
                expected.extend([b'x'; 600]);
                let n = [from, &to]
                    .iter()
                    .filter(|p| found.get(**p) == Some(&Some(expected.clone())))
                    .count();
                let same = from.eq_ignore_ascii_case(&to);
                let gone = found.contains_key(from) && found.get(&to) != before.get(&to) && !same;
                assert!(
                    n == 1 && !gone,
                    "{about}: {n} {:?} {:?}",
                    found.get(from).map(|x| x.as_ref().map(Vec::len)),
                    found.get(&to).map(|x| x.as_ref().map(Vec::len))
                );
            }
        }
    }
    eprintln!("{drops} drops");
    assert!(drops > 500);
}

/// A block that cannot be read.
struct Bad<'a> {
    disk: &'a Disk,
    block: u64,
}

impl BlockDevice for Bad<'_> {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let blocks = into.len() as u64 / u64::from(self.geometry().block_size);
        if (block..block + blocks).contains(&self.block) {
            return Err(DeviceError::Device);
        }
        self.disk.read(block, into).await
    }

    async fn write(&self, block: u64, from: &[u8]) -> Result<(), DeviceError> {
        self.disk.write(block, from).await
    }

    async fn flush(&self) -> Result<(), DeviceError> {
        self.disk.flush().await
    }
}

/// One more block is read than is asked for: if that cannot be read, and only then, it does not matter.
#[test]
fn bad_block_costs_its_own_bytes_only() {
    let disk = super::disk(Kind::Fat16);
    let volume = super::mount(&disk);
    let contents = bytes(&mut Random::new(5), 3 * 512);
    fake::run(async {
        volume.write("A", &contents).await?;
        volume.sync().await
    })
    .unwrap();
    let is_there = |block: &[u8]| block == &contents[2 * 512..];
    let last = disk.contents().chunks(512).position(is_there).unwrap() as u64;
    for (block, expected) in [(last + 1, 1536), (last, 1024), (last - 1, 512)] {
        let device = Bad { disk: &disk, block };
        let volume = super::mount(&device);
        let mut read = 0;
        let file = fake::run(volume.open("A")).unwrap();
        for part in 0..3 {
            let mut into = [0; 512];
            match fake::run(file.read_at(part * 512, &mut into)) {
                Ok(512) => {
                    assert_eq!(into, contents[part as usize * 512..][..512]);
                    read += 512;
                }
                other => {
                    assert_eq!(other, Err(Error::Device), "{block}");
                    break;
                }
            }
        }
        assert_eq!(read, expected, "{block}");
    }
}
