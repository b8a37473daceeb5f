//! Sizes, times and rates as people write them: `16MiB`, `50ms`, `100/s`.

use std::fmt;
use std::time::Duration;

/// A number of octets. Written as `512B`, `64KiB`, `16MiB`, `1GiB`, or with the decimal units `KB`, `MB`, `GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    /// What a configuration should have said.
    pub(crate) const EXPECTED: &'static str = "a size with a unit, such as \"64KiB\" or \"16MiB\"";

    /// Reads a size. None: it is not one, or more than fits into 64 bits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let scale = match unit {
            "B" => 1,
            "KB" | "kB" => 1000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(scale).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            n if n >= 1 << 30 && n.is_multiple_of(1 << 30) => (n >> 30, "GiB"),
            n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => (n >> 20, "MiB"),
            n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => (n >> 10, "KiB"),
            n => (n, "B"),
        };
        write!(f, "{number}{unit}")
    }
}

/// A length of time. Written as `500us`, `50ms`, `10s`, `5m`, `1h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    /// What a configuration should have said.
    pub(crate) const EXPECTED: &'static str = "a time with a unit, such as \"50ms\", \"10s\" or \"1h\"";

    /// Reads a time. None: it is not one, or longer than 64 bits of microseconds.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let micros = match unit {
            "us" | "µs" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        number.checked_mul(micros).map(|micros| Self(Duration::from_micros(micros)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 6] =
            [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1000, "ms"), (1, "us")];
        let micros = self.0.as_micros();
        let (scale, unit) = UNITS
            .into_iter()
            .find(|(scale, _)| micros >= *scale && micros.is_multiple_of(*scale))
            .unwrap_or((1_000_000, "s"));
        write!(f, "{}{unit}", micros / scale)
    }
}

/// A share, in hundredths of a percent. Written as `20%`; whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u64);

impl Percent {
    /// What a configuration should have said.
    pub(crate) const EXPECTED: &'static str = "a share from 1% to 100%";

    /// Reads a share. None: it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        ((1..=100).contains(&number) && unit == "%").then_some(Self(number * 100))
    }
}

/// Events a second. Written as `100/s`. As many may come at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerSecond(pub(crate) u32);

impl PerSecond {
    /// What a configuration should have said.
    pub(crate) const EXPECTED: &'static str = "a rate, such as \"100/s\"";

    /// Reads a rate. None: it is not one, or 0, or more than fits into 32 bits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        u32::try_from(number).ok().filter(|number| *number > 0 && unit == "/s").map(Self)
    }
}

/// Who may use a file. Written as in chmod(1): `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMode(pub(crate) u32);

impl FileMode {
    /// What a configuration should have said.
    pub(crate) const EXPECTED: &'static str = "the mode of a file, such as \"0660\"";

    /// Reads a mode. None: it is not one of three octal digits, with or without a 0 before them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let octal = digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        u32::from_str_radix(digits, 8).ok().filter(|_| octal).map(Self)
    }
}

/// `16MiB` → (16, "MiB"). A blank between the two is allowed.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(Size::parse("16MiB"), Some(Size(16 << 20)));
        assert_eq!(Size::parse("5 kB"), Some(Size(5000)));
        assert_eq!(Size::parse("0B"), Some(Size(0)));
        for wrong in ["", "16", "MiB", "-1B", "1.5MiB", "1 MiB x", "99999999999999999999B", "18446744073709551615KiB"] {
            assert_eq!(Size::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!(Percent::parse("20%"), Some(Percent(2000)));
        for wrong in ["", "20", "0%", "101%", "-1%", "1.5%", "%"] {
            assert_eq!(Percent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(Time::parse("50ms"), Some(Time(Duration::from_millis(50))));
        assert_eq!(Time::parse("7d"), Some(Time(Duration::from_secs(604_800))));
        for wrong in ["", "50", "ms", "1e3s", "5 minutes", "18446744073709551615d"] {
            assert_eq!(Time::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(PerSecond::parse("100/s"), Some(PerSecond(100)));
        for wrong in ["", "100", "/s", "0/s", "1/m", "4294967296/s"] {
            assert_eq!(PerSecond::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(FileMode::parse("0660"), Some(FileMode(0o660)));
        assert_eq!(FileMode::parse("600"), Some(FileMode(0o600)));
        for wrong in ["", "0", "0o660", "00660", "4660", "0680", "+660", "rw-rw----"] {
            assert_eq!(FileMode::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["1B", "1536B", "64KiB", "16MiB", "3GiB"] {
            assert_eq!(Size::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
        for text in ["1us", "50ms", "90s", "5m", "1h", "7d", "0s"] {
            assert_eq!(Time::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
    }
}
