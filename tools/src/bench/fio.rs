//! Linux with fio, which reads and writes a disk past Linux' cache: asynchronously (io_uring) and without
//! polling.
//!
//! What fio takes to start is not counted: before each job and after it the machine waits for a key, and
//! the instructions between are counted, without those that it executes anyhow while it waits. What is
//! still too much, a process that ends and one that starts, is the same for a job with few operations and
//! one with many: an operation costs the difference of both jobs, by that of their operations.
//!
//! How soon an answer comes is up to this computer, and if Linux has fallen asleep until then, it costs
//! more. So jobs with many operations run several times, and the least is taken.
//!
//! Linux gets what makes it cheap: no scheduler, statistics or merging of requests; buffers in huge pages,
//! registered with io_uring as the file is; no times taken and no buffers changed between operations; 16
//! operations submitted and awaited together where there are 32, four at once where they are of a MiB. With
//! fio's own settings a random read costs 1.6 times as much, one of 32 twice, and a MiB that is read 20 times.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::blk::{self, Cost, Disk};
use super::linux::{self, Program};
use crate::counted::Counted;
use crate::qemu::Options;
use crate::scratch::Scratch;

/// The kernel has the upper half of addresses (Linux, `Documentation/arch/riscv/vm-layout.rst`). What is below
/// is fio's, but for a little of the firmware's.
const KERNEL: u64 = 1 << 63;

/// How often a job with many operations runs.
const RUNS: usize = 4;

/// Such a job takes some seconds on a slow computer.
const PATIENCE: Duration = Duration::from_secs(60);

/// After so long a machine that has said that it waits is asleep.
const SETTLE: Duration = Duration::from_millis(100);

/// How long it is watched when it waits.
const WATCHED: Duration = Duration::from_secs(3);

/// What the machine prints before and after each job, when it waits for a key.
const WAITING: &str = "waiting for a key";

/// And when there is no more job.
const ENDED: &str = "fio ended, ";

/// Options of all jobs.
const GLOBAL: &str = "\
filename=/dev/vda
ioengine=io_uring
direct=1
fixedbufs=1
registerfiles=1
mem=mmaphuge
hugepage-size=2m
norandommap=1
scramble_buffers=0
gtod_reduce=1
stonewall
";

/// One of the rows.
struct Job {
    name: &'static str,
    options: &'static str,
    kib: u32,
    /// How many operations.
    few: u32,
    many: u32,
}

const JOBS: [Job; 6] = [
    random(blk::READ, "rw=randread\niodepth=1\n"),
    random(
        blk::READ_32,
        "rw=randread\niodepth=32\niodepth_batch_submit=16\niodepth_batch_complete_min=16\niodepth_low=16\n",
    ),
    sequential(blk::READ_MIB, "rw=read\niodepth=4\n"),
    random(blk::WRITE, "rw=randwrite\niodepth=1\n"),
    random(
        blk::WRITE_32,
        "rw=randwrite\niodepth=32\niodepth_batch_submit=16\niodepth_batch_complete_min=16\niodepth_low=16\n",
    ),
    sequential(blk::WRITE_MIB, "rw=write\niodepth=4\n"),
];

const fn random(name: &'static str, options: &'static str) -> Job {
    Job { name, options, kib: 4, few: 32, many: 1632 }
}

const fn sequential(name: &'static str, options: &'static str) -> Job {
    Job { name, options, kib: 1024, few: 8, many: 1008 }
}

/// The names of rows of [`blk`], and what they cost Linux. An error says why that is not known.
pub(super) fn measure() -> Result<Vec<(&'static str, Cost)>> {
    let mut folders = linux::unpacked(Program::Fio)?;
    let disk = Disk::new()?;
    let jobs = Scratch::new("jobs")?;
    std::fs::write(jobs.path().join("jobs"), file_of_jobs()).context("cannot write fio's jobs")?;
    folders.push(jobs.path().into());
    let append = Some("bench=blk".into());
    let options = Options { append, ..disk.machine() };
    let machine = linux::boot(&folders, options, &[("firmware", KERNEL)], |said| waits(said, 1))?;

    std::thread::sleep(SETTLE);
    let (begin, before) = (Instant::now(), Count::of(&machine)?);
    std::thread::sleep(WATCHED);
    let idle = Count::of(&machine)?.minus(before).times(begin.elapsed().as_secs_f64().recip());

    let mut waited = 1;
    let mut run = || -> Result<Count> {
        std::thread::sleep(SETTLE);
        let (begin, before) = (Instant::now(), Count::of(&machine)?);
        proceed(&machine, &mut waited)?;
        std::thread::sleep(SETTLE);
        let seconds = begin.elapsed().as_secs_f64();
        let count = Count::of(&machine)?.minus(before).minus(idle.times(seconds));
        proceed(&machine, &mut waited)?;
        Ok(count)
    };
    let mut costs = Vec::new();
    for job in &JOBS {
        let few = run()?;
        let many = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
        let least = many.into_iter().min_by(|a, b| a.all.total_cmp(&b.all)).unwrap_or_default();
        let each = least.minus(few).times(f64::from(job.many - job.few).recip());
        costs.push((job.name, Cost { instructions: each.all, kernel: each.kernel }));
    }
    all_done(&String::from_utf8_lossy(&machine.said()))?;
    Ok(costs)
}

/// Presses the key, and waits until the machine waits again, or until fio has ended after the last job.
fn proceed(machine: &Counted, waited: &mut usize) -> Result<()> {
    *waited += 1;
    let (waited, all) = (*waited, 2 * operations().count());
    let text = |said: &[u8]| String::from_utf8_lossy(said).into_owned();
    machine.types("\n")?;
    machine.prints(PATIENCE, |said| waits(said, waited) || has_ended(&text(said)))?;
    if waited <= all && has_ended(&text(&machine.said())) {
        bail!("fio ended early:\n{}", text(&machine.said()));
    }
    Ok(())
}

/// Whether a machine that has printed this waits for a key, for the so many-th time.
fn waits(said: &[u8], times: usize) -> bool {
    String::from_utf8_lossy(said).matches(WAITING).count() >= times
}

/// Whether fio has, and its report is complete.
fn has_ended(said: &str) -> bool {
    said.split_once(ENDED).is_some_and(|(_, rest)| rest.contains('\n'))
}

/// Each run of a job, and how many operations it has.
fn operations() -> impl Iterator<Item = (&'static Job, u32)> {
    let runs = |job: &'static Job| std::iter::once(job.few).chain([job.many; RUNS]);
    JOBS.iter().flat_map(move |job| runs(job).map(move |operations| (job, operations)))
}

/// As fio reads it. The jobs have numbers for names.
fn file_of_jobs() -> String {
    // fio adds where the output of such commands goes.
    let wait = format!("echo {WAITING} >/dev/console && read -r key </dev/console");
    let mut file = format!("[global]\n{GLOBAL}exec_prerun={wait}\nexec_postrun={wait}\n");
    for (number, (job, operations)) in operations().enumerate() {
        let (kib, all) = (job.kib, job.kib * operations);
        _ = write!(file, "[{number}]\nbs={kib}k\nio_size={all}k\n{}", job.options);
    }
    file
}

/// Whether each job has read and written what it was to. The report has a line for each, whose fields are
/// described in fio's manual under "Terse output" (version 3): the name, an error, and KiB that were read and
/// written among them.
fn all_done(said: &str) -> Result<()> {
    const NAME: usize = 2;
    const ERROR: usize = 4;
    const READ: usize = 5;
    const WRITTEN: usize = 46;
    let lines: Vec<Vec<&str>> = said
        .lines()
        .filter(|line| line.starts_with("3;fio-"))
        .map(|line| line.split(';').collect())
        .collect();
    for (number, (job, operations)) in operations().enumerate() {
        let name = number.to_string();
        let field = |field: usize| {
            let line = lines.iter().find(|line| line.get(NAME) == Some(&name.as_str()));
            line.and_then(|line| line.get(field)?.parse::<u32>().ok())
        };
        let (error, read, written) = (field(ERROR), field(READ), field(WRITTEN));
        let kib = read.zip(written).map(|(read, written)| read + written);
        ensure!(
            error == Some(0) && kib == Some(job.kib * operations),
            "fio has not done {operations} operations of {}, but {kib:?} KiB, error {error:?}:\n{said}",
            job.name
        );
    }
    Ok(())
}

/// Instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    all: f64,
    kernel: f64,
}

impl Count {
    /// Those so far.
    fn of(machine: &Counted) -> Result<Self> {
        let (all, below) = (machine.total()?, machine.below()?);
        Ok(Self { all: all as f64, kernel: (all - below) as f64 })
    }

    fn minus(self, other: Self) -> Self {
        Self { all: self.all - other.all, kernel: self.kernel - other.kernel }
    }

    fn times(self, factor: f64) -> Self {
        Self { all: self.all * factor, kernel: self.kernel * factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line for each job, as fio would write it.
    fn report() -> String {
        let line = |(number, (job, operations)): (usize, (&Job, u32))| {
            let kib = (job.kib * operations).to_string();
            let (read, written) =
                if job.options.contains("write") { ("0", kib) } else { (kib.as_str(), "0".into()) };
            format!("3;fio-3.39;{number};{number};0;{read};{}{written};1\r\n", "9;".repeat(40))
        };
        operations().enumerate().map(line).collect()
    }

    #[test]
    fn jobs_are_in_order_and_wait() {
        let file = file_of_jobs();
        let sections: Vec<&str> = file.split("\n[").collect();
        assert_eq!(sections.len(), 1 + JOBS.len() * (1 + RUNS), "{file}");
        assert!(sections[0].contains("\nexec_prerun=echo waiting"), "{file}");
        assert!(sections[1].starts_with("0]\nbs=4k\nio_size=128k\nrw=randread\n"), "{file}");
        assert!(!file.contains([';', '#']), "fio takes what follows for a comment: {file}");
    }

    #[test]
    fn report_tells_what_has_been_done() {
        let report = report();
        all_done(&report).unwrap();
        let failed = report.replacen(";0;0;0;", ";0;0;5;", 1);
        assert!(all_done(&failed).unwrap_err().to_string().contains("error Some(5)"));
        let (first, rest) = report.split_once('\n').unwrap();
        assert!(all_done(rest).unwrap_err().to_string().contains(blk::READ));
        assert!(
            all_done(&first.replace(";128;", ";124;")).unwrap_err().to_string().contains("124")
        );
    }

    #[test]
    fn machine_waits_or_has_ended() {
        let said = format!("{WAITING}\r\nfio: {WAITING}");
        assert!(waits(said.as_bytes(), 2) && !waits(said.as_bytes(), 3));
        assert!(has_ended("fio ended, 0\r\n") && !has_ended("fio ended, 0"));
    }
}
