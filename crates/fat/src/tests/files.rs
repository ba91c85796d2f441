//! What files and directories do.

use std::{sync::Arc, vec::Vec};

use embedded_io_async::{SeekFrom, Write};
use wakeful_block::{
    BlockDevice, RamDisk,
    fake::{self, Disk},
};

use super::{KINDS, assert_clean, disk, format as make, image, mount};
use crate::{Clock, DateTime, Error, Health, Kind, OpenOptions, Options, Volume};

#[test]
fn a_first_volume() {
    for kind in KINDS {
        let device = disk(kind);
        let volume = mount(&device);
        fake::run(async {
            assert_eq!((volume.kind(), volume.health()), (kind, Health::Clean));
            assert!(!volume.is_read_only().await?);
            assert_eq!(volume.label().await?, None);
            let empty = volume.space().await?;
            volume.create_dir("/notes").await?;
            volume.write("notes/An idea.txt", b"To be written.").await?;
            assert_eq!(volume.read("/NOTES/./x/../an IDEA.txt/").await?, b"To be written.");
            let left = volume.space().await?;
            assert_eq!(empty.free - left.free, 1024);
            assert_eq!(empty.total, left.total);
            let mut entries = volume.read_dir("notes").await?;
            let entry = entries.next().await?.unwrap();
            assert_eq!((entry.name.as_str(), entry.metadata.len), ("An idea.txt", 14));
            assert_eq!(entries.next().await?, None);
            assert_eq!(volume.metadata("notes/AN IDEA.TXT").await?, entry.metadata);
            assert!(volume.metadata("").await?.is_dir);
            volume.sync().await
        })
        .unwrap();
        assert_clean(&device.contents());
    }
}

#[test]
fn what_cannot_be() {
    let volume = mount(disk(Kind::Fat16));
    fake::run(async {
        volume.create_dir("d").await?;
        volume.write("f", b"f").await?;
        volume.write("d/f", b"f").await?;
        assert_eq!(volume.open("x").await.err(), Some(Error::NotFound));
        assert_eq!(volume.open("x/f").await.err(), Some(Error::NotFound));
        assert_eq!(volume.open("f/f").await.err(), Some(Error::NotADirectory));
        assert_eq!(volume.open("d").await.err(), Some(Error::IsADirectory));
        assert_eq!(volume.open("/").await.err(), Some(Error::IsADirectory));
        assert_eq!(volume.create("d").await.err(), Some(Error::IsADirectory));
        assert_eq!(volume.create("x/y").await.err(), Some(Error::NotFound));
        assert_eq!(volume.create("a:b").await.err(), Some(Error::InvalidName));
        let new = OpenOptions::new().write().create_new();
        assert_eq!(volume.open_with("F", new).await.err(), Some(Error::AlreadyExists));
        assert_eq!(
            volume.open_with("x", OpenOptions::new()).await.err(),
            Some(Error::InvalidInput)
        );
        assert_eq!(volume.create_dir("D").await, Err(Error::AlreadyExists));
        assert_eq!(volume.create_dir("/").await, Err(Error::AlreadyExists));
        assert_eq!(volume.create_dir("d/x/y").await, Err(Error::NotFound));
        assert_eq!(volume.create_dir(&"n".repeat(256)).await, Err(Error::NameTooLong));
        assert_eq!(volume.remove_dir("d").await, Err(Error::NotEmpty));
        assert_eq!(volume.remove_dir("f").await, Err(Error::NotADirectory));
        assert_eq!(volume.remove_dir("/").await, Err(Error::InvalidInput));
        assert_eq!(volume.remove_file("d").await, Err(Error::IsADirectory));
        assert_eq!(volume.remove_file("x").await, Err(Error::NotFound));
        assert_eq!(volume.rename("d", "d/e").await, Err(Error::InvalidInput));
        assert_eq!(volume.rename("d", "f").await, Err(Error::NotADirectory));
        assert_eq!(volume.rename("f", "d").await, Err(Error::IsADirectory));
        assert_eq!(volume.rename("x", "y").await, Err(Error::NotFound));
        assert_eq!(volume.rename("f", "a?").await, Err(Error::InvalidName));
        assert_eq!(volume.read_dir("f").await.err(), Some(Error::NotADirectory));
        let mut file = volume.open("f").await?;
        assert_eq!(file.write(b"x").await, Err(Error::Denied));
        assert_eq!(file.set_len(0).await, Err(Error::Denied));
        assert_eq!(file.seek(SeekFrom::Current(-1)).await, Err(Error::InvalidInput));
        assert_eq!(volume.create("f").await?.read(&mut [0]).await, Err(Error::Denied));
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn places_in_a_file() {
    let volume = mount(disk(Kind::Fat12));
    fake::run(async {
        let mut file = volume.open_with("f", OpenOptions::new().read().write().create()).await?;
        file.write_all(b"0123456789").await?;
        assert_eq!(file.seek(SeekFrom::End(-3)).await?, 7);
        let mut bytes = [0; 8];
        assert_eq!(file.read(&mut bytes).await?, 3);
        assert_eq!(&bytes[..3], b"789");
        assert_eq!(file.read(&mut bytes).await?, 0);
        assert_eq!(file.seek(SeekFrom::Start(12)).await?, 12);
        file.write_all(b"x").await?;
        assert_eq!(volume.read("f").await?, b"0123456789\0\0x");
        assert_eq!(file.write_at(1, b"ab").await?, 2);
        assert_eq!(file.read_at(0, &mut bytes).await?, 8);
        assert_eq!(&bytes, b"0ab34567");
        assert_eq!(file.seek(SeekFrom::Current(0)).await?, 13);
        file.set_len(2).await?;
        assert_eq!(file.len().await?, 2);
        file.set_len(4).await?;
        file.close().await?;
        assert_eq!(volume.read("f").await?, b"0a\0\0");
        let mut log = volume.open_with("f", OpenOptions::new().append()).await?;
        log.seek(SeekFrom::Start(0)).await?;
        log.write_all(b"end").await?;
        assert_eq!(volume.read("f").await?, b"0a\0\0end");
        Ok::<(), Error>(())
    })
    .unwrap();
}

/// Handles of one file see the same bytes; it can be renamed, and not be removed. Those that are dropped are
/// closed by what is done next.
#[test]
fn handles_of_one_file() {
    let device = disk(Kind::Fat32);
    let volume = mount(&device);
    fake::run(async {
        let mut first = volume.create("f").await?;
        let both = OpenOptions::new().read().write();
        let mut second = volume.open_with("F", both).await?;
        first.write_all(b"first").await?;
        let mut bytes = [0; 16];
        assert_eq!(second.read(&mut bytes).await?, 5);
        second.write_all(b", second").await?;
        first.write_all(b"!").await?;
        assert_eq!(volume.read("f").await?, b"first! second");
        assert_eq!(volume.metadata("f").await?.len, 13);
        volume.rename("f", "g").await?;
        assert_eq!(volume.remove_file("g").await, Err(Error::Busy));
        volume.write("h", b"h").await?;
        assert_eq!(volume.rename("h", "g").await, Err(Error::Busy));
        first.close().await?;
        assert_eq!(volume.remove_file("g").await, Err(Error::Busy));
        second.write_all(b".").await?;
        drop(second);
        volume.remove_file("h").await?;
        assert_eq!(fake::run(mount(&device).read("g"))?, b"first! second.");
        volume.remove_file("g").await?;
        assert_eq!(volume.0.begin().await?.pinned(), 0);
        volume.sync().await
    })
    .unwrap();
    assert_clean(&device.contents());
}

#[test]
fn dates_and_marks() {
    fn now() -> Option<DateTime> {
        Some(DateTime { year: 2026, month: 11, day: 22, hour: 13, minute: 14, second: 16 })
    }
    let device = disk(Kind::Fat16);
    let options = Options { clock: &Clock(now), ..Options::default() };
    fake::run(async {
        let volume = Volume::mount(&device, options).await?;
        volume.write("f", b"f").await?;
        assert_eq!(volume.metadata("F").await?.modified, now());
        assert_eq!(volume.metadata("/").await?.modified, None);
        volume.sync().await
    })
    .unwrap();
    // The attributes of the first entry of the root: read-only and hidden, beside the one of the archive.
    let mut bytes = device.contents();
    let at = bytes.windows(11).position(|name| name == b"F          ").unwrap();
    bytes[at + 11] |= 0x03;
    let volume = mount(Disk::from_bytes(512, bytes, 1));
    fake::run(async {
        let metadata = volume.metadata("f").await?;
        assert!(metadata.is_read_only && metadata.is_hidden);
        assert_eq!(volume.create("f").await.err(), Some(Error::Denied));
        assert_eq!(volume.read("f").await?, b"f");
        volume.remove_file("f").await
    })
    .unwrap();
}

/// Every length of a name, in letters of two and three bytes; case does not matter.
#[test]
fn names_of_all_lengths() {
    let device =
        Disk::from_bytes(512, make(Kind::Fat16, 16 << 10, 512, 512, 2048), 1).with_polls(0);
    let volume = mount(&device);
    fake::run(async {
        volume.create_dir("n").await?;
        for len in 1..=255 {
            volume.write(&format!("n/{}", "é".repeat(len)), &vec![len as u8; len]).await?;
        }
        for len in 1..=255 {
            assert_eq!(volume.read(&format!("n/{}", "É".repeat(len))).await?, vec![len as u8; len]);
        }
        let long = "漢".repeat(255);
        volume.create_dir(&long).await?;
        volume.write(&format!("{long}/CON"), b"").await?;
        let mut entries = volume.read_dir(&long).await?;
        assert_eq!(entries.next().await?.unwrap().name, "CON");
        volume.sync().await
    })
    .unwrap();
    assert_clean(&device.contents());
}

#[test]
fn a_thousand_files() {
    let device =
        Disk::from_bytes(512, make(Kind::Fat32, 300 << 10, 512, 512, 4096), 1).with_polls(0);
    let volume = mount(&device);
    fake::run(async {
        volume.create_dir("d").await?;
        for number in 0..1000 {
            volume.write(&format!("d/a long file name {number:04}.txt"), b"0123456789").await?;
        }
        let mut entries = volume.read_dir("d").await?;
        let mut count = 0;
        while let Some(entry) = entries.next().await? {
            assert_eq!(entry.name, format!("a long file name {count:04}.txt"));
            count += 1;
        }
        assert_eq!(count, 1000);
        for number in 0..1000 {
            volume.remove_file(&format!("d/A LONG FILE NAME {number:04}.txt")).await?;
        }
        volume.remove_dir("d").await?;
        volume.sync().await
    })
    .unwrap();
    assert_clean(&device.contents());
}

#[test]
fn a_full_disk() {
    for kind in [Kind::Fat12, Kind::Fat16] {
        let device = disk(kind);
        let volume = mount(&device);
        fake::run(async {
            let free = volume.space().await?.free;
            let mut file = volume.create("all").await?;
            let mut written = 0;
            let error = loop {
                match file.write(&[7; 5000]).await {
                    Ok(more) => written += more as u64,
                    Err(error) => break error,
                }
            };
            assert_eq!(error, Error::NoSpace);
            assert!(free - written < 5000);
            assert_eq!(file.len().await?, written);
            while file.write(&[7; 512]).await.is_ok() {}
            file.close().await?;
            assert_eq!(volume.space().await?.free, 0);
            assert_eq!(volume.write("one more", b"x").await, Err(Error::NoSpace));
            assert_eq!(volume.create_dir("d").await, Err(Error::NoSpace));
            volume.remove_file("all").await?;
            assert_eq!(volume.space().await?.free, free);
            volume.sync().await
        })
        .unwrap();
        assert_clean(&device.contents());
    }
}

#[test]
fn read_only() {
    let mut bytes = image(Kind::Fat12);
    {
        let device = Disk::from_bytes(512, bytes, 1);
        let volume = mount(&device);
        fake::run(volume.write("f", b"f")).unwrap();
        fake::run(volume.sync()).unwrap();
        bytes = device.contents();
    }
    let device = Disk::from_bytes(512, bytes, 1);
    let options = Options { is_read_only: true, ..Options::default() };
    let volume = fake::run(Volume::mount(&device, options)).unwrap();
    fake::run(async {
        assert!(volume.is_read_only().await?);
        assert_eq!(volume.read("f").await?, b"f");
        assert_eq!(volume.write("f", b"g").await, Err(Error::ReadOnly));
        assert_eq!(volume.create("x").await.err(), Some(Error::ReadOnly));
        assert_eq!(volume.remove_file("f").await, Err(Error::ReadOnly));
        assert_eq!(volume.create_dir("d").await, Err(Error::ReadOnly));
        assert_eq!(volume.rename("f", "g").await, Err(Error::ReadOnly));
        volume.sync().await
    })
    .unwrap();
    assert_eq!((device.counts().writes, device.counts().flushes), (0, 0));
}

/// Blocks of 4096 bytes with sectors of 512, and the other way round; larger ones are refused.
#[test]
fn block_sizes() {
    for (block, sector) in [(512, 512), (512, 4096), (4096, 512), (4096, 4096), (2048, 512)] {
        for kind in [Kind::Fat12, Kind::Fat16] {
            let kib = if kind == Kind::Fat12 { 4 << 10 } else { 32 << 10 };
            let device =
                Disk::from_bytes(block, make(kind, kib, block, sector, 4096), 1).with_polls(0);
            let volume = mount(&device);
            let long: Vec<u8> = (0..100_000_u32).map(|at| (at / 7) as u8).collect();
            fake::run(async {
                volume.create_dir("d").await?;
                volume.write("d/f", &long).await?;
                volume.rename("d/f", "g").await?;
                volume.sync().await?;
                assert_eq!(mount(&device).read("g").await?, long, "{block} {sector}");
                Ok::<(), Error>(())
            })
            .unwrap();
            assert_clean(&device.contents());
        }
    }
    let large = RamDisk::new(8192, 1000).unwrap();
    assert_eq!(fake::run(Volume::mount(large, Options::default())).err(), Some(Error::Unsupported));
    let empty = RamDisk::new(512, 1000).unwrap();
    assert_eq!(fake::run(Volume::mount(empty, Options::default())).err(), Some(Error::NotFat));
}

/// Long transfers are few requests.
#[test]
fn few_requests() {
    let device =
        Disk::from_bytes(512, make(Kind::Fat32, 300 << 10, 512, 512, 4096), 1).with_polls(0);
    let volume = mount(&device);
    fake::run(async {
        volume.write("f", &vec![1; 4 << 20]).await?;
        let mut file = volume.open("f").await?;
        let mut bytes = vec![0; 64 << 10];
        let before = device.counts();
        for _ in 0..64 {
            assert_eq!(file.read(&mut bytes).await?, bytes.len());
        }
        let reads = device.counts().reads - before.reads;
        assert!(reads <= 80, "{reads} reads");
        Ok::<(), Error>(())
    })
    .unwrap();
}

/// Several tasks, polled in turns by several threads, each with its own files, in one directory.
#[test]
fn many_tasks() {
    let disk = Disk::from_bytes(512, image(Kind::Fat16), 1);
    let device = Arc::new(disk);
    let volume = mount(Arc::clone(&device));
    let work = |volume: Volume<Arc<Disk>>, task: u8| async move {
        for round in 0..20_u8 {
            let path = format!("task {task}");
            let mut file = volume.open_with(&path, OpenOptions::new().append().create()).await?;
            file.write_all(&[round; 300]).await?;
            if round % 2 == 0 {
                file.close().await?;
            }
            volume.write(&format!("{path} {round}"), &[task; 10]).await?;
            if round % 3 == 0 {
                volume.remove_file(&format!("{path} {round}")).await?;
            }
        }
        Ok::<(), Error>(())
    };
    std::thread::scope(|scope| {
        for pair in 0..2 {
            let volume = &volume;
            scope.spawn(move || {
                let (mut left, mut right) = (
                    super::boxed(work(volume.clone(), pair * 2)),
                    super::boxed(work(volume.clone(), pair * 2 + 1)),
                );
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let mut done = [false; 2];
                while done != [true; 2] {
                    for (task, done) in [&mut left, &mut right].into_iter().zip(&mut done) {
                        if !*done
                            && let std::task::Poll::Ready(result) = task.as_mut().poll(&mut context)
                        {
                            result.unwrap();
                            *done = true;
                        }
                    }
                    std::thread::yield_now();
                }
            });
        }
    });
    fake::run(async {
        for task in 0..4 {
            let bytes = volume.read(&format!("task {task}")).await?;
            assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at / 300));
            assert_eq!(bytes.len(), 6000);
        }
        assert_eq!(volume.0.begin().await?.pinned(), 0);
        volume.sync().await
    })
    .unwrap();
    assert_clean(&device.contents());
}

/// Tasks move between harts where the device can.
#[test]
fn futures_are_send() {
    fn check<T: Send>(_: &T) {}
    let volume = mount(Arc::new(disk(Kind::Fat12)));
    check(&volume);
    check(&Volume::mount(Arc::new(disk(Kind::Fat12)), Options::default()));
    check(&volume.read("f"));
    check(&volume.write("f", b""));
    check(&volume.rename("f", "g"));
    check(&volume.create_dir("d"));
    check(&volume.remove_file("f"));
    check(&volume.sync());
    let mut file = fake::run(volume.create("f")).unwrap();
    check(&file.read(&mut [0]));
    check(&file.write(&[0]));
    check(&file.set_len(3));
    check(&file.sync());
    check(&file.close());
    let mut entries = fake::run(volume.read_dir("")).unwrap();
    check(&entries.next());
}

/// A device that is gone, or bad, is an error, and so is what comes after it.
#[test]
fn broken_devices() {
    let device = disk(Kind::Fat16);
    let volume = mount(&device);
    fake::run(async {
        volume.write("f", &[1; 3000]).await?;
        volume.sync().await?;
        let start =
            device.contents().chunks(512).position(|block| block == [1; 512]).unwrap() as u64;
        device.damage(start..start + 2);
        assert_eq!(volume.read("f").await, Err(Error::Device));
        device.mend();
        assert_eq!(volume.read("f").await?, [1; 3000]);
        device.cut();
        assert_eq!(volume.read("f").await, Err(Error::Gone));
        assert_eq!(volume.write("g", b"g").await, Err(Error::Gone));
        Ok::<(), Error>(())
    })
    .unwrap();
}

/// What was read further than asked for is forgotten when the call ends, so nobody gets what was there long ago.
#[test]
fn blocks_are_read_anew_by_each_call() {
    let disk = super::disk(Kind::Fat16);
    let volume = super::mount(&disk);
    fake::run(async {
        volume.write("A", &[b'a'; 1024]).await?;
        let file = volume.open("A").await?;
        let mut part = [0; 512];
        file.read_at(0, &mut part).await?;
        assert_eq!(part, [b'a'; 512]);
        let is_of_a = |block: &[u8]| block == [b'a'; 512];
        let first = disk.contents().chunks(512).position(is_of_a).unwrap() as u64;
        disk.write(first + 1, &[b'b'; 512]).await.unwrap();
        file.read_at(512, &mut part).await?;
        assert_eq!(part, [b'b'; 512]);
        Ok::<(), Error>(())
    })
    .unwrap();
}
