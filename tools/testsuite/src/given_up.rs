//! Tasks that panic, and what others notice of it. The machine goes on, but for the last cases.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::{
    fmt,
    future::{Future, pending, poll_fn},
    hint::black_box,
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst},
    task::{Poll, Waker},
};

use wakeful::{
    alloc::{FRAME_SIZE, frames},
    machine, println,
    sync::Mutex,
    task::{self, Builder, JoinError, JoinHandle},
    time::{self, Duration},
};
use wakeful_hal::hart;

use crate::{Outcome, ensure};

/// A task on some hart that panics in its second turn, and what it does then.
fn doomed(hart: usize, on_panic: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = Builder::new().name("doomed").on_panic(on_panic).hart(hart);
    let spawned = builder.spawn(async {
        task::yield_now().await;
        panic!("as it must");
    });
    spawned.expect("there is memory")
}

async fn ends<T: fmt::Debug>(handle: JoinHandle<T>) -> Outcome {
    let result = handle.await;
    ensure(matches!(result, Err(JoinError::Panicked)), || format!("{result:?}"))
}

/// On every hart, while a task of it goes on.
pub(crate) async fn one_by_one() -> Outcome {
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    for hart in 0..task::harts() {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let other = task::spawn_on(hart, async move {
            loop {
                counted.fetch_add(1, SeqCst);
                task::yield_now().await;
            }
        });
        for _ in 0..3 {
            ends(doomed(hart, || _ = CALLED.fetch_add(1, SeqCst))).await?;
            let before = turns.load(SeqCst);
            while turns.load(SeqCst) == before {
                task::yield_now().await;
            }
        }
        other.abort();
        let there = task::spawn_on(hart, async { machine::this_hart() }).await;
        ensure(there == Ok(hart), || format!("{there:?} instead of hart {hart}"))?;
        time::sleep(Duration::from_millis(1)).await;
    }
    let (called, panicked) = (CALLED.load(SeqCst), task::panicked());
    let count = 3 * task::harts();
    ensure((called, panicked) == (count, count), || format!("{called} of {panicked}"))?;
    what_it_had_stays().await?;
    in_a_drop().await
}

/// What it has locked stays locked, what it waits for may come, and its wakers do nothing.
async fn what_it_had_stays() -> Outcome {
    static LOCK: Mutex<u32> = Mutex::new(0);
    static WAKER: Mutex<Option<Waker>> = Mutex::new(None);
    ends(task::spawn(async {
        let _held = LOCK.lock().await;
        let mut sleep = Box::pin(time::sleep(Duration::from_millis(2)));
        poll_fn(|context| sleep.as_mut().poll(context).map(|()| ())).await;
        let mut sleep = Box::pin(time::sleep(Duration::from_millis(2)));
        poll_fn(|context| -> Poll<()> {
            _ = sleep.as_mut().poll(context);
            *WAKER.try_lock().expect("nobody has it") = Some(context.waker().clone());
            panic!("with a lock, a timer and a waker")
        })
        .await;
    }))
    .await?;
    ensure(LOCK.try_lock().is_none(), || String::from("its lock is free"))?;
    time::sleep(Duration::from_millis(5)).await;
    let waker = WAKER.lock().await.take();
    waker.ok_or_else(|| String::from("no waker"))?.wake();
    task::yield_now().await;
    Ok(())
}

/// Of a future that was aborted, and of one that is done.
async fn in_a_drop() -> Outcome {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the bomb went off")
        }
    }
    let bomb = Bomb;
    let aborted = task::spawn(async move {
        pending::<()>().await;
        drop(bomb);
    });
    task::yield_now().await;
    aborted.abort();
    ends(aborted).await?;
    ends(task::spawn(async { drop(Bomb) })).await?;
    // An output that nobody wants.
    let before = task::panicked();
    task::spawn(async { Bomb }).detach();
    while task::panicked() == before {
        task::yield_now().await;
    }
    Ok(())
}

/// What others may have borrowed of a poll's frames is never overwritten, whatever memory is taken for.
pub(crate) async fn frames() -> Outcome {
    const PATTERN: [u64; 64] = [0x5a5a_a5a5_1234_5678; 64];
    static LENT: [AtomicPtr<[u64; 64]>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];
    for (round, place) in LENT.iter().enumerate() {
        let hart = round % task::harts();
        ends(task::spawn_on(hart, async move {
            let mut lent = PATTERN;
            place.store(&raw mut lent, SeqCst);
            panic!("it never gets {lent:?} back");
        }))
        .await?;
        ends(doomed(hart, || {})).await?;
    }
    let mut blocks = Vec::new();
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(FRAME_SIZE).is_err() || blocks.try_reserve(1).is_err() {
            break;
        }
        block.resize(FRAME_SIZE, 0xff_u8);
        blocks.push(black_box(block));
    }
    let is_whole = |lent: &AtomicPtr<[u64; 64]>| {
        // SAFETY: it was borrowed from a frame that stays, and nobody writes there.
        unsafe { *lent.load(SeqCst) == PATTERN }
    };
    ensure(LENT.iter().all(is_whole), || format!("overwritten, with {} blocks", blocks.len()))
}

/// One on each hart, all in the same moment.
pub(crate) async fn at_once() -> Outcome {
    static READY: AtomicUsize = AtomicUsize::new(0);
    let meet = || async {
        READY.fetch_add(1, SeqCst);
        while READY.load(SeqCst) < task::harts() - 1 {}
        panic!("all together");
    };
    let tasks: Vec<_> = (1..task::harts()).map(|hart| task::spawn_on(hart, meet())).collect();
    for task in tasks {
        ends::<()>(task).await?;
    }
    Ok(())
}

/// What a task that panics costs, beside its own memory.
pub(crate) async fn many() -> Outcome {
    const COUNT: usize = 100;
    let panicked = || async {
        for _ in 0..COUNT / task::harts() {
            for hart in 0..task::harts() {
                ends(doomed(hart, || {})).await?;
            }
        }
        Ok::<_, String>(())
    };
    // The first stacks are whole ones.
    panicked().await?;
    let before = frames::available();
    panicked().await?;
    let lost = (before - frames::available()) * FRAME_SIZE / COUNT;
    println!("a task that panics costs {lost} bytes");
    ensure(lost <= 3 * FRAME_SIZE, || format!("{lost} bytes are lost each time"))
}

/// Until there are too many.
pub(crate) async fn too_many() -> Outcome {
    for _ in 0..frames::total() {
        ends(doomed(0, || {})).await?;
    }
    Ok(())
}

pub(crate) async fn in_critical_section() -> Outcome {
    ends(task::spawn(async { critical_section::with(|_| panic!("nobody may see this half")) }))
        .await
}

/// A report there would overflow the stack.
pub(crate) async fn on_full_stack() -> Outcome {
    #[inline(never)]
    fn recurse(depth: usize) {
        let mut frame = [depth; 32];
        black_box(&mut frame);
        if hart::stack_left() < 12 << 10 {
            panic!("with little stack");
        }
        recurse(depth + 1);
        black_box(&frame);
    }
    ends(task::spawn(async { recurse(0) })).await
}

/// Panics when it is printed.
struct Bomb;

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("the bomb went off")
    }
}

pub(crate) async fn in_report() -> Outcome {
    ends(task::spawn(async { panic!("about to print a bomb: {Bomb}") })).await
}

/// What is to be done panics itself.
pub(crate) async fn in_hook() -> Outcome {
    ends(doomed(0, || panic!("this too"))).await
}
