//! Folders for one run: made under `target/wakeful/scratch`, gone with their owner.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::workspace;

/// A new, empty folder that is deleted when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// `label` only serves readers who look into `target/wakeful/scratch`.
    pub(crate) fn new(label: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let label: String =
            label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = of_this_process()?.join(format!("{label}-{number}"));
        create(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Leaves the folder behind, for somebody to look at, until [`sweep`].
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Creates a folder in that of this process, which another thread may just be deleting because it was
/// empty: then it is made again.
fn create(folder: &Path) -> std::io::Result<()> {
    loop {
        match std::fs::create_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
}

/// Deletes all of this process's folders, for an exit that drops nothing.
pub(crate) fn remove_all() {
    if let Ok(folder) = of_this_process() {
        _ = std::fs::remove_dir_all(folder);
    }
}

/// Deletes what processes that are gone have left behind.
pub(crate) fn sweep() -> Result<()> {
    let all = workspace::work_folder()?.join("scratch");
    let Ok(folders) = std::fs::read_dir(&all) else { return Ok(()) };
    for folder in folders.filter_map(Result::ok) {
        if Path::new("/proc/self").exists() && !Path::new("/proc").join(folder.file_name()).exists()
        {
            _ = std::fs::remove_dir_all(folder.path());
        }
    }
    Ok(())
}

fn of_this_process() -> Result<PathBuf> {
    Ok(workspace::work_folder()?.join("scratch").join(std::process::id().to_string()))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to do about a failure: `cargo clean` finds the folder under target/.
        _ = std::fs::remove_dir_all(&self.0);
        // The last one takes the process's folder with it: this fails while it is not empty.
        _ = self.0.parent().map(std::fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_and_go_at_the_same_time() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| (0..200).try_for_each(|_| Scratch::new("race").map(drop)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    }
}
