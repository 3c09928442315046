//! Durations as people type them: `50s`, `5m`, `1h30m`, `500ms`, `1.5s`; a plain number is seconds.

use std::time::Duration;

/// The longest duration: far below what deadline arithmetic can overflow at, far above any use.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// Longest names first, so that `ms` is not read as `m`.
const UNITS: [(&str, f64); 5] = [
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

/// What [`parse`] takes, in words.
pub const EXPECTED: &str = "expected a duration such as 50s, 5m, 1h30m or 500ms";

/// The duration that `text` means, if it means one of at most ten years.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let (seconds, after) = number(rest)?;
    if after.is_empty() {
        return bounded(seconds);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let (amount, after) = number(rest)?;
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        total += amount * seconds;
        rest = &after[unit.len()..];
    }
    bounded(total)
}

fn number(text: &str) -> Option<(f64, &str)> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn bounded(seconds: f64) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    (duration <= LONGEST).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type() {
        for (text, ms) in [
            ("50s", 50_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("10", 10_000),
            ("0", 0),
            ("0.25", 250),
            ("1.5s", 1500),
            ("1d", 86_400_000),
            (" 2m5s500ms ", 125_500),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "", "s", "5x", "-5", "5 m", "5m3", "1e9", "nan", ".", "4000d", "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
