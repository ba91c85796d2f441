//! Futures are dropped at every point where they wait.

use std::sync::Mutex;

use wakeful_block::{
    BlockDevice, Error as DeviceError, Geometry,
    fake::{self, Disk, Random},
};

use super::{
    assert_clean, image,
    tree::{self, Op, Tree, bytes},
};
use crate::{Error, Health, Kind, Volume};

fn start(kind: Kind) -> (Vec<u8>, Tree) {
    let device = Disk::from_bytes(512, image(kind), 1).with_polls(0);
    let volume = super::mount(&device);
    let mut random = Random::new(3);
    let ops = [
        Op::CreateDir("/d".into()),
        Op::CreateDir("/e".into()),
        Op::Write("/d/a long name of a file".into(), bytes(&mut random, 3000)),
        Op::Write("/d/another long name of one".into(), bytes(&mut random, 2500)),
        Op::Write("/B".into(), bytes(&mut random, 700)),
        Op::Write("/C".into(), bytes(&mut random, 700)),
        Op::Write("/e/D".into(), bytes(&mut random, 700)),
        Op::CreateDir("/d/a directory that is moved".into()),
        Op::Sync,
    ];
    let tree = tree::grow(&volume, &ops);
    (device.contents(), tree)
}

fn ops() -> Vec<Op> {
    vec![
        Op::Write("/d/something new with a name".into(), vec![1; 3000]),
        Op::Write("/B".into(), vec![2; 2000]),
        Op::Append("/d/a long name of a file".into(), vec![3; 5000]),
        Op::SetLen("/d/a long name of a file".into(), 600),
        Op::SetLen("/B".into(), 4000),
        Op::Remove("/d/a long name of a file".into()),
        Op::Rename("/d/a long name of a file".into(), "/e/a name that is just as long".into()),
        Op::Rename("/d/a long name of a file".into(), "/d/another long name of one".into()),
        Op::Rename("/d/a directory that is moved".into(), "/e/here".into()),
        Op::CreateDir("/d/a directory that is new".into()),
        Op::RemoveDir("/d/a directory that is moved".into()),
        Op::Sync,
    ]
}

/// After each drop the volume goes on as if nothing had been: what the call did not concern is untouched, what it did is done or
/// not, nothing is pinned, and after a sync all is in order. Dropped writes stray meanwhile.
#[test]
fn every_future_may_be_dropped() {
    let mut drops = 0;
    for kind in [Kind::Fat12, Kind::Fat16] {
        let (bytes, before) = start(kind);
        for op in ops() {
            let mut has_ended = false;
            for polls in 1.. {
                // What was dropped strays differently each time.
                for seed in 0..2 {
                    let device =
                        Disk::from_bytes(512, bytes.clone(), seed << 32 | u64::from(polls));
                    let volume = super::mount(&device);
                    has_ended = fake::run_for(op.run(&volume), polls).is_some();
                    if has_ended {
                        break;
                    }
                    drops += 1;
                    go_on(&device, &volume, &op, &before, polls);
                }
                if has_ended {
                    break;
                }
            }
        }
    }
    eprintln!("{drops} drops");
    assert!(drops > 1000);
}

fn go_on<D: BlockDevice>(device: &Disk, volume: &Volume<D>, op: &Op, before: &Tree, polls: u32) {
    let about = format!("{:?} after {polls} polls", op.touched());
    let after = [
        // It needs the most of what a turn can have.
        Op::Rename("/C".into(), "/e/D".into()),
        Op::Write("/d/after the drop".into(), vec![7; 3000]),
        Op::CreateDir("/AFTER".into()),
        Op::Append("/e/D".into(), vec![9; 1000]),
        Op::Sync,
    ];
    let mut expected = before.clone();
    for other in &after {
        fake::run(other.run(volume)).unwrap_or_else(|error| panic!("{about}: {error}"));
        other.apply(&mut expected);
    }
    assert_eq!(fake::run(volume.0.begin()).unwrap().pinned(), 0, "{about}");
    assert_clean(&device.contents());
    let again = super::mount(device);
    assert_eq!(again.health(), Health::Clean, "{about}");
    let found = fake::run(tree::read(volume, 1000)).unwrap();
    assert_eq!(fake::run(tree::read(&again, 1000)), Ok(found.clone()), "{about}");
    for (path, entry) in &expected {
        if !op.touched().contains(&path.as_str()) {
            assert_eq!(found.get(path), Some(entry), "{about}: {path}");
        }
    }
    if let Op::Rename(from, to) = op {
        let entry = &before[from];
        let is_done = found.get(to) == Some(entry) && !found.contains_key(from);
        let is_not = found.get(from) == Some(entry) && found.get(to) == before.get(to);
        assert!(is_done || is_not, "{about}");
    }
}

/// A device that does what was dropped as late as it may: at the next flush.
struct Late<'a> {
    disk: &'a Disk,
    stray: Mutex<Vec<(u64, Vec<u8>)>>,
}

/// A write that is not done yet.
struct Begun<'a> {
    device: &'a Late<'a>,
    write: Option<(u64, Vec<u8>)>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.device.stray.lock().unwrap().extend(self.write.take());
    }
}

async fn wait() {
    let mut is_first = true;
    std::future::poll_fn(|_| {
        if core::mem::take(&mut is_first) {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
}

impl Late<'_> {
    fn is_settled(&self) {
        assert!(self.stray.lock().unwrap().is_empty(), "a dropped write is still to come");
    }
}

impl BlockDevice for Late<'_> {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.is_settled();
        self.disk.read(block, into).await
    }

    async fn write(&self, block: u64, from: &[u8]) -> Result<(), DeviceError> {
        self.is_settled();
        let mut begun = Begun { device: self, write: Some((block, from.to_vec())) };
        wait().await;
        begun.write = None;
        self.disk.write(block, from).await
    }

    async fn flush(&self) -> Result<(), DeviceError> {
        wait().await;
        for (block, bytes) in core::mem::take(&mut *self.stray.lock().unwrap()) {
            fake::run(self.disk.write(block, &bytes))?;
        }
        self.disk.flush().await
    }
}

/// The same with a device that does dropped writes at the next flush, and is asked for nothing else before.
#[test]
fn dropped_writes_may_be_late() {
    for kind in [Kind::Fat12, Kind::Fat16] {
        let (bytes, before) = start(kind);
        for op in ops() {
            for polls in 1.. {
                let disk = Disk::from_bytes(512, bytes.clone(), 1).with_polls(0);
                let device = Late { disk: &disk, stray: Mutex::new(Vec::new()) };
                let volume = super::mount(&device);
                if fake::run_for(op.run(&volume), polls).is_some() {
                    break;
                }
                go_on(&disk, &volume, &op, &before, polls);
            }
        }
    }
}

/// A file whose `close` was dropped is closed all the same.
#[test]
fn close_may_be_dropped() {
    let (bytes, _) = start(Kind::Fat16);
    for polls in 0.. {
        let device = Disk::from_bytes(512, bytes.clone(), 1);
        let volume = super::mount(&device);
        let mut file = fake::run(volume.create("f")).unwrap();
        fake::run(file.write(&[1; 1500])).unwrap();
        let has_ended = fake::run_for(file.close(), polls).is_some();
        fake::run(async {
            assert_eq!(volume.read("f").await?, [1; 1500]);
            volume.remove_file("f").await?;
            assert_eq!(volume.0.begin().await?.pinned(), 0);
            volume.sync().await?;
            Ok::<(), Error>(())
        })
        .unwrap();
        assert_clean(&device.contents());
        if has_ended {
            break;
        }
    }
}
