//! Numbers for the README: requests for each operation, and sizes of futures. Upper bounds are checked, so that they do not grow unseen;
//! `cargo test … measure -- --nocapture` says them.

use std::mem::size_of_val;

use wakeful_block::{
    BlockDevice, RamDisk,
    fake::{self, Random},
};

use super::sparse::Sparse;
use crate::{Cache, Error, Kind, OpenOptions, Options, Volume};

/// Says what was asked of the disk since the last time, and that it was no more than this in all.
fn say(disk: &Sparse, what: &str, most: u64) {
    let counts = disk.take_counts();
    let [reads, writes, flushes] = counts;
    eprintln!("| {what} | {reads} | {writes} | {flushes} |");
    assert!(counts.iter().sum::<u64>() <= most, "{what}: {counts:?}");
}

#[test]
fn requests() {
    for (cache, factor) in [(Cache::default(), 1), (Cache::NONE, 60)] {
        let disk = Sparse::formatted(Kind::Fat32, 300 << 20, 4096);
        disk.take_counts();
        let options = Options { cache, ..Options::default() };
        let volume = fake::run(Volume::mount(&disk, options)).unwrap();
        eprintln!("{cache:?}\n| | reads | writes | flushes |\n|---|---:|---:|---:|");
        say(&disk, "mounting", 12);
        fake::run(measure(&disk, &volume, factor)).unwrap();
    }
}

async fn measure<D: BlockDevice>(
    disk: &Sparse,
    volume: &Volume<D>,
    factor: u64,
) -> Result<(), Error> {
    volume.write("big", &vec![5; 16 << 20]).await?;
    say(disk, "16 MiB written", 2000);
    volume.sync().await?;
    say(disk, "sync", 20);
    volume.write("small", &[1; 8192]).await?;
    say(disk, "a file of 8 KiB made", 60);
    volume.rename("small", "other").await?;
    say(disk, "renamed", 30);
    volume.write("small", &[2; 8192]).await?;
    disk.take_counts();
    volume.rename("small", "other").await?;
    say(disk, "in the place of another", 60);
    volume.remove_file("other").await?;
    say(disk, "removed", 20);
    let log = OpenOptions::new().append().create();
    volume.open_with("log", log).await?.close().await?;
    disk.take_counts();
    let mut file = volume.open_with("log", log).await?;
    for _ in 0..100 {
        file.write(&[1; 100]).await?;
    }
    say(disk, "100 lines of 100 bytes appended", 600);
    for _ in 0..100 {
        file.write(&[1; 100]).await?;
        file.sync().await?;
    }
    say(disk, "the same, each synced", 1500);
    file.close().await?;
    let mut file = volume.open("big").await?;
    let mut bytes = vec![0; 64 << 10];
    disk.take_counts();
    while file.read(&mut bytes).await? > 0 {}
    say(disk, "16 MiB read by 64 KiB", 600);
    for at in 0..4096 {
        file.read_at(at * 4096, &mut bytes[..4096]).await?;
    }
    say(disk, "16 MiB read by 4 KiB", 4500);
    let mut random = Random::new(1);
    for _ in 0..1000 {
        file.read_at(random.below(4096) * 4096, &mut bytes[..4096]).await?;
    }
    say(disk, "1,000 random reads of 4 KiB", 1300 * factor);
    file.close().await?;
    volume.create_dir("d").await?;
    disk.take_counts();
    for number in 0..1000 {
        volume.write(&format!("d/a long file name {number:04}.txt"), &[1; 10]).await?;
    }
    say(disk, "1,000 files made", 40_000 * factor);
    volume.read("d/a long file name 0999.txt").await?;
    disk.take_counts();
    volume.read("d/a long file name 0999.txt").await?;
    say(disk, "the last of them read", 130);
    let mut entries = volume.read_dir("d").await?;
    while entries.next().await?.is_some() {}
    drop(entries);
    say(disk, "all of them listed", 500 * factor);
    for number in 0..1000 {
        volume.remove_file(&format!("d/a long file name {number:04}.txt")).await?;
    }
    say(disk, "and removed", 20_000 * factor);
    Ok(())
}

/// A task has 16 KiB for its future, and others use these within theirs.
#[test]
fn sizes_of_futures() {
    let disk = RamDisk::new(512, 2048).unwrap();
    let mount = Volume::mount(&disk, Options::default());
    let bytes = super::image(Kind::Fat12);
    let device = fake::Disk::from_bytes(512, bytes, 1);
    let volume = super::mount(&device);
    let mut file =
        fake::run(volume.open_with("f", OpenOptions::new().read().write().create())).unwrap();
    let mut entries = fake::run(volume.read_dir("")).unwrap();
    let mut list = vec![
        ("mount", size_of_val(&mount)),
        ("open_with", size_of_val(&volume.open("f"))),
        ("metadata", size_of_val(&volume.metadata("f"))),
        ("create_dir", size_of_val(&volume.create_dir("d"))),
        ("remove_file", size_of_val(&volume.remove_file("f"))),
        ("rename", size_of_val(&volume.rename("f", "g"))),
        ("sync", size_of_val(&volume.sync())),
        ("Volume::read", size_of_val(&volume.read("f"))),
        ("Volume::write", size_of_val(&volume.write("f", b""))),
        ("next", size_of_val(&entries.next())),
        ("File::read", size_of_val(&file.read(&mut []))),
    ];
    list.push(("File::write", size_of_val(&file.write(b""))));
    list.push(("close", size_of_val(&file.close())));
    for (name, size) in list {
        eprintln!("{name}: {size} bytes");
        assert!(size <= 12 << 10, "{name}: {size} bytes");
    }
}

/// A volume of 2 GiB, to its last cluster.
#[test]
fn two_gigabytes() {
    let disk = Sparse::formatted(Kind::Fat32, 2 << 30, 16 << 10);
    let volume = super::mount(&disk);
    fake::run(async {
        let mut file = volume.create("zeros").await?;
        let chunk = vec![0; 256 << 10];
        let mut written = 0_u64;
        let error = loop {
            match file.write(&chunk).await {
                Ok(more) => written += more as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::NoSpace);
        file.write_at(written - 3, b"end").await?;
        file.close().await?;
        let space = volume.space().await?;
        assert!(space.free < 256 << 10 && written > 2 * 1000 * 1000 * 1000, "{written} {space:?}");
        volume.sync().await?;
        let again = super::mount(&disk);
        let file = again.open("zeros").await?;
        let mut bytes = [0; 8];
        assert_eq!(file.read_at(written - 5, &mut bytes).await?, 5);
        assert_eq!(&bytes[..5], b"\0\0end");
        drop(file);
        again.remove_file("zeros").await?;
        assert_eq!(again.space().await?.free, space.total - (16 << 10));
        Ok::<(), Error>(())
    })
    .unwrap();
}
