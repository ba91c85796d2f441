//! What the QEMU tests run on the machine.
//!
//! One image; the boot arguments name a case: `-- case=heap-stress`. A case returns when all is
//! well, returns an error or panics when not, or dies in the way that it is named after. What must
//! be on the console and how the machine must end is said on the host, in `tools/src/cases.rs`.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "half of the cases do what safe code cannot")]

extern crate alloc;

mod faults;
mod heap;
mod interrupts;
mod map;
mod panics;

use alloc::{format, string::String};

use wakeful::println;

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
    ("main-err", || Err(String::from("this is the error"))),
    ("reboot", interrupts::reboot),
    ("map", map::rights),
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
    ("wake-from-another-hart", interrupts::wake_from_another_hart),
    ("uart-echo", interrupts::uart_echo),
    ("long-output", interrupts::long_output),
    ("log-levels", log_levels),
];

#[wakeful::main]
fn main() -> Outcome {
    let wanted = wakeful::arguments().find_map(|word| word.strip_prefix("case="));
    let case = wanted.and_then(|wanted| CASES.iter().find(|(name, _)| *name == wanted));
    match case {
        Some((name, case)) => {
            println!("case {name}");
            case()?;
            println!("case {name} passed");
            Ok(())
        }
        None => {
            println!("cases (choose one with the boot arguments `-- case=NAME`):");
            CASES.iter().for_each(|(name, _)| println!("  {name}"));
            match wanted {
                Some(name) => Err(format!("there is no case {name}")),
                None => Ok(()),
            }
        }
    }
}

fn log_levels() -> Outcome {
    log::debug!("debug of the case");
    log::trace!("trace of the case");
    log::info!(target: "other", "info of another target");
    log::warn!(target: "other", "warning of another target");
    Ok(())
}

/// Fails a case unless `holds`.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}
