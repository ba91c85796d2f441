//! What the QEMU tests run on the machine.
//!
//! One image; the boot arguments name a case: `-- case=heap-stress`. A case returns when all is
//! well, returns an error or panics when not, or dies in the way that it is named after. What must
//! be on the console and how the machine must end is said on the host, in `tools/src/cases.rs`.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "half of the cases do what safe code cannot")]

extern crate alloc;

mod bytes;
mod devices;
mod disks;
mod embassy;
mod faults;
mod given_up;
mod heap;
mod interrupts;
mod map;
mod panics;
mod tasks;

use alloc::{boxed::Box, format, string::String};
use core::pin::Pin;

use wakeful::{println, task};

/// What a case returns: what was wrong.
type Outcome = Result<(), String>;

type Case = (&'static str, fn() -> Outcome);

/// Every case by its name.
const CASES: &[Case] = &[
    ("write-text", faults::write_text),
    ("execute-data", faults::execute_data),
    ("read-null", faults::read_null),
    ("jump-null", faults::jump_null),
    ("illegal-instruction", faults::illegal_instruction),
    ("read-missing-register", faults::read_missing_register),
    ("read-firmware", faults::read_firmware),
    ("write-constant", faults::write_constant),
    ("stack-overflow", faults::stack_overflow),
    ("stack-overflow-on-another-hart", faults::stack_overflow_on_another_hart),
    ("stack-overflow-in-interrupt", faults::stack_overflow_in_interrupt),
    ("panic", panics::plain),
    ("panic-in-panic", panics::in_panic),
    ("panic-in-interrupt", panics::in_interrupt),
    ("panic-on-all-harts", panics::on_all_harts),
    ("panic-while-printing", panics::while_printing),
    ("fault-in-panic", panics::fault_in_panic),
    ("panic-while-main-returns", panics::while_main_returns),
    ("return-while-others-print", interrupts::return_while_others_print),
    ("panic-with-heap-locked", panics::with_heap_locked),
    ("panic-and-reboot", panics::and_reboot),
    ("fault-and-reboot", panics::fault_and_reboot),
    ("main-err", || Err(String::from("this is the error"))),
    ("reboot", interrupts::reboot),
    ("map", map::rights),
    ("bytes", bytes::all),
    ("heap-stress", heap::stress_linked_list),
    ("heap-stress-talc", heap::stress_talc),
    ("heap-exhaustion", heap::exhaustion),
    ("heap-exhaustion-panic", heap::exhaustion_panic),
    ("dma", heap::dma),
    ("timer", interrupts::timer),
    ("registers", interrupts::registers),
    ("float", interrupts::float),
    ("nested-interrupts", interrupts::nested),
    ("device-interrupt", interrupts::device),
    ("ipi", interrupts::ipi),
    ("uart-echo", interrupts::uart_echo),
    ("long-output", interrupts::long_output),
    ("critical-section", embassy::critical_section),
    ("log-levels", log_levels),
];

type AsyncCase = (&'static str, fn() -> Pin<Box<dyn Future<Output = Outcome>>>);

/// Those that wait for something.
const ASYNC_CASES: &[AsyncCase] = &[
    ("embassy-tasks", || Box::pin(embassy::tasks())),
    ("embassy-time", || Box::pin(embassy::time())),
    ("embassy-timeouts", || Box::pin(embassy::timeouts())),
    ("embassy-combinators", || Box::pin(embassy::combinators())),
    ("embassy-interrupts", || Box::pin(embassy::interrupts())),
    ("wake-from-another-hart", || Box::pin(interrupts::wake_from_another_hart())),
    ("tasks", || Box::pin(tasks::life())),
    ("sleeps", || Box::pin(tasks::sleeps())),
    ("fair", || Box::pin(tasks::fair())),
    ("turnover", || Box::pin(tasks::turnover())),
    ("latency", || Box::pin(tasks::latency())),
    ("cancel", || Box::pin(tasks::cancel())),
    ("wakers", || Box::pin(tasks::wakers())),
    ("relay", || Box::pin(tasks::relay())),
    ("storm", || Box::pin(tasks::storm())),
    ("give-up", || Box::pin(given_up::one_by_one())),
    ("give-up-at-once", || Box::pin(given_up::at_once())),
    ("give-up-frames", || Box::pin(given_up::frames())),
    ("give-up-many", || Box::pin(given_up::many())),
    ("give-up-too-many", || Box::pin(given_up::too_many())),
    ("give-up-in-critical-section", || Box::pin(given_up::in_critical_section())),
    ("give-up-on-full-stack", || Box::pin(given_up::on_full_stack())),
    ("give-up-in-report", || Box::pin(given_up::in_report())),
    ("give-up-in-hook", || Box::pin(given_up::in_hook())),
    ("network-card", || Box::pin(devices::network_card())),
    ("disks", || Box::pin(disks::all())),
];

#[wakeful::main]
async fn main() -> Outcome {
    let wanted = wakeful::arguments().find_map(|word| word.strip_prefix("case="));
    let Some(wanted) = wanted else {
        println!("cases (choose one with the boot arguments `-- case=NAME`):");
        let names = CASES.iter().map(|case| case.0).chain(ASYNC_CASES.iter().map(|case| case.0));
        names.for_each(|name| println!("  {name}"));
        return Ok(());
    };
    println!("case {wanted}");
    if let Some((_, case)) = CASES.iter().find(|case| case.0 == wanted) {
        case()?;
    } else if let Some((_, case)) = ASYNC_CASES.iter().find(|case| case.0 == wanted) {
        case().await?;
    } else {
        return Err(format!("there is no case {wanted}"));
    }
    println!("case {wanted} passed");
    Ok(())
}

fn log_levels() -> Outcome {
    log::debug!("debug of the case");
    log::trace!("trace of the case");
    log::info!(target: "other", "info of another target");
    log::warn!(target: "other", "warning of another target");
    Ok(())
}

/// Has another hart do something, after what it was sent before.
fn run_on(hart: usize, work: fn(usize), word: usize) {
    task::spawn_on(hart, async move { work(word) }).detach();
}

/// Fails a case unless `holds`.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}
