//! An entry whose name is about to change has none for a moment, so that it never has two.
//!
//! The driver writes the new entry, and then frees the old one. A loss of power in between would leave both, with the same
//! clusters: whoever removes one of the names, on any computer, frees the clusters of the other. Entries that lie in one
//! block change in one write. Otherwise the old entry is freed first, in such a way that [`repair`](crate::repair) can
//! bring it back: what other systems find meanwhile are clusters that belong to nobody.
//!
//! | written so far | old entry | new entry | repair |
//! |---|---|---|---|
//! | nothing | there | | |
//! | old | detached | | brings the old one back |
//! | new | detached | there | frees what is left of the old name |
//! | old again, by the driver | free | there | |
//!
//! A detached entry is a free one that keeps all it had: its name's first byte, which now says that it is free, is where the
//! tenths of the second of its creation were, and [`MARK`] says so.
//!
//! The driver knows nothing of this. [`Exchange`](crate::device::Exchange) shows it the old entry as it was, until it frees it.

use alloc::vec::Vec;

use hadris_fat_raw::{ENTRY_FREE, ENTRY_SIZE, FatKind, ShortEntry, Slot};

/// The slot of an entry, as it is on the disk.
pub(crate) type Bytes = [u8; ENTRY_SIZE];

/// Two bits of `DIR_NTRes` that nobody uses, both of them; see [`replace`](crate::replace) for one of them.
const MARK: u8 = 0xC0;

/// Where `DIR_NTRes` and `DIR_CrtTimeTenth` are in an entry (Microsoft's FAT specification, 2000, "FAT Directory
/// Structure").
const RESERVED: usize = 12;
const TENTHS: usize = 13;

/// Frees an entry, and keeps what it had.
pub(crate) fn detach(slot: &mut Bytes) {
    slot[TENTHS] = slot[0];
    slot[RESERVED] |= MARK;
    slot[0] = ENTRY_FREE;
}

/// What a detached entry was. Of the time of its creation the tenths are lost.
pub(crate) fn attached(slot: &Bytes) -> Option<ShortEntry> {
    if slot[0] != ENTRY_FREE || slot[RESERVED] & MARK != MARK {
        return None;
    }
    let mut slot = *slot;
    slot[0] = slot[TENTHS];
    slot[RESERVED] &= !MARK;
    slot[TENTHS] = 0;
    match Slot::parse(&slot) {
        Slot::Short(entry) if entry.is_visible() => Some(entry),
        _ => None,
    }
}

/// Where the old entry is, when something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old {
    Elsewhere,
    Here,
    /// Here, and the driver has freed it.
    Freed,
}

/// A rename under way, as those see it who read and write the blocks.
#[derive(Debug)]
pub(crate) struct Move {
    /// Where the old entry is, in bytes.
    place: u64,
    /// What was in [`TENTHS`].
    tenths: u8,
    kind: FatKind,
    /// The first cluster of what is renamed. Another entry with it is the new one. An empty file has none, and is not detached.
    cluster: u32,
    /// Where the new entry is, once it is about to be written: from then on the old one is, or may be, detached.
    new: Option<u64>,
    /// The old one is about to be attached again.
    is_returning: bool,
    /// For the block of the old entry.
    pub(crate) block: Vec<u8>,
}

impl Move {
    pub(crate) fn new(place: u64, entry: &ShortEntry, kind: FatKind, block: Vec<u8>) -> Self {
        let tenths = entry.encode()[TENTHS];
        let cluster = entry.first_cluster(kind);
        Self { place, tenths, kind, cluster, new: None, is_returning: false, block }
    }

    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// Where the old entry and the new one are, if the old one is, or may be, detached.
    pub(crate) fn places(&self) -> Option<(u64, u64)> {
        self.new.map(|new| (self.place, new))
    }

    /// Whether this is an entry of what is renamed.
    pub(crate) fn names(&self, slot: &Slot) -> bool {
        matches!(slot, Slot::Short(entry)
            if entry.is_visible() && entry.first_cluster(self.kind) == self.cluster)
    }

    /// The old entry, if it is among these bytes, which start at byte `start` of the disk.
    fn own<'b>(&self, start: u64, bytes: &'b mut [u8]) -> Option<&'b mut Bytes> {
        let at = usize::try_from(self.place.checked_sub(start)?).ok()?;
        bytes.get_mut(at..)?.first_chunk_mut()
    }

    /// Whether the old entry is to be detached now: the new one is among these bytes, which are about to be written.
    pub(crate) fn publish(&mut self, start: u64, bytes: &[u8]) -> bool {
        if self.new.is_some() || self.cluster == 0 {
            return false;
        }
        let (slots, _) = bytes.as_chunks::<ENTRY_SIZE>();
        let mut slots = (start..).step_by(ENTRY_SIZE).zip(slots);
        let new = slots.find(|(at, slot)| *at != self.place && self.names(&Slot::parse(slot)));
        self.new = new.map(|(at, _)| at);
        self.new.is_some()
    }

    /// Makes of what the driver writes what is written.
    pub(crate) fn conceal(&self, start: u64, bytes: &mut [u8]) -> Old {
        let Some(slot) = self.own(start, bytes) else {
            return Old::Elsewhere;
        };
        if slot[0] == ENTRY_FREE {
            return Old::Freed;
        }
        if self.new.is_some() && !self.is_returning {
            detach(slot);
        }
        Old::Here
    }

    /// The old entry is written as it is given, from now on.
    pub(crate) fn bring_back(&mut self) {
        self.is_returning = true;
    }

    /// Makes of what was read what the driver wrote.
    pub(crate) fn reveal(&self, start: u64, bytes: &mut [u8]) {
        if let Some(slot) = self.own(start, bytes)
            && let Some(entry) = attached(slot)
        {
            *slot = entry.encode();
            slot[TENTHS] = self.tenths;
        }
    }
}
