//! Counting guest instructions: the QEMU plugin `tools/icount/icount.c`, compiled when needed.

use std::collections::HashMap;
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

/// Instructions up to two places; see the plugin's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instructions before the first mark.
    pub(crate) from: u64,
    /// Instructions before the second mark.
    pub(crate) to: u64,
}

/// What one hart had executed when it came to the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) hart: u64,
    /// Which mark, as they were given to the plugin.
    pub(crate) mark: u64,
    pub(crate) instructions: u64,
    /// Those of the firmware among them. The atomics below are not the firmware's.
    pub(crate) firmware: u64,
    /// Atomic read-modify-writes, by one instruction each.
    pub(crate) amo: u64,
    /// Load-reserved.
    pub(crate) lr: u64,
    /// Store-conditional.
    pub(crate) sc: u64,
}

/// Instructions that are always executed one after the other, as QEMU translates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    /// Of the first one.
    pub(crate) address: u64,
    pub(crate) instructions: u64,
}

/// Bits of a block's key that tell its length.
const LENGTH_BITS: u32 = 10;

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

    /// QEMU's arguments for counting into `out`, with the addresses of the plugin's places: `from`,
    /// `to`, any number of `mark`, and the end of the `firmware`.
    pub(crate) fn args(&self, out: &Path, places: &[(&str, u64)]) -> [String; 2] {
        let (library, out) = (self.library.display(), out.display());
        let places = places.iter().map(|(place, address)| format!(",{place}={address:#x}"));
        ["-plugin".into(), format!("{library},out={out}{}", places.collect::<String>())]
    }
}

/// The same, and how often each block is entered into the file `blocks`.
pub(crate) fn with_blocks([plugin, places]: [String; 2], blocks: &Path) -> [String; 2] {
    [plugin, format!("{places},blocks={}", blocks.display())]
}

/// How often each block has been entered so far.
pub(crate) fn blocks(file: &Path) -> Result<HashMap<Block, u64>> {
    let words = words(file)?;
    let entries = words.as_chunks().0.iter().filter(|&&[key, _]| key != 0);
    let block = |key: u64| Block {
        address: (key as i64 >> LENGTH_BITS) as u64,
        instructions: key % (1 << LENGTH_BITS),
    };
    let blocks: HashMap<_, _> = entries.map(|&[key, entered]| (block(key), entered)).collect();
    if blocks.len() == words.len() / 2 {
        bail!("there are more blocks than the {} that the plugin keeps", blocks.len());
    }
    Ok(blocks)
}

/// Instructions so far, of a machine that may still be running.
pub(crate) fn total(out: &Path) -> Result<u64> {
    words(out)?.first().copied().with_context(|| format!("{} is too short", out.display()))
}

/// Those of them that are below the place `firmware`.
pub(crate) fn below(out: &Path) -> Result<u64> {
    words(out)?.get(4).copied().with_context(|| format!("{} is too short", out.display()))
}

/// Instructions before the place `from`.
pub(crate) fn before(out: &Path) -> Result<u64> {
    match words(out)?[..] {
        [_total, from, ..] if from > 0 => Ok(from),
        _ => bail!("the machine did not come to the first mark"),
    }
}

/// Each time that a hart came to a mark, in order.
pub(crate) fn marks(out: &Path) -> Result<Vec<Mark>> {
    let words = words(out)?;
    let [_total, _from, _to, count, _below, records @ ..] = words.as_slice() else {
        bail!("{} is too short", out.display());
    };
    let records = records.as_chunks().0.iter();
    let marks: Vec<Mark> = records
        .map(|&[hart, mark, instructions, firmware, amo, lr, sc]| Mark {
            hart,
            mark,
            instructions,
            firmware,
            amo,
            lr,
            sc,
        })
        .take(usize::try_from(*count)?)
        .collect();
    if (marks.len() as u64) < *count {
        bail!("there were {count} marks, and the plugin only keeps {}", marks.len());
    }
    Ok(marks)
}

/// All that the plugin wrote.
fn words(out: &Path) -> Result<Vec<u64>> {
    let bytes =
        std::fs::read(out).with_context(|| format!("the plugin left no {}", out.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect())
}

impl Counts {
    /// Reads what the plugin wrote.
    pub(crate) fn read(out: &Path) -> Result<Self> {
        let words = words(out)?;
        let [_total, from, to, ..] = words[..] else { bail!("{} is too short", out.display()) };
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

    fn written<T>(words: &[u64], read: impl Fn(&Path) -> T) -> T {
        let folder = Scratch::new("icount").unwrap();
        let file = folder.path().join("counts");
        std::fs::write(&file, words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>())
            .unwrap();
        read(&file)
    }

    #[test]
    fn counts_come_first() {
        assert_eq!(written(&[100, 30, 70, 0], Counts::read).unwrap().between(), 40);
        assert!(written(&[100, 30, 0, 0], Counts::read).is_err());
        assert!(written(&[100, 30], Counts::read).is_err());
        assert_eq!(written(&[100, 0, 0, 0], total).unwrap(), 100);
    }

    #[test]
    fn marks_follow() {
        let file = [9, 0, 0, 1, 5, 3, 1, 100, 7, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0];
        let mark = Mark { hart: 3, mark: 1, instructions: 100, firmware: 7, amo: 4, lr: 2, sc: 1 };
        assert_eq!(written(&file, marks).unwrap(), [mark]);
        assert_eq!(written(&file, below).unwrap(), 5);
        let too_many = [9, 0, 0, 2, 0, 3, 0, 100, 0, 4, 2, 1];
        assert!(written(&too_many, marks).unwrap_err().to_string().contains("2 marks"));
    }

    #[test]
    fn blocks_have_address_and_length() {
        let block = |address, instructions| Block { address, instructions };
        let (high, low) = (block(0xffff_ffff_8020_0004, 3), block(0x8000_0000, 512));
        let key = |block: Block| block.address << LENGTH_BITS | block.instructions;
        let file = [0, 0, key(high), 7, key(low), 1];
        assert_eq!(written(&file, blocks).unwrap(), HashMap::from([(high, 7), (low, 1)]));
        assert!(written(&file[2..], blocks).unwrap_err().to_string().contains("more blocks"));
        let args = with_blocks(["a".into(), "b".into()], Path::new("c"));
        assert_eq!(args, ["a", "b,blocks=c"]);
    }

    #[test]
    fn places_become_arguments() {
        let plugin = Plugin { library: "lib.so".into() };
        let args = plugin.args(Path::new("counts"), &[("from", 16), ("mark", 255)]);
        assert_eq!(args, ["-plugin", "lib.so,out=counts,from=0x10,mark=0xff"]);
    }
}
