//! Says hello, and what machine it is on.
//!
//! This shows:
//! 1. the smallest application: an `async fn main` that returns, which switches the machine off;
//! 2. that one image fits any machine: every fact below was found at boot, in the device tree.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use wakeful::{machine, println};

#[wakeful::main]
async fn main() {
    let machine = machine::machine();
    println!("Hello from Wakeful!");
    println!("machine   {}", machine.model);
    let image = machine::image();
    println!("image     {} KiB at {:#x}", image.len() >> 10, image.start);
    for range in &machine.memory {
        println!("memory    {} MiB at {:#x}", (range.end - range.start) >> 20, range.start);
    }
    for hart in &machine.harts {
        println!("hart      {}: {}", hart.id, hart.isa);
    }
    println!("harts     {} with S-mode, {} without", machine.harts.len(), machine.unusable_harts);
    let timer = if machine::has_sstc() { "Sstc" } else { "the firmware" };
    println!("timebase  {} Hz, deadlines by {timer}", machine.timebase_hz);
}
