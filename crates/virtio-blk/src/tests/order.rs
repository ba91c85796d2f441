//! Many requests at once.

use virtio_drivers::transport::Transport;
use wakeful_virtio::Doorbell;

use super::*;
use crate::{
    Buffer, Disk, IN_FLIGHT,
    fake::{ALL, drive},
};

/// Reads that were begun, of one block each.
fn reads(pair: &Pair, count: usize) -> Vec<Task<Of<'_>>> {
    let read = |number: usize| pair.disk.read(number as u64, pair.block(0xee), ..);
    (0..count).map(|number| Task::begun(read(number))).collect()
}

/// The sectors that the device was asked for, in order.
fn sectors(pair: &Pair) -> Vec<u64> {
    pair.asked().iter().map(|asked| asked.sector).collect()
}

#[test]
fn the_device_may_do_them_in_any_order() {
    for pair in Pair::each() {
        let block = pair.disk.geometry().block_size as usize;
        for number in 0..IN_FLIGHT {
            pair.content.borrow_mut()[number * block..][..block].fill(number as u8);
        }
        for step in [1, 5, 11, 41] {
            let reads = reads(&pair, IN_FLIGHT);
            let mut asked = pair.asked();
            assert_eq!(asked.len(), IN_FLIGHT);
            while !asked.is_empty() {
                let next = asked.remove(asked.len() * step / 42 % asked.len());
                pair.perform(&next);
                // Some of them together.
                if asked.len() % 3 == 0 {
                    pair.serve();
                }
            }
            for (number, read) in reads.into_iter().enumerate() {
                assert!(read.result().unwrap().iter().all(|&byte| byte == number as u8));
            }
        }
        assert_eq!(pair.disk.fault(), None);
    }
}

#[test]
fn who_is_one_too_many_waits_and_is_next() {
    for pair in Pair::each() {
        let size = u64::from(pair.disk.geometry().block_size / 512);
        let reads = reads(&pair, IN_FLIGHT + 5);
        assert_eq!((pair.asked().len(), pair.rings()), (IN_FLIGHT, IN_FLIGHT as u32));
        // One that is done makes room for one that waits, whether its task looks or not, and the device is told.
        let asked = pair.asked();
        for (number, index) in [(0, 20), (1, 3), (2, 41)] {
            pair.perform(&asked[index]);
            pair.serve();
            assert_eq!(sectors(&pair)[IN_FLIGHT - 1], (IN_FLIGHT + number) as u64 * size);
            assert_eq!(reads[index].woken(), 1);
            assert_eq!(reads[IN_FLIGHT + number].woken(), 0);
        }
        assert_eq!(pair.rings(), IN_FLIGHT as u32 + 3);
        // Several are told of at once.
        pair.perform_all();
        pair.serve();
        assert_eq!((pair.asked().len(), pair.rings()), (2, IN_FLIGHT as u32 + 4));
        pair.perform_all();
        pair.serve();
        assert!(reads.into_iter().all(|read| read.result().is_ok()));
    }
}

#[test]
fn who_gives_up_waiting_gives_up_the_place() {
    let places: [&[usize]; 7] =
        [&[3, 0, 5], &[0], &[2], &[5], &[0, 1, 2], &[5, 4], &[1, 2, 3, 4, 5, 0]];
    for dropped in places.into_iter().take(if cfg!(miri) { 1 } else { 7 }) {
        let pair = Pair::new(drive(ALL, 512));
        let mut first = reads(&pair, IN_FLIGHT);
        let mut waiting: Vec<_> = (100..106)
            .map(|number| Some(Task::begun(pair.disk.read(number, pair.block(0), ..))))
            .collect();
        for &index in dropped {
            waiting[index] = None;
        }
        let left: Vec<u64> =
            (0..6).filter(|it| !dropped.contains(it)).map(|it| 100 + it as u64).collect();
        let asked = pair.asked();
        pair.perform(&asked[7]);
        pair.perform(&asked[9]);
        pair.serve();
        assert_eq!(sectors(&pair)[IN_FLIGHT - 2..], left[..left.len().min(2)]);
        pair.perform_all();
        pair.serve();
        pair.perform_all();
        pair.serve();
        assert!(first.drain(..).chain(waiting.into_iter().flatten()).all(|it| it.result().is_ok()));
    }
}

#[test]
fn the_last_waker_is_woken() {
    let pair = Pair::new(drive(ALL, 512));
    for number in [0, IN_FLIGHT + 1] {
        let mut reads = reads(&pair, number + 1);
        let mut read = reads.pop().unwrap();
        // Polled for nothing, by itself and in another task.
        assert!(read.poll().is_pending());
        let before = std::mem::take(&mut read.count);
        assert!(read.poll().is_pending());
        while read.woken() == 0 {
            pair.perform_all();
            pair.serve();
        }
        assert_eq!(before.0.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&before), 1, "a waker stays behind");
        assert!(read.result().is_ok());
        assert!(reads.into_iter().all(|read| read.result().is_ok()));
    }
}

#[test]
#[should_panic(expected = "polled after it was done")]
fn to_poll_it_again_is_the_callers_mistake() {
    let pair = Pair::new(drive(ALL, 512));
    let mut flush = Task::begun(pair.disk.flush());
    pair.perform_all();
    pair.serve();
    assert!(flush.poll().is_ready());
    let _ = flush.poll();
}

/// With registers and doorbells that may be used on any hart all may be. That it compiles is the test.
const _: () = {
    const fn send<T: Send>() {}
    const fn sync<T: Sync>() {}
    #[expect(dead_code, reason = "nobody calls it")]
    fn for_any_hart<T: Transport + Send, B: Doorbell + Send, M: Buffer>() {
        sync::<Disk<T, B, M>>();
        send::<Request<'_, T, B, M>>();
        send::<Flush<'_, T, B, M>>();
    }
};
