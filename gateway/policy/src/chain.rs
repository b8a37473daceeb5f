//! The policies in front of one listener or mount, in order: the gateway's [`Gatekeeper`].
//!
//! The first policy that does not pass decides. If all pass the client is refused, and so it is when a policy traps,
//! misses its deadline, or answers what the contract does not allow: the chain fails closed, with the reason in
//! `denial.detail`.

use std::sync::Arc;

use portcullis_grant::gatekeeper::Reply;
use portcullis_grant::{
    Action, Authorization, BoxFuture, ConnectionFacts, Denial, DenyReason, Gatekeeper, Grant, Identity, Login, Outcome,
    PolicyStamp, Refusal, Renewal,
};

use crate::bindings::exports::portcullis::policy::renewal;
use crate::bindings::portcullis::policy::types::{self as wit, Verdict};
use crate::call::{Answer, CallError, Question};
use crate::convert;
use crate::generation::Generation;
use crate::policy::{Policy, caller};
use crate::stats::CallOutcome;

/// The most questions of one exchange (the contract's `enhanced-authentication`).
const MAX_STEPS: u8 = 8;
/// Seconds after which a renewal that failed is tried again.
const RETRY_RENEWAL: u32 = 30;

/// An ordered list of policies.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    policies: Arc<[Arc<Policy>]>,
}

/// What a verdict means for the chain.
enum Step {
    Pass,
    Decided(Outcome),
}

impl Chain {
    /// In the order in which they are asked. An empty chain refuses everybody.
    #[must_use]
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        Self { policies: policies.into() }
    }

    /// The policies, in order.
    #[must_use]
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    fn policy(&self, stamp: &PolicyStamp) -> Option<&Arc<Policy>> {
        self.policies.iter().find(|policy| **policy.name() == *stamp.name)
    }

    async fn decide(&self, login: Login) -> Outcome {
        let connection = convert::connection(&login.connection);
        let credentials = convert::credentials(&login.credentials);
        let method = login.credentials.method.as_deref();
        let mut asked = Vec::new();
        for policy in self.policies.iter() {
            let generation = policy.current();
            let able =
                generation.abilities.exports("authentication") && method.is_none_or(|m| generation.serves_method(m));
            if !able {
                continue;
            }
            asked.push(&**policy.name());
            let terms = Terms { known: login.connection.identity.as_deref(), may_challenge: method.is_some(), step: 0 };
            let question = Question::Authenticate(&connection, &credentials);
            let step = policy
                .ask(&generation, question, caller(&login.connection), |answer| terms.read(&generation, answer))
                .await
                .unwrap_or_else(|error| Step::Decided(failed(&generation.stamp, &error)));
            if let Step::Decided(outcome) = step {
                return outcome;
            }
        }
        Outcome::Deny(Refusal { denial: nobody(method, &asked), policy: None })
    }

    async fn next_step(&self, reply: Reply) -> Outcome {
        let stamp = &reply.challenge.policy;
        let Some((policy, generation)) = self.policy(stamp).and_then(|p| Some((p, p.with_digest(&stamp.digest)?)))
        else {
            let mut denial = Denial::new(
                DenyReason::Unavailable,
                format!("policy `{}` was replaced in the middle of an exchange that it had begun", stamp.name),
            );
            denial.retry_after = Some(1);
            return Outcome::Deny(Refusal { denial, policy: Some(stamp.clone()) });
        };
        let connection = convert::connection(&reply.connection);
        let question = convert::reply(&reply);
        let terms =
            Terms { known: reply.connection.identity.as_deref(), may_challenge: true, step: reply.challenge.step };
        let step = policy
            .ask(&generation, Question::Continue(&connection, &question), caller(&reply.connection), |answer| {
                terms.read(&generation, answer)
            })
            .await
            .unwrap_or_else(|error| Step::Decided(failed(&generation.stamp, &error)));
        match step {
            Step::Decided(outcome) => outcome,
            Step::Pass => Outcome::Deny(Refusal {
                denial: Denial::new(
                    DenyReason::BadCredentials,
                    "it passed in the middle of an exchange, which counts as a refusal",
                ),
                policy: Some(generation.stamp.clone()),
            }),
        }
    }

    async fn look_again(&self, mut connection: ConnectionFacts, grant: Arc<Grant>) -> Renewal {
        let revoke = |reason, detail: String| {
            Renewal::Revoke(Refusal { denial: Denial::new(reason, detail), policy: Some(grant.policy.clone()) })
        };
        let name = &grant.policy.name;
        let Some(policy) = self.policy(&grant.policy) else {
            return revoke(DenyReason::NotAuthorized, format!("policy `{name}` no longer stands before this listener"));
        };
        let generation = policy.current();
        if !generation.abilities.exports("renewal") {
            // `renew-after` was dropped from its grants, so that this means that something the grant depends on changed.
            return revoke(
                DenyReason::NotAuthorized,
                format!("what the grant depends on has changed, and policy `{name}` does not renew grants"),
            );
        }
        connection.identity = Some(Arc::clone(&grant.identity));
        // The contract: `peer` answers nothing then.
        connection.details = None;
        let facts = convert::connection(&connection);
        let answer = policy
            .ask(&generation, Question::Renew(&facts, &grant.state), caller(&connection), |answer| {
                let Answer::Renewal(decision) = answer else { return Err("an answer to another question".to_owned()) };
                let renewal = match decision {
                    renewal::Decision::Keep(seconds) => Renewal::Keep(seconds),
                    renewal::Decision::Replace(grant) => {
                        let new = compile(&generation, grant)?;
                        if !same_principal(&new.identity, connection.identity.as_deref()) {
                            return Err("a renewed grant for another identity".to_owned());
                        }
                        Renewal::Replace(Arc::new(new))
                    }
                    renewal::Decision::Revoke(denial) => Renewal::Revoke(Refusal {
                        denial: convert::denial(denial)?,
                        policy: Some(generation.stamp.clone()),
                    }),
                };
                Ok((renewal, CallOutcome::Answer))
            })
            .await;
        answer.unwrap_or_else(|error| {
            // The contract: a failure keeps the grant until it ends by itself.
            tracing::warn!(target: "portcullis::policy", policy = &**name, "a grant could not be renewed and is kept for now: {error}");
            Renewal::Keep(RETRY_RENEWAL)
        })
    }

    async fn decide_action(&self, grant: Arc<Grant>, action: Action) -> Authorization {
        let denied = |reason, detail: String| Authorization { denied: Some(Denial::new(reason, detail)), valid_for: 0 };
        let name = &grant.policy.name;
        let Some(policy) = self.policy(&grant.policy) else {
            return denied(DenyReason::NotAuthorized, format!("policy `{name}` no longer stands before this listener"));
        };
        let generation = policy.current();
        if !generation.abilities.exports("authorization") {
            return denied(
                DenyReason::NotAuthorized,
                format!("policy `{name}` has rules that ask and does not export `authorization`"),
            );
        }
        let identity = convert::identity(&grant.identity);
        let question = convert::action(&action);
        let answer = policy
            .ask(
                &generation,
                Question::Authorize(&identity, &grant.state, &question),
                crate::call::Caller::default(),
                |answer| {
                    let Answer::Authorization(decision) = answer else {
                        return Err("an answer to another question".to_owned());
                    };
                    let denied = decision.denied.map(convert::denial).transpose()?;
                    Ok((Authorization { denied, valid_for: decision.valid_for }, CallOutcome::Answer))
                },
            )
            .await
            .unwrap_or_else(|error| denied(DenyReason::Unavailable, format!("policy `{name}`: {error}")));
        grant.remember(&action, &answer);
        answer
    }
}

/// On what terms a verdict is read.
struct Terms<'a> {
    /// Who is known already: the answer must be about the same principal.
    known: Option<&'a Identity>,
    may_challenge: bool,
    /// Questions so far.
    step: u8,
}

impl Terms<'_> {
    fn read(&self, generation: &Generation, answer: Answer) -> Result<(Step, CallOutcome), String> {
        let Answer::Verdict(verdict) = answer else { return Err("an answer to another question".to_owned()) };
        let refuse = |denial| Step::Decided(Outcome::Deny(Refusal { denial, policy: Some(generation.stamp.clone()) }));
        Ok(match verdict {
            Verdict::Pass => (Step::Pass, CallOutcome::Pass),
            Verdict::Deny(denial) => (refuse(convert::denial(denial)?), CallOutcome::Deny),
            Verdict::Allow(grant) => {
                let grant = compile(generation, grant)?;
                if same_principal(&grant.identity, self.known) {
                    (Step::Decided(Outcome::Allow(Arc::new(grant))), CallOutcome::Allow)
                } else {
                    let detail = "the client authenticated again as somebody else";
                    (refuse(Denial::new(DenyReason::NotAuthorized, detail)), CallOutcome::Deny)
                }
            }
            Verdict::Challenge(challenge) => {
                // Clients can bring these two about as often as they like: they are refused, and the policy is not blamed,
                // or strangers could have it put into quarantine.
                if !self.may_challenge {
                    let detail = "it challenged a client that named no authentication method";
                    return Ok((refuse(Denial::new(DenyReason::BadAuthenticationMethod, detail)), CallOutcome::Deny));
                }
                if self.step >= MAX_STEPS {
                    let detail = format!("more than {MAX_STEPS} challenges in one exchange");
                    return Ok((refuse(Denial::new(DenyReason::NotAuthorized, detail)), CallOutcome::Deny));
                }
                if !generation.abilities.exports("enhanced-authentication") {
                    return Err("a challenge, without exporting `enhanced-authentication`".to_owned());
                }
                let challenge = convert::challenge(challenge, generation.stamp.clone(), self.step + 1)?;
                (Step::Decided(Outcome::Challenge(challenge)), CallOutcome::Challenge)
            }
        })
    }
}

fn compile(generation: &Generation, grant: wit::Grant) -> Result<Grant, String> {
    let mut draft = convert::grant(grant)?;
    if !generation.abilities.exports("renewal") {
        // The contract: without the export, never.
        draft.renew_after = None;
    }
    if let Some(ear) = &generation.runtime.with.shared.outside.ear {
        ear.granted(&draft);
    }
    Grant::compile(draft, generation.stamp.clone()).map_err(|why| crate::capability::escaped(&why.to_string()))
}

/// Whether a verdict keeps the contract.
pub(crate) fn check(generation: &Generation, verdict: Verdict) -> Result<(), String> {
    match verdict {
        Verdict::Allow(grant) => compile(generation, grant).map(|_| ()),
        Verdict::Deny(denial) => convert::denial(denial).map(|_| ()),
        Verdict::Challenge(challenge) => convert::challenge(challenge, generation.stamp.clone(), 1).map(|_| ()),
        Verdict::Pass => Ok(()),
    }
}

fn same_principal(new: &Identity, known: Option<&Identity>) -> bool {
    known.is_none_or(|old| (&old.scheme, &old.subject, &old.tenant) == (&new.scheme, &new.subject, &new.tenant))
}

/// A policy that failed refuses: nobody comes in because something broke.
fn failed(stamp: &PolicyStamp, error: &CallError) -> Outcome {
    let mut denial = Denial::new(DenyReason::Unavailable, format!("policy `{}`: {error}", stamp.name));
    if matches!(error, CallError::Busy | CallError::Quarantined { .. }) {
        denial.retry_after = Some(1);
    }
    Outcome::Deny(Refusal { denial, policy: Some(stamp.clone()) })
}

/// Nobody took the login.
fn nobody(method: Option<&str>, asked: &[&str]) -> Denial {
    let names = asked.join(", ");
    match (method, asked) {
        (Some(method), []) => Denial::new(
            DenyReason::BadAuthenticationMethod,
            format!("no policy here serves the authentication method {:?}", crate::capability::escaped(method)),
        ),
        (Some(_), _) => {
            Denial::new(DenyReason::BadAuthenticationMethod, format!("the policies asked ({names}) all passed"))
        }
        (None, []) => Denial::new(DenyReason::NotAuthorized, "there is no policy to ask"),
        (None, _) => Denial::new(
            DenyReason::BadCredentials,
            format!("the policies asked ({names}) all passed: the credentials are of none of their schemes"),
        ),
    }
}

impl Gatekeeper for Chain {
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome> {
        Box::pin(self.decide(login))
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        Box::pin(self.next_step(reply))
    }

    fn authorize(&self, grant: Arc<Grant>, action: Action) -> BoxFuture<'_, Authorization> {
        Box::pin(self.decide_action(grant, action))
    }

    fn renew(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        Box::pin(self.look_again(connection, grant))
    }
}
