//! Loss recovery with selective acknowledgements (RFC 2018, RFC 6675), and
//! without (RFC 6582).

use crate::wire::TcpSeqNumber;

/// Ranges that are remembered. The remote end repeats what is forgotten.
const RANGES: usize = 8;

/// What the remote end has received behind a hole.
///
/// Ranges are ordered, and do not touch each other.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Scoreboard {
    ranges: [(TcpSeqNumber, TcpSeqNumber); RANGES],
    len: u8,
}

impl Scoreboard {
    fn ranges(&self) -> &[(TcpSeqNumber, TcpSeqNumber)] {
        &self.ranges[..self.len as usize]
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Add a range. Returns whether any of it is news.
    pub(super) fn insert(&mut self, start: TcpSeqNumber, end: TcpSeqNumber) -> bool {
        if self.ranges().iter().any(|&(s, e)| s <= start && end <= e) {
            return false;
        }
        let (mut start, mut end) = (start, end);
        let mut merged = Scoreboard::default();
        let mut after = None;
        for (i, &(s, e)) in self.ranges().iter().enumerate() {
            if e < start {
                merged.push(s, e);
            } else if end < s {
                after = after.or(Some(i));
            } else {
                (start, end) = (start.min(s), end.max(e));
            }
        }
        // When there are too many, the highest is forgotten.
        merged.push(start, end);
        for &(s, e) in &self.ranges()[after.unwrap_or(self.len as usize)..] {
            merged.push(s, e);
        }
        *self = merged;
        true
    }

    fn push(&mut self, start: TcpSeqNumber, end: TcpSeqNumber) {
        if let Some(range) = self.ranges.get_mut(self.len as usize) {
            *range = (start, end);
            self.len += 1;
        }
    }

    /// Forget what lies below an acknowledgement.
    pub(super) fn acknowledge(&mut self, ack: TcpSeqNumber) {
        if self.is_empty() {
            return;
        }
        let mut rest = Scoreboard::default();
        for &(start, end) in self.ranges() {
            if end > ack {
                rest.push(start.max(ack), end);
            }
        }
        *self = rest;
    }

    /// The end of the highest range.
    pub(super) fn highest(&self) -> Option<TcpSeqNumber> {
        self.ranges().last().map(|&(_, end)| end)
    }

    /// The first number from this one on that is in no range.
    #[inline]
    pub(super) fn skip(&self, seq: TcpSeqNumber) -> TcpSeqNumber {
        if self.is_empty() {
            return seq;
        }
        let inside = |&&(start, end): &&(_, _)| start <= seq && seq < end;
        self.ranges()
            .iter()
            .find(inside)
            .map_or(seq, |&(_, end)| end)
    }

    /// How many numbers from this one on are in no range.
    #[inline]
    pub(super) fn gap(&self, seq: TcpSeqNumber) -> usize {
        if self.is_empty() {
            return usize::MAX;
        }
        let above = |&&(start, _): &&(TcpSeqNumber, _)| start > seq;
        self.ranges()
            .iter()
            .find(above)
            .map_or(usize::MAX, |&(start, _)| start - seq)
    }
}

/// A loss that is being mended: from when it is noticed until all is
/// acknowledged that had been sent then.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Recovery {
    /// RecoveryPoint of RFC 6675.
    pub(super) end: TcpSeqNumber,
    /// HighRxt of RFC 6675: holes below were filled again.
    pub(super) resent: TcpSeqNumber,
    /// What lies above was sent after the first hole was filled.
    pub(super) since: TcpSeqNumber,
    /// It was noticed by the retransmission timer, so that everything is sent
    /// again.
    pub(super) from_rto: bool,
}

#[cfg(test)]
mod test {
    use super::*;

    fn seq(n: i32) -> TcpSeqNumber {
        // Across the wrap.
        TcpSeqNumber(i32::MAX.wrapping_add(n - 50))
    }

    fn scoreboard(ranges: &[(i32, i32)]) -> Scoreboard {
        let mut scoreboard = Scoreboard::default();
        for &(start, end) in ranges {
            assert!(scoreboard.insert(seq(start), seq(end)));
        }
        scoreboard
    }

    fn assert_ranges(scoreboard: &Scoreboard, ranges: &[(i32, i32)]) {
        let expected: std::vec::Vec<_> = ranges.iter().map(|&(s, e)| (seq(s), seq(e))).collect();
        assert_eq!(scoreboard.ranges(), expected);
    }

    #[test]
    fn ranges_are_ordered_and_merged() {
        let mut board = scoreboard(&[(30, 40), (10, 20), (60, 70)]);
        assert_ranges(&board, &[(10, 20), (30, 40), (60, 70)]);
        assert!(!board.insert(seq(30), seq(35)));
        assert!(board.insert(seq(20), seq(31)));
        assert_ranges(&board, &[(10, 40), (60, 70)]);
        assert!(board.insert(seq(5), seq(100)));
        assert_ranges(&board, &[(5, 100)]);
    }

    #[test]
    fn highest_range_gives_way() {
        let mut board = Scoreboard::default();
        for n in (0..10).rev() {
            board.insert(seq(n * 10 + 5), seq(n * 10 + 8));
        }
        assert_eq!(board.ranges().len(), RANGES);
        assert_eq!(board.ranges()[0], (seq(5), seq(8)));
        assert_eq!(board.highest(), Some(seq(78)));
    }

    #[test]
    fn holes_are_found() {
        let mut board = scoreboard(&[(10, 20), (30, 40)]);
        assert_eq!(board.skip(seq(5)), seq(5));
        assert_eq!(board.skip(seq(10)), seq(20));
        assert_eq!(board.skip(seq(20)), seq(20));
        assert_eq!(board.gap(seq(5)), 5);
        assert_eq!(board.gap(seq(20)), 10);
        assert_eq!(board.gap(seq(40)), usize::MAX);
        board.acknowledge(seq(15));
        assert_ranges(&board, &[(15, 20), (30, 40)]);
        board.acknowledge(seq(40));
        assert!(board.is_empty() && board.highest().is_none());
    }
}
