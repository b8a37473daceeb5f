//! The rules of a grant with those apart in which the client's own names stand: `devices/thermo-7/#`. Without the names they are
//! the same for all of its kind, and lie in memory once for all of them.
//!
//! A grant has few of them, which are compared one after the other; that costs no more than to look one up. Where there are
//! more, they are rules like others.

use std::borrow::Cow;

use portcullis_mqtt::QoS;

use super::set::{self, Reach, RuleSet, Terms};
use super::{Permission, Rule, SubscribePermission};
use crate::grant::GrantError;
use crate::names::{Names, Text, Words, resolve, strip};

/// The most rules with names that are kept apart.
const MOST: usize = 16;
/// Where a grant has more rules than these, names are not looked for.
pub(crate) const SEARCHED: usize = 64;

/// All rules of a grant, compiled. The names that stand in them are the principal's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    common: RuleSet,
    own: Box<[Own]>,
}

/// A rule in whose filter names stand.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    terms: Terms,
    filter: Text,
    /// Where its first wildcard stands in the text of the filter.
    wildcard: Option<usize>,
}

impl Rules {
    /// Checks and compiles rules, as [`RuleSet::compile`] does.
    pub(crate) fn compile(rules: &[Rule], words: &Words<'_>) -> Result<Self, GrantError> {
        set::check(rules)?;
        if rules.len() <= SEARCHED {
            let (mut own, mut common) = (Vec::new(), Vec::with_capacity(rules.len()));
            for rule in rules {
                let filter = Text::filter(&rule.filter, words);
                if filter.names_somebody() {
                    own.push(Own { terms: Terms::of(rule), wildcard: filter.raw().find(['+', '#']), filter });
                } else {
                    common.push(rule);
                }
            }
            if own.len() <= MOST {
                return Ok(Self { common: RuleSet::of(&common), own: own.into() });
            }
        }
        Ok(Self { common: RuleSet::of(&rules.iter().collect::<Vec<_>>()), own: Box::default() })
    }

    pub(crate) fn publish(&self, names: &Names, topic: &str, qos: QoS, retain: bool) -> Permission {
        self.terms(names, topic).send(qos, retain, set::PUBLISH)
    }

    pub(crate) fn will(&self, names: &Names, topic: &str, qos: QoS, retain: bool) -> Permission {
        self.terms(names, topic).send(qos, retain, set::WILL)
    }

    pub(crate) fn receive(&self, names: &Names, topic: &str) -> Permission {
        self.terms(names, topic).receive()
    }

    pub(crate) fn subscribe(&self, names: &Names, filter: &str, qos: QoS) -> SubscribePermission {
        let mut reach = Reach::default();
        self.common.reach(filter, &mut reach);
        for rule in &self.own {
            reach.add(&rule.filter.with_names(names), rule.terms, filter);
        }
        reach.permission(qos)
    }

    fn terms(&self, names: &Names, topic: &str) -> Terms {
        let own = self.own.iter().filter(|rule| rule.matches(names, topic));
        own.fold(self.common.terms(topic), |all, rule| all | rule.terms)
    }

    /// For hashing: what tells rules apart, mostly.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.common.text()).chain(self.own.iter().map(|rule| rule.filter.raw()))
    }
}

impl Own {
    fn matches(&self, names: &Names, topic: &str) -> bool {
        let filter = self.filter.raw();
        let Some(wildcard) = self.wildcard else { return strip(filter, names, topic) == Some("") };
        let (before, rest) = filter.split_at(wildcard);
        let matches = |topic: &str| {
            let rest: Cow<'_, str> = resolve(rest, names);
            set::rest_matches(rest.as_bytes(), topic.as_bytes())
        };
        // Names in filters do not end with a separator, so that it stands here.
        let Some(before) = before.strip_suffix('/') else {
            // As in MQTT 5 §4.7.2: a leading wildcard does not match a topic that begins with `$`.
            return !topic.starts_with('$') && matches(topic);
        };
        match strip(before, names, topic) {
            // `a/#` matches `a` itself (MQTT 5 §4.7.1.2).
            Some("") => rest == "#",
            Some(below) => below.strip_prefix('/').is_some_and(matches),
            None => false,
        }
    }
}
