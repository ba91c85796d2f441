//! The store.

use alloc::vec::Vec;

use sequential_storage::{
    Error as StorageError,
    cache::{Cache, Uncached, key_pointers::ArrayKeyPointers, page_states::HeapPageStates},
    map::{MapConfig, MapStorage},
};
use wakeful_block::{BlockDevice, Error as DeviceError, Flash, Partition};

use crate::{Error, Key, front};

/// Names and values on a device, in pages of `PAGE` bytes.
///
/// Takes three pages of memory. Who wants to use it from several tasks puts it behind an async mutex.
///
/// # Cancellation
///
/// All futures may be dropped at any time, and the store can be used afterwards. A value that was being set or
/// removed is the old or the new one; which of them, the next call decides for good.
pub struct Settings<D: BlockDevice, const PAGE: usize = 4096> {
    flash: Flash<Partition<D>, PAGE>,
    pages: u32,
    /// What is known about pages and keys. Taken away for as long as it may be wrong: an operation that fails or is dropped does
    /// not bring it back.
    states: Option<States>,
    /// Nothing was interrupted that a removal could come across, since something was stored as a whole.
    is_tidy: bool,
    /// An item, of which the value is returned.
    buffer: Vec<u8>,
}

/// How much room there is, in bytes. An item takes 9 and those of its key and its value, rounded up to 8.
///
/// Items lie in one page each, so some room at the end of pages is never used, and a store may be full earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What all items take, without old versions, which are cleared away when there is need.
    pub used: usize,
    /// What all items together may take.
    pub total: usize,
}

/// Of how many keys the place is known. To look for one that is not takes the checksum of everything stored before.
const KNOWN_KEYS: usize = 32;

type States = Cache<HeapPageStates, Uncached, ArrayKeyPointers<Key, KNOWN_KEYS>, Key>;
type Store<'a, D, const PAGE: usize> = MapStorage<Key, &'a mut Flash<Partition<D>, PAGE>, States>;

/// What an item takes beside key and value, and the words at both ends of a page (`sequential-storage`, "Inner workings").
const ITEM_HEADER: usize = 8;
const PAGE_MARKS: usize = 2 * 8;

impl<D: BlockDevice, const PAGE: usize> Settings<D, PAGE> {
    /// How long a value may be, in bytes, whatever its key.
    pub const MAX_VALUE: usize = PAGE - PAGE_MARKS - ITEM_HEADER - 1 - crate::MAX_KEY;

    /// Makes an empty store on a device, and forgets what was there.
    ///
    /// Needs three pages at least; four or more are better, as one is always kept empty. 65 are used at most.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`], and [`Error::Device`]: with [`DeviceError::Unsupported`] if a page is no whole number of
    /// blocks.
    ///
    /// # Cancellation
    ///
    /// There may be no store any more on the device, or an empty one.
    pub async fn format(device: D) -> Result<Self, Error> {
        let pages = front::write(&device, PAGE).await?;
        Self::new(device, pages)
    }

    /// Opens the store on a device.
    ///
    /// # Errors
    ///
    /// [`Error::NotFormatted`], [`Error::OtherFormat`], [`Error::TooSmall`], [`Error::Damaged`] and [`Error::Device`].
    /// It is for the caller to decide whether the device shall be formatted then.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn open(device: D) -> Result<Self, Error> {
        let pages = front::read(&device, PAGE).await?;
        Self::new(device, pages)
    }

    fn new(device: D, pages: u32) -> Result<Self, Error> {
        let flash = Flash::new(front::pages(device, PAGE, pages)?)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(PAGE).map_err(|_| DeviceError::OutOfMemory)?;
        buffer.resize(PAGE, 0);
        Ok(Self { flash, pages, states: None, is_tidy: false, buffer })
    }

    /// The value of a key, if there is one. It survives a loss of power from now on, if it did not before.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`], [`Error::Damaged`] and [`Error::Device`].
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<&[u8]>, Error> {
        let key = Key::new(key.as_ref())?;
        self.begin().await?;
        let mut store = store(&mut self.flash, self.pages, &mut self.states)?;
        let value = store.fetch_item::<&[u8]>(&mut self.buffer, &key).await?;
        self.states = Some(store.destroy().1);
        Ok(value)
    }

    /// The value of a key as text, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::NotText`], and those of [`Settings::get`].
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn text(&mut self, key: impl AsRef<[u8]>) -> Result<Option<&str>, Error> {
        let value = self.get(key).await?;
        value.map(|value| core::str::from_utf8(value).map_err(|_| Error::NotText)).transpose()
    }

    /// Gives a key another value. When this has returned, it survives a loss of power.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`], [`Error::TooLarge`] and [`Error::Full`], and the key has its old value;
    /// [`Error::Damaged`] and [`Error::Device`], and it has the old or the new one.
    ///
    /// # Cancellation
    ///
    /// The key has its old value or the new one.
    pub async fn set(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (key, value) = (Key::new(key.as_ref())?, value.as_ref());
        if value.len() > Self::MAX_VALUE {
            return Err(Error::TooLarge);
        }
        self.begin().await?;
        let mut store = store(&mut self.flash, self.pages, &mut self.states)?;
        store.store_item_generic(&mut self.buffer, &key, &value).await?;
        // Where a page looks empty and is not, as others have written to it, words cannot be written.
        if store.fetch_item::<&[u8]>(&mut self.buffer, &key).await? != Some(value) {
            return Err(Error::Damaged);
        }
        self.states = Some(store.destroy().1);
        self.is_tidy = true;
        Ok(self.flash.flush().await?)
    }

    /// Removes a key, and says whether there was one. When this has returned, it is gone also after a loss of power;
    /// the bytes of its value stay on the device until the page is used again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`], and the key has its value; [`Error::Damaged`] and [`Error::Device`], and it has its
    /// value or is gone.
    ///
    /// # Cancellation
    ///
    /// The key has its value or is gone.
    pub async fn remove(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let key = Key::new(key.as_ref())?;
        self.begin().await?;
        let mut store = store(&mut self.flash, self.pages, &mut self.states)?;
        if !self.is_tidy {
            // Something may have been interrupted while it moved items. The library finishes that when it stores one, but not
            // when it removes one: then a key could be gone from where it is moved from, still be where it was moved to,
            // and be gone after all when the moving is done again.
            match store.store_item_generic(&mut self.buffer, &Key::foreign(), &&[][..]).await {
                Ok(()) | Err(StorageError::FullStorage) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is_there = store.fetch_item::<&[u8]>(&mut self.buffer, &key).await?.is_some();
        if is_there {
            store.remove_item(&mut self.buffer, &key).await?;
        }
        self.states = Some(store.destroy().1);
        self.is_tidy = true;
        self.flash.flush().await?;
        Ok(is_there)
    }

    /// All keys, in their order. Takes memory for each version of each item for as long as it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] and [`Error::Device`], which is also for too little memory.
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn keys(&mut self) -> Result<Vec<Key>, Error> {
        let items = self.items().await?;
        let mut keys = Vec::new();
        keys.try_reserve_exact(items.len()).map_err(|_| DeviceError::OutOfMemory)?;
        keys.extend(items.into_iter().map(|item| item.key));
        Ok(keys)
    }

    /// How much room there is.
    ///
    /// # Errors
    ///
    /// Those of [`Settings::keys`].
    ///
    /// # Cancellation
    ///
    /// Nothing is left behind.
    pub async fn space(&mut self) -> Result<Space, Error> {
        let used = self.items().await?.iter().map(|item| item.len).sum();
        Ok(Space { used, total: (self.pages as usize - 1) * (PAGE - PAGE_MARKS) })
    }

    /// What comes first in each operation: what the last one has left is made durable, so that nothing is found that could
    /// be lost.
    async fn begin(&mut self) -> Result<(), Error> {
        self.is_tidy &= self.states.is_some();
        Ok(self.flash.flush().await?)
    }

    /// The newest version of each item, in the order of keys.
    async fn items(&mut self) -> Result<Vec<Item>, Error> {
        self.begin().await?;
        let mut store = store(&mut self.flash, self.pages, &mut self.states)?;
        let mut items: Vec<Item> = Vec::new();
        let mut stored = store.fetch_all_items(&mut self.buffer).await?;
        while let Some((key, value)) = stored.next::<&[u8]>(&mut self.buffer).await? {
            if key.is_foreign() {
                continue;
            }
            let len = (1 + key.as_bytes().len() + value.len()).next_multiple_of(8) + ITEM_HEADER;
            items.try_reserve(1).map_err(|_| DeviceError::OutOfMemory)?;
            items.push(Item { key, age: usize::MAX - items.len(), len });
        }
        self.states = Some(store.destroy().1);
        items.sort_unstable_by(|a, b| (&a.key, a.age).cmp(&(&b.key, b.age)));
        items.dedup_by(|later, first| later.key == first.key);
        Ok(items)
    }

    /// Gives the device back.
    #[must_use]
    pub fn into_device(self) -> D {
        self.flash.into_device().into_device()
    }
}

/// A version of an item: the oldest one is found first, and has the greatest age.
struct Item {
    key: Key,
    age: usize,
    len: usize,
}

/// The library's store on the pages, which takes what is known about them.
fn store<'a, D: BlockDevice, const PAGE: usize>(
    flash: &'a mut Flash<Partition<D>, PAGE>,
    pages: u32,
    states: &mut Option<States>,
) -> Result<Store<'a, D, PAGE>, Error> {
    let states = states.take().unwrap_or_else(|| {
        Cache::new(HeapPageStates::new(pages as usize), Uncached, ArrayKeyPointers::new())
    });
    let config = MapConfig::try_new(0..pages * PAGE as u32).map_err(|_| Error::TooSmall)?;
    Ok(MapStorage::new(flash, config, states))
}
