//! What a bad network does to frames. All decisions come from the numbers of one seed, in the order of
//! the frames: the same seed does the same to the tenth frame, whenever it comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::random::Random;

/// How bad a network is. Rates are of a thousand frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Impairment {
    /// Frames that are lost.
    pub(crate) loss: u32,
    /// Frames that come twice.
    pub(crate) duplication: u32,
    /// Frames that come behind one to three of those after them.
    pub(crate) reorder: u32,
    /// Frames in which up to fifteen neighbouring bits are not as they were.
    pub(crate) corruption: u32,
    /// How much later every frame comes.
    pub(crate) delay: Duration,
}

/// A frame that others are to overtake comes at the latest after so long, should there be no others.
const LONGEST_HOLD: Duration = Duration::from_millis(20);

/// Where Ethernet's header says what a frame carries, and what ARP is there.
const KIND: std::ops::Range<usize> = 12..14;
const ARP: [u8; 2] = [8, 6];

/// One direction of the network.
#[derive(Debug)]
pub(crate) struct Stage {
    impairment: Impairment,
    random: Random,
    /// Those that others overtake: how many of them still, and since when.
    held: Vec<(u32, Instant, Vec<u8>)>,
    delayed: VecDeque<(Instant, Vec<u8>)>,
}

impl Stage {
    pub(crate) fn new(impairment: Impairment, random: Random) -> Self {
        Self { impairment, random, held: Vec::new(), delayed: VecDeque::new() }
    }

    /// From now on it is as bad as this.
    pub(crate) fn change(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// A frame enters; what leaves because of that is put into `out`.
    pub(crate) fn pass(&mut self, mut frame: Vec<u8>, now: Instant, out: &mut VecDeque<Vec<u8>>) {
        // As many numbers for each frame, whatever becomes of it.
        let [lost, doubled, reordered, corrupted] = std::array::from_fn(|_| self.random.next());
        let damage = self.random.next();
        let happens = |number: u64, rate: u32| number % 1000 < u64::from(rate);
        let Impairment { loss, duplication, reorder, corruption, .. } = self.impairment;
        let mut leaving = Vec::new();
        if !happens(lost, loss) {
            // Nothing protects ARP, and a wrong neighbour is remembered for a minute.
            if happens(corrupted, corruption) && frame.get(KIND) != Some(&ARP) {
                corrupt(&mut frame, damage);
            }
            let twice = happens(doubled, duplication).then(|| frame.clone());
            if happens(reordered, reorder) {
                let behind = 1 + (reordered / 1000 % 3) as u32;
                self.held.push((behind + 1, now, frame));
            } else {
                leaving.push(frame);
            }
            leaving.extend(twice);
        }
        for (left, ..) in &mut self.held {
            *left -= 1;
        }
        leaving.extend(self.held.extract_if(.., |(left, ..)| *left == 0).map(|(.., frame)| frame));
        leaving.into_iter().for_each(|frame| self.delay(frame, now, out));
    }

    /// What has waited long enough is put into `out`.
    pub(crate) fn release(&mut self, now: Instant, out: &mut VecDeque<Vec<u8>>) {
        let waited = |&mut (_, since, _): &mut (u32, Instant, Vec<u8>)| since + LONGEST_HOLD <= now;
        let late: Vec<_> = self.held.extract_if(.., waited).map(|(.., frame)| frame).collect();
        late.into_iter().for_each(|frame| self.delay(frame, now, out));
        while let Some((_, frame)) = self.delayed.pop_front_if(|(due, _)| *due <= now) {
            out.push_back(frame);
        }
    }

    /// When to call [`release`](Self::release) next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let held = self.held.iter().map(|&(_, since, _)| since + LONGEST_HOLD);
        held.chain(self.delayed.front().map(|&(due, _)| due)).min()
    }

    fn delay(&mut self, frame: Vec<u8>, now: Instant, out: &mut VecDeque<Vec<u8>>) {
        if self.impairment.delay.is_zero() && self.delayed.is_empty() {
            out.push_back(frame);
        } else {
            self.delayed.push_back((now + self.impairment.delay, frame));
        }
    }
}

/// Changes up to fifteen neighbouring bits, at least one: what the checksum of the Internet protocols is sure
/// to see (RFC 1071: a sum of words of sixteen bits).
fn corrupt(frame: &mut [u8], number: u64) {
    let pattern = ((number >> 32) as u16 & 0x7fff) | 1;
    let place = (number as u32 as usize) % frame.len().saturating_sub(1).max(1);
    for (byte, change) in frame[place..].iter_mut().zip(pattern.to_be_bytes()) {
        *byte ^= change;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(impairment: Impairment, seed: u64, count: u32) -> Vec<Vec<u8>> {
        let mut stage = Stage::new(impairment, Random::new(seed));
        let (now, mut out) = (Instant::now(), VecDeque::new());
        for number in 0..count {
            stage.pass([number.to_be_bytes(); 16].concat(), now, &mut out);
        }
        stage.release(now + impairment.delay.max(LONGEST_HOLD) * 2, &mut out);
        assert_eq!(stage.next(), None);
        out.into()
    }

    #[test]
    fn good_networks_change_nothing() {
        let frames = sent(Impairment::default(), 1, 100);
        assert!(
            frames.iter().zip(0_u32..).all(|(frame, number)| frame[..4] == number.to_be_bytes())
        );
        assert_eq!(frames.len(), 100);
    }

    #[test]
    fn rates_are_kept_and_seeds_repeat() {
        let bad = Impairment { loss: 200, duplication: 100, ..Impairment::default() };
        let frames = sent(bad, 7, 10_000);
        assert!((8_500..9_100).contains(&frames.len()), "{}", frames.len());
        assert_eq!(frames, sent(bad, 7, 10_000));
        assert_ne!(frames, sent(bad, 8, 10_000));
    }

    #[test]
    fn reordered_frames_come_a_little_later() {
        let bad = Impairment { reorder: 100, ..Impairment::default() };
        let frames = sent(bad, 3, 1000);
        let numbers: Vec<usize> =
            frames.iter().map(|frame| usize::from(frame[2]) << 8 | usize::from(frame[3])).collect();
        assert_eq!(numbers.len(), 1000);
        let moved = numbers.iter().enumerate().filter(|(place, number)| place != *number).count();
        assert!(moved > 100, "{moved}");
        assert!(numbers.iter().enumerate().all(|(place, number)| place.abs_diff(*number) <= 8));
    }

    #[test]
    fn corruption_is_never_nothing_and_spares_arp() {
        let bad = Impairment { corruption: 1000, ..Impairment::default() };
        let frames = sent(bad, 5, 1000);
        let right =
            |(frame, number): (&Vec<u8>, u32)| *frame == [number.to_be_bytes(); 16].concat();
        assert!(!frames.iter().zip(0..).any(right));
        let mut stage = Stage::new(bad, Random::new(5));
        let (mut out, mut arp) = (VecDeque::new(), vec![0; 60]);
        arp[KIND].copy_from_slice(&ARP);
        stage.pass(arp.clone(), Instant::now(), &mut out);
        assert_eq!(out, [arp]);
    }

    #[test]
    fn delayed_frames_wait_for_their_time() {
        let slow = Impairment { delay: Duration::from_millis(50), ..Impairment::default() };
        let mut stage = Stage::new(slow, Random::new(1));
        let (now, mut out) = (Instant::now(), VecDeque::new());
        stage.pass(vec![1; 60], now, &mut out);
        stage.release(now + Duration::from_millis(49), &mut out);
        assert!(out.is_empty());
        assert_eq!(stage.next(), Some(now + Duration::from_millis(50)));
        stage.release(now + Duration::from_millis(50), &mut out);
        assert_eq!(out.len(), 1);
    }
}
