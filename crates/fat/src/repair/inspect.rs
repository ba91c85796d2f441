//! A walk through all directories and files, which notes what is to be mended, and stops at what cannot be.
//!
//! Each cluster is passed once, whatever the volume says: work and memory are bounded by its size.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use hadris_fat_raw::{
    ENTRY_SIZE, LFN_LAST_ENTRY, RootLocation, ShortEntry, Slot,
    io::{DirStart, DirWalk, Fat, async_ as raw},
    lfn::Assembler,
};

use super::{Raw, clusters::Clusters};
use crate::{
    Error, detach,
    error::DriverError,
    replace::{TARGET, VICTIM},
};

/// A directory that lies in so many others is none that is walked into. Paths of ours may have more names; such a
/// volume is not repaired.
const MAX_DEPTH: usize = 1024;

/// What is to be mended of each kind is less than this after a loss of power.
const MAX_FIXES: usize = 16;

/// Free entries that look as if they were detached. At most one is; others are what other systems have left.
const MAX_DETACHED: usize = 32;

/// Why an inspection ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is something that cannot be mended without loss.
    Damaged,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt | Error::InvalidInput => Self::Damaged,
            other => Self::Failed(other),
        }
    }
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Error::from(error).into()
    }
}

/// What is to be mended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fix {
    /// The entry `..` at this byte names another parent than this cluster.
    Parent { place: u64, parent: u32 },
    /// The file whose entry is at this byte is empty, and yet has clusters.
    Empty { place: u64 },
    /// The file that ends with this cluster has more of them.
    Tail { cluster: u32 },
    /// The slots of pieces of a long name without the rest.
    Pieces { directory: DirStart, from: u32, to: u32 },
    /// The entry at this byte still says that it has just replaced another.
    Target { place: u64 },
}

/// Where an entry is, and what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) directory: DirStart,
    /// The first of its slots.
    pub(super) from: u32,
    /// The last of its slots.
    pub(super) slot: u32,
    /// The last slot's first byte.
    pub(super) place: u64,
}

/// A detached entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detached {
    /// Its first byte.
    pub(super) place: u64,
    pub(super) entry: ShortEntry,
}

pub(super) struct Inspection<'a> {
    fat: &'a Fat,
    pub(super) used: Clusters,
    pub(super) fixes: ArrayVec<Fix, MAX_FIXES>,
    /// Entries that have got what another had, [`VICTIM`], and where those are that have replaced another, [`TARGET`]. One at
    /// most is ours; others have used these bits for something else.
    victims: ArrayVec<Entry, 2>,
    targets: ArrayVec<u64, 2>,
    detached: ArrayVec<Detached, MAX_DETACHED>,
}

/// A directory in which the walk is.
struct Level {
    walk: DirWalk,
    slot: u32,
    parent: u32,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(fat: &'a Fat) -> Result<Self, Error> {
        Ok(Self {
            fat,
            used: Clusters::new(fat.geometry().max_cluster())?,
            fixes: ArrayVec::new(),
            victims: ArrayVec::new(),
            targets: ArrayVec::new(),
            detached: ArrayVec::new(),
        })
    }

    pub(super) async fn walk(&mut self, volume: &mut Raw<'_>) -> Result<(), Stop> {
        if let RootLocation::Cluster(root) = self.fat.geometry().root() {
            self.follow(volume, root, u32::MAX).await?;
        }
        let mut levels = Vec::new();
        enter(&mut levels, Level { walk: DirWalk::new(self.fat.root()), slot: 0, parent: 0 })?;
        let mut name = Assembler::new();
        let mut pieces = None;
        while let Some(level) = levels.last_mut() {
            let slot = level.slot;
            let directory = level.walk.start();
            let parent = level.parent;
            let place = raw::slot_offset(
                &mut volume.adapter,
                &mut volume.table,
                self.fat,
                &mut level.walk,
                slot,
            )
            .await?;
            level.slot += 1;
            let found = match place {
                Some(place) => {
                    raw::read_slot(&mut volume.adapter, &mut volume.entries, place).await?
                }
                None => Slot::End,
            };
            let entry = match found {
                Slot::Long(piece) => {
                    if piece.sequence() & LFN_LAST_ENTRY != 0 {
                        self.note_pieces(directory, pieces.replace(slot), slot)?;
                    }
                    pieces.get_or_insert(slot);
                    name.push(&piece);
                    continue;
                }
                Slot::Free => {
                    name.reset();
                    self.note_pieces(directory, pieces.take(), slot)?;
                    if let Some(place) = place {
                        self.note_detached(volume, place).await?;
                    }
                    continue;
                }
                Slot::End => {
                    name.reset();
                    self.note_pieces(directory, pieces.take(), slot)?;
                    levels.pop();
                    continue;
                }
                Slot::Short(entry) => entry,
            };
            let from = match name.finish(entry.lfn_checksum()) {
                Some(_) => pieces.take().unwrap_or(slot),
                None => {
                    self.note_pieces(directory, pieces.take(), slot)?;
                    slot
                }
            };
            let Some(place) = place.filter(|_| entry.is_visible()) else {
                continue;
            };
            // Two are enough to know that they are not ours.
            match entry.nt_case() & (TARGET | VICTIM) {
                TARGET => _ = self.targets.try_push(place),
                VICTIM => _ = self.victims.try_push(Entry { directory, from, slot, place }),
                _ => {}
            }
            let cluster = entry.first_cluster(self.fat.geometry().kind());
            if cluster == 0 {
                if entry.is_dir() || entry.size() > 0 {
                    return Err(Stop::Damaged);
                }
            } else if !self.fat.is_cluster(cluster) {
                return Err(Stop::Damaged);
            } else if entry.is_dir() {
                self.follow(volume, cluster, u32::MAX).await?;
                self.check_dots(volume, cluster, parent).await?;
                let walk = DirWalk::new(DirStart::Chain(cluster));
                enter(&mut levels, Level { walk, slot: 0, parent: cluster })?;
            } else {
                self.check_file(volume, place, cluster, entry.size()).await?;
            }
        }
        if let [place] = self.targets[..] {
            self.note(Fix::Target { place })?;
        }
        Ok(())
    }

    /// If one file was about to replace another, and both entries are written, the entry that is to go.
    pub(super) fn victim(&self) -> Option<Entry> {
        match (&self.targets[..], &self.victims[..]) {
            ([_], [victim]) => Some(*victim),
            _ => None,
        }
    }

    /// Entries that look as if they were detached, and which of them was: its clusters are no other's.
    pub(super) async fn find_detached(
        &mut self,
        volume: &mut Raw<'_>,
    ) -> Result<(ArrayVec<Detached, MAX_DETACHED>, Option<usize>), Stop> {
        let all = core::mem::take(&mut self.detached);
        for (at, detached) in all.iter().enumerate() {
            match self.is_whole(volume, &detached.entry).await {
                Ok(true) => return Ok((all, Some(at))),
                Ok(false) | Err(Stop::Damaged) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok((all, None))
    }

    /// Whether the clusters of an entry are there, and nobody's.
    async fn is_whole(&mut self, volume: &mut Raw<'_>, entry: &ShortEntry) -> Result<bool, Stop> {
        let geometry = self.fat.geometry();
        let mut cluster = entry.first_cluster(geometry.kind());
        let need = match entry.size().div_ceil(geometry.cluster_size()) {
            _ if entry.is_dir() => geometry.max_cluster(),
            // Opened to be written, and got its first cluster.
            clusters => clusters.max(1),
        };
        if entry.is_dir() {
            self.check_dots(volume, cluster, 0).await?;
        }
        for passed in 1..=need {
            if self.used.contains(cluster) {
                return Ok(false);
            }
            let next = raw::next(&mut volume.adapter, &mut volume.table, self.fat, cluster).await?;
            match next {
                Some(next) if passed < need => cluster = next,
                _ => return Ok(entry.is_dir() || passed == need),
            }
        }
        Ok(false)
    }

    async fn note_detached(&mut self, volume: &mut Raw<'_>, place: u64) -> Result<(), Stop> {
        let mut slot = [0; ENTRY_SIZE];
        raw::read_bytes(&mut volume.adapter, &mut volume.entries, place, &mut slot).await?;
        if let Some(entry) = detach::attached(&slot)
            && self.fat.is_cluster(entry.first_cluster(self.fat.geometry().kind()))
            && !(entry.is_dir() && entry.size() > 0)
        {
            // Where there are so many, they are not ours.
            let _ = self.detached.try_push(Detached { place, entry });
        }
        Ok(())
    }

    /// Passes the first `most` clusters of a chain. Says which was the last of them, how many there were, and
    /// whether there are more.
    async fn follow(
        &mut self,
        volume: &mut Raw<'_>,
        first: u32,
        most: u32,
    ) -> Result<(u32, u32, bool), Stop> {
        let mut cluster = first;
        let mut passed = 0;
        loop {
            if !self.used.insert(cluster) {
                return Err(Stop::Damaged);
            }
            passed += 1;
            let next = raw::next(&mut volume.adapter, &mut volume.table, self.fat, cluster).await?;
            match next {
                Some(next) if passed < most => cluster = next,
                other => return Ok((cluster, passed, other.is_some())),
            }
        }
    }

    async fn check_file(
        &mut self,
        volume: &mut Raw<'_>,
        place: u64,
        cluster: u32,
        size: u32,
    ) -> Result<(), Stop> {
        let need = size.div_ceil(self.fat.geometry().cluster_size());
        if need == 0 {
            return self.note(Fix::Empty { place });
        }
        let (cluster, passed, has_more) = self.follow(volume, cluster, need).await?;
        if passed < need {
            return Err(Stop::Damaged);
        }
        if has_more { self.note(Fix::Tail { cluster }) } else { Ok(()) }
    }

    /// Checks `.` and `..`, the first two entries of every directory but the root.
    async fn check_dots(
        &mut self,
        volume: &mut Raw<'_>,
        cluster: u32,
        parent: u32,
    ) -> Result<(), Stop> {
        let kind = self.fat.geometry().kind();
        let place = self.fat.cluster_at(cluster).map_err(|_| Stop::Damaged)?;
        let Slot::Short(own) =
            raw::read_slot(&mut volume.adapter, &mut volume.entries, place).await?
        else {
            return Err(Stop::Damaged);
        };
        if !own.is_dot() || own.is_dot_dot() || own.first_cluster(kind) != cluster {
            return Err(Stop::Damaged);
        }
        let place = place + hadris_fat_raw::ENTRY_SIZE as u64;
        let Slot::Short(up) =
            raw::read_slot(&mut volume.adapter, &mut volume.entries, place).await?
        else {
            return Err(Stop::Damaged);
        };
        if !up.is_dot_dot() {
            return Err(Stop::Damaged);
        }
        let said = up.first_cluster(kind);
        // Some name the root by its cluster.
        let is_root = parent == 0 && self.fat.geometry().root() == RootLocation::Cluster(said);
        if said != parent && !is_root {
            self.note(Fix::Parent { place, parent })?;
        }
        Ok(())
    }

    fn note(&mut self, fix: Fix) -> Result<(), Stop> {
        self.fixes.try_push(fix).map_err(|_| Stop::Damaged)
    }

    fn note_pieces(&mut self, directory: DirStart, from: Option<u32>, to: u32) -> Result<(), Stop> {
        match from {
            Some(from) => self.note(Fix::Pieces { directory, from, to }),
            None => Ok(()),
        }
    }
}

fn enter(levels: &mut Vec<Level>, level: Level) -> Result<(), Stop> {
    if levels.len() == MAX_DEPTH {
        return Err(Stop::Damaged);
    }
    levels.try_reserve(1).map_err(|_| Stop::Failed(Error::OutOfMemory))?;
    levels.push(level);
    Ok(())
}
