//! Numbers as a person reads them: durations, moments, bytes and counts.
//!
//! ```
//! use fata_viewer::view::format;
//! assert_eq!(format::duration(1_234_567), "1.235 ms");
//! assert_eq!(format::bytes(70_000), "68.4 KiB");
//! assert_eq!(format::count(1_234_567), "1,234,567");
//! ```

use fata_wire::field::Unit;

use super::projection::nanos_f64;

/// A length of time with four significant digits.
#[must_use]
pub fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "−" } else { "" };
    let abs = nanos.unsigned_abs();
    if abs >= 60_000_000_000 {
        let seconds = abs / 1_000_000_000;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            return format!("{sign}{hours} h {minutes:02} min {seconds:02} s");
        }
        return format!("{sign}{minutes} min {seconds:02} s");
    }
    let value = nanos_f64(i64::try_from(abs).unwrap_or(i64::MAX));
    let (value, unit) = match abs {
        0..1_000 => return format!("{sign}{abs} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{sign}{value:.digits$} {unit}")
}

/// A length of time with the fewest digits that say it exactly, for round ones.
#[must_use]
pub fn step(nanos: i64) -> String {
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)] {
        if nanos >= size && nanos % size == 0 {
            return format!("{} {unit}", nanos / size);
        }
    }
    format!("{nanos} ns")
}

/// A moment since the origin, with as many digits as a grid of `step` nanoseconds needs.
///
/// The digits after the point are grouped by three: milliseconds, microseconds, nanoseconds.
#[must_use]
pub fn moment(nanos: i64, step: i64) -> String {
    let sign = if nanos < 0 { "−" } else { "" };
    let abs = nanos.unsigned_abs();
    if nanos == 0 {
        return "0 s".into();
    }
    let digits: usize = match step {
        ..=9 => 9,
        10..=99 => 8,
        100..=999 => 7,
        1_000..=9_999 => 6,
        10_000..=99_999 => 5,
        100_000..=999_999 => 4,
        1_000_000..=9_999_999 => 3,
        10_000_000..=99_999_999 => 2,
        100_000_000..=999_999_999 => 1,
        _ => 0,
    };
    // Below a second the larger unit's zeros say nothing: 12.5 ms, not 0.0125 s.
    if abs < 1_000_000 && step < 1_000_000 {
        return format!("{sign}{} µs", decimal(abs, 3, digits.saturating_sub(6)));
    }
    if abs < 1_000_000_000 && step < 1_000_000_000 {
        return format!("{sign}{} ms", decimal(abs, 6, digits.saturating_sub(3)));
    }
    let seconds = abs / 1_000_000_000;
    let fraction = decimal(abs % 1_000_000_000, 9, digits);
    let fraction = fraction.strip_prefix('0').unwrap_or(&fraction);
    if seconds >= 60 {
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            return format!("{sign}{hours}:{minutes:02}:{seconds:02}{fraction}");
        }
        return format!("{sign}{minutes}:{seconds:02}{fraction}");
    }
    format!("{sign}{seconds}{fraction} s")
}

/// `value / 10^scale` with `digits` digits after the point, grouped by three.
fn decimal(value: u64, scale: u32, digits: usize) -> String {
    let whole = value / 10u64.pow(scale);
    let mut text = whole.to_string();
    if digits == 0 {
        return text;
    }
    let fraction = format!("{:0width$}", value % 10u64.pow(scale), width = scale as usize);
    text.push('.');
    for (i, digit) in fraction.chars().take(digits).enumerate() {
        if i > 0 && i % 3 == 0 {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in binary units.
#[must_use]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let mut scaled = value as f64;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    if scaled < 100.0 { format!("{scaled:.1} {unit}") } else { format!("{scaled:.0} {unit}") }
}

/// A whole number with thousands set apart.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number without needless digits: whole where it is whole.
#[must_use]
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        let whole = value as i64;
        let sign = if whole < 0 { "−" } else { "" };
        return format!("{sign}{}", count(whole.unsigned_abs()));
    }
    if value.abs() >= 100.0 { format!("{value:.1}") } else { format!("{value:.3}") }
}

/// A value in its unit.
#[must_use]
pub fn quantity(value: f64, unit: Unit) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate")]
    let whole = value as i64;
    match unit {
        Unit::Bytes if value >= 0.0 => bytes(whole.unsigned_abs()),
        Unit::Nanos => duration(whole),
        Unit::Ticks => format!("{} ticks", number(value)),
        Unit::Percent => format!("{} %", number(value)),
        _ => number(value),
    }
}

/// The calendar's date and time (UTC) of a moment in nanoseconds since 1970, to the microsecond.
#[must_use]
pub fn wall_clock(unix_nanos: i64) -> String {
    let seconds = unix_nanos.div_euclid(1_000_000_000);
    let micros = unix_nanos.rem_euclid(1_000_000_000) / 1_000;
    let (days, day_seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hours, minutes, seconds) = (day_seconds / 3600, day_seconds / 60 % 60, day_seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{micros:06} UTC")
}

/// Year, month and day of a day counted from 1970-01-01, by counting in eras of 400 years that begin on 1 March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_four_digits_and_their_unit() {
        let table = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.000 µs"),
            (12_345, "12.35 µs"),
            (999_400, "999.4 µs"),
            (1_500_000_000, "1.500 s"),
            (61_000_000_000, "1 min 01 s"),
            (3_661_000_000_000, "1 h 01 min 01 s"),
            (-1_500, "−1.500 µs"),
        ];
        for (nanos, text) in table {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn a_moment_has_the_digits_that_its_grid_needs() {
        let table = [
            (0, 1_000, "0 s"),
            (12_500_000, 500_000, "12.5 ms"),
            (12_000, 1_000, "12 µs"),
            (12_500, 100, "12.5 µs"),
            (1_234_567_000, 1_000, "1.234\u{2009}567 s"),
            (1_200_000_000, 100_000_000, "1.2 s"),
            (62_000_000_000, 1_000_000_000, "1:02"),
            (3_662_500_000_000, 100_000_000, "1:01:02.5"),
            (-2_000_000, 1_000_000, "−2 ms"),
        ];
        for (nanos, step, text) in table {
            assert_eq!(moment(nanos, step), text);
        }
    }

    #[test]
    fn the_calendar_knows_leap_years_and_the_time_before_1970() {
        assert_eq!(wall_clock(0), "1970-01-01 00:00:00.000000 UTC");
        assert_eq!(wall_clock(951_782_400_000_000_000), "2000-02-29 00:00:00.000000 UTC");
        assert_eq!(wall_clock(1_795_269_600_123_456_789), "2026-11-21 14:00:00.123456 UTC");
        assert_eq!(wall_clock(-1), "1969-12-31 23:59:59.999999 UTC");
    }

    #[test]
    fn every_unit_is_shown() {
        assert_eq!(quantity(2048.0, Unit::Bytes), "2.0 KiB");
        assert_eq!(quantity(2048.0, Unit::Nanos), "2.048 µs");
        assert_eq!(quantity(50.0, Unit::Percent), "50 %");
        assert_eq!(quantity(-1234.0, Unit::None), "−1,234");
        assert_eq!(step(2_000), "2 µs");
    }
}
