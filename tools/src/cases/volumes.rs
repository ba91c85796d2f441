//! Volumes that were made by other programs and are read by the machine, and the other way round.
//!
//! `disksuite` prints the length and a sum of each file that it finds; here they are compared with what was put there,
//! or with what others find on a volume that the machine has written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::case::{Case, Disks, Image, exit};
use crate::disk::{self, Disk, SFDISK};
use crate::peer::Random;
use crate::virtio::Virtio;
use crate::workspace::Profile;

const DISKSUITE: Image = Image::Package("disksuite", Profile::Release);

/// The volume, and the folder of which it is made or into which it is copied.
const VOLUME: &str = "volume.img";
const FOLDER: &str = "files";

const MKFS_VFAT: &str = "mkfs.vfat";
const MCOPY: &str = "mcopy";
const FSCK_VFAT: &str = "fsck.vfat";
const MKFS_EXT4: &str = "mkfs.ext4";

/// Where the first partition of a disk is, in sectors.
const FIRST: u64 = 2048;

pub(super) fn all() -> Vec<Case> {
    let tree = |name, make: fn(&Path) -> Result<Vec<Disk>>, needs| {
        let case = Case::new(name, DISKSUITE).append("-- case=tree").never("panicked at");
        long(case.disks(Disks { make, check: is_as_the_folder }, needs))
    };
    let written = |name, append: &str, make: fn(&Path) -> Result<Vec<Disk>>| {
        let case = Case::new(name, DISKSUITE).append(append);
        long(case.disks(Disks { make, check: others_agree }, &[FSCK_VFAT, MCOPY])).beside()
    };
    let model = |name, append: &str, make: fn(&Path) -> Result<Vec<Disk>>| {
        written(name, append, make).sees("the volume is as its model")
    };
    vec![
        model("volumes::model_fat12", "-- case=model steps=3000 seed=1", |at| formatted(at, 12)),
        model("volumes::model_fat16", "-- case=model steps=3000 seed=2", |at| formatted(at, 48))
            .virtio(Virtio::Mmio)
            .smp(4),
        model("volumes::model_fat32", "-- case=model steps=3000 seed=3", |at| formatted(at, 96))
            .virtio(Virtio::Pci),
        model("volumes::large", "-- case=model steps=2000 seed=4", |at| formatted(at, 2048)),
        model("volumes::soak_model", "-- case=model steps=100000 seed=5", |at| formatted(at, 96))
            .soak(),
        tree("volumes::vfat_12", |at| vfat(at, 12, "12", 0), &[MKFS_VFAT, MCOPY]),
        tree("volumes::vfat_16", |at| vfat(at, 64, "16", 0), &[MKFS_VFAT, MCOPY]).smp(4),
        tree("volumes::vfat_32", |at| vfat(at, 512, "32", 0), &[MKFS_VFAT, MCOPY])
            .virtio(Virtio::Pci),
        tree("volumes::vfat_32_of_2_gib", |at| vfat(at, 2048, "32", 0), &[MKFS_VFAT, MCOPY]),
        tree("volumes::mbr", |at| partitioned(at, "dos"), &[MKFS_VFAT, MCOPY, SFDISK]),
        tree("volumes::gpt", |at| partitioned(at, "gpt"), &[MKFS_VFAT, MCOPY, SFDISK]),
        tree("volumes::ext4", |at| ext4(at, &[]), &[MKFS_EXT4]),
        tree("volumes::ext2", |at| ext4(at, &["-t", "ext2", "-b", "1024"]), &[MKFS_EXT4]),
        tree("volumes::read_only", read_only, &[MKFS_VFAT, MCOPY]),
        written("volumes::full", "-- case=full", |at| formatted(at, 12)).sees("full after"),
        Case::new("volumes::nothing_there", DISKSUITE)
            .append("-- case=tree")
            .disk(Disk::zeros(1))
            .sees("Error: \"this is no ext2, ext3 or ext4 volume\"")
            .exits(exit::MAIN_ERR),
        Case::new("volumes::damaged_table", DISKSUITE)
            .append("-- case=tree")
            .disks(Disks { make: damaged_table, check: |_, _| Ok(()) }, &[SFDISK])
            .sees("Error: \"the table of partitions is damaged\"")
            .exits(exit::MAIN_ERR),
    ]
}

fn long(mut case: Case) -> Case {
    case.deadline = Duration::from_secs(300);
    case
}

/// A new volume for the machine to write.
fn formatted(folder: &Path, mib: u64) -> Result<Vec<Disk>> {
    disk::format(&folder.join(VOLUME), mib)?;
    Ok(vec![Disk::new(folder.join(VOLUME)).ignoring_flushes()])
}

/// `fsck.vfat` finds nothing, and `mtools` the same files as the machine.
fn others_agree(folder: &Path, console: &str) -> Result<()> {
    let volume = folder.join(VOLUME);
    run(Command::new(FSCK_VFAT).arg("-n").arg(&volume))?;
    let copy = folder.join(FOLDER);
    fs::create_dir(&copy)?;
    run(Command::new(MCOPY).args(["-s", "-n", "-i"]).arg(&volume).arg("::*").arg(&copy))?;
    is_as_the_folder(folder, console)
}

/// The machine has found the same files as there are in the folder.
fn is_as_the_folder(folder: &Path, console: &str) -> Result<()> {
    let mut there = BTreeMap::new();
    sums(&folder.join(FOLDER), "", &mut there)?;
    let mut found = BTreeMap::new();
    for line in console.lines().filter_map(|line| line.trim_end().strip_prefix("file|")) {
        let (path, sum) = line.split_once('|').context("a file without a sum")?;
        found.insert(path.to_owned(), sum.to_owned());
    }
    ensure!(!found.is_empty(), "the machine has found no files");
    for path in there.keys().chain(found.keys()) {
        let (is, should) = (found.get(path), there.get(path));
        ensure!(is == should, "{path}: {is:?} instead of {should:?}");
    }
    Ok(())
}

/// Lengths and sums of all files, as `disksuite` prints them.
fn sums(folder: &Path, path: &str, sums: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if path == "/lost+found" {
            continue;
        }
        if entry.metadata()?.is_dir() {
            self::sums(&entry.path(), &path, sums)?;
            continue;
        }
        let bytes = fs::read(entry.path())?;
        // FNV-1a in 64 bits (draft-eastlake-fnv).
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        sums.insert(path, format!("{}|{sum:016x}", bytes.len()));
    }
    Ok(())
}

/// A thousand files: names of each length, lengths from nothing to some hundred KiB, in folders in folders.
fn make_folder(folder: &Path) -> Result<()> {
    let folder = folder.join(FOLDER);
    fs::create_dir(&folder)?;
    let mut random = Random::new(7);
    let mut write = |path: &Path, len: usize| -> Result<()> {
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        Ok(fs::write(path, bytes)?)
    };
    for len in 1..=255 {
        // What is not ASCII counts once for FAT, and 2 for this computer.
        let name: String = ('a'..='z').cycle().take(len).collect();
        write(&folder.join(name), len)?;
    }
    let names =
        ["Ää ßé.txt", "two  spaces", "a.b.c.d", "UPPER.TXT", "lower.txt", "MiXed.Txt", "日本.html"];
    for (number, name) in names.iter().enumerate() {
        write(&folder.join(name), 511 + number)?;
    }
    let mut below = folder;
    for depth in 0..8 {
        below = below.join(format!("a folder at depth {depth}"));
        fs::create_dir(&below)?;
        for number in 0..92 {
            write(&below.join(format!("file {number} at depth {depth}.bin")), number * number)?;
        }
    }
    write(&below.join("large.bin"), 700_001)
}

/// A volume that `mkfs.vfat` and `mtools` have made, from a sector on.
fn vfat(folder: &Path, mib: u64, kind: &str, sector: u64) -> Result<Vec<Disk>> {
    make_folder(folder)?;
    let volume = folder.join(VOLUME);
    let file = fs::File::options().write(true).create(true).truncate(false).open(&volume)?;
    file.set_len(mib << 20)?;
    drop(file);
    let mut mkfs = Command::new(MKFS_VFAT);
    // Room for a thousand names in the first folder.
    mkfs.args(["-F", kind, "-r", "4096"]);
    if sector > 0 {
        mkfs.args(["--offset", &sector.to_string()]);
    }
    run(mkfs.arg(&volume).arg(((mib << 10) - sector / 2 - sector / 2).to_string()))?;
    let image = format!("{}@@{}", volume.display(), sector * 512);
    let files = fs::read_dir(folder.join(FOLDER))?.map(|entry| Ok(entry?.path()));
    let files = files.collect::<Result<Vec<_>>>()?;
    // It asks about names that are there already.
    let mut mcopy = Command::new(MCOPY);
    run(mcopy.args(["-s", "-i", &image]).args(files).arg("::").stdin(Stdio::null()))?;
    Ok(vec![Disk::new(volume)])
}

/// The same on the first partition of a disk.
fn partitioned(folder: &Path, label: &str) -> Result<Vec<Disk>> {
    let disks = vfat(folder, 64, "16", FIRST)?;
    let kind = if label == "gpt" { "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7" } else { "6" };
    let script = format!("label: {label}\nstart={FIRST}, type={kind}\n");
    disk::divide(&folder.join(VOLUME), &script)?;
    Ok(disks)
}

/// A table of `sfdisk`, of which both copies are wrong in one bit.
fn damaged_table(folder: &Path) -> Result<Vec<Disk>> {
    const SECTORS: u64 = 16 << 10;
    let image = folder.join(VOLUME);
    let file = fs::File::create_new(&image)?;
    file.set_len(SECTORS * 512)?;
    disk::divide(&image, "label: gpt\nstart=2048\n")?;
    for header in [1, SECTORS - 1] {
        // In the middle of the disk's GUID, which a checksum covers.
        let place = header * 512 + 60;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place)?;
        file.write_all_at(&[byte[0] ^ 1], place)?;
    }
    Ok(vec![Disk::new(image)])
}

/// A volume that `mkfs.ext4` has made.
fn ext4(folder: &Path, options: &[&str]) -> Result<Vec<Disk>> {
    make_folder(folder)?;
    let volume = folder.join(VOLUME);
    let mut mkfs = Command::new(MKFS_EXT4);
    mkfs.args(["-q", "-d"]).arg(folder.join(FOLDER)).args(options).arg(&volume).arg("48M");
    run(&mut mkfs)?;
    Ok(vec![Disk::new(volume)])
}

fn read_only(folder: &Path) -> Result<Vec<Disk>> {
    let disks = vfat(folder, 64, "16", 0)?;
    Ok(disks.into_iter().map(Disk::read_only).collect())
}

/// Runs a program that says nothing if all is well.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output();
    let done = done.with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    ensure!(done.status.success(), "{program}, {}: {last:?}", done.status);
    Ok(())
}
