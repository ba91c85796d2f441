//! Futures that are dropped at every stage, and what becomes of their buffers.

use std::rc::Rc;

use super::*;
use crate::{
    IN_FLIGHT,
    fake::{ALL, drive},
};

/// How many buffers there are.
fn buffers(pair: &Pair) -> usize {
    // The pair and the doorbell keep the device as well.
    Rc::strong_count(&pair.device) - 2
}

#[test]
fn before_it_begins() {
    for pair in Pair::each() {
        drop(pair.disk.read(0, pair.block(0), ..));
        drop(pair.disk.write(u64::MAX, pair.block(0), ..));
        drop(pair.disk.flush());
        assert_eq!((buffers(&pair), pair.rings()), (0, 0));
    }
}

#[test]
fn while_it_waits() {
    for pair in Pair::each() {
        let first: Vec<_> =
            (0..IN_FLIGHT).map(|_| Task::begun(pair.disk.read(0, pair.block(0), ..))).collect();
        let waiting = Task::begun(pair.disk.write(0, pair.block(0), ..));
        let flush = pair.disk.geometry().flushes.then(|| Task::begun(pair.disk.flush()));
        let count = waiting.count.clone();
        assert_eq!(buffers(&pair), IN_FLIGHT + 1);
        drop((waiting, flush));
        assert_eq!((buffers(&pair), Arc::strong_count(&count)), (IN_FLIGHT, 1));
        pair.perform_all();
        pair.serve();
        assert!(pair.asked().is_empty());
        assert!(first.into_iter().all(|task| task.result().is_ok()));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn in_flight() {
    for pair in Pair::each() {
        let mut tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|number| Task::begun(pair.disk.write(number as u64, pair.block(1), ..)))
            .collect();
        // Some go; the device has their buffers still, and their slots are taken.
        let counts: Vec<_> = tasks.iter().map(|task| task.count.clone()).collect();
        tasks.truncate(2);
        assert_eq!(buffers(&pair), IN_FLIGHT);
        assert!(counts[2..].iter().all(|count| Arc::strong_count(count) == 1));
        let next = Task::begun(pair.disk.read(0, pair.block(0), ..));
        assert_eq!(pair.asked().len(), IN_FLIGHT);
        // They come back one by one, and one that nobody waits for makes room as well.
        let asked = pair.asked();
        pair.perform(&asked[IN_FLIGHT - 1]);
        pair.serve();
        assert_eq!((buffers(&pair), pair.asked().len()), (IN_FLIGHT, IN_FLIGHT));
        pair.perform_all();
        pair.serve();
        assert_eq!(buffers(&pair), 3);
        assert!(counts[2..].iter().all(|count| count.0.load(Ordering::Relaxed) == 0));
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
        assert!(next.result().is_ok());
        // What was given to the device is done.
        let block = pair.disk.geometry().block_size as usize;
        assert!(pair.content.borrow()[..IN_FLIGHT * block].iter().all(|&byte| byte == 1));
        assert_eq!(buffers(&pair), 0);
    }
}

#[test]
fn a_flush_in_flight() {
    let pair = Pair::new(drive(ALL, 512));
    drop(Task::begun(pair.disk.flush()));
    pair.perform_all();
    pair.serve();
    let read = Task::begun(pair.disk.read(0, pair.block(0), ..));
    pair.perform_all();
    pair.serve();
    assert!(read.result().is_ok());
}

#[test]
fn done_and_not_looked_at() {
    for pair in Pair::each() {
        let task = Task::begun(pair.disk.read(0, pair.block(0), ..));
        let failed = Task::begun(pair.disk.read(0, pair.block(0), ..));
        let [first, second] = pair.asked()[..] else { panic!("not two requests") };
        pair.perform(&first);
        pair.end(&second, 1, 1);
        // The device has returned it, and nobody has looked.
        assert_eq!(buffers(&pair), 2);
        pair.serve();
        assert_eq!((task.woken(), failed.woken(), buffers(&pair)), (1, 1, 2));
        drop((task, failed));
        assert_eq!(buffers(&pair), 0);
    }
}

#[test]
fn between_the_devices_return_and_our_look() {
    let pair = Pair::new(drive(ALL, 512));
    let task = Task::begun(pair.disk.read(0, pair.block(0), ..));
    pair.perform_all();
    drop(task);
    assert_eq!(buffers(&pair), 1);
    pair.serve();
    assert_eq!(buffers(&pair), 0);
}

#[test]
#[cfg_attr(miri, ignore = "it leaks, which is what is tested")]
fn a_disk_keeps_what_the_device_has() {
    let pair = Pair::new(drive(ALL, 512));
    drop(Task::begun(pair.disk.read(0, pair.block(0), ..)));
    let done = Task::begun(pair.disk.read(0, pair.block(0), ..));
    pair.perform(&pair.asked()[1]);
    pair.serve();
    drop(done);
    let device = pair.device.clone();
    drop(pair);
    assert_eq!(device.borrow_mut().look(0).len(), 1);
    // This, and the buffer's.
    assert_eq!(Rc::strong_count(&device), 2);
}

#[test]
#[cfg_attr(miri, ignore = "it leaks, which is what is tested")]
fn a_future_that_is_forgotten_costs_no_slot() {
    let pair = Pair::new(drive(ALL, 512));
    for _ in 0..3 * IN_FLIGHT {
        std::mem::forget(Task::begun(pair.disk.read(0, pair.block(0), ..)));
    }
    for _ in 0..3 {
        assert_eq!(pair.asked().len(), IN_FLIGHT);
        pair.perform_all();
        pair.serve();
    }
    assert!(pair.asked().is_empty());
}
