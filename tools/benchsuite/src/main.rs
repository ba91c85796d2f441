//! What `cargo wakeful bench` counts the instructions of.
//!
//! One image. Without arguments it runs its rows and succeeds; with the boot arguments
//! `-- case=idle` it has nothing to do, for ever. A row is a piece of work, done many times between
//! two calls of [`measure::mark`], where a QEMU plugin writes down how many instructions the hart
//! has executed. The image itself measures nothing: it prints which marks belong to which row
//! ([`measure`]), and the host does the sums.
//!
//! The rows of executors ([`executor`]) are written once, for any executor; each contender is a file
//! that says how it spawns and runs. To add a row, add it there and name it on the host, in
//! `tools/src/bench/limits.rs`.

#![no_std]
#![no_main]

extern crate alloc;

mod embassy;
mod executor;
mod measure;
mod ours;
mod timers;

use alloc::{format, string::String};

use wakeful::println;

#[wakeful::main]
async fn main() -> Result<(), String> {
    let case = wakeful::arguments().find_map(|word| word.strip_prefix("case="));
    match case {
        None | Some("rows") => rows().await,
        Some("idle") => {
            println!("idle");
            core::future::pending().await
        }
        Some(other) => return Err(format!("there is no case {other}: there are rows and idle")),
    }
    Ok(())
}

async fn rows() {
    measure::calibrate().await;
    executor::rows::<ours::Wakeful>().await;
    executor::rows::<embassy::Embassy>().await;
    timers::rows().await;
}
