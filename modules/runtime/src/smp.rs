//! The other harts: started at boot, asleep until they are given something to do.

#![expect(unsafe_code, reason = "function pointers pass between harts in atomic words")]

use core::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use wakeful_hal::{
    self as hal, console, hart,
    machine::MAX_HARTS,
    sync::{self, wait_until},
};

/// Work for a hart: called with the word that it was sent with, on the hart's own stack.
pub type Work = fn(usize);

struct Mailbox {
    /// Set last by the sender and taken first by the hart: it guards `data`.
    work: AtomicPtr<()>,
    data: AtomicUsize,
}

static MAILBOXES: [Mailbox; MAX_HARTS] =
    [const { Mailbox { work: AtomicPtr::new(ptr::null_mut()), data: AtomicUsize::new(0) } };
        MAX_HARTS];

/// In the mailbox of a hart that somebody is writing to.
const WRITING: *mut () = ptr::dangling_mut();

/// The hart still has work that it has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Starts all harts of the machine. One that does not start is reported and left out.
pub(crate) fn start() {
    hart::start_all(secondary, |id, error| {
        console::print(format_args!("wakeful: hart {id} does not run: {error}\n"));
    });
}

/// How many harts run. They are numbered from 0, the one that booted.
pub fn harts() -> usize {
    hart::started()
}

/// The number of the hart that asks.
pub fn this_hart() -> usize {
    hart::number()
}

/// Lets another hart do something. It begins when it has done what it was sent before.
///
/// # Errors
///
/// [`Busy`] if earlier work still waits there; ask again.
///
/// # Panics
///
/// For hart 0, which runs `main`, and for one that does not exist.
pub fn run_on(hart: usize, work: Work, data: usize) -> Result<(), Busy> {
    assert!((1..harts()).contains(&hart), "there is no hart {hart} to send work to");
    let mailbox = &MAILBOXES[hart];
    mailbox
        .work
        .compare_exchange(ptr::null_mut(), WRITING, Ordering::Acquire, Ordering::Relaxed)
        .map_err(|_| Busy)?;
    mailbox.data.store(data, Ordering::Relaxed);
    mailbox.work.store(work as *mut (), Ordering::Release);
    hart::interrupt(hart);
    Ok(())
}

extern "C" fn secondary() -> ! {
    hal::init_hart();
    sync::interrupts_on();
    let mailbox = &MAILBOXES[hart::number()];
    loop {
        let mut next = None;
        wait_until(|| {
            let work = mailbox.work.load(Ordering::Acquire);
            if !work.is_null() && work != WRITING {
                next = Some((work, mailbox.data.load(Ordering::Relaxed)));
                mailbox.work.store(ptr::null_mut(), Ordering::Release);
            }
            next.is_some()
        });
        if let Some((work, data)) = next {
            // SAFETY: `run_on` stores nothing but `Work`s beside the two values excluded above.
            unsafe { core::mem::transmute::<*mut (), Work>(work)(data) };
        }
    }
}
