//! A device that breaks the rules.
//!
//! That the tests find what they are for was tried: each of these changes to the driver makes some of them fail, or
//! never end. A request is ended that the device had not; a buffer is given back when the device is stopped, not when it
//! has come out of its reset; a dropped request takes its buffer along, or leaves the disk's pointer to it; who waits is
//! left in the queue when dropped; a flush leaves its chain as it is; a slot that is freed is given to nobody, or the device not
//! told of it; the last to come is the first; nobody looks again after interrupts are on; a length or a status is
//! believed whatever it is, or the status is that of the request before; a write is described as a read; a restart leaves
//! those that wait alone.

use super::*;
use crate::{
    Fault, IN_FLIGHT,
    fake::{ALL, Asked, BLOCKS, Device, drive, patience},
};

/// What the device does is a fault: the disk stands still then, and works again when it is restarted.
fn is_fault(expected: Fault, act: impl Fn(&Pair, &[Asked])) {
    for pair in Pair::each() {
        let tasks: Vec<_> =
            (0..3).map(|number| Task::begun(pair.disk.read(number, pair.block(1), ..))).collect();
        act(&pair, &pair.asked());
        let mut served = pair.disk.serve();
        while served == Served::More {
            served = pair.disk.serve();
        }
        assert_eq!(served, Served::Stopped(expected));
        assert_eq!(pair.disk.fault(), Some(expected));
        assert_eq!(pair.device.borrow().status, 0);
        pair.disk.restart(&mut patience()).unwrap();
        // Each of them has ended, whatever was said of it.
        let ends = tasks.into_iter().map(Task::result);
        let failed = ends.filter(|end| matches!(end, Err(failed) if failed.error == Error::Reset));
        assert!(failed.count() >= 1);
        recovers(&pair);
    }
}

/// The disk works, and no slot is lost.
fn recovers(pair: &Pair) {
    let tasks: Vec<_> = (0..IN_FLIGHT as u64)
        .map(|number| Task::begun(pair.disk.write(number, pair.block(9), ..)))
        .collect();
    assert_eq!(pair.asked().len(), IN_FLIGHT);
    pair.perform_all();
    pair.serve();
    assert!(tasks.into_iter().all(|task| task.result().is_ok()));
    assert_eq!(pair.disk.fault(), None);
}

#[test]
fn requests_that_it_does_not_have() {
    for id in [3, 41, 42, 43, 127, 128, 255, 256, 65_536, u32::MAX] {
        is_fault(Fault::Request, |pair, _| {
            let mut device = pair.device.borrow_mut();
            device.write_used(0, 0, id, 1);
            device.publish(0, 1);
        });
    }
}

#[test]
fn one_request_twice() {
    is_fault(Fault::Request, |pair, asked| {
        pair.end(&asked[1], 0, 1);
        pair.end(&asked[1], 0, 1);
    });
}

#[test]
fn more_than_it_has() {
    for count in [4, 42, 43, 128, 129, 1000, u16::MAX] {
        is_fault(Fault::Request, |pair, _| pair.device.borrow_mut().publish(0, count));
    }
}

#[test]
fn lengths_that_cannot_be() {
    for more in [1, 511, 4096, 1 << 31, u32::MAX as usize - 4097] {
        is_fault(Fault::Length, |pair, asked| {
            let len = pair.disk.geometry().block_size as usize;
            pair.end(&asked[0], 0, len + 1 + more);
        });
    }
}

#[test]
fn statuses_that_there_are_not() {
    for status in [3, 4, 127, 128, 255] {
        is_fault(Fault::Status, |pair, asked| pair.end(&asked[2], status, 1));
    }
    // It has returned the request and said nothing of it.
    is_fault(Fault::Status, |pair, asked| {
        pair.device.borrow_mut().give_back(0, asked[0].id, 1);
    });
}

/// Steps, and runs of them, each with a seed of its own.
const STEPS: usize = if cfg!(miri) { 60 } else { 500 };
const RUNS: u64 = if cfg!(miri) { 1 } else { 250 };

/// A device that does what it should for a while, and then anything. The seed is printed; with
/// `WAKEFUL_BLK_SEED=N` there is that one run.
#[test]
fn anything() {
    let seed = std::env::var("WAKEFUL_BLK_SEED").ok().and_then(|text| text.parse().ok());
    let (mut faults, mut done) = (0, 0);
    for seed in seed.map_or(0..RUNS, |seed| seed..seed + 1) {
        println!("WAKEFUL_BLK_SEED={seed}");
        let large = if cfg!(miri) { 512 } else { 4096 };
        let kinds = [drive(ALL, 512), drive(ALL, 512).as_legacy(), drive(ALL, large)];
        let pair = Pair::new(kinds.into_iter().nth(seed as usize % 3).unwrap());
        let mut storm = Storm::new(&pair, seed);
        (0..STEPS).for_each(|_| storm.step());
        storm.end();
        (faults, done) = (faults + storm.faults, done + storm.done);
        drop(storm);
        assert_eq!(std::rc::Rc::strong_count(&pair.device), 2, "a buffer is lost");
    }
    // It did break rules, and did keep some.
    assert!(
        seed.is_some() || faults >= RUNS && done > RUNS * STEPS as u64 / 50,
        "{faults} faults, {done} done"
    );
}

enum Any<'a> {
    /// If it reads, from where.
    Request(Task<Of<'a>>, Option<usize>),
    Flush(Task<FlushOf<'a>>),
}

struct Storm<'a> {
    pair: &'a Pair,
    random: u64,
    /// It tells lies, one in so many steps.
    lies: usize,
    /// Requests that have begun, and how often each was woken when it was looked at last.
    tasks: Vec<(Any<'a>, u32)>,
    number: usize,
    is_given_up: bool,
    faults: u64,
    done: u64,
}

impl<'a> Storm<'a> {
    fn new(pair: &'a Pair, seed: u64) -> Self {
        let lies = [10, 30, 100, usize::MAX][seed as usize % 4];
        let random = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // What is on a block tells which block it is.
        let block = pair.disk.geometry().block_size as usize;
        for (number, bytes) in pair.content.borrow_mut().chunks_mut(block).enumerate() {
            bytes.fill(number as u8);
        }
        Self {
            pair,
            random,
            lies,
            tasks: Vec::new(),
            number: 0,
            is_given_up: false,
            faults: 0,
            done: 0,
        }
    }

    /// A number below that.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit
    }

    fn step(&mut self) {
        self.number += 1;
        match self.below(10) {
            0..=2 => (0..self.below(9)).for_each(|_| self.begin()),
            3 | 4 => self.perform(),
            5 | 6 => self.serve(),
            7 => self.poll(),
            8 => self.drop(),
            _ => self.pair.disk.look_at_status(),
        }
        if self.below(self.lies) == 0 && self.number > 20 {
            self.lie();
        }
        let has_failed = self.pair.disk.fault().is_some();
        if (has_failed || self.is_given_up) && self.below(3) == 0 {
            self.faults += u64::from(has_failed);
            self.restart();
        }
        // It is given nothing twice, and nothing that was freed.
        self.pair.asked();
    }

    fn begin(&mut self) {
        let block = self.pair.disk.geometry().block_size as usize;
        let (at, count) = (self.below(BLOCKS as usize - 4), 1 + self.below(3));
        let any = match self.below(6) {
            0 => Any::Flush(Task::new(self.pair.disk.flush())),
            1 | 2 => {
                let mut bytes = self.pair.buffer(count * block, 0);
                for (index, bytes) in bytes.chunks_mut(block).enumerate() {
                    bytes.fill((at + index) as u8);
                }
                Any::Request(Task::new(self.pair.disk.write(at as u64, bytes, ..)), None)
            }
            _ => {
                let bytes = self.pair.buffer((count + 1) * block, 0xee);
                Any::Request(Task::new(self.pair.disk.read(at as u64, bytes, block..)), Some(at))
            }
        };
        // Most of them begin.
        self.tasks.push((any, 0));
        if self.below(10) > 0 {
            self.poll_one(self.tasks.len() - 1);
        }
    }

    /// Whether it is done. If so, it is gone.
    fn poll_one(&mut self, index: usize) -> bool {
        let (any, seen) = &mut self.tasks[index];
        let ready = match any {
            Any::Request(task, at) => {
                *seen = task.woken();
                match task.poll() {
                    Poll::Ready(Ok(bytes)) => {
                        if let Some(at) = *at {
                            let block = self.pair.disk.geometry().block_size as usize;
                            assert!(bytes[..block].iter().all(|&byte| byte == 0xee), "beside");
                            // Liars may say so without having written anything.
                            let read = bytes[block..].chunks(block).enumerate();
                            let mut right =
                                read.map(|(index, bytes)| bytes[block - 1] == (at + index) as u8);
                            assert!(
                                self.lies < usize::MAX || right.all(|right| right),
                                "other blocks"
                            );
                        }
                        true
                    }
                    Poll::Ready(Err(failed)) => {
                        assert!(failed.buffer.is_some() || failed.error == Error::Reset);
                        true
                    }
                    Poll::Pending => false,
                }
            }
            Any::Flush(task) => {
                *seen = task.woken();
                task.poll().is_ready()
            }
        };
        if ready {
            self.done += 1;
            drop(self.tasks.swap_remove(index));
        }
        ready
    }

    /// Some tasks, whether they were woken or not.
    fn poll(&mut self) {
        for _ in 0..self.below(8) {
            if !self.tasks.is_empty() {
                let index = self.below(self.tasks.len());
                self.poll_one(index);
            }
        }
    }

    fn drop(&mut self) {
        for _ in 0..self.below(4) {
            if !self.tasks.is_empty() {
                let index = self.below(self.tasks.len());
                drop(self.tasks.swap_remove(index));
            }
        }
    }

    /// The device does some of what it has, in any order.
    fn perform(&mut self) {
        for _ in 0..self.below(12) {
            let asked = self.pair.asked();
            if asked.is_empty() || !self.pair.device.borrow().is_live() {
                return;
            }
            let asked = asked[self.below(asked.len())];
            match self.below(8) {
                0 => self.pair.end(&asked, 1 + self.number as u8 % 2, 1),
                _ => self.pair.perform(&asked),
            }
        }
    }

    /// As its task does. Then a task that is done was woken.
    fn serve(&mut self) {
        while self.pair.disk.serve() == Served::More {}
    }

    fn restart(&mut self) {
        // Not at once, perhaps.
        self.pair.device.borrow_mut().slow = [0, 3, 100][self.number % 3];
        match self.below(5) {
            0 => {
                self.is_given_up = true;
                let _ = self.pair.disk.give_up(&mut patience());
            }
            _ => self.is_given_up &= self.pair.disk.restart(&mut patience()).is_err(),
        }
        self.pair.device.borrow_mut().slow = 0;
    }

    fn lie(&mut self) {
        let asked = self.pair.asked();
        match self.below(4) {
            0 => self.return_anything(),
            1 | 2 if !asked.is_empty() => {
                let asked = asked[self.below(asked.len())];
                let (status, len) = (self.below(6) as u8, self.below(3 * 4096));
                self.pair.end(&asked, status, len);
            }
            _ => self.pair.device.borrow_mut().status |= 64, // DEVICE_NEEDS_RESET
        }
    }

    /// Requests that it does not have, or returned before, and more than it has said; then nothing more, as
    /// nobody knows what it has.
    fn return_anything(&mut self) {
        for _ in 0..1 + self.below(4) {
            let (kind, number, small) = (self.below(4), self.below(1 << 32), self.below(60));
            let mut device = self.pair.device.borrow_mut();
            match kind {
                0 => device.write_used(0, 0, small as u32, number as u32 % 600),
                1 => device.write_used(0, 0, number as u32, small as u32),
                // What is there already.
                2 => {}
                _ => device.publish(0, number as u16),
            }
            device.publish(0, 1 + (number % 3) as u16);
        }
        self.pair.device.borrow_mut().abandon(0);
    }

    /// Whatever happened: restarted, all that waits is done, and only who was woken is polled.
    fn end(&mut self) {
        self.pair.disk.restart(&mut patience()).unwrap();
        for index in (0..self.tasks.len()).rev() {
            self.poll_one(index);
        }
        for _ in 0..100 {
            self.pair.perform_all();
            self.serve();
            let woken = |(any, seen): &(Any<'_>, u32)| match any {
                Any::Request(task, _) => task.woken() > *seen,
                Any::Flush(task) => task.woken() > *seen,
            };
            while let Some(index) = self.tasks.iter().position(woken) {
                assert!(self.poll_one(index), "woken for nothing");
            }
        }
        assert!(self.tasks.is_empty(), "who waits is not woken");
        assert!(self.pair.asked().is_empty());
        // Whatever was written, was written where it belongs.
        let block = self.pair.disk.geometry().block_size as usize;
        for (number, bytes) in self.pair.content.borrow().chunks(block).enumerate() {
            assert!(bytes.iter().all(|&byte| byte == number as u8), "block {number}");
        }
        recovers(self.pair);
    }
}

/// The fake itself: a device that has a buffer sees to it that it is not freed.
#[test]
#[cfg_attr(miri, ignore = "the fake does not look there")]
#[should_panic(expected = "freed while the device has it")]
fn a_buffer_that_is_freed_is_missed() {
    let pair = Pair::new(Device::as_legacy(drive(ALL, 512)));
    let task = Task::begun(pair.disk.read(0, pair.block(1), ..));
    let address = pair.asked()[0].data.unwrap().address;
    std::mem::forget(task);
    pair.device.borrow_mut().free(address);
}
