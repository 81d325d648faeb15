//! Numbers for people: counts, sizes, durations, and sizes as people type them.

use std::time::Duration;

/// `950`, `12.3 k`, `4.56 M`.
pub(crate) fn count(n: u64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " G", " T", " P", " E"])
}

/// `950 B`, `12.3 KiB`, `4.56 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn scaled(n: u64, base: f64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, _) => 0,
        (_, value) if value < 9.995 => 2,
        (_, value) if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", units[unit])
}

/// How many per second, of `n` in `elapsed`.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display")]
pub(crate) fn rate(n: u64, elapsed: Duration) -> u64 {
    (n as f64 / elapsed.as_secs_f64().max(1e-3)).round() as u64
}

/// A length in bytes as people type it: `2G`, `500M`, `64k`, `123`; powers of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim().to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        other => return Err(format!("{other:?} is no unit of length: write a number and k, M, G or T, such as 2G")),
    };
    let number: u64 =
        digits.parse().map_err(|_| format!("{text:?} is no length: write a number and a unit, such as 2G"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is more than 64 bits can count"))
}

/// The least that `--keep` may say: whole files are dropped, so a few must fit.
const MIN_KEEP_BYTES: u64 = 4 << 20;

/// A cap on a recording.
pub(crate) fn parse_keep(text: &str) -> Result<u64, String> {
    parse_bytes(text).and_then(|bytes| match bytes {
        MIN_KEEP_BYTES.. => Ok(bytes),
        _ => Err(format!("a recording needs room for a few files: keep at least {}", self::bytes(MIN_KEEP_BYTES))),
    })
}

/// A number of seconds, with a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim().trim_end_matches('s');
    number
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text:?} is no number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_type_them() {
        for (text, bytes) in [("0", 0), ("123", 123), ("64k", 65536), ("2G", 2 << 30), ("1.", 0), ("3 MiB", 3 << 20)] {
            assert_eq!(parse_bytes(text).unwrap_or(0), bytes, "{text}");
        }
        assert!(parse_keep("100k").unwrap_err().contains("at least"));
        assert_eq!(parse_keep("2G"), Ok(2 << 30));
        assert!(parse_bytes("2 gallons").unwrap_err().contains("no unit"));
        assert!(parse_bytes("99999999T").unwrap_err().contains("64 bits"));
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0, 999, 1000, 9_994, 12_345, 999_499, 1_000_000].map(count);
        assert_eq!(shown, ["0", "999", "1.00 k", "9.99 k", "12.3 k", "999 k", "1.00 M"]);
        assert_eq!(bytes(1536), "1.50 KiB");
    }
}
