//! The end of a connection, said from within an answer.

use core::{future::poll_fn, task::Poll};

use picoserve::{
    io::Write,
    response::{
        IntoResponse, StatusCode,
        custom::{CustomBody, CustomResponse},
    },
};

/// Lets picoserve look whether the peer is still there. From then on it takes nothing from that connection
/// for a request, and closes it after the answer; there is no other way to tell it so. To be awaited in the
/// future of a body, when all is written: who has hung up gets no more.
pub(crate) async fn let_go() {
    let mut looked = false;
    poll_fn(|context| {
        if core::mem::replace(&mut looked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The last answer on a connection, which says so. Where its body ends is said by the end of the connection:
/// each header takes a kilobyte of code.
pub(crate) fn last_answer(status: StatusCode, text: &'static str) -> impl IntoResponse {
    CustomResponse::build(status).with_body(Text(text))
}

struct Text(&'static str);

impl CustomBody for Text {
    async fn write_response_body<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        writer.write_all(self.0.as_bytes()).await?;
        writer.flush().await?;
        let_go().await;
        Ok(())
    }
}
