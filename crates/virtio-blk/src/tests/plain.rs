//! One request after the other.

use std::{cell::RefCell, rc::Rc};

use wakeful_virtio::VERSION_1;

use super::*;
use crate::{
    IN_FLIGHT, SetupError,
    fake::{ALL, BLOCKS, Device, READ_ONLY, drive, end_first, start},
    geometry::{BLK_SIZE, FLUSH, SIZE_MAX, TOPOLOGY},
};

/// Why a disk cannot be used. It is stopped then.
fn refusal(change: impl FnOnce(&mut Device)) -> SetupError {
    let mut device = drive(ALL, 512);
    change(&mut device);
    let (disk, device) = start(device);
    assert_eq!(device.borrow().status, 0);
    disk.err().unwrap()
}

#[test]
fn a_disk_that_cannot_be_used_is_refused_and_stopped() {
    assert_eq!(refusal(|device| device.offered &= !VERSION_1), SetupError::OldInterface);
    assert_eq!(refusal(|device| device.refused = FLUSH), SetupError::FeaturesRefused);
    assert_eq!(refusal(|device| device.has_no_doorbells = true), SetupError::NoDoorbell);
    assert_eq!(refusal(|device| device.has_no_memory = true), SetupError::NoMemory);
    assert_eq!(refusal(|device| device.slow = 100), SetupError::NoReset);
    let too_small = SetupError::QueueTooSmall { queue: 0, entries: 127, needed: 128 };
    assert_eq!(refusal(|device| device.entries = 127), too_small);
    let no_sense = SetupError::BadConfiguration;
    assert_eq!(refusal(|device| device.config.truncate(7)), no_sense);
    assert_eq!(refusal(|device| device.config.truncate(23)), no_sense);
    for block_size in [0, 1, 256, 513, 1 << 21, 1 << 31, u32::MAX] {
        let set = |device: &mut Device| {
            device.config[20..24].copy_from_slice(&block_size.to_le_bytes());
        };
        assert_eq!(refusal(set), no_sense);
    }
    let no_block = |device: &mut Device| device.config[8..12].copy_from_slice(&[0xff, 1, 0, 0]);
    assert_eq!(refusal(no_block), no_sense);
}

#[test]
fn a_slow_reset_is_waited_for() {
    let mut device = drive(ALL, 512);
    device.slow = 5;
    let pair = Pair::new(device);
    assert!(pair.device.borrow().is_live());
}

#[test]
fn what_a_disk_is_like_is_what_it_says_or_sensible() {
    let pair = Pair::new(drive(ALL, 4096));
    let geometry = *pair.disk.geometry();
    assert_eq!((geometry.block_size, geometry.blocks), (4096, BLOCKS));
    assert_eq!((geometry.read_only, geometry.flushes), (false, true));
    assert_eq!((geometry.longest, geometry.physical_block), (65_536, 32_768));
    assert_eq!((geometry.optimal, geometry.bytes()), (Some(65_536), BLOCKS * 4096));
    let agreed = pair.device.borrow().agreed;
    assert_eq!(agreed, VERSION_1 | SIZE_MAX | BLK_SIZE | FLUSH | TOPOLOGY);

    let pair = Pair::new(drive(VERSION_1 | READ_ONLY, 1024));
    let geometry = *pair.disk.geometry();
    assert_eq!((geometry.block_size, geometry.blocks), (512, 2 * BLOCKS));
    assert_eq!((geometry.read_only, geometry.flushes), (true, false));
    assert_eq!((geometry.longest, geometry.physical_block), (1 << 30, 512));
    assert_eq!(geometry.optimal, None);

    // What is no multiple is less; what makes no sense is not believed.
    let mut device = drive(ALL, 4096);
    device.config[..12].copy_from_slice(&[15, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x2f, 0, 0]);
    device.config[24..32].copy_from_slice(&[255, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let geometry = *Pair::new(device).disk.geometry();
    assert_eq!((geometry.blocks, geometry.longest), (1, 8192));
    assert_eq!((geometry.physical_block, geometry.optimal), (4096, None));
    let mut device = drive(VERSION_1, 512);
    device.config[..8].fill(0xff);
    assert_eq!(Pair::new(device).disk.geometry().bytes(), u64::MAX);
}

#[test]
fn what_is_written_is_read_again() {
    for pair in Pair::each() {
        for number in 0..20 {
            let block = number * 37 % (BLOCKS - 3);
            let (value, count) = (1 + number as u8, 1 + number as usize % 3);
            let len = count * pair.disk.geometry().block_size as usize;
            let write = Task::begun(pair.disk.write(block, pair.buffer(len, value), ..));
            pair.perform_all();
            pair.serve();
            drop(write.result().unwrap());
            let start = block as usize * pair.disk.geometry().block_size as usize;
            assert!(pair.content.borrow()[start..start + len].iter().all(|&byte| byte == value));
            let read = Task::begun(pair.disk.read(block, pair.buffer(len, 0), ..));
            pair.perform_all();
            pair.serve();
            assert!(read.result().unwrap().iter().all(|&byte| byte == value));
        }
        assert_eq!((pair.rings(), pair.disk.fault()), (40, None));
    }
}

#[test]
fn a_part_of_a_buffer_is_read_and_written() {
    for pair in Pair::each() {
        let block = pair.disk.geometry().block_size as usize;
        let mut buffer = pair.buffer(4 * block, 1);
        buffer[block..2 * block].fill(2);
        let write = Task::begun(pair.disk.write(7, buffer, block..2 * block));
        pair.perform_all();
        pair.serve();
        let buffer = write.result().unwrap();
        assert!(pair.content.borrow()[7 * block..8 * block].iter().all(|&byte| byte == 2));
        let read = Task::begun(pair.disk.read(7, buffer, 3 * block..));
        pair.perform_all();
        pair.serve();
        let buffer = read.result().unwrap();
        let values: Vec<u8> = buffer.chunks(block).map(|bytes| bytes[block - 1]).collect();
        assert_eq!(values, [1, 2, 1, 2]);
    }
}

#[test]
fn what_cannot_be_is_refused_before_the_device_sees_it() {
    for pair in Pair::each() {
        let (disk, block) = (&pair.disk, pair.disk.geometry().block_size as usize);
        let blocks = disk.geometry().blocks;
        for at in [blocks, blocks + 1, u64::MAX, u64::MAX / 512, 1 << 55, 1 << 63] {
            assert_eq!(error(at_once(disk.read(at, pair.block(0), ..))), Error::OutOfRange);
            assert_eq!(error(at_once(disk.write(at, pair.block(0), ..))), Error::OutOfRange);
        }
        let two = || pair.buffer(2 * block, 0);
        assert_eq!(error(at_once(disk.read(blocks - 1, two(), ..))), Error::OutOfRange);
        for range in [0..0, 1..block, 0..block + 1, 0..3 * block, 5 * block..6 * block] {
            assert_eq!(error(at_once(disk.write(0, two(), range.clone()))), Error::Length);
            assert_eq!(error(at_once(disk.read(0, two(), range))), Error::Length);
        }
        let (reversed, endless) = (block..0, 0..=usize::MAX);
        assert_eq!(error(at_once(disk.read(0, two(), reversed))), Error::Length);
        assert_eq!(error(at_once(disk.read(0, two(), endless))), Error::Length);
        let uneven = pair.buffer(block + 1, 0);
        assert_eq!(error(at_once(disk.read(0, uneven, ..))), Error::Length);
        if disk.geometry().longest == 65_536 {
            let long = pair.buffer(65_536 + block, 0);
            assert_eq!(error(at_once(disk.read(0, long, ..))), Error::TooLong);
        }
        assert!(pair.asked().is_empty());
        assert_eq!(pair.rings(), 0);
    }
}

#[test]
fn a_disk_that_is_read_only_is_read() {
    for device in [drive(ALL | READ_ONLY, 4096), drive(READ_ONLY, 512).as_legacy()] {
        let pair = Pair::new(device);
        assert_eq!(error(at_once(pair.disk.write(0, pair.block(0), ..))), Error::ReadOnly);
        assert!(pair.asked().is_empty());
        let read = Task::begun(pair.disk.read(0, pair.block(1), ..));
        pair.perform_all();
        pair.serve();
        assert!(read.result().unwrap().iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_flush_is_a_request_if_there_is_something_to_flush() {
    for pair in Pair::each() {
        if !pair.disk.geometry().flushes {
            assert_eq!(at_once(pair.disk.flush()), Ok(()));
            assert_eq!((pair.asked().len(), pair.rings()), (0, 0));
            continue;
        }
        // More than there are slots, so that each has had both.
        for number in 0..2 * IN_FLIGHT {
            let flushes: Vec<_> = (0..number % 5).map(|_| Task::begun(pair.disk.flush())).collect();
            let write = Task::begun(pair.disk.write(number as u64, pair.block(3), ..));
            let kinds: Vec<u32> = pair.asked().iter().map(|asked| asked.kind).collect();
            assert_eq!(kinds, [vec![4; number % 5], vec![1]].concat());
            pair.perform_all();
            pair.serve();
            assert!(flushes.into_iter().all(|flush| flush.result() == Ok(())));
            assert!(write.result().is_ok());
        }
    }
}

#[test]
fn what_the_device_says_of_a_request_is_what_comes_of_it() {
    for pair in Pair::each() {
        for (status, expected) in [(1, Error::Device), (2, Error::Unsupported)] {
            let read = Task::begun(pair.disk.read(1, pair.block(0), ..));
            let write = Task::begun(pair.disk.write(1, pair.block(0), ..));
            for asked in pair.asked() {
                pair.end(&asked, status, 1);
            }
            if pair.disk.geometry().flushes {
                let flush = Task::begun(pair.disk.flush());
                pair.end(&pair.asked()[0], status, 1);
                pair.serve();
                assert_eq!(flush.result(), Err(expected));
            }
            pair.serve();
            assert_eq!((error(read.result()), error(write.result())), (expected, expected));
        }
        // Devices are known that count what they wrote to the medium, or nothing.
        for written in [0, 1, pair.disk.geometry().block_size as usize + 1] {
            let write = Task::begun(pair.disk.write(1, pair.block(0), ..));
            pair.end(&pair.asked()[0], 0, written);
            pair.serve();
            assert!(write.result().is_ok());
        }
        assert_eq!(pair.disk.fault(), None);
    }
}

#[test]
fn a_device_that_does_not_want_to_be_told_is_not() {
    let pair = Pair::new(drive(ALL, 512));
    let read = || Task::begun(pair.disk.read(0, pair.block(0), ..));
    let first = read();
    assert_eq!(pair.rings(), 1);
    pair.device.borrow().want_notifications(0, false);
    let second = read();
    assert_eq!(pair.rings(), 1);
    pair.device.borrow().want_notifications(0, true);
    let third = read();
    assert_eq!(pair.rings(), 2);
    pair.perform_all();
    pair.serve();
    assert!([first, second, third].into_iter().all(|task| task.result().is_ok()));
}

thread_local! {
    static DEVICE: RefCell<Option<Rc<RefCell<Device>>>> = const { RefCell::new(None) };
}

/// When it is woken the device returns another request.
struct Quick;

impl Wake for Quick {
    fn wake(self: Arc<Self>) {
        DEVICE.with_borrow(|device| {
            let mut device = device.as_ref().unwrap().borrow_mut();
            assert!(!device.interrupts(0), "it interrupts who is awake");
            end_first(&mut device);
        });
    }
}

#[test]
fn what_comes_while_it_is_served_is_seen_and_does_not_interrupt() {
    let pair = Pair::new(drive(ALL, 512));
    assert!(pair.device.borrow().interrupts(0));
    DEVICE.set(Some(pair.device.clone()));
    let waker = Waker::from(Arc::new(Quick));
    let mut context = Context::from_waker(&waker);
    let mut reads: Vec<_> =
        (0..100).map(|number| Box::pin(pair.disk.read(number, pair.block(0), ..))).collect();
    for read in &mut reads {
        assert!(read.as_mut().poll(&mut context).is_pending());
    }
    end_first(&mut pair.device.borrow_mut());
    assert_eq!(pair.disk.serve(), Served::More);
    assert_eq!(pair.disk.serve(), Served::Resting);
    assert!(pair.device.borrow().interrupts(0));
    assert!(reads.iter_mut().all(|read| read.as_mut().poll(&mut context).is_ready()));
    DEVICE.set(None);
}

#[test]
fn what_comes_just_before_it_interrupts_is_seen() {
    let pair = Pair::new(drive(ALL, 512));
    let tasks: Vec<_> =
        (0..2 * IN_FLIGHT).map(|_| Task::begun(pair.disk.read(0, pair.block(0), ..))).collect();
    // Told of the next request, the device returns another one at once; and then nothing is told any more.
    pair.device.borrow_mut().on_ring = Some(end_first);
    end_first(&mut pair.device.borrow_mut());
    while pair.disk.serve() == Served::More {}
    assert!(pair.device.borrow().interrupts(0));
    assert_eq!(tasks.iter().filter(|task| task.woken() == 1).count(), IN_FLIGHT + 1);
    pair.perform_all();
    pair.serve();
    assert!(tasks.into_iter().all(|task| task.result().is_ok()));
}
