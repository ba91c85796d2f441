//! A task for each connection.

use alloc::{boxed::Box, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, Waker},
};

use picoserve::{Config, Timeouts, routing::PathRouter, time::Duration};
use wakeful_hal::console;
use wakeful_net::{self as net, Error, Local, TcpListener, TcpOptions, TcpStream};
use wakeful_sync::WaitQueue;
use wakeful_task::Builder;
use wakeful_web::Router;

use crate::{
    socket::{Connection, Wire},
    timer::{Clock, Watchdog},
};

/// The longest head of a request, in bytes. A longer one is answered with "bad request".
const HEAD: usize = 2048;

/// How many connections wait to be accepted.
const BACKLOG: usize = 256;

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
    app: picoserve::Router<P>,
    config: Config,
    tcp: TcpOptions,
}

/// What the connections of a server share.
struct Shared<P: PathRouter> {
    app: picoserve::Router<P>,
    config: Config,
    /// The server is to end, and connections have so long for it.
    ending: Cell<bool>,
    grace: Cell<Duration>,
    /// Where they wait for that.
    end: WaitQueue,
    connections: Cell<usize>,
    /// Who waits until there are none.
    last: RefCell<Option<Waker>>,
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
        Self { app: app.into_inner(), config: Config::new(timeouts).keep_connection_alive(), tcp }
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

    fn start(self, local: impl Into<Local>) -> Result<(TcpListener, Rc<Shared<P>>), Error> {
        let listener = TcpListener::bind_with(local, BACKLOG, self.tcp)?;
        let port = listener.port();
        // Without memory for that task nothing is said, but served all the same.
        let announcement = Builder::new().name("http: hello").spawn_local(announce(port));
        if let Ok(announcement) = announcement {
            announcement.detach();
        }
        let shared = Shared {
            app: self.app,
            config: self.config,
            ending: Cell::new(false),
            grace: Cell::new(Duration::from_secs(0)),
            end: WaitQueue::new(),
            connections: Cell::new(0),
            last: RefCell::new(None),
        };
        Ok((listener, Rc::new(shared)))
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
fn spawn<P, F, T>(shared: &Rc<Shared<P>>, stream: TcpStream, answer: F)
where
    P: PathRouter + 'static,
    F: FnOnce(Rc<Shared<P>>, TcpStream) -> T,
    T: Future<Output = ()> + 'static,
{
    /// Counts a connection while it lives.
    struct Counted<P: PathRouter>(Rc<Shared<P>>);

    impl<P: PathRouter> Drop for Counted<P> {
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

    shared.connections.set(shared.connections.get() + 1);
    let counted = Counted(Rc::clone(shared));
    // If a handler panics, the stream is never dropped.
    let id = stream.id();
    let on_panic = move || {
        net::reset_lost(id);
        drop(counted);
    };
    // In a box: a task's memory is kept for other tasks, and this is a few kilobytes.
    let answer = Box::pin(answer(Rc::clone(shared), stream));
    // Without memory for the task the connection is dropped here, and the peer told so.
    if let Ok(task) = Builder::new().name("http").on_panic(on_panic).spawn_local(answer) {
        task.detach();
    }
}

async fn answer_for_ever<P: PathRouter>(shared: Rc<Shared<P>>, stream: TcpStream) {
    let (mut head, watchdog, wire) = ([0; HEAD], Watchdog::new(), Wire::new(stream));
    let server =
        picoserve::Server::custom(&shared.app, Clock(&watchdog), &shared.config, &mut head);
    let serving = pin!(server.serve(Connection(&wire)));
    // Why a connection ended is of no use to anybody here.
    let _ = watchdog.watch(serving, |context| wire.end_turn(context)).await;
}

async fn answer_until_end<P: PathRouter>(shared: Rc<Shared<P>>, stream: TcpStream) {
    let (mut head, watchdog, wire) = ([0; HEAD], Watchdog::new(), Wire::new(stream));
    {
        let end = shared.end.wait_until(|| shared.ending.get());
        let server =
            picoserve::Server::custom(&shared.app, Clock(&watchdog), &shared.config, &mut head)
                .with_graceful_shutdown(end, shared.grace.get());
        let serving = pin!(server.serve(Connection(&wire)));
        let _ = watchdog.watch(serving, |context| wire.end_turn(context)).await;
    }
    // When the last one has ended the machine may be switched off, and what is still on its way would be lost.
    let patience = shared.grace.get().min(shared.config.timeouts.write).as_millis();
    let patience = core::time::Duration::from_millis(patience);
    let _ = wakeful_time::timeout(patience, wire.into_stream().shutdown()).await;
}
