//! Who was let in or refused lately, and why: what `portcullis why` shows.
//!
//! The broker tells what happens to clients; it is kept in memory, bounded in clients and in what is kept of each. It
//! holds no credential.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_grant::{ConnectionFacts, Grant, PolicyStamp, Refusal};
use portcullis_http::Witness;
use portcullis_session::{End, Observer, unix_now};
use serde::{Deserialize, Serialize};

/// Clients that are remembered; the one that was seen first goes first.
const CLIENTS: usize = 1024;
/// Decisions that are remembered of each.
const DECISIONS: usize = 16;
/// Octets of a text that a stranger chose.
const TEXT: usize = 128;

/// One event in the life of a client, in words that outlive its connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Decision {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// `login`, `publish`, `subscribe`, `receive`, `will` or `end`.
    pub(crate) what: String,
    /// `allowed`, `refused` or `ended`.
    pub(crate) verdict: String,
    /// The topic or filter, of a publication or subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// The contract's word for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// What the policy, or the gateway, says to operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// `scheme:subject`, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// Who decided. None: no policy took it, or the gateway itself refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// SHA-256 of the policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// The listener.
    pub(crate) listener: String,
    /// The client's address.
    pub(crate) peer: String,
    /// The MQTT client identifier, empty when the client left it to the gateway.
    pub(crate) client_id: String,
    /// The user name of CONNECT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
}

/// What is remembered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    book: Arc<Mutex<Book>>,
    /// Of decisions about HTTP requests that MQTT has no part in; it counts its own.
    pub(crate) counts: Arc<HttpDecisions>,
}

/// Decisions about HTTP requests: guarded mounts, what is retained, `/verify`.
#[derive(Debug, Default)]
pub(crate) struct HttpDecisions {
    /// Let in.
    pub(crate) admitted: AtomicU64,
    /// Refused.
    pub(crate) refused: AtomicU64,
    /// Let in, and not permitted what they were about.
    pub(crate) actions_refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    clients: HashMap<String, VecDeque<Decision>>,
    /// Keys of `clients` in the order in which they came.
    order: VecDeque<String>,
}

impl Audit {
    /// The decisions about a client, the latest first. `client` is a client identifier, a user name, or the subject of
    /// an identity. None: those about everybody.
    pub(crate) fn about(&self, client: Option<&str>) -> Vec<Decision> {
        let client = client.map(bounded);
        let concerns = |decision: &Decision, client: &str| {
            let subject = decision.identity.as_deref().and_then(|identity| identity.split_once(':'));
            decision.client_id == client
                || decision.username.as_deref() == Some(client)
                || subject.is_some_and(|(_, subject)| subject == client)
        };
        let book = self.book.lock();
        let all = book.clients.values().flatten();
        let mut found: Vec<_> =
            all.filter(|decision| client.as_deref().is_none_or(|client| concerns(decision, client))).cloned().collect();
        drop(book);
        // Those of one second stand in the order in which they were made.
        found.reverse();
        found.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        found
    }

    /// Adds a decision.
    pub(crate) fn record(&self, decision: Decision) {
        // Who gives no client identifier is known by user name or identity, or shares a place.
        let key = if !decision.client_id.is_empty() {
            decision.client_id.clone()
        } else {
            let other = decision.username.as_ref().or(decision.identity.as_ref());
            other.unwrap_or(&decision.listener).clone()
        };
        let mut book = self.book.lock();
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
}

/// The beginning of a text that a stranger chose.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

impl Decision {
    fn new(what: &str, verdict: &str, connection: &ConnectionFacts, client_id: &str) -> Self {
        let client_id = if is_nameless(connection, client_id) { "" } else { client_id };
        Self {
            at: unix_now(),
            what: what.to_owned(),
            verdict: verdict.to_owned(),
            target: None,
            reason: None,
            detail: None,
            identity: None,
            policy: None,
            digest: None,
            listener: connection.listener.to_string(),
            peer: connection.peer.to_string(),
            client_id: bounded(client_id),
            username: None,
        }
    }

    fn by(mut self, policy: Option<&PolicyStamp>) -> Self {
        self.policy = policy.map(|stamp| stamp.name.to_string());
        self.digest = policy.map(|stamp| stamp.digest.to_string());
        self
    }

    fn under(mut self, grant: &Grant) -> Self {
        self.identity = Some(bounded(&format!("{}:{}", grant.identity.scheme, grant.identity.subject)));
        self.by(Some(&grant.policy))
    }
}

/// Whether a client identifier is one that was made up for HTTP requests: there may be one a request, and to remember
/// each would be to forget everybody else.
fn is_nameless(connection: &ConnectionFacts, client_id: &str) -> bool {
    connection.protocol == "http" && client_id.starts_with("auto-")
}

impl Witness for Audit {
    fn admitted(&self, connection: &ConnectionFacts, grant: &Grant) {
        self.counts.admitted.fetch_add(1, Ordering::Relaxed);
        Observer::admitted(self, connection, "", grant);
    }

    fn refused(&self, connection: &ConnectionFacts, refusal: &Refusal) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        Observer::refused(self, connection, "", None, refusal);
    }

    fn action_refused(&self, connection: &ConnectionFacts, grant: &Grant, what: &str, topic: &str) {
        self.counts.actions_refused.fetch_add(1, Ordering::Relaxed);
        Observer::action_refused(self, connection, "", grant, what, topic);
    }
}

impl Observer for Audit {
    fn admitted(&self, connection: &ConnectionFacts, client_id: &str, grant: &Grant) {
        self.record(Decision::new("login", "allowed", connection, client_id).under(grant));
    }

    fn refused(&self, connection: &ConnectionFacts, client_id: &str, username: Option<&str>, refusal: &Refusal) {
        let mut decision = Decision::new("login", "refused", connection, client_id).by(refusal.policy.as_ref());
        decision.username = username.map(bounded);
        decision.reason = Some(refusal.denial.reason.as_str().to_owned());
        decision.detail = Some(bounded(&refusal.denial.detail)).filter(|detail| !detail.is_empty());
        self.record(decision);
    }

    fn action_refused(&self, connection: &ConnectionFacts, client_id: &str, grant: &Grant, what: &str, topic: &str) {
        let mut decision = Decision::new(what, "refused", connection, client_id).under(grant);
        decision.target = Some(bounded(topic));
        decision.reason = Some("not-authorized".to_owned());
        self.record(decision);
    }

    fn ended(&self, connection: &ConnectionFacts, client_id: &str, end: &End) {
        if is_nameless(connection, client_id) && end.by_client {
            // An HTTP connection was closed: that tells nobody anything.
            return;
        }
        let mut decision = Decision::new("end", "ended", connection, client_id);
        decision.detail = Some(bounded(&end.detail));
        self.record(decision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(client_id: &str, at: u64) -> Decision {
        let connection = ConnectionFacts {
            id: "1".into(),
            listener: "mqtt".into(),
            protocol: "mqtt",
            protocol_version: 5,
            transport: "tcp",
            peer: ([127, 0, 0, 1], 4242).into(),
            details: None,
            identity: None,
        };
        Decision { at, ..Decision::new("login", "refused", &connection, client_id) }
    }

    #[test]
    fn the_latest_is_first_and_each_client_has_its_share() {
        let audit = Audit::default();
        for at in 0..100 {
            audit.record(decision("busy", at));
        }
        audit.record(decision("quiet", 7));
        let busy: Vec<_> = audit.about(Some("busy")).into_iter().map(|decision| decision.at).collect();
        assert_eq!(busy, (100 - DECISIONS as u64..100).rev().collect::<Vec<_>>());
        assert_eq!(audit.about(Some("quiet")).len(), 1);
        assert!(audit.about(Some("nobody")).is_empty());
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let audit = Audit::default();
        for number in 0..CLIENTS as u64 + 10 {
            audit.record(decision(&format!("{number}{}", "x".repeat(60_000)), number));
        }
        let book = audit.book.lock();
        assert_eq!(book.clients.len(), CLIENTS);
        assert_eq!(book.order.len(), CLIENTS);
        assert!(book.clients.values().flatten().all(|decision| decision.client_id.len() <= TEXT));
    }

    #[test]
    fn a_long_name_is_found_by_its_whole() {
        let audit = Audit::default();
        let name = "é".repeat(500);
        audit.record(decision(&name, 1));
        assert_eq!(audit.about(Some(&name)).len(), 1);
    }
}
