//! What a policy answered about single actions, for rules whose effect is `ask`.
//!
//! One cache belongs to one grant and dies with it, so it never holds an answer about somebody else. It is bounded, its
//! keys are what strangers send (so its hash is randomly seeded), and it costs nothing until something is remembered.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::time::Instant;

use hashbrown::HashTable;
use parking_lot::Mutex;
use portcullis_mqtt::QoS;

use super::{Permission, SubscribePermission};
use crate::account::{Account, Freshness};
use crate::denial::DenyReason;
use crate::gatekeeper::{Action, Authorization};

/// The most answers that one grant remembers; beyond it the one that ends first is forgotten.
pub const MAX_ANSWERS: usize = 256;
/// Longer topics and filters are asked about each time: the cache's memory is bounded in octets too.
pub const MAX_KEY_OCTETS: usize = 512;

static HASHER: LazyLock<foldhash::fast::RandomState> = LazyLock::new(foldhash::fast::RandomState::default);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since some moment in this process's life; never goes back.
#[must_use]
pub fn now_ms() -> u64 {
    START.elapsed().as_millis() as u64
}

/// Remembered answers of one grant.
#[derive(Debug, Default)]
pub struct AskCache {
    // Boxed: most grants never ask.
    kept: Mutex<Option<Box<Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashTable<Answer>,
    refusals: Refusals,
}

/// Why a policy refused an action: for audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRefusal {
    /// The reason.
    pub reason: DenyReason,
    /// For people who run the gateway.
    pub detail: String,
    /// How it came about.
    pub account: Account,
}

/// Refusals of one grant that are kept for audit.
const MAX_REFUSALS: usize = 8;

/// The latest refusals, the oldest first.
#[derive(Debug, Default)]
struct Refusals(VecDeque<Refused>);

#[derive(Debug)]
struct Refused {
    target: Box<str>,
    why: ActionRefusal,
}

#[derive(Debug)]
struct Answer {
    key: OwnedKey,
    allowed: bool,
    until_ms: u64,
}

/// What an answer is remembered under; the payload's size is left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Publish { topic: &'a str, qos: QoS, retain: bool, will: bool },
    Subscribe { filter: &'a str, qos: QoS, share: Option<&'a str> },
}

#[derive(Debug)]
enum OwnedKey {
    Publish { topic: Box<str>, qos: QoS, retain: bool, will: bool },
    Subscribe { filter: Box<str>, qos: QoS, share: Option<Box<str>> },
}

impl AskCache {
    /// Forgets all answers.
    pub fn forget(&self) {
        if let Some(kept) = self.kept.lock().as_mut() {
            kept.answers = HashTable::new();
        }
    }

    /// The remembered answer about a publication or will; [`Permission::Ask`] when there is none that holds.
    #[must_use]
    pub fn publish(&self, topic: &str, qos: QoS, retain: bool, will: bool) -> Permission {
        match self.answer(Key::Publish { topic, qos, retain, will }) {
            None => Permission::Ask,
            Some(true) => Permission::Allow,
            Some(false) => Permission::Deny,
        }
    }

    /// The remembered answer about a subscription, with the terms that the rules set.
    #[must_use]
    pub fn subscribe(
        &self,
        filter: &str,
        qos: QoS,
        share: Option<&str>,
        max_qos: QoS,
        filtered: bool,
    ) -> SubscribePermission {
        match self.answer(Key::Subscribe { filter, qos, share }) {
            None => SubscribePermission::Ask { max_qos, filtered },
            Some(true) => SubscribePermission::Allow { max_qos, filtered },
            Some(false) => SubscribePermission::Deny,
        }
    }

    /// Remembers an answer for as long as it says; one that holds only now is not remembered.
    pub fn remember(&self, action: &Action, answer: &Authorization) {
        self.remember_at(now_ms(), action, answer);
    }

    /// Keeps why an action was refused.
    pub(crate) fn refused(&self, action: &Action, why: ActionRefusal) {
        let target = match action {
            Action::Publish(publication) => &publication.topic,
            Action::Subscribe(subscription) => &subscription.filter,
        };
        let mut held = self.kept.lock();
        let Refusals(refusals) = &mut held.get_or_insert_default().refusals;
        refusals.retain(|old| *old.target != **target);
        if refusals.len() == MAX_REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(Refused { target: target.as_str().into(), why });
    }

    /// Why a target was refused; marked as remembered for whoever asks next.
    pub(crate) fn refusal_of(&self, target: &str) -> Option<ActionRefusal> {
        let mut held = self.kept.lock();
        let found = held.as_mut()?.refusals.0.iter_mut().find(|refused| *refused.target == *target)?;
        let why = found.why.clone();
        found.why.account = Account { micros: 0, freshness: why.account.freshness.max(Freshness::Cached) };
        Some(why)
    }

    fn answer(&self, key: Key<'_>) -> Option<bool> {
        self.answer_at(now_ms, key)
    }

    /// The clock is read only if there is something to look at.
    fn answer_at(&self, now: impl FnOnce() -> u64, key: Key<'_>) -> Option<bool> {
        let kept = self.kept.lock();
        let found = kept.as_ref()?.answers.find(HASHER.hash_one(key), |held| held.key.view() == key)?;
        (now() < found.until_ms).then_some(found.allowed)
    }

    fn remember_at(&self, now: u64, action: &Action, answer: &Authorization) {
        let key = Key::of(action);
        let mut held = self.kept.lock();
        if answer.valid_for == 0 || key.octets() > MAX_KEY_OCTETS {
            // An older answer must not outlive a newer one.
            if let Some(kept) = held.as_mut()
                && let Ok(old) = kept.answers.find_entry(HASHER.hash_one(key), |held| held.key.view() == key)
            {
                old.remove();
            }
            return;
        }
        let answers = &mut held.get_or_insert_default().answers;
        let until_ms = now.saturating_add(u64::from(answer.valid_for) * 1000);
        let allowed = answer.denied.is_none();
        let hash = HASHER.hash_one(key);
        if let Some(old) = answers.find_mut(hash, |held| held.key.view() == key) {
            (old.allowed, old.until_ms) = (allowed, until_ms);
            return;
        }
        if answers.len() >= MAX_ANSWERS {
            answers.retain(|old| now < old.until_ms);
        }
        if answers.len() >= MAX_ANSWERS {
            // Dear, but a call into the policy has just been dearer.
            let first = answers.iter().map(|old| old.until_ms).min().unwrap_or(0);
            let mut one = true;
            answers.retain(|old| !(old.until_ms == first && std::mem::take(&mut one)));
        }
        answers.insert_unique(hash, Answer { key: key.to_owned(), allowed, until_ms }, |held| {
            HASHER.hash_one(held.key.view())
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.lock().as_ref().map_or(0, |kept| kept.answers.len())
    }

    #[cfg(test)]
    pub(super) fn look_at(&self, now: u64, action: &Action) -> Option<bool> {
        self.answer_at(|| now, Key::of(action))
    }

    #[cfg(test)]
    pub(super) fn put_at(&self, now: u64, action: &Action, answer: &Authorization) {
        self.remember_at(now, action, answer);
    }
}

impl<'a> Key<'a> {
    fn of(action: &'a Action) -> Self {
        match action {
            Action::Publish(p) => Self::Publish { topic: &p.topic, qos: p.qos, retain: p.retain, will: p.will },
            Action::Subscribe(s) => Self::Subscribe { filter: &s.filter, qos: s.qos, share: s.share.as_deref() },
        }
    }

    fn octets(&self) -> usize {
        match self {
            Self::Publish { topic, .. } => topic.len(),
            Self::Subscribe { filter, share, .. } => filter.len() + share.map_or(0, str::len),
        }
    }

    fn to_owned(self) -> OwnedKey {
        match self {
            Self::Publish { topic, qos, retain, will } => OwnedKey::Publish { topic: topic.into(), qos, retain, will },
            Self::Subscribe { filter, qos, share } => {
                OwnedKey::Subscribe { filter: filter.into(), qos, share: share.map(Into::into) }
            }
        }
    }
}

impl OwnedKey {
    fn view(&self) -> Key<'_> {
        match self {
            Self::Publish { topic, qos, retain, will } => {
                Key::Publish { topic, qos: *qos, retain: *retain, will: *will }
            }
            Self::Subscribe { filter, qos, share } => Key::Subscribe { filter, qos: *qos, share: share.as_deref() },
        }
    }
}
