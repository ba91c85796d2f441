//! Bodies that are made, or read, piece by piece.

use alloc::vec::Vec;
use core::time::Duration;

use wakeful::{
    http::{
        extract::FromRequest,
        io::{Read, Write},
        request::{RequestBody, RequestParts},
        response::{
            StatusCode,
            chunked::{ChunkWriter, Chunks, ChunksWritten},
            sse::{EventSource, EventWriter},
        },
    },
    time,
};

/// The alphabet again and again, from some byte of it on. Without `x`, `y` and `z`: 23 letters do not
/// divide the size of any buffer, so that a piece too much or too little is seen.
pub(crate) fn letters(first: usize, count: usize) -> Vec<u8> {
    (first..first + count).map(|index| b'a' + (index % 23) as u8).collect()
}

/// Letters in chunks of all sizes, with a rest after some of them.
pub(crate) struct Pieces {
    pub(crate) bytes: usize,
}

impl Chunks for Pieces {
    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    async fn write_chunks<W: Write>(
        self,
        mut writer: ChunkWriter<W>,
    ) -> Result<ChunksWritten, W::Error> {
        let (mut done, mut number) = (0, 0);
        while done < self.bytes {
            number += 1;
            let count = (number * number * 17 % 4001).clamp(1, self.bytes - done);
            writer.write_chunk(&letters(done, count)).await?;
            done += count;
            if number % 8 == 0 {
                writer.flush().await?;
                time::sleep(Duration::from_millis(5)).await;
            }
        }
        writer.finalize().await
    }
}

/// Numbered events.
pub(crate) struct Events {
    pub(crate) count: usize,
    pub(crate) pause: Duration,
}

impl EventSource for Events {
    async fn write_events<W: Write>(self, mut writer: EventWriter<'_, W>) -> Result<(), W::Error> {
        for number in 1..=self.count {
            writer.write_event("number", format_args!("{number}")).await?;
            writer.flush().await?;
            if !self.pause.is_zero() {
                time::sleep(self.pause).await;
            }
        }
        Ok(())
    }
}

/// What was uploaded.
#[derive(Default, serde::Serialize)]
pub(crate) struct Upload {
    pub(crate) bytes: usize,
    pub(crate) checksum: u32,
}

impl<'r, S> FromRequest<'r, S> for Upload {
    type Rejection = (StatusCode, &'static str);

    async fn from_request<R: Read>(
        _: &'r S,
        _: RequestParts<'r>,
        body: RequestBody<'r, R>,
    ) -> Result<Self, Self::Rejection> {
        let mut reader = body.reader();
        let mut upload = Self { bytes: 0, checksum: 0 };
        let mut piece = [0; 1500];
        loop {
            match reader.read(&mut piece).await {
                Ok(0) if upload.bytes == reader.content_length() => return Ok(upload),
                Ok(0) => return Err((StatusCode::BAD_REQUEST, "less than was said")),
                Ok(count) => upload.add(&piece[..count]),
                Err(_) => return Err((StatusCode::BAD_REQUEST, "the connection is broken")),
            }
        }
    }
}

impl Upload {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let add = |sum: u32, &byte: &u8| sum.rotate_left(5) ^ u32::from(byte);
        self.checksum = bytes.iter().fold(self.checksum, add);
    }
}
