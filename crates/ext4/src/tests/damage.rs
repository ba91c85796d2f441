//! Volumes that are damaged, or made to do damage.

use std::{cell::Cell, collections::BTreeMap, time::Instant};

use wakeful_block::{
    BlockDevice,
    fake::{self, Random},
};

use super::image::{self, Damaged, Scratch, slow_disk};
use crate::{Error, SeekFrom, Volume};

/// Reads all that a volume says to have, within reason; returns what was wrong.
async fn read_all<D: BlockDevice>(volume: &Volume<D>) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut directories = vec![b"".to_vec()];
    let mut buffer = vec![0; 64 << 10];
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        let mut entries = match volume.read_dir(&directory).await {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        loop {
            let entry = match entries.next().await {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    errors.push(error);
                    break;
                }
            };
            seen += 1;
            if seen > 3000 {
                return errors;
            }
            let path = [&directory[..], b"/", entry.file_name()].concat();
            match entry.metadata().await {
                Ok(metadata) if metadata.is_dir() && path.len() < 200 => directories.push(path),
                // One in seven, which is enough of a thousand files that are the same.
                Ok(_) if seen % 7 == 0 || path.len() < 20 => {
                    errors.extend(volume.read_link(&path).await.err());
                    errors.extend(read_some(volume, &path, &mut buffer).await.err());
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    errors
}

/// A file's beginning, its end, and places between.
async fn read_some<D: BlockDevice>(
    volume: &Volume<D>,
    path: &[u8],
    buffer: &mut [u8],
) -> Result<(), Error> {
    let mut file = volume.open(path).await?;
    let len = file.len();
    for at in [0, len / 2, len.saturating_sub(10), u64::MAX - 10] {
        file.seek(SeekFrom::Start(at))?;
        file.read(buffer).await?;
    }
    Ok(())
}

/// A thousand images with some bytes that are wrong: errors only, and no more work than what the volume's size
/// explains.
#[test]
fn any_damage() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    eprintln!("seed {seed}");
    let scratch = Scratch::new();
    let tree = image::tree(&scratch);
    let mut images = vec![(image::kept(), 1000)];
    // Checksums would hide most damage.
    for kind in [
        &["-b", "1024", "-O", "^metadata_csum"][..],
        &["-b", "1024", "-O", "^metadata_csum,^extents,^64bit"],
        &["-b", "4096"],
    ] {
        images.extend(image::make(&tree, kind).map(|image| (image, 350)));
    }
    for (image, usual_rounds) in images {
        let mut random = Random::new(seed);
        let mut errors = BTreeMap::<String, u64>::new();
        let (mut most_reads, mut slowest) = (0, 0);
        // Where there is anything, and not the contents of files, which may be what they like.
        let used: Vec<usize> = image
            .chunks(64)
            .enumerate()
            .filter(|(_, bytes)| bytes.iter().filter(|byte| **byte == 0).count() > 4)
            .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
            .map(|(number, _)| number * 64)
            .collect();
        for round in 0..rounds.unwrap_or(usual_rounds) {
            let mut bytes = BTreeMap::new();
            for _ in 0..=random.below(20) {
                let at = match random.below(3) {
                    0 => 1024 + random.below(1024) as usize,
                    _ => used[random.below(used.len() as u64) as usize] + random.below(64) as usize,
                };
                let byte = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => image[at] ^ 1 << random.below(8),
                    _ => random.number() as u8,
                };
                bytes.insert(at, byte);
            }
            let disk = Damaged { image: &image, bytes, reads: Cell::new(0) };
            let start = Instant::now();
            let found = fake::run(async {
                match Volume::mount(&disk).await {
                    Ok(volume) => read_all(&volume).await,
                    Err(error) => vec![error],
                }
            });
            for error in found {
                assert!(
                    !matches!(error, Error::Device | Error::Gone | Error::OutOfMemory),
                    "{error:?}"
                );
                *errors.entry(format!("{error:?}")).or_default() += 1;
            }
            slowest = slowest.max(start.elapsed().as_millis());
            most_reads = most_reads.max(disk.reads.get());
            assert!(disk.reads.get() < 200_000, "round {round} of seed {seed}");
        }
        eprintln!("at most {most_reads} requests and {slowest} ms; {errors:?}");
        assert!(!errors.is_empty());
    }
}

/// A block that cannot be read is an error of what is in it, and only as long as it cannot.
#[test]
fn bad_blocks() {
    fake::run(async {
        let disk = slow_disk(512, &image::kept());
        let volume = Volume::mount(&disk).await.unwrap();
        let file = volume.open("hello").await.unwrap();
        disk.damage(0..u64::MAX);
        assert_eq!(file.read_at(0, &mut [0; 9]).await, Err(Error::Device));
        assert_eq!(volume.read("sub/pieces").await, Err(Error::Device));
        disk.mend();
        let mut bytes = [0; 9];
        assert_eq!(file.read_at(0, &mut bytes).await, Ok(9));
        assert_eq!(&bytes, b"Hello, wo");
        disk.cut();
        assert_eq!(volume.read("sub/pieces").await, Err(Error::Gone));
    });
}
