//! The few topics, filters and roles that the model plays with, and what follows from the specification and the grants
//! for each: written down naively, so that it shares no mistake with the gateway's matchers.

use portcullis_grant::{Actions, Effect, GrantDraft};
use portcullis_mqtt::QoS;

use crate::desk::{everything, rule};

pub(crate) const TOPICS: [&str; 6] = ["a", "a/b", "b", "b/c", "$x/y", "a//b"];
pub(crate) const FILTERS: [&str; 10] = ["a", "a/+", "a/#", "#", "+", "b/c", "+/c", "$x/#", "b/#", "+/+/b"];
/// Every so many seconds a grant of [`Role::Short`] ends.
pub(crate) const SHORT: u64 = 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// May do everything.
    Full,
    /// Everything below `a` and `$x`; below `b` at most QoS 1, and `b/c` is not to be received.
    Limited,
    /// As [`Role::Full`], but not for long.
    Short,
}

/// MQTT 5 §4.7, a level at a time.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    fn levels(f: &[&str], t: &[&str]) -> bool {
        match (f, t) {
            (["#"], _) => true,
            ([f, rest @ ..], [t, more @ ..]) => (*f == "+" || f == t) && levels(rest, more),
            ([], []) => true,
            _ => false,
        }
    }
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let (f, t): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    levels(&f, &t)
}

impl Role {
    pub(crate) fn draft(self, subject: &str) -> GrantDraft {
        let mut draft = everything(subject);
        match self {
            Self::Full => {}
            Self::Short => draft.expires_at = Some(portcullis_session::unix_now() + SHORT),
            Self::Limited => {
                draft.rules = vec![
                    rule(Effect::Allow, Actions::ALL, "a/#", QoS::ExactlyOnce),
                    rule(Effect::Allow, Actions::ALL, "$x/#", QoS::ExactlyOnce),
                    rule(Effect::Allow, Actions::ALL, "b/#", QoS::AtLeastOnce),
                    rule(Effect::Deny, Actions::SUBSCRIBE, "b/c", QoS::AtMostOnce),
                ];
            }
        }
        // One connection at a time: whoever comes again takes over rather than being counted twice.
        draft.limits.push(("connections".to_owned(), 1));
        draft
    }

    pub(crate) fn may_publish(self, topic: &str, qos: QoS) -> bool {
        self != Self::Limited || !topic.starts_with('b') || qos < QoS::ExactlyOnce
    }

    pub(crate) fn may_receive(self, topic: &str) -> bool {
        self != Self::Limited || topic != "b/c"
    }

    /// The highest quality of service of a subscription; none when it is refused.
    pub(crate) fn may_subscribe(self, filter: &str) -> Option<QoS> {
        if self != Self::Limited {
            return Some(QoS::ExactlyOnce);
        }
        match filter {
            "b/c" => None,
            _ if filter.starts_with('b') => Some(QoS::AtLeastOnce),
            _ if filter.starts_with('a') || filter.starts_with('$') => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}
