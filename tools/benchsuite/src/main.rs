//! What `cargo wakeful bench` counts the instructions of.
//!
//! One image. Without arguments it runs the rows of one hart and succeeds. The boot arguments
//! `-- case=NAME` choose another case: `harts` runs the rows that take two harts, `disk` those
//! that take a disk; `idle` has nothing to do, for ever, `million` fills the memory with tasks, `throughput` takes its time.
//!
//! A row is a piece of work, done many times between two calls of [`measure::mark`], where a QEMU
//! plugin writes down how many instructions the hart has executed. The image itself measures nothing:
//! it prints which marks belong to which row ([`measure`]), and the host does the sums.
//!
//! The rows of executors ([`executor`]) are written once, for any executor; each contender is a file
//! that says how it spawns and runs. The others are ours alone: what the executor's peers have not
//! got. To add a row, name it on the host as well, in `tools/src/bench/limits.rs`.

#![no_std]
#![no_main]

extern crate alloc;

mod disk;
mod embassy;
mod executor;
mod harts;
mod interrupts;
mod measure;
mod million;
mod ours;
mod sleeps;
mod throughput;
mod timers;

use alloc::{format, string::String};

use wakeful::println;

#[wakeful::main]
async fn main() -> Result<(), String> {
    let case = wakeful::arguments().find_map(|word| word.strip_prefix("case="));
    match case {
        None | Some("rows") => rows().await,
        Some("harts") => harts().await?,
        Some("disk") => disk().await?,
        Some("million") => million::run().await?,
        Some("throughput") => throughput::run().await?,
        Some("idle") => {
            println!("idle");
            core::future::pending().await
        }
        Some(other) => return Err(format!("there is no case {other}")),
    }
    Ok(())
}

async fn rows() {
    measure::calibrate().await;
    executor::rows::<ours::Wakeful>().await;
    executor::rows::<embassy::Embassy>().await;
    ours::rows().await;
    interrupts::rows().await;
    sleeps::rows().await;
    timers::rows().await;
}

async fn harts() -> Result<(), String> {
    measure::calibrate().await;
    harts::rows().await
}

async fn disk() -> Result<(), String> {
    measure::calibrate().await;
    disk::rows().await
}
