//! Counting guest instructions: the QEMU plugin `tools/icount/icount.c`, compiled when needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::board::Board;
use crate::qemu::Installation;
use crate::workspace;

/// The plugin, compiled for the QEMU of one board.
pub(crate) struct Plugin {
    library: PathBuf,
}

/// What the plugin writes; see its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instructions before the first mark.
    pub(crate) from: u64,
    /// Instructions before the second mark.
    pub(crate) to: u64,
}

impl Plugin {
    /// Compiles the plugin unless there is one that is newer than its source.
    pub(crate) fn build(board: &Board) -> Result<Self> {
        // QEMU 9 stopped accepting plugins for the first interface.
        let api = if Installation::find(board)?.major_version()? < 9 { 1 } else { 2 };
        let source = workspace::root().join("tools/icount/icount.c");
        let library = workspace::work_folder()?.join(format!("icount-api{api}.so"));
        let changed = |file: &Path| file.metadata().and_then(|metadata| metadata.modified());
        let up_to_date = matches!((changed(&library), changed(&source)), (Ok(built), Ok(written)) if built >= written);
        if !up_to_date {
            let mut cc = Command::new("cc");
            cc.args(["-O2", "-shared", "-fPIC"])
                .arg(format!("-DAPI={api}"))
                .arg("-o")
                .arg(&library)
                .arg(&source);
            let status = cc
                .status()
                .context("cannot start the C compiler `cc`; `tools/setup.sh` installs it")?;
            if !status.success() {
                bail!("cc cannot compile {}: its message is above", source.display());
            }
        }
        Ok(Self { library })
    }

    /// QEMU's arguments for counting into `out`, with marks at two addresses.
    pub(crate) fn args(&self, out: &Path, from: u64, to: u64) -> [String; 2] {
        let (library, out) = (self.library.display(), out.display());
        ["-plugin".into(), format!("{library},out={out},from={from:#x},to={to:#x}")]
    }
}

impl Counts {
    /// Reads what the plugin wrote.
    pub(crate) fn read(out: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(out).with_context(|| format!("the plugin left no {}", out.display()))?;
        let mut counts = bytes.as_chunks().0.iter().map(|&count| u64::from_ne_bytes(count));
        let mut next = || counts.next().with_context(|| format!("{} is too short", out.display()));
        let (_total, from, to) = (next()?, next()?, next()?);
        if from == 0 || to < from {
            bail!("the machine did not pass the marks in order: {from} and {to} instructions");
        }
        Ok(Self { from, to })
    }

    /// Instructions between the marks.
    pub(crate) fn between(self) -> u64 {
        self.to - self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn counts_are_three_words() {
        let folder = Scratch::new("icount").unwrap();
        let read = |words: &[u64]| {
            let file = folder.path().join("counts");
            std::fs::write(
                &file,
                words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>(),
            )
            .unwrap();
            Counts::read(&file)
        };
        assert_eq!(read(&[100, 30, 70]).unwrap().between(), 40);
        assert!(read(&[100, 30, 0]).is_err());
        assert!(read(&[100, 30]).is_err());
    }
}
