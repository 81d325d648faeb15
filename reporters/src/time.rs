//! When a record was made: nanoseconds of wall time, or since the guest's start where it does not know the time of day.
//!
//! Invariant: the text of a time has the same width for every time of one clock between the years 0 and 9999, so that
//! columns stay columns.
//!
//! ```
//! use fata_reporters::time::Time;
//! assert_eq!(Time::wall(1_000_000_000_123_456_789).to_string(), "2001-09-09T01:46:40.123456Z");
//! assert_eq!(Time::since_start(1_500_000_000).to_string(), "                 +1.500000s");
//! ```

use core::fmt;

/// What a [`Time`] counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Epoch {
    /// The beginning of 1970, UTC.
    Unix,
    /// The guest's clock at zero: the guest has no anchor to the time of day.
    Start,
}

/// When a record was made. Times of different epochs have no order between them but the one of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Nanoseconds since the epoch.
    pub nanos: i64,
    /// Which epoch that is.
    pub epoch: Epoch,
}

impl Time {
    /// `nanos` since 1970.
    #[must_use]
    pub const fn wall(nanos: i64) -> Self {
        Time { nanos, epoch: Epoch::Unix }
    }

    /// `nanos` since the guest's start.
    #[must_use]
    pub const fn since_start(nanos: i64) -> Self {
        Time { nanos, epoch: Epoch::Start }
    }

    /// Nanoseconds since 1970, where that is known.
    #[must_use]
    pub fn unix_nanos(self) -> Option<u64> {
        if self.epoch == Epoch::Unix { u64::try_from(self.nanos).ok() } else { None }
    }

    /// The time of day of this program.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time::wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// A wall time taken apart, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, negative before the year 0.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59: Unix time has no leap seconds.
    pub second: u8,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Civil {
    /// The date and time of day at `unix_nanos`.
    ///
    /// Days are counted from the 1st of March of the year 0 in eras of 400 years, whose days do not vary; see Howard Hinnant,
    /// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each is a remainder smaller than its type")]
    #[expect(clippy::cast_sign_loss, reason = "each is a remainder of a Euclidean division")]
    pub const fn from_unix_nanos(unix_nanos: i64) -> Self {
        let seconds = unix_nanos.div_euclid(1_000_000_000);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Civil {
            year: year_of_era + era * 400 + (month <= 2) as i64,
            month: month as u8,
            day: (of_year - (153 * march_month + 2) / 5 + 1) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            nanos: unix_nanos.rem_euclid(1_000_000_000) as u32,
        }
    }
}

/// RFC 3339 with microseconds.
impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, nanos } = *self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", nanos / 1000)
    }
}

/// Wall time as RFC 3339 in UTC, time since start as seconds behind a sign; both 27 characters wide.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            Epoch::Unix => Civil::from_unix_nanos(self.nanos).fmt(f),
            Epoch::Start => {
                let sign = if self.nanos < 0 { '-' } else { '+' };
                let micros = self.nanos.unsigned_abs() / 1000;
                let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
                let digits = seconds.checked_ilog10().unwrap_or(0) as usize + 1;
                write!(f, "{:pad$}{sign}{seconds}.{micros:06}s", "", pad = 18_usize.saturating_sub(digits))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn dates_are_right_on_leap_days_at_the_ends_of_months_and_before_1970() {
        let known = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_799, "2000-02-29T23:59:59.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
        ];
        for (seconds, text) in known {
            let nanos = if seconds == -1 { -1 } else { seconds * 1_000_000_000 };
            assert_eq!(Time::wall(nanos).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_day_before() {
        let day = 86_400 * 1_000_000_000_i64;
        let mut before = Civil::from_unix_nanos(-60_000 * day);
        for number in -59_999..=86_000 {
            let today = Civil::from_unix_nanos(number * day);
            let next = (today.year, today.month, today.day);
            let same_month = (before.year, before.month, before.day + 1);
            let next_month = (before.year, before.month + 1, 1);
            assert!(next == same_month || next == next_month || next == (before.year + 1, 1, 1), "{today}");
            before = today;
        }
    }

    #[test]
    fn no_time_panics_and_all_of_one_clock_are_equally_wide() {
        for nanos in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(Time::since_start(nanos).to_string().len(), 27);
            assert_eq!(Time::wall(nanos).to_string().len(), 27);
        }
    }
}
