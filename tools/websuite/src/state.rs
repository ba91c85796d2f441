//! What the machine has in use, for who wants to know whether it has forgotten something.

use wakeful::{
    alloc::{FRAME_SIZE, frames, statistics},
    net, task,
};

/// At this moment, with the connection that asks.
#[derive(serde::Serialize)]
pub(crate) struct State {
    /// TCP connections, those included that say goodbye; those that begin, and those that have ended.
    connections: usize,
    handshakes: usize,
    ended: usize,
    /// Bytes of buffers that connections have.
    buffered: usize,
    /// Bytes of the heap that are allocated.
    heap: usize,
    /// Frames of memory in use, without those of the heap, which keeps what it had once.
    frames: usize,
    tasks: usize,
    counters: Counters,
}

/// What the stack has counted since boot.
#[derive(serde::Serialize)]
struct Counters {
    frames: u64,
    connections: u64,
    refused: u64,
    cookies: u64,
    dropped: u64,
    conflicts: u64,
}

pub(crate) fn state() -> State {
    let (heap, counters) = (statistics(), net::counters());
    State {
        connections: net::connections(),
        handshakes: net::handshakes(),
        ended: net::ended(),
        buffered: net::buffered(),
        heap: heap.used,
        frames: frames::total() - frames::available() - heap.capacity / FRAME_SIZE,
        tasks: (0..task::harts()).map(task::tasks_on).sum(),
        counters: Counters {
            frames: counters.received,
            connections: counters.connections,
            refused: counters.refused,
            cookies: counters.cookies,
            dropped: counters.dropped,
            conflicts: counters.conflicts,
        },
    }
}
