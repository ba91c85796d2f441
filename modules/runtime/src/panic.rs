//! What a panic says before the machine stops.

use core::panic::PanicInfo;

use wakeful_hal::{hart, power, report::Report};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let report = Report::begin();
    let (number, id) = (hart::number(), hart::id());
    report.print(format_args!("\npanic on hart {number} (id {id}): {info}\n"));
    #[cfg(feature = "executor")]
    if let Some(name) = wakeful_task::current_name() {
        report.print(format_args!("in the task `{name}`\n"));
    }
    #[cfg(feature = "alloc")]
    if let Some(size) = wakeful_alloc::last_refusal() {
        report.print(format_args!("the last allocation without memory was of {size} bytes"));
        if let Some((available, total)) = wakeful_alloc::frames::counts() {
            report.print(format_args!("; {available} frames of {total} are free"));
        }
        report.print(format_args!("\n"));
    }
    report.backtrace();
    report.end(power::EXIT_PANIC)
}
