//! picoserve's router, with the future of each handler in a box.
//!
//! A future has room for all that it may do, and one that awaits another has it inside. The future of a
//! connection would so contain those of all routes, their answers and the ways to say "not found": some
//! 4 KiB more for each connection, also while it waits for the next request; and picoserve, which chooses
//! between them before it polls one, would move 7 KiB about for each request, a quarter of what a small
//! request costs. In a box it is there while a handler runs.

use alloc::boxed::Box;

use picoserve::{
    ResponseSent,
    io::Read,
    request::{Path, Request, RequestParts},
    response::{IntoResponse, ResponseWriter, StatusCode},
    routing::{
        Layer, MethodHandler, MethodHandlerService, PathDescription, PathRouter, PathRouterService,
    },
};

use crate::end;

/// Says which handler answers a request. As [`picoserve::Router`], which explains paths, parameters, state
/// and layers.
pub struct Router<P: PathRouter<S, C>, S = (), C = ()>(picoserve::Router<P, S, C>);

impl Router<picoserve::routing::NotFound> {
    /// A router that answers all requests with "not found".
    pub fn new() -> Router<impl PathRouter> {
        Router(picoserve::Router::from_service(NotFound))
    }

    /// The same, for handlers that get a state; to be given by [`with_state`](Router::with_state).
    pub fn stateful<S>() -> Router<impl PathRouter<S>, S> {
        Router(picoserve::Router::from_service(NotFound))
    }
}

impl<P: PathRouter<S, C>, S, C> Router<P, S, C> {
    /// Lets a handler such as `get(…)` answer requests for a path.
    pub fn route<D: PathDescription<C>>(
        self,
        path: D,
        handler: impl MethodHandler<S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        Router(self.0.route_service(path, Boxed(handler)))
    }

    /// Lets a service answer requests for a path.
    pub fn route_service<D: PathDescription<C>>(
        self,
        path: D,
        service: impl MethodHandlerService<S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        Router(self.0.route_service(path, service))
    }

    /// Lets another router answer requests for paths that begin with one.
    pub fn nest<D: PathDescription<C>>(
        self,
        path: D,
        router: Router<impl PathRouter<S, D::NewPathParameters>, S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        Router(self.0.nest(path, router.0))
    }

    /// Lets a service answer requests for paths that begin with one.
    pub fn nest_service<D: PathDescription<C>>(
        self,
        path: D,
        service: impl PathRouterService<S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        Router(self.0.nest_service(path, service))
    }

    /// Puts a layer around all routes so far.
    pub fn layer<T, N, M>(self, layer: T) -> Router<impl PathRouter<N, M>, N, M>
    where
        T: Layer<N, M, NextState = S, NextPathParameters = C>,
    {
        Router(self.0.layer(layer))
    }

    /// Gives the handlers their state.
    pub fn with_state<N>(self, state: S) -> Router<impl PathRouter<N, C>, N, C> {
        Router(self.0.with_state(state))
    }
}

impl<P: PathRouter> Router<P> {
    /// picoserve's own, for its server.
    pub fn into_inner(self) -> picoserve::Router<P> {
        self.0
    }
}

/// A handler whose future is boxed.
struct Boxed<H>(H);

impl<S, C, H: MethodHandler<S, C>> MethodHandlerService<S, C> for Boxed<H> {
    async fn call_method_handler_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        state: &S,
        parameters: C,
        _method: &str,
        request: Request<'_, R>,
        writer: W,
    ) -> Result<ResponseSent, W::Error> {
        match fault(&request.parts) {
            None => Box::pin(self.0.call_method_handler(state, parameters, request, writer)).await,
            Some(fault) => Box::pin(refuse(fault, request, writer)).await,
        }
    }
}

/// What answers when nothing else does.
struct NotFound;

impl<S, C> PathRouterService<S, C> for NotFound {
    async fn call_path_router_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        _state: &S,
        _parameters: C,
        path: Path<'_>,
        request: Request<'_, R>,
        writer: W,
    ) -> Result<ResponseSent, W::Error> {
        if let Some(fault) = fault(&request.parts) {
            return Box::pin(refuse(fault, request, writer)).await;
        }
        if request.parts.method() == HEAD {
            return Box::pin(refuse((StatusCode::NOT_FOUND, ""), request, writer)).await;
        }
        let path = path.encoded();
        Box::pin(async move {
            let connection = request.body_connection.finalize().await?;
            let answer = (StatusCode::NOT_FOUND, format_args!("{path} not found\r\n"));
            answer.write_to(connection, writer).await
        })
        .await
    }
}

/// The method whose answers have no body (RFC 9110 §9.3.2): what comes behind the head is taken for the next
/// answer.
const HEAD: &str = "HEAD";

/// Why a request cannot be answered as it stands.
type Fault = (StatusCode, &'static str);

/// What picoserve lets pass, and a proxy may understand in another way: another version of HTTP, and a body
/// whose length is said by chunks, in two ways, or not as a number that it can count to (RFC 9112 §2.3, §6).
fn fault(parts: &RequestParts<'_>) -> Option<Fault> {
    let version = parts.http_version().as_bytes();
    if !matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']) {
        return Some((StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here\r\n"));
    }
    let mut length = None;
    for (name, value) in parts.headers().iter() {
        // Two comparisons of lengths for all headers but these.
        match name.as_raw().len() {
            17 if name == "transfer-encoding" => {
                return Some((StatusCode::NOT_IMPLEMENTED, "a content-length is needed\r\n"));
            }
            14 if name == "content-length" => {
                let value = value.as_raw();
                // picoserve takes what it cannot read for 0, reads a plus sign, and adds to the largest.
                let digits = value.iter().all(u8::is_ascii_digit);
                let number = str::from_utf8(value).ok().and_then(|text| text.parse::<isize>().ok());
                if !digits || number.is_none() || length.is_some_and(|other| other != value) {
                    return Some((StatusCode::BAD_REQUEST, "what content-length is that?\r\n"));
                }
                length = Some(value);
            }
            _ => {}
        }
    }
    None
}

/// Answers that. Nothing more is understood on this connection: it ends.
async fn refuse<R: Read, W: ResponseWriter<Error = R::Error>>(
    (status, why): Fault,
    request: Request<'_, R>,
    writer: W,
) -> Result<ResponseSent, W::Error> {
    let why = if request.parts.method() == HEAD { "" } else { why };
    let connection = request.body_connection.finalize().await?;
    end::last_answer(status, why).write_to(connection, writer).await
}
