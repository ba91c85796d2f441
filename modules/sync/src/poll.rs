//! For the tests: futures polled by hand, and counted.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A future with a flag that says whether it was woken. A new one is.
pub(crate) struct Task<F: Future> {
    future: Pin<Box<F>>,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Flag(AtomicBool::new(true))) }
    }

    /// Polls it, if it was woken.
    pub(crate) fn poll(&mut self) -> Option<Poll<F::Output>> {
        let woken = self.woken.0.swap(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        woken.then(|| self.future.as_mut().poll(&mut Context::from_waker(&waker)))
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

/// Polls all that were woken until none is: `(polls, outputs)`. Tasks that are done are removed.
pub(crate) fn run<F: Future>(tasks: &mut Vec<Task<F>>) -> (usize, Vec<F::Output>) {
    let (mut polls, mut outputs) = (0, Vec::new());
    loop {
        let before = polls;
        tasks.retain_mut(|task| match task.poll() {
            Some(Poll::Ready(output)) => {
                polls += 1;
                outputs.push(output);
                false
            }
            Some(Poll::Pending) => {
                polls += 1;
                assert!(polls < 1000, "they poll for ever");
                true
            }
            None => true,
        });
        if polls == before {
            return (polls, outputs);
        }
    }
}

/// What every primitive promises to those who `wait` for what `give` gives to one of them.
pub(crate) fn check<F: Future>(wait: impl Fn() -> F, give: impl Fn(), accept: impl Fn(F::Output)) {
    let mut tasks: Vec<_> = (0..8).map(|_| Task::new(wait())).collect();
    let (polls, outputs) = run(&mut tasks);
    assert_eq!((polls, outputs.len()), (8, 0), "each is polled once, and then waits");

    give();
    assert!(tasks[0].is_woken(), "first come, first served");
    let (polls, outputs) = run(&mut tasks);
    assert_eq!((polls, outputs.len()), (1, 1), "one is woken, and gets it");
    outputs.into_iter().for_each(&accept);

    tasks.remove(0);
    give();
    let (polls, outputs) = run(&mut tasks);
    assert_eq!((polls, outputs.len()), (1, 1), "one that stopped waiting is passed over");
    outputs.into_iter().for_each(&accept);

    give();
    assert!(tasks[0].is_woken());
    tasks.remove(0);
    let (polls, outputs) = run(&mut tasks);
    assert_eq!((polls, outputs.len()), (1, 1), "one that stopped although woken passes it on");
    outputs.into_iter().for_each(&accept);

    give();
    assert!(tasks[0].is_woken());
    tasks.clear();
    let (polls, outputs) = run(&mut vec![Task::new(wait())]);
    assert_eq!((polls, outputs.len()), (1, 1), "nothing is lost when all have stopped");
    outputs.into_iter().for_each(&accept);
}

/// Threads that all do `work`, and give up waiting at random.
pub(crate) fn storm(threads: usize, work: impl Fn(&mut Random) + Sync) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || work(&mut Random((seed ^ ((thread as u64 + 1) << 32)) | 1)));
        }
    });
}

/// Xorshift (Marsaglia 2003, "Xorshift RNGs", 13-7-17).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Waits for one of the futures that `make` makes, having dropped some after a poll.
    pub(crate) fn block_on_some<F: Future>(&mut self, make: impl Fn() -> F) -> F::Output {
        while self.next().is_multiple_of(2) {
            let mut task = Task::new(make());
            if let Some(Poll::Ready(output)) = task.poll() {
                return output;
            }
            (0..self.next() % 8).for_each(|_| thread::yield_now());
        }
        block_on(make())
    }
}

struct Parked(Thread, AtomicUsize);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Waits at most ten seconds, and polls only when woken.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let parked = Arc::new(Parked(thread::current(), AtomicUsize::new(1)));
    let waker = Waker::from(parked.clone());
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if parked.1.swap(0, Ordering::SeqCst) > 0
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return output;
        }
        assert!(Instant::now() < deadline, "nobody woke it");
        thread::park_timeout(Duration::from_millis(100));
    }
}
