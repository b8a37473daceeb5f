//! The terms on which a client is let in, compiled once so that messages are checked natively.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;

use portcullis_mqtt::QoS;

use crate::draft::{GrantDraft, GrantError};
use crate::gatekeeper::{Action, Authorization, PolicyStamp};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::names::{Text, Words};
use crate::principal::Principal;
use crate::rules::own::Rules;
use crate::rules::{ActionRefusal, AskCache, Effect, Permission, SubscribePermission};

/// A directory entry or token that a grant was derived from: `user:<id>`, `device:<id>`, `key:<id>`, `token:<id>`, …
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dependency(pub Arc<str>);

/// Octets of state up to which it is taken for what others have as well.
const COMMON_STATE: usize = 8;

/// A compiled grant: whose it is, with the [`Terms`] that others have as well, and what it has of its own. Shared by
/// the session, its subscriptions, and all clients of whom the policy says the same ([`crate::Grants`]): nothing in it is about
/// one login. Immutable, but for remembered answers.
#[derive(Debug)]
pub struct Grant {
    /// Who it is.
    pub identity: Arc<Principal>,
    /// What few grants have, or each has another.
    own: Option<Box<Own>>,
}

// With its counts a size class of the allocator's, as what it points to.
const _: () = assert!(size_of::<Grant>() <= 16 && size_of::<Own>() <= 32);

#[derive(Debug, Default)]
struct Own {
    /// 1 instead of 0: both are over.
    expires_at: Option<NonZeroU64>,
    state: Box<[u8]>,
    seldom: Option<Box<Seldom>>,
}

#[derive(Debug, Default)]
struct Seldom {
    data: Option<Box<[u8]>>,
    /// Of grants that have their policy asked.
    asked: AskCache,
}

/// What a grant says, but for the names of its client, which stand in it by number ([`Principal`]): so it is the same for many, and
/// in memory once. What few have is boxed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub(crate) scheme: Box<str>,
    pub(crate) roles: Box<[Box<str>]>,
    pub(crate) attributes: Box<[(Box<str>, Text)]>,
    /// Seconds after which to look again.
    pub renew_after: Option<u32>,
    /// Who granted it.
    pub policy: PolicyStamp,
    client_id: Option<Text>,
    depends_on: Box<[Text]>,
    /// The policy's own, where it is short.
    state: Box<[u8]>,
    /// Tighter bounds; most grants have none.
    limits: Option<Box<Limits>>,
    rules: Rules,
    asks: bool,
}

impl Terms {
    /// Who somebody is, but for the names, and nothing more.
    pub(crate) fn about(identity: &Identity, words: &Words<'_>) -> Self {
        let attribute = |(name, value): &(String, String)| (name.as_str().into(), Text::new(value, words));
        Self {
            scheme: identity.scheme.as_str().into(),
            roles: identity.roles.iter().map(|role| role.as_str().into()).collect(),
            attributes: identity.attributes.iter().map(attribute).collect(),
            ..Self::default()
        }
    }
}

impl Hash for Terms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.scheme, &self.attributes, &self.depends_on, &self.state).hash(state);
        self.rules.texts().for_each(|text| text.hash(state));
    }
}

impl Deref for Grant {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.identity.terms
    }
}

impl Grant {
    /// Checks and compiles what a policy answered.
    ///
    /// # Errors
    /// [`GrantError`] when the draft breaks the contract's bounds; the client is then refused.
    pub fn compile(draft: GrantDraft, policy: PolicyStamp) -> Result<Self, GrantError> {
        Self::compile_for(&[], draft, policy)
    }

    /// The same for a client of whom these names are known, its identifier for one: they may stand in filters.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_for(known: &[&str], draft: GrantDraft, policy: PolicyStamp) -> Result<Self, GrantError> {
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
        let words = draft.words(known);
        let common_state = draft.state.len() <= COMMON_STATE;
        let (common, state) = if common_state { (draft.state.as_slice(), &[][..]) } else { (&[][..], &*draft.state) };
        let asks = draft.rules.iter().any(|rule| rule.effect == Effect::Ask);
        let terms = Terms {
            rules: Rules::compile(&draft.rules, &words)?,
            asks,
            renew_after: draft.renew_after,
            client_id: draft.client_id.as_ref().map(|id| Text::new(id, &words)),
            limits: (limits != Limits::NONE).then(|| Box::new(limits)),
            depends_on: draft.depends_on.iter().map(|entry| Text::new(entry, &words)).collect(),
            state: common.into(),
            policy,
            ..Terms::about(&draft.identity, &words)
        };
        let seldom = (asks || draft.data.is_some())
            .then(|| Box::new(Seldom { data: draft.data.as_deref().map(Into::into), asked: AskCache::default() }));
        let expires_at = draft.expires_at.map(|at| NonZeroU64::new(at).unwrap_or(NonZeroU64::MIN));
        let own = (expires_at.is_some() || !state.is_empty() || seldom.is_some())
            .then(|| Box::new(Own { expires_at, state: state.into(), seldom }));
        Ok(Self { identity: Arc::new(Principal { terms: Arc::new(terms), names: words.names() }), own })
    }

    pub(crate) fn terms(&self) -> &Arc<Terms> {
        &self.identity.terms
    }

    /// Puts terms that are equal to its own in their place. Nothing is done where somebody has the principal already.
    pub(crate) fn set_terms(&mut self, terms: Arc<Terms>) {
        if let Some(identity) = Arc::get_mut(&mut self.identity) {
            identity.terms = terms;
        }
    }

    /// The same of somebody who is equal, with what that one has in memory.
    pub(crate) fn of(self, identity: Arc<Principal>) -> Self {
        Self { identity, ..self }
    }

    /// Whether it says the same. Answers that it remembers are not compared: who has any is not shared.
    pub(crate) fn says_what(&self, other: &Self) -> bool {
        self.identity == other.identity
            && (self.expires_at(), self.state(), self.data()) == (other.expires_at(), other.state(), other.data())
    }

    fn seldom(&self) -> Option<&Seldom> {
        self.own.as_ref()?.seldom.as_deref()
    }

    /// Seconds since 1970 at which it ends.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.own.as_ref()?.expires_at.map(NonZeroU64::get)
    }

    /// The policy's own state.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        match &self.own {
            Some(own) if !own.state.is_empty() => &own.state,
            _ => &self.state,
        }
    }

    /// Authentication data for CONNACK.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.seldom()?.data.as_deref()
    }

    /// Client identifier to use instead of the client's own.
    #[must_use]
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        self.client_id.as_ref().map(|id| id.with_names(&self.identity.names))
    }

    /// Whether it was derived from anything that can change.
    #[must_use]
    pub fn depends_on_any(&self) -> bool {
        !self.depends_on.is_empty()
    }

    /// Whether it was derived from this.
    #[must_use]
    pub fn depends_on(&self, dependency: &Dependency) -> bool {
        self.depends_on.iter().any(|entry| entry.is(&dependency.0, &self.identity.names))
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
        match self.rules.publish(&self.identity.names, topic, qos, retain) {
            Permission::Ask => self.answered(topic, qos, retain, false),
            decided => decided,
        }
    }

    /// May this be the will?
    #[must_use]
    pub fn will(&self, topic: &str, qos: QoS, retain: bool) -> Permission {
        match self.rules.will(&self.identity.names, topic, qos, retain) {
            Permission::Ask => self.answered(topic, qos, retain, true),
            decided => decided,
        }
    }

    fn answered(&self, topic: &str, qos: QoS, retain: bool, will: bool) -> Permission {
        self.seldom().map_or(Permission::Ask, |seldom| seldom.asked.publish(topic, qos, retain, will))
    }

    /// May this filter be subscribed to (the filter within a shared subscription)?
    #[must_use]
    pub fn subscribe(&self, filter: &str, qos: QoS, share: Option<&str>) -> SubscribePermission {
        match (self.rules.subscribe(&self.identity.names, filter, qos), self.seldom()) {
            (SubscribePermission::Ask { max_qos, filtered }, Some(seldom)) => {
                seldom.asked.subscribe(filter, qos, share, max_qos, filtered)
            }
            (decided, _) => decided,
        }
    }

    /// Whether a message on this topic may be delivered to a subscription that was granted `filtered`.
    #[must_use]
    pub fn may_receive(&self, topic: &str) -> bool {
        self.receive(topic) != Permission::Deny
    }

    /// The same, with `Ask` where that depends on what the policy says to the subscription.
    #[must_use]
    pub fn receive(&self, topic: &str) -> Permission {
        self.rules.receive(&self.identity.names, topic)
    }

    /// Remembers the policy's answer about an action for as long as it says. Bounded; `now` is monotonic milliseconds
    /// of [`crate::rules::now_ms`].
    pub fn remember(&self, action: &Action, answer: &Authorization) {
        if let Some(seldom) = self.seldom() {
            seldom.asked.remember(action, answer);
        }
    }

    /// Forgets what [`Self::remember`] was told: the policy may say something else today.
    pub fn forget_answers(&self) {
        if let Some(seldom) = self.seldom() {
            seldom.asked.forget();
        }
    }

    /// Keeps for audit why the policy refused an action that a rule had it asked about. The last few are kept.
    pub fn refused(&self, action: &Action, refusal: ActionRefusal) {
        if let Some(seldom) = self.seldom() {
            seldom.asked.refused(action, refusal);
        }
    }

    /// Why the policy refused what is called so: a topic or a filter. None: no rule had it asked. It says
    /// [`crate::Freshness::Cached`] from the second time on.
    #[must_use]
    pub fn refusal_of(&self, target: &str) -> Option<ActionRefusal> {
        self.seldom()?.asked.refusal_of(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Actions, Rule};
    use crate::shared::Grants;

    /// As the bundled policy words it.
    fn device(id: &str, namespace: &str) -> GrantDraft {
        let rule =
            |filter: String| Rule { effect: Effect::Allow, actions: Actions::ALL, filter, max_qos: QoS::ExactlyOnce };
        let text = str::to_owned;
        GrantDraft {
            identity: Identity {
                scheme: text("device"),
                subject: text(id),
                tenant: Some(text("plant")),
                attributes: vec![(text("namespace"), text(namespace)), (text("owner"), text("ann"))],
                ..Identity::default()
            },
            rules: vec![rule(format!("{namespace}/stream")), rule(text("all/#")), rule(format!("$reset/{namespace}"))],
            depends_on: vec![format!("device:{id}"), text("app:plant")],
            state: vec![3, 1],
            ..GrantDraft::default()
        }
    }

    #[test]
    fn a_device_keeps_its_names_and_nothing_else() {
        let grants = Grants::default();
        let of = |id, namespace| {
            grants.share(Grant::compile_for(&[namespace], device(id, namespace), PolicyStamp::default()).unwrap())
        };
        let (one, other) = (of("11112222", "thermo_a1b2c3"), of("33334444", "lamp_d4"));
        assert!(Arc::ptr_eq(one.terms(), other.terms()) && one.own.is_none());
        // Each once, behind its length; nobody is acted for.
        assert_eq!(one.identity.names().map(str::len).sum::<usize>(), "11112222plantthermo_a1b2c3ann".len());
        let publish = |grant: &Grant, topic: &str| grant.publish(topic, QoS::AtMostOnce, true);
        assert_eq!(publish(&one, "thermo_a1b2c3/stream"), Permission::Allow);
        assert_eq!(publish(&one, "lamp_d4/stream"), Permission::Deny);
        assert_eq!(publish(&other, "$reset/lamp_d4"), Permission::Allow);
        assert_eq!(publish(&other, "all/x"), Permission::Allow);
        assert!(
            one.depends_on(&Dependency("device:11112222".into())) && one.depends_on(&Dependency("app:plant".into()))
        );
        assert!(!one.depends_on(&Dependency("device:33334444".into())));
        assert_eq!(one.state(), [3, 1]);
    }

    #[test]
    fn a_client_identifier_in_a_filter_is_a_name() {
        let grants = Grants::default();
        let of = |client: &str, known: &str| {
            let mut draft = device("11112222", "thermo");
            draft.rules[1].filter = format!("clients/{client}/#");
            grants.share(Grant::compile_for(&[known], draft, PolicyStamp::default()).unwrap())
        };
        let (one, other, unknown) = (of("c1", "c1"), of("c2", "c2"), of("c3", ""));
        assert!(Arc::ptr_eq(one.terms(), other.terms()) && !Arc::ptr_eq(one.terms(), unknown.terms()));
        assert_eq!(other.publish("clients/c2/a", QoS::AtMostOnce, false), Permission::Allow);
        assert_eq!(other.publish("clients/c1/a", QoS::AtMostOnce, false), Permission::Deny);
    }

    #[test]
    fn what_is_renewed_without_a_change_of_person_has_one_principal() {
        let grants = Grants::default();
        let until = |at| {
            let draft = GrantDraft { expires_at: Some(at), ..device("11112222", "thermo") };
            Grant::compile(draft, PolicyStamp::default()).unwrap()
        };
        let old = grants.share(until(1));
        let new = grants.share_again(until(2), &old);
        assert!(Arc::ptr_eq(&old.identity, &new.identity));
        assert_eq!((old.expires_at(), new.expires_at()), (Some(1), Some(2)));
        let other = Grant::compile(device("33334444", "thermo"), PolicyStamp::default()).unwrap();
        assert_eq!(grants.share_again(other, &old).identity.subject(), "33334444");
    }

    #[test]
    fn what_a_policy_says_is_what_is_read() {
        for (state, data) in
            [(vec![], None), (vec![1; 8], Some(vec![])), (vec![2; 9], Some(vec![7])), (vec![3; 4096], None)]
        {
            let draft = GrantDraft {
                expires_at: Some(0),
                renew_after: Some(60),
                client_id: Some("thermo-11112222".into()),
                limits: vec![("packet-size".into(), 9), ("packet-size".into(), 7)],
                state: state.clone(),
                data: data.clone(),
                ..device("11112222", "thermo")
            };
            let grant = Grant::compile(draft, PolicyStamp::default()).unwrap();
            assert_eq!((grant.state(), grant.data()), (&*state, data.as_deref()));
            assert_eq!(grant.expires_at(), Some(1), "0 is over as well");
            assert_eq!((grant.renew_after, grant.limits().packet_size), (Some(60), Some(7)));
            assert_eq!(grant.client_id().as_deref(), Some("thermo-11112222"));
        }
    }
}
