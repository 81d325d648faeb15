//! Times as people type them: `12:30`, `2026-07-14`, `2026-07-14T12:30:00`, `5m` for five minutes ago; in UTC, as they are
//! shown. `+1.5` is a time since a guest's start, for guests that do not know the time of day.

use fata_reporters::time::{Epoch, Time};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When(Time);

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

impl When {
    /// Whether this is not after `time`; times of another clock are not compared.
    pub(super) fn is_at_or_before(self, time: Time) -> bool {
        self.0.epoch != time.epoch || self.0.nanos <= time.nanos
    }

    pub(super) fn is_at_or_after(self, time: Time) -> bool {
        self.0.epoch != time.epoch || self.0.nanos >= time.nanos
    }
}

/// The time that `text` says.
pub(super) fn parse(text: &str) -> Result<When, String> {
    parse_at(text, Time::now().nanos)
}

fn parse_at(text: &str, now: i64) -> Result<When, String> {
    let said = text.trim().trim_end_matches(" ago").trim_end_matches('Z');
    let time = said
        .strip_prefix('+')
        .and_then(seconds)
        .map(Time::since_start)
        .or_else(|| ago(said).map(|nanos| Time::wall(now - nanos)))
        .or_else(|| clock(said).map(|nanos| Time::wall(now.div_euclid(DAY) * DAY + nanos)))
        .or_else(|| date_and_clock(said).map(Time::wall));
    debug_assert!(time.is_none_or(|time| matches!(time.epoch, Epoch::Unix | Epoch::Start)));
    time.map(When).ok_or_else(|| {
        format!("{text:?} is no time: write 12:30, 2026-07-14T12:30:00 (in UTC), 5m for five minutes ago, or +1.5 for seconds after the guest's start")
    })
}

/// Seconds with a fraction, in nanoseconds.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = fraction.get(..fraction.len().min(9)).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let nanos: i64 = format!("{digits:0<9}").parse().ok()?;
    whole.parse::<u32>().ok().map(|whole| i64::from(whole) * SECOND + nanos)
}

/// `90s`, `5m`, `2h`, `1d`.
fn ago(text: &str) -> Option<i64> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let unit = match text.chars().last()? {
        's' => SECOND,
        'm' => 60 * SECOND,
        'h' => 3600 * SECOND,
        'd' => DAY,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u32>().ok().and_then(|count| i64::from(count).checked_mul(unit))
}

/// `12:30` or `12:30:15.5`, in nanoseconds of the day.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes): (u8, u8) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let nanos = parts.next().map_or(Some(0), seconds)?;
    let is_clock = hours < 24 && minutes < 60 && nanos < 60 * SECOND && parts.next().is_none();
    is_clock.then(|| (i64::from(hours) * 60 + i64::from(minutes)) * 60 * SECOND + nanos)
}

fn date_and_clock(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some()
        || !(1970..=2261).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    // Days from 1970, by Howard Hinnant's algorithm: years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * DAY + clock(rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_type_them() {
        let now = 1_784_032_496 * SECOND; // 2026-07-14T12:34:56Z
        let wall = |nanos| Ok(When(Time::wall(nanos)));
        for (text, expected) in [
            ("2026-07-14T12:34:56Z", wall(now)),
            ("2026-07-14 12:34:56", wall(now)),
            ("12:34:56", wall(now)),
            ("12:34", wall(now - 56 * SECOND)),
            ("2026-07-14", wall(now - (12 * 3600 + 34 * 60 + 56) * SECOND)),
            ("5m", wall(now - 300 * SECOND)),
            ("-2h", wall(now - 7200 * SECOND)),
            ("90s ago", wall(now - 90 * SECOND)),
            ("+1.5", Ok(When(Time::since_start(1_500_000_000)))),
            ("1970-01-01T00:00:01.25", wall(1_250_000_000)),
        ] {
            assert_eq!(parse_at(text, now), expected, "{text}");
        }
        for text in ["", "noon", "25:00", "2026-13-01", "12:60", "5y", "2026-07-14T", "+", "m", "é"] {
            assert!(parse_at(text, now).is_err(), "{text}");
        }
    }
}
