//! What the machine is, read from its device tree.
//!
//! This crate owns one question: what did the firmware hand over? [`Machine::parse`] answers it
//! once, at boot, with plain numbers: RAM, harts, interrupt controller, console, command line.
//! After that only drivers look at the tree again: [`devices()`] finds theirs.
//!
//! It needs nothing: no allocator, no globals, no `unsafe`. The blob is not trusted. It may be
//! cut short, damaged or hostile; the answer is then an [`Error`] that says what is wrong and
//! where, never a panic, and the work is linear in the size of the blob (at most
//! [`MAX_BLOB_LEN`]).
//!
//! The tree is walked once and each property is looked at once, because this runs before
//! anything else and its instructions are counted. Only the nodes that can matter are entered:
//! the root, `/cpus`, `/memory@…`, `/reserved-memory`, `/chosen` and the devices on simple
//! buses. A general device tree library validates the whole blob first and then looks properties
//! up by name. On the tree of QEMU's `virt` machine dtoolkit 0.4.1 takes 90 000 instructions to
//! validate it and 240 000 to walk it once; this crate takes 33 000 to 37 000 for both (RV64GC, by
//! optimisation level), and a whole boot may take 250 000. That is why the format is read here. In
//! the tests dtoolkit is the second opinion.
//!
//! Numbers of sections refer to the Devicetree Specification v0.4; "binding" means the schemas
//! that the Linux kernel keeps for RISC-V and for the devices.
//!
//! ```
//! # let blob = include_bytes!("../tests/data/virt-1.dtb");
//! use wakeful_devicetree::Machine;
//!
//! let machine = Machine::parse(blob)?;
//! assert_eq!(machine.model, "riscv-virtio,qemu");
//! assert_eq!(machine.harts.len(), 1);
//! assert_eq!(machine.timebase_hz, 10_000_000);
//! # Ok::<(), wakeful_devicetree::Error>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod blob;
mod cells;
mod devices;
mod error;
mod isa;
mod machine;
mod memory;
mod plic;
mod properties;
mod uart;
mod walk;

pub use blob::{MAX_BLOB_LEN, blob_len};
pub use devices::{Devices, PciHost, Space, VirtioMmio, Window, devices};
pub use error::{Error, NodeName};
pub use isa::{Extension, Isa};
pub use machine::{Hart, Machine, Mmu};
pub use memory::PAGE_SIZE;
pub use plic::Plic;
pub use uart::{Uart, UartKind};
