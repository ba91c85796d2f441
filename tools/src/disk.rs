//! Disks of a machine: files of this computer, or folders that are made into one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use fatfs::{Dir, FileSystem, FormatVolumeOptions, FsOptions};

use crate::virtio::Virtio;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    content: Content,
    is_read_only: bool,
    /// As those of the machine if absent.
    virtio: Option<Virtio>,
    /// Of QEMU's device: `,logical_block_size=4096`.
    properties: &'static str,
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// Every byte of it is a disk's.
    File(PathBuf),
    /// So many MiB of zeros, in a file in the machine's folder, where they take no room.
    Zeros(u64),
}

impl Disk {
    pub(crate) fn new(file: impl Into<PathBuf>) -> Self {
        Self::of(Content::File(file.into()))
    }

    /// An empty one of so many MiB.
    pub(crate) fn zeros(mib: u64) -> Self {
        Self::of(Content::Zeros(mib))
    }

    fn of(content: Content) -> Self {
        Self { content, is_read_only: false, virtio: None, properties: "" }
    }

    pub(crate) fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    pub(crate) fn on(self, virtio: Virtio) -> Self {
        Self { virtio: Some(virtio), ..self }
    }

    /// With such a property, `,` before it.
    pub(crate) fn with(self, properties: &'static str) -> Self {
        Self { properties, ..self }
    }

    /// QEMU's arguments for the disk with this number, of a machine with that folder.
    pub(crate) fn qemu_args(
        &self,
        virtio: Virtio,
        number: usize,
        folder: &Path,
    ) -> Result<[OsString; 4]> {
        let file = match &self.content {
            Content::File(file) => file.clone(),
            Content::Zeros(mib) => {
                let file = folder.join(format!("zeros{number}.img"));
                let created = File::create(&file).and_then(|created| created.set_len(mib << 20));
                created.with_context(|| format!("cannot create {}", file.display()))?;
                file
            }
        };
        let mut drive = OsString::from(format!("if=none,id=disk{number},format=raw"));
        if self.is_read_only {
            drive.push(",readonly=on");
        }
        drive.push(",file=");
        // QEMU splits at commas, unless they are doubled.
        drive.push(file.to_string_lossy().replace(',', ",,"));
        let device = self.virtio.unwrap_or(virtio).device("blk");
        let device = format!("{device},drive=disk{number}{}", self.properties);
        Ok(["-drive".into(), drive, "-device".into(), device.into()])
    }
}

/// What the user gives a machine as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    path: PathBuf,
    is_read_only: bool,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, is_read_only) = match text.strip_suffix(":ro") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let path = PathBuf::from(path);
        match path.metadata() {
            Ok(_) => Ok(Self { path, is_read_only }),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }
}

impl Wanted {
    /// The file itself, or an image that is made of the folder at `place`.
    pub(crate) fn disk(&self, place: &Path) -> Result<Disk> {
        let Self { path, is_read_only } = self;
        let file = if path.is_dir() {
            let tree = measure(path)?;
            make(path, place, tree)
                .with_context(|| format!("cannot make a disk of the folder {}", path.display()))?;
            let (files, kib, path) = (tree.files, tree.bytes.div_ceil(1024), path.display());
            eprintln!("wakeful: the disk is a copy of {path}, FAT: {files} files, {kib} KiB");
            place.to_owned()
        } else {
            let length = path.metadata()?.len();
            ensure!(
                length > 0 && length.is_multiple_of(512),
                "{}: a disk has 512, 1024, … bytes, not {length}",
                path.display()
            );
            std::path::absolute(path)?
        };
        let disk = Disk::new(file);
        Ok(if *is_read_only { disk.read_only() } else { disk })
    }
}

/// How much is in a folder and those in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tree {
    files: u64,
    folders: u64,
    bytes: u64,
}

fn measure(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    for entry in entries(folder)? {
        let metadata = followed(&entry)?;
        if metadata.is_dir() {
            let below = measure(&entry.path())?;
            tree.files += below.files;
            tree.folders += below.folders + 1;
            tree.bytes += below.bytes;
        } else {
            tree.files += 1;
            tree.bytes += metadata.len();
        }
    }
    Ok(tree)
}

/// Sorted by name, so that the same folder makes the same disk.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let read = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    let mut entries = read().with_context(|| format!("cannot read {}", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// Of what a link leads to: FAT has no links.
fn followed(entry: &fs::DirEntry) -> Result<fs::Metadata> {
    let path = entry.path();
    path.metadata().with_context(|| format!("cannot read {}", path.display()))
}

/// The smallest disk. There is always as much room again as is used.
const SMALLEST: u64 = 64 << 20;

/// What a file or a folder takes at most beyond its bytes: a part of a cluster, and its entry.
const EACH: u64 = 64 << 10;

/// FAT knows no longer files.
const LONGEST: u64 = u32::MAX as u64;

/// Formats a file and copies the folder into it.
fn make(folder: &Path, image: &Path, tree: Tree) -> Result<()> {
    let used = tree.bytes + (tree.files + tree.folders) * EACH;
    let size = (2 * used).max(SMALLEST).next_multiple_of(1 << 20);
    let create = || {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(image)?;
        file.set_len(size)?;
        fatfs::format_volume(&file, FormatVolumeOptions::new().volume_label(*b"WAKEFUL    "))?;
        FileSystem::new(file, FsOptions::new())
    };
    let system = create().with_context(|| format!("cannot format {}", image.display()))?;
    copy(folder, &system.root_dir())?;
    Ok(system.unmount()?)
}

fn copy(folder: &Path, to: &Dir<'_, File>) -> Result<()> {
    for entry in entries(folder)? {
        let (path, metadata) = (entry.path(), followed(&entry)?);
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("{}: FAT's names are Unicode", path.display())
        };
        let what = || format!("cannot copy {}", path.display());
        if metadata.is_dir() {
            copy(&path, &to.create_dir(name).with_context(what)?)?;
            continue;
        }
        ensure!(metadata.len() <= LONGEST, "{}: FAT's files have less than 4 GiB", path.display());
        let mut from = File::open(&path).with_context(what)?;
        let mut file = to.create_file(name).with_context(what)?;
        io::copy(&mut from, &mut file).with_context(what)?;
        if let Some(modified) = metadata.modified().ok().and_then(moment) {
            #[expect(deprecated, reason = "what replaces it is one clock for all files")]
            file.set_modified(modified);
        }
    }
    Ok(())
}

/// In UTC, as the machine knows no other time zone.
fn moment(time: SystemTime) -> Option<fatfs::DateTime> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let date = fatfs::Date { year: u16::try_from(year).ok()?, month, day };
    let [hour, min, sec] =
        [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map(|it| it as u16);
    (1980..=2107)
        .contains(&year)
        .then_some(fatfs::DateTime { date, time: fatfs::Time { hour, min, sec, millis: 0 } })
}

/// Year, month and day of a day after 1970.
fn date(mut days: u64) -> (u64, u16, u16) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while let length = if is_leap(year) { 366 } else { 365 }
        && days >= length
    {
        (days, year) = (days - length, year + 1);
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        (days, month) = (days - length, month + 1);
    }
    (year, month, days as u16 + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn folder_becomes_a_disk_with_the_same_files() {
        let scratch = Scratch::new("disk").unwrap();
        let folder = scratch.path().join("site");
        let long = "a name that is longer than eight and three.html";
        fs::create_dir_all(folder.join("below/further")).unwrap();
        fs::write(folder.join(long), b"<p>").unwrap();
        fs::write(folder.join("below/further/data"), vec![7; 300_000]).unwrap();
        let disk = Wanted { path: folder.clone(), is_read_only: true };
        let image = scratch.path().join("image");
        let disk = disk.disk(&image).unwrap();
        assert_eq!(disk, Disk::new(image.clone()).read_only());
        assert_eq!(fs::metadata(&image).unwrap().len(), SMALLEST);
        let system = FileSystem::new(File::open(&image).unwrap(), FsOptions::new()).unwrap();
        let root = system.root_dir();
        let read = |path: &str| {
            let mut bytes = Vec::new();
            root.open_file(path).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(long), b"<p>");
        assert_eq!(read("below/further/data"), vec![7; 300_000]);
        let entry = root.iter().map(|it| it.unwrap()).find(|it| it.file_name() == long).unwrap();
        let written = fs::metadata(folder.join(long)).unwrap().modified().unwrap();
        assert_eq!(entry.modified().date, moment(written).unwrap().date);
    }

    #[test]
    fn files_are_taken_as_they_are() {
        let scratch = Scratch::new("disk").unwrap();
        let (file, place) = (scratch.path().join("a,b.img"), scratch.path().join("image"));
        assert!("/no/such/file".parse::<Wanted>().unwrap_err().contains("/no/such/file"));
        fs::write(&file, [0; 1000]).unwrap();
        let text = format!("{}:ro", file.display());
        let wanted: Wanted = text.parse().unwrap();
        assert!(wanted.disk(&place).unwrap_err().to_string().contains("not 1000"));
        fs::write(&file, [0; 1024]).unwrap();
        let args = wanted.disk(&place).unwrap().qemu_args(Virtio::Pci, 1, scratch.path()).unwrap();
        let args = args.map(|arg| arg.into_string().unwrap()).join(" ");
        assert!(
            args.starts_with("-drive if=none,id=disk1,format=raw,readonly=on,file=/"),
            "{args}"
        );
        assert!(args.ends_with("/a,,b.img -device virtio-blk-pci,drive=disk1"), "{args}");
        assert!(!place.exists());
    }

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(58), (1970, 2, 28));
        assert_eq!(date(59), (1970, 3, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_778), (2026, 11, 21));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1));
    }
}
