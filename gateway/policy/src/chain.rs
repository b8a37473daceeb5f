//! The policies in front of one listener or mount, in order: the gateway's [`Gatekeeper`].
//!
//! The first policy that does not pass decides. If all pass the client is refused, and so it is when a policy traps,
//! misses its deadline, or answers what the contract does not allow: the chain fails closed, with the reason in
//! `denial.detail`.

use std::sync::Arc;
use std::time::Instant;

use portcullis_grant::gatekeeper::Reply;
use portcullis_grant::{
    Action, ActionRefusal, Authorization, BoxFuture, ConnectionFacts, Denial, DenyReason, Filtered, Gatekeeper, Grant,
    Login, Outcome, Passage, PolicyStamp, Refusal, Renewal,
};

use crate::bindings::exports::portcullis::policy::renewal;
use crate::call::{Answer, CallError, Caller, Question};
use crate::convert;
use crate::filters::{self, Filter};
use crate::policy::{Policy, caller};
use crate::shadow::{Asked, Given, Matter, Shadow};
use crate::stats::CallOutcome;
use crate::tally::Tally;
use crate::verdict::{Step, Terms, Watch, compile, same_principal};

/// Seconds after which a renewal that failed is tried again.
const RETRY_RENEWAL: u32 = 30;
/// Octets from which on a credential is looked for in a policy's words: shorter ones are in any sentence.
const SECRET: usize = 6;

/// An ordered list of policies.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    policies: Arc<[Arc<Policy>]>,
    /// Asked about messages, in this order.
    filters: Arc<[Filter]>,
}

impl Chain {
    /// In the order in which they are asked. An empty chain refuses everybody.
    #[must_use]
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        Self { policies: policies.into(), filters: Arc::default() }
    }

    /// The same with filters, in the order in which they are asked about messages.
    #[must_use]
    pub fn with_filters(mut self, filters: Vec<Filter>) -> Self {
        self.filters = filters.into();
        self
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
        let (mut asked, mut passed) = (Vec::new(), Vec::new());
        for policy in self.policies.iter() {
            let generation = policy.current();
            let able =
                generation.abilities.exports("authentication") && method.is_none_or(|m| generation.serves_method(m));
            let shadow = policy.shadow().filter(|shadow| {
                shadow.takes(&login.connection, &login.credentials.client_id, login.credentials.username.as_deref())
            });
            if !able {
                after(shadow, || Matter::Login(login.clone()), Some(Given::Pass), Instant::now());
                continue;
            }
            asked.push(&**policy.name());
            let (watch, caller) = Watch::start(caller(&login.connection));
            let terms = Terms::of_login(&login, &watch);
            let question = Question::Authenticate(&connection, &credentials);
            let mut given = None;
            let answer = policy
                .ask(&generation, question, caller, |answer| {
                    given = shadow.is_some().then(|| Given::of(&answer));
                    terms.read(&generation, answer)
                })
                .await;
            let given = told(given, &answer);
            after(shadow, || Matter::Login(login.clone()), given, watch.begun);
            let step = answer.unwrap_or_else(|error| Step::Decided(watch.failed(&generation.stamp, &error)));
            if let Step::Decided(outcome) = step {
                return without_secrets(outcome, &login);
            }
            passed.push(generation);
        }
        // Each of them might have taken it.
        for generation in &passed {
            Tally::add(&generation.tally.refused);
        }
        Outcome::Deny(Refusal::new(nobody(method, &asked), None))
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
            return Outcome::Deny(Refusal::new(denial, Some(stamp.clone())));
        };
        let connection = convert::connection(&reply.connection);
        let question = convert::reply(&reply);
        let (watch, caller) = Watch::start(caller(&reply.connection));
        let terms = Terms::of_reply(&reply, &watch);
        let shadow = policy.shadow().filter(|shadow| shadow.takes(&reply.connection, &reply.client_id, None));
        let mut given = None;
        let answer = policy
            .ask(&generation, Question::Continue(&connection, &question), caller, |answer| {
                given = shadow.is_some().then(|| Given::of(&answer));
                terms.read(&generation, answer)
            })
            .await;
        let given = told(given, &answer);
        after(shadow, || Matter::Reply(Box::new(reply.clone())), given, watch.begun);
        let step = answer.unwrap_or_else(|error| Step::Decided(watch.failed(&generation.stamp, &error)));
        match step {
            Step::Decided(outcome) => outcome,
            Step::Pass => {
                let detail = "it passed in the middle of an exchange, which counts as a refusal";
                Outcome::Deny(watch.refusal(Denial::new(DenyReason::BadCredentials, detail), &generation.stamp))
            }
        }
    }

    async fn look_again(&self, mut connection: ConnectionFacts, grant: Arc<Grant>) -> Renewal {
        let revoke = |reason, detail: String| {
            Renewal::Revoke(Refusal::new(Denial::new(reason, detail), Some(grant.policy.clone())))
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
        let (watch, caller) = Watch::start(caller(&connection));
        let shadow = policy.shadow().filter(|shadow| shadow.takes_grant(&grant));
        let mut given = None;
        let answer = policy
            .ask(&generation, Question::Renew(&facts, grant.state()), caller, |answer| {
                given = shadow.is_some().then(|| Given::of(&answer));
                let Answer::Renewal(decision) = answer else { return Err("an answer to another question".to_owned()) };
                let renewal = match decision {
                    renewal::Decision::Keep(seconds) => Renewal::Keep(seconds),
                    renewal::Decision::Replace(new) => {
                        let names: Vec<&str> = grant.identity.names().collect();
                        let new = compile(&generation, &names, new)?;
                        if !same_principal(&new.identity, connection.identity.as_deref()) {
                            return Err("a renewed grant for another identity".to_owned());
                        }
                        Renewal::Replace(generation.grants.share_again(new, &grant))
                    }
                    renewal::Decision::Revoke(denial) => {
                        Renewal::Revoke(watch.refusal(convert::denial(denial)?, &generation.stamp))
                    }
                };
                Ok((renewal, CallOutcome::Answer))
            })
            .await;
        let given = told(given, &answer);
        after(shadow, || Matter::Renew(connection.clone(), Arc::clone(&grant)), given, watch.begun);
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
        let (watch, caller) = Watch::start(Caller::default());
        let shadow = policy.shadow().filter(|shadow| shadow.takes_grant(&grant));
        let mut given = None;
        let answer = policy
            .ask(&generation, Question::Authorize(&identity, grant.state(), &question), caller, |answer| {
                given = shadow.is_some().then(|| Given::of(&answer));
                let Answer::Authorization(decision) = answer else {
                    return Err("an answer to another question".to_owned());
                };
                let denied = decision.denied.map(convert::denial).transpose()?;
                Ok((Authorization { denied, valid_for: decision.valid_for }, CallOutcome::Answer))
            })
            .await;
        let given = told(given, &answer);
        after(shadow, || Matter::Authorize(Arc::clone(&grant), action.clone()), given, watch.begun);
        let answer =
            answer.unwrap_or_else(|error| denied(DenyReason::Unavailable, format!("policy `{name}`: {error}")));
        grant.remember(&action, &answer);
        if let Some(denial) = &answer.denied {
            let why = ActionRefusal { reason: denial.reason, detail: denial.detail.clone(), account: watch.account() };
            grant.refused(&action, why);
        }
        answer
    }
}

/// Hands a question that was answered to the candidate that runs beside the policy, if it is asked about this client.
fn after(shadow: Option<Arc<Shadow>>, matter: impl FnOnce() -> Matter, given: Option<Given>, begun: Instant) {
    if let (Some(shadow), Some(live)) = (shadow, given) {
        shadow.offer(Asked { matter: matter(), live, took: begun.elapsed() });
    }
}

/// What the live policy is to be compared by: its answer, unless that was void or never came.
fn told<T>(given: Option<Given>, answer: &Result<T, CallError>) -> Option<Given> {
    match answer {
        Ok(_) => given,
        Err(error) => Some(Given::Failed(error.to_string())),
    }
}

/// A policy's words for operators without what the client offered: some quote it, and it goes to logs and audit.
fn without_secrets(mut outcome: Outcome, login: &Login) -> Outcome {
    let Outcome::Deny(refusal) = &mut outcome else { return outcome };
    let offered = &login.credentials;
    let password = offered.password.as_deref().filter(|password| !password.is_empty());
    let password_text = password.and_then(|password| std::str::from_utf8(password).ok());
    // Without a password the user name is the credential.
    let username = offered.username.as_deref().filter(|_| password.is_none());
    let head = login.connection.details.as_ref().and_then(|details| details.http.as_ref());
    let header = head.and_then(|head| head.headers.iter().find(|(name, _)| name == "authorization"));
    let header = header.and_then(|(_, value)| value.rsplit(' ').next());
    for secret in [password_text, username, header].into_iter().flatten().filter(|secret| secret.len() >= SECRET) {
        // As the policy quotes it: what is not to stand in a line of the log is escaped there.
        for secret in [secret.to_owned(), crate::capability::escaped(secret)] {
            if refusal.denial.detail.contains(&secret) {
                refusal.denial.detail = refusal.denial.detail.replace(&secret, "[what the client offered]");
            }
        }
    }
    outcome
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

    fn recheck(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        let policy = self.policy(&grant.policy);
        if policy.is_some_and(|policy| !policy.current().abilities.exports("renewal")) {
            return Box::pin(async { Renewal::Keep(0) });
        }
        self.renew(connection, grant)
    }

    fn filter(&self, passage: Passage) -> BoxFuture<'_, Filtered> {
        Box::pin(filters::pass(&self.filters, passage))
    }
}
