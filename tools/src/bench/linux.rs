//! The peer: Linux, on the same emulator. With [nginx](super::nginx) it is measured beside `http`, with
//! [fio](super::fio) on the same disk.
//!
//! Debian's packages are enough for it: `tools/linux-peer.sh` downloads and unpacks them, once. Where it
//! cannot, there is nothing to compare with, and that is no failure.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::counted::Counted;
use crate::program;
use crate::qemu::Options;
use crate::workspace;

/// How long packages may be on their way.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// Enough for Linux, which needs 104 MiB, and for what it starts with.
const MEMORY: &str = "256M";

/// What it is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Nginx,
    Fio,
}

/// Downloads Linux and the program, and returns the folders with what is in memory when it starts.
pub(super) fn unpacked(program: Program) -> Result<Vec<PathBuf>> {
    let (argument, versions, what, folders): (_, _, _, &[&str]) = match program {
        Program::Nginx => (None, "versions", "Linux and nginx for riscv64, 125 MB", &["root"]),
        Program::Fio => (
            Some("fio"),
            "fio-versions",
            "fio for riscv64, 40 MB, and Linux unless it is there",
            &["root", "fio"],
        ),
    };
    let all = folder_of_all()?;
    if !all.join(versions).exists() {
        eprintln!("wakeful: downloading {what}, to compare with");
    }
    let mut script = Command::new("tools/linux-peer.sh");
    script.args(argument).current_dir(workspace::root());
    program::output(script, DOWNLOAD).map_err(|error| {
        // Its last line is the reason.
        let text = error.to_string();
        anyhow::anyhow!("{}", text.trim_end().lines().last().unwrap_or_default())
    })?;
    Ok(folders.iter().map(|folder| all.join(folder)).collect())
}

fn folder_of_all() -> Result<PathBuf> {
    Ok(workspace::work_folder()?.join("linux"))
}

/// Boots it on one hart, with these folders in its memory, and waits until its console is as `ready`
/// wants it. Boot arguments of `options` that Linux does not know are variables of its `init`.
pub(super) fn boot(
    folders: &[PathBuf],
    mut options: Options,
    places: &[(&str, u64)],
    ready: impl Fn(&[u8]) -> bool,
) -> Result<Counted> {
    let all = folder_of_all()?;
    let archive = all.join("initramfs");
    pack(folders, &archive).context("cannot pack what it starts with")?;
    let more = options.append.unwrap_or_default();
    options.append = Some(format!("console=ttyS0 quiet {more}").trim_end().into());
    options.smp = Some(1);
    options.memory = Some(MEMORY.into());
    options.extra.extend(["-initrd".into(), archive.display().to_string()]);
    Counted::boot(&all.join("kernel"), options, places, None, ready)
}

/// Packs folders, one on top of the other, as Linux wants what it starts with (`Documentation/driver-api/
/// early-userspace/buffer-format.rst`): a cpio archive of the format `newc`. All in it is root's.
fn pack(folders: &[PathBuf], archive: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let mut number = 0;
    for folder in folders {
        let mut waiting = vec![folder.clone()];
        while let Some(path) = waiting.pop() {
            let metadata = path.symlink_metadata()?;
            let contents = if metadata.is_symlink() {
                std::fs::read_link(&path)?.as_os_str().as_bytes().to_vec()
            } else if metadata.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
                Vec::new()
            } else {
                std::fs::read(&path)?
            };
            if path != *folder {
                number += 1;
                let name = path.strip_prefix(folder)?.as_os_str().as_bytes();
                entry(&mut bytes, number, metadata.mode(), name, &contents)?;
            }
        }
    }
    entry(&mut bytes, 0, 0, b"TRAILER!!!", &[])?;
    std::fs::write(archive, bytes).with_context(|| format!("cannot write {}", archive.display()))
}

fn entry(
    archive: &mut Vec<u8>,
    number: u32,
    mode: u32,
    name: &[u8],
    contents: &[u8],
) -> Result<()> {
    let (size, name_size) = (u32::try_from(contents.len())?, u32::try_from(name.len() + 1)?);
    // Number, mode, owner, group, links, time, size, two numbers of two devices, name, checksum.
    let fields = [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend(b"070701");
    fields.iter().try_for_each(|field| write!(archive, "{field:08X}"))?;
    archive.extend([name, b"\0"].concat());
    pad(archive);
    archive.extend(contents);
    pad(archive);
    Ok(())
}

/// Names and contents begin at multiples of four.
fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn archive_has_files_folders_and_links() {
        let scratch = Scratch::new("cpio").unwrap();
        let (root, more) = (scratch.path().join("root"), scratch.path().join("more"));
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::write(root.join("bin/hello"), "hello\n").unwrap();
        std::os::unix::fs::symlink("bin/hello", root.join("init")).unwrap();
        std::fs::create_dir(&more).unwrap();
        std::fs::write(more.join("jobs"), "[job]\n").unwrap();
        let archive = scratch.path().join("archive");
        pack(&[root, more], &archive).unwrap();
        let bytes = std::fs::read(archive).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!((text.len() % 4, text.matches("070701").count()), (0, 5));
        let modes: Vec<&str> = text.split("070701").skip(1).map(|entry| &entry[8..16]).collect();
        let kind = |name: &str| {
            let entry = text.split("070701").skip(1).find(|entry| entry[104..].starts_with(name));
            u32::from_str_radix(&entry.unwrap()[8..16], 16).unwrap() >> 12
        };
        assert_eq!((kind("bin\0"), kind("bin/hello\0"), kind("init\0")), (4, 8, 10), "{modes:?}");
        assert_eq!(kind("jobs\0"), 8, "{modes:?}");
        assert!(text.contains("bin/hello\0") && text.contains("hello\n\0"));
        assert_eq!(text.matches("TRAILER!!!\0").count(), 1);
    }
}
