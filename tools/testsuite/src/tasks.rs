//! Tasks and their timers: what is promised of them, on the machine itself.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::{
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use wakeful::{
    machine, println,
    task::{self, Builder, JoinHandle, Priority},
    time::{self, Duration, Instant, MissedTicks},
};
use wakeful_hal::{hart, sync::IrqLock, trap};

use crate::{Outcome, ensure};

/// Pseudo-random numbers (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Spawning, joining, aborting and detaching, on every hart.
pub(crate) async fn life() -> Outcome {
    for hart in 0..task::harts() {
        let here = task::spawn_on(hart, async { machine::this_hart() }).await;
        ensure(here == Ok(hart), || format!("{here:?} instead of hart {hart}"))?;
        let aborted = task::spawn_on(hart, pending::<()>());
        aborted.abort();
        ensure(aborted.await == Err(task::JoinError::Aborted), || String::from("not aborted"))?;
    }
    // As many on each hart.
    let tasks: Vec<_> = (0..100 * task::harts()).map(|_| task::spawn(pending::<()>())).collect();
    for hart in 0..task::harts() {
        let count = task::tasks_on(hart);
        ensure((100..=101).contains(&count), || format!("{count} tasks on hart {hart}"))?;
    }
    tasks.iter().for_each(JoinHandle::abort);
    drop(tasks);
    all_gone().await?;
    // What is not `Send` stays here.
    let here = machine::this_hart();
    let local = alloc::rc::Rc::new(5);
    let task = task::spawn_local(async move { (*local, machine::this_hart()) });
    ensure(task.await == Ok((5, here)), || String::from("a local task went elsewhere"))?;
    let nowhere = Builder::new().hart(usize::MAX).spawn(async {});
    ensure(matches!(nowhere, Err(task::SpawnError::NoHart)), || String::from("no such hart"))
}

/// Waits until `main` is the only task, and no sleep is left.
async fn all_gone() -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let tasks: usize = (0..task::harts()).map(task::tasks_on).sum();
        let sleeps: usize = (0..task::harts()).map(time::pending_on).sum();
        if (tasks, sleeps) == (1, 0) {
            return Ok(());
        }
        ensure(Instant::now() < deadline, || format!("{tasks} tasks and {sleeps} sleeps left"))?;
        task::yield_now().await;
    }
}

/// Sleeps of all lengths on all harts: none early.
pub(crate) async fn sleeps() -> Outcome {
    let sleeper = |seed: u64| async move {
        let mut random = Random(seed);
        let (mut early, mut latest) = (0, Duration::ZERO);
        for _ in 0..50 {
            let length = Duration::from_nanos(random.next() % (1 << (10 + random.below(16))));
            let begin = Instant::now();
            time::sleep(length).await;
            let slept = begin.elapsed();
            early += usize::from(slept < length);
            latest = latest.max(slept.saturating_sub(length));
        }
        (early, latest)
    };
    let sleepers: Vec<_> = (1..=200).map(|seed| task::spawn(sleeper(seed))).collect();
    let (mut early, mut latest) = (0, Duration::ZERO);
    for sleeper in sleepers {
        let (its_early, its_latest) = sleeper.await.map_err(|error| format!("{error}"))?;
        early += its_early;
        latest = latest.max(its_latest);
    }
    println!("10,000 sleeps, the latest {} us late", latest.as_micros());
    ensure(early == 0, || format!("{early} sleeps were too short"))?;
    // Timers coincide and cancel each other in any order.
    let moment = Instant::now() + Duration::from_millis(20);
    let together: Vec<_> = (0..1000).map(|_| task::spawn(time::sleep_until(moment))).collect();
    for (index, task) in together.into_iter().enumerate() {
        if index % 3 == 0 {
            task.abort();
        }
        _ = task.await;
    }
    // An interval keeps its beat.
    let begin = Instant::now();
    let mut interval = time::interval_at(begin, Duration::from_millis(2));
    for beat in 0..50 {
        let planned = interval.tick().await;
        ensure(planned == begin + Duration::from_millis(2) * beat, || format!("beat {beat}"))?;
    }
    let mut interval = time::interval(Duration::from_millis(2)).missed_ticks(MissedTicks::Skip);
    interval.tick().await;
    time::sleep(Duration::from_millis(21)).await;
    let missed = interval.tick().await;
    let next = interval.tick().await;
    let skipped = next - missed;
    ensure(skipped >= Duration::from_millis(18), || format!("only {skipped:?} were skipped"))?;
    all_gone().await
}

/// Tasks for which everything is always ready give way: others and timers have their turns.
pub(crate) async fn fair() -> Outcome {
    async fn beside(busy: impl Future<Output = ()> + 'static) -> Outcome {
        let busy = task::spawn_local(busy);
        task::yield_now().await;
        for _ in 0..5 {
            time::sleep(Duration::from_millis(2)).await;
        }
        busy.abort();
        ensure(busy.await.is_err(), || String::from("it was not busy"))
    }
    beside(async {
        loop {
            time::sleep(Duration::ZERO).await;
        }
    })
    .await?;
    beside(async {
        let mutex = wakeful::sync::Mutex::new(0_u64);
        loop {
            *mutex.lock().await += 1;
        }
    })
    .await?;
    beside(async {
        let channel = wakeful::sync::Channel::<u64, 2>::new();
        loop {
            _ = channel.send(1).await;
            channel.receive().await;
        }
    })
    .await?;
    // More urgent ones go before, also before what a combinator's own waker stands for.
    let me = task::current().ok_or("main is a task")?;
    me.set_priority(Priority::HIGHEST);
    let busy = Builder::new().priority(Priority::HIGH).spawn_local(async {
        loop {
            task::yield_now().await;
        }
    });
    let busy = busy.map_err(|error| format!("{error}"))?;
    let begin = Instant::now();
    Foreign::new(time::sleep(Duration::from_millis(10))).await;
    let took = begin.elapsed();
    me.set_priority(Priority::NORMAL);
    busy.abort();
    ensure(took < Duration::from_secs(1), || format!("a sleep of 10 ms took {took:?}"))?;
    all_gone().await
}

/// Tasks that come and go on all harts, and from interrupts, take no more memory than those that live.
pub(crate) async fn turnover() -> Outcome {
    static SPAWNED: AtomicUsize = AtomicUsize::new(0);
    static DONE: AtomicUsize = AtomicUsize::new(0);
    const TASKS: usize = 50_000;
    fn spawn(builder: Builder) -> Result<(), task::SpawnError> {
        SPAWNED.fetch_add(1, Ordering::Relaxed);
        builder.spawn(async { _ = DONE.fetch_add(1, Ordering::Relaxed) }).map(JoinHandle::detach)
    }
    trap::set_software_handler(|| _ = spawn(Builder::new().hart(0)));
    let mut before = 0;
    for number in 0..2 * TASKS {
        if number == TASKS {
            before = wakeful::alloc::frames::available();
        }
        spawn(Builder::new()).map_err(|error| format!("after {number}: {error}"))?;
        while SPAWNED.load(Ordering::Relaxed) > DONE.load(Ordering::Relaxed) + 100 {
            task::yield_now().await;
        }
        if number % 8 == 0 && task::harts() > 1 {
            hart::interrupt((machine::this_hart() + 1) % task::harts());
        }
    }
    all_gone().await?;
    let taken = before.saturating_sub(wakeful::alloc::frames::available());
    println!("{} tasks, and {taken} more frames", DONE.load(Ordering::Relaxed));
    ensure(taken <= 64, || format!("{taken} frames taken by the second half"))
}

/// How late an idle hart is, at best: what an interrupt costs.
pub(crate) async fn latency() -> Outcome {
    let mut least = Duration::MAX;
    for _ in 0..200 {
        let deadline = Instant::now() + Duration::from_millis(1);
        time::sleep_until(deadline).await;
        least = least.min(deadline.elapsed());
    }
    println!("at best {} us late", least.as_micros());
    ensure(least < Duration::from_millis(10), || format!("at best {least:?} late"))
}

/// What there is of everything that a future could leave behind.
fn left_behind() -> (usize, usize, usize) {
    let tasks = (0..task::harts()).map(task::tasks_on).sum();
    let sleeps = (0..task::harts()).map(time::pending_on).sum();
    (tasks, sleeps, wakeful::alloc::statistics().used)
}

/// Polls a future until it is `Pending` for the n-th time and drops it there; for all n.
///
/// Returns how many such places there were.
async fn drop_everywhere<F: Future>(name: &str, future: impl Fn() -> F) -> Result<usize, String> {
    let mut places = 0;
    loop {
        let before = left_behind();
        let mut pendings = 0;
        let mut boxed = Box::pin(future());
        let finished = poll_fn(|context| match boxed.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if pendings == places => Poll::Ready(false),
            Poll::Pending => {
                pendings += 1;
                Poll::Pending
            }
        })
        .await;
        drop(boxed);
        // A task that was aborted is dropped by its own hart, when that comes round to it.
        let deadline = Instant::now() + Duration::from_secs(5);
        while left_behind() != before {
            let after = left_behind();
            ensure(Instant::now() < deadline, || {
                format!("{name}, place {places}: {before:?} became {after:?}")
            })?;
            task::yield_now().await;
        }
        if finished {
            return Ok(places);
        }
        places += 1;
    }
}

/// Dropping a future at each of its awaits leaves nothing behind.
pub(crate) async fn cancel() -> Outcome {
    let millisecond = Duration::from_millis(1);
    macro_rules! check {
        ($name:literal, $least:literal, $future:expr) => {
            // On a busy computer a millisecond may pass before the first poll.
            let mut places = 0;
            for _ in 0..50 {
                places = places.max(drop_everywhere($name, || $future).await?);
                if places >= $least {
                    break;
                }
            }
            ensure(places >= $least, || format!("{} has only {places} places", $name))?;
            println!("{}: {places} places", $name);
        };
    }
    check!("sleep", 1, time::sleep(millisecond));
    check!("sleep_coarse", 1, time::sleep_coarse(millisecond));
    check!("yield_now", 1, task::yield_now());
    check!("timeout, in time", 1, time::timeout(millisecond * 100, time::sleep(millisecond)));
    check!("timeout, up", 1, time::timeout(millisecond, pending::<()>()));
    check!("interval", 1, async {
        let mut interval = time::interval(millisecond);
        for _ in 0..4 {
            interval.tick().await;
        }
    });
    check!("join", 1, async {
        let task = task::spawn(time::sleep(millisecond));
        let guard = Abort(task.task());
        _ = task.await;
        drop(guard);
    });
    check!("join from another executor", 1, async {
        let task = task::spawn(time::sleep(millisecond));
        let guard = Abort(task.task());
        _ = Foreign::new(task).await;
        drop(guard);
    });
    check!("sleep in another executor", 1, Foreign::new(time::sleep(millisecond)));
    check!("many at once", 1, async {
        for _ in 0..3 {
            let sleeps = (1..50).map(|n| Box::pin(time::sleep(millisecond * n / 50)));
            join_all(sleeps.collect()).await;
        }
    });
    all_gone().await
}

/// Aborts a task when it goes.
struct Abort(task::Task);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn join_all(mut futures: Vec<Pin<Box<time::Sleep>>>) {
    poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls a future with a waker of its own, as combinators and other executors do.
struct Foreign<F> {
    future: Pin<Box<F>>,
    shared: Arc<Relay>,
}

struct Relay {
    to: IrqLock<Option<Waker>>,
}

impl alloc::task::Wake for Relay {
    fn wake(self: Arc<Self>) {
        let waker = self.to.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<F> Foreign<F> {
    fn new(future: F) -> Self {
        Self { future: Box::pin(future), shared: Arc::new(Relay { to: IrqLock::new(None) }) }
    }
}

impl<F: Future> Future for Foreign<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        *self.shared.to.lock() = Some(context.waker().clone());
        let waker = Waker::from(Arc::clone(&self.shared));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Wakers in every state of a task, a million times; from here, from interrupts, from other harts.
pub(crate) async fn wakers() -> Outcome {
    static WAKER: IrqLock<Option<Waker>> = IrqLock::new(None);
    static POLLS: AtomicU64 = AtomicU64::new(0);
    const TIMES: usize = 1_000_000;

    fn wake_it() {
        let waker = WAKER.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    let parked = || {
        poll_fn::<(), _>(|context| {
            POLLS.fetch_add(1, Ordering::Relaxed);
            *WAKER.lock() = Some(context.waker().clone());
            Poll::Pending
        })
    };
    trap::set_software_handler(wake_it);
    let task = task::spawn_on(task::harts() - 1, parked());
    while WAKER.lock().is_none() {
        task::yield_now().await;
    }
    // While it lives: each wake is followed by a poll.
    for _ in 0..1000 {
        let before = POLLS.load(Ordering::Acquire);
        wake_it();
        wake_it();
        while POLLS.load(Ordering::Acquire) == before {
            task::yield_now().await;
        }
    }
    let waker = WAKER.lock().clone().ok_or("no waker")?;
    for _ in 0..TIMES {
        waker.wake_by_ref();
    }
    // From interrupts, on every hart.
    for round in 0..1000 * task::harts() {
        let other = round % task::harts();
        if other != machine::this_hart() {
            hart::interrupt(other);
        }
    }
    // After it was aborted, while others live in its place, and when nobody does.
    task.abort();
    for _ in 0..TIMES / 4 {
        waker.wake_by_ref();
    }
    ensure(task.await.is_err(), || String::from("it was not aborted"))?;
    for _ in 0..TIMES / 4 {
        waker.wake_by_ref();
    }
    for round in 0..10_000 {
        let next = task::spawn_on(round % task::harts(), async { 1 });
        waker.wake_by_ref();
        hart::interrupt((machine::this_hart() + 1) % task::harts());
        ensure(next.await == Ok(1), || String::from("another task was disturbed"))?;
        waker.wake_by_ref();
    }
    *WAKER.lock() = None;
    drop(waker);
    println!("{} polls", POLLS.load(Ordering::Relaxed));
    all_gone().await
}

/// Everything at once on all harts: wakes at random from tasks and interrupts, timers at 20 kHz, tasks
/// that come and go. In the end the books must balance.
pub(crate) async fn storm() -> Outcome {
    const PEERS: usize = 64;
    static STOP: AtomicBool = AtomicBool::new(false);
    static PEER: [Peer; PEERS] = [const { Peer::new() }; PEERS];
    static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
    static BEATS: AtomicU64 = AtomicU64::new(0);
    static CHILDREN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

    /// A task that takes what it is sent.
    struct Peer {
        waker: IrqLock<Option<Waker>>,
        sent: AtomicU64,
        taken: AtomicU64,
    }

    impl Peer {
        const fn new() -> Self {
            let (sent, taken) = (AtomicU64::new(0), AtomicU64::new(0));
            Self { waker: IrqLock::new(None), sent, taken }
        }

        /// Sends something and wakes: it must be taken.
        fn send(&self) {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    async fn peer(number: usize) {
        let mut random = Random(number as u64 + 1);
        let this = &PEER[number];
        poll_fn(|context| {
            let mut waker = this.waker.lock();
            if waker.is_none() {
                *waker = Some(context.waker().clone());
            }
            drop(waker);
            let sent = this.sent.load(Ordering::Acquire);
            let taken = this.taken.swap(sent, Ordering::Relaxed);
            if STOP.load(Ordering::Relaxed) {
                return Poll::Pending; // still taking, no longer sending
            }
            if taken != sent {
                // On average as much goes out as came in: neither silence nor avalanche.
                for _ in 0..random.below(3) {
                    PEER[random.below(PEERS)].send();
                }
                if random.below(8) == 0 {
                    let others = random.below(task::harts());
                    if others != machine::this_hart() {
                        hart::interrupt(others);
                    }
                }
            }
            if random.below(64) == 0
                && let Some(me) = task::current()
                && let Some(priority) = Priority::from_level(1 + random.below(6) as u8)
            {
                me.set_priority(priority);
            }
            Poll::Pending
        })
        .await
    }

    /// Wakes at random at 20 kHz.
    async fn beat(hart: usize) {
        let mut random = Random(1000 + hart as u64);
        let period = Duration::from_micros(50);
        let mut interval = time::interval(period).missed_ticks(MissedTicks::Skip);
        while !STOP.load(Ordering::Relaxed) {
            interval.tick().await;
            BEATS.fetch_add(1, Ordering::Relaxed);
            PEER[random.below(PEERS)].send();
        }
    }

    /// Tasks that come and go: finished, aborted, and detached.
    async fn parent(seed: u64) {
        let mut random = Random(seed);
        while !STOP.load(Ordering::Relaxed) {
            let length = Duration::from_micros(random.next() % 300);
            let child = task::spawn_on(random.below(task::harts()), async move {
                time::timeout(length, time::sleep(length / 2)).await
            });
            let fate = random.below(3);
            CHILDREN[fate].fetch_add(1, Ordering::Relaxed);
            match fate {
                0 => _ = child.await,
                1 => {
                    if random.below(2) == 0 {
                        time::sleep(length / 4).await;
                    }
                    child.abort();
                    _ = child.await;
                }
                _ => child.detach(),
            }
            PEER[random.below(PEERS)].send();
        }
    }

    let seconds = wakeful::arguments().find_map(|word| word.strip_prefix("seconds="));
    let seconds = seconds.map_or(Ok(10), str::parse).map_err(|_| "seconds=NUMBER")?;
    trap::set_software_handler(|| {
        // From the interrupt itself.
        let count = INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        PEER[count as usize % PEERS].send();
    });
    let harts = task::harts();
    let peers: Vec<_> =
        (0..PEERS).map(|number| task::spawn_on(number % harts, peer(number))).collect();
    let beats: Vec<_> = (0..harts)
        .map(|hart| Builder::new().priority(Priority::HIGHEST).hart(hart).spawn(beat(hart)))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}"))?;
    let parents: Vec<_> = (0..2 * harts)
        .map(|number| task::spawn_on(number % harts, parent(7 * number as u64 + 1)))
        .collect();

    time::sleep(Duration::from_secs(seconds)).await;
    STOP.store(true, Ordering::Relaxed);
    for task in beats.into_iter().chain(parents) {
        task.await.map_err(|error| format!("{error}"))?;
    }
    // Whoever was woken has its turn.
    let quiet =
        |peer: &Peer| peer.sent.load(Ordering::Acquire) == peer.taken.load(Ordering::Acquire);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !PEER.iter().all(quiet) {
        let lost = PEER.iter().filter(|peer| !quiet(peer)).count();
        ensure(Instant::now() < deadline, || format!("{lost} tasks were not woken"))?;
        time::sleep(Duration::from_millis(1)).await;
    }
    time::sleep(Duration::from_millis(10)).await;
    let usage: Vec<_> = peers.iter().map(JoinHandle::usage).collect();
    let wakes: u64 = usage.iter().map(|usage| u64::from(usage.wakes)).sum();
    let polls: u64 = usage.iter().map(|usage| u64::from(usage.polls)).sum();
    let sent: u64 = PEER.iter().map(|peer| peer.sent.load(Ordering::Relaxed)).sum();
    println!(
        "{sent} sent, {wakes} wakes, {polls} polls, {} interrupts, {} beats, {:?} children",
        INTERRUPTS.load(Ordering::Relaxed),
        BEATS.load(Ordering::Relaxed),
        CHILDREN.each_ref().map(|count| count.load(Ordering::Relaxed)),
    );
    for hart in 0..harts {
        println!("hart {hart}: {:?}", task::usage(hart));
    }
    // Each accepted wake is good for one poll; the first poll is that of the spawn.
    let balance = usage.iter().all(|usage| usage.polls == usage.wakes + 1);
    ensure(balance, || format!("the books do not balance: {usage:?}"))?;
    ensure(BEATS.load(Ordering::Relaxed) > 1000 * seconds, || String::from("no storm"))?;
    peers.iter().for_each(JoinHandle::abort);
    for peer in peers {
        _ = peer.await;
    }
    for peer in &PEER {
        *peer.waker.lock() = None;
    }
    all_gone().await
}

/// Tasks of all harts call each other in turn.
pub(crate) async fn relay() -> Outcome {
    static TOKEN: AtomicUsize = AtomicUsize::new(0);
    static WAKERS: IrqLock<Vec<Option<Waker>>> = IrqLock::new(Vec::new());
    static SEEN: AtomicU32 = AtomicU32::new(0);
    const ROUNDS: usize = 2000;
    let harts = task::harts();
    let runner = move |number: usize| {
        poll_fn(move |context| {
            WAKERS.lock()[number] = Some(context.waker().clone());
            let token = TOKEN.load(Ordering::Acquire);
            if token >= ROUNDS * harts {
                return Poll::Ready(());
            }
            if token % harts == number {
                SEEN.fetch_or(1 << machine::this_hart(), Ordering::Relaxed);
                TOKEN.store(token + 1, Ordering::Release);
                let last = token + 1 >= ROUNDS * harts;
                let next = WAKERS.lock().clone();
                for (other, waker) in next.into_iter().enumerate() {
                    if (last || other == (number + 1) % harts)
                        && let Some(waker) = waker
                    {
                        waker.wake();
                    }
                }
                if last {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
    };
    WAKERS.lock().resize(harts, None);
    let runners: Vec<_> = (0..harts).map(|hart| task::spawn_on(hart, runner(hart))).collect();
    for runner in runners {
        runner.await.map_err(|error| format!("{error}"))?;
    }
    WAKERS.lock().clear();
    let seen = SEEN.load(Ordering::Relaxed);
    ensure(seen == (1 << harts) - 1, || format!("harts {seen:#b} took part"))?;
    all_gone().await
}
