//! One grant in memory for all clients of whom a policy says the same, and one set of terms for all whose grants differ in names.
//!
//! Terms with their rules are half a kilobyte and more. Where a policy grants each client the same but for what is its own, or one
//! principal connects many times, each connection would have its own copy of it.

use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;

use crate::grant::{Grant, Terms};

/// Identities are what strangers may choose, so that the seed is random.
static HASHER: LazyLock<foldhash::fast::RandomState> = LazyLock::new(foldhash::fast::RandomState::default);

const SETS: usize = 64;
const WAYS: usize = 4;

/// The grants that one version of a policy gave lately, and their terms: 256 of each at the most, none of which is kept alive.
/// Where more than these are in use at a time nothing is lost but the sharing.
#[derive(Debug, Default)]
pub struct Grants {
    /// By hash; within a set the latest comes first. Nothing until there is a grant.
    known: Mutex<(Known<Terms>, Known<Grant>)>,
}

#[derive(Debug)]
struct Known<T>(Vec<[Weak<T>; WAYS]>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Known<T> {
    fn find(&mut self, hash: u64, same: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        if self.0.is_empty() {
            self.0.resize_with(SETS, Default::default);
        }
        let set = self.0.get(hash as usize % SETS)?;
        set.iter().filter_map(Weak::upgrade).find(|known| same(known))
    }

    /// Takes the place of one that nobody has any more, or of the oldest.
    fn add(&mut self, hash: u64, new: &Arc<T>) {
        let Some(set) = self.0.get_mut(hash as usize % SETS) else { return };
        let place = set.iter().position(|known| known.strong_count() == 0).unwrap_or(WAYS - 1);
        if let Some(older) = set.get_mut(..=place) {
            older.rotate_right(1);
        }
        if let Some(first) = set.first_mut() {
            *first = Arc::downgrade(new);
        }
    }
}

impl Grants {
    /// The grant that says the same, if it still lives; else this one, on the terms of others where those are the same. A grant that
    /// has its policy asked about actions is everybody's own: it remembers the answers.
    #[must_use]
    pub fn share(&self, grant: Grant) -> Arc<Grant> {
        self.keep(grant, false)
    }

    /// The same for a grant that takes the place of another: where the principal is equal it stays the one in memory.
    #[must_use]
    pub fn share_again(&self, grant: Grant, old: &Grant) -> Arc<Grant> {
        let same = *grant.identity == *old.identity;
        self.keep(if same { grant.of(Arc::clone(&old.identity)) } else { grant }, same)
    }

    /// `known`: its terms are those in memory.
    fn keep(&self, mut grant: Grant, known: bool) -> Arc<Grant> {
        let terms_hash = HASHER.hash_one(&**grant.terms());
        let hash = HASHER.hash_one((terms_hash, &grant.identity.names, grant.expires_at(), grant.state()));
        let mut lately = self.known.lock();
        let (all_terms, grants) = &mut *lately;
        let alone = grant.asks();
        if let Some(same) = grants.find(hash, |other| !alone && other.says_what(&grant)) {
            return same;
        }
        match all_terms.find(terms_hash, |terms| *terms == **grant.terms()) {
            Some(terms) if !known => grant.set_terms(terms),
            Some(_) => {}
            None => all_terms.add(terms_hash, grant.terms()),
        }
        let new = Arc::new(grant);
        if !alone {
            grants.add(hash, &new);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use portcullis_mqtt::QoS;

    use super::*;
    use crate::{Actions, Effect, GrantDraft, Identity, PolicyStamp, Rule};

    fn draft(subject: &str, effect: Effect) -> GrantDraft {
        let identity = Identity { scheme: "s".into(), subject: subject.into(), ..Identity::default() };
        let rule = Rule { effect, actions: Actions::ALL, filter: "a/#".into(), max_qos: QoS::ExactlyOnce };
        GrantDraft { identity, rules: vec![rule], ..GrantDraft::default() }
    }

    fn grant(draft: GrantDraft) -> Grant {
        let stamp = PolicyStamp { name: "p".into(), digest: "d".into(), serial: 1 };
        Grant::compile(draft, stamp).unwrap()
    }

    #[test]
    fn who_is_granted_the_same_has_the_same_grant() {
        let grants = Grants::default();
        let first = grants.share(grant(draft("ada", Effect::Allow)));
        assert!(Arc::ptr_eq(&first, &grants.share(grant(draft("ada", Effect::Allow)))));
        assert_eq!(Arc::strong_count(&first), 1, "nothing but its users keeps it");
    }

    #[test]
    fn whatever_differs_makes_another_grant() {
        let grants = Grants::default();
        let first = grants.share(grant(draft("ada", Effect::Allow)));
        let base = || draft("ada", Effect::Allow);
        let others = [
            draft("bob", Effect::Allow),
            draft("ada", Effect::Deny),
            GrantDraft { expires_at: Some(u64::MAX), ..base() },
            GrantDraft { renew_after: Some(1), ..base() },
            GrantDraft { client_id: Some("c".into()), ..base() },
            GrantDraft { limits: vec![("packet-size".into(), 9)], ..base() },
            GrantDraft { depends_on: vec!["key:k".into()], ..base() },
            GrantDraft { state: vec![1], ..base() },
            GrantDraft { data: Some(vec![]), ..base() },
            GrantDraft { identity: Identity { roles: vec!["r".into()], ..base().identity }, ..base() },
            GrantDraft { rules: vec![Rule { filter: "b/#".into(), ..base().rules.remove(0) }], ..base() },
        ];
        for other in others {
            let shown = format!("{other:?}");
            assert!(!Arc::ptr_eq(&first, &grants.share(grant(other))), "{shown}");
        }
    }

    #[test]
    fn who_differs_in_what_the_policy_keeps_of_him_has_the_rest_in_common() {
        let grants = Grants::default();
        let with = |state: u8| grants.share(grant(GrantDraft { state: vec![state; 9], ..draft("ada", Effect::Allow) }));
        let (first, second, again) = (with(1), with(2), with(2));
        assert!(Arc::ptr_eq(first.terms(), second.terms()));
        assert_eq!((first.state(), second.state()), (&[1; 9][..], &[2; 9][..]));
        assert!(Arc::ptr_eq(&second, &again));
        drop((second, again));
        assert!(Arc::ptr_eq(first.terms(), with(3).terms()), "the terms outlive the latest grant on them");
    }

    #[test]
    fn answers_are_remembered_for_nobody_else() {
        let grants = Grants::default();
        let first = grants.share(grant(draft("ada", Effect::Ask)));
        assert!(!Arc::ptr_eq(&first, &grants.share(grant(draft("ada", Effect::Ask)))));
    }

    #[test]
    fn more_grants_than_there_is_room_for_are_shared_as_far_as_there_is() {
        let grants = Grants::default();
        let name = |number: usize| format!("client {number}");
        let all: Vec<_> = (0..5000).map(|n| grants.share(grant(draft(&name(n), Effect::Allow)))).collect();
        let last = all.last().unwrap();
        assert!(Arc::ptr_eq(last, &grants.share(grant(draft(&name(4999), Effect::Allow)))));
        assert!(all.iter().enumerate().all(|(n, grant)| grant.identity.subject() == name(n)));
        assert!(all.iter().all(|grant| Arc::ptr_eq(grant.terms(), last.terms())), "they differ in their names alone");
    }
}
