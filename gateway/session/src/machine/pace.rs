//! How fast a client may publish: token buckets of one second's worth, the listener's and the grant's in one.

use portcullis_grant::Limits;

use crate::rules::ListenerRules;

/// The bounds of one connection.
pub(super) struct Rate {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Rate {
    /// Full buckets. None: nothing bounds it.
    pub(super) fn of(rules: &ListenerRules, granted: &Limits, now: u64) -> Option<Box<Self>> {
        let lower = |listener: Option<u64>, granted: Option<u64>| listener.into_iter().chain(granted).min();
        let messages = lower(rules.publish_per_second, granted.publish_per_second);
        let bytes = lower(rules.publish_bytes_per_second, granted.publish_bytes_per_second);
        let bucket = |per_second| Bucket::new(per_second, now);
        (messages.is_some() || bytes.is_some())
            .then(|| Box::new(Self { messages: messages.map(bucket), bytes: bytes.map(bucket) }))
    }

    /// The bounds of a new grant, with no more in the buckets than was left: whoever authenticates again and again must
    /// not earn by it.
    pub(super) fn renewed(mut self: Box<Self>, old: Option<&Self>) -> Box<Self> {
        if let Some(old) = old {
            carry(&mut self.messages, old.messages.as_ref());
            carry(&mut self.bytes, old.bytes.as_ref());
        }
        self
    }

    /// Takes so many messages with so many octets. False: that is more than there is.
    pub(super) fn take(&mut self, messages: u64, bytes: u64, now: u64) -> bool {
        self.messages.as_mut().is_none_or(|bucket| bucket.take(messages, now))
            & self.bytes.as_mut().is_none_or(|bucket| bucket.take(bytes, now))
    }
}

fn carry(new: &mut Option<Bucket>, old: Option<&Bucket>) {
    if let (Some(new), Some(old)) = (new, old) {
        new.tokens = new.tokens.min(old.tokens);
        new.at = old.at;
    }
}

struct Bucket {
    per_second: u64,
    /// Thousandths.
    tokens: u64,
    at: u64,
}

impl Bucket {
    fn new(per_second: u64, now: u64) -> Self {
        Self { per_second, tokens: per_second.saturating_mul(1000), at: now }
    }

    fn take(&mut self, n: u64, now: u64) -> bool {
        let earned = now.saturating_sub(self.at).saturating_mul(self.per_second);
        self.at = now;
        self.tokens = self.tokens.saturating_add(earned).min(self.per_second.saturating_mul(1000));
        match self.tokens.checked_sub(n.saturating_mul(1000)) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rate(rules: Option<u64>, granted: Option<u64>) -> Option<Box<Rate>> {
        let rules = ListenerRules { publish_per_second: rules, ..ListenerRules::default() };
        Rate::of(&rules, &Limits { publish_per_second: granted, ..Limits::default() }, 0)
    }

    #[test]
    fn the_lower_of_both_counts() {
        assert!(rate(None, None).is_none());
        for (rules, granted) in [(Some(2), Some(9)), (Some(9), Some(2)), (None, Some(2)), (Some(2), None)] {
            let mut rate = rate(rules, granted).unwrap();
            assert!(rate.take(2, 100, 0) && !rate.take(1, 1, 0) && rate.take(1, 1, 500), "{rules:?} {granted:?}");
        }
    }

    #[test]
    fn authenticating_again_earns_nothing() {
        let mut old = rate(None, Some(10)).unwrap();
        assert!(old.take(9, 0, 0));
        let mut new = rate(None, Some(5)).unwrap().renewed(Some(&old));
        assert!(new.take(1, 0, 0) && !new.take(1, 0, 0));
        assert!(new.take(5, 0, 1000), "then as fast as the new grant says");
        let mut first = rate(None, Some(5)).unwrap().renewed(None);
        assert!(first.take(5, 0, 0));
    }
}
