//! What is on a volume, as a map; and what is done to both.

use std::collections::BTreeMap;

use wakeful_block::{
    BlockDevice,
    fake::{self, Random},
};

use crate::{Error, OpenOptions, Volume};

/// Every path: `None` for a directory, bytes for a file.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write(String, Vec<u8>),
    Append(String, Vec<u8>),
    SetLen(String, u64),
    Remove(String),
    Rename(String, String),
    CreateDir(String),
    RemoveDir(String),
    Sync,
}

impl Op {
    pub(crate) async fn run<D: BlockDevice>(&self, volume: &Volume<D>) -> Result<(), Error> {
        match self {
            Self::Write(path, bytes) => volume.write(path, bytes).await,
            Self::Append(path, bytes) => {
                let mut file = volume.open_with(path, OpenOptions::new().append()).await?;
                let mut done = 0;
                while done < bytes.len() {
                    done += file.write(&bytes[done..]).await?;
                }
                file.close().await
            }
            Self::SetLen(path, len) => {
                let file = volume.open_with(path, OpenOptions::new().write()).await?;
                file.set_len(*len).await?;
                file.close().await
            }
            Self::Remove(path) => volume.remove_file(path).await,
            Self::Rename(from, to) => volume.rename(from, to).await,
            Self::CreateDir(path) => volume.create_dir(path).await,
            Self::RemoveDir(path) => volume.remove_dir(path).await,
            Self::Sync => volume.sync().await,
        }
    }

    pub(crate) fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Write(path, bytes) => {
                tree.insert(path.clone(), Some(bytes.clone()));
            }
            Self::Append(path, bytes) => file(tree, path).extend(bytes),
            Self::SetLen(path, len) => file(tree, path).resize(*len as usize, 0),
            Self::Remove(path) | Self::RemoveDir(path) => {
                tree.remove(path);
            }
            Self::Rename(from, to) => {
                let below = format!("{from}/");
                let moved: Vec<_> = tree
                    .keys()
                    .filter(|path| *path == from || path.starts_with(&below))
                    .cloned()
                    .collect();
                tree.remove(to);
                for path in moved {
                    let entry = tree.remove(&path).unwrap();
                    tree.insert(format!("{to}{}", &path[from.len()..]), entry);
                }
            }
            Self::CreateDir(path) => {
                tree.insert(path.clone(), None);
            }
            Self::Sync => {}
        }
    }

    /// The paths that it changes, with all below.
    pub(crate) fn touched(&self) -> Vec<&str> {
        match self {
            Self::Write(path, _)
            | Self::Append(path, _)
            | Self::SetLen(path, _)
            | Self::Remove(path)
            | Self::CreateDir(path)
            | Self::RemoveDir(path) => vec![path],
            Self::Rename(from, to) => vec![from, to],
            Self::Sync => vec![],
        }
    }
}

fn file<'a>(tree: &'a mut Tree, path: &str) -> &'a mut Vec<u8> {
    tree.get_mut(path).unwrap().as_mut().unwrap()
}

/// All that is there, by directories; gives up after so many entries.
pub(crate) async fn read<D: BlockDevice>(volume: &Volume<D>, most: usize) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let mut todo = vec![String::new()];
    while let Some(directory) = todo.pop() {
        let mut entries = volume.read_dir(&directory).await?;
        while let Some(entry) = entries.next().await? {
            let path = format!("{directory}/{}", entry.name);
            if tree.len() >= most || path.matches('/').count() > 40 {
                return Err(Error::Corrupt);
            }
            if entry.metadata.is_dir {
                tree.insert(path.clone(), None);
                todo.push(path);
            } else {
                let bytes = volume.read(&path).await?;
                tree.insert(path, Some(bytes));
            }
        }
    }
    Ok(tree)
}

pub(crate) fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.number() as u8).collect()
}

/// A name that no other has: short ones, long ones, of several alphabets.
pub(crate) fn name(random: &mut Random, id: u64) -> String {
    match random.below(6) {
        0 => format!("F{id}.TXT"),
        1 => format!("lower{id}.c"),
        2 => format!("Mixed Name {id}.html"),
        3 => format!("{}{id}", "x".repeat(random.below(230) as usize + 1)),
        4 => format!("é漢{}{id}.é", "ü".repeat(random.below(200) as usize)),
        _ => format!("a.b.c.{id}.tar.gz"),
    }
}

/// Something that can be done to this tree, if there is room.
pub(crate) fn any_op(random: &mut Random, tree: &Tree, id: &mut u64, most: u64) -> Option<Op> {
    let directories: Vec<&str> = tree
        .iter()
        .filter(|(_, entry)| entry.is_none())
        .map(|(path, _)| path.as_str())
        .chain([""])
        .collect();
    let files: Vec<&str> =
        tree.iter().filter(|(_, entry)| entry.is_some()).map(|(path, _)| path.as_str()).collect();
    fn pick<'a>(random: &mut Random, from: &[&'a str]) -> Option<&'a str> {
        from.get(random.below(from.len() as u64) as usize).copied()
    }
    let directory = pick(random, &directories)?;
    let file = pick(random, &files);
    *id += 1;
    let new = format!("{directory}/{}", name(random, *id));
    let most = if random.below(4) == 0 { most * 4 } else { most };
    let len = random.below(most) as usize;
    Some(match random.below(100) {
        0..25 => Op::Write(new, bytes(random, len)),
        25..35 => Op::Write(file?.into(), bytes(random, len)),
        35..50 => Op::Append(file?.into(), bytes(random, len)),
        50..60 => {
            let old = tree[file?].as_ref().map_or(0, Vec::len) as u64;
            Op::SetLen(file?.into(), random.below(old * 3 / 2 + 2))
        }
        60..72 => Op::Remove(file?.into()),
        72..77 if directory.matches('/').count() < 4 => Op::CreateDir(new),
        77..81 => {
            let is_empty = |path: &&&str| {
                let below = format!("{path}/");
                !path.is_empty() && !tree.keys().any(|other| other.starts_with(&below))
            };
            Op::RemoveDir(directories.iter().find(is_empty)?.to_string())
        }
        81..90 => Op::Rename(file?.into(), new),
        90..93 => {
            let target = pick(random, &files)?;
            if target == file? {
                return None;
            }
            Op::Rename(file?.into(), target.into())
        }
        93..95 => {
            let moved = pick(random, &directories)?;
            if moved.is_empty() || new.starts_with(&format!("{moved}/")) {
                return None;
            }
            Op::Rename(moved.into(), new)
        }
        95.. => Op::Sync,
        _ => return None,
    })
}

/// Does all of these, and says what is on the volume then.
pub(crate) fn grow<D: BlockDevice>(volume: &Volume<D>, ops: &[Op]) -> Tree {
    let mut tree = Tree::new();
    for op in ops {
        fake::run(op.run(volume)).unwrap();
        op.apply(&mut tree);
    }
    tree
}
