//! The terms on which a client is let in, compiled once so that messages are checked natively.

use std::ops::Deref;
use std::sync::Arc;

use portcullis_mqtt::QoS;

use crate::gatekeeper::{Action, Authorization, PolicyStamp};
use crate::identity::Identity;
use crate::rules::{ActionRefusal, Effect, Permission, Rule, RuleSet, SubscribePermission};

/// A directory entry or token that a grant was derived from: `user:<id>`, `device:<id>`, `key:<id>`, `token:<id>`, …
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dependency(pub Arc<str>);

/// Bounds of a grant that are tighter than the listener's. None: the listener's holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// PUBLISH packets a second.
    pub publish_per_second: Option<u64>,
    /// Octets of PUBLISH packets a second.
    pub publish_bytes_per_second: Option<u64>,
    /// Octets of one packet.
    pub packet_size: Option<u64>,
    /// Subscriptions of the session.
    pub subscriptions: Option<u64>,
    /// Messages that wait for the client.
    pub queued_messages: Option<u64>,
    /// Octets of them.
    pub queued_bytes: Option<u64>,
    /// QoS 1 and 2 messages in flight to the client.
    pub receive_maximum: Option<u64>,
    /// Seconds.
    pub keep_alive: Option<u64>,
    /// Seconds.
    pub session_expiry: Option<u64>,
    /// Connections of this identity at one time.
    pub connections: Option<u64>,
    /// Octets of a topic or filter.
    pub topic_length: Option<u64>,
    /// Levels of a topic or filter.
    pub topic_levels: Option<u64>,
    /// Retained messages that this identity holds: those of topics where it was the last to retain one.
    pub retained_messages: Option<u64>,
    /// Octets of them: topics, properties and payloads.
    pub retained_bytes: Option<u64>,
}

/// A grant as a policy words it, before it is compiled.
#[derive(Clone, Debug, Default)]
pub struct GrantDraft {
    /// Who it is.
    pub identity: Identity,
    /// Seconds since 1970 at which it ends.
    pub expires_at: Option<u64>,
    /// Seconds after which to look again.
    pub renew_after: Option<u32>,
    /// Client identifier to use instead.
    pub client_id: Option<String>,
    /// At most 1,024.
    pub rules: Vec<Rule>,
    /// `(name, value)` of the contract's `limit`.
    pub limits: Vec<(String, u64)>,
    /// At most 16.
    pub depends_on: Vec<String>,
    /// At most 4 KiB.
    pub state: Vec<u8>,
    /// Authentication data for CONNACK.
    pub data: Option<Vec<u8>>,
    /// None are defined: any name makes the grant void.
    pub attributes: Vec<(String, String)>,
}

/// Why a draft cannot become a grant: the policy's mistake, which refuses the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// `identity.scheme` or `identity.subject` is empty.
    #[error("the grant's identity has an empty {0}")]
    EmptyIdentity(&'static str),
    /// A list or text is longer than the contract allows.
    #[error("the grant has {count} {what}, more than the {limit} that the contract allows")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A rule's filter is not an MQTT topic filter.
    #[error("rule {index} of the grant has the filter {filter:?}, which is not a topic filter: {why}")]
    BadFilter {
        /// Position among the rules, from 0.
        index: usize,
        /// The filter.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client identifier cannot be used.
    #[error("the grant's client-id {0:?} is not a valid client identifier")]
    BadClientId(String),
    /// A limit that this gateway does not know: a restriction must not be lost silently.
    #[error("the grant sets the limit {0:?}, which this gateway does not know")]
    UnknownLimit(String),
    /// An attribute that this gateway does not know.
    #[error("the grant has the attribute {0:?}, which this gateway does not know")]
    UnknownAttribute(String),
}

/// A compiled grant: its [`Terms`], which are all that most of it is read for, and what one client's grant has of its own. Shared by
/// the session, its subscriptions, and all clients of whom the policy says the same ([`crate::Grants`]): nothing in it is about
/// one login. Immutable, but for remembered answers.
#[derive(Debug)]
pub struct Grant {
    terms: Arc<Terms>,
    /// The policy's own state.
    pub state: Box<[u8]>,
    asked: crate::rules::AskCache,
}

/// What a grant says. Clients may have it in common where the policy keeps something else for each. What few grants have is boxed.
#[derive(Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Seconds since 1970 at which it ends.
    pub expires_at: Option<u64>,
    /// Seconds after which to look again.
    pub renew_after: Option<u32>,
    /// Client identifier to use instead of the client's own.
    pub client_id: Option<Box<str>>,
    /// What it was derived from.
    pub depends_on: Box<[Dependency]>,
    /// Authentication data for CONNACK.
    pub data: Option<Box<[u8]>>,
    /// Who granted it.
    pub policy: PolicyStamp,
    /// Tighter bounds; most grants have none.
    limits: Option<Box<Limits>>,
    rules: RuleSet,
    asks: bool,
}

impl Deref for Grant {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Grant {
    /// Checks and compiles what a policy answered.
    ///
    /// # Errors
    /// [`GrantError`] when the draft breaks the contract's bounds; the client is then refused.
    pub fn compile(draft: GrantDraft, policy: PolicyStamp) -> Result<Self, GrantError> {
        if draft.identity.scheme.is_empty() {
            return Err(GrantError::EmptyIdentity("scheme"));
        }
        if draft.identity.subject.is_empty() {
            return Err(GrantError::EmptyIdentity("subject"));
        }
        let bound = |what, count, limit| {
            if count > limit { Err(GrantError::TooMany { what, count, limit }) } else { Ok(()) }
        };
        bound("rules", draft.rules.len(), 1024)?;
        bound("attributes of the identity", draft.identity.attributes.len(), 32)?;
        bound("entries in depends-on", draft.depends_on.len(), 512)?;
        bound("octets of state", draft.state.len(), 4096)?;
        if let Some((name, _)) = draft.attributes.first() {
            return Err(GrantError::UnknownAttribute(name.clone()));
        }
        if let Some(id) = &draft.client_id
            && (id.is_empty() || id.len() > 65_535 || id.contains('\0'))
        {
            return Err(GrantError::BadClientId(id.clone()));
        }
        let mut limits = Limits::default();
        for (name, value) in &draft.limits {
            limits.set(name, *value)?;
        }
        let terms = Terms {
            rules: RuleSet::compile(&draft.rules)?,
            asks: draft.rules.iter().any(|rule| rule.effect == Effect::Ask),
            identity: Arc::new(draft.identity),
            expires_at: draft.expires_at,
            renew_after: draft.renew_after,
            client_id: draft.client_id.map(Into::into),
            limits: (limits != Limits::NONE).then(|| Box::new(limits)),
            depends_on: draft.depends_on.into_iter().map(|d| Dependency(d.into())).collect(),
            data: draft.data.map(Into::into),
            policy,
        };
        Ok(Self { terms: Arc::new(terms), state: draft.state.into(), asked: crate::rules::AskCache::default() })
    }

    pub(crate) fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// The same with terms in memory that are equal to its own.
    pub(crate) fn on(self, terms: Arc<Terms>) -> Self {
        Self { terms, ..self }
    }

    /// Its bounds that are tighter than the listener's.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.limits.as_deref().unwrap_or(&Limits::NONE)
    }

    /// Whether any rule has the policy asked: then an answer of [`Self::publish`] may hold for a time only.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// May this be published? `Ask`: nothing native decides and no remembered answer holds; call the gatekeeper.
    #[must_use]
    pub fn publish(&self, topic: &str, qos: QoS, retain: bool) -> Permission {
        match self.rules.publish(topic, qos, retain) {
            Permission::Ask => self.asked.publish(topic, qos, retain, false),
            decided => decided,
        }
    }

    /// May this be the will?
    #[must_use]
    pub fn will(&self, topic: &str, qos: QoS, retain: bool) -> Permission {
        match self.rules.will(topic, qos, retain) {
            Permission::Ask => self.asked.publish(topic, qos, retain, true),
            decided => decided,
        }
    }

    /// May this filter be subscribed to (the filter within a shared subscription)?
    #[must_use]
    pub fn subscribe(&self, filter: &str, qos: QoS, share: Option<&str>) -> SubscribePermission {
        match self.rules.subscribe(filter, qos) {
            SubscribePermission::Ask { max_qos, filtered } => {
                self.asked.subscribe(filter, qos, share, max_qos, filtered)
            }
            decided => decided,
        }
    }

    /// Whether a message on this topic may be delivered to a subscription that was granted `filtered`.
    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        self.rules.may_receive(topic)
    }

    /// The same, with `Ask` where that depends on what the policy says to the subscription.
    #[must_use]
    pub fn receive(&self, topic: &str) -> Permission {
        self.rules.receive(topic)
    }

    /// Remembers the policy's answer about an action for as long as it says. Bounded; `now` is monotonic milliseconds
    /// of [`crate::rules::now_ms`].
    pub fn remember(&self, action: &Action, answer: &Authorization) {
        self.asked.remember(action, answer);
    }

    /// Forgets what [`Self::remember`] was told: the policy may say something else today.
    pub fn forget_answers(&self) {
        self.asked.forget();
    }

    /// Keeps for audit why the policy refused an action that a rule had it asked about. The last few are kept.
    pub fn refused(&self, action: &Action, refusal: ActionRefusal) {
        self.asked.refused(action, refusal);
    }

    /// Why the policy refused what is called so: a topic or a filter. None: no rule had it asked. It says
    /// [`crate::Freshness::Cached`] from the second time on.
    #[must_use]
    pub fn refusal_of(&self, target: &str) -> Option<ActionRefusal> {
        self.asked.refusal_of(target)
    }
}

impl Limits {
    /// None at all.
    const NONE: Self = Self {
        publish_per_second: None,
        publish_bytes_per_second: None,
        packet_size: None,
        subscriptions: None,
        queued_messages: None,
        queued_bytes: None,
        receive_maximum: None,
        keep_alive: None,
        session_expiry: None,
        connections: None,
        topic_length: None,
        topic_levels: None,
        retained_messages: None,
        retained_bytes: None,
    };

    fn set(&mut self, name: &str, value: u64) -> Result<(), GrantError> {
        let field = match name {
            "publish-per-second" => &mut self.publish_per_second,
            "publish-bytes-per-second" => &mut self.publish_bytes_per_second,
            "packet-size" => &mut self.packet_size,
            "subscriptions" => &mut self.subscriptions,
            "queued-messages" => &mut self.queued_messages,
            "queued-bytes" => &mut self.queued_bytes,
            "receive-maximum" => &mut self.receive_maximum,
            "keep-alive" => &mut self.keep_alive,
            "session-expiry" => &mut self.session_expiry,
            "connections" => &mut self.connections,
            "topic-length" => &mut self.topic_length,
            "topic-levels" => &mut self.topic_levels,
            "retained-messages" => &mut self.retained_messages,
            "retained-bytes" => &mut self.retained_bytes,
            _ => return Err(GrantError::UnknownLimit(name.to_owned())),
        };
        // Named twice, the tighter one counts.
        *field = Some(field.map_or(value, |old| old.min(value)));
        Ok(())
    }
}
