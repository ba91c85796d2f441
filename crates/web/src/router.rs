//! picoserve's router, with the future of each handler in a box.
//!
//! A future has room for all that it may do, and one that awaits another has it inside. The future of a
//! connection would so contain those of all routes, their answers and the ways to say "not found": some
//! 4 KiB more for each connection, also while it waits for the next request; and picoserve, which chooses
//! between them before it polls one, would move 7 KiB about for each request, a quarter of what a small
//! request costs. In a box it is there while a handler runs; and the box is made when the route is chosen, so
//! that nothing but a pointer to it is moved about.

use alloc::rc::Rc;
use core::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use picoserve::{
    ResponseSent,
    io::Read,
    request::{Path, Request, RequestParts},
    response::{IntoResponse, ResponseWriter, StatusCode},
    routing::{
        Layer, MethodHandler, MethodHandlerService, PathDescription, PathRouter, PathRouterService,
        ServicePathRouter,
    },
};

use crate::{
    end,
    place::{Placed, Spare},
};

/// Says which handler answers a request. As [`picoserve::Router`], which explains paths, parameters, state
/// and layers.
pub struct Router<P: PathRouter<S, C>, S = (), C = ()> {
    routes: picoserve::Router<P, S, C>,
    shortage: Shortage,
}

impl Router<picoserve::routing::NotFound> {
    /// A router that answers all requests with "not found".
    pub fn new() -> Router<impl PathRouter> {
        Self::stateful()
    }

    /// The same, for handlers that get a state; to be given by [`with_state`](Router::with_state).
    pub fn stateful<S>() -> Router<impl PathRouter<S>, S> {
        let shortage = Shortage::default();
        Router::of(NotFound(shortage.clone()), shortage)
    }
}

impl<T: PathRouterService<S, C>, S, C> Router<ServicePathRouter<T>, S, C> {
    /// A router that answers all requests by a service, which tells of what it lacks there.
    pub(crate) fn of(service: T, shortage: Shortage) -> Self {
        Self { routes: picoserve::Router::from_service(service), shortage }
    }
}

impl<P: PathRouter<S, C>, S, C> Router<P, S, C> {
    /// Lets a handler such as `get(…)` answer requests for a path.
    pub fn route<D: PathDescription<C>>(
        self,
        path: D,
        handler: impl MethodHandler<S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        let shortage = self.shortage.clone();
        self.route_service(path, Boxed { handler, shortage })
    }

    /// Lets a service answer requests for a path.
    pub fn route_service<D: PathDescription<C>>(
        self,
        path: D,
        service: impl MethodHandlerService<S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        Router { routes: self.routes.route_service(path, service), shortage: self.shortage }
    }

    /// Lets another router answer requests for paths that begin with one.
    pub fn nest<D: PathDescription<C>>(
        self,
        path: D,
        router: Router<impl PathRouter<S, D::NewPathParameters>, S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        router.shortage.concerns(&self.shortage);
        Router { routes: self.routes.nest(path, router.routes), shortage: self.shortage }
    }

    /// Lets a service answer requests for paths that begin with one.
    pub fn nest_service<D: PathDescription<C>>(
        self,
        path: D,
        service: impl PathRouterService<S, D::NewPathParameters>,
    ) -> Router<impl PathRouter<S, C>, S, C> {
        Router { routes: self.routes.nest_service(path, service), shortage: self.shortage }
    }

    /// Puts a layer around all routes so far.
    pub fn layer<T, N, M>(self, layer: T) -> Router<impl PathRouter<N, M>, N, M>
    where
        T: Layer<N, M, NextState = S, NextPathParameters = C>,
    {
        Router { routes: self.routes.layer(layer), shortage: self.shortage }
    }

    /// Gives the handlers their state.
    pub fn with_state<N>(self, state: S) -> Router<impl PathRouter<N, C>, N, C> {
        Router { routes: self.routes.with_state(state), shortage: self.shortage }
    }
}

impl<P: PathRouter> Router<P> {
    /// picoserve's own, for its server, and what tells of requests that are not answered.
    pub fn into_inner(self) -> (picoserve::Router<P>, Shortage) {
        (self.routes, self.shortage)
    }
}

/// Tells of a request that is not answered, or not to the end.
///
/// Its future is never ready: picoserve has no way to end a connection from within a handler. So whoever serves
/// asks here after each poll, and ends the connection.
#[derive(Clone, Default)]
pub struct Shortage(Rc<Concern>);

/// What is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Memory for an answer: nothing was said yet.
    Memory,
    /// The rest of an answer, of which a part was said.
    Rest,
}

#[derive(Default)]
struct Concern {
    happened: Cell<Option<Lack>>,
    /// The router that this one is nested in.
    above: RefCell<Option<Shortage>>,
    /// Most answers are made in one go, so one memory does for all connections.
    spare: Spare,
}

impl Shortage {
    /// What has happened since this was asked last.
    #[inline]
    pub fn take(&self) -> Option<Lack> {
        self.0.happened.take()
    }

    fn concerns(&self, above: &Shortage) {
        *self.0.above.borrow_mut() = Some(above.clone());
    }

    #[cold]
    pub(crate) fn happens(&self, lack: Lack) {
        self.0.happened.set(Some(lack));
        if let Some(above) = &*self.0.above.borrow() {
            above.happens(lack);
        }
    }
}

/// An answer that is being made: by a handler, or by who refuses a request.
pub(crate) enum Answer<'s, H, R> {
    Given(Placed<'s, H>),
    Refused(Placed<'s, R>),
    /// There is no memory for it.
    None,
}

impl<'s, H, R> Answer<'s, H, R> {
    pub(crate) fn given(shortage: &'s Shortage, handler: impl FnOnce() -> H) -> Self {
        let placed = shortage.0.spare.place(handler);
        placed.map_or_else(|| Self::none(shortage), Self::Given)
    }

    pub(crate) fn refused(shortage: &'s Shortage, refusal: impl FnOnce() -> R) -> Self {
        let placed = shortage.0.spare.place(refusal);
        placed.map_or_else(|| Self::none(shortage), Self::Refused)
    }

    fn none(shortage: &Shortage) -> Self {
        shortage.happens(Lack::Memory);
        Self::None
    }
}

impl<T, H: Future<Output = T>, R: Future<Output = T>> Future for Answer<'_, H, R> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Given(handler) => handler.as_mut().poll(context),
            Self::Refused(refusal) => refusal.as_mut().poll(context),
            Self::None => Poll::Pending,
        }
    }
}

/// A handler whose future is boxed.
struct Boxed<H> {
    handler: H,
    shortage: Shortage,
}

impl<S, C, H: MethodHandler<S, C>> MethodHandlerService<S, C> for Boxed<H> {
    fn call_method_handler_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        state: &S,
        parameters: C,
        _method: &str,
        request: Request<'_, R>,
        writer: W,
    ) -> impl Future<Output = Result<ResponseSent, W::Error>> {
        match fault(&request.parts) {
            None => Answer::given(&self.shortage, || {
                self.handler.call_method_handler(state, parameters, request, writer)
            }),
            Some(fault) => Answer::refused(&self.shortage, || refuse(fault, request, writer)),
        }
    }
}

/// What answers when nothing else does.
struct NotFound(Shortage);

impl<S, C> PathRouterService<S, C> for NotFound {
    fn call_path_router_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        _state: &S,
        _parameters: C,
        path: Path<'_>,
        request: Request<'_, R>,
        writer: W,
    ) -> impl Future<Output = Result<ResponseSent, W::Error>> {
        let NotFound(shortage) = self;
        if let Some(fault) = fault(&request.parts) {
            return Answer::refused(shortage, || refuse(fault, request, writer));
        }
        if request.parts.method() == HEAD {
            let fault = (StatusCode::NOT_FOUND, "");
            return Answer::refused(shortage, || refuse(fault, request, writer));
        }
        let path = path.encoded();
        Answer::given(shortage, || async move {
            let connection = request.body_connection.finalize().await?;
            let answer = (StatusCode::NOT_FOUND, format_args!("{path} not found\r\n"));
            answer.write_to(connection, writer).await
        })
    }
}

/// The method whose answers have no body (RFC 9110 §9.3.2): what comes behind the head is taken for the next
/// answer.
pub(crate) const HEAD: &str = "HEAD";

/// Why a request cannot be answered as it stands.
pub(crate) type Fault = (StatusCode, &'static str);

/// What picoserve lets pass, and a proxy may understand in another way: another version of HTTP, and a body
/// whose length is said by chunks, in two ways, or not as a number that it can count to (RFC 9112 §2.3, §6).
pub(crate) fn fault(parts: &RequestParts<'_>) -> Option<Fault> {
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
pub(crate) async fn refuse<R: Read, W: ResponseWriter<Error = R::Error>>(
    (status, why): Fault,
    request: Request<'_, R>,
    writer: W,
) -> Result<ResponseSent, W::Error> {
    let why = if request.parts.method() == HEAD { "" } else { why };
    let connection = request.body_connection.finalize().await?;
    end::last_answer(status, why).write_to(connection, writer).await
}
