//! A disk for tests: what a device of [`wakeful_virtio::fake`] does with requests, and buffers that know whether it
//! has them.

#![expect(unsafe_code, reason = "buffers are memory that a device sees")]

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    rc::Rc,
    slice,
};

use virtio_drivers::transport::DeviceType;
pub(crate) use wakeful_virtio::fake::{Device, patience};
use wakeful_virtio::{
    VERSION_1,
    fake::{Bell, Chain, Computer, Part, Registers},
};

use crate::{
    Buffer, Disk, REQUESTS, SetupError,
    geometry::{BLK_SIZE, FLUSH, RO, SIZE_MAX, TOPOLOGY},
};

pub(crate) type FakeDisk = Disk<Registers, Bell, Bytes>;

/// What a disk offers that can do everything, except that it is read-only.
pub(crate) const ALL: u64 = VERSION_1 | SIZE_MAX | BLK_SIZE | FLUSH | TOPOLOGY | 1 << 29 | 1;

pub(crate) const READ_ONLY: u64 = RO;

/// Blocks of a disk.
pub(crate) const BLOCKS: u64 = if cfg!(miri) { 110 } else { 200 };

/// A device that offers this, with blocks of so many bytes if it may say so.
pub(crate) fn drive(offered: u64, block_size: u32) -> Device {
    let mut config = vec![0; 60];
    config[..8].copy_from_slice(&(BLOCKS * u64::from(block_size / 512)).to_le_bytes());
    config[8..12].copy_from_slice(&65_536u32.to_le_bytes());
    config[20..24].copy_from_slice(&block_size.to_le_bytes());
    config[24] = 3;
    config[28..32].copy_from_slice(&16u32.to_le_bytes());
    Device::of(DeviceType::Block, offered, config, check)
}

/// A chain is a header, perhaps data, a byte for the status; all that a request reads or writes in one piece.
fn check(queue: u16, chain: &Chain) {
    assert_eq!(queue, REQUESTS);
    let [header, data @ .., status] = chain.parts() else { panic!("no header and status") };
    assert_eq!((header.len, header.writes), (16, false), "a header");
    assert_eq!((status.len, status.writes), (1, true), "a status");
    assert!(data.iter().all(|part| part.len > 0 && part.len % 512 == 0), "no sectors");
}

/// A disk, its device, and what is on it.
pub(crate) struct Pair {
    pub(crate) disk: FakeDisk,
    pub(crate) device: Rc<RefCell<Device>>,
    pub(crate) content: RefCell<Vec<u8>>,
}

/// Sets a disk up, or says why not.
pub(crate) fn start(device: Device) -> (Result<FakeDisk, SetupError>, Rc<RefCell<Device>>) {
    let device = Rc::new(RefCell::new(device));
    let (registers, mut computer) = (Registers::new(&device), Computer(device.clone()));
    let disk = Disk::new(registers, &mut computer, &mut patience());
    (disk, device)
}

/// What a device was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) id: u16,
    pub(crate) kind: u32,
    pub(crate) sector: u64,
    pub(crate) data: Option<Part>,
    status: Part,
}

impl Pair {
    pub(crate) fn new(device: Device) -> Self {
        let (disk, device) = start(device);
        let disk = disk.unwrap();
        disk.begin();
        let bytes = disk.geometry().bytes();
        let content = RefCell::new(vec![0; if bytes < 1 << 30 { bytes as usize } else { 0 }]);
        Self { disk, device, content }
    }

    /// A disk of each kind; not so many where everything takes a thousand times as long.
    pub(crate) fn each() -> impl Iterator<Item = Self> {
        [
            drive(ALL, 512),
            drive(0, 512).as_legacy(),
            drive(VERSION_1, 512),
            drive(ALL, 1024).as_legacy(),
            drive(ALL, 4096),
        ]
        .into_iter()
        .take(if cfg!(miri) { 2 } else { 5 })
        .map(Self::new)
    }

    /// A buffer of so many bytes, all of them `value`.
    pub(crate) fn buffer(&self, len: usize, value: u8) -> Bytes {
        let mut bytes = Bytes::new(&self.device, len);
        bytes.fill(value);
        bytes
    }

    /// A buffer for one block.
    pub(crate) fn block(&self, value: u8) -> Bytes {
        self.buffer(self.disk.geometry().block_size as usize, value)
    }

    /// What the device has, in the order in which it was given.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mut device = self.device.borrow_mut();
        let chains = device.look(REQUESTS);
        chains.iter().map(|chain| Asked::of(&device, chain)).collect()
    }

    /// The device does what it was asked for, and returns it.
    pub(crate) fn perform(&self, asked: &Asked) {
        let mut device = self.device.borrow_mut();
        let mut written = 1;
        if let Some(data) = asked.data {
            let start = asked.sector as usize * 512;
            let mut content = self.content.borrow_mut();
            let sectors = &mut content[start..start + data.len];
            match asked.kind {
                0 => device.write(&data, sectors),
                1 => sectors.copy_from_slice(&device.read(&data)),
                _ => panic!("data of a flush"),
            }
            written += if data.writes { data.len } else { 0 };
            assert_eq!(data.writes, asked.kind == 0, "the wrong direction");
        } else {
            assert_eq!((asked.kind, asked.sector), (4, 0), "no flush");
        }
        device.write(&asked.status, &[0]);
        device.give_back(REQUESTS, asked.id, written);
    }

    /// The same with all that it has.
    pub(crate) fn perform_all(&self) {
        for asked in self.asked() {
            self.perform(&asked);
        }
    }

    /// The device returns a request with this status, and says that it wrote so much.
    pub(crate) fn end(&self, asked: &Asked, status: u8, written: usize) {
        end(&mut self.device.borrow_mut(), asked, status, written);
    }

    /// How often the doorbell was rung.
    pub(crate) fn rings(&self) -> u32 {
        self.device.borrow().rings[usize::from(REQUESTS)]
    }
}

/// A device returns a request with this status, and says that it wrote so much.
fn end(device: &mut Device, asked: &Asked, status: u8, written: usize) {
    device.write(&asked.status, &[status]);
    device.give_back(REQUESTS, asked.id, written);
}

/// It returns what it was given first, if it has something.
pub(crate) fn end_first(device: &mut Device) {
    if let Some(chain) = device.look(REQUESTS).first() {
        let asked = Asked::of(device, chain);
        end(device, &asked, 0, 1);
    }
}

impl Asked {
    fn of(device: &Device, chain: &Chain) -> Self {
        let [header, data @ .., status] = chain.parts() else { panic!("no header and status") };
        let bytes = device.read(header);
        let (words, sector) = bytes.split_at(8);
        assert_eq!(words[4..], [0; 4], "a reserved field");
        Self {
            id: chain.id,
            kind: u32::from_le_bytes(words[..4].try_into().unwrap()),
            sector: u64::from_le_bytes(sector.try_into().unwrap()),
            data: data.first().copied(),
            status: *status,
        }
    }
}

/// A buffer. To drop it while the device has it is a panic.
pub(crate) struct Bytes {
    device: Rc<RefCell<Device>>,
    start: NonNull<u8>,
    address: u64,
    len: usize,
}

// SAFETY: tests have one thread.
unsafe impl Send for Bytes {}

// SAFETY: the fake's memory is in one piece, and stays where it is until it is freed.
unsafe impl Buffer for Bytes {
    fn address(&self) -> u64 {
        self.address
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Bytes {
    fn new(device: &Rc<RefCell<Device>>, len: usize) -> Self {
        let (start, address) = device.borrow_mut().allocate(len);
        Self { device: device.clone(), start, address, len }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.device.borrow_mut().free(self.address);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: ours, and initialised as all of the fake's memory.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}
