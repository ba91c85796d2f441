//! A disk whose cache forgets.
//!
//! When QEMU is killed, this computer still has all that was written. So QEMU writes to a copy, and notes what it is asked for;
//! and of that, what came before the last flush is done on the disk, and of the rest some sectors.
//!
//! QEMU's `blklogwrites` notes as Linux's `dm-log-writes` does (`Documentation/admin-guide/device-mapper/log-writes.rst`): a
//! sector about the log, and for each request a sector that begins with four numbers of eight bytes (first sector, number of sectors, flags,
//! bytes of text) and the sectors that are written.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::peer::Random;

const SECTOR: usize = 512;

/// `LOG_FLUSH_FLAG`.
const FLUSH: u64 = 1;

/// Something that the machine has asked a disk for.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Write { sector: u64, bytes: &'a [u8] },
    Flush,
}

/// What becomes of a disk whose power is cut after these requests. Says how many sectors are lost.
pub(super) fn cut(disk: &Path, log: &Path, random: &mut Random) -> Result<usize> {
    let log = std::fs::read(log).context("the log of a disk")?;
    let requests = requests(&log)?;
    let file = File::options().write(true).open(disk)?;
    let flushed = requests.iter().rposition(|request| *request == Request::Flush).unwrap_or(0);
    // In some cuts hardly any sector is kept, in others nearly all.
    let quarters = random.below(5);
    let mut lost = 0;
    for (number, request) in requests.iter().enumerate() {
        let Request::Write { sector, bytes } = request else { continue };
        for (sector, bytes) in (*sector..).zip(bytes.chunks(SECTOR)) {
            if number < flushed || random.below(4) < quarters {
                file.write_all_at(bytes, sector * SECTOR as u64)?;
            } else {
                lost += 1;
            }
        }
    }
    Ok(lost)
}

fn requests(log: &[u8]) -> Result<Vec<Request<'_>>> {
    let mut requests = Vec::new();
    let mut rest = log.get(SECTOR..).unwrap_or_default();
    while let Some((header, behind)) = rest.split_at_checked(SECTOR) {
        let (numbers, _) = header.as_chunks::<8>();
        let [sector, sectors, flags, text] =
            [0, 1, 2, 3].map(|index| u64::from_le_bytes(numbers[index]));
        let request = match (sectors, flags) {
            // QEMU had not come so far.
            (0, 0) => break,
            (0, FLUSH) => Request::Flush,
            (_, 0) => {
                let Some(bytes) = behind.get(..sectors as usize * SECTOR) else { break };
                Request::Write { sector, bytes }
            }
            _ => bail!("a request with the flags {flags:#x} in a disk's log"),
        };
        ensure!(text == 0, "text in a disk's log");
        rest = &behind[sectors as usize * SECTOR..];
        requests.push(request);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn entry(sector: u64, flags: u64, bytes: &[u8]) -> Vec<u8> {
        let mut entry = [0; SECTOR];
        for (to, number) in
            entry.chunks_mut(8).zip([sector, (bytes.len() / SECTOR) as u64, flags, 0])
        {
            to.copy_from_slice(&number.to_le_bytes());
        }
        [&entry, bytes].concat()
    }

    #[test]
    fn what_was_flushed_is_kept() {
        let scratch = Scratch::new("cache").unwrap();
        let (disk, log) = (scratch.path().join("disk"), scratch.path().join("log"));
        let about = vec![0; SECTOR];
        let first = entry(1, 0, &[1; 2 * SECTOR]);
        let second = entry(2, 0, &[2; 2 * SECTOR]);
        // The last request is not whole.
        let third = &entry(0, 0, &[3; SECTOR])[..SECTOR + 100];
        let all = [&about, &first, &entry(0, FLUSH, &[]), &second, third].concat();
        std::fs::write(&log, all).unwrap();
        let mut random = Random::new(1);
        let mut seen = [false; 3];
        for _ in 0..50 {
            std::fs::write(&disk, [0; 4 * SECTOR]).unwrap();
            let lost = cut(&disk, &log, &mut random).unwrap();
            let found = std::fs::read(&disk).unwrap();
            let found: Vec<u8> = found.chunks(SECTOR).map(|sector| sector[0]).collect();
            assert_eq!(found[..2], [0, 1]);
            assert!([1, 2].contains(&found[2]) && [0, 2].contains(&found[3]), "{found:?}");
            let kept = found[2..].iter().filter(|byte| **byte == 2).count();
            assert_eq!(kept + lost, 2, "{found:?}");
            seen[lost] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn what_is_not_known() {
        assert!(requests(&[]).unwrap().is_empty());
        let log = [vec![0; SECTOR], entry(0, 4, &[0; SECTOR])].concat();
        assert!(requests(&log).is_err());
    }
}
