//! The properties of one node, collected while its tokens go by.
//!
//! A device can be judged only after its last property (`compatible` may stand anywhere), so the
//! values that matter are kept by number until the node is complete. Names are compared once per
//! place in the strings block: a tree repeats few names many times.

use crate::cells::{Cells, same, u32_at};

macro_rules! keys {
    ($($key:ident $name:literal)*) => {
        /// A property that this crate reads.
        #[derive(Clone, Copy)]
        pub(crate) enum Key { $($key),* }

        const KEYS: &[Key] = &[$(Key::$key),*];
        /// The first four bytes of their names, and the rest with its NUL.
        const HEADS: [u32; KEYS.len()] = [$(head(concat!($name, "\0").as_bytes())),*];
        const TAILS: [&[u8]; KEYS.len()] = [$(concat!($name, "\0").as_bytes().split_at(4).1),*];
    };
}

keys! {
    AddressCells "#address-cells"
    SizeCells "#size-cells"
    Compatible "compatible"
    Reg "reg"
    Status "status"
    Ranges "ranges"
    DeviceType "device_type"
    Phandle "phandle"
    Interrupts "interrupts"
    InterruptsExtended "interrupts-extended"
    Model "model"
    StdoutPath "stdout-path"
    Bootargs "bootargs"
    InitrdStart "linux,initrd-start"
    InitrdEnd "linux,initrd-end"
    TimebaseFrequency "timebase-frequency"
    MmuType "mmu-type"
    RiscvIsa "riscv,isa"
    RiscvIsaExtensions "riscv,isa-extensions"
    RiscvNdev "riscv,ndev"
    RegShift "reg-shift"
    RegIoWidth "reg-io-width"
    RegOffset "reg-offset"
}

/// The first four bytes of a name, its NUL included.
const fn head(name: &[u8]) -> u32 {
    u32::from_be_bytes([name[0], name[1], name[2], name[3]])
}

/// Where the search for a head starts: a hash that keeps different heads apart.
const fn hash(head: u32) -> usize {
    // 2³² divided by the golden ratio; that it keeps these apart is luck, checked below.
    (head.wrapping_mul(0x9e37_79b1) >> 26) as usize
}

/// The first key whose head has this hash. Keys with the same head stand together.
const FIRST: [u8; 64] = {
    let mut first = [OTHER as u8; 64];
    let mut key = 0;
    while key < HEADS.len() {
        if key == 0 || HEADS[key] != HEADS[key - 1] {
            let place = &mut first[hash(HEADS[key])];
            assert!(*place == OTHER as u8, "choose another multiplier");
            *place = key as u8;
        }
        key += 1;
    }
    first
};

/// What the memo says of a name that is not a [`Key`]. Fits the five bits beside an offset.
const OTHER: u32 = 31;
const _: () = assert!(KEYS.len() <= OTHER as usize);

/// Slots of the memo; a power of two. QEMU's `virt` has 45 names, a large board 150.
const SLOTS: usize = 128;

/// The values of the node that is being read.
pub(crate) struct Properties<'a> {
    strings: &'a [u8],
    values: [&'a [u8]; KEYS.len()],
    /// Which of the values are this node's, a bit per key.
    set: u32,
    /// What stands where in the strings block: the offset above, a key in the lower five bits.
    memo: [u32; SLOTS],
}

impl<'a> Properties<'a> {
    pub(crate) fn new(strings: &'a [u8]) -> Self {
        Self { strings, values: [&[]; KEYS.len()], set: 0, memo: [u32::MAX; SLOTS] }
    }

    /// Starts the next node.
    pub(crate) fn clear(&mut self) {
        self.set = 0;
    }

    /// Keeps the value of a property whose name stands at `name`, if it is a known one. `None` if
    /// no name can stand there.
    #[inline(always)]
    pub(crate) fn keep(&mut self, name: u32, value: &'a [u8]) -> Option<()> {
        let slot = &mut self.memo[(name ^ name >> 7) as usize % SLOTS];
        if *slot >> 5 != name {
            // An offset has 24 bits at most, so nothing is lost at the upper end.
            *slot = name << 5 | lookup(self.strings, name)?;
        }
        let key = *slot & 31;
        if let Some(kept) = self.values.get_mut(key as usize) {
            *kept = value;
            self.set |= 1 << key;
        }
        Some(())
    }

    /// The value of a property of this node.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&'a [u8]> {
        (self.set & 1 << key as u32 != 0).then_some(self.values[key as usize])
    }

    /// The first cell of a property of this node.
    #[inline(never)]
    pub(crate) fn cell(&self, key: Key) -> Option<u32> {
        u32_at(self.get(key)?, 0)
    }

    /// How this node says that the `reg` of its children is written.
    #[inline(never)]
    pub(crate) fn cells(&self) -> Cells {
        Cells::new(self.get(Key::AddressCells), self.get(Key::SizeCells))
    }

    /// Whether the node is there to be used, §2.3.4.
    #[inline(never)]
    pub(crate) fn okay(&self) -> bool {
        match self.get(Key::Status) {
            None => true,
            Some(status) => same(status, b"okay\0") || same(status, b"ok\0"),
        }
    }
}

/// Which key's name stands at an offset of the strings block.
#[inline(never)]
fn lookup(strings: &[u8], name: u32) -> Option<u32> {
    let name = strings.get(name as usize..)?;
    let Some((first, tail)) = name.split_first_chunk() else {
        return Some(OTHER);
    };
    let first = u32::from_be_bytes(*first);
    let mut key = usize::from(FIRST[hash(first)]);
    while HEADS.get(key) == Some(&first) {
        if tail.starts_with(TAILS[key]) {
            return Some(key as u32);
        }
        key += 1;
    }
    Some(OTHER)
}
