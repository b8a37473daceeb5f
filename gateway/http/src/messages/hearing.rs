//! The chain of a listener, as the inner MQTT connection of an HTTP client asks it.
//!
//! MQTT tells a refused client a reason code. HTTP has room for all that the policy said, so what is decided is kept here
//! for whoever answers the request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_grant::{
    Action, Authorization, BoxFuture, ConnectionFacts, Credentials, Denial, DenyReason, FilterRefusal, Filtered,
    Gatekeeper, Grant, Login, Outcome, Passage, Refusal, Renewal, Reply,
};

use super::seams::MessageSettings;

/// See the module's description.
pub(super) struct Hearing {
    settings: Arc<ArcSwap<MessageSettings>>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    grant: Option<Arc<Grant>>,
    /// Why the login was refused, or the grant taken back.
    refusal: Option<Denial>,
    /// Why the last action that was asked about was refused.
    action: Option<Denial>,
}

impl Hearing {
    pub(super) fn new(settings: Arc<ArcSwap<MessageSettings>>) -> Arc<Self> {
        Arc::new(Self { settings, heard: Mutex::default() })
    }

    /// The grant in force.
    pub(super) fn grant(&self) -> Option<Arc<Grant>> {
        self.heard.lock().grant.clone()
    }

    /// Why the connection was refused or ended, if a policy said so.
    pub(super) fn refusal(&self) -> Option<Denial> {
        self.heard.lock().refusal.clone()
    }

    /// Why the last action was refused, if a policy was asked. Forgets it.
    pub(super) fn take_action(&self) -> Option<Denial> {
        self.heard.lock().action.take()
    }

    /// Whether the last action that a policy was asked about was refused.
    pub(super) fn refused_action(&self) -> bool {
        self.heard.lock().action.is_some()
    }

    /// The chain now: a reload replaces it for those who are in as well.
    fn chain(&self) -> Option<Arc<dyn Gatekeeper>> {
        self.settings.load().gatekeeper.clone()
    }

    fn keep(&self, outcome: Outcome) -> Outcome {
        let outcome = match outcome {
            // A question and its answer would need two requests of one client: HTTP has no such thing.
            Outcome::Challenge(challenge) => Outcome::Deny(Refusal::new(
                Denial::new(DenyReason::BadAuthenticationMethod, "it challenged a client on HTTP"),
                Some(challenge.policy),
            )),
            decided => decided,
        };
        match &outcome {
            Outcome::Allow(grant, _) => self.heard.lock().grant = Some(Arc::clone(grant)),
            Outcome::Deny(refusal) => self.heard.lock().refusal = Some(refusal.denial.clone()),
            Outcome::Challenge(_) => {}
        }
        outcome
    }

    fn keep_renewal(&self, renewal: Renewal) -> Renewal {
        match &renewal {
            Renewal::Keep(_) => {}
            Renewal::Replace(grant) => self.heard.lock().grant = Some(Arc::clone(grant)),
            Renewal::Revoke(refusal) => self.heard.lock().refusal = Some(refusal.denial.clone()),
        }
        renewal
    }
}

fn closed() -> Refusal {
    let detail = "no policies stand before this listener any more";
    Refusal::new(Denial::new(DenyReason::Unavailable, detail), None)
}

impl Gatekeeper for Hearing {
    fn authenticate(&self, mut login: Login) -> BoxFuture<'_, Outcome> {
        // The contract: on HTTP a policy looks at the request, and at nothing else. The client identifier of the inner
        // connection names a session of this room's, which is nothing to judge an identity by.
        login.credentials = Credentials::default();
        Box::pin(async move {
            let outcome = match self.chain() {
                Some(chain) => chain.authenticate(login).await,
                None => Outcome::Deny(closed()),
            };
            self.keep(outcome)
        })
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        let denial = Denial::new(DenyReason::BadAuthenticationMethod, "HTTP clients are not challenged");
        Box::pin(async move { self.keep(Outcome::Deny(Refusal::new(denial, Some(reply.challenge.policy)))) })
    }

    fn authorize(&self, grant: Arc<Grant>, action: Action) -> BoxFuture<'_, Authorization> {
        Box::pin(async move {
            let answer = match self.chain() {
                Some(chain) => chain.authorize(grant, action).await,
                None => Authorization { denied: Some(closed().denial), valid_for: 0 },
            };
            self.heard.lock().action = answer.denied.clone();
            answer
        })
    }

    fn filter(&self, passage: Passage) -> BoxFuture<'_, Filtered> {
        Box::pin(async move {
            match self.chain() {
                Some(chain) => chain.filter(passage).await,
                None => Filtered::Refuse(FilterRefusal::failed(closed().denial.detail, None)),
            }
        })
    }

    fn recheck(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        Box::pin(async move {
            let renewal = match self.chain() {
                Some(chain) => chain.recheck(connection, grant).await,
                None => Renewal::Revoke(closed()),
            };
            self.keep_renewal(renewal)
        })
    }

    fn renew(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        Box::pin(async move {
            let renewal = match self.chain() {
                Some(chain) => chain.renew(connection, grant).await,
                None => Renewal::Revoke(closed()),
            };
            self.keep_renewal(renewal)
        })
    }
}
