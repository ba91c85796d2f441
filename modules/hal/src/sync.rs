//! Locks that interrupt handlers may take too.

use core::{
    hint, mem, ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
};

use riscv::register::sstatus;

/// A mutex for data that interrupt handlers and all harts share.
///
/// Locking turns this hart's interrupts off and spins while another hart holds it: hold it for a
/// few instructions only. Locking it twice on one hart hangs, as with any spin lock.
pub type IrqLock<T> = lock_api::Mutex<RawIrqLock, T>;

/// The state behind [`IrqLock`]; also what talc and other crates want as a `RawMutex`.
#[derive(Debug)]
pub struct RawIrqLock {
    /// 1 while it is locked. A whole word: the A extension has nothing smaller.
    locked: AtomicU32,
    /// Whether the holder had interrupts on. Belongs to the holder.
    restore: AtomicBool,
}

// SAFETY: `locked` changes from 0 to 1 by one hart only, and that hart runs nothing else
// until it unlocks, as its interrupts are off.
unsafe impl lock_api::RawMutex for RawIrqLock {
    const INIT: Self = Self { locked: AtomicU32::new(0), restore: AtomicBool::new(false) };

    /// Dropping a guard elsewhere would restore another hart's interrupt state.
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            while self.locked.load(Ordering::Relaxed) != 0 {
                hint::spin_loop();
            }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let restore = interrupts_off();
        if self.locked.swap(1, Ordering::Acquire) != 0 {
            interrupts_restore(restore);
            return false;
        }
        self.restore.store(restore, Ordering::Relaxed);
        true
    }

    #[inline]
    unsafe fn unlock(&self) {
        let restore = self.restore.load(Ordering::Relaxed);
        self.locked.store(0, Ordering::Release);
        interrupts_restore(restore);
    }
}

/// A function that somebody may set, for an interrupt to call. Until then it does nothing.
#[derive(Debug)]
pub struct Hook(AtomicPtr<()>);

#[expect(clippy::new_without_default, reason = "it is made for statics")]
impl Hook {
    /// A hook that does nothing.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Sets the function.
    pub fn set(&self, function: fn()) {
        self.0.store(function as *mut (), Ordering::Release);
    }

    /// Calls the function, if there is one.
    pub fn call(&self) {
        let function = self.0.load(Ordering::Acquire);
        if !function.is_null() {
            // SAFETY: `set` stores nothing but a `fn()`.
            unsafe { mem::transmute::<*mut (), fn()>(function)() };
        }
    }
}

/// Turns this hart's interrupts off; returns whether they were on.
#[inline]
pub fn interrupts_off() -> bool {
    let were_on: usize;
    // SAFETY: clears sstatus.SIE (bit 1) and returns the old value: one instruction, so an
    // interrupt comes either wholly before or not at all. Not `nomem`: memory accesses of the
    // section that begins here must not move before it.
    unsafe { core::arch::asm!("csrrci {}, sstatus, 2", out(reg) were_on, options(nostack)) };
    were_on & 2 != 0
}

/// Whether this hart's interrupts are on.
pub fn interrupts_are_on() -> bool {
    sstatus::read().sie()
}

/// Turns this hart's interrupts on again, if they were.
#[inline]
pub fn interrupts_restore(were_on: bool) {
    if were_on {
        interrupts_on();
    }
}

/// Turns this hart's interrupts on.
#[inline]
pub fn interrupts_on() {
    // SAFETY: every handler that can now run is reached through `trap.rs`, which keeps the
    // registers; data shared with handlers is behind `IrqLock`.
    unsafe { sstatus::set_sie() };
}

/// Sleeps until `ready` says so. An interrupt that makes it ready is never missed.
///
/// `ready` is asked with interrupts off, and `wfi` also returns for a pending interrupt that is
/// masked: one that comes between the question and the `wfi` ends the `wfi` at once. Interrupts
/// are on afterwards.
pub fn wait_until(mut ready: impl FnMut() -> bool) {
    loop {
        interrupts_off();
        if ready() {
            return interrupts_on();
        }
        riscv::asm::wfi();
        // Handlers of what ended the sleep run here.
        interrupts_on();
    }
}
