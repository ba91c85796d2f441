//! What `fsck.vfat` says about a volume, without changing it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

pub(super) const PROGRAM: &str = "fsck.vfat";

/// Something that it found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotUnmounted,
    FreeCount,
    LostClusters,
    ChainTooLong,
    CopiesDiffer,
    LongNamePart,
    Other,
}

/// What a line begins with or has in it, and what it means (fsck.fat 4.2, `src/check.c`, `src/fat.c`, `src/lfn.c`,
/// `src/boot.c`).
const MEANINGS: [(&str, Kind); 12] = [
    ("Dirty bit is set", Kind::NotUnmounted),
    ("There are differences between boot sector and its backup", Kind::NotUnmounted),
    ("Free cluster summary", Kind::FreeCount),
    ("Reclaimed ", Kind::LostClusters),
    ("cluster chain length is", Kind::ChainTooLong),
    ("FATs differ", Kind::CopiesDiffer),
    ("Orphaned long file name part", Kind::LongNamePart),
    ("Unfinished long file name", Kind::LongNamePart),
    ("found outside a LFN sequence", Kind::LongNamePart),
    ("A new long file name starts within an old one", Kind::LongNamePart),
    ("Unexpected long filename sequence number", Kind::LongNamePart),
    ("Checksum in long filename part wrong", Kind::LongNamePart),
];

/// Lines that say what a finding is about, or what would be done about it.
const DETAILS: [&str; 20] = [
    "fsck.fat ",
    "Leaving filesystem unchanged",
    " Automatically removing dirty bit",
    "  Not automatically fixing this",
    "  Auto-correcting",
    "  Truncating",
    " Truncating",
    "  Using first FAT",
    "Using first FAT",
    "  Auto-deleting",
    "  Deleting",
    "This is mostly harmless",
    "  (",
    "  Not auto-correcting",
    "  Not auto-deleting",
    "  Leaving it",
    "  First ",
    "  Second ",
    "  Auto-renaming",
    "  Renamed to",
];

impl Finding {
    /// Whether it may be after a loss of power: nothing is lost but clusters that nobody has.
    pub(super) fn is_allowed(&self) -> bool {
        match self.kind {
            Kind::NotUnmounted
            | Kind::FreeCount
            | Kind::LostClusters
            | Kind::ChainTooLong
            | Kind::CopiesDiffer
            | Kind::LongNamePart => true,
            Kind::Other => false,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::NotUnmounted => "not unmounted",
            Kind::FreeCount => "wrong count of free clusters",
            Kind::LostClusters => "lost clusters",
            Kind::ChainTooLong => "longer chain than file",
            Kind::CopiesDiffer => "copies of the FAT differ",
            Kind::LongNamePart => "part of a long name",
            Kind::Other => "something else",
        }
    }
}

/// What it finds.
pub(super) fn findings(volume: &Path) -> Result<Vec<Finding>> {
    let output = Command::new(PROGRAM).arg("-n").arg(volume).output();
    let output = output.with_context(|| format!("cannot start {PROGRAM}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok(read(&text, &volume.display().to_string()))
}

fn read(text: &str, volume: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in text.lines() {
        let meaning = MEANINGS.iter().find(|(words, _)| line.contains(words));
        let kind = match meaning {
            Some((_, kind)) => *kind,
            None if line.is_empty() || line.starts_with(volume) => continue,
            // Names of files, and bytes of boot sectors.
            None if line.starts_with('/') || line.contains(':') && line.contains('/') => continue,
            None if DETAILS.iter().any(|words| line.starts_with(words)) => continue,
            None => Kind::Other,
        };
        findings.push(Finding { kind, text: line.into() });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_and_harmful() {
        let text = "fsck.fat 4.2 (2021-01-31)\nDirty bit is set. Fs was not properly unmounted and some data may be \
                    corrupt.\n Automatically removing dirty bit.\n/task 0/file\n  Orphaned long file name part \
                    \"x\"\n  Auto-deleting.\nReclaimed 3 unused clusters (6144 bytes).\n\nLeaving filesystem \
                    unchanged.\nx.img: 5 files, 7/100 clusters\n";
        let found = read(text, "x.img");
        assert!(found.iter().all(|finding| finding.is_allowed()), "{found:?}");
        assert_eq!(found.len(), 3);
        let bad = read("/a and\n/b\n  share clusters.\n  Truncating second to 0 bytes.\n", "x.img");
        assert_eq!(bad.len(), 1);
        assert!(!bad[0].is_allowed());
        let bad = read("/a\n  Contains a free cluster (5). Assuming EOF.\n", "x.img");
        assert!(bad.len() == 1 && !bad[0].is_allowed(), "{bad:?}");
    }
}
