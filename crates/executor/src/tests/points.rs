//! Points where an interrupt can come: before each operation on an atomic or a cell of the executor.
//!
//! An interrupt is not a thread: it runs to its end in the middle of what it interrupts. So a test can
//! try all there are: let one come at the first point, then at the second, and so on until there are no
//! more points.

use core::{
    cell::{Cell as CoreCell, RefCell},
    sync::atomic::{self, Ordering},
};
use std::collections::VecDeque;

/// An interrupt to come: at which point, and what it does.
type Interrupt = (usize, Box<dyn FnOnce()>);

/// Nothing passes so many points, except what does not end.
const ENDLESS: usize = 1 << 20;

thread_local! {
    /// How many points this thread has passed since `arm`.
    static PASSED: CoreCell<usize> = const { CoreCell::new(0) };
    /// The point of the first interrupt to come.
    static NEXT: CoreCell<usize> = const { CoreCell::new(usize::MAX) };
    static TO_COME: RefCell<VecDeque<Interrupt>> = const { RefCell::new(VecDeque::new()) };
}

/// Passes a point.
pub(crate) fn pass() {
    let point = PASSED.replace(PASSED.get() + 1);
    if point >= NEXT.get() {
        come();
    }
}

#[cold]
fn come() {
    // Interrupts are not interrupted.
    NEXT.set(usize::MAX);
    let passed = PASSED.get();
    let interrupt = TO_COME.with_borrow_mut(VecDeque::pop_front);
    let Some((_, interrupt)) = interrupt else { panic!("it does not end") };
    interrupt();
    PASSED.set(passed);
    set_next();
}

fn set_next() {
    NEXT.set(TO_COME.with_borrow(|to_come| to_come.front().map_or(ENDLESS, |next| next.0)));
}

/// Has interrupts come on this thread, in order: each at its point from now on, the next point being 0.
pub(crate) fn arm(interrupts: impl IntoIterator<Item = Interrupt>) {
    TO_COME.with_borrow_mut(|to_come| to_come.extend(interrupts));
    PASSED.set(0);
    set_next();
}

/// Lets no more interrupts come. Returns those that have not.
pub(crate) fn disarm() -> VecDeque<Interrupt> {
    NEXT.set(usize::MAX);
    TO_COME.take()
}

#[repr(transparent)]
pub(crate) struct Cell<T>(CoreCell<T>);

impl<T> Cell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(CoreCell::new(value))
    }

    pub(crate) fn get(&self) -> T
    where
        T: Copy,
    {
        pass();
        self.0.get()
    }

    pub(crate) fn set(&self, value: T) {
        pass();
        self.0.set(value);
    }

    pub(crate) fn replace(&self, value: T) -> T {
        pass();
        self.0.replace(value)
    }
}

pub(crate) struct AtomicU32(atomic::AtomicU32);

impl AtomicU32 {
    pub(crate) const fn new(value: u32) -> Self {
        Self(atomic::AtomicU32::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u32 {
        pass();
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u32, order: Ordering) {
        pass();
        self.0.store(value, order);
    }

    pub(crate) fn fetch_or(&self, bits: u32, order: Ordering) -> u32 {
        pass();
        self.0.fetch_or(bits, order)
    }

    pub(crate) fn fetch_sub(&self, bits: u32, order: Ordering) -> u32 {
        pass();
        self.0.fetch_sub(bits, order)
    }

    pub(crate) fn fetch_add(&self, bits: u32, order: Ordering) -> u32 {
        pass();
        self.0.fetch_add(bits, order)
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        old: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        pass();
        self.0.compare_exchange_weak(old, new, success, failure)
    }
}

pub(crate) struct AtomicPtr<T>(atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    pub(crate) const fn new(value: *mut T) -> Self {
        Self(atomic::AtomicPtr::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> *mut T {
        pass();
        self.0.load(order)
    }

    pub(crate) fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
        pass();
        self.0.swap(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        old: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        pass();
        self.0.compare_exchange(old, new, success, failure)
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        old: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        pass();
        self.0.compare_exchange_weak(old, new, success, failure)
    }
}
