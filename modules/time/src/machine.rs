//! What timers need from the machine.

#![expect(unsafe_code, reason = "timers are found through words that harts keep")]

use core::ptr::NonNull;

use wakeful_alloc::frames;
use wakeful_hal::{
    hart::{self, Local},
    layout::{PAGE_SIZE, phys_to_virt},
    sync::RawIrqLock,
    timer, trap,
};
use wakeful_task::Machine;
use wakeful_timer::{Clock, NEVER, Timers};

/// The machine's counter and each hart's timer, as sleeps see them.
#[derive(Debug, Clone, Copy)]
pub struct MachineClock;

/// # Safety
///
/// The word is that of a hart below `task::harts()`.
unsafe fn timers(word: *mut ()) -> &'static Timers<MachineClock> {
    // SAFETY: set for each hart before that counts, to timers that stay.
    unsafe { &*word.cast() }
}

/// Those of a hart that must be there.
///
/// # Panics
///
/// If it is not.
pub(crate) fn existing(number: usize) -> &'static Timers<MachineClock> {
    assert!(number < wakeful_task::harts(), "there is no hart {number}");
    // SAFETY: there is.
    unsafe { MachineClock::timers(number) }
}

// SAFETY: words are set once; the lock turns interrupts off.
unsafe impl Clock for MachineClock {
    type Platform = Machine;
    type Lock = RawIrqLock;

    #[inline(always)]
    unsafe fn local_timers() -> &'static Timers<Self> {
        // SAFETY: of a hart that runs.
        unsafe { timers(hart::local(Local::Time)) }
    }

    unsafe fn timers(number: usize) -> &'static Timers<Self> {
        // SAFETY: by the contract, a hart that there is.
        unsafe { timers(hart::local_of(number, Local::Time)) }
    }

    #[inline]
    fn arm(deadline: u64) {
        if deadline == NEVER { timer::clear() } else { timer::set(deadline) }
    }
}

/// Sets up the boot hart's timers and what timer interrupts do. At boot, after the scheduler.
pub fn start() {
    static BOOT: Timers<MachineClock> = Timers::new();
    // SAFETY: it is what the word must be.
    unsafe { hart::set_local(0, Local::Time, (&raw const BOOT).cast_mut().cast()) };
    // SAFETY: alarms are on a hart.
    wakeful_task::set_alarm(|| unsafe { MachineClock::local_timers() }.fire());
    // Whoever waits is woken in the hart's own flow of control: the handler only rings there.
    trap::set_timer_handler(wakeful_task::ring);
}

/// Makes timers for a hart that is about to be started as that number. Whether there was memory.
pub fn prepare_hart(number: usize) -> bool {
    if !hart::local_of(number, Local::Time).is_null() {
        return true; // made for one that was refused
    }
    let count = size_of::<Timers<MachineClock>>().div_ceil(PAGE_SIZE);
    let Some(frames) = frames::allocate(count, PAGE_SIZE) else { return false };
    let Some(place) = NonNull::new(phys_to_virt(frames).as_mut_ptr_of::<Timers<MachineClock>>())
    else {
        return false;
    };
    // SAFETY: it fits into the frames, which are ours and stay; nobody knows of it yet.
    unsafe {
        place.write(Timers::new());
        hart::set_local(number, Local::Time, place.as_ptr().cast());
    }
    true
}
