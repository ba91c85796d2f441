//! Server-sent events.

use picoserve::{
    io::Write,
    response::{
        EventStream, IntoResponse,
        sse::{EventSource, EventWriter},
    },
};

use crate::end::let_go;

/// The events of a source, as it writes them. The connection ends with them.
///
/// picoserve's `EventStream` alone leaves it open if the source never had to wait, and the browser waits for
/// more.
pub fn events(source: impl EventSource) -> impl IntoResponse {
    EventStream(ToTheEnd(source))
}

struct ToTheEnd<S>(S);

impl<S: EventSource> EventSource for ToTheEnd<S> {
    async fn write_events<W: Write>(self, writer: EventWriter<'_, W>) -> Result<(), W::Error> {
        self.0.write_events(writer).await?;
        let_go().await;
        Ok(())
    }
}
