//! Volumes: mounting, and what is done by path.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{fmt, pin::pin};

use hadris_fat::{FatKind, async_::FatFs};
use hadris_fs::{MountOptions, Name, SetAttr};
use wakeful_block::BlockDevice;

use crate::{
    DateTime, Error, File, OpenOptions, Options, ReadDir,
    device::{Adapter, Exchange},
    path, repair,
    session::{Left, Shared, ask},
};

/// A FAT volume that is mounted. Cheap to clone: all clones are the same volume.
///
/// Any number of tasks may use one at once. Each call has its turn, in the order in which they came; a long read or
/// write takes a turn for every 256 KiB.
///
/// How paths are read, and what is there after a loss of power, is said in [this crate](crate).
///
/// Dropping it forgets what it knows, without a word to the device: [`Volume::sync`] before.
pub struct Volume<D: BlockDevice>(pub(crate) Arc<Shared<D>>);

/// The kind of a volume: how many bits an entry of its allocation table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Up to 4,084 clusters.
    Fat12,
    /// Up to 65,524 clusters.
    Fat16,
    /// More.
    Fat32,
}

impl From<FatKind> for Kind {
    fn from(kind: FatKind) -> Self {
        match kind {
            FatKind::Fat12 => Self::Fat12,
            FatKind::Fat16 => Self::Fat16,
            // The driver's list of kinds is open, and ends here.
            _ => Self::Fat32,
        }
    }
}

/// In which state a volume was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It was left in peace, or is mounted read-only, and was not checked.
    Clean,
    /// It was not: it was checked, and whatever was left half done is mended.
    Repaired,
    /// It was not, and contradicts itself in ways that cannot be mended without loss. So it is read-only. `fsck.vfat`
    /// on another system may help.
    Damaged,
}

/// Room on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be filled.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// What is known of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// It is a directory, not a file.
    pub is_dir: bool,
    /// Bytes in a file; 0 for directories.
    pub len: u64,
    /// When it was written last. The root has no date.
    pub modified: Option<DateTime>,
    /// It must not be written: opening it for that gives [`Error::Denied`].
    pub is_read_only: bool,
    /// Lists for people leave it out.
    pub is_hidden: bool,
}

impl From<&hadris_fs::Metadata> for Metadata {
    fn from(metadata: &hadris_fs::Metadata) -> Self {
        let attributes = metadata.attributes();
        Self {
            is_dir: metadata.file_type().is_dir(),
            len: metadata.len(),
            modified: metadata.modified().map(DateTime::from_driver),
            is_read_only: attributes.contains(hadris_fs::Attributes::READ_ONLY),
            is_hidden: attributes.contains(hadris_fs::Attributes::HIDDEN),
        }
    }
}

impl<D: BlockDevice> Clone for Volume<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: BlockDevice> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("kind", &self.0.kind).finish_non_exhaustive()
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Mounts the volume that fills a device. One that was not left in peace is checked and repaired first, if
    /// it may be written: [`Volume::health`] says so.
    ///
    /// # Errors
    ///
    /// [`Error::NotFat`]; [`Error::Corrupt`] for a boot sector that cannot be, or a volume larger than its
    /// device; [`Error::Unsupported`] for devices with blocks of more than 4096 bytes; what the device reports.
    ///
    /// # Cancellation
    ///
    /// A repair may be done in part, and the next mount does the rest.
    pub async fn mount(device: D, options: Options) -> Result<Self, Error> {
        // The driver's state and its blocks would make this larger than a task may be.
        Box::pin(Self::check_and_mount(device, options)).await
    }

    async fn check_and_mount(device: D, options: Options) -> Result<Self, Error> {
        let geometry = device.geometry();
        let exchange = Arc::new(Exchange::new(geometry, options.transfer));
        let adapter = Adapter::new(Arc::clone(&exchange), geometry).ok_or(Error::Unsupported)?;
        let is_read_only = options.is_read_only || geometry.is_read_only;
        let (health, mark) = repair::check(&exchange, &device, &adapter, is_read_only).await?;

        let mut mount = MountOptions::new().with_clock(options.clock);
        if is_read_only || health == Health::Damaged {
            mount = mount.read_only();
        }
        let mut fs = {
            let call = pin!(FatFs::mount(adapter.clone(), mount));
            exchange.run(&device, call).await.map_err(|error| error.into_parts().0)?
        };
        if health == Health::Repaired {
            fs.mark_clean()?;
        }
        let layout = fs.info();
        let tables = u64::from(layout.fat_count()) * layout.fat_size();
        exchange.set_tables(layout.fat_start()..layout.fat_start() + tables);
        let fs = fs.with_cache(options.cache.for_driver(geometry));
        let spare = adapter.block()?;
        let shared = Shared::new(device, adapter, exchange, fs, mark, spare, health);
        let volume = Self(Arc::new(shared));
        if health == Health::Repaired {
            volume.sync().await?;
        }
        Ok(volume)
    }

    /// FAT12, FAT16 or FAT32.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// In which state it was found.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health
    }

    /// The device that it is on. Who writes there destroys it.
    #[must_use]
    pub fn device(&self) -> &D {
        &self.0.device
    }

    /// Whether it cannot be written: as it was mounted so, as the device refuses, or as it is [`Health::Damaged`].
    ///
    /// # Errors
    ///
    /// What the device reports, where an earlier call left something to be done.
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn is_read_only(&self) -> Result<bool, Error> {
        Ok(self.0.begin().await?.is_read_only())
    }

    /// The volume's name, if it has one: up to 11 characters.
    ///
    /// # Errors
    ///
    /// What the device reports; [`Error::Corrupt`]; [`Error::OutOfMemory`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn label(&self) -> Result<Option<String>, Error> {
        let mut session = self.0.begin().await?;
        // 11 bytes of a code page are at most three bytes each.
        let mut buffer = [0; 48];
        ask!(session, fs => fs.label(&mut buffer))?.map(copy).transpose()
    }

    /// How much room there is. FAT12 and FAT16 do not know, nor does a FAT32 volume after a loss of power: then the
    /// whole allocation table is read, once. Where futures were dropped that wrote, the driver's count is some clusters
    /// off until the volume is checked again.
    ///
    /// # Errors
    ///
    /// What the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn space(&self) -> Result<Space, Error> {
        let mut session = self.0.begin().await?;
        let stats = ask!(session, fs => fs.statfs())?;
        let block = u64::from(stats.block_size());
        Ok(Space { total: stats.total_blocks() * block, free: stats.free_blocks() * block })
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    ///
    /// As [`Volume::open_with`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn open(&self, path: &str) -> Result<File<D>, Error> {
        self.open_with(path, OpenOptions::new().read()).await
    }

    /// Makes a file, or empties it, and opens it to be written.
    ///
    /// # Errors
    ///
    /// As [`Volume::open_with`].
    ///
    /// # Cancellation
    ///
    /// As [`Volume::open_with`].
    pub async fn create(&self, path: &str) -> Result<File<D>, Error> {
        self.open_with(path, OpenOptions::new().write().create().truncate()).await
    }

    /// Opens a file. One file may be opened any number of times, for reading and for writing: all see the same bytes, and each
    /// handle has its own place in it. An open file can be renamed, and neither removed nor replaced.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for options that contradict each other. [`Error::NotFound`], [`Error::NotADirectory`],
    /// [`Error::IsADirectory`], [`Error::AlreadyExists`]. To be written: [`Error::ReadOnly`], [`Error::Denied`]. To be
    /// made: [`Error::InvalidName`], [`Error::NameTooLong`], [`Error::NoSpace`]. What the device reports,
    /// [`Error::Corrupt`], [`Error::OutOfMemory`].
    ///
    /// # Cancellation
    ///
    /// The file may be made, or emptied. It is not open.
    pub async fn open_with(&self, path: &str, options: OpenOptions) -> Result<File<D>, Error> {
        let (file, _) = self.open_known(path, options).await?;
        Ok(file)
    }

    /// Opens a file to be read, and says what is known of it: [`Volume::open`] and [`File::metadata`] in one turn.
    ///
    /// # Errors
    ///
    /// As [`Volume::open_with`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn open_with_metadata(&self, path: &str) -> Result<(File<D>, Metadata), Error> {
        let (file, metadata) = self.open_known(path, OpenOptions::new().read()).await?;
        // What is read was there before.
        metadata.map(|metadata| (file, metadata)).ok_or(Error::NotFound)
    }

    /// Opens a file, and says what was known of it if it was there.
    async fn open_known(
        &self,
        path: &str,
        options: OpenOptions,
    ) -> Result<(File<D>, Option<Metadata>), Error> {
        options.check()?;
        let mut session = self.0.begin().await?;
        if options.is_write && session.is_read_only() {
            return Err(Error::ReadOnly);
        }
        let (parent, name) = path::split(path).ok_or(Error::IsADirectory)?;
        let directory = session.find(parent).await?;
        let (node, known) = match session.look_up(directory, name).await {
            Ok(_) if options.is_create_new => return Err(Error::AlreadyExists),
            Ok(node) => {
                let metadata = Metadata::from(&session.stat(node).await?);
                if metadata.is_dir {
                    return Err(Error::IsADirectory);
                }
                if options.is_write && metadata.is_read_only {
                    return Err(Error::Denied);
                }
                if options.is_truncate && metadata.len > 0 {
                    session.change().await?;
                    ask!(session, fs => fs.truncate(node, 0))?;
                }
                (node, Some(metadata))
            }
            Err(Error::NotFound) if options.is_create => {
                path::check_name(name)?;
                session.change().await?;
                let attributes = SetAttr::new();
                let node = ask!(session, fs => fs.create(directory, Name::new(name), &attributes))?;
                session.pin(node);
                (node, None)
            }
            Err(error) => return Err(error),
        };
        session.open(Left::File(node)).await?;
        Ok((File::new(self.clone(), node, options), known))
    }

    /// What is known of a file or directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotADirectory`]; what the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn metadata(&self, path: &str) -> Result<Metadata, Error> {
        let mut session = self.0.begin().await?;
        let node = session.find(path).await?;
        Ok(Metadata::from(&session.stat(node).await?))
    }

    /// The entries of a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotADirectory`]; what the device reports; [`Error::Corrupt`];
    /// [`Error::OutOfMemory`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn read_dir(&self, path: &str) -> Result<ReadDir<D>, Error> {
        let mut session = self.0.begin().await?;
        let node = session.find(path).await?;
        if !session.stat(node).await?.file_type().is_dir() {
            return Err(Error::NotADirectory);
        }
        session.open(Left::Directory(node)).await?;
        Ok(ReadDir::new(self.clone(), node))
    }

    /// Makes a directory. The one in which it is to be must be there.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::NotFound`], [`Error::NotADirectory`], [`Error::InvalidName`],
    /// [`Error::NameTooLong`], [`Error::NoSpace`], [`Error::ReadOnly`]; what the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// The directory may be there or not.
    pub async fn create_dir(&self, path: &str) -> Result<(), Error> {
        let (_, name) = path::split(path).ok_or(Error::AlreadyExists)?;
        path::check_name(name)?;
        let mut session = self.0.begin().await?;
        let (directory, name) = session.find_parent(path).await?;
        session.change().await?;
        let attributes = SetAttr::new();
        let node = ask!(session, fs => fs.mkdir(directory, Name::new(name), &attributes))?;
        session.pin(node);
        Ok(())
    }

    /// Removes a file. Files that are marked as read-only are removed as well.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if it is open. [`Error::NotFound`], [`Error::NotADirectory`], [`Error::IsADirectory`],
    /// [`Error::ReadOnly`]; what the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// The file may be there or not.
    pub async fn remove_file(&self, path: &str) -> Result<(), Error> {
        let mut session = self.0.begin().await?;
        let (directory, name) = session.find_parent(path).await?;
        session.change().await?;
        ask!(session, fs => fs.unlink(directory, Name::new(name)))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`], [`Error::NotFound`], [`Error::NotADirectory`], [`Error::InvalidInput`] for the root,
    /// [`Error::ReadOnly`]; what the device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// The directory may be there or not.
    pub async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        let mut session = self.0.begin().await?;
        let (directory, name) = session.find_parent(path).await?;
        session.change().await?;
        ask!(session, fs => fs.rmdir(directory, Name::new(name)))
    }

    /// Gives a file or directory another name, or place. What has that name already is replaced: a file by a
    /// file, an empty directory by a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::IsADirectory`], [`Error::NotEmpty`],
    /// [`Error::Busy`] if what is to be replaced is open, [`Error::InvalidInput`] for a directory that would be moved into
    /// itself, [`Error::InvalidName`], [`Error::NameTooLong`], [`Error::NoSpace`], [`Error::ReadOnly`]; what the
    /// device reports; [`Error::Corrupt`].
    ///
    /// # Cancellation
    ///
    /// It has one name or the other: the next call finishes what was begun.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (_, name) = path::split(to).ok_or(Error::InvalidInput)?;
        path::check_name(name)?;
        let mut session = self.0.begin().await?;
        if session.is_read_only() {
            return Err(Error::ReadOnly);
        }
        let path = from;
        let (from_directory, from) = session.find_parent(from).await?;
        let (to_directory, to) = session.find_parent(to).await?;
        let source = session.look_up(from_directory, from).await?;
        match session.look_up(to_directory, to).await {
            Ok(target) if target != source => {
                let are_files = !session.stat(source).await?.file_type().is_dir()
                    && !session.stat(target).await?.file_type().is_dir();
                if are_files && !session.is_open(source) && !session.is_open(target) {
                    return session.replace(path, source, target).await;
                }
            }
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        session.rename(source, (from_directory, from), (to_directory, to)).await
    }

    /// Makes durable all that was done, and marks the volume as left in peace. Nothing to do takes no request.
    ///
    /// # Errors
    ///
    /// What the device reports, and what it reported when files that had been dropped were closed; [`Error::Corrupt`];
    /// [`Error::ReadOnly`] if the device has become so before all was written.
    ///
    /// # Cancellation
    ///
    /// A part of it may be durable, and the next one does the rest.
    pub async fn sync(&self) -> Result<(), Error> {
        let mut session = self.0.begin().await?;
        let is_read_only = session.is_read_only();
        session.must_be_finished()?;
        ask!(session, fs => fs.sync())?;
        if is_read_only {
            return Ok(());
        }
        let (shared, state) = session.parts();
        state.mark.clear(shared, &mut state.fs, &mut state.spare).await
    }

    /// All bytes of a file.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`], and [`Error::OutOfMemory`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut file = self.open(path).await?;
        let len = file.len().await?;
        if len > self.0.size {
            return Err(Error::Corrupt);
        }
        let mut bytes = Vec::new();
        let len = usize::try_from(len).map_err(|_| Error::OutOfMemory)?;
        bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
        bytes.resize(len, 0);
        let mut done = 0;
        while done < len {
            match file.read(&mut bytes[done..]).await? {
                0 => break,
                more => done += more,
            }
        }
        // Somebody may have shortened it in between.
        bytes.truncate(done);
        // Nothing was written that closing it would have to report.
        drop(file);
        Ok(bytes)
    }

    /// Writes a file that has these bytes and no others. Who would rather have the old ones than a part of the new
    /// ones after a loss of power writes another file, calls [`Volume::sync`], and then [`Volume::rename`].
    ///
    /// # Errors
    ///
    /// As [`Volume::create`] and [`File::write`]. What was written until then is there.
    ///
    /// # Cancellation
    ///
    /// The file has what it had, or nothing, or a first part of this.
    pub async fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.create(path).await?;
        let mut done = 0;
        while done < bytes.len() {
            done += file.write(&bytes[done..]).await?;
        }
        file.close().await
    }
}

/// A string in memory that there may not be.
pub(crate) fn copy(text: &str) -> Result<String, Error> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| Error::OutOfMemory)?;
    copy.push_str(text);
    Ok(copy)
}
