//! Embassy's ecosystem on our executor and timers, and the critical section that it asks for.

use alloc::{format, string::String, vec::Vec};
use core::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use embassy_executor::{SendSpawner, Spawner};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, channel};
use embassy_time::{Duration, Instant, Ticker, Timer, with_timeout};
use futures_util::{
    StreamExt,
    future::{Either, join, join_all, select},
    stream::FuturesUnordered,
};
use wakeful::{
    embassy, println,
    sync::{Channel, Signal},
    task, time,
};
use wakeful_hal::{sync, timer, trap};

use crate::{Outcome, ensure, run_on};

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // Constants of MMIX (Knuth, TAOCP 2, section 3.3.4).
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Has every hart run a future, and waits until all have.
async fn on_every_hart<F>(future: impl Fn(usize) -> F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let handles: Vec<_> =
        (0..task::harts()).map(|hart| task::spawn_on(hart, future(hart))).collect();
    for handle in handles {
        handle.await.map_err(|error| format!("{error}"))??;
    }
    Ok(())
}

/// What the tasks of Embassy tell the case: which one, and on which hart.
static NEWS: Channel<(u32, usize), 4> = Channel::new();

async fn tell(number: u32) {
    NEWS.send((number, wakeful::machine::this_hart())).await.expect("nobody closes it");
}

#[embassy_executor::task(pool_size = 8)]
async fn nap_and_tell(number: u32, milliseconds: u64) {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    Timer::at(end).await;
    assert!(Instant::now() >= end, "early");
    tell(number).await;
}

/// Spawns itself, until the number is 0.
#[embassy_executor::task(pool_size = 2)]
async fn pass_on(spawner: Spawner, number: u32) {
    if number > 0 {
        Timer::after_ticks(0).await;
        // Two at a time: this one, and the next.
        spawner.spawn(pass_on(spawner, number - 1).expect("the one before has ended"));
    } else {
        tell(100).await;
    }
}

/// As a consumer that has a channel of Embassy's, and gives up with Embassy's timeouts.
#[embassy_executor::task]
async fn add(numbers: channel::DynamicReceiver<'static, u32>) {
    let mut sum = 0;
    while let Ok(number) = with_timeout(Duration::from_millis(200), numbers.receive()).await {
        sum += number;
    }
    tell(sum).await;
}

/// Ticks ten times, by our clock never too soon.
#[embassy_executor::task]
async fn tick() {
    let start = time::Instant::now();
    let mut ticker = Ticker::every(Duration::from_millis(3));
    for _ in 0..10 {
        ticker.next().await;
    }
    // Embassy rounded its start down to its ticks.
    assert!(start.elapsed() >= time::Duration::from_millis(30) - time::Duration::from_micros(1));
    tell(200).await;
}

/// Tasks of Embassy beside ours: spawned at the start, by each other, and from other harts; two hosts
/// on this hart, one on each other.
pub(crate) async fn tasks() -> Outcome {
    static NUMBERS: channel::Channel<CriticalSectionRawMutex, u32, 2> = channel::Channel::new();
    static SPAWNERS: Channel<SendSpawner, 1> = Channel::new();

    task::spawn_local(embassy::run(|spawner| {
        for number in 0..5 {
            let nap = nap_and_tell(number, 40 - 10 * u64::from(number));
            spawner.spawn(nap.expect("the pool has room"));
        }
        spawner.spawn(pass_on(spawner, 50).expect("the first"));
        spawner.spawn(add(NUMBERS.dyn_receiver()).expect("the only one"));
    }))
    .detach();
    task::spawn_local(embassy::run(|spawner| spawner.spawn(tick().expect("the only one"))))
        .detach();
    for number in 1..=100 {
        NUMBERS.send(number).await;
    }
    let mut news = Vec::new();
    for _ in 0..8 {
        news.push(NEWS.receive().await.expect("nobody closes it").0);
    }
    news.sort_unstable();
    ensure(news == [0, 1, 2, 3, 4, 100, 200, 5050], || format!("{news:?}"))?;

    for hart in 0..task::harts() {
        // A host on that hart; what it runs is spawned from this one.
        task::spawn_on(hart, async {
            task::spawn_local(embassy::run(|spawner| {
                assert!(SPAWNERS.try_send(spawner.make_send()).is_ok());
            }))
            .detach();
        })
        .detach();
        let spawner = SPAWNERS.receive().await.expect("nobody closes it");
        for round in 0..200 {
            spawner.spawn(nap_and_tell(round, u64::from(round) % 2).expect("one at a time"));
            let told = NEWS.receive().await;
            ensure(told == Some((round, hart)), || format!("{told:?} on hart {hart}"))?;
            // It may be still on its way out, on its hart.
            task::yield_now().await;
        }
    }

    // What a host that was dropped ran is not polled any more, though it is woken.
    let host = task::spawn_local(embassy::run(|spawner| {
        spawner.spawn(nap_and_tell(7, 1).expect("the pool has room"));
    }));
    task::yield_now().await;
    host.abort();
    time::sleep(time::Duration::from_millis(5)).await;
    ensure(NEWS.try_receive().is_err(), || String::from("the dead tell"))
}

/// `embassy-time` in our tasks, on every hart: never early, by either clock.
pub(crate) async fn time() -> Outcome {
    /// The latest, in our ticks.
    static LATEST: AtomicU64 = AtomicU64::new(0);

    let (before, embassys, after) = (timer::now(), Instant::now().as_micros(), timer::now());
    let micros =
        |ticks| u64::try_from(u128::from(ticks) * 1_000_000 / u128::from(timer::frequency()));
    let (before, after) = (micros(before).expect("early"), micros(after).expect("early"));
    ensure((before..=after).contains(&embassys), || format!("{before} {embassys} {after}"))?;

    on_every_hart(|hart| async move {
        let mut random = Random(hart as u64);
        for round in 0..400 {
            // Most are shorter than what it takes to wait for them.
            let micros = random.below(1 << (round % 13));
            let begin = timer::now();
            let end = Instant::now() + Duration::from_micros(micros);
            let (mut waiting, mut polls) = (pin!(Timer::at(end)), 0);
            poll_fn(|context| {
                polls += 1;
                waiting.as_mut().poll(context)
            })
            .await;
            let woken = timer::now();
            // The timer would wait on if it were woken early.
            ensure(polls == 2, || format!("{polls} polls for {micros} us"))?;
            ensure(Instant::now() >= end, || format!("early: {end} is not over"))?;
            // Embassy's `now` was rounded down to its ticks of a microsecond.
            let least = micros.saturating_sub(1) * timer::frequency() / 1_000_000;
            ensure(woken - begin >= least, || format!("{} of {least} ticks", woken - begin))?;
            LATEST.fetch_max(woken - begin - least, Ordering::Relaxed);
        }
        Ok(())
    })
    .await?;
    println!("the latest took {} ticks longer", LATEST.load(Ordering::Relaxed));
    Ok(())
}

/// Timers that nobody waits for any more: one is left for each waker, and none after its time.
pub(crate) async fn timeouts() -> Outcome {
    on_every_hart(|hart| async move {
        for _ in 0..100_000 {
            let ready = with_timeout(Duration::from_secs(3600), task::yield_now()).await;
            ensure(ready.is_ok(), || String::from("an hour is over"))?;
        }
        let left = embassy::pending();
        ensure(left == 1, || format!("hart {hart}: {left} instead of 1"))?;

        // The same waker, sooner: that is in time, and the hour is forgotten with it.
        Timer::after_micros(500).await;
        let left = embassy::pending();
        ensure(left == 0, || format!("hart {hart}: {left} instead of 0"))?;

        // Later, and sooner, in one poll: the sooner counts. Then the rest of the later one.
        let begin = Instant::now();
        let (long, short) = (pin!(Timer::after_millis(5)), pin!(Timer::after_millis(1)));
        match select(long, short).await {
            Either::Right(((), long)) => long.await,
            // The host kept us from running, and both are over.
            Either::Left(((), short)) => short.await,
        }
        ensure(begin.elapsed() >= Duration::from_millis(5), || String::from("early"))?;

        // A thousand wakers, each with a timer that is given up; then they have come.
        let tasks: Vec<_> = (0..1000)
            .map(|_| {
                task::spawn_local(async {
                    let _ = with_timeout(Duration::from_millis(20), task::yield_now()).await;
                    let _ = with_timeout(Duration::from_millis(30), task::yield_now()).await;
                })
            })
            .collect();
        let mut most = 0;
        for task in tasks {
            task.await.map_err(|error| format!("{error}"))?;
            most = most.max(embassy::pending());
        }
        ensure(most <= 1001, || format!("hart {hart}: {most} for 1001 wakers"))?;
        while embassy::pending() > 0 {
            time::sleep(time::Duration::from_millis(1)).await;
        }
        Ok(())
    })
    .await
}

/// Combinators that make their own wakers, over Embassy's timers and over ours.
pub(crate) async fn combinators() -> Outcome {
    on_every_hart(|hart| async move {
        // A wake that is lost would be waited for in vain.
        let all = time::timeout(time::Duration::from_secs(20), combine(hart as u64));
        all.await.map_err(|_| format!("hart {hart}: nothing happens any more"))?
    })
    .await
}

async fn combine(seed: u64) -> Outcome {
    let mut random = Random(seed);
    for round in 0..20 {
        let mut timers: FuturesUnordered<_> = (0..100)
            .map(|_| {
                let end = Instant::now() + Duration::from_micros(random.below(2000));
                async move {
                    Timer::at(end).await;
                    Instant::now() >= end
                }
            })
            .collect();
        while let Some(in_time) = timers.next().await {
            ensure(in_time, || format!("round {round}: a timer was early"))?;
        }
        let left = embassy::pending();
        ensure(left == 0, || format!("round {round}: {left} timers are left"))?;

        let mut sleeps: FuturesUnordered<_> = (0..100)
            .map(|_| {
                let end = time::Instant::now() + time::Duration::from_micros(random.below(2000));
                async move {
                    time::sleep_until(end).await;
                    time::Instant::now() >= end
                }
            })
            .collect();
        while let Some(in_time) = sleeps.next().await {
            ensure(in_time, || format!("round {round}: a sleep was early"))?;
        }

        let begin = Instant::now();
        let ours = time::sleep(time::Duration::from_millis(1));
        match select(pin!(ours), pin!(Timer::after_millis(3))).await {
            Either::Left(((), timer)) => timer.await,
            // If the host kept us from running, both are over.
            Either::Right(((), ours)) => ours.await,
        }
        ensure(begin.elapsed() >= Duration::from_millis(3), || String::from("select was early"))?;

        let begin = Instant::now();
        join(Timer::after_millis(1), time::sleep(time::Duration::from_millis(2))).await;
        join_all((0..50).map(|i| Timer::after_micros(20 * i))).await;
        ensure(begin.elapsed() >= Duration::from_micros(2980), || String::from("join was early"))?;
    }
    Ok(())
}

static PRESSED: Signal<u64> = Signal::new();
static ANSWER: Signal<u64> = Signal::new();

#[embassy_executor::task]
async fn answer() {
    loop {
        ANSWER.signal(PRESSED.wait().await * 2);
    }
}

/// A task of Embassy is woken in an interrupt; and a timer is waited for there.
pub(crate) async fn interrupts() -> Outcome {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static WAKER: sync::IrqLock<Option<Waker>> = sync::IrqLock::new(None);
    static POLLED: AtomicBool = AtomicBool::new(false);

    task::spawn_local(embassy::run(|spawner| spawner.spawn(answer().expect("the only one"))))
        .detach();
    trap::set_timer_handler(|| {
        let waker = WAKER.lock().take();
        if let Some(waker) = waker {
            let timer = pin!(Timer::after_millis(2));
            POLLED.store(
                timer.poll(&mut Context::from_waker(&waker)).is_pending(),
                Ordering::Relaxed,
            );
        }
        PRESSED.signal(COUNT.fetch_add(1, Ordering::Relaxed));
        wakeful_task::ring(); // what it does otherwise
    });
    for _ in 0..1000 {
        timer::set(timer::now());
        let answer = ANSWER.wait().await;
        ensure(answer.is_multiple_of(2), || format!("{answer}"))?;
    }

    let begin = Instant::now();
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        if polls == 1 {
            *WAKER.lock() = Some(context.waker().clone());
            timer::set(timer::now());
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
    ensure(POLLED.load(Ordering::Relaxed), || String::from("not polled in an interrupt"))?;
    ensure(begin.elapsed() >= Duration::from_millis(2), || String::from("woken by somebody else"))
}

/// Sections on all harts, within each other, and in interrupts: none is in another's way.
pub(crate) fn critical_section() -> Outcome {
    const ROUNDS: u32 = 100_000;
    static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
    static DONE: AtomicUsize = AtomicUsize::new(0);
    static WRONG: AtomicU32 = AtomicU32::new(0);
    /// Written like plain words: only the section keeps them right.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static OTHER: AtomicU32 = AtomicU32::new(0);

    fn count() {
        critical_section::with(|_| {
            let old = COUNT.load(Ordering::Relaxed);
            critical_section::with(|_| OTHER.store(old + 1, Ordering::Relaxed));
            // The inner one's end must not have ended ours.
            for _ in 0..3 {
                core::hint::spin_loop();
            }
            COUNT.store(old + 1, Ordering::Relaxed);
            if OTHER.load(Ordering::Relaxed) != old + 1 {
                WRONG.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    fn storm(_: usize) {
        timer::set(timer::now() + 300);
        for _ in 0..ROUNDS {
            count();
        }
        timer::clear();
        DONE.fetch_add(1, Ordering::Release);
    }

    trap::set_timer_handler(|| {
        count();
        INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        timer::set(timer::now() + 300);
    });
    for hart in 1..task::harts() {
        run_on(hart, storm, 0);
    }
    storm(0);
    while DONE.load(Ordering::Acquire) < task::harts() {}
    let count = critical_section::with(|_| COUNT.load(Ordering::Relaxed));
    let interrupts = INTERRUPTS.load(Ordering::Relaxed);
    println!("{count} sections, {interrupts} of them in interrupts");
    ensure(WRONG.load(Ordering::Relaxed) == 0, || String::from("two were inside"))?;
    let sections = ROUNDS * task::harts() as u32 + interrupts;
    ensure(count == sections, || format!("{count} instead of {sections}"))
}
