//! Points in time as schemes write them.

/// Seconds of a day.
const DAY: u64 = 86_400;

/// ISO 8601 in UTC with whole seconds: `2026-11-22T19:08:26Z`.
#[must_use]
pub fn iso_seconds(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    let rest = at % DAY;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// ISO 8601 in UTC with milliseconds, from milliseconds since 1970: `2026-11-22T19:08:26.000Z`.
#[must_use]
pub fn iso_millis(at: u64) -> String {
    fraction(at / 1_000, &format!("{:03}", at % 1_000))
}

/// ISO 8601 in UTC with microseconds, from microseconds since 1970: `2026-11-22T19:08:26.000000Z`.
#[must_use]
pub fn iso_micros(at: u64) -> String {
    fraction(at / 1_000_000, &format!("{:06}", at % 1_000_000))
}

fn fraction(seconds: u64, digits: &str) -> String {
    let mut text = iso_seconds(seconds);
    text.pop();
    text + "." + digits + "Z"
}

/// Reads what the functions above write, and any other fraction, as seconds (rounded down). None: it is something else, or
/// before 1970.
#[must_use]
pub fn parse_iso(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.len() != 19 || fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = whole.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| whole.as_bytes().get(*at) == Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year, month, day);
    // A day that the month does not have comes back as another one.
    (civil(days) == (year, month, day)).then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 as year, month and day of the Gregorian calendar. Years are counted from March, so that the leap day is
/// the last, in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`], for years from 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month.saturating_sub(3) } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day.saturating_sub(1);
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::{iso_micros, iso_millis, iso_seconds, parse_iso};
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        assert_eq!(iso_seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso_seconds(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(iso_seconds(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso_seconds(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(iso_millis(1_234_567_890_123), "2009-02-13T23:31:30.123Z");
        assert_eq!(iso_micros(1_234_567_890_123_456), "2009-02-13T23:31:30.123456Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "Z",
            "2026-11-22T19:08:26",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-22 19:08:26Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T19:08:26.Z",
            "+026-11-22T19:08:26Z",
            "2026-11-22T19:08:26.12345678901Z",
            "\u{e4}026-11-22T19:08:2Z",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(at in 0_u64..200_000_000_000) {
            prop_assert_eq!(parse_iso(&iso_seconds(at)), Some(at));
            prop_assert_eq!(parse_iso(&iso_micros(at * 1_000_000 + 17)), Some(at));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,30}") {
            let _ = parse_iso(&text);
        }
    }
}
