//! Memory that a device sees, by the piece, each between guards.

use std::{
    alloc::{Layout, alloc, dealloc},
    collections::BTreeMap,
    fmt,
    ops::Range,
    ptr::NonNull,
};

use virtio_drivers::{PAGE_SIZE, PhysAddr};

/// What devices call an address, less what we call it.
const OFFSET: u64 = 1 << 60;

/// What is before and behind each piece of memory, to see who writes there.
const GUARD: usize = PAGE_SIZE;
const GUARDED: u8 = 0xa5;

/// How the device calls a range of our memory.
#[must_use]
pub fn range(bytes: &[u8]) -> Range<PhysAddr> {
    let Range { start, end } = bytes.as_ptr_range();
    start.addr() as u64 + OFFSET..end.addr() as u64 + OFFSET
}

/// All of it, by the address for the device.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<PhysAddr, Piece>);

impl Memory {
    pub(super) fn allocate(&mut self, len: usize) -> (NonNull<u8>, PhysAddr) {
        let piece = Piece::new(len);
        let (start, address) = (piece.start, piece.address());
        self.0.insert(address, piece);
        (start, address)
    }

    /// Says what was there.
    pub(super) fn free(&mut self, address: PhysAddr) -> Range<PhysAddr> {
        let piece = self.0.remove(&address).expect("freed twice");
        address..address + piece.len as u64
    }

    /// Where that is, of so many bytes.
    pub(super) fn find(&self, address: PhysAddr, len: usize) -> NonNull<u8> {
        let (start, piece) = self.0.range(..=address).next_back().expect("no memory there");
        let at = (address - start) as usize;
        assert!(at + len <= piece.len, "outside of memory");
        // SAFETY: within the piece.
        unsafe { piece.start.byte_add(at) }
    }

    pub(super) fn read<const N: usize>(&self, address: PhysAddr) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_into(address, &mut bytes);
        bytes
    }

    pub(super) fn read_into(&self, address: PhysAddr, bytes: &mut [u8]) {
        let from = self.find(address, bytes.len());
        // SAFETY: that many bytes are there, and nobody writes to them meanwhile.
        unsafe { from.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    }

    pub(super) fn write(&self, address: PhysAddr, bytes: &[u8]) {
        let to = self.find(address, bytes.len());
        // SAFETY: that many bytes are there, and nobody looks at them meanwhile.
        unsafe { to.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    pub(super) fn read_u16(&self, address: PhysAddr) -> u16 {
        u16::from_le_bytes(self.read(address))
    }
}

struct Piece {
    start: NonNull<u8>,
    len: usize,
}

impl Piece {
    fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: of some size.
        let whole = NonNull::new(unsafe { alloc(layout) }).unwrap();
        // SAFETY: all within the piece. What is in it is not zero.
        let start = unsafe {
            whole.write_bytes(0x5a, layout.size());
            whole.write_bytes(GUARDED, GUARD);
            whole.byte_add(GUARD + len).write_bytes(GUARDED, GUARD);
            whole.byte_add(GUARD)
        };
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len + 2 * GUARD, PAGE_SIZE).unwrap()
    }

    fn address(&self) -> PhysAddr {
        self.start.addr().get() as u64 + OFFSET
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: it came from `new`, and nobody has it any more.
        unsafe {
            let whole = self.start.byte_sub(GUARD);
            if !std::thread::panicking() {
                for guard in [whole, self.start.byte_add(self.len)] {
                    let guard = std::slice::from_raw_parts(guard.as_ptr(), GUARD);
                    assert!(*guard == [GUARDED; GUARD], "written outside of memory");
                }
            }
            dealloc(whole.as_ptr(), Self::layout(self.len));
        }
    }
}
