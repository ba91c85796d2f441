//! A server on all harts.
//!
//! The network's task and the sockets' lock are where they are; what runs on several harts is what is made of
//! requests. That pays where answers are costly: see [`serve_on_all_harts`].

use alloc::{sync::Arc, vec::Vec};
use core::future::pending;

use picoserve::routing::PathRouter;
use wakeful_net::{Error, Local, TcpStream};
use wakeful_sync::Channel;
use wakeful_task::{self as task, Builder};

use crate::server::{REFUSED, Server, answer_for_ever, spawn};

/// Connections on their way to a hart.
type Streams = Channel<TcpStream, 16>;

/// Serves on a port, for ever, with a server on each hart, which `server` makes there. Connections go to one hart
/// after the other, and stay there.
///
/// A handler then does not keep those on other harts from running. What they share has to be [`Sync`]. A request
/// costs more instructions than on one hart, as its packets come and go on another one; so this is for answers
/// that cost more than that, some 10,000 instructions.
///
/// ```ignore
/// http::serve_on_all_harts(80, || Server::new(Router::new().route("/", get(async || page())))).await
/// ```
///
/// # Errors
///
/// There is no network card, or the port is in use.
///
/// # Cancellation
///
/// No more connections are accepted; those that are there go on.
pub async fn serve_on_all_harts<P: PathRouter + 'static>(
    local: impl Into<Local>,
    server: impl Fn() -> Server<P> + Send + Sync + 'static,
) -> Result<(), Error> {
    let (listener, _) = server().start(local)?;
    let server = Arc::new(server);
    let ways: Vec<Way> = (0..task::harts()).filter_map(|hart| begin(hart, &server)).collect();
    for way in ways.iter().cycle() {
        let (stream, _) = listener.accept().await?;
        // If nobody is there any more it is dropped, and the peer told so.
        if way.0.send(stream).await.is_err() {
            REFUSED.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        }
    }
    pending().await
}

/// The way to a hart's server. It ends with the one that sends, or the one that receives.
struct Way(Arc<Streams>);

impl Drop for Way {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts a server on a hart, if there is memory for it.
fn begin<P: PathRouter + 'static>(
    hart: usize,
    server: &Arc<impl Fn() -> Server<P> + Send + Sync + 'static>,
) -> Option<Way> {
    let streams = Arc::new(Streams::new());
    let (way, server) = (Way(Arc::clone(&streams)), Arc::clone(server));
    // It cannot be sent there, so it is made there.
    let make = async move {
        let serve = async move {
            let shared = server().share();
            while let Some(stream) = way.0.receive().await {
                spawn(&shared, stream, answer_for_ever);
            }
        };
        if let Ok(task) = Builder::new().name("http: hart").spawn_local(serve) {
            task.detach();
        }
    };
    Builder::new().hart(hart).spawn(make).ok()?.detach();
    Some(Way(streams))
}
