//! What an entry of the audit is made of, so that writing one down costs a busy gateway little: a connection is two of them.
//!
//! A name is shared with whoever else has it, a moment is put into words when somebody reads it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_grant::Peer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A text that belongs to somebody else as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(Arc<str>);

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Arc<str>> for Name {
    fn from(shared: &Arc<str>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// Where a client connected from; put into words when somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Of(Peer),
    Read(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(peer) => peer.fmt(f),
            Self::Read(text) => f.write_str(text),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Read)
    }
}

/// When something happened; RFC 3339 with microseconds in words, always as many digits, so that texts sort like times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since 1970.
    micros: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { micros: i64::try_from(since.as_micros()).unwrap_or(i64::MAX) }
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(at: OffsetDateTime) -> Self {
        Self { micros: (at.unix_timestamp_nanos().div_euclid(1000)) as i64 }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What cannot be a date is none that a clock has told.
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.micros) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (month, micros) = (u8::from(at.month()), at.microsecond());
        write!(f, "{:04}-{month:02}-{:02}T", at.year(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}.{micros:06}Z", at.hour(), at.minute(), at.second())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339).map(Self::from).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_with_microseconds() {
        let now = Moment::now();
        let text = now.to_string();
        assert_eq!(text.len(), "2026-11-28T03:25:31.123456Z".len(), "{text}");
        let read: Moment = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
        assert_eq!(read.to_string(), text);
        let early = Moment::from(OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_007_000).unwrap());
        assert_eq!(early.to_string(), "2023-11-14T22:13:20.000007Z");
    }
}
