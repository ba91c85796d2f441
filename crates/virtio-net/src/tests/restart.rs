//! A device that is reset while it works.

use super::*;
use crate::{Error, Fault, MAX_FRAME, TRANSMIT, fake::patience};
use virtio_drivers::transport::DeviceStatus;

/// The card can do all that it could before.
fn works(pair: &mut Pair) {
    for number in 0..MANY {
        let frame = pair.receive(&bytes(number, 700));
        pair.card.release(frame);
        assert!(pair.card.has_room());
        pair.transmit(&bytes(number, MAX_FRAME), Work::default());
        pair.sends(&bytes(number, MAX_FRAME));
    }
    assert_eq!(pair.card.fault(), None);
    assert!(cfg!(miri) || pair.empty() == SIZE);
}

#[test]
fn a_card_is_restarted_under_load() {
    for mut pair in Pair::each() {
        let (before, agreed) = (pair.card.offload(), pair.device.borrow().agreed);
        for round in 0..5 {
            let kept: Vec<_> = (0..10).map(|it| pair.receive(&bytes(it, 300 + it))).collect();
            // Frames that the card has not seen, and what is not sent.
            (0..20).for_each(|it| pair.deliver(&bytes(it, 500)));
            (0..60 * round).take_while(|_| pair.card.has_room()).count();
            for number in 0..60 {
                if pair.card.has_room() {
                    pair.transmit(&bytes(number, 500), Work::default());
                }
            }
            pair.card.restart(&mut patience()).unwrap();
            assert_eq!((pair.card.offload(), pair.device.borrow().agreed), (before, agreed));
            assert!(pair.device.borrow_mut().look(TRANSMIT).is_empty());
            assert_eq!(pair.empty(), SIZE - 10);
            assert!(pair.card.receive().is_none());
            for (number, frame) in kept.into_iter().enumerate() {
                assert_eq!(*frame, bytes(number, 300 + number));
                pair.check(&frame);
                pair.card.release(frame);
            }
            works(&mut pair);
        }
        // No more memory was needed.
        assert_eq!(pair.device.borrow().asked, 1);
    }
}

#[test]
fn a_long_frame_outlives_a_restart() {
    let mut pair = Pair::new(Device::new(ALL));
    for number in 0..120 {
        let frame = pair.receive(&bytes(number, 100));
        pair.card.release(frame);
    }
    let frame = pair.receive(&bytes(3, 60_000));
    assert_eq!(pair.card.counters().wrapped, 1);
    pair.card.restart(&mut patience()).unwrap();
    assert_eq!(pair.empty(), SIZE - 30);
    for number in 0..200 {
        let frame = pair.receive(&bytes(number, 1000));
        pair.card.release(frame);
    }
    assert_eq!(*frame, bytes(3, 60_000));
    pair.card.release(frame);
    works(&mut pair);
}

#[test]
fn a_device_that_asks_for_a_reset_stands_still_until_it_has_one() {
    let mut pair = Pair::new(Device::new(ALL));
    pair.card.look_at_status();
    assert_eq!(pair.card.fault(), None);
    pair.device.borrow_mut().status |= DeviceStatus::DEVICE_NEEDS_RESET.bits();
    pair.deliver(&bytes(1, 100));
    pair.card.look_at_status();
    assert_eq!(pair.card.fault(), Some(Fault::NeedsReset));
    assert!(pair.card.receive().is_none());
    assert!(!pair.card.has_room());
    assert!(!pair.card.rest(false) && !pair.card.rest(true));
    pair.card.restart(&mut patience()).unwrap();
    works(&mut pair);
}

#[test]
fn a_device_that_does_not_come_back_is_not_used() {
    let spoilt = [
        (Error::NoReset, 100, ALL, 0),
        (Error::FeaturesRefused, 0, ALL & !CSUM, 0),
        (Error::FeaturesRefused, 0, ALL, CSUM),
    ];
    for (expected, slow, offered, refused) in spoilt {
        let mut pair = Pair::new(Device::new(ALL));
        let frame = pair.receive(&bytes(1, 100));
        let mut device = pair.device.borrow_mut();
        (device.slow, device.offered, device.refused) = (slow, offered, refused);
        drop(device);
        assert_eq!(pair.card.restart(&mut patience()), Err(expected));
        assert!(pair.card.fault().is_some());
        assert!(pair.card.receive().is_none());
        assert!(!pair.card.has_room());
        assert!(!pair.card.rest(false) && !pair.card.rest(true));
        // A frame can be given back, and nobody rings.
        let rings = pair.device.borrow().rings;
        pair.card.release(frame);
        assert_eq!(pair.device.borrow().rings, rings);
        // Perhaps later.
        let mut device = pair.device.borrow_mut();
        (device.slow, device.offered, device.refused) = (0, ALL, 0);
        drop(device);
        pair.card.restart(&mut patience()).unwrap();
        works(&mut pair);
    }
}
