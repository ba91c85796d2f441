//! Cuts the power of machines that write files and settings: QEMU is killed at random moments, and what is on the
//! disks is looked at before the machine starts again with them.
//!
//! What must hold each time:
//!
//! - Files are what they were when the machine last said that they were synced, but for those that a deed was changing.
//! - A file that was being renamed has one name at most, and one of both when the machine has mounted the volume again.
//! - Each setting has its last value, or the one that was being set.
//! - `fsck.vfat` finds nothing worse than lost clusters ([`fsck`]), before the machine mounts the volume again and after.
//!
//! Both disks have a cache that forgets what was not flushed ([`cache`]).
//!
//! The machine runs `disksuite`, which prints what it is about to do, and what is done.

mod cache;
mod files;
mod fsck;
mod settings;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::board::{self, Board};
use crate::boot;
use crate::disk::Disk;
use crate::machine::{self, Machine};
use crate::peer::Random;
use crate::program;
use crate::qemu::{CommandLine, Options};
use crate::scratch::Scratch;
use crate::workspace::{self, Profile};

use files::Files;
use settings::Settings;

/// How often, and with which chance.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CutArgs {
    /// How many times
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,

    /// From which all chance comes, but for what takes how long [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// So often the power of the same disks is cut.
const SERIES: u32 = 10;

/// Sizes of volumes in MiB: FAT12, FAT16 and FAT32.
const SIZES: [u64; 3] = [8, 48, 96];

/// The machine works at most so long before its power is cut, once it is ready.
const LONGEST: Duration = Duration::from_millis(700);

/// It is ready after so long at the latest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cuts and looks. Returns the exit code.
pub(crate) fn run(args: &CutArgs) -> Result<i32> {
    machine::end_all_on_interrupt()?;
    if let Some(reason) = program::missing(&[fsck::PROGRAM]) {
        println!("power cuts are left out: {reason}");
        return Ok(0);
    }
    let seed = args.seed.unwrap_or_else(|| Random::new(u64::from(std::process::id())).next() >> 32);
    println!("power cuts: {} with seed {seed}", args.times);
    let image = workspace::build("disksuite", Profile::Release)?;
    let series = args.times.div_ceil(SERIES);
    let mut sum = Sum::default();
    for number in 0..series {
        let times = SERIES.min(args.times - number * SERIES);
        let random = Random::new(seed.wrapping_add(u64::from(number)));
        let folder = Scratch::new("powercut")?;
        let done = Series::new(&image, folder.path(), SIZES[number as usize % SIZES.len()], random)
            .and_then(|series| series.run(times, &mut sum));
        if let Err(error) = done {
            let place = folder.path().display().to_string();
            folder.keep();
            bail!("{error:#}\n(seed {seed}, series {number}; the disks are in {place})");
        }
        println!("{} cuts: {sum}", number * SERIES + times);
    }
    Ok(0)
}

/// What was seen.
#[derive(Default)]
struct Sum {
    deeds: usize,
    lost_sectors: usize,
    /// By what `fsck.vfat` said.
    findings: HashMap<&'static str, usize>,
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} deeds were there to stay, {} sectors not", self.deeds, self.lost_sectors)?;
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort();
        findings.iter().try_for_each(|(what, count)| write!(f, "; {what}: {count}"))
    }
}

/// The same disks, again and again.
struct Series<'a> {
    image: &'a Path,
    folder: &'a Path,
    volume: PathBuf,
    store: PathBuf,
    files: Files,
    settings: Settings,
    random: Random,
}

impl<'a> Series<'a> {
    fn new(image: &'a Path, folder: &'a Path, mib: u64, random: Random) -> Result<Self> {
        let (volume, store) = (folder.join("volume.img"), folder.join("settings.img"));
        crate::disk::format(&volume, mib)?;
        File::create(&store)?.set_len(256 << 10)?;
        Ok(Self {
            image,
            folder,
            volume,
            store,
            files: Files::default(),
            settings: Settings::default(),
            random,
        })
    }

    fn run(mut self, times: u32, sum: &mut Sum) -> Result<()> {
        for _ in 0..times {
            let (said, lost) = self.cut()?;
            sum.lost_sectors += lost;
            let deeds = Deeds::read(&said)?;
            let mut check = || {
                sum.deeds += deeds.done;
                self.files.follow(&deeds)?;
                self.settings.follow(&deeds)?;
                for finding in fsck::findings(&self.volume)? {
                    ensure!(finding.is_allowed(), "fsck finds what may not be: {finding:?}");
                    *sum.findings.entry(finding.name()).or_default() += 1;
                }
                self.files.compare(&self.volume, false)?;
                self.settings.compare(&self.store)
            };
            check().with_context(|| format!("the machine had said:\n{said}"))?;
            if self.files.is_renaming() {
                self.mount_once_more()?;
            }
        }
        self.mount_once_more()
    }

    fn command(&self, append: &str, disks: [Disk; 2]) -> Result<CommandLine> {
        let options =
            Options { append: Some(append.into()), disks: disks.into(), ..Options::default() };
        CommandLine::new(&Board::find(board::DEFAULT)?, self.image, &options, Path::new("none"))
    }

    /// Lets the machine work, and cuts its power. What it has said, and how many sectors it lost.
    fn cut(&mut self) -> Result<(String, usize)> {
        let copies = ["volume", "store"].map(|name| self.folder.join(name));
        let logs = ["volume.log", "store.log"].map(|name| self.folder.join(name));
        for (disk, copy) in [&self.volume, &self.store].into_iter().zip(&copies) {
            fs::copy(disk, copy)?;
        }
        logs.iter().try_for_each(|log| File::create(log).map(drop))?;
        let said = self.work([0, 1].map(|disk| Disk::new(&copies[disk]).logged(&logs[disk])))?;
        let mut lost = 0;
        for (disk, log) in [&self.volume, &self.store].into_iter().zip(&logs) {
            lost += cache::cut(disk, log, &mut self.random)?;
        }
        Ok((said, lost))
    }

    /// Lets the machine work with these disks, and ends it. What it has said.
    fn work(&mut self, disks: [Disk; 2]) -> Result<String> {
        let seed = self.random.next() >> 16;
        let line = self.command(&format!("-- case=load seed={seed}"), disks)?;
        // Now and then in the middle of its start, when it may be repairing the volume.
        let is_early = self.random.below(8) == 0;
        let work = LONGEST.mul_f64(self.random.below(1000) as f64 / 1000.0);
        let (machine, _keyboard, output) = Machine::start_captured(&line)?;
        let pieces = boot::pieces(output);
        let mut said = Vec::new();
        let begin = Instant::now();
        let mut end = begin + if is_early { work } else { PATIENCE };
        let mut is_ready = false;
        while let Ok(piece) = pieces.recv_timeout(end.saturating_duration_since(Instant::now())) {
            said.extend(piece);
            let text = String::from_utf8_lossy(&said);
            ensure!(!text.contains("panicked at") && !text.contains("failed"), "{text}");
            if !is_ready && !is_early && text.contains("ready\r\n") {
                (is_ready, end) = (true, Instant::now() + work);
            }
            if Instant::now() > end {
                break;
            }
        }
        ensure!(!machine.has_ended()?, "it ended by itself:\n{}", String::from_utf8_lossy(&said));
        ensure!(is_ready || is_early, "it is not ready:\n{}", String::from_utf8_lossy(&said));
        machine.cut()?;
        // What it said before, and nobody has heard.
        said.extend(pieces.iter().flatten());
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// What the machine finds, and what is to be found after that.
    fn mount_once_more(&mut self) -> Result<()> {
        let disks = [&self.volume, &self.store].map(Disk::new);
        let line = self.command("-- case=tree", disks)?;
        let (mut machine, _keyboard, mut output) = Machine::start_captured(&line)?;
        let mut said = String::new();
        output.read_to_string(&mut said).context("its console")?;
        let code = machine.wait()?;
        ensure!(code == 0, "it cannot read its files any more, exit code {code}:\n{said}");
        self.files.compare(&self.volume, true).with_context(|| format!("mounted:\n{said}"))?;
        for finding in fsck::findings(&self.volume)? {
            ensure!(finding.is_allowed(), "fsck finds after a repair: {finding:?}\n{said}");
        }
        Ok(())
    }
}

/// What the machine has said about its deeds.
#[derive(Default)]
struct Deeds<'a> {
    /// Those that were done: their words, and whether there was anything to be done.
    all: Vec<(Vec<&'a str>, bool)>,
    /// Those that were not.
    pending: Vec<Vec<&'a str>>,
    done: usize,
}

impl<'a> Deeds<'a> {
    fn read(said: &'a str) -> Result<Self> {
        let mut deeds = Self::default();
        let mut begun: HashMap<&str, Vec<&str>> = HashMap::new();
        // A line without an end was not said.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let Some((word, rest)) = line.trim_end().split_once(' ') else { continue };
            match word {
                "begin" => {
                    let (task, words) = rest.split_once(' ').context("begin what?")?;
                    begun.insert(task, words.split('|').collect());
                }
                "done" | "missing" => {
                    let words = begun.remove(rest).with_context(|| format!("{line}: of what?"))?;
                    deeds.all.push((words, word == "done"));
                    deeds.done += 1;
                }
                _ => {}
            }
        }
        deeds.pending.extend(begun.into_values());
        Ok(deeds)
    }
}
