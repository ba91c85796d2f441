//! The other harts: started at boot, with a scheduler each.

#![expect(unsafe_code, reason = "a hart enters the scheduler")]

use wakeful_hal::{self as hal, console, hart, sync};
use wakeful_task as task;

/// Starts all harts of the machine. One that does not start is reported and left out.
pub(crate) fn start() {
    hart::start_all(prepare, secondary, |id, error| {
        console::print(format_args!("wakeful: hart {id} does not run: {error}\n"));
    });
}

/// Gives a hart what it needs to be spawned on. Whether there was memory.
fn prepare(number: usize) -> bool {
    #[cfg(feature = "timer")]
    if !wakeful_time::prepare_hart(number) {
        return false;
    }
    task::prepare_hart(number)
}

extern "C" fn secondary() -> ! {
    hal::init_hart();
    sync::interrupts_on();
    // SAFETY: `prepare` was called for this hart, which comes here once.
    unsafe { task::enter_and_run() }
}
