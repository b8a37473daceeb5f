//! The rules of a grant with those apart in which the client's own names stand: `devices/thermo-7/#`. Without the names they are
//! the same for all of its kind, and lie in memory once for all of them.
//!
//! A grant has few of them, which are compared one after the other: some 50 ns where the client's own topics are concerned, which are
//! asked about when a topic's route is made and not at each message. Where there are more, they are rules like others.

use std::borrow::Cow;

use portcullis_mqtt::QoS;

use super::set::{self, Reach, RuleSet, Terms};
use super::{Permission, Rule, SubscribePermission};
use crate::draft::GrantError;
use crate::names::{MARKED, Names, Text, Words, resolve, strip};

/// The most rules with names that are kept apart.
const MOST: usize = 8;
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
    /// The octets before its first name, and that name; none where a wildcard comes first.
    lead: Option<(usize, usize)>,
}

impl Rules {
    /// Checks and compiles rules, as [`RuleSet::compile`] does.
    pub(crate) fn compile(rules: &[Rule], words: &Words<'_>) -> Result<Self, GrantError> {
        set::check(rules)?;
        if rules.len() <= SEARCHED {
            let (mut own, mut common) = (Vec::new(), Vec::with_capacity(rules.len()));
            for rule in rules {
                match Text::filter(&rule.filter, words) {
                    Some(filter) => own.push(Own::new(Terms::of(rule), filter)),
                    None => common.push(rule),
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
        let common = self.common.terms(topic);
        if self.own.is_empty() {
            return common;
        }
        // Found once, and not by each rule.
        let known = names.all();
        let own = self.own.iter().filter(|rule| rule.matches(&known, topic));
        own.fold(common, |all, rule| all | rule.terms)
    }

    /// For hashing: what tells rules apart, mostly.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.common.text()).chain(self.own.iter().map(|rule| rule.filter.raw()))
    }
}

impl Own {
    fn new(terms: Terms, filter: Text) -> Self {
        let wildcard = filter.raw().find(['+', '#']);
        let lead = filter.first_name().filter(|(at, _)| wildcard.is_none_or(|wildcard| *at < wildcard));
        Self { terms, filter, wildcard, lead }
    }

    fn matches(&self, known: &[&str], topic: &str) -> bool {
        self.matching(known, topic).unwrap_or(false)
    }

    /// None: the topic does not begin as it should.
    fn matching(&self, known: &[&str], topic: &str) -> Option<bool> {
        let filter = self.filter.raw();
        let (from, rest) = match self.lead {
            None => (0, topic),
            Some((at, name)) => (at + MARKED, topic.strip_prefix(filter.get(..at)?)?.strip_prefix(known.get(name)?)?),
        };
        let Some(wildcard) = self.wildcard else { return Some(strip(filter.get(from..)?, known, rest)?.is_empty()) };
        let below = filter.get(wildcard..)?;
        let matches = |topic: &str| {
            let below: Cow<'_, str> = resolve(below, known);
            set::rest_matches(below.as_bytes(), topic.as_bytes())
        };
        // Names in filters do not end with a separator, so that it stands before the wildcard.
        let Some(separator) = wildcard.checked_sub(1) else {
            // As in MQTT 5 §4.7.2: a leading wildcard does not match a topic that begins with `$`.
            return Some(!topic.starts_with('$') && matches(topic));
        };
        Some(match strip(filter.get(from..separator)?, known, rest)? {
            // `a/#` matches `a` itself (MQTT 5 §4.7.1.2).
            "" => below == "#",
            rest => rest.strip_prefix('/').is_some_and(matches),
        })
    }
}
