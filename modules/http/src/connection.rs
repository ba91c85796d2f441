//! The life of a connection: it rests, it talks, it rests.
//!
//! Most connections of a server are open and say nothing. Such a one has its [`TcpStream`], its timeout and its
//! place in the task: that is what a rest needs. When the peer says something, picoserve's future is made, with
//! the buffers that it works on, in a box of its own; and when nothing has been asked for [`WHILE`], it is
//! dropped. It has nothing to lose then (see [`Wire`]), and whoever is busy does not pay.

use alloc::vec::Vec;
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
};

use picoserve::routing::PathRouter;
use wakeful_alloc::{FRAME_SIZE, frames};
use wakeful_net::TcpStream;
use wakeful_time::{Duration, Instant, Sleep};
use wakeful_web::Lack;

use crate::{
    server::{REFUSED, Shared},
    socket::{Connection, PIECE, Wire},
    timer::{Clock, Watchdog, poll_until},
};

/// The longest head of a request, in bytes. A longer one is answered with "bad request".
const HEAD: usize = 2048;

/// How long a connection on which nothing is asked keeps its future.
const WHILE: Duration = Duration::from_secs(1);

/// What a connection that talks takes, with what its handler is likely to take, in bytes.
const TALK: usize = 8 << 10;

/// How many buffers are kept for the next connections that talk.
const SPARE: usize = 4;

/// How many connections may talk at the same time.
pub(crate) struct Limits {
    /// With more of them, none keeps its future when it is asked nothing.
    many: usize,
    /// With so many, others are refused.
    most: usize,
}

impl Limits {
    /// They may take a quarter of the memory that is free now.
    pub(crate) fn of_free_memory() -> Self {
        let most = (frames::available() * FRAME_SIZE / 4 / TALK).max(16);
        Self { many: most / 4, most }
    }
}

/// What follows a talk.
enum After {
    /// Nothing is asked, since then.
    Rest(Instant),
    /// There is no memory for an answer.
    Refuse,
    End,
}

/// Serves a connection to its end. It also ends when it is at rest and what `end` makes is ready.
///
/// # Cancellation
///
/// What is being answered is given up.
pub(crate) async fn live<P: PathRouter, E: Future>(
    shared: &Shared<P>,
    stream: &TcpStream,
    end: impl Fn() -> E,
) {
    let mut sleep = pin!(Sleep::until(u64::MAX));
    let timeouts = &shared.config.timeouts;
    let mut until = after(Instant::now(), timeouts.start_read_request);
    loop {
        {
            let mut end = pin!(end());
            let rest = poll_fn(|context| {
                if end.as_mut().poll(context).is_ready() {
                    return Poll::Ready(false);
                }
                if stream.poll_readable(context).is_ready() {
                    return Poll::Ready(true);
                }
                poll_until(sleep.as_mut(), context, until).map(|()| false)
            });
            if !rest.await {
                return;
            }
        }
        let after_talk = {
            let has_room = shared.talking.get() < shared.limits.most;
            let mut buffer = has_room.then(|| shared.buffers.take()).flatten();
            let talk = buffer.as_mut().and_then(|buffer| {
                let bytes = &mut *buffer.bytes;
                shared.spare.place(|| talk(shared, stream, bytes, sleep.as_mut(), end()))
            });
            match talk {
                Some(talk) => talk.await,
                None => After::Refuse,
            }
        };
        match after_talk {
            After::Rest(since) => until = after(since, timeouts.persistent_start_read_request),
            After::Refuse => return poll_fn(|context| refuse(stream, context)).await,
            After::End => return,
        }
    }
}

/// So long after a moment.
fn after(moment: Instant, duration: picoserve::time::Duration) -> Instant {
    moment.saturating_add(Duration::from_millis(duration.as_millis()))
}

/// Says that there is no room for a request, if there is some for that. Otherwise the connection is reset.
#[cold]
fn refuse(stream: &TcpStream, context: &mut Context<'_>) -> Poll<()> {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\
        Connection: close\r\n\r\n";
    REFUSED.fetch_add(1, Relaxed);
    // Who has not read what the peer has said cannot say goodbye.
    let mut said = [0; 64];
    let has_read = loop {
        match stream.poll_read(context, &mut said) {
            Poll::Ready(Ok(1..)) => {}
            ended => break ended.is_pending(),
        }
    };
    let answered = stream.poll_write_corked(context, ANSWER);
    if !has_read || !matches!(answered, Poll::Ready(Ok(count)) if count == ANSWER.len()) {
        stream.reset();
    }
    Poll::Ready(())
}

/// Has picoserve answer requests, until the connection ends or nothing has been asked for a while.
///
/// # Cancellation
///
/// What is being answered is given up.
async fn talk<P: PathRouter>(
    shared: &Shared<P>,
    stream: &TcpStream,
    buffer: &mut [u8],
    sleep: Pin<&mut Sleep>,
    end: impl Future,
) -> After {
    let _talking = Talking::new(shared);
    let (head, piece) = buffer.split_at_mut(HEAD);
    let (watchdog, wire) = (Watchdog::new(), Wire::new(stream, head, piece));
    let server = picoserve::Server::custom(&shared.app, Clock(&watchdog), &shared.config, head)
        .with_graceful_shutdown(end, shared.grace.get());
    let serving = pin!(server.serve(Connection(&wire)));
    let end_turn = |context: &mut Context<'_>, due: Instant| {
        wire.end_turn(context);
        match shared.shortage.take() {
            Some(Lack::Memory) => return ControlFlow::Break(After::Refuse),
            Some(Lack::Rest) => return ControlFlow::Break(After::End),
            None => {}
        }
        let now = Instant::now();
        let Some(silent) = wire.silent_since(now) else { return ControlFlow::Continue(due) };
        let enough = silent.saturating_add(WHILE);
        if enough <= now || shared.talking.get() > shared.limits.many {
            return ControlFlow::Break(After::Rest(silent));
        }
        ControlFlow::Continue(due.min(enough))
    };
    match watchdog.watch(serving, sleep, end_turn).await {
        ControlFlow::Break(after) => after,
        // Why a connection ended is of no use to anybody here.
        ControlFlow::Continue(_) => After::End,
    }
}

/// Counts itself while it lives.
struct Talking<'s, P: PathRouter>(&'s Shared<P>);

impl<'s, P: PathRouter> Talking<'s, P> {
    fn new(shared: &'s Shared<P>) -> Self {
        shared.talking.set(shared.talking.get() + 1);
        Self(shared)
    }
}

impl<P: PathRouter> Drop for Talking<'_, P> {
    fn drop(&mut self) {
        self.0.talking.set(self.0.talking.get() - 1);
    }
}

/// Memory for heads and answers. Some of it is kept, as it has to be cleared once.
pub(crate) struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let mut spare = Vec::new();
        // Without memory for the list nothing is kept.
        _ = spare.try_reserve_exact(SPARE);
        Self { spare: RefCell::new(spare) }
    }

    /// `None` if there is no memory. What is in it is whatever another connection has left there.
    fn take(&self) -> Option<Buffer<'_>> {
        if let Some(bytes) = self.spare.borrow_mut().pop() {
            return Some(Buffer { bytes, home: self });
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(HEAD + PIECE).ok()?;
        bytes.resize(HEAD + PIECE, 0);
        Some(Buffer { bytes, home: self })
    }
}

/// Comes back when it is dropped.
struct Buffer<'b> {
    bytes: Vec<u8>,
    home: &'b Buffers,
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut spare = self.home.spare.borrow_mut();
        if spare.len() < spare.capacity() {
            spare.push(core::mem::take(&mut self.bytes));
        }
    }
}
