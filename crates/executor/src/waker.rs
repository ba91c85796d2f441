//! Wakers: the address of a task's header. Cloning and dropping them is free.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull,
    task::{RawWaker, RawWakerVTable, Waker},
};

use crate::{platform::Platform, state::QUEUED, task::Header};

/// The functions of a platform's wakers, for [`Platform::vtable`].
pub const fn waker_vtable<P: Platform>() -> RawWakerVTable {
    RawWakerVTable::new(clone::<P>, wake_raw::<P>, wake_raw::<P>, drop_raw)
}

unsafe fn clone<P: Platform>(data: *const ()) -> RawWaker {
    RawWaker::new(data, P::vtable())
}

unsafe fn wake_raw<P: Platform>(data: *const ()) {
    // SAFETY: `of` made this of a header, which is one for ever.
    unsafe { wake::<P>(NonNull::new_unchecked(data.cast_mut().cast())) };
}

unsafe fn drop_raw(_: *const ()) {}

/// The waker of a task, which needs no drop.
///
/// # Safety
///
/// The header is a type-stable one of platform `P`.
#[inline(always)]
pub(crate) unsafe fn of<P: Platform>(task: NonNull<Header>) -> ManuallyDrop<Waker> {
    // SAFETY: the functions of the table do with a header's address what wakers do, from any context.
    ManuallyDrop::new(unsafe { Waker::new(task.as_ptr().cast(), P::vtable()) })
}

/// Wakes a task: from any hart and context, at any time, as often as you like.
///
/// # Safety
///
/// The header is a type-stable one of platform `P`.
#[inline(always)]
pub(crate) unsafe fn wake<P: Platform>(task: NonNull<Header>) {
    // SAFETY: type-stable.
    let header = unsafe { task.as_ref() };
    let old = header.state.queue();
    if old & QUEUED == 0 {
        header.counters.woken();
        // SAFETY: we set `QUEUED`.
        unsafe { push::<P>(task, old) };
    }
}

/// Queues a task at its home, at the level in `state`.
///
/// # Safety
///
/// The caller set `QUEUED`.
#[inline(always)]
pub(crate) unsafe fn push<P: Platform>(task: NonNull<Header>, state: u32) {
    // SAFETY: the link and the home are the caller's, who passes them on. A home is never `OUTSIDE`.
    unsafe {
        let home = usize::from(task.as_ref().home.get());
        if home == P::here() {
            P::local().queue.push(task, state);
        } else {
            deliver::<P>(task, home);
        }
    }
}

/// Puts a task in another hart's inbox, or in this one's from an interrupt.
///
/// # Safety
///
/// As `push`.
#[cold]
#[inline(never)]
pub(crate) unsafe fn deliver<P: Platform>(task: NonNull<Header>, home: usize) {
    // SAFETY: the link is the caller's, who passes it on.
    if unsafe { P::hart(home).deliver(task) } {
        P::interrupt(home);
    }
}
