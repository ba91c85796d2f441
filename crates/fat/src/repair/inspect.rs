//! A walk through all directories and files, which notes what is to be mended, and stops at what cannot be.
//!
//! Each cluster is passed once, whatever the volume says: work and memory are bounded by its size.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use hadris_fat_raw::{
    LFN_LAST_ENTRY, RootLocation, ShortEntry, Slot,
    io::{DirStart, DirWalk, Fat, async_ as raw},
    lfn::Assembler,
};

use super::{Raw, clusters::Clusters};
use crate::{
    Error,
    error::DriverError,
    replace::{TARGET, VICTIM},
};

/// A directory that lies in so many others is none that is walked into. Paths of ours may have more names; such a
/// volume is not repaired.
const MAX_DEPTH: usize = 1024;

/// What is to be mended of each kind is less than this after a loss of power.
const MAX_FIXES: usize = 16;

/// Entries with the same clusters as others: one rename at a time is cut.
pub(super) const MAX_DOUBLES: usize = 4;

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
    Parent { place: u64, parent: u32, said: u32, of: u32 },
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
    /// The first cluster of the directory that it is in, 0 for the root: what `..` says below it.
    pub(super) parent: u32,
    /// The first of its slots.
    pub(super) from: u32,
    /// The last of its slots.
    pub(super) slot: u32,
    /// The last slot's first byte.
    pub(super) place: u64,
    pub(super) cluster: u32,
    pub(super) size: u32,
    pub(super) is_directory: bool,
    /// It has just replaced another: [`TARGET`].
    pub(super) is_target: bool,
    /// It seems to have lost its long name: it has none, and its short one is of the kind that goes with one. The driver
    /// removes a name from its long end.
    pub(super) is_half: bool,
    /// It has got what another had: [`VICTIM`].
    pub(super) is_victim: bool,
}

pub(super) struct Inspection<'a> {
    fat: &'a Fat,
    pub(super) used: Clusters,
    pub(super) fixes: ArrayVec<Fix, MAX_FIXES>,
    /// Entries whose clusters are another's.
    pub(super) doubles: ArrayVec<Entry, MAX_DOUBLES>,
    /// A [`VICTIM`]. There is a replacement under way if there is a [`TARGET`] as well.
    pub(super) victim: Option<Entry>,
    has_target: bool,
    /// What was found before: who is first to the clusters of these doubles?
    before: Option<&'a Self>,
    pub(super) owners: ArrayVec<Entry, MAX_DOUBLES>,
}

/// A directory in which the walk is.
struct Level {
    walk: DirWalk,
    slot: u32,
    parent: u32,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(fat: &'a Fat, before: Option<&'a Self>) -> Result<Self, Error> {
        Ok(Self {
            fat,
            used: Clusters::new(fat.geometry().max_cluster())?,
            fixes: ArrayVec::new(),
            doubles: ArrayVec::new(),
            victim: None,
            has_target: false,
            before,
            owners: ArrayVec::new(),
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
                Slot::Free | Slot::End => {
                    name.reset();
                    self.note_pieces(directory, pieces.take(), slot)?;
                    if found == Slot::End {
                        levels.pop();
                    }
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
            let entry = self.entry(directory, parent, from, slot, place, &entry);
            if entry.is_target {
                self.has_target = true;
                self.note(Fix::Target { place })?;
            }
            if entry.is_victim {
                self.victim = Some(entry);
                if self.before.is_some_and(Self::is_replacing) {
                    // Its clusters are nobody's.
                    continue;
                }
            }
            if self.is_new(entry)? {
                if entry.is_directory {
                    self.follow(volume, entry.cluster, u32::MAX).await?;
                    self.check_dots(volume, entry).await?;
                    let walk = DirWalk::new(DirStart::Chain(entry.cluster));
                    enter(&mut levels, Level { walk, slot: 0, parent: entry.cluster })?;
                } else {
                    self.check_file(volume, entry).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether one file was about to replace another, and both entries are written.
    pub(super) fn is_replacing(&self) -> bool {
        self.has_target && self.victim.is_some()
    }

    fn entry(
        &self,
        directory: DirStart,
        parent: u32,
        from: u32,
        slot: u32,
        place: u64,
        entry: &ShortEntry,
    ) -> Entry {
        Entry {
            directory,
            parent,
            from,
            slot,
            place,
            cluster: entry.first_cluster(self.fat.geometry().kind()),
            size: entry.size(),
            is_directory: entry.is_dir(),
            is_target: entry.nt_case() & TARGET != 0,
            is_half: from == slot && entry.name().contains(&b'~'),
            is_victim: entry.nt_case() & VICTIM != 0,
        }
    }

    /// Whether this is the first entry for its clusters.
    fn is_new(&mut self, entry: Entry) -> Result<bool, Stop> {
        if entry.cluster == 0 {
            return if entry.is_directory || entry.size > 0 {
                Err(Stop::Damaged)
            } else {
                Ok(false)
            };
        }
        if !self.fat.is_cluster(entry.cluster) {
            return Err(Stop::Damaged);
        }
        if self.used.contains(entry.cluster) {
            self.doubles.try_push(entry).map_err(|_| Stop::Damaged)?;
            return Ok(false);
        }
        let doubles = self.before.map_or(&[][..], |before| &before.doubles);
        if doubles.iter().any(|double| double.cluster == entry.cluster) {
            self.owners.try_push(entry).map_err(|_| Stop::Damaged)?;
        }
        Ok(true)
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

    async fn check_file(&mut self, volume: &mut Raw<'_>, entry: Entry) -> Result<(), Stop> {
        let need = entry.size.div_ceil(self.fat.geometry().cluster_size());
        if need == 0 {
            return self.note(Fix::Empty { place: entry.place });
        }
        let (cluster, passed, has_more) = self.follow(volume, entry.cluster, need).await?;
        if passed < need {
            return Err(Stop::Damaged);
        }
        if has_more { self.note(Fix::Tail { cluster }) } else { Ok(()) }
    }

    /// Checks `.` and `..`, the first two entries of every directory but the root.
    async fn check_dots(&mut self, volume: &mut Raw<'_>, entry: Entry) -> Result<(), Stop> {
        let kind = self.fat.geometry().kind();
        let place = self.fat.cluster_at(entry.cluster).map_err(|_| Stop::Damaged)?;
        let Slot::Short(own) =
            raw::read_slot(&mut volume.adapter, &mut volume.entries, place).await?
        else {
            return Err(Stop::Damaged);
        };
        if !own.is_dot() || own.is_dot_dot() || own.first_cluster(kind) != entry.cluster {
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
        let is_root =
            entry.parent == 0 && self.fat.geometry().root() == RootLocation::Cluster(said);
        if said != entry.parent && !is_root {
            self.note(Fix::Parent { place, parent: entry.parent, said, of: entry.cluster })?;
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
