//! On this computer, with threads for harts.

mod abandon;
mod basics;
mod interrupts;
mod memory;
pub(crate) mod points;
mod storm;

use core::cell::Cell;

thread_local! {
    /// The number of the hart that this thread is.
    pub(crate) static HERE: Cell<usize> = const { Cell::new(crate::OUTSIDE) };
}

/// Defines a platform of its own for a test: a type and the statics behind it.
///
/// Threads say by `HERE` which hart they are. `interrupt` ends a `park`.
macro_rules! platform {
    ($name:ident, $harts:literal) => {
        struct $name;

        impl $name {
            fn harts() -> &'static [$crate::Hart<$name>; $harts] {
                static HARTS: [$crate::Hart<$name>; $harts] =
                    [const { $crate::Hart::new() }; $harts];
                &HARTS
            }

            /// Starts all harts and becomes hart 0.
            fn start() -> &'static $crate::Hart<$name> {
                for (number, hart) in Self::harts().iter().enumerate() {
                    // SAFETY: called once by each test.
                    unsafe { hart.start(number) };
                }
                $crate::tests::HERE.set(0);
                &Self::harts()[0]
            }

            fn interrupts() -> &'static [$crate::tests::Interrupt; $harts] {
                static INTERRUPTS: [$crate::tests::Interrupt; $harts] =
                    [const { $crate::tests::Interrupt::new() }; $harts];
                &INTERRUPTS
            }
        }

        // SAFETY: each number is that of one thread.
        unsafe impl $crate::Platform for $name {
            fn here() -> usize {
                $crate::tests::HERE.get()
            }

            unsafe fn local() -> &'static $crate::Hart<Self> {
                &Self::harts()[Self::here()]
            }

            unsafe fn hart(number: usize) -> &'static $crate::Hart<Self> {
                &Self::harts()[number]
            }

            fn harts() -> usize {
                $harts
            }

            fn interrupt(number: usize) {
                Self::interrupts()[number].raise();
            }

            fn vtable() -> &'static core::task::RawWakerVTable {
                static VTABLE: core::task::RawWakerVTable = $crate::waker_vtable::<$name>();
                &VTABLE
            }

            fn allocate(layout: core::alloc::Layout) -> *mut u8 {
                $crate::tests::allocate(layout)
            }
        }
    };
}
pub(crate) use platform;

/// What ends the sleep of a thread that is a hart.
pub(crate) struct Interrupt {
    pending: std::sync::Mutex<bool>,
    raised: std::sync::Condvar,
}

impl Interrupt {
    pub(crate) const fn new() -> Self {
        Self { pending: std::sync::Mutex::new(false), raised: std::sync::Condvar::new() }
    }

    pub(crate) fn raise(&self) {
        *self.pending.lock().unwrap() = true;
        self.raised.notify_one();
    }

    /// Sleeps until it is raised; a failure after ten seconds.
    pub(crate) fn wait(&self) {
        let limit = core::time::Duration::from_secs(10);
        let pending = self.pending.lock().unwrap();
        let (mut pending, timeout) =
            self.raised.wait_timeout_while(pending, limit, |pending| !*pending).unwrap();
        assert!(!timeout.timed_out(), "nobody interrupted the sleep");
        *pending = false;
    }
}

/// Memory for slots. Kept reachable, so that leak checks do not take it for lost.
pub(crate) fn allocate(layout: core::alloc::Layout) -> *mut u8 {
    struct Chunk(#[expect(dead_code, reason = "keeps the memory reachable")] *mut u8);
    // SAFETY: only kept.
    unsafe impl Send for Chunk {}
    static CHUNKS: std::sync::Mutex<Vec<Chunk>> = std::sync::Mutex::new(Vec::new());

    // SAFETY: slots are not of size 0.
    let memory = unsafe { std::alloc::alloc(layout) };
    CHUNKS.lock().unwrap().push(Chunk(memory));
    memory
}
