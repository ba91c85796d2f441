//! `cargo wakeful`: builds images, boots them in QEMU, tests and measures them.
//!
//! Each module owns one idea; its head says which. From the command line inwards: [`run`] boots an
//! image for the user, on top of [`board`] (what a machine is), [`qemu`] (how QEMU is told),
//! [`machine`] (the running process), [`console`] and [`symbols`] (what is shown of its output) and
//! [`image`] (what an ELF file loads). A machine may be on a [`network`], perhaps in a [`namespace`]
//! of its own, or have a [`peer`] that makes its life hard, be visited by [`client`]s, put under
//! [`load`], or find a [`service`] here. [`suite`] runs the [`cases`], [`bench`] and [`profile`]
//! measure.

mod bench;
mod board;
mod boot;
mod case;
mod cases;
mod client;
mod console;
mod counted;
mod disk;
mod expect;
mod http;
mod icount;
mod image;
mod load;
mod machine;
mod namespace;
mod network;
mod peer;
mod powercut;
mod profile;
mod program;
mod qemu;
mod run;
mod scratch;
mod service;
mod stranger;
mod suite;
mod symbols;
mod tree;
mod virtio;
mod workspace;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::console::Console;
use crate::image::Elf;
use crate::powercut::CutArgs;
use crate::profile::ProfileArgs;
use crate::run::RunArgs;
use crate::workspace::Profile;

/// Builds Wakeful images, boots them in QEMU, tests and measures them.
#[derive(Parser)]
#[command(name = "cargo wakeful", bin_name = "cargo wakeful", after_help = boards_help())]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build an example and boot it; exits with the machine's exit code
    Run {
        /// Package under examples/ [default: http if there is one, else hello]
        app: Option<String>,
        /// Build without --release
        #[arg(long)]
        debug: bool,
        #[command(flatten)]
        args: RunArgs,
    },
    /// Boot an ELF file; this is what `cargo run` calls
    Exec {
        /// An image for riscv64, as cargo builds it
        elf: PathBuf,
        #[command(flatten)]
        args: RunArgs,
    },
    /// Run the tests that need a machine: boots many, in QEMU
    Test(libtest_mimic::Arguments),
    /// Measure size, speed and memory; fails beyond a limit or above the last accepted measurements
    Bench {
        /// Accept what is measured now: write it to tools/baseline.toml
        #[arg(long)]
        update: bool,
        /// Only the web server, and only against its limits
        #[arg(long, conflicts_with = "update")]
        http: bool,
        /// Only disks, and only what they cost Linux
        #[arg(long, conflicts_with_all = ["update", "http"])]
        blk: bool,
    },
    /// Cut the power of machines that write files and settings, and see that nothing is lost
    Powercut(CutArgs),
    /// Show which functions of a web server the instructions of a request are spent in
    Profile(ProfileArgs),
    /// Make the flat image that boot loaders take (U-Boot: booti)
    Image {
        /// An image for riscv64, as cargo builds it
        elf: PathBuf,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Show what an ELF file loads, by section
    Size {
        /// An image for riscv64, as cargo builds it
        elf: PathBuf,
    },
    /// Name the addresses in a panic report read from stdin
    Symbolize {
        /// The ELF file that printed the report
        elf: PathBuf,
    },
}

fn main() -> ExitCode {
    // As an external subcommand, cargo repeats the name: `cargo-wakeful wakeful run`.
    let repeated = |(index, arg): &(usize, std::ffi::OsString)| *index == 1 && arg == "wakeful";
    let args = std::env::args_os().enumerate().filter(|arg| !repeated(arg)).map(|(_, arg)| arg);
    match perform(Cli::parse_from(args).command) {
        // What does not fit into an exit code is still a failure.
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the exit code.
fn perform(action: Action) -> Result<i32> {
    match action {
        Action::Run { app, debug, args } => {
            let apps = workspace::apps()?;
            let app = match app {
                Some(app) if apps.contains(&app) => app,
                Some(app) => bail!("no example {app:?}\nexamples: {}", apps.join(", ")),
                None => ["http", "hello"]
                    .map(String::from)
                    .into_iter()
                    .find(|app| apps.contains(app))
                    .context(
                        "there is neither an example http nor hello: say which package to run",
                    )?,
            };
            let profile = if debug { Profile::Dev } else { Profile::Release };
            run::boot(&workspace::build(&app, profile)?, args)
        }
        Action::Exec { elf, args } => run::boot(&elf, args),
        Action::Test(args) => suite::run(&args),
        Action::Bench { http: true, .. } => bench::run_http(),
        Action::Bench { blk: true, .. } => bench::run_blk(),
        Action::Bench { update, .. } => bench::run(update),
        Action::Powercut(args) => powercut::run(&args),
        Action::Profile(args) => profile::run(&args),
        Action::Image { elf, output } => {
            let flat = with_elf(&elf, |elf| elf.flat())?;
            std::fs::write(&output, flat)
                .with_context(|| format!("cannot write {}", output.display()))?;
            Ok(0)
        }
        Action::Size { elf } => {
            print!("{}", with_elf(&elf, |elf| Ok(elf.size_table()))?);
            Ok(0)
        }
        Action::Symbolize { elf } => {
            let mut report = Vec::new();
            std::io::stdin().read_to_end(&mut report)?;
            let mut named = Vec::new();
            Console::of(&elf).feed(&report, &mut named);
            std::io::stdout().write_all(&named)?;
            Ok(0)
        }
    }
}

fn with_elf<T>(path: &Path, task: impl FnOnce(&Elf<'_>) -> Result<T>) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    task(&Elf::parse(&bytes, path)?)
}

fn boards_help() -> String {
    let row = |board: board::Board| format!("  {:<18}{}\n", board.name, board.summary);
    format!("Boards:\n{}", board::list().into_iter().map(row).collect::<String>())
}
