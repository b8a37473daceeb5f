//! Verdicts in few words.

use crate::wit::directory;
use crate::wit::types::{Denial, DenyReason, Grant, Identity, Rule, Verdict};

/// What a policy decided: a grant, `None` for "not mine", or a refusal. [`verdict`] makes the contract's type of it.
pub type Outcome = Result<Option<Grant>, Denial>;

/// A refusal. `detail` is for the operator: it may name identifiers, never a password, key or token.
#[must_use]
pub fn deny(reason: DenyReason, detail: impl Into<String>) -> Denial {
    Denial { reason, detail: detail.into(), message: None, retry_after: None, server_reference: None, http: None }
}

/// A grant without end, limits or dependencies.
#[must_use]
pub fn grant(identity: Identity, rules: Vec<Rule>) -> Grant {
    Grant {
        identity,
        expires_at: None,
        renew_after: None,
        client_id: None,
        rules,
        limits: vec![],
        depends_on: vec![],
        state: vec![],
        data: None,
        attributes: vec![],
    }
}

/// The contract's verdict.
#[must_use]
pub fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Ok(Some(grant)) => Verdict::Allow(grant),
        Ok(None) => Verdict::Pass,
        Err(denial) => Verdict::Deny(denial),
    }
}

/// The refusal of a policy whose configuration is wrong. Its self-test keeps such a policy from going live; this is the
/// second lock.
#[must_use]
pub fn misconfigured(error: &crate::ConfigError) -> Denial {
    deny(DenyReason::Unavailable, format!("the policy's configuration is wrong: {error}"))
}

/// The refusal when the directory did not answer.
#[must_use]
pub fn directory_failed(error: directory::Error) -> Denial {
    match error {
        directory::Error::RateLimited(seconds) => Denial {
            retry_after: Some(seconds),
            ..deny(DenyReason::RateExceeded, "the directory refuses further look-ups from here for now")
        },
        directory::Error::Other(why) => deny(DenyReason::Unavailable, format!("the directory failed: {why}")),
    }
}
