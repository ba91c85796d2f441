//! Frames of several buffers.

use super::*;
use crate::{Counters, MAX_FRAME, memory::BUFFER};

/// The longest frame that comes in.
const LONGEST: usize = 14 + 65_536;

/// The longest that goes out.
const LONGEST_OUT: usize = 16 * BUFFER - 18;

#[test]
fn long_frames_are_only_agreed_on_where_they_can_be_had() {
    let longest = |device| Pair::new(device).card.offload().longest;
    assert_eq!(longest(Device::new(ALL)), LONGEST_OUT);
    assert_eq!(longest(Device::new(ALL & !CSUM)), MAX_FRAME);
    assert_eq!(longest(Device::new(ALL & !HOST_TSO4 & !HOST_TSO6)), MAX_FRAME);
}

#[test]
fn long_frames_are_in_one_piece() {
    for device in [Device::new(ALL), Device::legacy(ALL)] {
        let mut pair = Pair::new(device);
        let mut longs = 0;
        for number in 0..200 {
            let len = [100, 2036, 2037, 9000, LONGEST, 4084, 30_000][number % 7];
            longs += u64::from(len > 2036);
            let frame = pair.receive(&bytes(number, len));
            assert_eq!(pair.empty(), SIZE - (12 + len).max(1).div_ceil(BUFFER));
            pair.card.release(frame);
            assert_eq!(pair.empty(), SIZE);
        }
        let Counters { long, wrapped, scattered, dropped } = pair.card.counters();
        assert_eq!((long, scattered, dropped), (longs, 0, 0));
        // One in four of the longest, and fewer of the others.
        assert!((5..longs / 4).contains(&wrapped), "{wrapped} of {long} wrapped");
    }
}

#[test]
fn a_frame_that_goes_round_the_end_is_copied_if_there_is_room() {
    let mut pair = Pair::new(Device::new(ALL));
    let mut frames: Vec<_> = (0..120).map(|it| pair.receive(&bytes(it, 100))).collect();
    frames.drain(..64).for_each(|frame| pair.card.release(frame));
    let wrapped = pair.receive(&bytes(1000, 30_000));
    assert_eq!(pair.card.counters().wrapped, 1);
    // It does not matter what comes into the buffers that its rest was copied from, which it keeps.
    frames.drain(..).for_each(|frame| pair.card.release(frame));
    for number in 0..200 {
        let frame = pair.receive(&bytes(number, 1400));
        pair.card.release(frame);
    }
    assert_eq!(*wrapped, bytes(1000, 30_000));
    // Another one finds the place behind the last buffer taken. One that is dropped loses no buffers.
    while pair.card.counters().dropped == 0 {
        pair.deliver(&bytes(7, 9000));
        if let Some(frame) = pair.card.receive() {
            pair.card.release(frame);
        }
    }
    assert_eq!(*wrapped, bytes(1000, 30_000));
    pair.card.release(wrapped);
    pair.card.rest(false);
    assert_eq!((pair.empty(), pair.card.fault()), (SIZE, None));
}

/// The device receives `a frame` into two buffers, though it has room in one.
fn deliver_loosely(pair: &Pair) {
    let mut device = pair.device.borrow_mut();
    let given = device.look(RECEIVE);
    device.fill(&given[0], b"\0\0\0\0\0\0\0\0\0\0\x02\0a fr");
    device.fill(&given[1], b"ame");
    device.write_used(RECEIVE, 0, given[0].id.into(), 16);
    device.write_used(RECEIVE, 1, given[1].id.into(), 3);
    device.publish(RECEIVE, 2);
}

#[test]
fn a_frame_in_buffers_that_do_not_follow_each_other_is_copied() {
    let mut pair = Pair::new(Device::new(ALL));
    let given = pair.device.borrow_mut().look(RECEIVE);
    // Any order is a device's right.
    let order: Vec<_> = (0..33).map(|it| given[it * 67 % SIZE]).collect();
    let long = bytes(5, LONGEST);
    assert!(pair.device.borrow_mut().deliver_into(&order, &long, Header::default()));
    let frame = pair.take(&long);
    assert_eq!(pair.card.counters().scattered, 1);
    // Adjacent, but not full. There is no place to copy it to.
    deliver_loosely(&pair);
    assert!(pair.card.receive().is_none());
    assert_eq!(pair.card.counters().dropped, 1);
    assert_eq!(*frame, long);
    pair.card.release(frame);
    deliver_loosely(&pair);
    let frame = pair.take(b"a frame");
    pair.card.release(frame);
    // All buffers have their turn again.
    for number in 0..SIZE {
        let frame = pair.receive(&bytes(number, 100));
        pair.card.release(frame);
    }
    assert_eq!((pair.empty(), pair.card.fault()), (SIZE, None));
}

#[test]
fn frames_that_are_kept_for_a_while_do_not_disorder_the_buffers() {
    let mut pair = Pair::new(Device::new(ALL));
    let mut kept = Vec::new();
    for number in 0..300 {
        let frame = pair.receive(&bytes(number, 200));
        match number % 5 {
            0 => kept.push(frame),
            _ => pair.card.release(frame),
        }
        if kept.len() > 20 {
            let frame = kept.swap_remove(number % 20);
            pair.card.release(frame);
        }
    }
    kept.into_iter().for_each(|frame| pair.card.release(frame));
    // A round later they are all in order.
    for number in 0..2 * SIZE {
        let frame = pair.receive(&bytes(number, 200));
        pair.card.release(frame);
    }
    for number in 0..50 {
        let frame = pair.receive(&bytes(number, 20_000));
        pair.card.release(frame);
    }
    assert_eq!(pair.card.counters().scattered, 0);
}

#[test]
fn long_frames_go_out_from_adjacent_buffers() {
    let mut pair = Pair::new(Device::new(ALL));
    for number in 0..500 {
        let len = [60, 1514, 2030, 2031, 9000, LONGEST_OUT, 15_000][number * 5 % 7];
        assert!(pair.card.has_room());
        pair.transmit(&bytes(number, len), Work::default());
        pair.sends(&bytes(number, len));
    }
}

#[test]
fn what_is_sent_can_be_returned_in_any_order() {
    let mut pair = Pair::new(Device::new(ALL));
    let mut random = 1_usize;
    for number in 0..2000 {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        while !pair.card.has_room() {
            let given = pair.device.borrow_mut().look(crate::TRANSMIT);
            let id = given[(random >> 33) % given.len()].id;
            pair.device.borrow_mut().give_back(crate::TRANSMIT, id, 0);
        }
        // That it is not in what the device has is seen to.
        let len = [60, 1514, 9000, LONGEST_OUT][(random >> 50) % 4];
        pair.transmit(&bytes(number, len), Work::default());
    }
    // All are returned, and there is room for all.
    let given = pair.device.borrow_mut().look(crate::TRANSMIT);
    for given in given {
        pair.device.borrow_mut().give_back(crate::TRANSMIT, given.id, 0);
    }
    (0..98).for_each(|it| pair.transmit(&bytes(it, 60), Work::default()));
    assert!(!pair.card.has_room());
}
