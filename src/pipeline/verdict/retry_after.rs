//! `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).

use std::time::Duration;

/// No API may silence a subscription for longer than this, whatever it asks for: a mistyped header
/// or a wrong wall clock must not cost a day.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How long to wait, at most [`MAX_RETRY_AFTER`]; `None` for what cannot be read. A date is taken
/// against the answer's own `Date`, since a gateway's wall clock is often wrong; `now_wall_ms` stands
/// in for one that is missing.
pub(super) fn parse(value: &str, date: Option<&str>, now_wall_ms: i64) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit is still "very long".
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let sent = date.and_then(|date| http_date(date.trim()));
        let sent_ms = sent.map_or(now_wall_ms, |sent| sent.saturating_mul(1000));
        let wait_ms = http_date(value)?
            .saturating_mul(1000)
            .saturating_sub(sent_ms);
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that may be sent today.
fn http_date(text: &str) -> Option<i64> {
    let mut words = text.split_once(',')?.1.split_ascii_whitespace();
    let day = number(words.next()?, 1..=31)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year = number(words.next()?, 1970..=9999)?;
    let seconds = time_of_day(words.next()?)?;
    let zone = words.next()?;
    let ended = words.next().is_none();
    (zone == "GMT" && ended).then(|| days(year, month as i64 + 1, day) * 86_400 + seconds)
}

fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 0..=23)?;
    let minute = number(parts.next()?, 0..=59)?;
    let second = number(parts.next()?, 0..=60)?;
    parts
        .next()
        .is_none()
        .then_some(hour * 3600 + minute * 60 + second)
}

fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok()?;
    (digits && range.contains(&value)).then_some(value)
}

/// Days since 1970-01-01 in the Gregorian calendar, counted from March so that the leap day comes
/// last in its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, now_wall_ms: i64, seconds: Option<u64>) {
        assert_eq!(
            parse(value, None, now_wall_ms),
            seconds.map(Duration::from_secs),
            "{value}"
        );
    }

    #[test]
    fn seconds() {
        check("0", 0, Some(0));
        check(" 120 ", 0, Some(120));
        check("86400", 0, Some(3600));
        check("99999999999999999999999999", 0, Some(3600));
        check("-1", 0, None);
        check("1.5", 0, None);
        check("", 0, None);
        check("soon", 0, None);
    }

    #[test]
    fn dates() {
        let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        check("Sun, 06 Nov 1994 08:49:37 GMT", now, Some(0));
        check("Sun, 06 Nov 1994 08:50:37 GMT", now, Some(60));
        check("Sun, 06 Nov 1994 08:00:00 GMT", now, Some(0));
        check("Tue, 29 Feb 2000 00:00:10 GMT", 951_782_400_000, Some(10));
        check("Fri, 31 Dec 9999 23:59:59 GMT", now, Some(3600));
        check("Sun, 06 Nov 1994 25:00:00 GMT", now, None);
        check("Sun, 06 Nov 1994 08:49:37", now, None);
        check("Sun, 06 Now 1994 08:49:37 GMT", now, None);
    }

    /// A gateway without a battery starts in 1970; one hour, the most that is waited, would be too
    /// long.
    #[test]
    fn a_date_is_taken_against_the_date_of_the_answer() {
        let at = "Sun, 06 Nov 1994 08:50:37 GMT";
        let sent = Some(" Sun, 06 Nov 1994 08:50:07 GMT ");
        for now in [0, 784_111_777_000, 2_177_452_800_000, i64::MAX, i64::MIN] {
            assert_eq!(parse(at, sent, now), Some(Duration::from_secs(30)));
        }
        assert_eq!(parse(at, Some("soon"), 0), Some(MAX_RETRY_AFTER));
        assert_eq!(parse(at, None, i64::MIN), Some(MAX_RETRY_AFTER));
        assert_eq!(parse(at, None, i64::MAX), Some(Duration::ZERO));
    }
}
