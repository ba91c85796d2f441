//! Work that never ends: files on the first disk, settings on the second.
//!
//! Before each deed there is a line that says what is tried, and after it one that it is there to stay. The
//! host (`tools/src/powercut.rs`) switches the machine off somewhere, and looks whether it is true.
//!
//! ```text
//! ready
//! begin TASK write PATH NUMBER LEN | append PATH NUMBER LEN | remove PATH | rename PATH PATH | set KEY NUMBER
//! done TASK
//! missing TASK
//! ```

use alloc::{boxed::Box, format, string::String};

use wakeful::{
    blk::{self, settings::Settings},
    fs::{self, Error, OpenOptions, Volume},
    println, task,
};

use crate::random::{Random, bytes};

/// Tasks that write files, each in a directory of its own, and how many names it has.
const TASKS: u64 = 3;
const NAMES: u64 = 6;

/// The most bytes that are written at once: some clusters.
const MOST: u64 = 12_000;

/// Keys of settings.
const KEYS: u64 = 12;

pub(crate) async fn run(seed: u64) -> Result<(), String> {
    let disk = |number| blk::disk(number).map_err(|error| format!("disk {number}: {error}"));
    let volume = fs::mount(disk(0)?).await.map_err(|error| format!("mount: {error}"))?;
    println!("volume: {:?}", volume.health());
    let settings = match Settings::open(disk(1)?).await {
        Err(blk::settings::Error::NotFormatted) => Settings::format(disk(1)?).await,
        opened => opened,
    };
    let settings = settings.map_err(|error| format!("settings: {error}"))?;
    println!("ready");
    for number in 0..TASKS {
        let random = Random(seed.wrapping_mul(31).wrapping_add(number));
        let files = Box::pin(files(volume.clone(), number, random));
        task::spawn_local(async move {
            if let Err(error) = files.await {
                println!("failed {number}: {error}");
            }
        })
        .detach();
    }
    set(settings, Random(seed)).await.map_err(|error| format!("settings: {error}"))
}

async fn files(volume: Volume, task: u64, mut random: Random) -> Result<(), Error> {
    let directory = format!("/task {task}");
    match volume.create_dir(&directory).await {
        Ok(()) | Err(Error::AlreadyExists) => {}
        Err(error) => return Err(error),
    }
    loop {
        let path = |number| format!("{directory}/file with number {number}.bin");
        let one = path(random.below(NAMES));
        let (number, len) = (random.next(), random.below(MOST) as usize);
        let result = match random.below(8) {
            0..3 => {
                println!("begin {task} write|{one}|{number}|{len}");
                volume.write(&one, &bytes(number, len)).await
            }
            3..6 => {
                println!("begin {task} append|{one}|{number}|{len}");
                append(&volume, &one, &bytes(number, len)).await
            }
            6 => {
                println!("begin {task} remove|{one}");
                volume.remove_file(&one).await
            }
            _ => {
                let other = path(random.below(NAMES));
                if one == other {
                    continue;
                }
                println!("begin {task} rename|{one}|{other}");
                volume.rename(&one, &other).await
            }
        };
        let missing = match result {
            Ok(()) => false,
            Err(Error::NotFound) => true,
            Err(error) => return Err(error),
        };
        volume.sync().await?;
        println!("{} {task}", if missing { "missing" } else { "done" });
    }
}

/// Writes behind what a file has, which is made if there is none.
pub(crate) async fn append(volume: &Volume, path: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut file = volume.open_with(path, OpenOptions::new().append().create()).await?;
    let mut done = 0;
    while done < bytes.len() {
        done += file.write(&bytes[done..]).await?;
    }
    file.close().await
}

async fn set(
    mut settings: Settings<blk::Disk>,
    mut random: Random,
) -> Result<(), blk::settings::Error> {
    loop {
        let (key, number) = (random.below(KEYS), random.next());
        println!("begin {TASKS} set|key {key}|{number}");
        settings.set(&*format!("key {key}"), format!("{number}")).await?;
        println!("done {TASKS}");
    }
}
