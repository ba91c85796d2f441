//! Async unikernels for RISC-V: write `async fn main`, build, boot.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! #[wakeful::main]
//! async fn main() {
//!     wakeful::println!("Hello");
//! }
//! ```
//!
//! `cargo build --release --target riscv64gc-unknown-none-elf` makes of this a file that boots on
//! any 64-bit RISC-V machine with an SBI firmware: no build script, no linker script, no flags.
//!
//! When `main` returns, the machine is switched off: with success, or, if it returned an `Err`,
//! after printing it, with failure. A panic prints where and why; in a task it costs that task, in
//! `main` it ends the machine with failure too.
//!
//! # Features
//!
//! None is on by default, and what is off is not in the image: `allocator`, `talc`,
//! `executor`, `counters`, `timer`, `log`, `smp`, `sync`, `embassy`, `blk`, `fs`, `ext4`, `net`,
//! `ipv6`, `dns`, `nal`, `edge`, `http`, `files`, `json`, `websocket`.
//! What each does is said beside it in `Cargo.toml`.

#![no_std]

#[cfg(feature = "allocator")]
#[doc(inline)]
pub use wakeful_alloc as alloc;
#[cfg(feature = "blk")]
#[doc(inline)]
pub use wakeful_blk as blk;
#[cfg(feature = "embassy")]
#[doc(inline)]
pub use wakeful_embassy as embassy;
#[cfg(feature = "fs")]
#[doc(inline)]
pub use wakeful_fs as fs;
#[doc(inline)]
pub use wakeful_hal::power::{off, reboot};
#[cfg(feature = "http")]
#[doc(inline)]
pub use wakeful_http as http;
pub use wakeful_macros::main;
#[cfg(feature = "net")]
#[doc(inline)]
pub use wakeful_net as net;
#[doc(inline)]
pub use wakeful_runtime::arguments;
#[cfg(feature = "sync")]
#[doc(inline)]
pub use wakeful_sync as sync;

/// The machine that this image finds itself on: memory, harts, clocks, as its device tree tells.
pub mod machine {
    pub use wakeful_hal::{
        hart::number as this_hart,
        layout::image::physical as image,
        machine::{Hart, Isa, Machine, Mmu, machine},
        timer::has_sstc,
    };
}

/// Tasks: spawning, waiting for them, priorities. `main` is the first one.
#[cfg(feature = "executor")]
pub mod task {
    pub use wakeful_task::{
        Builder, JoinError, JoinHandle, LEVELS, Pool, Priority, SpawnError, Task, TaskId, YieldNow,
        current, current_name, harts, panicked, poll_proceed, spawn, spawn_local, spawn_on,
        tasks_on, yield_now,
    };
    #[cfg(feature = "counters")]
    pub use wakeful_task::{HartUsage, TaskUsage, usage};
}

/// Time: instants, sleeping, timeouts and intervals.
#[cfg(feature = "timer")]
pub mod time {
    pub use wakeful_time::{
        Duration, Elapsed, Instant, Interval, MissedTicks, Sleep, Timeout, interval, interval_at,
        pending_on, sleep, sleep_coarse, sleep_until, timeout, timeout_at,
    };
}

/// The machine's console.
pub mod console {
    pub use wakeful_hal::console::{print, read};
}

/// Prints to the machine's console. Takes what [`core::format_args!`] takes.
///
/// May be called on any hart and in any context. Lines of up to 256 bytes stay in one piece.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => {
        $crate::console::print(::core::format_args!($($text)*))
    };
}

/// Prints to the machine's console, and ends the line. As [`print!`].
#[macro_export]
macro_rules! println {
    () => {
        $crate::print!("\n")
    };
    ($($text:tt)*) => {
        $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($text)*)))
    };
}

/// For `#[wakeful::main]` alone.
#[doc(hidden)]
pub mod __private {
    pub use wakeful_runtime::{MainResult, run};

    pub use crate::__default_heap as default_heap;
}

/// The heap of an application that chose none.
#[cfg(feature = "allocator")]
#[doc(hidden)]
#[macro_export]
macro_rules! __default_heap {
    () => {
        #[global_allocator]
        static HEAP: $crate::alloc::LinkedList = $crate::alloc::LinkedList;
    };
}

/// Without the feature `allocator` there is no heap.
#[cfg(not(feature = "allocator"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __default_heap {
    () => {};
}
