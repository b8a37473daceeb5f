//! Why a credential is not good, before it is said in the words of MQTT, of HTTP or of Keystone.

use policy_support::answer::directory_failed;
use policy_support::deny;
use policy_support::wit::directory;
use policy_support::wit::types::{Denial, DenyReason};

/// Why not.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It is wrong, unknown, expired, revoked, or of somebody who is gone. The text is for the operator.
    Wrong(String),
    /// It is known whose it is; this may not be done with it. The text is for the operator.
    Forbidden(String),
    /// It could not be checked.
    Failed(Denial),
}

/// A [`Refusal::Wrong`].
#[must_use]
pub fn wrong(detail: impl Into<String>) -> Refusal {
    Refusal::Wrong(detail.into())
}

/// A [`Refusal::Failed`] for what is not there now.
#[must_use]
pub fn unavailable(detail: impl Into<String>) -> Refusal {
    Refusal::Failed(deny(DenyReason::Unavailable, detail))
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Failed(denial)
    }
}

impl From<directory::Error> for Refusal {
    fn from(error: directory::Error) -> Self {
        Self::Failed(directory_failed(error))
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wrong(detail) => deny(DenyReason::BadCredentials, detail),
            Refusal::Forbidden(detail) => deny(DenyReason::NotAuthorized, detail),
            Refusal::Failed(denial) => denial,
        }
    }
}
