//! Which version of a file a client has.

use core::fmt;

use picoserve::request::Headers;
use wakeful_fat::{DateTime, Metadata};

/// What tells versions of a file apart: its length, and when it was written.
///
/// Its tag is a weak one (RFC 9110 §8.8.1). FAT counts in steps of two seconds and nobody keeps a sum of the
/// bytes, so files of two versions that were written within such a step, and are as long, have the same. That is good enough for
/// who asks whether something is new, and not for who puts two pieces together: so `If-Range`, which wants
/// a strong one (§13.1.5), always gets the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    len: u64,
    modified: DateTime,
}

/// The first date of FAT, which files get from who does not know what time it is.
const NO_DATE: DateTime = DateTime { year: 1980, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

impl Version {
    /// `None` without a date: then the length is all that is known, and old bytes would pass for new ones.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let modified = metadata.modified.filter(|modified| *modified != NO_DATE)?;
        Some(Self { len: metadata.len, modified })
    }

    /// For the header `ETag`.
    pub(super) fn tag(self) -> Tag {
        Tag(self)
    }

    /// For the header `Last-Modified`.
    pub(super) fn date(self) -> Date {
        Date(self.modified)
    }
}

/// Whether who sends these headers has this version of the file already (RFC 9110 §13.2.2, steps 3 and 4).
///
/// `If-Modified-Since` is answered when it repeats the date that was sent, as browsers do; for other dates the
/// file is sent.
pub(super) fn is_known(headers: Headers<'_>, version: Option<Version>) -> bool {
    let mut since_is_same = false;
    let mut is_asked_by_tag = false;
    for (name, value) in headers.iter() {
        if name == "if-none-match" {
            is_asked_by_tag = true;
            if names(value.as_raw(), version) {
                return true;
            }
        } else if name == "if-modified-since" {
            since_is_same = version.is_some_and(|version| is(value.as_raw(), version.date()));
        }
    }
    since_is_same && !is_asked_by_tag
}

/// Whether a list of tags, or `*`, names this version. Tags are compared weakly (§13.1.2, §8.8.3.2).
fn names(list: &[u8], version: Option<Version>) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    let Some(version) = version else { return false };
    loop {
        let begin = rest.iter().position(|byte| !b" \t,".contains(byte));
        rest = &rest[begin.unwrap_or(rest.len())..];
        let Some(opaque) = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"") else {
            return false; // the end, or no tag
        };
        let Some(end) = opaque.iter().position(|&byte| byte == b'"') else { return false };
        if is(&opaque[..end], Opaque(version)) {
            return true;
        }
        rest = &opaque[end + 1..];
    }
}

/// As a header has it: `W/"1f4-20261122000102"`.
pub(super) struct Tag(Version);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W/\"{}\"", Opaque(self.0))
    }
}

/// What is between its quotes.
struct Opaque(Version);

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { len, modified } = self.0;
        let DateTime { year, month, day, hour, minute, second } = modified;
        let pairs = [month, day, hour, minute, second];
        // As one number: to write six costs several times as much.
        let date = pairs.iter().fold(u64::from(year), |date, &pair| 100 * date + u64::from(pair));
        write!(f, "{len:x}-{date:014}")
    }
}

/// As headers have it (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. FAT knows no time zone, so this says that
/// its dates are those of Greenwich.
pub(super) struct Date(DateTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
        let DateTime { year, month, day, hour, minute, second } = self.0;
        let weekday = days(self.0) as usize % 7;
        let month = usize::from(month.clamp(1, 12)) - 1;
        // Digit by digit: formatting six numbers costs ten times as much.
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        text[..3].copy_from_slice(&DAYS[3 * weekday..][..3]);
        text[8..11].copy_from_slice(&MONTHS[3 * month..][..3]);
        let [century, year] = [year / 100, year % 100].map(|pair| pair as u8);
        for (place, pair) in
            [(5, day), (12, century), (14, year), (17, hour), (20, minute), (23, second)]
        {
            text[place] = b'0' + pair / 10 % 10;
            text[place + 1] = b'0' + pair % 10;
        }
        f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Days since the first of January 1970, a Thursday; for dates since then.
fn days(date: DateTime) -> u32 {
    // Years that begin in March have the odd day at their end, and their months begin at regular days.
    let (year, month) = (u32::from(date.year), u32::from(date.month));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day = (153 * month + 2) / 5 + u32::from(date.day) - 1;
    let before = 365 * year + year / 4 - year / 100 + year / 400;
    // So many are before 1970 in that count, which begins with the first of March of year 0.
    (before + day).saturating_sub(719_468)
}

/// Whether these bytes are what a value is shown as.
fn is(bytes: &[u8], shown: impl fmt::Display) -> bool {
    struct Rest<'a>(&'a [u8]);

    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part.as_bytes()).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    let mut rest = Rest(bytes);
    fmt::write(&mut rest, format_args!("{shown}")).is_ok() && rest.0.is_empty()
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString, vec::Vec};

    use super::*;
    use crate::testing::Random;

    const DATE: DateTime =
        DateTime { year: 1994, month: 11, day: 6, hour: 8, minute: 49, second: 37 };
    const VERSION: Version = Version { len: 0x1f4, modified: DATE };

    #[test]
    fn headers() {
        assert_eq!(VERSION.tag().to_string(), "W/\"1f4-19941106084937\"");
        assert_eq!(VERSION.date().to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn days_of_the_week() {
        let shown = |year, month, day| {
            Date(DateTime { year, month, day, ..NO_DATE }).to_string()[..16].to_string()
        };
        assert_eq!(shown(1970, 1, 1), "Thu, 01 Jan 1970");
        assert_eq!(shown(1980, 1, 1), "Tue, 01 Jan 1980");
        assert_eq!(shown(2000, 2, 29), "Tue, 29 Feb 2000");
        assert_eq!(shown(2000, 3, 1), "Wed, 01 Mar 2000");
        assert_eq!(shown(2026, 11, 22), "Sun, 22 Nov 2026");
        assert_eq!(shown(2100, 2, 28), "Sun, 28 Feb 2100");
        assert_eq!(shown(2100, 3, 1), "Mon, 01 Mar 2100");
        assert_eq!(shown(2107, 12, 31), "Sat, 31 Dec 2107");
    }

    #[test]
    fn no_version_without_a_date() {
        let metadata = |modified| Metadata {
            is_dir: false,
            len: 500,
            modified,
            is_read_only: false,
            is_hidden: false,
        };
        assert_eq!(Version::of(&metadata(Some(DATE))), Some(VERSION));
        assert_eq!(Version::of(&metadata(Some(NO_DATE))), None);
        assert_eq!(Version::of(&metadata(None)), None);
    }

    #[test]
    fn lists_of_tags() {
        for (list, expected) in [
            ("*", true),
            (" * ", true),
            ("\"1f4-19941106084937\"", true),
            ("W/\"1f4-19941106084937\"", true),
            ("\"a\", W/\"b\" ,\t,W/\"1f4-19941106084937\"", true),
            ("\"a,b\",\"1f4-19941106084937\"", true),
            ("\"\",\"1f4-19941106084937\"", true),
            ("", false),
            ("1f4-19941106084937", false),
            ("\"1f4-19941106084937", false),
            ("\"1f4-1994110608493\"", false),
            ("\"1f4-199411060849370\"", false),
            ("w/\"1f4-19941106084937\"", false),
            ("\"*\"", false),
            ("*, \"a\"", false),
            ("nonsense \"1f4-19941106084937\"", false),
        ] {
            assert_eq!(names(list.as_bytes(), Some(VERSION)), expected, "{list}");
        }
        assert!(names(b"*", None) && !names(b"\"a\"", None));
    }

    #[test]
    fn hostile_lists_end() {
        const WORDS: [&[u8]; 9] =
            [b"\"", b"W/", b",", b" ", b"*", b"\xff", b"1f4-19941106084937", b"a", b"\0"];
        let mut random = Random::new();
        for _ in 0..200_000 {
            let parts: Vec<_> =
                (0..random.below(9)).map(|_| WORDS[random.below(WORDS.len())]).collect();
            let list = parts.concat();
            let named = names(&list, Some(VERSION));
            let quoted = format!("\"{}\"", Opaque(VERSION));
            let is_there = list.windows(quoted.len()).any(|part| part == quoted.as_bytes());
            let is_any = list.trim_ascii() == b"*";
            assert!(!named || is_there || is_any, "{}", list.escape_ascii());
        }
    }
}
