//! The native matcher: compiled once for each grant, asked for every message.
//!
//! A check must cost well under 100 ns with twenty rules, and not grow with the number of rules that have nothing to do
//! with the topic. So each filter is split at its first wildcard into a literal *prefix* of whole levels and a *rest*.
//! Rules are kept in buckets by the hash of their prefix. A topic is walked once from level to level; where some rule has
//! a prefix of so many levels, the hash of the topic's own levels finds the bucket, and only the rests of rules with that
//! prefix are compared. Rules without wildcards are all prefix, looked up once for the whole topic. Nothing is
//! allocated, and what every matching rule says is gathered with `|` in one word.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use portcullis_mqtt::{QoS, topic};

use super::{Actions, Effect, Permission, Rule, SubscribePermission};
use crate::draft::GrantError;

/// The most octets of filters in one grant: they live as long as the connection does.
pub const MAX_FILTER_OCTETS: usize = 256 * 1024;

/// Randomly seeded, since rules may hold names that strangers chose.
static HASHER: LazyLock<foldhash::fast::RandomState> = LazyLock::new(foldhash::fast::RandomState::default);

/// The class of rules without wildcards, which only a whole topic can match.
const EXACT: u8 = 64;
/// Longer prefixes are cut here and the remaining levels compared with the rest, so that classes fit one word.
const MAX_PREFIX_LEVELS: u8 = 63;

/// The rules of a grant, compiled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// All filters, end to end.
    text: Box<str>,
    /// First those that begin with a wildcard, then the others by bucket.
    entries: Box<[Entry]>,
    /// Where each bucket begins among the entries, and where the last one ends. The number of buckets is a power of two.
    /// Empty if there is nothing to look up.
    buckets: Box<[u16]>,
    /// Bit `n`: there are rules with `n` prefix levels and a rest.
    classes: u64,
    /// Whether there are rules without wildcards.
    exact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hash: u32,
    terms: Terms,
    start: u32,
    /// Octets of the filter.
    len: u16,
    /// Octets of its literal prefix, without the separator that follows it.
    prefix: u16,
    class: u8,
}

/// What rules say, one octet for each action: bit 0 deny, bits 1–3 ask at QoS 0–2, bits 4–6 allow at QoS 0–2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms(u32);

pub(super) const PUBLISH: u32 = 0;
const SUBSCRIBE: u32 = 8;
const RETAIN: u32 = 16;
pub(super) const WILL: u32 = 24;
const DENY: u32 = 1;
const ASK: u32 = 0b1110;
const ALLOW: u32 = 0b111_0000;

impl std::ops::BitOr for Terms {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Terms {
    pub(super) fn of(rule: &Rule) -> Self {
        let up_to = match rule.max_qos {
            QoS::AtMostOnce => 0b001,
            QoS::AtLeastOnce => 0b011,
            QoS::ExactlyOnce => 0b111,
        };
        let octet = match rule.effect {
            Effect::Deny => DENY,
            Effect::Ask => up_to << 1,
            Effect::Allow => up_to << 4,
        };
        let named = [
            (Actions::PUBLISH, PUBLISH),
            (Actions::SUBSCRIBE, SUBSCRIBE),
            (Actions::RETAIN, RETAIN),
            (Actions::WILL, WILL),
        ];
        Self(
            named.iter().filter(|(action, _)| rule.actions.contains(*action)).fold(0, |all, (_, at)| all | octet << at),
        )
    }

    fn of_action(self, action: u32) -> u32 {
        self.0 >> action & 0xFF
    }

    /// The strongest effect that any rule has on this action, at this quality of service.
    fn permission(self, action: u32, qos: QoS) -> Permission {
        let octet = self.of_action(action);
        // The effect is chosen before the quality of service is looked at: otherwise a client would get around a rule
        // that asks by publishing above its maximum where another rule allows more.
        if octet & DENY != 0 {
            Permission::Deny
        } else if octet & ASK != 0 {
            if octet & 0b10 << qos as u32 != 0 { Permission::Ask } else { Permission::Deny }
        } else if octet & 0b1_0000 << qos as u32 != 0 {
            Permission::Allow
        } else {
            Permission::Deny
        }
    }

    /// What they say to sending something; if it is to be retained, that must be permitted too.
    pub(super) fn send(self, qos: QoS, retain: bool, action: u32) -> Permission {
        let plain = self.permission(action, qos);
        if retain { plain.and(self.permission(RETAIN, qos)) } else { plain }
    }

    /// The strongest effect that any rule has on what is delivered.
    pub(super) fn receive(self) -> Permission {
        match self.of_action(SUBSCRIBE) {
            octet if octet & DENY != 0 => Permission::Deny,
            octet if octet & ASK != 0 => Permission::Ask,
            octet if octet & ALLOW != 0 => Permission::Allow,
            _ => Permission::Deny,
        }
    }
}

/// What rules have to do with a filter that somebody wants to subscribe to.
#[derive(Debug, Default)]
pub(super) struct Reach {
    covered_by_allow: Option<QoS>,
    covered_by_ask: Option<QoS>,
    /// The narrowest of those it merely reaches into.
    touched_by_ask: Option<QoS>,
    /// It reaches into a rule that denies.
    filtered: bool,
    denied: bool,
}

impl Reach {
    pub(super) fn add(&mut self, rule: &str, terms: Terms, filter: &str) {
        let octet = terms.of_action(SUBSCRIBE);
        if octet == 0 || !topic::overlaps(rule, filter) {
            return;
        }
        let covers = topic::covers(rule, filter);
        if octet & DENY != 0 {
            self.denied |= covers;
            self.filtered = true;
        } else if octet & ASK != 0 {
            let max = highest(octet >> 1);
            // The narrowest of those it merely reaches into; the widest of those that cover it.
            self.touched_by_ask = Some(self.touched_by_ask.map_or(max, |old: QoS| old.min(max)));
            if covers {
                self.covered_by_ask = self.covered_by_ask.max(Some(max));
            }
        } else if covers {
            self.covered_by_allow = self.covered_by_allow.max(Some(highest(octet >> 4)));
        }
    }

    pub(super) fn permission(self, qos: QoS) -> SubscribePermission {
        let Self { covered_by_allow, covered_by_ask, touched_by_ask, filtered, denied } = self;
        if denied {
            return SubscribePermission::Deny;
        }
        match (covered_by_ask, touched_by_ask, covered_by_allow) {
            (Some(max), ..) => SubscribePermission::Ask { max_qos: max.min(qos), filtered },
            (None, Some(ask), Some(max)) => SubscribePermission::Ask { max_qos: max.min(ask).min(qos), filtered },
            (None, None, Some(max)) => SubscribePermission::Allow { max_qos: max.min(qos), filtered },
            (None, _, None) => SubscribePermission::Deny,
        }
    }
}

impl Permission {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Ask, _) | (_, Self::Ask) => Self::Ask,
            _ => Self::Allow,
        }
    }
}

impl RuleSet {
    /// Checks and compiles rules.
    ///
    /// # Errors
    /// [`GrantError::BadFilter`] for what is not a topic filter or is a shared subscription's; [`GrantError::TooMany`]
    /// when there are more than 1,024 rules or their filters have together more than [`MAX_FILTER_OCTETS`].
    pub fn compile(rules: &[Rule]) -> Result<Self, GrantError> {
        check(rules)?;
        Ok(Self::of(&rules.iter().collect::<Vec<_>>()))
    }

    /// Compiles rules that were checked.
    pub(super) fn of(rules: &[&Rule]) -> Self {
        let mut text = String::with_capacity(rules.iter().map(|rule| rule.filter.len()).sum());
        let mut entries = Vec::with_capacity(rules.len());
        for rule in rules {
            let (class, prefix) = split(&rule.filter);
            entries.push(Entry {
                hash: hash(&rule.filter.as_bytes()[..prefix]),
                terms: Terms::of(rule),
                // Both fit: the sum was checked, and a valid filter has at most 65,535 octets.
                start: text.len() as u32,
                len: rule.filter.len() as u16,
                prefix: prefix as u16,
                class,
            });
            text.push_str(&rule.filter);
        }
        let classes = entries.iter().filter(|e| e.class != EXACT).fold(0, |all, e| all | 1u64 << e.class);
        let exact = entries.iter().any(|e| e.class == EXACT);
        Self { text: text.into(), buckets: into_buckets(&mut entries), entries: entries.into(), classes, exact }
    }

    /// All filters, end to end.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// May this be published? A retained publication needs both PUBLISH and RETAIN.
    #[must_use]
    pub fn publish(&self, topic: &str, qos: QoS, retain: bool) -> Permission {
        self.terms(topic).send(qos, retain, PUBLISH)
    }

    /// May this be the will? A retained will needs both WILL and RETAIN.
    #[must_use]
    pub fn will(&self, topic: &str, qos: QoS, retain: bool) -> Permission {
        self.terms(topic).send(qos, retain, WILL)
    }

    /// Whether a message on this topic may be delivered: some rule lets the topic be subscribed to and none denies it.
    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        self.receive(topic) != Permission::Deny
    }

    /// The strongest effect that any rule has on what is delivered from this topic. `Ask`: it depends on what the policy
    /// says to the subscriptions that reach it.
    #[must_use]
    pub fn receive(&self, topic: &str) -> Permission {
        self.terms(topic).receive()
    }

    /// May this filter be subscribed to?
    ///
    /// It must lie wholly within one rule that allows or asks. Where it reaches into a rule that asks, the policy is
    /// asked about the whole of it; where it reaches into one that denies, it is `filtered`. Every rule is looked at:
    /// this is done once for a subscription, not for a message.
    #[must_use]
    pub fn subscribe(&self, filter: &str, qos: QoS) -> SubscribePermission {
        let mut reach = Reach::default();
        self.reach(filter, &mut reach);
        reach.permission(qos)
    }

    pub(super) fn reach(&self, filter: &str, reach: &mut Reach) {
        for entry in &self.entries {
            reach.add(self.filter_of(entry), entry.terms, filter);
        }
    }

    /// What all the rules that match a topic name say together.
    pub(super) fn terms(&self, topic: &str) -> Terms {
        let mut found = Terms::default();
        if self.exact {
            for entry in self.bucket(EXACT, topic.as_bytes()) {
                found.0 |= entry.terms.0;
            }
        }
        let mut classes = self.classes;
        if classes & 1 != 0 {
            classes &= !1;
            // As in MQTT 5 §4.7.2: a leading wildcard does not match a topic that begins with `$`.
            if !topic.starts_with('$') {
                for entry in self.entries.iter().take_while(|e| e.class == 0) {
                    if rest_matches(self.filter_of(entry).as_bytes(), topic.as_bytes()) {
                        found.0 |= entry.terms.0;
                    }
                }
            }
        }
        let bytes = topic.as_bytes();
        let (mut at, mut level) = (0, 0u32);
        while classes != 0 {
            let (end, last) = match bytes[at..].iter().position(|b| *b == b'/') {
                Some(length) => (at + length, false),
                None => (bytes.len(), true),
            };
            level += 1;
            if classes & 1 << level != 0 {
                classes &= !(1 << level);
                for entry in self.bucket(level as u8, &bytes[..end]) {
                    let rest = &self.filter_of(entry).as_bytes()[end + 1..];
                    // `a/#` matches `a` itself (MQTT 5 §4.7.1.2).
                    if if last { rest == b"#" } else { rest_matches(rest, &bytes[end + 1..]) } {
                        found.0 |= entry.terms.0;
                    }
                }
            }
            if last {
                break;
            }
            at = end + 1;
        }
        found
    }

    /// The entries of a class whose prefix is this.
    fn bucket<'a>(&'a self, class: u8, prefix: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
        let hash = hash(prefix);
        let at = hash as usize & self.buckets.len().saturating_sub(2);
        let range = match self.buckets.get(at..at + 2) {
            Some(&[from, to]) => usize::from(from)..usize::from(to),
            _ => 0..0,
        };
        let same = move |entry: &&Entry| {
            entry.hash == hash
                && entry.class == class
                && self.filter_of(entry).as_bytes()[..usize::from(entry.prefix)] == *prefix
        };
        self.entries[range].iter().filter(same)
    }

    fn filter_of(&self, entry: &Entry) -> &str {
        let start = entry.start as usize;
        &self.text[start..start + usize::from(entry.len)]
    }
}

/// Whether these can be a grant's rules: how many, how long, and each a topic filter.
pub(super) fn check(rules: &[Rule]) -> Result<(), GrantError> {
    if rules.len() > 1024 {
        return Err(GrantError::TooMany { what: "rules", count: rules.len(), limit: 1024 });
    }
    let octets: usize = rules.iter().map(|rule| rule.filter.len()).sum();
    if octets > MAX_FILTER_OCTETS {
        return Err(GrantError::TooMany { what: "octets of filters", count: octets, limit: MAX_FILTER_OCTETS });
    }
    for (index, rule) in rules.iter().enumerate() {
        let bad = |why: String| GrantError::BadFilter { index, filter: rule.filter.clone(), why };
        topic::valid_topic_filter(&rule.filter).map_err(|why| bad(why.to_string()))?;
        if rule.filter.starts_with("$share/") {
            return Err(bad("a shared subscription is judged by the filter inside it".to_owned()));
        }
    }
    Ok(())
}

/// Sorts entries into buckets and says where each begins.
fn into_buckets(entries: &mut [Entry]) -> Box<[u16]> {
    let keyed = entries.iter().filter(|entry| entry.class != 0).count();
    if keyed == 0 {
        return Box::default();
    }
    // 1,024 rules at most: every number fits.
    let count = keyed.next_power_of_two();
    let bucket = |entry: &Entry| if entry.class == 0 { 0 } else { (entry.hash as usize & (count - 1)) + 1 };
    entries.sort_by_key(bucket);
    (1..=count + 1).map(|n| entries.partition_point(|entry| bucket(entry) < n) as u16).collect()
}

fn hash(text: &[u8]) -> u32 {
    HASHER.hash_one(text) as u32
}

/// The class of a filter and the octets of its prefix.
fn split(filter: &str) -> (u8, usize) {
    let (mut levels, mut end) = (0u8, 0usize);
    let mut at = 0;
    for level in filter.split('/') {
        if level == "+" || level == "#" || levels == MAX_PREFIX_LEVELS {
            return (levels, end);
        }
        end = at + level.len();
        at = end + 1;
        levels += 1;
    }
    (EXACT, filter.len())
}

/// Whether a filter, from some level on, matches a topic from the same level on. Both have at least one level.
pub(super) fn rest_matches(mut filter: &[u8], mut topic: &[u8]) -> bool {
    loop {
        let (level, more) = next_level(filter);
        if level == b"#" {
            return true;
        }
        let (name, rest) = next_level(topic);
        if level != b"+" && level != name {
            return false;
        }
        match (more, rest) {
            (Some(more), Some(rest)) => (filter, topic) = (more, rest),
            (None, None) => return true,
            (Some(more), None) => return more == b"#",
            (None, Some(_)) => return false,
        }
    }
}

fn next_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|b| *b == b'/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The highest quality of service of three bits, of which at least the lowest is set.
fn highest(bits: u32) -> QoS {
    match bits & 0b111 {
        0b111 => QoS::ExactlyOnce,
        0b011 => QoS::AtLeastOnce,
        _ => QoS::AtMostOnce,
    }
}
