//! A device that is reset while it works.

use std::cell::Cell;

use virtio_drivers::transport::DeviceStatus;

use super::*;
use crate::{
    Fault, IN_FLIGHT, SetupError,
    fake::{ALL, FakeDisk, drive, patience},
    geometry::FLUSH,
};

/// The disk can do all that it could before.
fn works(pair: &Pair) {
    for number in 0..if cfg!(miri) { 3 } else { 2 * IN_FLIGHT } {
        let write = Task::begun(pair.disk.write(number as u64, pair.block(7), ..));
        let flush = pair.disk.geometry().flushes.then(|| Task::begun(pair.disk.flush()));
        pair.perform_all();
        pair.serve();
        assert!(write.result().is_ok());
        assert!(flush.is_none_or(|flush| flush.result().is_ok()));
    }
    assert_eq!(pair.disk.fault(), None);
}

/// Requests that were begun: as many as the device has at a time, and some more.
fn begun(pair: &Pair) -> Vec<Task<Of<'_>>> {
    let read = |number: usize| pair.disk.read(number as u64, pair.block(0), ..);
    (0..IN_FLIGHT + 5).map(|number| Task::begun(read(number))).collect()
}

#[test]
fn what_the_device_had_fails_and_what_waits_is_done() {
    for pair in Pair::each() {
        let agreed = pair.device.borrow().agreed;
        for round in 0..5 {
            let mut tasks = begun(&pair);
            // Done, and the disk has not seen it: that is lost.
            pair.asked().iter().take(round).for_each(|asked| pair.perform(asked));
            // Nobody waits for these.
            tasks.drain(10..10 + round);
            pair.disk.restart(&mut patience()).unwrap();
            assert_eq!(pair.device.borrow().agreed, agreed);
            assert_eq!(pair.asked().len(), 5);
            let waiting = tasks.split_off(tasks.len() - 5);
            assert!(tasks.into_iter().all(|task| error(task.result()) == Error::Reset));
            assert!(waiting.iter().all(|task| task.woken() == 0));
            pair.perform_all();
            pair.serve();
            assert!(waiting.into_iter().all(|task| task.result().is_ok()));
            works(&pair);
        }
        assert_eq!(pair.device.borrow().asked, 1, "more memory");
    }
}

#[test]
fn a_buffer_comes_back_when_the_device_has_come_out_of_its_reset() {
    let pair = Pair::new(drive(ALL, 512));
    pair.device.borrow_mut().slow = 100;
    let (task, dropped) = (
        Task::begun(pair.disk.read(0, pair.block(0), ..)),
        Task::begun(pair.disk.read(0, pair.block(0), ..)),
    );
    let flush = Task::begun(pair.disk.flush());
    drop(dropped);
    assert_eq!(pair.asked().len(), 3);
    // (A buffer that were dropped now would complain.)
    assert_eq!(pair.disk.restart(&mut patience()), Err(SetupError::NoReset));
    let failed = task.result().unwrap_err();
    assert_eq!((failed.error, failed.buffer.is_none()), (Error::Reset, true));
    assert_eq!(flush.result(), Err(Error::Reset));
    assert_eq!(pair.disk.serve(), Served::Stopped(Fault::NeedsReset));
    // Whoever comes now waits, and is not given to the device.
    let next = Task::begun(pair.disk.read(0, pair.block(0), ..));
    assert_eq!(std::rc::Rc::strong_count(&pair.device), 2 + 3);
    assert_eq!(pair.disk.restart(&mut patience()), Err(SetupError::NoReset));
    pair.device.borrow_mut().slow = 0;
    pair.disk.restart(&mut patience()).unwrap();
    assert_eq!(std::rc::Rc::strong_count(&pair.device), 2 + 1);
    assert_eq!(pair.asked().len(), 1);
    pair.perform_all();
    pair.serve();
    assert!(next.result().is_ok());
    works(&pair);
}

#[test]
fn a_device_that_asks_for_a_reset_stands_still_until_it_has_one() {
    let pair = Pair::new(drive(ALL, 512));
    pair.disk.look_at_status();
    assert_eq!(pair.disk.fault(), None);
    let task = Task::begun(pair.disk.read(0, pair.block(0), ..));
    pair.device.borrow_mut().status |= DeviceStatus::DEVICE_NEEDS_RESET.bits();
    pair.disk.look_at_status();
    assert_eq!(pair.disk.fault(), Some(Fault::NeedsReset));
    assert_eq!(pair.device.borrow().status, 0);
    assert_eq!(pair.disk.serve(), Served::Stopped(Fault::NeedsReset));
    assert_eq!(task.woken(), 0);
    pair.disk.restart(&mut patience()).unwrap();
    assert_eq!(error(task.result()), Error::Reset);
    works(&pair);
}

#[test]
fn a_device_that_does_not_come_back_is_not_used() {
    let spoilt = [
        (SetupError::NoReset, 100, ALL, 0),
        (SetupError::FeaturesRefused, 0, ALL & !FLUSH, 0),
        (SetupError::FeaturesRefused, 0, ALL, FLUSH),
    ];
    for (expected, slow, offered, refused) in spoilt {
        let pair = Pair::new(drive(ALL, 512));
        let tasks = begun(&pair);
        let mut device = pair.device.borrow_mut();
        (device.slow, device.offered, device.refused) = (slow, offered, refused);
        drop(device);
        assert_eq!(pair.disk.restart(&mut patience()), Err(expected));
        assert_eq!(pair.device.borrow().status, 0);
        let waiting: Vec<_> = tasks.into_iter().skip(IN_FLIGHT).collect();
        assert!(waiting.iter().all(|task| task.woken() == 0));
        let given_up = pair.disk.give_up(&mut patience());
        assert_eq!(given_up.is_err(), slow > 0);
        assert!(waiting.into_iter().all(|task| error(task.result()) == Error::Gone));
        assert_eq!(error(at_once(pair.disk.read(0, pair.block(0), ..))), Error::Gone);
        assert_eq!(at_once(pair.disk.flush()), Err(Error::Gone));
        assert_eq!(pair.disk.serve(), Served::Resting);
        // Perhaps later.
        let mut device = pair.device.borrow_mut();
        (device.slow, device.offered, device.refused) = (0, ALL, 0);
        drop(device);
        pair.disk.restart(&mut patience()).unwrap();
        works(&pair);
    }
}

#[test]
fn a_disk_that_is_given_up_ends_all_requests() {
    for pair in Pair::each() {
        let mut tasks = begun(&pair);
        pair.disk.give_up(&mut patience()).unwrap();
        let waiting = tasks.split_off(IN_FLIGHT);
        assert!(tasks.into_iter().all(|task| error(task.result()) == Error::Reset));
        assert!(waiting.into_iter().all(|task| error(task.result()) == Error::Gone));
        assert_eq!(pair.device.borrow().status, 0);
    }
}

#[test]
fn requests_wait_for_the_disk_to_begin() {
    let (disk, device) = crate::fake::start(drive(ALL, 512));
    let disk = disk.unwrap();
    let flush = Task::begun(disk.flush());
    assert_eq!((disk.serve(), disk.fault()), (Served::Resting, None));
    assert!(device.borrow_mut().look(0).is_empty());
    disk.begin();
    assert_eq!(device.borrow_mut().look(0).len(), 1);
    crate::fake::end_first(&mut device.borrow_mut());
    assert_eq!(disk.serve(), Served::Resting);
    assert_eq!(flush.result(), Ok(()));
}

/// When it is woken, the disk is served, as it may be on another hart: in the middle of a restart.
struct Meanwhile;

thread_local! {
    static DISK: Cell<Option<&'static FakeDisk>> = const { Cell::new(None) };
}

impl Wake for Meanwhile {
    fn wake(self: Arc<Self>) {
        let disk = DISK.get().unwrap();
        assert_eq!((disk.serve(), disk.fault()), (Served::Resting, None));
    }
}

#[test]
#[cfg_attr(miri, ignore = "the disk is leaked")]
fn a_restart_is_no_fault_for_who_serves_meanwhile() {
    let pair: &'static Pair = Box::leak(Box::new(Pair::new(drive(ALL, 512))));
    DISK.set(Some(&pair.disk));
    let waker = Waker::from(Arc::new(Meanwhile));
    let mut flush = Box::pin(pair.disk.flush());
    assert!(flush.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    pair.disk.restart(&mut patience()).unwrap();
    assert_eq!(at_once(flush), Err(Error::Reset));
}
