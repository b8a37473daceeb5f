//! Gatekeepers for tests.

use std::sync::Arc;

use portcullis_grant::{
    Action, Actions, Authorization, BoxFuture, Challenge, ConnectionFacts, Denial, DenyReason, Effect, Gatekeeper,
    Grant, GrantDraft, Identity, Login, Outcome, PolicyStamp, Refusal, Renewal, Reply, Rule,
};
use portcullis_mqtt::QoS;

use super::rules::{rule, subscribe};

type OnLogin = Box<dyn Fn(&Login) -> Option<Outcome> + Send + Sync>;
type OnAction = Box<dyn Fn(&str) -> Option<Denial> + Send + Sync>;
type OnRenewal = Box<dyn Fn(&Grant) -> Renewal + Send + Sync>;

struct Gate {
    login: OnLogin,
    action: OnAction,
    renewal: OnRenewal,
}

impl Gate {
    fn new(login: impl Fn(&Login) -> Option<Outcome> + Send + Sync + 'static) -> Self {
        Self { login: Box::new(login), action: Box::new(|_| None), renewal: Box::new(|_| Renewal::Keep(0)) }
    }
}

impl Gatekeeper for Gate {
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome> {
        match (self.login)(&login) {
            Some(outcome) => Box::pin(async move { outcome }),
            None => Box::pin(std::future::pending()),
        }
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        let right = reply.data.as_deref() == Some(b"open sesame");
        let outcome = if right {
            Outcome::allow(grant(&reply.client_id, everything(), None))
        } else {
            deny(DenyReason::BadCredentials)
        };
        Box::pin(async move { outcome })
    }

    fn authorize(&self, _: Arc<Grant>, action: Action) -> BoxFuture<'_, Authorization> {
        let topic = match &action {
            Action::Publish(p) => &p.topic,
            Action::Subscribe(s) => &s.filter,
        };
        let denied = (self.action)(topic);
        Box::pin(async move {
            // Really later: the connection has to wait.
            tokio::task::yield_now().await;
            Authorization { denied, valid_for: 0 }
        })
    }

    fn renew(&self, _: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        let renewal = (self.renewal)(&grant);
        Box::pin(async move { renewal })
    }
}

fn stamp() -> PolicyStamp {
    PolicyStamp { name: "test".into(), digest: "00".into(), serial: 0 }
}

fn deny(reason: DenyReason) -> Outcome {
    Outcome::Deny(Refusal::new(Denial::new(reason, "as the test wants it"), Some(stamp())))
}

fn everything() -> Vec<Rule> {
    vec![rule(Effect::Allow, Actions::ALL, "#", QoS::ExactlyOnce)]
}

fn grant(subject: &str, rules: Vec<Rule>, expires_at: Option<u64>) -> Arc<Grant> {
    let identity = Identity { scheme: "test".into(), subject: subject.to_owned(), ..Identity::default() };
    let draft = GrantDraft {
        identity,
        rules,
        expires_at,
        depends_on: vec![format!("user:{subject}")],
        ..GrantDraft::default()
    };
    Arc::new(Grant::compile(draft, stamp()).unwrap())
}

pub fn with_rules(rules: Vec<Rule>) -> Arc<dyn Gatekeeper> {
    Arc::new(Gate::new(move |l| Some(Outcome::allow(grant(&l.credentials.client_id, rules.clone(), None)))))
}

pub fn everybody() -> Arc<dyn Gatekeeper> {
    with_rules(everything())
}

pub fn by_username() -> Arc<dyn Gatekeeper> {
    Arc::new(Gate::new(|l| {
        let subject = l.credentials.username.as_deref().unwrap_or("nobody");
        Some(Outcome::allow(grant(subject, everything(), None)))
    }))
}

pub fn expiring_in(seconds: u64) -> Arc<dyn Gatekeeper> {
    Arc::new(Gate::new(move |l| {
        let at = portcullis_session::unix_now() + seconds;
        Some(Outcome::allow(grant(&l.credentials.client_id, everything(), Some(at))))
    }))
}

pub fn never_answering_to(client_id: &'static str) -> Arc<dyn Gatekeeper> {
    Arc::new(Gate::new(move |l| {
        let id = &l.credentials.client_id;
        (id != client_id).then(|| Outcome::allow(grant(id, everything(), None)))
    }))
}

/// Publishing is asked about, subscribing is not.
pub fn asking(action: impl Fn(&str) -> Option<Denial> + Send + Sync + 'static) -> Arc<dyn Gatekeeper> {
    let rules = vec![
        rule(Effect::Ask, Actions::PUBLISH, "#", QoS::ExactlyOnce),
        subscribe(Effect::Allow, "#", QoS::ExactlyOnce),
    ];
    let mut gate = Gate::new(move |l| Some(Outcome::allow(grant(&l.credentials.client_id, rules.clone(), None))));
    gate.action = Box::new(action);
    Arc::new(gate)
}

pub fn challenging() -> Arc<dyn Gatekeeper> {
    Arc::new(Gate::new(|_| {
        Some(Outcome::Challenge(Challenge {
            data: b"say the word".to_vec(),
            state: Vec::new(),
            reply_within: None,
            policy: stamp(),
            step: 1,
        }))
    }))
}

/// Grants of `narrowed` lose all but `b`; others are revoked.
pub fn renewing() -> Arc<dyn Gatekeeper> {
    let mut gate = Gate::new(|l| Some(Outcome::allow(grant(&l.credentials.client_id, everything(), None))));
    gate.renewal = Box::new(|old| {
        if old.identity.subject() == "narrowed" {
            let rules = vec![subscribe(Effect::Allow, "b", QoS::ExactlyOnce)];
            return Renewal::Replace(grant("narrowed", rules, None));
        }
        Renewal::Revoke(Refusal::new(Denial::new(DenyReason::Banned, "revoked"), Some(stamp())))
    });
    Arc::new(gate)
}
