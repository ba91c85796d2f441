//! Dates of files, and who says what time it is.

use core::fmt;

use hadris_fs::{CivilDate, CivilTime, NoClock};

/// A date and time as FAT keeps them: in no particular time zone. FAT knows the years 1980 to 2107 and even seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// Year of our calendar.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl fmt::Display for DateTime {
    /// As ISO 8601 has it, without a zone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

impl DateTime {
    pub(crate) fn from_driver(time: hadris_fs::DateTime) -> Self {
        let (date, time) = time.to_civil();
        Self {
            year: u16::try_from(date.year()).unwrap_or(1980),
            month: date.month(),
            day: date.day(),
            hour: time.hour(),
            minute: time.minute(),
            second: time.second(),
        }
    }

    /// `None` for a date that is none.
    fn to_driver(self) -> Option<hadris_fs::DateTime> {
        let date = CivilDate::new(self.year.into(), self.month, self.day).ok()?;
        let time = CivilTime::new(self.hour, self.minute, self.second).ok()?;
        hadris_fs::DateTime::from_civil(date, time, None).ok()
    }
}

/// Says what time it is: a function that is called for each entry that is made or changed. Where it says `None`, or a
/// date that is none, entries get the first of January 1980.
///
/// ```
/// # use wakeful_fat::{Clock, DateTime, Options};
/// fn now() -> Option<DateTime> {
///     Some(DateTime { year: 2026, month: 11, day: 22, hour: 0, minute: 1, second: 2 })
/// }
/// let options = Options { clock: &Clock(now), ..Options::default() };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Clock(pub fn() -> Option<DateTime>);

impl Clock {
    /// It is always the first of January 1980.
    pub const NONE: &'static Self = &Self(|| None);
}

impl hadris_fs::Clock for Clock {
    fn now(&self) -> hadris_fs::DateTime {
        (self.0)().and_then(DateTime::to_driver).unwrap_or(NoClock::TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let date = DateTime { year: 2024, month: 2, day: 29, hour: 23, minute: 59, second: 58 };
        assert_eq!(DateTime::from_driver(date.to_driver().unwrap()), date);
        assert_eq!(date.to_string(), "2024-02-29T23:59:58");
    }

    #[test]
    fn dates_that_are_none() {
        let broken = Clock(|| {
            Some(DateTime { year: 2023, month: 2, day: 29, hour: 0, minute: 0, second: 0 })
        });
        for clock in [&broken, Clock::NONE] {
            let now = DateTime::from_driver(hadris_fs::Clock::now(clock));
            assert_eq!(now.to_string(), "1980-01-01T00:00:00");
        }
    }
}
