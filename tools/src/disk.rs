//! Disks of a machine: files of this computer, or folders that are made into one.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use hadris_fat::{FatKind, FatOptions, VolumeLabel};
use hadris_fs::TreeEntry;
use hadris_fs::host::{OnError, Symlinks, TreeOptions, read_tree};
use hadris_storage::host::FileDevice;

use crate::virtio::Virtio;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    content: Content,
    is_read_only: bool,
    /// QEMU does not wait for this computer's disk when the machine flushes.
    ignores_flushes: bool,
    /// QEMU notes here what is written and flushed.
    log: Option<PathBuf>,
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
    /// A FAT volume of files with these paths and lengths, which have what [`content`] says.
    Files(Vec<(String, usize)>, Table),
}

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// All of it is the volume.
    None,
    /// The volume is in the first partition, as `sfdisk` makes it.
    Mbr,
    /// The same with the other kind of table.
    Gpt,
}

impl Disk {
    pub(crate) fn new(file: impl Into<PathBuf>) -> Self {
        Self::of(Content::File(file.into()))
    }

    /// An empty one of so many MiB.
    pub(crate) fn zeros(mib: u64) -> Self {
        Self::of(Content::Zeros(mib))
    }

    /// A FAT volume of files with these paths and lengths. They have what [`content`] says.
    pub(crate) fn files(files: Vec<(String, usize)>, table: Table) -> Self {
        Self::of(Content::Files(files, table))
    }

    /// Programs that it cannot be made without.
    pub(crate) fn needs(&self) -> &'static [&'static str] {
        match &self.content {
            Content::Files(_, Table::Mbr | Table::Gpt) => &[SFDISK],
            _ => &[],
        }
    }

    fn of(content: Content) -> Self {
        Self {
            content,
            is_read_only: false,
            ignores_flushes: false,
            log: None,
            virtio: None,
            properties: "",
        }
    }

    pub(crate) fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    /// For who flushes a thousand times a second, and does not care whether this computer loses its power.
    pub(crate) fn ignoring_flushes(self) -> Self {
        Self { ignores_flushes: true, ..self }
    }

    /// QEMU notes what is written and flushed, in a file that is there already.
    pub(crate) fn logged(self, log: impl Into<PathBuf>) -> Self {
        Self { log: Some(log.into()), ..self }
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
            Content::Files(files, table) => {
                let made = make(files, *table, &folder.join(format!("files{number}")));
                made.context("cannot make a disk of files")?
            }
        };
        // QEMU splits at commas, unless they are doubled.
        let value = |path: &Path| path.to_string_lossy().replace(',', ",,");
        let kind = if self.log.is_some() { "driver=blklogwrites" } else { "format=raw" };
        let mut drive = OsString::from(format!("if=none,id=disk{number},{kind}"));
        if self.is_read_only {
            drive.push(",readonly=on");
        }
        if self.ignores_flushes {
            drive.push(",cache=unsafe");
        }
        drive.push(match &self.log {
            None => format!(",file={}", value(&file)),
            Some(log) => format!(
                ",file.driver=file,file.filename={},log.driver=file,log.filename={}",
                value(&file),
                value(log)
            ),
        });
        let device = self.virtio.unwrap_or(virtio).device("blk");
        let device = format!("{device},drive=disk{number}{}", self.properties);
        Ok(["-drive".into(), drive, "-device".into(), device.into()])
    }
}

/// Makes tables of partitions.
pub(crate) const SFDISK: &str = "sfdisk";

/// Where a partition begins, and how much is left behind it for the second table of GPT.
const MARGIN: u64 = 1 << 20;

/// The bytes of a file of this length, for tests. Each length has others.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place + place / 251 + len) as u8).collect()
}

/// The image of a disk with these files, made beside a folder with them.
fn make(files: &[(String, usize)], table: Table, folder: &Path) -> Result<PathBuf> {
    for (path, len) in files {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(folder))?;
        std::fs::write(file, content(*len))?;
    }
    let image = folder.with_extension("img");
    copy(folder, &image)?;
    let script = match table {
        Table::None => return Ok(image),
        Table::Mbr => "label: dos\nstart=1MiB, size=+, type=c\n",
        Table::Gpt => "label: gpt\nstart=1MiB, size=+\n",
    };
    let divided = folder.with_extension("divided");
    surround(&image, &divided)?;
    std::fs::rename(divided, &image)?;
    divide(&image, script)?;
    Ok(image)
}

/// Copies an image into a new one, with margins before and behind it. Zeros take no room.
fn surround(image: &Path, with_margins: &Path) -> Result<()> {
    let (mut from, to) = (File::open(image)?, File::create(with_margins)?);
    let len = from.metadata()?.len();
    to.set_len(len + 2 * MARGIN)?;
    let (mut piece, zeros) = (vec![0; MARGIN as usize], vec![0; MARGIN as usize]);
    for place in (0..len).step_by(piece.len()) {
        let piece = &mut piece[..(len - place).min(MARGIN) as usize];
        from.read_exact(piece)?;
        if *piece != zeros[..piece.len()] {
            to.write_all_at(piece, MARGIN + place)?;
        }
    }
    Ok(())
}

/// Writes a table of partitions, as the commands for `sfdisk` say, and nothing else.
pub(crate) fn divide(image: &Path, commands: &str) -> Result<()> {
    let file = image.with_extension("sfdisk");
    std::fs::write(&file, commands)?;
    let mut sfdisk = Command::new(SFDISK);
    sfdisk.args(["--quiet", "--wipe", "never"]).arg(image).stdin(File::open(&file)?);
    let output = sfdisk.output().context("cannot start sfdisk")?;
    ensure!(output.status.success(), "sfdisk: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
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
            Some(path) if !Path::new(text).exists() => (path, true),
            _ => (text, false),
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
            eprintln!("wakeful: making a disk of {}", path.display());
            let size = copy(path, place)
                .with_context(|| format!("cannot make a disk of the folder {}", path.display()))?;
            let Size { files, bytes, .. } = size;
            let (kib, path) = (bytes.div_ceil(1024), path.display());
            eprintln!("wakeful: the disk is a copy of {path}, FAT: {files} files, {kib} KiB");
            place.to_owned()
        } else {
            let len = path.metadata()?.len();
            ensure!(
                len > 0 && len.is_multiple_of(512),
                "{}: a disk has 512, 1024, … bytes, not {len}",
                path.display()
            );
            std::path::absolute(path)?
        };
        let disk = Disk::new(file);
        Ok(if *is_read_only { disk.read_only() } else { disk })
    }
}

/// An empty volume in a file of so many MiB: FAT12, FAT16 or FAT32, as the size is.
pub(crate) fn format(image: &Path, mib: u64) -> Result<()> {
    let kind = match mib {
        ..16 => FatKind::Fat12,
        16..64 => FatKind::Fat16,
        _ => FatKind::Fat32,
    };
    let mut device = create(image, mib << 20)?;
    hadris_fat::sync::format(&mut device, &FatOptions::new().with_kind(kind))?;
    Ok(())
}

/// A new file of zeros.
fn create(image: &Path, len: u64) -> Result<FileDevice> {
    let create = || {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(image)?;
        file.set_len(len)?;
        FileDevice::new(file)
    };
    create().with_context(|| format!("cannot create {}", image.display()))
}

/// How much is in a folder and those in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    files: u64,
    folders: u64,
    bytes: u64,
}

impl Size {
    fn of(tree: &TreeEntry<'_>) -> Self {
        tree.children().fold(Self::default(), |sum, (_, entry)| {
            let below = Self::of(&entry);
            let len = entry.node().content().map(|content| content.len());
            Self {
                files: sum.files + below.files + u64::from(len.is_some()),
                folders: sum.folders + below.folders + u64::from(len.is_none()),
                bytes: sum.bytes + below.bytes + len.unwrap_or(0),
            }
        })
    }
}

/// The smallest disk, in a file that takes only what is on it. There is always as much room again as is used. From 260 MiB
/// on clusters have 4 KiB (Microsoft's FAT specification of 2005, §3.5): with the 512 bytes of smaller volumes,
/// following the chain of a long file takes as many instructions as all copying of it.
const SMALLEST: u64 = 272 << 20;

/// What a file or a folder takes at most beyond its bytes: a part of a cluster, and its entry.
const EACH: u64 = 64 << 10;

/// Formats an image and copies the folder into it. What links lead to is copied: FAT has none. What cannot be read is left
/// out, and said.
fn copy(folder: &Path, image: &Path) -> Result<Size> {
    let options = TreeOptions::new().with_symlinks(Symlinks::Follow).with_on_error(OnError::Skip);
    let (tree, left_out) = read_tree(folder, &options)?;
    for error in left_out {
        eprintln!("wakeful: left out: {error}");
    }
    let size = Size::of(&tree.root());
    let used = size.bytes + (size.files + size.folders) * EACH;
    let len = (2 * used).max(SMALLEST).next_multiple_of(1 << 20);
    let device = create(image, len)?;
    // The others have room for a few hundred long names in the first folder, and no more.
    let options = FatOptions::new().with_kind(FatKind::Fat32).with_size(len);
    let options = options.with_label(VolumeLabel::new("WAKEFUL")?);
    // What FAT cannot store, such as owners, is not missed.
    let _ = hadris_fat::sync::write(device, &tree, &options).context(
        "FAT has names without \" * / : < > ? \\ | and without a dot or space at the end, \
         and upper and lower case are the same",
    )?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hadris_fat::sync::FatFs;
    use hadris_fs::MountOptions;
    use hadris_fs::sync::Volume;

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
        let image = scratch.path().join("image");
        let disk = Wanted { path: folder.clone(), is_read_only: true }.disk(&image).unwrap();
        assert_eq!(disk, Disk::new(image.clone()).read_only());
        assert_eq!(fs::metadata(&image).unwrap().len(), SMALLEST);
        let device = FileDevice::open(&image).unwrap();
        let volume = Volume::new(FatFs::mount(device, MountOptions::new()).unwrap());
        assert_eq!(volume.read(long).unwrap(), b"<p>");
        assert_eq!(volume.read("below/further/data").unwrap(), vec![7; 300_000]);
        let written = fs::metadata(folder.join(long)).unwrap().modified().unwrap();
        let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let copied = volume.metadata(long).unwrap().modified().unwrap().unix_seconds();
        assert!(written.abs_diff(copied as u64) <= 2, "{written} {copied}");
    }

    #[test]
    fn files_become_a_disk() {
        let scratch = Scratch::new("disk").unwrap();
        let files = [("a/b c".to_owned(), 1000), ("d".to_owned(), 0)];
        let image = make(&files, Table::None, &scratch.path().join("files0")).unwrap();
        let device = FileDevice::open(&image).unwrap();
        let volume = Volume::new(FatFs::mount(device, MountOptions::new()).unwrap());
        assert_eq!(volume.read("a/b c").unwrap(), content(1000));
        assert!(volume.read("d").unwrap().is_empty());
        assert_ne!(content(1001)[..1000], content(1000));
        if crate::program::missing(&[SFDISK]).is_some() {
            return eprintln!("skipped: no {SFDISK}");
        }
        for (table, at) in [(Table::Mbr, 510), (Table::Gpt, 512)] {
            let divided = make(&files, table, &scratch.path().join("files1")).unwrap();
            let divided = fs::read(divided).unwrap();
            let mark: &[u8] = if table == Table::Mbr { &[0x55, 0xaa] } else { b"EFI PART" };
            assert!(divided[at..].starts_with(mark));
            // What a volume of FAT32 says that it is, in its boot sector.
            assert!(divided[MARGIN as usize + 82..].starts_with(b"FAT32   "));
        }
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
}
