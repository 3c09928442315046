//! Dates of `eta` and `expires`, in the subset of ISO 8601 that ciso8601 2.1.3 reads.

/// A date and time: milliseconds since 1970, and whether the text named a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub milliseconds: i64,
    pub zone: Zone,
}

/// Where a time counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The text says so many seconds east of Greenwich.
    Offset(i64),
    /// The text says nothing; read as UTC.
    Naive,
}

/// With dashes and colons, or without.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Extended,
    Basic,
}

/// Reads a date; `None` where ciso8601 would raise.
pub fn parse(text: &[u8]) -> Option<Moment> {
    let mut reader = Reader { rest: text };
    let (days, format) = reader.date()?;
    let (seconds, micros, zone) = match reader.rest {
        [] => (0, 0, Zone::Naive),
        [b'T' | b't' | b' ', rest @ ..] => {
            reader.rest = rest;
            reader.time(format)?
        }
        _ => return None,
    };
    if !reader.rest.is_empty() {
        return None;
    }
    // 24:00 on the last day of year 9999.
    let last_second = day_number(9999, 12, 31) * 86_400 + 86_399;
    let seconds = days * 86_400 + seconds;
    if seconds > last_second {
        return None;
    }
    Some(Moment {
        milliseconds: milliseconds(seconds, micros, zone)?,
        zone,
    })
}

/// Leek goes through floats, which shows in the last digit.
fn milliseconds(seconds: i64, micros: i64, zone: Zone) -> Option<i64> {
    let timestamp = match zone {
        Zone::Naive => seconds as f64 + micros as f64 / 1e6,
        Zone::Offset(offset) => {
            // Python divides integers, rounding once: so does reading the quotient's decimals.
            let total = (seconds - offset) * 1_000_000 + micros;
            format!("{total}e-6").parse().ok()?
        }
    };
    Some((timestamp * 1000.0) as i64)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    /// Exactly so many digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.rest.get(..count)?;
        self.rest = &self.rest[count..];
        let step = |value, &byte: &u8| {
            byte.is_ascii_digit()
                .then(|| value * 10 + i64::from(byte - b'0'))
        };
        digits.iter().try_fold(0, step)
    }

    /// Two digits up to a largest value.
    fn pair(&mut self, most: i64) -> Option<i64> {
        self.digits(2).filter(|&value| value <= most)
    }

    /// The day's number, counted from 1970.
    fn date(&mut self) -> Option<(i64, Format)> {
        let year = self.digits(4)?;
        let format = if self.take(b'-') {
            Format::Extended
        } else {
            Format::Basic
        };
        let month = self.pair(12)?;
        let day = match format {
            Format::Extended if self.rest.is_empty() => 1,
            Format::Extended if !self.take(b'-') => return None,
            _ => self.digits(2)?,
        };
        let valid = year > 0 && month > 0 && day > 0 && day <= days_in(year, month);
        valid.then(|| (day_number(year, month, day), format))
    }

    /// Seconds into the day, microseconds, zone.
    fn time(&mut self, format: Format) -> Option<(i64, i64, Zone)> {
        let hour = self.pair(24)?;
        let minute = self.next_part(format)?;
        let second = if minute.is_some() {
            self.next_part(format)?
        } else {
            None
        };
        let micros = if second.is_some() {
            self.fraction()?
        } else {
            0
        };
        let (minute, second) = (minute.unwrap_or(0), second.unwrap_or(0));
        if hour == 24 && (minute, second, micros) != (0, 0, 0) {
            return None;
        }
        Some((hour * 3600 + minute * 60 + second, micros, self.zone()?))
    }

    /// Minutes or seconds, if more digits follow in the format of the date.
    fn next_part(&mut self, format: Format) -> Option<Option<i64>> {
        let follows = match format {
            Format::Extended => self.take(b':'),
            Format::Basic => self.rest.first().is_some_and(u8::is_ascii_digit),
        };
        if follows {
            self.pair(59).map(Some)
        } else {
            Some(None)
        }
    }

    /// Six digits behind the point; further ones are cut off.
    fn fraction(&mut self) -> Option<i64> {
        if !self.take(b'.') && !self.take(b',') {
            return Some(0);
        }
        let length = self
            .rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        let padded = digits
            .iter()
            .copied()
            .chain(std::iter::repeat(b'0'))
            .take(6);
        let micros = padded.fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
        (length > 0).then_some(micros)
    }

    fn zone(&mut self) -> Option<Zone> {
        if self.take(b'Z') || self.take(b'z') {
            return Some(Zone::Offset(0));
        }
        let sign = match self.rest.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Some(Zone::Naive),
        };
        self.rest = &self.rest[1..];
        let hours = self.pair(23)?;
        let minutes = if self.take(b':') || !self.rest.is_empty() {
            self.pair(59)?
        } else {
            0
        };
        Some(Zone::Offset(sign * (hours * 3600 + minutes * 60)))
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, for a date of the Gregorian calendar from year 1 on.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    // 719,162 days from 0001-01-01 to 1970-01-01.
    before * 365 + leap_days + months + day - 1 - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<i64> {
        parse(text.as_bytes()).map(|moment| moment.milliseconds)
    }

    #[test]
    fn reads_what_ciso8601_reads() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2024-01", 1_704_067_200_000),
            ("2024-01-02T03:04:05.678901+00:00", 1_704_164_645_678),
            ("20240102T030405.5+0100", 1_704_161_045_500),
            ("2024-12-31T24:00", 1_735_689_600_000),
            ("2024-01-02t03+02", 1_704_157_200_000),
            ("2024-01-02T03:04:05,6Z", 1_704_164_645_600),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_800_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_ciso8601_refuses() {
        for text in [
            "",
            "2024",
            "202401",
            "2024-1-2",
            "2024-01-02Z",
            "2024-01T03",
            "2024-01-02T",
            "2024-01-02T030405",
            "20240102T03:04",
            "2024-01-02T03:04:05.",
            "2024-01-02T24:00:01",
            "2023-02-29",
            "0000-01-01",
            "2024-01-02T03:60",
            "2024-01-02T03:04:05 Z",
            "2024-01-02T03:04:05+24:00",
            "2024-01-02T03:04:05+01:60",
            "9999-12-31T24:00",
            "2024-01-02T03:04:05+01:",
            "２０２４-01-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn knows_naive_from_aware() {
        assert_eq!(parse(b"2024-01-02T03:04").unwrap().zone, Zone::Naive);
        assert_eq!(
            parse(b"2024-01-02T03:04-05:30").unwrap().zone,
            Zone::Offset(-19_800)
        );
    }
}
