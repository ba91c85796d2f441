//! Handlers that panic. Each costs its connection, but for the last.

#![expect(unsafe_code, reason = "a waker that panics where others do not")]

use alloc::vec;
use core::{
    hint::black_box,
    ptr,
    task::{Context, RawWaker, RawWakerVTable, Waker},
    time::Duration,
};

use serde::Serialize;
use wakeful::{
    alloc::{FRAME_SIZE, frames},
    http::{
        Page,
        io::Write,
        response::chunked::{ChunkWriter, Chunks, ChunksWritten},
    },
    net::{self, TcpListener},
    task, time,
};

use crate::bodies::letters;

/// What panics have cost so far.
#[derive(Serialize)]
pub(crate) struct GivenUp {
    tasks: usize,
    connections: usize,
    /// Bytes.
    free: usize,
}

impl GivenUp {
    pub(crate) fn now() -> Self {
        Self {
            tasks: task::panicked(),
            connections: net::connections(),
            free: frames::available() * FRAME_SIZE,
        }
    }
}

pub(crate) async fn at_once() -> Page {
    panic!("as asked")
}

/// With memory of its own, which is lost.
pub(crate) async fn after_a_wait() -> Page {
    let memory = vec![0_u8; 1000];
    time::sleep(Duration::from_millis(1)).await;
    let none = black_box(memory.len());
    panic!("as asked: {}", memory[none])
}

/// A body whose beginning is sent.
pub(crate) struct Body;

impl Chunks for Body {
    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    async fn write_chunks<W: Write>(
        self,
        mut writer: ChunkWriter<W>,
    ) -> Result<ChunksWritten, W::Error> {
        writer.write_chunk(&letters(0, 1000)).await?;
        writer.flush().await?;
        panic!("as asked, in the middle of a body")
    }
}

/// While it has the network's lock: nobody can go on with what is behind it.
pub(crate) async fn with_the_network() -> Page {
    static VTABLE: RawWakerVTable =
        RawWakerVTable::new(|_| panic!("as asked, with the network"), |_| {}, |_| {}, |_| {});
    // SAFETY: nothing is behind the pointer, and nothing looks there.
    let waker = unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &VTABLE)) };
    if let Ok(listener) = TcpListener::bind(0) {
        _ = listener.poll_accept(&mut Context::from_waker(&waker));
    }
    wakeful::http::text("nothing happened")
}
