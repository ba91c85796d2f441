//! A device that keeps to the rules, and frames of one buffer.

use super::*;
use crate::{
    Error, MAX_FRAME, PartialChecksum, Segments, TRANSMIT,
    features::MTU,
    header::{DATA_VALID, NEEDS_CSUM},
};

/// Why a card cannot be used. It is stopped then.
fn refusal(change: impl FnOnce(&mut Device)) -> Error {
    let mut device = Device::new(ALL);
    change(&mut device);
    let (card, device) = start(device, Wanted::ALL);
    assert!(!device.borrow().is_live());
    assert_eq!(device.borrow().status, 0);
    card.err().unwrap()
}

#[test]
fn a_card_that_cannot_be_used_is_refused_and_stopped() {
    assert_eq!(refusal(|device| device.offered &= !VERSION_1), Error::OldInterface);
    assert_eq!(refusal(|device| device.refused = CSUM), Error::FeaturesRefused);
    assert_eq!(refusal(|device| device.has_no_doorbells = true), Error::NoDoorbell);
    assert_eq!(refusal(|device| device.has_no_memory = true), Error::NoMemory);
    assert_eq!(refusal(|device| device.slow = 100), Error::NoReset);
    let too_small = Error::QueueTooSmall { queue: 0, entries: 127, needed: 128 };
    assert_eq!(refusal(|device| device.entries = 127), too_small);
}

#[test]
fn a_slow_reset_is_waited_for() {
    let mut device = Device::new(ALL);
    device.slow = 5;
    let pair = Pair::new(device);
    assert!(pair.device.borrow().is_live());
}

#[test]
fn the_address_and_the_mtu_are_the_devices_or_sensible() {
    let pair = Pair::new(Device::new(ALL | MTU));
    assert_eq!((pair.card.mac(), pair.card.mtu()), ([2, 1, 2, 3, 4, 5], 1400));
    for (mtu, expected) in [(67, 1500), (68, 68), (1501, 1500), (65_535, 1500)] {
        let mut device = Device::new(ALL | MTU);
        device.set_mtu(mtu);
        let pair = Pair::new(device);
        assert_eq!(pair.card.mtu(), expected);
    }
    let pair = Pair::new(Device::new(ALL & !MAC));
    let [first, ..] = pair.card.mac();
    assert_eq!((first & 1, first & 2, pair.card.mtu()), (0, 2, 1500));
}

#[test]
fn all_buffers_are_given_and_told_of_once() {
    for pair in Pair::each() {
        assert_eq!(pair.empty(), SIZE);
        assert_eq!(pair.device.borrow().rings, [1, 0]);
        assert_eq!(pair.device.borrow().asked, 1);
        assert!(!pair.device.borrow().interrupts(RECEIVE));
        assert!(!pair.device.borrow().interrupts(TRANSMIT));
    }
}

#[test]
fn frames_come_in_and_their_buffers_go_back() {
    for mut pair in Pair::each() {
        for number in 0..MANY {
            let frame = pair.receive(&bytes(number, 60 + number % 1455));
            assert_eq!(pair.empty(), SIZE - 1);
            pair.card.release(frame);
            assert_eq!(pair.empty(), SIZE);
        }
        assert!(pair.card.receive().is_none());
        assert_eq!(pair.card.fault(), None);
    }
}

#[test]
fn frames_can_be_empty_and_as_long_as_a_buffer() {
    for mut pair in Pair::each() {
        for len in [0, 1, 2048 - 18] {
            let frame = pair.receive(&bytes(len, len));
            pair.card.release(frame);
        }
    }
}

#[test]
fn all_frames_can_be_kept_and_released_in_any_order() {
    for mut pair in Pair::each() {
        let mut frames: Vec<_> = (0..SIZE).map(|it| pair.receive(&bytes(it, 100))).collect();
        assert_eq!(pair.empty(), 0);
        for (number, frame) in frames.iter().enumerate() {
            assert_eq!(**frame, bytes(number, 100));
        }
        while !frames.is_empty() {
            let frame = frames.swap_remove(frames.len() * 5 / 7);
            pair.card.release(frame);
        }
        assert!(pair.empty() >= SIZE / 2);
        // The others have their turn.
        for number in 0..SIZE {
            let frame = pair.receive(&bytes(number, 100));
            pair.card.release(frame);
        }
        assert_eq!(pair.empty(), SIZE);
    }
}

#[test]
fn a_frame_that_is_kept_does_not_keep_buffers_from_the_device() {
    let mut pair = Pair::new(Device::new(ALL));
    // Every third is kept, for as long as there is something to keep.
    let mut kept = Vec::new();
    for number in 0..10 * SIZE {
        let frame = pair.receive(&bytes(number, 100));
        match number % 3 {
            0 if kept.len() < 100 => kept.push((number, frame)),
            _ => pair.card.release(frame),
        }
        assert!(!pair.card.rest(false));
        assert!(pair.empty() >= (SIZE - kept.len()).min(SIZE / 2));
    }
    assert_eq!((kept.len(), pair.empty()), (100, 28));
    for (number, frame) in kept {
        assert_eq!(*frame, bytes(number, 100));
        pair.card.release(frame);
    }
    assert!(pair.empty() >= SIZE / 2);
}

#[test]
fn a_frame_of_another_card_is_not_taken_back() {
    let (mut one, mut other) = (Pair::new(Device::new(ALL)), Pair::new(Device::new(ALL)));
    let frame = one.receive(&bytes(1, 100));
    other.card.release(frame);
    assert_eq!((one.empty(), other.empty()), (SIZE - 1, SIZE));
}

#[test]
fn the_device_is_told_of_buffers_by_the_batch_or_when_there_is_nothing_to_do() {
    let mut pair = Pair::new(Device::new(ALL));
    let receive = |pair: &mut Pair| {
        let frame = pair.receive(&bytes(1, 100));
        pair.card.release(frame);
    };
    (0..31).for_each(|_| receive(&mut pair));
    assert_eq!(pair.device.borrow().rings[0], 1);
    receive(&mut pair);
    assert_eq!(pair.device.borrow().rings[0], 2);
    receive(&mut pair);
    assert!(pair.card.receive().is_none());
    assert_eq!(pair.device.borrow().rings[0], 3);
    receive(&mut pair);
    assert!(!pair.card.rest(false));
    assert_eq!(pair.device.borrow().rings[0], 4);
    assert!(!pair.card.rest(false));
    assert_eq!(pair.device.borrow().rings[0], 4);
    // A device that does not want to be told is not.
    pair.device.borrow().want_notifications(RECEIVE, false);
    pair.device.borrow().want_notifications(TRANSMIT, false);
    (0..40).for_each(|_| receive(&mut pair));
    pair.transmit(&bytes(1, 100), Work::default());
    assert_eq!(pair.device.borrow().rings, [4, 0]);
    pair.device.borrow().want_notifications(TRANSMIT, true);
    pair.transmit(&bytes(1, 100), Work::default());
    assert_eq!(pair.device.borrow().rings, [4, 1]);
}

#[test]
fn checksums_are_of_no_interest_if_the_device_says_so_and_may() {
    for mut pair in Pair::each() {
        let may = pair.device.borrow().agreed & GUEST_CSUM != 0;
        assert_eq!(pair.card.offload().received_checksums, may);
        for flags in [0, NEEDS_CSUM, DATA_VALID, NEEDS_CSUM | DATA_VALID, 0xfc] {
            let checked = flags & 3 != 0;
            pair.device.borrow_mut().deliver(&bytes(1, 100), Header::flags(flags));
            let frame = pair.take(&bytes(1, 100));
            assert_eq!(frame.is_checked(), checked && may);
            pair.card.release(frame);
        }
    }
}

#[test]
fn frames_go_out_with_a_header_that_says_what_to_do() {
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    let segments = Some(Segments { header: 54, size: 1460, ipv6: false });
    for mut pair in Pair::each() {
        let offload = pair.card.offload();
        let mut works = vec![Work::default()];
        if offload.checksums {
            works.push(Work { checksum, segments: None });
        }
        if offload.segments_ipv4 {
            works.push(Work { checksum, segments });
        }
        // Headers that were there before are of no matter.
        for (number, work) in (0..MANY).zip(works.iter().cycle()) {
            assert!(pair.card.has_room());
            pair.transmit(&bytes(number, 60 + number % 1455), *work);
            let header = pair.sends(&bytes(number, 60 + number % 1455));
            let mut expected = Header::default();
            if work.checksum.is_some() {
                expected = Header { flags: NEEDS_CSUM, start: 34, offset: 16, ..expected };
            }
            if work.segments.is_some() {
                expected = Header { kind: 1, header: 54, size: 1460, ..expected };
            }
            assert_eq!(header, expected);
        }
    }
}

#[test]
fn there_is_room_until_all_buffers_are_the_devices() {
    for mut pair in Pair::each() {
        let mut sent = 0;
        while pair.card.has_room() {
            pair.transmit(&bytes(sent, MAX_FRAME), Work::default());
            sent += 1;
        }
        // The longest frame has room, or there is none.
        let most = if pair.card.offload().segments_ipv4 { 98 } else { 128 };
        assert_eq!(sent, most);
        pair.sends(&bytes(0, MAX_FRAME));
        assert!(pair.card.has_room());
    }
}

#[test]
#[should_panic(expected = "no room")]
fn a_frame_without_room_is_the_callers_mistake() {
    let mut pair = Pair::new(Device::new(ALL));
    for number in 0..SIZE {
        pair.transmit(&bytes(number, 100), Work::default());
    }
}

#[test]
fn interrupts_are_for_what_is_waited_for() {
    let interrupts = |pair: &Pair| {
        let device = pair.device.borrow();
        (device.interrupts(RECEIVE), device.interrupts(TRANSMIT))
    };
    for mut pair in Pair::each() {
        assert!(!pair.card.rest(false));
        assert_eq!(interrupts(&pair), (true, false));
        pair.card.busy();
        assert_eq!(interrupts(&pair), (false, false));
        // There is room.
        assert!(pair.card.rest(true));
        assert_eq!(interrupts(&pair), (false, false));
        // There is a frame.
        pair.deliver(&bytes(1, 100));
        assert!(pair.card.rest(false));
        assert_eq!(interrupts(&pair), (false, false));
        let mut sent = 0;
        while pair.card.has_room() {
            pair.transmit(&bytes(sent, 100), Work::default());
            sent += 1;
        }
        // There is a frame, but who waits for room does not look at it.
        assert!(!pair.card.rest(true));
        assert_eq!(interrupts(&pair), (false, true));
        pair.sends(&bytes(0, 100));
        assert!(pair.card.rest(true));
        assert_eq!(interrupts(&pair), (false, false));
    }
}
