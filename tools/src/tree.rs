//! Device trees for tests: QEMU's own tree for a machine, changed, for firmware or kernel.
//!
//! Firmware reads the tree first, and stops at trees that the kernel should be tested with. Those
//! are slipped in behind its back: OpenSBI boots with the good tree and jumps to three instructions
//! of ours, which give the kernel another.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeProperty};

use crate::image::{self, Elf};
use crate::qemu::CommandLine;

/// Where the shim is loaded: in RAM, clear of firmware, kernel and the tree of a machine with at
/// least 128 MiB.
const SHIM: u64 = 0x8400_0000;
/// Where the kernel finds the other tree.
const SHIM_TREE: u64 = SHIM + 0x1000;

/// A change to a machine's device tree.
#[derive(Clone, Copy)]
pub(crate) enum Tree {
    /// Firmware and kernel both get the changed tree.
    Machine(fn(&mut DeviceTree)),
    /// Only the kernel gets the changed tree.
    Kernel(fn(&mut DeviceTree)),
    /// Only the kernel gets the tree, changed byte by byte.
    KernelBytes(fn(&mut Vec<u8>)),
    /// Only the kernel gets the changed tree: RAM starts where it does and has this many bytes. The
    /// tree itself lies beyond.
    KernelRam(u64),
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine(_) => "Tree::Machine",
            Self::Kernel(_) => "Tree::Kernel",
            Self::KernelBytes(_) => "Tree::KernelBytes",
            Self::KernelRam(_) => "Tree::KernelRam",
        })
    }
}

impl Tree {
    /// Changes the tree of the machine that `line` describes, and writes what QEMU needs into
    /// `folder`.
    pub(crate) fn prepare(
        self,
        line: &CommandLine,
        kernel: &Path,
        folder: &Path,
    ) -> Result<Prepared> {
        let original = dump(line, folder)?;
        let edited = |edit: &dyn Fn(&mut DeviceTree)| -> Result<Vec<u8>> {
            let fdt = Fdt::new(&original).context("cannot read QEMU's own device tree")?;
            let mut tree = DeviceTree::from_fdt(&fdt);
            edit(&mut tree);
            Ok(tree.to_dtb())
        };
        match self {
            Self::Machine(edit) => Prepared::machine(&edited(&edit)?, kernel, folder),
            Self::Kernel(edit) => Prepared::shim(&edited(&edit)?, kernel, folder),
            Self::KernelRam(size) => {
                let tree = edited(&|tree| set_ram(tree, size))?;
                Prepared::shim(&tree, kernel, folder)
            }
            Self::KernelBytes(edit) => {
                let mut bytes = original;
                edit(&mut bytes);
                Prepared::shim(&bytes, kernel, folder)
            }
        }
    }
}

fn set_ram(tree: &mut DeviceTree, size: u64) {
    let memory = tree.root.child_mut("memory@80000000").expect("QEMU describes memory");
    // Two cells each for address and size.
    let reg: Vec<u8> = [0x8000_0000, size].iter().flat_map(|word| word.to_be_bytes()).collect();
    memory.remove_property("reg");
    memory.add_property(DeviceTreeProperty::new("reg", reg).expect("the name is valid"));
}

/// What to boot instead of the kernel alone.
pub(crate) struct Prepared {
    /// The file for `-kernel`.
    pub(crate) elf: PathBuf,
    /// More arguments for QEMU.
    pub(crate) args: Vec<String>,
}

impl Prepared {
    /// The kernel on a machine described by `tree`.
    fn machine(tree: &[u8], kernel: &Path, folder: &Path) -> Result<Self> {
        let file = folder.join("machine.dtb");
        std::fs::write(&file, tree).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { elf: kernel.into(), args: vec!["-dtb".into(), file.to_string_lossy().into()] })
    }

    /// A shim that gives `tree` to the kernel, and the kernel beside it.
    fn shim(tree: &[u8], kernel: &Path, folder: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
        let entry = Elf::parse(&bytes, kernel)?.load_address();
        let elf = folder.join("shim.elf");
        let file = image::elf_file(&[(SHIM, &shim_code(entry), 0), (SHIM_TREE, tree, 0)]);
        std::fs::write(&elf, file).with_context(|| format!("cannot write {}", elf.display()))?;
        Ok(Self { elf, args: vec!["-device".into(), format!("loader,file={}", kernel.display())] })
    }
}

/// `a1 = SHIM_TREE`, then on to `entry` with `a0` as it is.
fn shim_code(entry: u64) -> [u8; 12] {
    const AUIPC_A1: u32 = 0x597;
    const AUIPC_T0: u32 = 0x297;
    const JR_T0: u32 = 0x28067;
    // An address, relative to the instruction, is an upper part for auipc and a signed lower part
    // of 12 bits.
    let parts = |to: u64, from: u64| {
        let distance = to.wrapping_sub(from) as u32;
        let upper = distance.wrapping_add(0x800) & !0xfff;
        (upper, distance.wrapping_sub(upper) & 0xfff)
    };
    let (tree, rest) = parts(SHIM_TREE, SHIM);
    assert_eq!(rest, 0, "the tree lies whole pages after the code");
    let (upper, lower) = parts(entry, SHIM + 4);
    let mut code = [0; 12];
    for (bytes, word) in
        code.chunks_mut(4).zip([AUIPC_A1 | tree, AUIPC_T0 | upper, JR_T0 | lower << 20])
    {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    code
}

/// The device tree that QEMU makes for this machine.
fn dump(line: &CommandLine, folder: &Path) -> Result<Vec<u8>> {
    let file = folder.join("qemu.dtb");
    let mut line = line.clone();
    line.arg("-machine").arg(format!("dumpdtb={}", file.display()));
    let output = line.command().stdin(Stdio::null()).output().context("cannot start QEMU")?;
    if !output.status.success() {
        bail!("QEMU cannot dump its device tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut tree =
        std::fs::read(&file).with_context(|| format!("QEMU left no device tree: `{line}`"))?;
    // QEMU writes room to grow as well. The second word of a tree is its size.
    let size = tree.get(4..8).and_then(|size| Some(u32::from_be_bytes(size.try_into().ok()?)));
    tree.truncate(size.context("QEMU left an empty device tree")? as usize);
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shim_jumps_to_the_kernel() {
        // As an assembler writes: auipc a1, 0x1; auipc t0, 0xfc200; jr -4(t0)
        let expected: Vec<u8> = [0x0000_1597_u32, 0xfc20_0297, 0xffc2_8067]
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        assert_eq!(shim_code(0x8020_0000)[..], expected);
    }
}
