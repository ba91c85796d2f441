//! Boot, one line for each step. Each takes what the earlier ones returned.

#![expect(unsafe_code, reason = "the one place that is called by the entry code and calls main")]

use core::fmt;

use wakeful_alloc::frames;
use wakeful_hal::{self as hal, console, machine, paging, power, record, sync};

use crate::arguments::{self, Arguments};

unsafe extern "Rust" {
    /// The application, made by `#[wakeful::main]`: runs it and returns its exit code.
    safe fn __wakeful_main() -> u8;
}

/// Where `wakeful-hal`'s entry code goes: on the boot hart's stack, interrupts off, in the boot map.
#[unsafe(no_mangle)]
extern "C" fn __wakeful_boot(hart: usize, device_tree: usize, image: usize) -> ! {
    // SAFETY: we are that function, called once, and these are its arguments.
    let entry = unsafe { machine::Entry::new(hart, device_tree, image) };
    let exit_code = match boot(entry) {
        Ok(()) => __wakeful_main(),
        Err(error) => {
            console::print(format_args!("wakeful: cannot boot: {error}\n"));
            power::EXIT_BOOT
        }
    };
    power::off(exit_code)
}

fn boot(entry: machine::Entry) -> Result<(), Error> {
    let machine = machine::discover(entry)?; // what there is
    let free = machine::free_memory(machine); // whose it is
    // SAFETY: the device tree says that this is RAM, and `free_memory` leaves out what is taken.
    let frames = unsafe { frames::init(free) }?; // ours now
    let mapped = paging::init(machine, frames).map_err(|_| frames::NoMemory)?; // who may do what
    hal::init(mapped); // interrupts, timer, console
    record::tell(); // what it died of
    let arguments = Arguments::parse(machine.bootargs); // what is wanted
    arguments::start_log(&arguments); // from here on somebody listens
    sync::interrupts_on();
    #[cfg(feature = "executor")]
    // SAFETY: once, here.
    unsafe {
        wakeful_task::start(); // tasks
    }
    #[cfg(all(feature = "executor", feature = "sync"))]
    wakeful_sync::set_budget(wakeful_task::poll_proceed); // who waits for nothing gives way
    #[cfg(feature = "timer")]
    wakeful_time::start(); // and their timers
    #[cfg(feature = "smp")]
    crate::smp::start(); // the other harts
    #[cfg(any(feature = "blk", feature = "net"))]
    let devices = wakeful_driver::start(); // what is plugged in
    #[cfg(feature = "blk")]
    wakeful_blk::start(devices.blk); // what stays when power goes
    #[cfg(feature = "net")]
    wakeful_net::start(devices.net, &arguments.net); // the world outside
    Ok(())
}

/// Why there is no machine to run on.
enum Error {
    Machine(machine::Error),
    NoMemory(frames::NoMemory),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(error) => error.fmt(f),
            Self::NoMemory(error) => error.fmt(f),
        }
    }
}

impl From<machine::Error> for Error {
    fn from(error: machine::Error) -> Self {
        Self::Machine(error)
    }
}

impl From<frames::NoMemory> for Error {
    fn from(error: frames::NoMemory) -> Self {
        Self::NoMemory(error)
    }
}
