//! Topic names and topic filters (MQTT 5 §4.7): what is valid, and types that prove it.
//!
//! Which filter matches which name is in `matching.rs`, shared subscriptions are in `shared.rs`. This knows nothing of
//! who may use a topic, and sets no limit on levels: that is a grant's business.

mod matching;
mod shared;

pub use matching::{covers, matches, overlaps};
pub use shared::SharedFilter;

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// The octets that a topic name or filter has at most: its length prefix is two octets.
pub const MAX_TOPIC_LEN: usize = 65_535;

/// Why a string is not a topic name or not a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// At least one character is needed ([MQTT-4.7.3-1]).
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_TOPIC_LEN`] octets ([MQTT-4.7.3-3]).
    #[error("it has {0} octets, more than 65535")]
    TooLong(usize),
    /// U+0000 ([MQTT-4.7.3-2]), at this octet.
    #[error("it contains U+0000 at octet {0}")]
    Null(usize),
    /// `+` or `#` in a topic name ([MQTT-4.7.0-1]), at this octet.
    #[error("it contains a wildcard at octet {0}, and names have none")]
    WildcardInName(usize),
    /// `+` that does not fill its level ([MQTT-4.7.1-2]), at this octet.
    #[error("the `+` at octet {0} is not alone in its level")]
    MisplacedPlus(usize),
    /// `#` that does not fill the last level ([MQTT-4.7.1-1]), at this octet.
    #[error("the `#` at octet {0} is not alone in the last level")]
    MisplacedHash(usize),
    /// `$share/` without a share name, or with a wildcard in it ([MQTT-4.8.2-1], [MQTT-4.8.2-2]).
    #[error("the share name after `$share/` is empty or has a wildcard")]
    ShareName,
    /// `$share/<name>` without a filter after it ([MQTT-4.8.2-2]).
    #[error("nothing follows the share name")]
    ShareWithoutFilter,
}

/// Whether a string may be the topic name of a message: not empty, at most 65,535 octets, no U+0000, no wildcard.
pub fn valid_topic_name(name: &str) -> Result<(), TopicError> {
    length(name)?;
    match name.bytes().position(|b| matches!(b, 0 | b'+' | b'#')) {
        None => Ok(()),
        Some(at) if name.as_bytes()[at] == 0 => Err(TopicError::Null(at)),
        Some(at) => Err(TopicError::WildcardInName(at)),
    }
}

/// Whether a string may be a topic filter: as a name, but `+` may fill a level and `#` the last one.
///
/// `$share/…` is looked at as any other filter; [`SharedFilter::parse`] takes it apart.
pub fn valid_topic_filter(filter: &str) -> Result<(), TopicError> {
    length(filter)?;
    let bytes = filter.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let alone = || (at == 0 || bytes[at - 1] == b'/') && bytes.get(at + 1).is_none_or(|next| *next == b'/');
        match byte {
            0 => return Err(TopicError::Null(at)),
            b'+' if !alone() => return Err(TopicError::MisplacedPlus(at)),
            b'#' if !alone() || at + 1 != bytes.len() => return Err(TopicError::MisplacedHash(at)),
            _ => {}
        }
    }
    Ok(())
}

fn length(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        len if len > MAX_TOPIC_LEN => Err(TopicError::TooLong(len)),
        _ => Ok(()),
    }
}

/// The levels of a topic name or filter: what stands between the slashes, empty levels included.
pub fn levels(topic: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    topic.split('/')
}

/// Writes what both newtypes have in common.
macro_rules! topic_type {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes the string.
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, TopicError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The string.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Gives the string back.
            pub fn into_inner(self) -> Box<str> {
                self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = TopicError;
            fn try_from(text: &str) -> Result<Self, TopicError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = TopicError;
            fn try_from(text: String) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = TopicError;
            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::try_from(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

topic_type! {
    /// A topic name that was checked with [`valid_topic_name`].
    TopicName, valid_topic_name
}

topic_type! {
    /// A topic filter that was checked with [`valid_topic_filter`].
    TopicFilter, valid_topic_filter
}

impl TopicFilter {
    /// Whether this filter matches a topic name, as [`matches()`] says.
    pub fn matches(&self, topic: &str) -> bool {
        matches(&self.0, topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "/", "a/b", "//", "$SYS/x", "ä/é", "a b", "\u{1}"] {
            assert_eq!(valid_topic_name(name), Ok(()), "{name:?}");
        }
        assert_eq!(valid_topic_name(""), Err(TopicError::Empty));
        assert_eq!(valid_topic_name("a/+"), Err(TopicError::WildcardInName(2)));
        assert_eq!(valid_topic_name("#"), Err(TopicError::WildcardInName(0)));
        assert_eq!(valid_topic_name("ab\0"), Err(TopicError::Null(2)));
        assert_eq!(valid_topic_name(&"a".repeat(65_535)), Ok(()));
        assert_eq!(valid_topic_name(&"a".repeat(65_536)), Err(TopicError::TooLong(65_536)));
    }

    #[test]
    fn filters() {
        for filter in ["a", "+", "#", "/", "+/+", "a/+/b", "a/#", "/#", "+/#", "$SYS/#", "ä/+", "//+"] {
            assert_eq!(valid_topic_filter(filter), Ok(()), "{filter:?}");
        }
        assert_eq!(valid_topic_filter(""), Err(TopicError::Empty));
        assert_eq!(valid_topic_filter("a+"), Err(TopicError::MisplacedPlus(1)));
        assert_eq!(valid_topic_filter("+a/b"), Err(TopicError::MisplacedPlus(0)));
        assert_eq!(valid_topic_filter("a/++"), Err(TopicError::MisplacedPlus(2)));
        assert_eq!(valid_topic_filter("a#"), Err(TopicError::MisplacedHash(1)));
        assert_eq!(valid_topic_filter("#/a"), Err(TopicError::MisplacedHash(0)));
        assert_eq!(valid_topic_filter("a/#/"), Err(TopicError::MisplacedHash(2)));
        assert_eq!(valid_topic_filter("##"), Err(TopicError::MisplacedHash(0)));
        assert_eq!(valid_topic_filter("a\0"), Err(TopicError::Null(1)));
        assert_eq!(valid_topic_filter(&"a".repeat(65_536)), Err(TopicError::TooLong(65_536)));
    }

    #[test]
    fn newtypes_hold_only_what_is_valid() {
        assert_eq!(TopicName::new("a/b").map(|t| t.to_string()), Ok("a/b".to_owned()));
        assert_eq!(TopicName::try_from("a/+"), Err(TopicError::WildcardInName(2)));
        assert!("a/+".parse::<TopicFilter>().is_ok_and(|f| f.matches("a/b") && !f.matches("a")));
        assert_eq!(TopicFilter::new("a/#/b"), Err(TopicError::MisplacedHash(2)));
    }
}
