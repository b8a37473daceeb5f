//! Who was let in or refused lately, and why: what `portcullis why` shows.
//!
//! A [`Gatekeeper`] is wrapped, so that every decision of every chain passes here, whoever asked for it. Kept in memory,
//! bounded in clients and in decisions for each; it holds no credential.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use portcullis_grant::{
    Action, Authorization, BoxFuture, ConnectionFacts, Gatekeeper, Grant, Login, Outcome, PolicyStamp, Refusal, Renewal,
    Reply,
};
use serde::Serialize;

/// Clients that are remembered; the one that was seen first goes first.
const CLIENTS: usize = 1024;
/// Decisions that are remembered of each.
const DECISIONS: usize = 16;
/// Octets of a text that a stranger chose.
const TEXT: usize = 128;

/// One decision, in words that outlive the connection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decision {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// `login`, `reply`, `publish`, `subscribe` or `renewal`.
    pub(crate) what: &'static str,
    /// `allowed`, `refused` or `challenged`.
    pub(crate) verdict: &'static str,
    /// The topic or filter, of a publication or subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// The contract's word for a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// What the policy says to operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// `scheme:subject`, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// Who decided. None: no policy took it, or the gateway itself refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// SHA-256 of the policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// The listener.
    pub(crate) listener: String,
    /// The client's address.
    pub(crate) peer: String,
    /// The MQTT client identifier, empty when the client left it to the gateway.
    pub(crate) client_id: String,
    /// The user name of CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
}

/// What is remembered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    clients: HashMap<String, VecDeque<Decision>>,
    /// Keys of `clients` in the order in which they came.
    order: VecDeque<String>,
}

impl Audit {
    /// The decisions about a client, the latest first. `client` is a client identifier, a user name, or the subject of
    /// an identity.
    pub(crate) fn about(&self, client: &str) -> Vec<Decision> {
        let client = bounded(client);
        let concerns = |decision: &Decision| {
            decision.client_id == client
                || decision.username.as_deref() == Some(&client)
                || decision.identity.as_deref().and_then(|identity| identity.split_once(':')).is_some_and(|(_, s)| s == client)
        };
        let book = self.0.lock();
        let mut found: Vec<_> = book.clients.values().flatten().filter(|decision| concerns(decision)).cloned().collect();
        found.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        found
    }

    /// Adds a decision.
    pub(crate) fn record(&self, decision: Decision) {
        // Who gives no client identifier is known by user name, then by address.
        let key = if !decision.client_id.is_empty() {
            decision.client_id.clone()
        } else {
            decision.username.clone().unwrap_or_else(|| decision.peer.clone())
        };
        let mut book = self.0.lock();
        if !book.clients.contains_key(&key) {
            if book.order.len() == CLIENTS
                && let Some(oldest) = book.order.pop_front()
            {
                book.clients.remove(&oldest);
            }
            book.order.push_back(key.clone());
        }
        let decisions = book.clients.entry(key).or_default();
        if decisions.len() == DECISIONS {
            decisions.pop_front();
        }
        decisions.push_back(decision);
    }

    /// A gatekeeper whose decisions are remembered here.
    pub(crate) fn watch(&self, inner: Arc<dyn Gatekeeper>) -> Arc<dyn Gatekeeper> {
        Arc::new(Watched { inner, audit: self.clone() })
    }
}

/// The beginning of a text that a stranger chose.
fn bounded(text: &str) -> String {
    text.chars().scan(0, |octets, c| {
        *octets += c.len_utf8();
        (*octets <= TEXT).then_some(c)
    })
    .collect()
}

struct Watched {
    inner: Arc<dyn Gatekeeper>,
    audit: Audit,
}

impl Decision {
    fn new(what: &'static str, connection: &ConnectionFacts, client_id: &str, username: Option<&str>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: now.as_secs(),
            what,
            verdict: "allowed",
            target: None,
            reason: None,
            detail: None,
            identity: None,
            policy: None,
            digest: None,
            listener: connection.listener.to_string(),
            peer: connection.peer.to_string(),
            client_id: bounded(client_id),
            username: username.map(bounded),
        }
    }

    fn by(mut self, policy: Option<&PolicyStamp>) -> Self {
        self.policy = policy.map(|stamp| stamp.name.to_string());
        self.digest = policy.map(|stamp| stamp.digest.to_string());
        self
    }

    fn refused(mut self, refusal: &Refusal) -> Self {
        self.verdict = "refused";
        self.reason = Some(refusal.denial.reason.as_str());
        self.detail = Some(bounded(&refusal.denial.detail)).filter(|detail| !detail.is_empty());
        self.by(refusal.policy.as_ref())
    }

    fn granted(mut self, grant: &Grant) -> Self {
        self.identity = Some(bounded(&format!("{}:{}", grant.identity.scheme, grant.identity.subject)));
        self.by(Some(&grant.policy))
    }

    fn outcome(mut self, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Allow(grant) => self.granted(grant),
            Outcome::Deny(refusal) => self.refused(refusal),
            Outcome::Challenge(challenge) => {
                self.verdict = "challenged";
                self.by(Some(&challenge.policy))
            }
        }
    }
}

impl Gatekeeper for Watched {
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome> {
        let Login { connection, credentials } = &login;
        let decision = Decision::new("login", connection, &credentials.client_id, credentials.username.as_deref());
        Box::pin(async move {
            let outcome = self.inner.authenticate(login).await;
            self.audit.record(decision.outcome(&outcome));
            outcome
        })
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        let decision = Decision::new("reply", &reply.connection, &reply.client_id, None);
        Box::pin(async move {
            let outcome = self.inner.continue_authentication(reply).await;
            self.audit.record(decision.outcome(&outcome));
            outcome
        })
    }

    fn authorize(&self, grant: Arc<Grant>, action: Action) -> BoxFuture<'_, Authorization> {
        self.inner.authorize(grant, action)
    }

    fn renew(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        let decision = Decision::new("renewal", &connection, grant.client_id.as_deref().unwrap_or_default(), None);
        let decision = decision.granted(&grant);
        Box::pin(async move {
            let renewal = self.inner.renew(connection, grant).await;
            // That nothing changed is no news.
            if let Renewal::Revoke(refusal) = &renewal {
                self.audit.record(decision.refused(refusal));
            }
            renewal
        })
    }
}
