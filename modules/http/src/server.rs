//! A task for each connection.

use alloc::rc::Rc;
use core::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Poll, Waker},
};

use picoserve::{Config, Timeouts, routing::PathRouter, time::Duration};
use wakeful_hal::console;
use wakeful_net::{self as net, Error, Local, TcpListener, TcpOptions, TcpStream};
use wakeful_sync::WaitQueue;
use wakeful_task::Builder;
use wakeful_web::{Router, Shortage, Spare};

use crate::connection::{Buffers, Limits, live};

/// How many connections wait to be accepted.
const BACKLOG: usize = 256;

/// The most bytes of a connection's task.
const TASK: usize = 352;

pub(crate) static REFUSED: AtomicU64 = AtomicU64::new(0);

/// How many connections were refused since boot: there was no memory for what they asked, or too many others asked.
pub fn refused() -> u64 {
    REFUSED.load(Relaxed)
}

/// Serves `app` on a port, for ever. [`Server`] has the choices.
///
/// # Errors
///
/// There is no network card, or the port is in use.
///
/// # Cancellation
///
/// No more connections are accepted; those that are there go on.
pub async fn serve<P: PathRouter + 'static>(
    local: impl Into<Local>,
    app: Router<P>,
) -> Result<(), Error> {
    Server::new(app).run(local).await
}

/// A server that does not run yet.
pub struct Server<P: PathRouter> {
    app: Router<P>,
    config: Config,
    tcp: TcpOptions,
}

/// What the connections of a server share.
pub(crate) struct Shared<P: PathRouter> {
    pub(crate) app: picoserve::Router<P>,
    /// Tells of requests that are not answered.
    pub(crate) shortage: Shortage,
    pub(crate) config: Config,
    /// The server is to end, and connections have so long for it.
    ending: Cell<bool>,
    pub(crate) grace: Cell<Duration>,
    /// Where they wait for that.
    end: WaitQueue,
    connections: Cell<usize>,
    /// Those of them that are not at rest.
    pub(crate) talking: Cell<usize>,
    pub(crate) limits: Limits,
    /// Who waits until there are none.
    last: RefCell<Option<Waker>>,
    pub(crate) buffers: Buffers,
    /// For the next one that talks.
    pub(crate) spare: Spare,
}

/// Counts a connection while it lives.
struct Share<P: PathRouter>(Rc<Shared<P>>);

impl<P: PathRouter> Share<P> {
    fn new(shared: &Rc<Shared<P>>) -> Self {
        shared.connections.set(shared.connections.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl<P: PathRouter> Drop for Share<P> {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        connections.set(connections.get() - 1);
        if connections.get() == 0
            && let Some(last) = self.0.last.take()
        {
            last.wake();
        }
    }
}

impl<P: PathRouter + 'static> Server<P> {
    /// A server that keeps connections alive, closes those on which nothing is asked for a minute, and gives
    /// a request and an answer ten seconds each.
    pub fn new(app: Router<P>) -> Self {
        let timeouts = Timeouts {
            start_read_request: Duration::from_secs(10),
            persistent_start_read_request: Duration::from_secs(60),
            read_request: Duration::from_secs(10),
            write: Duration::from_secs(10),
        };
        let tcp = TcpOptions { no_delay: true, ..TcpOptions::default() };
        Self { app, config: Config::new(timeouts).keep_connection_alive(), tcp }
    }

    /// Other timeouts.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.config.timeouts = timeouts;
        self
    }

    /// Ends each connection after one answer.
    pub fn close_after_response(mut self) -> Self {
        self.config = self.config.close_connection_after_response();
        self
    }

    /// Other sizes of the buffers that each connection has.
    pub fn tcp(mut self, options: TcpOptions) -> Self {
        self.tcp = options;
        self
    }

    /// Serves on a port, for ever, and says so on the console when there is an address.
    ///
    /// # Errors
    ///
    /// There is no network card, or the port is in use.
    ///
    /// # Cancellation
    ///
    /// No more connections are accepted; those that are there go on.
    pub async fn run(self, local: impl Into<Local>) -> Result<(), Error> {
        let (listener, shared) = self.start(local)?;
        loop {
            let (stream, _) = listener.accept().await?;
            spawn(&shared, stream, answer_for_ever);
        }
    }

    /// Serves until `end` is ready. Then nobody is accepted any more, connections without a request end at
    /// once, and the others have `grace` for their answer. Returns when all have ended, and their peers have
    /// everything, or do not say so for as long again.
    ///
    /// # Errors
    ///
    /// There is no network card, or the port is in use.
    ///
    /// # Cancellation
    ///
    /// As that of [`run`](Self::run).
    pub async fn run_until(
        self,
        local: impl Into<Local>,
        end: impl Future,
        grace: Duration,
    ) -> Result<(), Error> {
        let (listener, shared) = self.start(local)?;
        shared.grace.set(grace);
        let mut end = pin!(end);
        loop {
            let accepted = poll_fn(|context| {
                if end.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                listener.poll_accept(context).map(Some)
            });
            match accepted.await {
                Some(accepted) => spawn(&shared, accepted?.0, answer_until_end),
                None => break,
            }
        }
        drop(listener);
        shared.ending.set(true);
        shared.end.wake_all();
        poll_fn(|context| {
            if shared.connections.get() == 0 {
                return Poll::Ready(());
            }
            *shared.last.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(())
    }

    /// Listens, and has it said where.
    pub(crate) fn start(
        self,
        local: impl Into<Local>,
    ) -> Result<(TcpListener, Rc<Shared<P>>), Error> {
        let listener = TcpListener::bind_with(local, BACKLOG, self.tcp)?;
        let port = listener.port();
        // Without memory for that task nothing is said, but served all the same.
        let announcement = Builder::new().name("http: hello").spawn_local(announce(port));
        if let Ok(announcement) = announcement {
            announcement.detach();
        }
        Ok((listener, self.share()))
    }

    /// What connections share.
    pub(crate) fn share(self) -> Rc<Shared<P>> {
        let (app, shortage) = self.app.into_inner();
        Rc::new(Shared {
            app,
            shortage,
            config: self.config,
            ending: Cell::new(false),
            grace: Cell::new(Duration::from_secs(0)),
            end: WaitQueue::new(),
            connections: Cell::new(0),
            talking: Cell::new(0),
            limits: Limits::of_free_memory(),
            last: RefCell::new(None),
            buffers: Buffers::new(),
            spare: Spare::new(),
        })
    }
}

/// Says where to find the server, as soon as there is an address.
async fn announce(port: u16) {
    if net::configured().await.is_ok()
        && let Some(address) = net::endpoint(port)
    {
        console::print(format_args!("wakeful: serving http://{address}/\n"));
    }
}

/// Starts a connection's task.
pub(crate) fn spawn<P, T>(
    shared: &Rc<Shared<P>>,
    stream: TcpStream,
    answer: impl FnOnce(Rc<Shared<P>>, TcpStream) -> T,
) where
    P: PathRouter + 'static,
    T: Future<Output = ()> + 'static,
{
    // A task's memory is kept for other tasks, so what is large goes elsewhere.
    const { assert!(size_of::<T>() <= TASK) };
    let share = Share::new(shared);
    // If a handler panics, the stream is never dropped, and the talk never ends.
    let id = stream.id();
    let on_panic = move || {
        net::reset_lost(id);
        let Share(shared) = &share;
        shared.talking.set(shared.talking.get().saturating_sub(1));
        drop(share);
    };
    let answer = answer(Rc::clone(shared), stream);
    // Without memory for the task the connection is dropped here, and the peer told so.
    match Builder::new().name("http").on_panic(on_panic).spawn_local(answer) {
        Ok(task) => task.detach(),
        Err(_) => _ = REFUSED.fetch_add(1, Relaxed),
    }
}

#[expect(clippy::manual_async_fn, reason = "a function has room for its arguments twice")]
pub(crate) fn answer_for_ever<P: PathRouter>(
    shared: Rc<Shared<P>>,
    stream: TcpStream,
) -> impl Future<Output = ()> {
    async move {
        live(&shared, &stream, pending::<()>).await;
        drop((stream, shared));
    }
}

#[expect(clippy::manual_async_fn, reason = "a function has room for its arguments twice")]
fn answer_until_end<P: PathRouter>(
    shared: Rc<Shared<P>>,
    mut stream: TcpStream,
) -> impl Future<Output = ()> {
    async move {
        live(&shared, &stream, || shared.end.wait_until(|| shared.ending.get())).await;
        // When the last one has ended the machine may be switched off, and what is still on its way would be
        // lost.
        let patience = shared.grace.get().min(shared.config.timeouts.write).as_millis();
        let patience = core::time::Duration::from_millis(patience);
        let _ = wakeful_time::timeout(patience, stream.shutdown()).await;
        drop((stream, shared));
    }
}
