//! Which bytes of a file are asked for.

use core::ops::Range;

/// What the header `Range` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All, or what cannot be told: then the header is as if it were not there (RFC 9110 §14.2).
    Whole,
    /// These bytes, one at least.
    Bytes(Range<u64>),
    /// Nothing that is in the file.
    Outside,
}

/// Reads the header's value, for a file of so many bytes (RFC 9110 §14.1.2).
///
/// Several ranges at once get the whole file, as a server may answer (§14.2): they take a body in parts, and
/// who asks for many small ones makes the answer longer than the file. Numbers that nobody can count to are
/// places behind the end.
pub(super) fn part(value: &[u8], len: u64) -> Part {
    let Some((unit, ranges)) = split(value, b'=') else { return Part::Whole };
    let Some((first, last)) = split(ranges.trim_ascii(), b'-') else { return Part::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Part::Whole;
    }
    match (first.is_empty(), number(first), last.is_empty(), number(last)) {
        // The last so many bytes. Of an empty file that is all of it.
        (true, _, false, Some(_)) if len == 0 => Part::Whole,
        (true, _, false, Some(0)) => Part::Outside,
        (true, _, false, Some(count)) => Part::Bytes(len.saturating_sub(count)..len),
        (false, Some(first), true, _) => from(first, u64::MAX, len),
        (false, Some(first), false, Some(last)) if first <= last => from(first, last, len),
        _ => Part::Whole,
    }
}

fn from(first: u64, last: u64, len: u64) -> Part {
    if first >= len { Part::Outside } else { Part::Bytes(first..last.saturating_add(1).min(len)) }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((&text[..place], &text[place + 1..]))
}

/// The number that some digits mean, or the largest there is; 0 for none of them.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

#[cfg(test)]
mod tests {
    use std::{format, string::String};

    use super::*;
    use crate::testing::Random;

    #[test]
    fn parts() {
        let most = u64::MAX;
        let more = format!("bytes={most}0-{most}1");
        let huge_suffix = format!("bytes=-{most}0");
        for (value, len, expected) in [
            ("bytes=0-9", 100, Part::Bytes(0..10)),
            ("bytes=0-0", 1, Part::Bytes(0..1)),
            ("BYTES=5-", 100, Part::Bytes(5..100)),
            ("bytes=-10", 100, Part::Bytes(90..100)),
            ("bytes=-1000", 100, Part::Bytes(0..100)),
            ("bytes=90-1000", 100, Part::Bytes(90..100)),
            ("bytes= 0-9 ", 100, Part::Bytes(0..10)),
            ("bytes=99-", 100, Part::Bytes(99..100)),
            ("bytes=100-", 100, Part::Outside),
            ("bytes=100-200", 100, Part::Outside),
            ("bytes=0-", 0, Part::Outside),
            ("bytes=-0", 100, Part::Outside),
            ("bytes=-5", 0, Part::Whole),
            (&more, 100, Part::Outside),
            (&huge_suffix, 100, Part::Bytes(0..100)),
            ("bytes=0-1,5-6", 100, Part::Whole),
            ("bytes=0-1,", 100, Part::Whole),
            ("bytes=9-0", 100, Part::Whole),
            ("bytes=-", 100, Part::Whole),
            ("bytes=", 100, Part::Whole),
            ("bytes", 100, Part::Whole),
            ("", 100, Part::Whole),
            ("lines=0-9", 100, Part::Whole),
            ("bytes=+0-9", 100, Part::Whole),
            ("bytes=0-+9", 100, Part::Whole),
            ("bytes=--9", 100, Part::Whole),
            ("bytes=0x0-9", 100, Part::Whole),
            ("bytes=0 - 9", 100, Part::Whole),
            ("bytes=0-9-", 100, Part::Whole),
            ("bytes=a-b", 100, Part::Whole),
        ] {
            assert_eq!(part(value.as_bytes(), len), expected, "{value} of {len}");
        }
    }

    #[test]
    fn whatever_is_asked_is_in_the_file() {
        const WORDS: [&str; 12] =
            ["-", "-", "-", "0", "1", "9", "18446744073709551615", "=", ",", " ", "ä", "bytes="];
        let mut random = Random::new();
        let mut found = 0;
        for _ in 0..200_000 {
            let mut value = String::from(["bytes=", ""][random.below(2)]);
            for _ in 0..random.below(5) {
                value.push_str(WORDS[random.below(WORDS.len())]);
            }
            let len = [0, 1, 10, u64::MAX][random.below(4)];
            if let Part::Bytes(range) = part(value.as_bytes(), len) {
                assert!(
                    range.start < range.end && range.end <= len,
                    "{value:?} of {len}: {range:?}"
                );
                found += 1;
            }
        }
        assert!(found > 1000, "{found}");
    }
}
