//! Images to be read: made by the tools of e2fsprogs where they are, and one that is kept here.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use wakeful_block::{self as block, BlockDevice, Geometry, RamDisk, fake};

/// A directory that is removed in the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wakeful-ext4-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool of e2fsprogs; says so and gives `None` if there is none.
pub(super) fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    let paths = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/opt/homebrew/opt/e2fsprogs/sbin"];
    let found = paths.iter().map(|path| Path::new(path).join(tool)).find(|path| path.exists());
    let Some(found) = found else {
        eprintln!("skipped: no {tool}");
        return None;
    };
    let output = Command::new(found).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {text} {errors}");
    Some(text)
}

/// An image of a directory, with other arguments for `mkfs.ext4`.
pub(super) fn make(directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    let mut all = vec!["-q", "-F", "-d", directory.to_str().unwrap()];
    all.extend(arguments);
    all.extend([image.to_str().unwrap(), "40M"]);
    run("mkfs.ext4", &all)?;
    Some(fs::read(image).unwrap())
}

/// Lets `debugfs` do something to an image.
pub(super) fn edit(image: &[u8], commands: &str, files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    let scratch = Scratch::new();
    let (path, script) = (scratch.path("image"), scratch.path("script"));
    for (name, bytes) in files {
        fs::write(scratch.path(name), bytes).unwrap();
    }
    fs::write(&path, image).unwrap();
    fs::write(&script, commands.replace("DIR", scratch.0.to_str().unwrap())).unwrap();
    run("debugfs", &["-w", "-f", script.to_str().unwrap(), path.to_str().unwrap()])?;
    Some(fs::read(path).unwrap())
}

pub(super) fn disk(block_size: u32, image: &[u8]) -> RamDisk {
    RamDisk::from_bytes(block_size, image.to_vec()).unwrap()
}

/// A disk that is pending once for each request, and counts them.
pub(super) fn slow_disk(block_size: u32, image: &[u8]) -> fake::Disk {
    fake::Disk::from_bytes(block_size, image.to_vec(), 1)
}

/// An image with some other bytes, which counts requests.
pub(super) struct Damaged<'a> {
    pub(super) image: &'a [u8],
    pub(super) bytes: BTreeMap<usize, u8>,
    pub(super) reads: Cell<u64>,
}

impl BlockDevice for Damaged<'_> {
    fn geometry(&self) -> Geometry {
        Geometry::new(512, self.image.len() as u64 / 512).unwrap().read_only()
    }

    /// # Cancellation
    ///
    /// It is ready at once.
    async fn read(&self, block: u64, into: &mut [u8]) -> Result<(), block::Error> {
        self.geometry().check_read(block, into.len())?;
        self.reads.update(|reads| reads + 1);
        let start = block as usize * 512;
        into.copy_from_slice(&self.image[start..][..into.len()]);
        for (at, byte) in self.bytes.range(start..start + into.len()) {
            into[at - start] = *byte;
        }
        Ok(())
    }

    /// # Cancellation
    ///
    /// It is ready at once.
    async fn write(&self, _: u64, _: &[u8]) -> Result<(), block::Error> {
        Err(block::Error::ReadOnly)
    }

    /// # Cancellation
    ///
    /// It is ready at once.
    async fn flush(&self) -> Result<(), block::Error> {
        Ok(())
    }
}

/// Bytes that do not repeat soon.
pub(super) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|i| ((i ^ seed).wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

/// Writes a file that has bytes at some places, and holes between them.
fn write_sparse(path: PathBuf, len: u64, places: impl Iterator<Item = (u64, Vec<u8>)>) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    for (at, bytes) in places {
        file.write_all_at(&bytes, at).unwrap();
    }
    file.set_len(len).unwrap();
}

/// Files of all kinds.
pub(super) fn tree(scratch: &Scratch) -> PathBuf {
    let root = scratch.path("tree");
    fs::create_dir_all(root.join("deep/er/and/deeper")).unwrap();
    fs::create_dir_all(root.join("d")).unwrap();
    fs::create_dir(root.join("empty directory")).unwrap();
    for i in 0..1000 {
        let name = format!("d/a rather long file name {i:04}.txt");
        fs::write(root.join(name), format!("file {i}\n")).unwrap();
    }
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("big"), pattern((1 << 20) + 77, 1)).unwrap();
    fs::write(root.join("deep/er/and/deeper/file"), "down here").unwrap();
    fs::write(root.join("ünïcödé ☕"), "name").unwrap();
    fs::write(root.join("n".repeat(255)), "long").unwrap();
    // A thousand extents, in two nodes and more.
    let pieces = (0..1000).map(|i| (i * 8192, pattern(4096, i as u32)));
    write_sparse(root.join("pieces"), 1000 * 8192 + 5, pieces);
    // Holes of whole maps, whatever the block size is.
    let islands = [0, 5_000_000, 19_999_000].map(|at| (at, pattern(5000, at as u32)));
    write_sparse(root.join("islands"), 25_000_000, islands.into_iter());
    write_sparse(root.join("hole"), 3_000_000, [].into_iter());

    symlink("deep/er", root.join("short")).unwrap();
    symlink("/deep/er/and", root.join("absolute")).unwrap();
    symlink("/deep/er/and", root.join("deep/er/and/home")).unwrap();
    symlink("../".repeat(30) + "deep/er/and/deeper/file", root.join("long")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("../../short/and", root.join("deep/er/around")).unwrap();
    symlink("empty", root.join("link 1")).unwrap();
    for i in 2..=41 {
        symlink(format!("link {}", i - 1), root.join(format!("link {i}"))).unwrap();
    }
    root
}

/// The image that is kept here: its length, and pieces, each with its place and its length (all little-endian, of 32
/// bits), of what is not zero. The README of this crate says how it was made.
pub(super) fn kept() -> Vec<u8> {
    let mut rest: &[u8] = include_bytes!("small.pieces");
    let mut image = vec![0; number(&mut rest)];
    while !rest.is_empty() {
        let (at, len) = (number(&mut rest), number(&mut rest));
        let (piece, left) = rest.split_at(len);
        image[at..][..len].copy_from_slice(piece);
        rest = left;
    }
    image
}

fn number(bytes: &mut &[u8]) -> usize {
    let (number, rest) = bytes.split_first_chunk().unwrap();
    *bytes = rest;
    u32::from_le_bytes(*number) as usize
}
