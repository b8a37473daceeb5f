//! How values are written in a file of cases: octets, tokens that are made on the spot, and points in time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::Time;
use crate::config::policy::json;
use crate::config::problem::{Problem, Problems};
use crate::config::reader::{Read, Section, mismatch};

/// Octets as a case writes them: a text, or a table with one of `base64`, `json`, `basic`, `token`.
#[derive(Clone, Debug)]
pub(super) enum Octets {
    /// As they are.
    Plain(Vec<u8>),
    /// A token that a key of the world signs, behind a prefix such as `Bearer `.
    Token(Box<Token>),
}

/// A JSON Web Token to be made.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// The name of the key.
    pub(super) key: String,
    /// What stands before it.
    pub(super) prefix: String,
    /// Further members of its header.
    pub(super) header: Map<String, Value>,
    /// Its claims; `exp`, `nbf` and `iat` may be written from now.
    pub(super) claims: Map<String, Value>,
}

impl Octets {
    /// A text.
    pub(super) fn text(text: &str) -> Self {
        Self::Plain(text.as_bytes().to_vec())
    }
}

impl Read for Octets {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let table = match value.get_ref() {
            DeValue::String(text) => return Some(Self::text(text)),
            DeValue::Table(table) => table,
            _ => {
                problems.add(mismatch(value, "a text, or a table such as { base64 = \"…\" }"));
                return None;
            }
        };
        let mut section = Section::new("a value", value.span(), table, problems);
        let base64: Option<String> = section.optional("base64");
        let basic: Option<String> = section.optional("basic");
        let document = section.raw("json").and_then(|value| json(value, problems));
        let prefix = section.raw("prefix").and_then(|value| value.get_ref().as_str()).unwrap_or_default().to_owned();
        let token = section.section("token", "a token").map(|mut token| {
            let read = Token {
                key: token.required("key", "the name of a key of the world").unwrap_or_default(),
                header: object(&mut token, "header"),
                claims: object(&mut token, "claims"),
                prefix,
            };
            token.finish();
            read
        });
        section.finish();
        if let Some(text) = base64 {
            let octets = STANDARD.decode(text.as_bytes()).ok();
            if octets.is_none() {
                problems.add(Problem::new(value.span(), "this is not base64"));
            }
            return octets.map(Self::Plain);
        }
        let plain = document
            .map(|document| document.to_string())
            .or_else(|| basic.map(|pair| format!("Basic {}", STANDARD.encode(pair))));
        let read = plain.map(|text| Self::text(&text)).or_else(|| token.map(|token| Self::Token(Box::new(token))));
        if read.is_none() {
            problems.add(
                Problem::new(value.span(), "this table is no value")
                    .help("it has one of base64, basic, json and token"),
            );
        }
        read
    }
}

/// A table within a section, as JSON.
pub(super) fn object(section: &mut Section<'_>, key: &'static str) -> Map<String, Value> {
    let problems = section.problems();
    match section.raw(key) {
        None => Map::new(),
        Some(value) if value.get_ref().is_table() => match json(value, problems) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        },
        Some(value) => {
            problems.add(mismatch(value, "a table"));
            Map::new()
        }
    }
}

/// The members of a table, each read alike, in the order of their names; what is a list of values is each of them.
pub(super) fn members<T: Read>(section: &mut Section<'_>, key: &'static str) -> Vec<(String, T)> {
    let problems = section.problems();
    let Some(value) = section.raw(key) else { return Vec::new() };
    let Some(table) = value.get_ref().as_table() else {
        problems.add(mismatch(value, "a table"));
        return Vec::new();
    };
    let mut all = Vec::new();
    for (name, value) in table.iter() {
        let name = name.get_ref().to_string();
        match value.get_ref() {
            DeValue::Array(values) => {
                all.extend(values.iter().filter_map(|value| Some((name.clone(), T::read(value, problems)?))));
            }
            _ => all.extend(T::read(value, problems).map(|read| (name, read))),
        }
    }
    all
}

/// A text that may be empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(pub(super) String);

impl Read for Text {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let read = value.get_ref().as_str().map(|text| Self(text.to_owned()));
        if read.is_none() {
            problems.add(mismatch(value, "a text"));
        }
        read
    }
}

/// Any whole number that is not negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(pub(super) u64);

impl Read for Whole {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let read =
            value.get_ref().as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        if read.is_none() {
            problems.add(mismatch(value, "a whole number that is not negative"));
        }
        read.map(Self)
    }
}

/// A point in time: a date, seconds since 1970, or so long from the case's time (`+1h`, `-5m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Seconds since 1970.
    At(u64),
    /// Seconds from now.
    From(i64),
}

impl Moment {
    /// What it is when it is `now`.
    pub(super) fn at(self, now: u64) -> u64 {
        match self {
            Self::At(at) => at,
            Self::From(seconds) => now.saturating_add_signed(seconds),
        }
    }

    /// Reads `+1h`, `-5m`, or a date as RFC 3339 writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let seconds = |length: &str| Time::parse(length).and_then(|time| i64::try_from(time.0.as_secs()).ok());
        if let Some(length) = text.strip_prefix('+') {
            return seconds(length).map(Self::From);
        }
        if let Some(length) = text.strip_prefix('-') {
            return seconds(length).map(|seconds| Self::From(-seconds));
        }
        let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(date.unix_timestamp()).ok().map(Self::At)
    }
}

impl Read for Moment {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let read = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok().map(Self::At),
            DeValue::Datetime(date) => Self::parse(&date.to_string()),
            DeValue::String(text) => Self::parse(text),
            _ => None,
        };
        if read.is_none() {
            problems.add(mismatch(
                value,
                "a time, such as 2026-01-01T00:00:00Z, or one from now, such as \"+1h\" or \"-5m\"",
            ));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_from_now() {
        assert_eq!(Moment::parse("+1h").unwrap().at(100), 3700);
        assert_eq!(Moment::parse("-1m").unwrap().at(100), 40);
        assert_eq!(Moment::parse("2026-01-01T00:00:00Z"), Some(Moment::At(1_767_225_600)));
        for wrong in ["", "1h", "+", "tomorrow", "2026-01-01"] {
            assert_eq!(Moment::parse(wrong), None, "{wrong}");
        }
    }
}
