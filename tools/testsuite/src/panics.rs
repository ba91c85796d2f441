//! Panics that end the machine. Each must leave exactly one readable report.

use alloc::string::String;
use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use wakeful::{
    println,
    task::{self, Builder},
};
use wakeful_hal::{sync, timer, trap};

use crate::Outcome;

/// Far enough from here that the backtrace has a story to tell.
#[inline(never)]
fn outer(number: usize) -> usize {
    inner(number) + 1
}

#[inline(never)]
fn inner(number: usize) -> usize {
    let table = [1, 2, 3];
    table[core::hint::black_box(number)]
}

pub(crate) fn plain() -> Outcome {
    println!("{}", outer(3));
    Ok(())
}

/// Panics when it is printed.
struct Bomb;

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("the bomb went off")
    }
}

pub(crate) fn in_panic() -> Outcome {
    panic!("about to print a bomb: {Bomb}")
}

/// Faults when it is printed.
struct Mine;

impl fmt::Display for Mine {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: not safe at all: that is the case.
        unsafe { core::arch::asm!("ld {}, 0(zero)", out(reg) _) };
        Ok(())
    }
}

/// An exception out of the report.
pub(crate) fn fault_in_panic() -> Outcome {
    panic!("about to step on a mine: {Mine}")
}

/// `main` returns while another hart reports: the report goes on to its end.
pub(crate) fn while_main_returns() -> Outcome {
    static PANICKING: AtomicUsize = AtomicUsize::new(0);
    struct Slow;
    impl fmt::Display for Slow {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            PANICKING.store(1, Ordering::Release);
            let until = timer::now() + timer::frequency() / 2;
            while timer::now() < until {}
            f.write_str("slowly")
        }
    }
    essential_on(1, || panic!("{Slow}"));
    while PANICKING.load(Ordering::Acquire) == 0 {}
    Ok(())
}

pub(crate) fn while_printing() -> Outcome {
    println!("about to print a bomb: {Bomb}");
    Ok(())
}

pub(crate) fn in_interrupt() -> Outcome {
    trap::set_timer_handler(|| panic!("in the interrupt"));
    timer::set(timer::now() + timer::frequency() / 100);
    sync::wait_until(|| false);
    Ok(())
}

/// All harts panic at once, again and again until the machine stops.
pub(crate) fn on_all_harts() -> Outcome {
    static READY: AtomicUsize = AtomicUsize::new(0);
    fn meet_and_panic() {
        READY.fetch_add(1, Ordering::SeqCst);
        while READY.load(Ordering::SeqCst) < task::harts() {}
        panic!("all together");
    }
    for hart in 1..task::harts() {
        essential_on(hart, meet_and_panic);
    }
    meet_and_panic();
    Ok(())
}

/// Has another hart do what the machine does not survive if it panics.
fn essential_on(hart: usize, work: fn()) {
    let builder = Builder::new().name("essential").essential().hart(hart);
    builder.spawn(async move { work() }).expect("there is memory").detach();
}

/// With `panic=reboot`: through the firmware, and back into the same case.
pub(crate) fn and_reboot() -> Outcome {
    panic!("again, with a\nsecond line");
}

/// The same after an exception.
pub(crate) fn fault_and_reboot() -> Outcome {
    crate::faults::read_null()
}

/// The report must not need the heap. A block freed twice panics inside the allocator.
pub(crate) fn with_heap_locked() -> Outcome {
    let layout = Layout::new::<[u64; 8]>();
    let heap = wakeful::alloc::LinkedList;
    // SAFETY: the second `dealloc` is a bug: that is the case.
    unsafe {
        let block = heap.alloc(layout);
        heap.dealloc(block, layout);
        heap.dealloc(block, layout);
    }
    Err(String::from("the heap took a block back twice"))
}
