//! What the executors are given to do: the same futures for all of them.
//!
//! Every future is `Send`, because tokio's fast path asks for it, and shares plain cells with the
//! others, because a lock or an atomic would be measured as well.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::allocations;

/// A value shared by futures that must be `Send` and never are sent.
#[derive(Default)]
pub(crate) struct OneThread<T>(T);

#[expect(unsafe_code, reason = "an atomic or a lock would be measured as well")]
// SAFETY: executors and their tasks stay on the thread that made them: this program starts no other,
// nor does tokio's runtime, which is `current_thread` and asked for nothing that blocks.
unsafe impl<T> Send for OneThread<T> {}
#[expect(unsafe_code, reason = "an atomic or a lock would be measured as well")]
// SAFETY: as for `Send`.
unsafe impl<T> Sync for OneThread<T> {}

impl<T> OneThread<T> {
    pub(crate) fn new(value: T) -> Arc<Self> {
        Arc::new(Self(value))
    }
}

impl<T> Deref for OneThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a run ends with: reached when every task has arrived.
#[derive(Default)]
pub(crate) struct Finish {
    missing: Cell<usize>,
    waiting: Cell<Option<Waker>>,
}

impl Finish {
    pub(crate) fn of(tasks: usize) -> Shared<Self> {
        OneThread::new(Self { missing: Cell::new(tasks), waiting: Cell::default() })
    }

    /// One task has nothing left to do.
    pub(crate) fn arrive(&self) {
        self.missing.set(self.missing.get() - 1);
        if self.reached()
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    #[inline]
    pub(crate) fn reached(&self) -> bool {
        self.missing.get() == 0
    }

    /// For executors that are run by waiting for something.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if self.reached() {
                return Poll::Ready(());
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// What several tasks hold.
pub(crate) type Shared<T> = Arc<OneThread<T>>;

/// Lets the others run once: woken by reference, pending once.
#[derive(Default)]
struct Yield {
    pending: bool,
}

impl Future for Yield {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.pending {
            return Poll::Ready(());
        }
        self.pending = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A task that yields, and does nothing else.
pub(crate) async fn yielding(times: usize, finish: Shared<Finish>) {
    for _ in 0..times {
        Yield::default().await;
    }
    finish.arrive();
}

/// Something small to compute, for whoever spawns it to join.
pub(crate) async fn work(number: u64) -> u64 {
    black_box(number) + 1
}

/// A ring of tasks, each parked on a waker that it left once: whoever is polled wakes the next.
pub(crate) struct Ring {
    seats: Box<[OnceCell<Waker>]>,
    seated: Cell<usize>,
    hops: Cell<usize>,
    finish: Shared<Finish>,
}

impl Ring {
    pub(crate) fn of(tasks: usize, hops: usize, finish: Shared<Finish>) -> Shared<Self> {
        let seats = vec![OnceCell::new(); tasks].into();
        OneThread::new(Self { seats, seated: Cell::new(0), hops: Cell::new(hops), finish })
    }

    fn wake(&self, seat: usize) {
        if let Some(waker) = self.seats[seat].get() {
            waker.wake_by_ref();
        }
    }
}

/// The task at a seat of a [`Ring`].
pub(crate) struct RingTask {
    ring: Shared<Ring>,
    seat: usize,
}

impl RingTask {
    pub(crate) fn new(ring: &Shared<Ring>, seat: usize) -> Self {
        Self { ring: ring.clone(), seat }
    }
}

impl Future for RingTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ring = &self.ring;
        let last = ring.seats.len() - 1;
        if ring.seated.get() <= last {
            _ = ring.seats[self.seat].set(cx.waker().clone());
            ring.seated.set(ring.seated.get() + 1);
            if ring.seated.get() > last {
                ring.wake(0); // All are seated.
            }
            return Poll::Pending;
        }
        let next = if self.seat == last { 0 } else { self.seat + 1 };
        let hops = ring.hops.get();
        if hops > 0 {
            ring.hops.set(hops - 1);
            ring.wake(next);
            return Poll::Pending;
        }
        // One leaves after the other, once around.
        ring.finish.arrive();
        if !ring.finish.reached() {
            ring.wake(next);
        }
        Poll::Ready(())
    }
}

/// Tasks that are woken from outside their executor, for ever.
pub(crate) struct Bells {
    seats: Box<[OnceCell<Waker>]>,
    answers: Cell<usize>,
}

impl Bells {
    pub(crate) fn of(tasks: usize) -> Shared<Self> {
        OneThread::new(Self { seats: vec![OnceCell::new(); tasks].into(), answers: Cell::new(0) })
    }

    /// Wakes one of the tasks, the next one each turn.
    #[inline]
    pub(crate) fn ring(&self, turn: usize) {
        if let Some(waker) = self.seats[turn % self.seats.len()].get() {
            waker.wake_by_ref();
        }
    }

    /// How often the tasks were polled beyond the first time.
    pub(crate) fn answers(&self) -> usize {
        self.answers.get()
    }
}

/// The task at a seat of [`Bells`].
pub(crate) struct BellTask {
    bells: Shared<Bells>,
    seat: usize,
}

impl BellTask {
    pub(crate) fn new(bells: &Shared<Bells>, seat: usize) -> Self {
        Self { bells: bells.clone(), seat }
    }
}

impl Future for BellTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let bells = &self.bells;
        let seat = &bells.seats[self.seat];
        if seat.get().is_some() {
            bells.answers.set(bells.answers.get() + 1);
        } else {
            _ = seat.set(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Room for one message and for the waker of who waits for it.
#[derive(Default)]
pub(crate) struct Mailbox {
    message: Cell<Option<u64>>,
    waiting: Cell<Option<Waker>>,
}

impl Mailbox {
    pub(crate) fn new() -> Shared<Self> {
        OneThread::new(Self::default())
    }

    #[inline]
    pub(crate) fn send(&self, message: u64) {
        self.message.set(Some(message));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// Of the shared one, for its future to be `Send`.
impl OneThread<Mailbox> {
    #[inline]
    pub(crate) async fn receive(&self) -> u64 {
        poll_fn(|cx| match self.message.take() {
            Some(message) => Poll::Ready(message),
            None => {
                self.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

/// One of two who send a counter to and fro until it is zero.
pub(crate) async fn player(mine: Shared<Mailbox>, theirs: Shared<Mailbox>, finish: Shared<Finish>) {
    loop {
        let counter = mine.receive().await;
        theirs.send(counter.saturating_sub(1));
        if counter <= 1 {
            break; // The other one gets a zero, or has sent one.
        }
    }
    finish.arrive();
}

/// One task that wakes many, again when all of them were polled.
pub(crate) struct Fan {
    seats: Box<[OnceCell<Waker>]>,
    hub: OnceCell<Waker>,
    outstanding: Cell<usize>,
    waves: Cell<usize>,
    over: Cell<bool>,
    finish: Shared<Finish>,
}

impl Fan {
    pub(crate) fn of(parked: usize, waves: usize, finish: Shared<Finish>) -> Shared<Self> {
        OneThread::new(Self {
            seats: vec![OnceCell::new(); parked].into(),
            hub: OnceCell::new(),
            outstanding: Cell::new(parked + 1),
            waves: Cell::new(waves),
            over: Cell::new(false),
            finish,
        })
    }

    /// One of the parked was polled, or a task is at its place; the last one wakes the hub.
    fn report(&self) {
        self.outstanding.set(self.outstanding.get() - 1);
        if self.outstanding.get() == 0
            && let Some(waker) = self.hub.get()
        {
            waker.wake_by_ref();
        }
    }
}

/// The hub of a [`Fan`], or one of the parked.
pub(crate) struct FanTask {
    fan: Shared<Fan>,
    /// None: the hub.
    seat: Option<usize>,
    first: bool,
}

impl FanTask {
    /// The hub at place 0, then the parked.
    pub(crate) fn new(fan: &Shared<Fan>, place: usize) -> Self {
        Self { fan: fan.clone(), seat: place.checked_sub(1), first: true }
    }
}

impl Future for FanTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let first = std::mem::take(&mut self.first);
        let fan = &self.fan;
        if first {
            let seat = self.seat.map_or(&fan.hub, |seat| &fan.seats[seat]);
            _ = seat.set(cx.waker().clone());
            fan.report();
            return Poll::Pending;
        }
        if self.seat.is_some() {
            if fan.over.get() {
                fan.finish.arrive();
                return Poll::Ready(());
            }
            fan.report();
            return Poll::Pending;
        }
        let waves = fan.waves.get();
        fan.over.set(waves == 0);
        fan.waves.set(waves.saturating_sub(1));
        fan.outstanding.set(fan.seats.len());
        for waker in fan.seats.iter().filter_map(OnceCell::get) {
            waker.wake_by_ref();
        }
        if waves == 0 {
            fan.finish.arrive();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Where the tasks report that are parked for ever and have no room for a reference to it.
struct Parking {
    /// A task that nobody could ever wake would be thrown away by some.
    wakers: Vec<Waker>,
    in_use: usize,
    finish: Shared<Finish>,
}

thread_local! {
    static PARKING: RefCell<Option<Parking>> = const { RefCell::new(None) };
}

/// Parked for ever, `BYTES` large.
pub(crate) struct Parked<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Parked<BYTES> {
    pub(crate) fn new() -> Self {
        Self([0; BYTES])
    }

    /// Expects `tasks` of them; `finish` is reached when all are parked.
    pub(crate) fn expect(tasks: usize, finish: Shared<Finish>) {
        PARKING.set(Some(Parking { wakers: Vec::with_capacity(tasks), in_use: 0, finish }));
    }

    /// Bytes that were in use when the last one had parked. Forgets them all.
    pub(crate) fn in_use() -> usize {
        PARKING.take().map_or(0, |parking| parking.in_use)
    }
}

impl<const BYTES: usize> Future for Parked<BYTES> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        black_box(&self.0);
        PARKING.with_borrow_mut(|parking| {
            let Some(parking) = parking else { return };
            parking.wakers.push(cx.waker().clone());
            if parking.wakers.len() == parking.wakers.capacity() {
                parking.in_use = allocations::in_use();
                parking.finish.arrive();
            }
        });
        Poll::Pending
    }
}
