//! The life of a hart: run what is ready, sleep, and again.

#![expect(unsafe_code, reason = "each hart's scheduler is started where it will stay")]

use core::{future::Future, ptr::NonNull};

use futures_util::FutureExt;
use wakeful_alloc::frames;
use wakeful_executor::Hart;
use wakeful_hal::{
    hart::{self, Local},
    layout::{PAGE_SIZE, phys_to_virt},
    power,
    sync::wait_until,
};

use crate::{Builder, Machine};

const _: () = assert!(size_of::<Hart<Machine>>() <= PAGE_SIZE);

/// Starts the scheduler of the boot hart: from here on it can be spawned on and woken.
///
/// # Safety
///
/// Called once, at boot, on the boot hart.
pub unsafe fn start() {
    static BOOT: Hart<Machine> = Hart::new();
    // SAFETY: nobody uses it yet, and it is what a scheduler's word must be; this is no interrupt.
    unsafe {
        BOOT.start(0);
        hart::set_local(0, Local::Task, (&raw const BOOT).cast_mut().cast());
        hart::enter();
    }
}

/// Makes a scheduler for a hart that is about to be started as that number. Whether there was memory.
pub fn prepare_hart(number: usize) -> bool {
    if !hart::local_of(number, Local::Task).is_null() {
        return true; // made for one that was refused
    }
    let Some(frame) = frames::allocate(1, PAGE_SIZE) else { return false };
    let Some(place) = NonNull::new(phys_to_virt(frame).as_mut_ptr_of::<Hart<Machine>>()) else {
        return false;
    };
    // SAFETY: it fits into the frame, which is ours and stays; nobody knows of it yet.
    unsafe {
        place.write(Hart::new());
        place.as_ref().start(number);
        hart::set_local(number, Local::Task, place.as_ptr().cast());
    }
    true
}

/// Runs tasks on this hart for ever. Interrupts are on.
#[inline(never)] // three callers
pub(crate) fn run_for_ever() -> ! {
    // SAFETY: set before the hart was started.
    let hart: &'static Hart<Machine> = unsafe { &*hart::local(Local::Task).cast() };
    loop {
        hart.run();
        wait_until(|| !hart.sleep());
    }
}

/// Where a hart that was started goes, after it has set itself up.
///
/// # Safety
///
/// Called once on that hart, after [`prepare_hart`] with its number.
pub unsafe fn enter_and_run() -> ! {
    // SAFETY: its scheduler is ready, and this is no interrupt.
    unsafe { hart::enter() };
    run_for_ever()
}

/// Runs the application's `main` as the boot hart's first task, and switches the machine off with its
/// exit code when it returns.
pub fn run<F: Future<Output = u8> + 'static>(main: F) -> ! {
    /// Without `main` nobody would ever switch the machine off.
    struct Aborted;

    impl Drop for Aborted {
        fn drop(&mut self) {
            panic!("main was aborted");
        }
    }

    let aborted = Aborted;
    /// An async block would have room for `main` twice: as what it captures, and as what it awaits.
    fn is_kept_once<F, G>(_with_end: &G) {
        const { assert!(size_of::<G>() <= size_of::<F>() + size_of::<usize>()) }
    }

    let main = main.map(move |exit_code| {
        core::mem::forget(aborted);
        power::off(exit_code)
    });
    is_kept_once::<F, _>(&main);
    match Builder::new().name("main").essential().spawn_local(main) {
        Ok(handle) => handle.detach(),
        Err(error) => panic!("cannot start main: {error}"),
    }
    run_for_ever()
}
