//! What a panic says, and what it costs: a task, where that is sound, otherwise the machine.

use core::panic::PanicInfo;

use wakeful_hal::{hart, power, report::Report};

/// How many tasks that are given up have one. It takes a serial line a tenth of a second: who can have tasks
/// panic shall not stop the others with it.
#[cfg(feature = "executor")]
const BACKTRACES: usize = 64;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    #[cfg(feature = "executor")]
    #[expect(unsafe_code, reason = "a task is left in the middle of its poll")]
    // SAFETY: whoever panics has called this, and it does not return.
    if let Some(task) = doomed().and_then(|doomed| unsafe { doomed.abandon() }) {
        let report = Report::aside();
        let before = wakeful_task::panicked();
        say(&report, info, task.name(), before < BACKTRACES);
        report.print(format_args!("the task is given up, and {before} were before it\n"));
        task.bury();
    }
    let report = Report::begin();
    #[cfg(feature = "executor")]
    let name = wakeful_task::current_name();
    #[cfg(not(feature = "executor"))]
    let name = None;
    say(&report, info, name, true);
    #[cfg(feature = "executor")]
    if let given_up @ 1.. = wakeful_task::panicked() {
        report.print(format_args!("{given_up} tasks were given up before\n"));
    }
    report.end(power::EXIT_PANIC)
}

/// Whether the machine can go on without the task that panics.
#[cfg(feature = "executor")]
fn doomed() -> Option<wakeful_task::Doomed> {
    #[cfg(feature = "net")]
    if !wakeful_net::is_unlocked() {
        return None;
    }
    wakeful_task::doomed()
}

fn say(report: &Report, info: &PanicInfo<'_>, name: Option<&str>, with_backtrace: bool) {
    let (number, id) = (hart::number(), hart::id());
    report.print(format_args!("\npanic on hart {number} (id {id}): {info}\n"));
    if let Some(name) = name {
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
    if with_backtrace {
        report.backtrace();
    }
}
