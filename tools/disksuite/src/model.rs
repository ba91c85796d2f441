//! Random operations on the first disk, and on a map that says what they should do.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use wakeful::{
    blk,
    fs::{self, Error, OpenOptions, Volume},
    println,
};

use crate::{
    load::append,
    random::{Random, bytes},
    tree,
};

/// Names, and in how many directories they are.
const NAMES: u64 = 40;
const DIRECTORIES: u64 = 4;

/// The most bytes that are written at once.
const MOST: u64 = 9_000;

/// The longest file, in bytes: longer ones are emptied.
const LONGEST: usize = 100_000;

pub(crate) async fn run(seed: u64, steps: u64) -> Result<(), String> {
    println!("seed {seed}");
    let disk = blk::disk(0).map_err(|error| error.to_string())?;
    let volume = fs::mount(disk).await.map_err(|error| error.to_string())?;
    let mut model = Model { files: BTreeMap::new(), random: Random(seed) };
    for number in 0..DIRECTORIES {
        let made = volume.create_dir(&format!("/directory {number}")).await;
        made.map_err(|error| error.to_string())?;
    }
    for step in 1..=steps {
        let done = model.step(&volume).await;
        done.map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
        if step % 1000 == 0 || step == steps {
            let compared = model.compare(&volume).await;
            compared.map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
        }
        if step % 10_000 == 0 {
            println!("{step} steps");
        }
    }
    volume.sync().await.map_err(|error| error.to_string())?;
    println!("the volume is as its model, {} files", model.files.len());
    tree::fat(&volume).await.map_err(|error| error.to_string())
}

struct Model {
    files: BTreeMap<String, Vec<u8>>,
    random: Random,
}

impl Model {
    fn path(&mut self) -> String {
        let (directory, name) = (self.random.below(DIRECTORIES), self.random.below(NAMES));
        format!("/directory {directory}/the file that is called {name}.txt")
    }

    /// One operation, on both.
    async fn step(&mut self, volume: &Volume) -> Result<(), String> {
        let path = self.path();
        let (number, len) = (self.random.next(), self.random.below(MOST) as usize);
        let new = bytes(number, len);
        let wanted: Result<(), Error>;
        let done = match self.random.below(12) {
            0..3 => {
                wanted = Ok(());
                let done = volume.write(&path, &new).await;
                self.files.insert(path, new);
                done
            }
            3..6 => {
                wanted = Ok(());
                let file = self.files.entry(path.clone()).or_default();
                if file.len() > LONGEST {
                    file.clear();
                    volume.write(&path, &[]).await.map_err(|error| format!("empty: {error}"))?;
                }
                file.extend_from_slice(&new);
                append(volume, &path, &new).await
            }
            6 => {
                wanted = self.files.remove(&path).map(drop).ok_or(Error::NotFound);
                volume.remove_file(&path).await
            }
            7 => {
                let other = self.path();
                wanted = match self.files.remove(&path) {
                    Some(file) => {
                        self.files.insert(other.clone(), file);
                        Ok(())
                    }
                    None => Err(Error::NotFound),
                };
                volume.rename(&path, &other).await
            }
            8 => {
                let (at, len) = (self.random.next(), self.random.below(30_000));
                let Some(file) = self.files.get_mut(&path) else { return Ok(()) };
                wanted = Ok(());
                let at = at % (file.len() as u64 + 1);
                change(volume, &path, file, at, &new, len).await
            }
            9 => {
                wanted = Ok(());
                volume.sync().await
            }
            _ => {
                wanted = self.files.get(&path).map(drop).ok_or(Error::NotFound);
                match volume.read(&path).await {
                    Ok(found) if Some(&found) != self.files.get(&path) => {
                        return Err(format!("{path} is not what was written"));
                    }
                    read => read.map(drop),
                }
            }
        };
        if done == wanted { Ok(()) } else { Err(format!("{done:?} instead of {wanted:?}")) }
    }

    /// All that there is.
    async fn compare(&self, volume: &Volume) -> Result<(), String> {
        let mut count = 0;
        for number in 0..DIRECTORIES {
            let directory = format!("/directory {number}");
            let entries = volume.read_dir(&directory).await;
            let mut entries = entries.map_err(|error| format!("{directory}: {error}"))?;
            while let Some(entry) = entries.next().await.map_err(|error| error.to_string())? {
                let path = format!("{directory}/{}", entry.name);
                let found = volume.read(&path).await.map_err(|error| format!("{path}: {error}"))?;
                if self.files.get(&path) != Some(&found) {
                    return Err(format!("{path} is not what it should be"));
                }
                count += 1;
            }
        }
        if count == self.files.len() {
            Ok(())
        } else {
            Err(format!("{count} files instead of {}", self.files.len()))
        }
    }
}

/// Writes somewhere in a file, and gives it another length.
async fn change(
    volume: &Volume,
    path: &str,
    model: &mut Vec<u8>,
    at: u64,
    bytes: &[u8],
    len: u64,
) -> Result<(), Error> {
    let file = volume.open_with(path, OpenOptions::new().read().write()).await?;
    let (mut done, start) = (0, at as usize);
    while done < bytes.len() {
        done += file.write_at(at + done as u64, &bytes[done..]).await?;
    }
    if model.len() < start + bytes.len() {
        model.resize(start + bytes.len(), 0);
    }
    model[start..start + bytes.len()].copy_from_slice(bytes);
    file.set_len(len).await?;
    model.resize(len as usize, 0);
    file.close().await
}
