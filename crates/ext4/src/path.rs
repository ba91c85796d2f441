//! From paths to inodes.

use alloc::vec::Vec;

use wakeful_block::BlockDevice;

use crate::{
    Error, Shared,
    inode::{FileType, Inode, ROOT},
    map::Run,
    zeros,
};

/// How many symbolic links are followed on one path, as in Linux ("path_resolution(7)").
pub const MAX_LINKS: u32 = 40;

/// How long a path may be in bytes, with what links put into it: `PATH_MAX` of Linux.
pub const MAX_PATH: usize = 4096;

/// How long a name may be in bytes: its length is one byte ("Linear (Classic) Directories").
pub const MAX_NAME: usize = 255;

/// A target that is shorter is in the inode ("The Contents of inode.i_block: Symbolic Links").
const MIN_LONG_LINK: u64 = 60;

impl<D: BlockDevice> Shared<D> {
    /// What a path leads to, from `/` on whether it begins so or not.
    pub(crate) async fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Inode, Error> {
        let root = self.inode(ROOT).await?;
        let mut inode = root.clone();
        let mut rest = spliced(path, &[])?;
        let mut at = 0;
        let mut links = 0;
        while at < rest.len() {
            if !inode.metadata.is_dir() {
                return Err(Error::NotADirectory);
            }
            if rest[at] == b'/' {
                at += 1;
                continue;
            }
            let name = rest[at..].split(|byte| *byte == b'/').next().unwrap_or_default();
            if name.len() > MAX_NAME {
                return Err(Error::NameTooLong);
            }
            let end = at + name.len();
            let is_here = name == b"." || name == b".." && inode.number == ROOT;
            if !is_here {
                let number = self.look_up(&inode, name).await?;
                let child = self.inode(number).await?;
                if child.metadata.is_symlink() && (follow_last || end < rest.len()) {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::TooManyLinks);
                    }
                    let target = self.target(&child).await?;
                    if target.starts_with(b"/") {
                        inode = root.clone();
                    }
                    rest = spliced(&target, &rest[end..])?;
                    at = 0;
                    continue;
                }
                inode = child;
            }
            at = end;
        }
        Ok(inode)
    }

    /// What a link leads to: a path that is not empty.
    pub(crate) async fn target(&self, link: &Inode) -> Result<Vec<u8>, Error> {
        if link.metadata.file_type() != FileType::Link {
            return Err(Error::NotALink);
        }
        link.check_readable()?;
        let len = link.metadata.len;
        if len == 0 || len > MAX_PATH as u64 {
            return Err(Error::Corrupt);
        }
        let mut target = zeros(len as usize)?;
        if len < MIN_LONG_LINK {
            target.copy_from_slice(&link.root[..len as usize]);
        } else {
            self.read_at(link, &mut Run::default(), 0, &mut target).await?;
        }
        Ok(target)
    }
}

fn spliced(target: &[u8], rest: &[u8]) -> Result<Vec<u8>, Error> {
    let len = target.len() + rest.len();
    if len > MAX_PATH {
        return Err(Error::NameTooLong);
    }
    let mut path = zeros(len)?;
    path[..target.len()].copy_from_slice(target);
    path[target.len()..].copy_from_slice(rest);
    Ok(path)
}
