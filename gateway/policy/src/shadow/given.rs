//! Answers of two versions to one question, and in what they differ.

use portcullis_grant::{DenyReason, GrantDraft};

use crate::bindings::exports::portcullis::policy::renewal::Decision;
use crate::bindings::portcullis::policy::types::Verdict;
use crate::call::Answer;
use crate::convert;

/// Seconds by which two expiries may differ and still be the same: the candidate is asked later.
const SAME_EXPIRY: u64 = 30;

/// What was answered, without what is for the client alone.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// Yes. Without a grant: this may be done, or the grant is kept.
    Allow(Option<Box<GrantDraft>>),
    /// No.
    Deny(DenyReason, String),
    /// Not its scheme.
    Pass,
    /// It asks the client for more, with this.
    Challenge(Vec<u8>),
    /// It trapped, was late, or broke the contract.
    Failed(String),
}

/// What it means that two answers are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Comparison {
    /// The same.
    Same,
    /// The live one lets in, the candidate does not.
    AllowToDeny,
    /// The live one refuses, the candidate does not.
    DenyToAllow,
    /// One of them passes.
    Pass,
    /// Both let in, on other terms.
    Grant,
    /// Both refuse, for another reason.
    Reason,
    /// One of them asks the client for more, or both do for something else.
    Challenge,
    /// The candidate failed.
    CandidateFailed,
    /// The live one failed, so that there is nothing to compare with.
    LiveFailed,
}

impl Comparison {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Same,
        Self::AllowToDeny,
        Self::DenyToAllow,
        Self::Pass,
        Self::Grant,
        Self::Reason,
        Self::Challenge,
        Self::CandidateFailed,
        Self::LiveFailed,
    ];

    /// The word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::AllowToDeny => "allow-to-deny",
            Self::DenyToAllow => "deny-to-allow",
            Self::Pass => "pass",
            Self::Grant => "grant",
            Self::Reason => "reason",
            Self::Challenge => "challenge",
            Self::CandidateFailed => "candidate-failed",
            Self::LiveFailed => "live-failed",
        }
    }
}

impl Given {
    /// Reads an answer, before anybody judges it.
    pub(crate) fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Verdict(Verdict::Allow(grant)) => Self::granted(grant.clone()),
            Answer::Verdict(Verdict::Deny(denial)) => Self::denied(denial.clone()),
            Answer::Verdict(Verdict::Pass) => Self::Pass,
            Answer::Verdict(Verdict::Challenge(challenge)) => Self::Challenge(challenge.data.clone()),
            Answer::Renewal(Decision::Keep(_)) => Self::Allow(None),
            Answer::Renewal(Decision::Replace(grant)) => Self::granted(grant.clone()),
            Answer::Renewal(Decision::Revoke(denial)) => Self::denied(denial.clone()),
            Answer::Authorization(decision) => match &decision.denied {
                None => Self::Allow(None),
                Some(denial) => Self::denied(denial.clone()),
            },
            _ => Self::Failed("an answer to another question".to_owned()),
        }
    }

    fn granted(grant: crate::bindings::portcullis::policy::types::Grant) -> Self {
        match convert::grant(grant) {
            Ok(draft) => Self::Allow(Some(Box::new(draft))),
            Err(why) => Self::Failed(format!("its answer breaks the contract: {why}")),
        }
    }

    fn denied(denial: crate::bindings::portcullis::policy::types::Denial) -> Self {
        match convert::denial(denial) {
            Ok(denial) => Self::Deny(denial.reason, denial.detail),
            Err(why) => Self::Failed(format!("its answer breaks the contract: {why}")),
        }
    }

    /// For people: no secret of the client, and nothing of what a grant holds but whom it is for.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Allow(None) => "allow".to_owned(),
            Self::Allow(Some(grant)) => {
                let identity = format!("{}:{}", grant.identity.scheme, grant.identity.subject);
                let rules = grant.rules.len();
                let expiry = grant.expires_at.map_or_else(|| "no expiry".to_owned(), |at| format!("until {at}"));
                format!("allow {} ({rules} rules, {expiry})", crate::capability::escaped(&identity))
            }
            Self::Deny(reason, detail) if detail.is_empty() => format!("deny: {}", reason.as_str()),
            Self::Deny(reason, detail) => {
                format!("deny: {} ({})", reason.as_str(), crate::capability::escaped(detail))
            }
            Self::Pass => "pass".to_owned(),
            Self::Challenge(_) => "challenge".to_owned(),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }
}

/// Compares, and says in what grants differ.
pub(crate) fn compare(live: &Given, candidate: &Given) -> (Comparison, Vec<&'static str>) {
    use Given::{Allow, Challenge, Deny, Failed, Pass};
    let comparison = match (live, candidate) {
        (_, Failed(_)) => Comparison::CandidateFailed,
        (Failed(_), _) => Comparison::LiveFailed,
        (Allow(one), Allow(other)) => {
            let differ = match (one, other) {
                (Some(one), Some(other)) => differences(one, other),
                (None, None) => Vec::new(),
                _ => vec!["renewal"],
            };
            let comparison = if differ.is_empty() { Comparison::Same } else { Comparison::Grant };
            return (comparison, differ);
        }
        (Allow(_), Deny(..)) => Comparison::AllowToDeny,
        (Deny(..), Allow(_)) => Comparison::DenyToAllow,
        (Deny(one, _), Deny(other, _)) if one == other => Comparison::Same,
        (Deny(..), Deny(..)) => Comparison::Reason,
        (Pass, Pass) => Comparison::Same,
        (Challenge(one), Challenge(other)) if one == other => Comparison::Same,
        (Pass, _) | (_, Pass) => Comparison::Pass,
        (Challenge(_), _) | (_, Challenge(_)) => Comparison::Challenge,
    };
    (comparison, Vec::new())
}

/// The parts of two grants that are not the same. Lists that have no order are compared without one; the policy's own
/// state is its own.
fn differences(one: &GrantDraft, other: &GrantDraft) -> Vec<&'static str> {
    fn sorted<T: Clone + Ord>(list: &[T]) -> Vec<T> {
        let mut list = list.to_vec();
        list.sort();
        list
    }
    let rules = |of: &GrantDraft| sorted(&of.rules.iter().map(|rule| format!("{rule:?}")).collect::<Vec<_>>());
    let (a, b) = (&one.identity, &other.identity);
    let same_identity = (&a.scheme, &a.subject, &a.tenant, &a.acting_for)
        == (&b.scheme, &b.subject, &b.tenant, &b.acting_for)
        && sorted(&a.roles) == sorted(&b.roles)
        && sorted(&a.attributes) == sorted(&b.attributes);
    let same_expiry = match (one.expires_at, other.expires_at) {
        (Some(one), Some(other)) => one.abs_diff(other) <= SAME_EXPIRY,
        (one, other) => one == other,
    };
    let parts = [
        ("identity", same_identity),
        ("rules", rules(one) == rules(other)),
        ("expiry", same_expiry),
        ("limits", sorted(&one.limits) == sorted(&other.limits)),
        ("client-id", one.client_id == other.client_id),
        ("renewal", one.renew_after == other.renew_after),
        ("depends-on", sorted(&one.depends_on) == sorted(&other.depends_on)),
    ];
    parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_grant::{Actions, Effect, Identity, Rule};
    use portcullis_mqtt::QoS;

    use super::*;

    fn grant(change: impl FnOnce(&mut GrantDraft)) -> Given {
        let rule = |filter: &str| Rule {
            effect: Effect::Allow,
            actions: Actions::default(),
            filter: filter.to_owned(),
            max_qos: QoS::ExactlyOnce,
        };
        let identity = Identity { scheme: "x".to_owned(), subject: "a".to_owned(), ..Identity::default() };
        let rules = vec![rule("a/#"), rule("b/#")];
        let mut draft = GrantDraft { identity, rules, expires_at: Some(1000), ..GrantDraft::default() };
        change(&mut draft);
        Given::Allow(Some(Box::new(draft)))
    }

    #[test]
    fn grants_differ_in_what_they_say_and_not_in_how() {
        let live = grant(|_| ());
        let parts = |candidate: Given| compare(&live, &candidate).1;
        assert!(parts(grant(|draft| draft.rules.reverse())).is_empty());
        assert!(parts(grant(|draft| draft.expires_at = Some(1003))).is_empty());
        assert!(parts(grant(|draft| draft.state = vec![1])).is_empty());
        assert_eq!(parts(grant(|draft| drop(draft.rules.pop()))), ["rules"]);
        assert_eq!(parts(grant(|draft| draft.expires_at = None)), ["expiry"]);
        assert_eq!(parts(grant(|draft| draft.identity.roles.push("admin".to_owned()))), ["identity"]);
        assert_eq!(parts(grant(|draft| draft.limits.push(("subscriptions".to_owned(), 1)))), ["limits"]);
    }

    #[test]
    fn each_direction_is_told_apart() {
        let deny = |detail: &str| Given::Deny(DenyReason::BadCredentials, detail.to_owned());
        let allow = || grant(|_| ());
        let of = |live: Given, candidate: Given| compare(&live, &candidate).0;
        assert_eq!(of(allow(), deny("x")), Comparison::AllowToDeny);
        assert_eq!(of(deny("x"), allow()), Comparison::DenyToAllow);
        assert_eq!(of(deny("x"), deny("in other words")), Comparison::Same);
        assert_eq!(of(deny("x"), Given::Deny(DenyReason::Banned, String::new())), Comparison::Reason);
        assert_eq!(of(allow(), Given::Pass), Comparison::Pass);
        assert_eq!(of(Given::Pass, Given::Pass), Comparison::Same);
        assert_eq!(of(Given::Challenge(vec![1]), Given::Challenge(vec![2])), Comparison::Challenge);
        assert_eq!(of(allow(), Given::Failed("it trapped".to_owned())), Comparison::CandidateFailed);
        assert_eq!(of(Given::Failed("it trapped".to_owned()), allow()), Comparison::LiveFailed);
    }
}
