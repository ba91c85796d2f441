//! Files on the machine's disks.
//!
//! ```ignore
//! let volume = fs::mount(blk::disk(0)?).await?;
//! volume.write("/today.txt", b"began\n").await?;
//! volume.sync().await?;
//! let mut file = volume.open("/data/large.bin").await?;
//! while let count @ 1.. = file.read(&mut buffer).await? {
//!     use_it(&buffer[..count]);
//! }
//! ```
//!
//! [`mount`] finds the FAT volume of a disk: on its first partition that has one, or on the disk as a whole. Any number of
//! tasks on any hart use a [`Volume`] and its [`File`]s; what they write is there to stay after a [`Volume::sync`] or
//! [`File::sync`]. Files are named as in `std`, and volumes on other devices, such as a RAM disk, are in [`fat`].
//!
//! Owns nothing: a volume is the application's. Needs `wakeful-blk` and a heap.
//!
//! Features: `ext4` ([`ext4`], to read volumes of Linux).

#![no_std]

use wakeful_blk::{BlockDevice, Disk, Partition, table};
#[cfg(feature = "ext4")]
pub use wakeful_ext4 as ext4;
pub use wakeful_fat as fat;
pub use wakeful_fat::{
    Cache, Clock, DateTime, DirEntry, Error, Health, Kind, Metadata, OpenOptions, Options,
    SeekFrom, Space,
};

/// What a volume is on: a partition of a disk, or all of it.
pub type Device = Partition<Disk>;
/// A FAT volume of a disk.
pub type Volume = wakeful_fat::Volume<Device>;
/// A file of a FAT volume. It has the traits `Read`, `Write` and `Seek` of embedded-io-async 0.7, for what they add:
/// `read_exact` and `write_all`.
pub type File = wakeful_fat::File<Device>;
/// What is in a directory of a FAT volume.
pub type ReadDir = wakeful_fat::ReadDir<Device>;

/// Mounts the FAT volume of a disk: that of its first partition that has one, or the disk as a whole.
///
/// # Errors
///
/// [`Error::NotFat`] if there is none; [`Error::Table`] if the disk's table of partitions is damaged, of which
/// [`table::partitions`] says more; and whatever else [`fat::Volume::mount`] says of the one that there is.
///
/// # Cancellation
///
/// As that of [`fat::Volume::mount`].
pub async fn mount(disk: Disk) -> Result<Volume, Error> {
    mount_with(disk, Options::default()).await
}

/// The same, with options.
///
/// # Errors
///
/// As [`mount`].
///
/// # Cancellation
///
/// As [`mount`].
pub async fn mount_with(disk: Disk, options: Options) -> Result<Volume, Error> {
    let table = table::partitions(&disk).await.map_err(Error::from)?;
    if let table::Table::None = table {
        return Volume::mount(whole(disk)?, options).await;
    }
    for entry in table.entries() {
        match Volume::mount(entry.open(disk).map_err(Error::from)?, options).await {
            Err(Error::NotFat) => {}
            mounted => return mounted,
        }
    }
    Err(Error::NotFat)
}

/// A disk without partitions.
fn whole(disk: Disk) -> Result<Device, Error> {
    Ok(Partition::new(disk, 0, disk.geometry().blocks)?)
}
