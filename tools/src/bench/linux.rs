//! The peer: Linux with nginx, on the same emulator and tap, under the same load as `http`.
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

use super::http::{self, Cost, Visit};
use crate::counted::{self, Counted};
use crate::namespace::{self, Ipv6};
use crate::network::Network;
use crate::program;
use crate::qemu::Options;
use crate::workspace;

/// How long packages may be on their way.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// Enough for Linux, which needs 104 MiB.
const MEMORY: &str = "256M";

/// The names of rows of [`http`], and what they cost Linux. An error says why that is not known.
pub(super) fn measure() -> Result<Vec<(&'static str, Cost)>> {
    let folder = unpacked()?;
    namespace::inside(Ipv6::Off, || under_load(&folder))
}

/// The folder that the script fills.
fn unpacked() -> Result<PathBuf> {
    let folder = workspace::work_folder()?.join("linux");
    if !folder.join("versions").exists() {
        eprintln!("wakeful: downloading Linux and nginx for riscv64, 125 MB, to compare with");
    }
    let mut script = Command::new("tools/linux-peer.sh");
    script.current_dir(workspace::root());
    program::output(script, DOWNLOAD).map_err(|error| {
        // Its last line is the reason.
        let text = error.to_string();
        anyhow::anyhow!("{}", text.trim_end().lines().last().unwrap_or_default())
    })?;
    Ok(folder)
}

fn under_load(folder: &Path) -> Result<Vec<(&'static str, Cost)>> {
    let archive = folder.join("initramfs");
    pack(&folder.join("root"), &archive).context("cannot pack what it starts with")?;
    let options = Options {
        smp: Some(1),
        memory: Some(MEMORY.into()),
        append: Some("console=ttyS0 quiet".into()),
        // Nobody tells it its address: that is in what it starts with.
        network: Some(Network::tap().dhcp()),
        extra: vec!["-initrd".into(), archive.display().to_string()],
        ..Options::default()
    };
    let kernel = folder.join("kernel");
    let machine = Counted::boot(&kernel, options, &[], None, counted::says_that_it_serves)?;
    let nobody = machine.idle()?;
    http::warm_up()?;
    let kept_alive = |connections| Visit::KeptAlive { connections, seconds: 4 };
    let fresh = |at_once| Visit::Fresh { at_once, requests: 2000 };
    let visits = [
        (http::ONE, kept_alive(1)),
        (http::SIXTEEN, kept_alive(16)),
        (http::SIXTY_FOUR, kept_alive(64)),
        (http::FRESH, fresh(16)),
        (http::FRESH_64, fresh(64)),
        (http::FRESH_256, fresh(256)),
    ];
    let cost = |(name, visit)| Ok((name, http::cost(&machine, nobody, visit).context(name)?));
    visits.into_iter().map(cost).collect()
}

/// Packs a folder as Linux wants what it starts with (`Documentation/driver-api/early-userspace/
/// buffer-format.rst`): a cpio archive of the format `newc`. All in it is root's.
fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let mut number = 0;
    let mut waiting = vec![folder.to_path_buf()];
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
        if path != folder {
            number += 1;
            let name = path.strip_prefix(folder)?.as_os_str().as_bytes();
            entry(&mut bytes, number, metadata.mode(), name, &contents)?;
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
        let root = scratch.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::write(root.join("bin/hello"), "hello\n").unwrap();
        std::os::unix::fs::symlink("bin/hello", root.join("init")).unwrap();
        let archive = scratch.path().join("archive");
        pack(&root, &archive).unwrap();
        let bytes = std::fs::read(archive).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!((text.len() % 4, text.matches("070701").count()), (0, 4));
        let modes: Vec<&str> = text.split("070701").skip(1).map(|entry| &entry[8..16]).collect();
        let kind = |name: &str| {
            let entry = text.split("070701").skip(1).find(|entry| entry[104..].starts_with(name));
            u32::from_str_radix(&entry.unwrap()[8..16], 16).unwrap() >> 12
        };
        assert_eq!((kind("bin\0"), kind("bin/hello\0"), kind("init\0")), (4, 8, 10), "{modes:?}");
        assert!(text.contains("bin/hello\0") && text.contains("hello\n\0"));
        assert!(text.contains("TRAILER!!!\0"));
    }
}
