//! Boards: what `configs/*.toml` says about a machine, read and checked.
//!
//! One file describes one board. A file is complete: nothing is inherited, and a key that this
//! module does not know is an error rather than a setting without effect.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::virtio::Virtio;
use crate::workspace;

/// The board that is meant when nobody names one.
pub(crate) const DEFAULT: &str = "qemu-virt";

/// One board, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Board {
    /// The name of the file, without `.toml`.
    pub(crate) name: String,
    /// One line for `--help` and for lists.
    pub(crate) summary: String,
    /// How the machine is handed the image.
    pub(crate) boot: Boot,
    /// The emulator that plays this board.
    pub(crate) qemu: Qemu,
}

/// How the machine is handed the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Boot {
    /// QEMU loads the ELF file and OpenSBI jumps to it.
    Elf,
    /// QEMU starts U-Boot, which finds a flat image on a disk and boots it with `booti`.
    Uboot,
}

/// The part of QEMU's command line that belongs to the board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Qemu {
    /// Program name or path.
    #[serde(default = "default_binary")]
    pub(crate) binary: String,
    /// Oldest major version that can play this board.
    pub(crate) at_least: Option<u32>,
    /// `-M`.
    pub(crate) machine: String,
    /// `-cpu`; the machine's own when absent.
    pub(crate) cpu: Option<String>,
    /// `-smp`, unless the command line says otherwise.
    pub(crate) smp: u32,
    /// `-m`, unless the command line says otherwise.
    pub(crate) memory: String,
    /// U-Boot for S-mode; `boot = "uboot"` needs it.
    pub(crate) u_boot: Option<PathBuf>,
    /// How its virtio devices look, unless the command line says otherwise; without this key it has no
    /// devices that anybody drives.
    pub(crate) virtio: Option<Virtio>,
    /// Anything else.
    #[serde(default)]
    pub(crate) args: Vec<String>,
}

fn default_binary() -> String {
    "qemu-system-riscv64".into()
}

impl Board {
    /// The board called `name` in `configs/`, or the one in the file `name` if it is a path.
    pub(crate) fn find(name: &str) -> Result<Self> {
        let is_path = name.contains('/') || name.ends_with(".toml");
        let file =
            if is_path { PathBuf::from(name) } else { configs().join(format!("{name}.toml")) };
        if !file.exists() {
            let known = list().into_iter().map(|board| board.name).collect::<Vec<_>>().join(", ");
            bail!(
                "no board {name:?}: {} does not exist\nboards in configs/: {known}",
                file.display()
            );
        }
        Self::read(&file)
    }

    fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use the board file {}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let board: Self = toml::from_str(text)?;
        if board.boot == Boot::Uboot && board.qemu.u_boot.is_none() {
            bail!(
                "boot = \"uboot\" needs the key `u-boot` in [qemu]: the path of a U-Boot built for S-mode"
            );
        }
        Ok(board)
    }
}

/// All boards of `configs/` that can be read, by name.
pub(crate) fn list() -> Vec<Board> {
    let Ok(folder) = std::fs::read_dir(configs()) else { return Vec::new() };
    let mut boards: Vec<Board> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Board::read(&path).ok())
        .collect();
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    boards
}

fn configs() -> PathBuf {
    workspace::root().join("configs")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        name = "x"
        summary = "y"
        boot = "elf"
        [qemu]
        machine = "virt"
        smp = 1
        memory = "128M"
    "#;

    #[test]
    fn every_file_in_configs_is_a_board_named_after_it() {
        let mut count = 0;
        for entry in std::fs::read_dir(configs()).unwrap() {
            let path = entry.unwrap().path();
            let board = Board::read(&path).unwrap();
            assert_eq!(path.file_stem().unwrap(), board.name.as_str());
            count += 1;
        }
        assert_eq!(count, list().len());
    }

    #[test]
    fn minimal_board_gets_the_usual_emulator() {
        let board = Board::parse(MINIMAL).unwrap();
        assert_eq!(board.qemu.binary, "qemu-system-riscv64");
        assert!(board.qemu.args.is_empty());
    }

    #[test]
    fn unknown_key_is_named_together_with_its_file() {
        let folder = crate::scratch::Scratch::new("board").unwrap();
        let file = folder.path().join("odd.toml");
        std::fs::write(&file, MINIMAL.replace("smp", "spm")).unwrap();
        let message = format!("{:#}", Board::find(file.to_str().unwrap()).unwrap_err());
        assert!(message.contains("odd.toml") && message.contains("spm"), "{message}");
    }

    #[test]
    fn unknown_board_lists_the_known_ones() {
        let message = format!("{:#}", Board::find("toaster").unwrap_err());
        assert!(message.contains("toaster") && message.contains(DEFAULT), "{message}");
    }

    #[test]
    fn uboot_without_u_boot_is_refused() {
        let message = format!("{:#}", Board::parse(&MINIMAL.replace("elf", "uboot")).unwrap_err());
        assert!(message.contains("`u-boot`"), "{message}");
    }
}
