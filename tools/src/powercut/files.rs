//! What files should have: a model of the volume that follows the machine's deeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hadris_fat::sync::FatFs;
use hadris_fs::MountOptions;
use hadris_fs::sync::Volume;
use hadris_storage::host::FileDevice;

use super::Deeds;
use crate::peer::Random;

#[derive(Default)]
pub(super) struct Files {
    /// By path.
    all: BTreeMap<String, Vec<u8>>,
    /// Those that a deed was changing when the power failed.
    uncertain: BTreeSet<String>,
    /// A file that was being renamed: from, to, and its bytes.
    renamed: Vec<(String, String, Vec<u8>)>,
}

impl Files {
    /// Does what was done.
    pub(super) fn follow(&mut self, deeds: &Deeds<'_>) -> Result<()> {
        for (words, was_there) in &deeds.all {
            match words[..] {
                ["write", path, number, len] => {
                    self.all.insert(path.into(), bytes(number, len)?);
                }
                ["append", path, number, len] => {
                    self.all.entry(path.into()).or_default().extend(bytes(number, len)?);
                }
                ["remove", path] => {
                    ensure!(self.all.remove(path).is_some() == *was_there, "remove {path}");
                }
                ["rename", from, to] => match self.all.remove(from) {
                    Some(file) if *was_there => _ = self.all.insert(to.into(), file),
                    None if !was_there => {}
                    _ => bail!("rename {from}"),
                },
                _ => {}
            }
        }
        for words in &deeds.pending {
            match words[..] {
                ["write" | "append", path, ..] | ["remove", path] => {
                    self.uncertain.insert(path.into());
                }
                ["rename", from, to] => {
                    self.uncertain.extend([from.into(), to.into()]);
                    if let Some(file) = self.all.get(from) {
                        self.renamed.push((from.into(), to.into(), file.clone()));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a file was being renamed. What has become of it is known when the volume has been mounted.
    pub(super) fn is_renaming(&self) -> bool {
        !self.renamed.is_empty()
    }

    /// Compares with what is on the volume. What was uncertain is known then; but what was being renamed is so only if
    /// the volume was mounted since.
    pub(super) fn compare(&mut self, volume: &Path, was_mounted: bool) -> Result<()> {
        let found = read(volume)?;
        for (from, to, bytes) in &self.renamed {
            let names = [from, to].into_iter().filter(|path| found.get(*path) == Some(bytes));
            let names = names.count();
            // Two without a byte have no cluster that would tell that they are one.
            ensure!(names < 2 || bytes.is_empty(), "{from} is {to} as well");
            ensure!(names > 0 || !was_mounted, "{from} was to become {to}, and is gone");
        }
        for path in self.all.keys().chain(found.keys()) {
            if self.uncertain.contains(path) {
                continue;
            }
            match (self.all.get(path), found.get(path)) {
                (Some(should), Some(is)) => ensure!(
                    should == is,
                    "{path} has {} bytes instead of {}, or others",
                    is.len(),
                    should.len()
                ),
                (Some(_), None) => bail!("{path} is gone"),
                (None, _) => bail!("{path} is there"),
            }
        }
        self.all = found;
        if was_mounted {
            self.renamed.clear();
        }
        let names = self.renamed.iter().flat_map(|(from, to, _)| [from.clone(), to.clone()]);
        self.uncertain = names.collect();
        Ok(())
    }
}

/// All files of a volume, read by somebody else than the machine.
fn read(volume: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let device = FileDevice::open(volume)?;
    let fs = FatFs::mount(device, MountOptions::new().read_only()).context("cannot mount it")?;
    let volume = Volume::new(fs);
    let mut files = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in volume.read_dir(format!("{folder}/"))? {
            let entry = entry?;
            let path = format!("{folder}/{}", String::from_utf8_lossy(entry.name().as_bytes()));
            if entry.file_type().is_dir() {
                folders.push(path);
            } else {
                let bytes = volume.read(&path).with_context(|| format!("cannot read {path}"))?;
                files.insert(path, bytes);
            }
        }
    }
    Ok(files)
}

/// As `disksuite` makes them.
fn bytes(number: &str, len: &str) -> Result<Vec<u8>> {
    let (number, len) = (number.parse()?, len.parse()?);
    let mut random = Random::new(number);
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len);
    Ok(bytes)
}
