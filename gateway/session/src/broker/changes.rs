//! What has changed lately, for those who were being asked about meanwhile.
//!
//! A change in the directory has live connections looked at again. A login that a policy decided before the change, and that
//! is admitted after it, is not among those: without a note of what changed it would outlive the revocation of the very key
//! that let it in. So it is with a policy that is replaced, or taken from before the listener, while it decides.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_grant::{Dependency, Grant, PolicyStamp};

use crate::handle::Control;

/// Changes that are remembered. Who was asked about for longer than these took is asked about again.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Changes {
    count: AtomicU64,
    recent: Mutex<VecDeque<Dependency>>,
    /// By policy: the latest replacement. As many as there are names in configurations.
    replaced: Mutex<HashMap<Arc<str>, Replaced>>,
    /// By listener: the latest chain. As many as there are names in configurations.
    chains: Mutex<HashMap<Arc<str>, Standing>>,
}

/// Another version of a policy went live.
#[derive(Debug)]
struct Replaced {
    /// Its serial.
    serial: u64,
    /// How many changes there had been with it.
    at: u64,
    /// What is to be done with grants of those before it.
    control: Option<Control>,
}

/// Which policies stand before a listener.
#[derive(Debug)]
struct Standing {
    policies: Arc<[Arc<str>]>,
    /// How many changes there had been with it.
    at: u64,
}

impl Changes {
    /// How many there have been. Read before a policy is asked.
    pub(crate) fn so_far(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Notes a change. Before those who are connected are looked for: whoever is not found then finds the note.
    pub(super) fn note(&self, dependency: &Dependency) {
        let mut recent = self.recent.lock();
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(dependency.clone());
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Notes that another version of a policy is live. Before those who are connected are looked for, as with
    /// [`Self::note`].
    pub(super) fn note_replaced(&self, policy: &str, serial: u64, control: Option<Control>) {
        self.note(&Dependency(format!("policy:{policy}").into()));
        let replaced = Replaced { serial, at: self.so_far(), control };
        self.replaced.lock().insert(policy.into(), replaced);
    }

    /// Notes which policies stand before a listener from now on. Before those who are connected are looked for, as with
    /// [`Self::note`].
    pub(super) fn note_chain(&self, listener: &str, policies: Arc<[Arc<str>]>) {
        self.note(&Dependency(format!("listener:{listener}").into()));
        let standing = Standing { policies, at: self.so_far() };
        self.chains.lock().insert(listener.into(), standing);
    }

    /// Whether a policy was taken from before a listener since there had been so many changes.
    pub(crate) fn has_left(&self, policy: &Arc<str>, listener: &str, so_far: u64) -> bool {
        if self.so_far() == so_far {
            return false;
        }
        let chains = self.chains.lock();
        chains.get(listener).is_some_and(|latest| latest.at > so_far && !latest.policies.contains(policy))
    }

    /// What is to be done with a grant of this version of a policy if another has taken its place since there had been so
    /// many changes.
    pub(crate) fn wish_about(&self, stamp: &PolicyStamp, so_far: u64) -> Option<Control> {
        if self.so_far() == so_far {
            return None;
        }
        let replaced = self.replaced.lock();
        let latest = replaced.get(&stamp.name).filter(|latest| latest.at > so_far && stamp.serial < latest.serial)?;
        latest.control.clone()
    }

    /// Whether something that a grant was derived from may have changed since there had been so many changes.
    pub(crate) fn may_have_touched(&self, grant: &Grant, so_far: u64) -> bool {
        if !grant.depends_on_any() || self.so_far() == so_far {
            return false;
        }
        let recent = self.recent.lock();
        let missed = self.so_far().saturating_sub(so_far);
        let Ok(missed) = usize::try_from(missed) else { return true };
        missed > recent.len() || recent.iter().rev().take(missed).any(|changed| grant.depends_on(changed))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_grant::{GrantDraft, Identity};

    use super::*;

    fn of(name: &str) -> Dependency {
        Dependency(name.into())
    }

    fn from(names: &[&str]) -> Grant {
        let identity = Identity { scheme: "s".into(), subject: "ada".into(), ..Identity::default() };
        let depends_on = names.iter().map(|&name| name.to_owned()).collect();
        Grant::compile(GrantDraft { identity, depends_on, ..GrantDraft::default() }, PolicyStamp::default()).unwrap()
    }

    #[test]
    fn a_change_since_then_is_known_and_one_before_is_not() {
        let changes = Changes::default();
        let mine = from(&["user:ada", "key:k"]);
        changes.note(&of("key:k"));
        let asked = changes.so_far();
        assert!(!changes.may_have_touched(&mine, asked));
        changes.note(&of("key:other"));
        assert!(!changes.may_have_touched(&mine, asked));
        changes.note(&of("key:k"));
        assert!(changes.may_have_touched(&mine, asked));
        assert!(!changes.may_have_touched(&from(&[]), asked));
    }

    #[test]
    fn who_was_asked_about_for_too_long_is_asked_about_again() {
        let changes = Changes::default();
        let asked = changes.so_far();
        for _ in 0..=REMEMBERED {
            changes.note(&of("key:other"));
        }
        assert!(changes.may_have_touched(&from(&["user:ada"]), asked));
        assert!(!changes.may_have_touched(&from(&["user:ada"]), asked + 1));
    }
}
