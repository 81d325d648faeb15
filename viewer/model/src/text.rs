//! Numbers as people read them: with a unit, in at most five digits where digits do not matter.

use fata_wire::field::{Unit, Value};

use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::Trace;

/// A duration: `17 ns`, `1.234 µs`, `12.34 ms`, `5.000 s`.
#[must_use]
pub fn duration(nanos: Nanos) -> String {
    let (size, sign) = (nanos.unsigned_abs(), if nanos < 0 { "-" } else { "" });
    let (divisor, unit) = match size {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let number = size as f64 / divisor;
    let digits = if number < 10.0 {
        3
    } else if number < 100.0 {
        2
    } else {
        usize::from(number < 1000.0)
    };
    format!("{sign}{number:.digits$} {unit}")
}

/// A moment since the origin: `12.345 678 901 s` without the spaces.
#[must_use]
pub fn moment(nanos: Nanos) -> String {
    let size = nanos.unsigned_abs();
    format!("{}{}.{:09} s", if nanos < 0 { "-" } else { "" }, size / 1_000_000_000, size % 1_000_000_000)
}

/// A number of bytes: `512 B`, `1.50 KiB`, `2.00 GiB`.
#[must_use]
pub fn bytes(count: f64) -> String {
    let mut count = count;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if count.abs() < 1024.0 {
            break;
        }
        count /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{count:.2} {unit}") }
}

/// A number with its unit.
#[must_use]
pub fn number(number: f64, unit: Unit) -> String {
    match unit {
        Unit::None => format!("{number}"),
        Unit::Bytes => bytes(number),
        Unit::Nanos =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates")]
            duration(number as Nanos)
        }
        Unit::Ticks => format!("{number} ticks"),
        Unit::Percent => format!("{number} %"),
    }
}

/// A text of a guest's: letters as they are, control characters and what is no UTF-8 escaped.
#[must_use]
pub fn escaped(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() { out.extend(letter.escape_default()) } else { out.push(letter) }
        }
        chunk.invalid().iter().for_each(|byte| out.extend(std::ascii::escape_default(*byte).map(char::from)));
    }
    out
}

/// A field's value in an event of `guest` at `time`: numbers exactly and, where it helps, readable; tasks and names by name; text
/// escaped.
#[must_use]
pub fn value(value: &Value<'_>, unit: Unit, trace: &Trace, guest: GuestId, time: Nanos) -> String {
    let readable = |exact: String, float: f64| match unit {
        Unit::None => exact,
        Unit::Bytes if float.abs() >= 1024.0 => format!("{exact} B ({})", bytes(float)),
        Unit::Nanos if float.abs() >= 1000.0 => format!("{exact} ns ({})", number(float, unit)),
        _ => number(float, unit),
    };
    match *value {
        Value::U64(number) => readable(number.to_string(), number as f64),
        Value::I64(number) => readable(number.to_string(), number as f64),
        Value::F64(number) => readable(number.to_string(), number),
        Value::Bool(flag) => flag.to_string(),
        Value::Str(text) => format!("\"{}\"", text.escape_ascii()),
        Value::Task(0) => "scheduler".to_owned(),
        Value::Task(number) => trace.task_by_number(guest, number, time),
        Value::Name(id) => trace.description.name(guest.name(id)).map_or_else(|| format!("name {id}"), str::to_owned),
        Value::Object(number) => match trace.objects.name_of(guest, number).and_then(|id| trace.description.name(id)) {
            Some(name) => format!("{name} (object {number})"),
            None => format!("object {number}"),
        },
        Value::Flow(id) => format!("flow {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_shows_its_unit_and_never_more_than_five_digits() {
        let shown: Vec<_> =
            [0, 999, 1234, 12_340_000, -5_000_000_000, 123_456_789_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["0 ns", "999 ns", "1.234 µs", "12.34 ms", "-5.000 s", "123.5 s"]);
        assert_eq!(moment(-1_000_000_001), "-1.000000001 s");
    }

    #[test]
    fn bytes_are_counted_in_powers_of_1024() {
        assert_eq!([bytes(512.0), bytes(1536.0), bytes(2147483648.0)], ["512 B", "1.50 KiB", "2.00 GiB"]);
    }
}
