//! What is read into and written from.

#![expect(unsafe_code, reason = "a device reads and writes there")]

/// Memory that a device sees, for one request at a time.
///
/// It is the request's from the moment in which that is made, the device's while it has the request, and comes back with
/// the result. If nobody waits for the result any more, it is dropped when the device has returned it, by the task that
/// serves the disk.
///
/// # Safety
///
/// For the device it is [`len`](Self::len) bytes in one piece that begin at [`address`](Self::address), and each sees what
/// the other has written. Both numbers are always the same for a value, wherever the value is moved to. The bytes are
/// initialised, valid for reads and writes as long as the value lives or is forgotten, and nobody else's, except
/// through it.
pub unsafe trait Buffer: Send + 'static {
    /// What the device calls its first byte.
    fn address(&self) -> u64;

    /// Bytes in it.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
