//! From the first Rust instruction to the application's `main`, and to the end.
//!
//! Owns the order of boot (`src/boot.rs`), the panic report, and what an application's `main` may be.
//! Needs from above one symbol, `__wakeful_main`, which `#[wakeful::main]` makes.
//!
//! Features: `alloc` (panic reports tell what the heap held), `log` (starts the logger), `executor`
//! (runs tasks, `main` among them), `timer` (their timers), `smp` (starts the other harts),
//! `net` (finds devices, and takes the network card into service).

#![no_std]

mod arguments;
#[cfg(not(feature = "executor"))]
mod block_on;
mod boot;
mod main_result;
mod panic;
#[cfg(feature = "smp")]
mod smp;

pub use arguments::application as arguments;
#[cfg(not(feature = "executor"))]
pub use block_on::run;
pub use main_result::MainResult;
#[cfg(feature = "executor")]
pub use wakeful_task::run;
