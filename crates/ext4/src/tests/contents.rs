//! What comes out is what went in.

use std::{fs, os::unix::fs::MetadataExt, path::Path, pin::Pin};

use embedded_io_async::Read;
use wakeful_block::{
    BlockDevice, RamDisk,
    fake::{self, Random},
};

use super::image::{self, Scratch, disk, pattern, slow_disk};
use crate::{Error, FileType, Options, SeekFrom, Volume};

/// Compares a directory of this computer with one of a volume, and all below; returns how many entries it has seen.
fn compare<'a, D: BlockDevice>(
    volume: &'a Volume<D>,
    here: &'a Path,
    there: String,
) -> Pin<Box<dyn Future<Output = usize> + 'a>> {
    Box::pin(async move {
        let mut expected: Vec<_> =
            fs::read_dir(here).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let mut count = 0;
        let mut entries = volume.read_dir(&there).await.unwrap();
        while let Some(entry) = entries.next().await.unwrap() {
            let name = str::from_utf8(entry.file_name()).unwrap();
            if there.is_empty() && name == "lost+found" {
                continue;
            }
            let at = expected.iter().position(|expected| expected == name);
            expected.swap_remove(at.unwrap_or_else(|| panic!("{name} twice, or never written")));
            count += 1;
            let (here, there) = (here.join(name), format!("{there}/{name}"));
            let (expected, found) =
                (here.symlink_metadata().unwrap(), entry.metadata().await.unwrap());
            assert_eq!(found, volume.symlink_metadata(&there).await.unwrap());
            assert_eq!(found.file_type(), entry.file_type());
            assert_eq!(u32::from(found.mode()), expected.mode() & 0o7777);
            assert_eq!(found.modified().seconds, expected.mtime(), "{there}");
            if found.is_dir() {
                count += compare(volume, &here, there).await;
            } else if found.is_symlink() {
                let target = fs::read_link(here).unwrap();
                assert_eq!(
                    volume.read_link(there).await.unwrap(),
                    target.as_os_str().as_encoded_bytes()
                );
            } else {
                assert_eq!(found.len(), expected.len());
                assert!(volume.read(&there).await.unwrap() == fs::read(here).unwrap(), "{there}");
            }
        }
        assert!(expected.is_empty(), "missing: {expected:?}");
        count
    })
}

const KINDS: &[&[&str]] = &[
    &["-b", "4096"],
    &["-b", "2048"],
    &["-b", "1024"],
    &["-b", "4096", "-O", "^extents,^64bit"],
    &["-b", "1024", "-O", "^extents,^64bit,^metadata_csum"],
    &["-b", "1024", "-t", "ext2"],
    &["-b", "2048", "-t", "ext3", "-I", "128"],
    &["-b", "4096", "-C", "8192", "-O", "bigalloc,^has_journal"],
    &["-b", "1024", "-O", "metadata_csum_seed,large_dir,^flex_bg,ea_inode"],
];

/// The entries of the tree.
const COUNT: usize = 1062;

#[test]
fn all_that_went_in() {
    let scratch = Scratch::new();
    let tree = image::tree(&scratch);
    for (kind, device_block) in KINDS.iter().zip([512, 4096].into_iter().cycle()) {
        let Some(image) = image::make(&tree, kind) else { return };
        let count = fake::run(async {
            let volume = Volume::mount(disk(device_block, &image)).await.unwrap();
            compare(&volume, &tree, String::new()).await
        });
        assert_eq!(count, COUNT, "{kind:?}");
    }
}

/// A cache of one line is as good as any.
#[test]
fn little_memory() {
    let scratch = Scratch::new();
    let tree = image::tree(&scratch);
    let Some(image) = image::make(&tree, &["-b", "1024"]) else { return };
    let options = Options { cache: 0, line: 512 };
    fake::run(async {
        let volume = Volume::mount_with(disk(512, &image), options).await.unwrap();
        compare(&volume, &tree, String::new()).await
    });
}

#[test]
fn paths() {
    let scratch = Scratch::new();
    let tree = image::tree(&scratch);
    let Some(image) = image::make(&tree, &[]) else { return };
    fake::run(async {
        let volume = Volume::mount(disk(512, &image)).await.unwrap();
        for path in [
            "deep/er/and/deeper/file",
            "//deep/./er//and/../and/deeper/file",
            "/../deep/er/and/deeper/file",
            "short/and/deeper/file",
            "absolute/deeper/file",
            "deep/er/and/home/deeper/file",
            "long",
            "short/around/deeper/file",
            "deep/er/around/deeper/../../and/deeper/file",
        ] {
            assert_eq!(volume.read(path).await.unwrap(), b"down here", "{path}");
        }
        for (path, error) in [
            ("nothing", Error::NotFound),
            ("dangling", Error::NotFound),
            ("deep/nothing/file", Error::NotFound),
            ("big/file", Error::NotADirectory),
            ("big/", Error::NotADirectory),
            ("big/.", Error::NotADirectory),
            ("", Error::IsADirectory),
            ("/", Error::IsADirectory),
            ("short", Error::IsADirectory),
            ("loop", Error::TooManyLinks),
            ("loop/file", Error::TooManyLinks),
            ("link 41", Error::TooManyLinks),
            (&"m".repeat(256), Error::NameTooLong),
            (&"./".repeat(2049), Error::NameTooLong),
        ] {
            assert_eq!(volume.open(path).await.unwrap_err(), error, "{path}");
        }
        assert!(volume.open("link 40").await.unwrap().is_empty());
        assert!(volume.open("./".repeat(2046) + "big").await.is_ok());
        assert_eq!(volume.read_dir("big").await.unwrap_err(), Error::NotADirectory);
        assert_eq!(volume.read_link("big").await.unwrap_err(), Error::NotALink);
        assert_eq!(volume.read_link("short").await.unwrap(), b"deep/er");
        assert!(volume.metadata("short").await.unwrap().is_dir());
        assert!(volume.metadata("short/").await.unwrap().is_dir());
        assert!(volume.symlink_metadata("short").await.unwrap().is_symlink());
        assert!(volume.symlink_metadata("short/").await.unwrap().is_dir());
    });
}

/// Anywhere, in any lengths, with and without a position.
#[test]
fn parts_of_files() {
    const SEED: u64 = 7;
    eprintln!("seed {SEED}");
    let scratch = Scratch::new();
    let tree = image::tree(&scratch);
    for kind in [&["-b", "1024"][..], &["-b", "1024", "-O", "^extents,^64bit"]] {
        let Some(image) = image::make(&tree, kind) else { return };
        let mut random = Random::new(SEED);
        fake::run(async {
            let volume = Volume::mount(disk(512, &image)).await.unwrap();
            for name in ["big", "pieces", "islands"] {
                let whole = fs::read(tree.join(name)).unwrap();
                let mut file = volume.open(name).await.unwrap();
                for _ in 0..500 {
                    let at = random.below(whole.len() as u64 + 100);
                    let most = 1 << random.below(18);
                    let mut into = vec![1; random.below(most) as usize];
                    let expected = whole.get(at as usize..).unwrap_or_default();
                    let expected = &expected[..expected.len().min(into.len())];
                    let len = if random.below(2) == 0 {
                        file.read_at(at, &mut into).await.unwrap()
                    } else {
                        file.seek(SeekFrom::Start(at)).unwrap();
                        let len = Read::read(&mut file, &mut into).await.unwrap();
                        assert_eq!(file.position(), at + len as u64);
                        len
                    };
                    assert!(into[..len] == *expected, "{name} at {at}, {} bytes", into.len());
                }
                assert_eq!(file.seek(SeekFrom::End(-2)), Ok(whole.len() as u64 - 2));
                assert_eq!(file.seek(SeekFrom::Current(-1)), Ok(whole.len() as u64 - 3));
                assert_eq!(file.seek(SeekFrom::Current(i64::MIN)), Err(Error::OutOfRange));
                assert_eq!(file.read(&mut [0; 9]).await, Ok(3));
                file.seek(SeekFrom::Start(u64::MAX)).unwrap();
                assert_eq!(file.read(&mut [0; 9]).await, Ok(0));
            }
        });
    }
}

/// Blocks that belong to a file and were never written hold what others had written there: they are zeros.
#[test]
fn blocks_that_were_never_written() {
    let scratch = Scratch::new();
    let tree = scratch.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "hello").unwrap();
    let Some(image) = image::make(&tree, &["-b", "4096"]) else { return };
    let commands = "write DIR/secret /secret\nrm /secret\nfallocate /file 1 999\nset_inode_field /file size 4096000\n";
    let secret = pattern(20_000_000, 3);
    let Some(image) = image::edit(&image, commands, &[("secret", &secret)]) else { return };
    let file = fake::run(async {
        let volume = Volume::mount(disk(512, &image)).await.unwrap();
        volume.read("file").await.unwrap()
    });
    assert!(file.len() == 4_096_000 && file.starts_with(b"hello"));
    assert!(file[5..].iter().all(|byte| *byte == 0));
}

/// Before 1970, and after 2038, with parts of a second.
#[test]
fn times() {
    let scratch = Scratch::new();
    let tree = scratch.path("tree");
    fs::create_dir(&tree).unwrap();
    for (name, seconds) in [("old", -86_400.5), ("late", 4_000_000_000.25)] {
        let file = fs::File::create(tree.join(name)).unwrap();
        let epoch = std::time::UNIX_EPOCH;
        let by = std::time::Duration::from_secs_f64(f64::abs(seconds));
        let time = if seconds < 0.0 { epoch - by } else { epoch + by };
        file.set_modified(time).unwrap();
    }
    // mkfs writes 32 bits of seconds; debugfs writes all.
    let Some(image) = image::make(&tree, &[]) else { return };
    let commands = "set_inode_field /late mtime @4000000000\nset_inode_field /old mtime @-86401\n";
    let Some(image) = image::edit(&image, commands, &[]) else { return };
    fake::run(async {
        let volume = Volume::mount(disk(512, &image)).await.unwrap();
        let late = volume.metadata("late").await.unwrap().modified();
        assert_eq!(late.seconds, 4_000_000_000);
        assert_eq!(volume.metadata("old").await.unwrap().modified().seconds, -86_401);
    });
}

/// What was committed to the journal is what is read; what is not committed, or was revoked, is not.
#[test]
fn journal() {
    let scratch = Scratch::new();
    let tree = scratch.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(tree.join(name), pattern(8192, 0)).unwrap();
    }
    let new = [pattern(4096, 1), pattern(8192, 2), pattern(4096, 3)];
    let names = ["new0", "new1", "new2"];
    let files: Vec<_> = names.into_iter().zip(new.iter().map(|bytes| bytes.as_slice())).collect();
    for (open, kind) in [
        ("jo -c", &["-b", "4096"][..]),
        ("jo", &["-b", "4096", "-O", "^metadata_csum,^64bit"]),
        ("jo", &["-b", "4096", "-O", "^metadata_csum"]),
    ] {
        let Some(image) = image::make(&tree, kind) else { return };
        let blocks = ["a", "b", "c"].map(|name| {
            let path = scratch.path("image");
            fs::write(&path, &image).unwrap();
            let request = format!("bmap /{name} 1");
            image::run("debugfs", &["-R", &request, path.to_str().unwrap()])
        });
        let [Some(a), Some(b), Some(c)] =
            blocks.map(|text| text.map(|text| text.trim().to_owned()))
        else {
            return;
        };
        let commands = format!(
            "{open}\njw -b {a} DIR/new0\njw -b {b},{a} DIR/new1\njw -b {c} DIR/new2\njw -r {c}\njc\n"
        );
        let Some(image) = image::edit(&image, &commands, &files) else { return };
        let old = pattern(8192, 0);
        let read = |image: &[u8]| {
            fake::run(async {
                let volume = Volume::mount(disk(512, image)).await.unwrap();
                let mut seconds = Vec::new();
                for name in ["a", "b", "c"] {
                    let file = volume.read(name).await.unwrap();
                    assert!(file[..4096] == old[..4096], "{name} {kind:?}");
                    seconds.push(file[4096..].to_vec());
                }
                seconds
            })
        };
        assert!(read(&image) == [&new[1][4096..], &new[1][..4096], &old[4096..]], "{kind:?}");
        if open == "jo -c" {
            // The second transaction is torn: what came before it is all there is.
            let torn = image.chunks(4096).position(|block| *block == new[1][4096..]).unwrap();
            let mut image = image;
            image[torn * 4096] ^= 1;
            assert!(read(&image) == [&new[0][..], &old[4096..], &old[4096..]]);
        }
    }
}

/// One that needs no tools.
#[test]
fn kept_image() {
    fake::run(async {
        for block_size in [512, 4096] {
            let volume = Volume::mount(disk(block_size, &image::kept())).await.unwrap();
            assert_eq!(volume.read("hello").await.unwrap(), b"Hello, world!\n");
            assert_eq!(volume.read("/sub/link").await.unwrap(), b"Hello, world!\n");
            assert_eq!(volume.read_link("/sub/link").await.unwrap(), b"../hello");
            let pieces = volume.read("sub/pieces").await.unwrap();
            assert_eq!(pieces.len(), 40 * 2048 + 7);
            for (i, piece) in pieces.chunks(2048).enumerate() {
                let written = if i < 40 { [b'a' + (i % 26) as u8; 4] } else { [0; 4] };
                assert!(piece[..4] == written, "{i}");
                assert!(piece[4..].iter().all(|byte| *byte == 0), "{i}");
            }
            let mut names = Vec::new();
            let mut entries = volume.read_dir("/").await.unwrap();
            while let Some(entry) = entries.next().await.unwrap() {
                names.push((entry.file_name().to_vec(), entry.file_type()));
            }
            names.sort_by(|left, right| left.0.cmp(&right.0));
            let expected: [(&[u8], _); 3] = [
                (b"hello", FileType::File),
                (b"lost+found", FileType::Directory),
                (b"sub", FileType::Directory),
            ];
            assert!(names.iter().map(|(name, kind)| (name.as_slice(), *kind)).eq(expected));
            let metadata = volume.metadata("hello").await.unwrap();
            assert_eq!((metadata.mode(), metadata.modified().seconds), (0o640, 1_000_000_000));
        }
    });
}

#[test]
fn what_is_no_volume() {
    fake::run(async {
        let mount = async |image: &[u8]| {
            let image = &image[..image.len() / 512 * 512];
            Volume::mount(disk(512, image)).await.map(|_| ()).unwrap_err()
        };
        assert_eq!(mount(&[]).await, Error::NotExt4);
        assert_eq!(mount(&[0; 1024]).await, Error::NotExt4);
        assert_eq!(mount(&[0xff; 1 << 16]).await, Error::NotExt4);
        let image = image::kept();
        assert_eq!(mount(&image[..image.len() - 512]).await, Error::Corrupt);
        let disk = RamDisk::new(64 << 10, 1).unwrap();
        assert_eq!(Volume::mount(disk).await.unwrap_err(), Error::NotExt4);
    });
}

/// How often the device is asked; the README has these numbers.
#[test]
fn requests() {
    let scratch = Scratch::new();
    let tree = image::tree(&scratch);
    let Some(image) = image::make(&tree, &["-b", "4096"]) else { return };
    let disk = slow_disk(512, &image);
    let mut last = 0;
    let mut since = |what: &str, most: u64| {
        let now = disk.counts().reads;
        eprintln!("{what}: {} requests", now - last);
        assert!(now - last <= most, "{what}");
        last = now;
    };
    fake::run(async {
        let volume = Volume::mount(&disk).await.unwrap();
        since("mount", 1);
        let mut file = volume.open("big").await.unwrap();
        since("open", 5);
        let mut buffer = vec![0; 64 << 10];
        while file.read(&mut buffer).await.unwrap() > 0 {}
        since("1 MiB by 64 KiB", 18);
        volume.read("big").await.unwrap();
        since("1 MiB at once", 2);
        file.seek(SeekFrom::Start(0)).unwrap();
        while file.read(&mut buffer[..512]).await.unwrap() > 0 {}
        since("1 MiB by 512 bytes", 129);
    });
    let fresh = |image: &[u8]| slow_disk(512, image);
    for (what, most) in [("directory of 1,000", 18), ("one file in it", 21)] {
        let disk = fresh(&image);
        fake::run(async {
            let volume = Volume::mount(&disk).await.unwrap();
            if what.starts_with("one") {
                volume.read("d/a rather long file name 0777.txt").await.unwrap();
            } else {
                let mut entries = volume.read_dir("d").await.unwrap();
                while entries.next().await.unwrap().is_some() {}
            }
        });
        eprintln!("{what}: {} requests with the mount", disk.counts().reads);
        assert!(disk.counts().reads <= most, "{what}");
    }
}
