//! What settings should be.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Result, bail, ensure};
use wakeful_block::RamDisk;
use wakeful_settings as store;

use super::Deeds;

#[derive(Default)]
pub(super) struct Settings {
    all: BTreeMap<String, String>,
    /// What was being set when the power failed.
    pending: Option<(String, String)>,
}

impl Settings {
    pub(super) fn follow(&mut self, deeds: &Deeds<'_>) -> Result<()> {
        for (words, _) in &deeds.all {
            if let ["set", key, value] = words[..] {
                self.all.insert(key.into(), value.into());
            }
        }
        for words in &deeds.pending {
            if let ["set", key, value] = words[..] {
                self.pending = Some((key.into(), value.into()));
            }
        }
        Ok(())
    }

    /// Compares with what is stored. What was uncertain is known then.
    pub(super) fn compare(&mut self, disk: &Path) -> Result<()> {
        // In memory: opening may repair, and the machine is to do that.
        let disk = RamDisk::from_bytes(512, std::fs::read(disk)?)?;
        let pending = self.pending.take();
        let mut store = match at_once(store::Settings::<_>::open(disk)) {
            // It was not even made.
            Err(store::Error::NotFormatted) if self.all.is_empty() => return Ok(()),
            store => store?,
        };
        if let Some((key, value)) = pending
            && at_once(store.text(&*key))? == Some(&value)
        {
            self.all.insert(key, value);
        }
        let keys = at_once(store.keys())?;
        ensure!(
            keys.len() == self.all.len(),
            "{} settings instead of {}",
            keys.len(),
            self.all.len()
        );
        for (key, value) in &self.all {
            match at_once(store.text(&**key))? {
                Some(found) if found == value => {}
                found => bail!("{key} is {found:?} instead of {value:?}"),
            }
        }
        Ok(())
    }
}

/// What comes of a future that waits for memory alone.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("memory is always ready"),
    }
}
