//! The last words: one readable report, whatever goes wrong, and then the end.
//!
//! The first hart that dies, or that switches the machine off, owns the end. Others that die or want
//! to end it meanwhile stop in silence, and so do harts that print afterwards. If the owner dies
//! again while it reports (a `Display` that panics, a fault in the backtrace), it says so in one line
//! and ends the machine.

use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{backtrace, console, hart, power, record, sync};

/// Number of the hart that ends the machine, plus one; 0 while all is well.
static OWNER: AtomicUsize = AtomicUsize::new(0);
/// How many times the owner has begun a report.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

/// The right to print the last words: of the machine, or of one task.
#[derive(Debug)]
pub struct Report {
    print: fn(fmt::Arguments<'_>),
}

impl Report {
    /// Claims the report for this hart. Turns its interrupts off for good.
    ///
    /// Returns only where there is something left to say.
    pub fn begin() -> Self {
        claim();
        let report = Self { print: console::print_unlocked };
        match DEPTH.fetch_add(1, Ordering::Relaxed) {
            0 => {
                if record::restarts() {
                    record::begin();
                }
                report
            }
            1 => {
                report
                    .print(format_args!("\nthe report itself failed; nothing more can be said\n"));
                report.end(power::EXIT_PANIC)
            }
            // Not even that could be printed.
            _ => power::off(power::EXIT_PANIC),
        }
    }

    /// A report of what the machine survives: printed as anything else.
    pub fn aside() -> Self {
        Self { print: console::print }
    }

    /// Prints; at the end of the machine past any lock that the dying code may hold.
    pub fn print(&self, text: fmt::Arguments<'_>) {
        (self.print)(text);
    }

    /// Prints where this code was called from: return addresses, innermost first.
    #[inline(always)]
    pub fn backtrace(&self) {
        backtrace::print_here(self);
    }

    /// Ends the machine, or restarts it if that is wanted: the next boot then repeats the beginning.
    pub fn end(self, exit_code: u8) -> ! {
        if record::restarts() {
            record::end();
            power::restart();
        }
        power::off(exit_code)
    }
}

/// Makes this hart the one that ends the machine, and the only one that prints. Turns its interrupts
/// off for good. Returns only to the first hart that asks; it may ask again.
pub(crate) fn claim() {
    sync::interrupts_off();
    let me = hart::number() + 1;
    match OWNER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => console::take_over(),
        Err(owner) if owner == me => {}
        Err(_) => stop(),
    }
}

/// Whether another hart is ending the machine: whoever sees this stops.
pub(crate) fn stop_if_another_ends() {
    let owner = OWNER.load(Ordering::Relaxed);
    if owner != 0 && owner != hart::number() + 1 {
        stop();
    }
}

/// Stops this hart until the machine is off.
fn stop() -> ! {
    sync::interrupts_off();
    loop {
        riscv::asm::wfi();
    }
}
