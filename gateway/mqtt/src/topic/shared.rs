//! Shared subscriptions (MQTT 5 §4.8.2): `$share/<name>/<filter>`.

use super::{TopicError, valid_topic_filter};

/// A shared subscription's filter, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SharedFilter<'a> {
    /// The share name: at least one character, no `/`, `+` or `#`.
    pub share: &'a str,
    /// The topic filter that the group subscribes to; valid.
    pub filter: &'a str,
}

impl<'a> SharedFilter<'a> {
    /// What every shared filter starts with.
    pub const PREFIX: &'static str = "$share/";

    /// Takes a filter apart; `Ok(None)` when it is not a shared one (it does not start with `$share/`), which says
    /// nothing about its validity.
    pub fn parse(filter: &'a str) -> Result<Option<Self>, TopicError> {
        let Some(rest) = filter.strip_prefix(Self::PREFIX) else { return Ok(None) };
        let (share, inner) = rest.split_once('/').map_or((rest, None), |(share, inner)| (share, Some(inner)));
        if share.is_empty() || share.contains(['+', '#']) {
            return Err(TopicError::ShareName);
        }
        let inner = inner.filter(|inner| !inner.is_empty()).ok_or(TopicError::ShareWithoutFilter)?;
        valid_topic_filter(filter)?;
        Ok(Some(Self { share, filter: inner }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_filters_are_taken_apart() {
        for (filter, share, inner) in
            [("$share/g/a/+", "g", "a/+"), ("$share/g/#", "g", "#"), ("$share/g//", "g", "/"), ("$share/$/+", "$", "+")]
        {
            assert_eq!(SharedFilter::parse(filter), Ok(Some(SharedFilter { share, filter: inner })), "{filter}");
        }
    }

    #[test]
    fn others_are_left_alone() {
        for filter in ["a", "$share", "$shared/g/a", "$SHARE/g/a", "/$share/g/a"] {
            assert_eq!(SharedFilter::parse(filter), Ok(None), "{filter}");
        }
    }

    #[test]
    fn half_a_shared_filter_is_refused() {
        for (filter, error) in [
            ("$share/", TopicError::ShareName),
            ("$share//a", TopicError::ShareName),
            ("$share/+/a", TopicError::ShareName),
            ("$share/g#/a", TopicError::ShareName),
            ("$share/g", TopicError::ShareWithoutFilter),
            ("$share/g/", TopicError::ShareWithoutFilter),
            ("$share/g/a+", TopicError::MisplacedPlus(10)),
            ("$share/g/#/a", TopicError::MisplacedHash(9)),
        ] {
            assert_eq!(SharedFilter::parse(filter), Err(error), "{filter}");
        }
    }
}
