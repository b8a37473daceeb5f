//! What audit says: one event in the life of a client, or one thing that somebody did to the gateway. It holds no
//! credential.

use std::borrow::Cow;

use portcullis_grant::{Account, ConnectionFacts, Grant, PolicyStamp};
use serde::{Deserialize, Serialize};

use super::words::{Moment, Name, Place};

/// Octets of a text that a stranger chose.
const TEXT: usize = 128;
/// Octets of what a policy, or the gateway, says to operators.
const DETAIL: usize = 512;

/// One of a few words that the gateway knows by heart.
type Word = Cow<'static, str>;

/// One event, in words that outlive what it is about. What makes no sense for its kind is left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Decision {
    /// Its number since the gateway was started: whoever misses one has missed an event.
    pub(crate) seq: u64,
    /// RFC 3339 with microseconds.
    pub(crate) at: Moment,
    /// Of clients `login`, `publish`, `subscribe`, `receive`, `will` or `end`; of operators `admin`, `reload`, `policy` or
    /// `directory`; `quarantine`; `lost` where entries are missing.
    pub(crate) what: Word,
    /// `allowed`, `refused` or `ended`; `done` or `failed`; of the directory `created`, `updated`, `disabled` or
    /// `deleted`; of a quarantine `entered` or `left`.
    pub(crate) verdict: Word,
    /// How often the same came in a row, if it was more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
    /// The topic or filter; the policy, the entry, the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// The contract's word for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Word>,
    /// What the policy, or the gateway, says to operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The scheme of the identity, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scheme: Option<String>,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// Its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// On whose behalf it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acting_for: Option<String>,
    /// Who decided. None: no policy took it, or the gateway itself refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<Name>,
    /// SHA-256 of the policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Name>,
    /// `fresh`, `cached` or `stale`: the oldest knowledge that the policy used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) freshness: Option<Word>,
    /// Microseconds that the policy took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) micros: Option<u64>,
    /// The connection's own name, as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<Name>,
    /// The listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<Name>,
    /// `tcp`, `tls`, `ws` or `wss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<Word>,
    /// `mqtt` or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Word>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Place>,
    /// The MQTT client identifier, empty when the client left it to the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// The user name of CONNECT, if a password came with it: without one it may be the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// Who did it: an administrator, a policy, a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

impl Decision {
    /// About a client.
    #[inline]
    pub(super) fn about(
        what: &'static str,
        verdict: &'static str,
        connection: &ConnectionFacts,
        client_id: &str,
    ) -> Self {
        Self {
            connection: Some((&connection.id).into()),
            listener: Some((&connection.listener).into()),
            transport: Some(connection.transport.into()),
            protocol: Some(connection.protocol.into()),
            peer: Some(Place::Of(connection.peer)),
            client_id: Some(bounded(client_id)),
            ..Self::of_gateway(what, verdict)
        }
    }

    /// About the gateway itself.
    #[inline]
    pub(crate) fn of_gateway(what: &'static str, verdict: &'static str) -> Self {
        Self { at: Moment::now(), what: what.into(), verdict: verdict.into(), ..Self::default() }
    }

    #[inline]
    pub(super) fn by_policy(mut self, policy: Option<&PolicyStamp>, account: Account) -> Self {
        if let Some(stamp) = policy {
            self = self.stamped(Some(stamp));
            self.freshness = Some(account.freshness.as_str().into());
            self.micros = Some(account.micros);
        }
        self
    }

    /// With the policy that stands behind it, though it was not asked just now.
    #[inline]
    pub(super) fn stamped(mut self, policy: Option<&PolicyStamp>) -> Self {
        self.policy = policy.map(|stamp| (&stamp.name).into());
        self.digest = policy.map(|stamp| (&stamp.digest).into());
        self
    }

    #[inline]
    pub(super) fn under(mut self, grant: &Grant) -> Self {
        let who = &grant.identity;
        self.scheme = Some(bounded(who.scheme()));
        self.subject = Some(bounded(who.subject()));
        self.tenant = who.tenant().map(bounded);
        self.acting_for = who.acting_for().map(bounded);
        self
    }

    /// With what it is about.
    pub(crate) fn on(mut self, target: &str) -> Self {
        self.target = Some(bounded(target));
        self
    }

    /// With an explanation.
    #[inline]
    pub(crate) fn because(mut self, detail: &str) -> Self {
        self.detail = Some(detail[..detail.floor_char_boundary(DETAIL)].to_owned()).filter(|detail| !detail.is_empty());
        self
    }

    /// With who did it.
    pub(crate) fn done_by(mut self, by: &str) -> Self {
        self.by = Some(bounded(by));
        self
    }

    /// `scheme:subject`.
    pub(crate) fn identity(&self) -> Option<String> {
        Some(format!("{}:{}", self.scheme.as_deref()?, self.subject.as_deref()?))
    }

    /// Whether another one says the same, apart from when.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        self.connection == other.connection
            && self.what == other.what
            && self.target == other.target
            && self.reason == other.reason
            && self.policy == other.policy
    }

    /// Whether `client` is its client identifier, user name or subject.
    pub(super) fn concerns(&self, client: &str) -> bool {
        [&self.client_id, &self.username, &self.subject].into_iter().any(|name| name.as_deref() == Some(client))
    }

    /// A line of the stream.
    pub(super) fn line(&self) -> String {
        // Texts and numbers: there is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The beginning of a text that a stranger chose.
pub(super) fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let line = Decision::of_gateway("reload", "done").done_by("SIGHUP").line();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let keys: Vec<_> = read.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["at", "by", "seq", "verdict", "what"]);
    }
}
