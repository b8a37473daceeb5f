//! After the gatekeeper allowed a login: the will, the session, the CONNACK.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use portcullis_grant::{
    Action, Authorization, DenyReason, Grant, HTTP_SESSION, Passage, Permission, Publication, Refusal,
};
use portcullis_mqtt::{ConnAck, ConnAckProperties, Packet, ProtocolVersion, ReasonCode};
use portcullis_router::{Link, MailboxLimits, Wake, now_ms};

use super::connect::Connecting;
use super::open::{Exchange, Open, Seldom};
use super::pace::Rate;
use super::reply::append;
use super::route_cache::RouteCache;
use super::{End, Machine, Phase, Step};
use crate::broker::{Opened, Opening};
use crate::handle::Control;
use crate::rules::{ListenerRules, lower};
use crate::scratch::Scratch;
use crate::{sys, unix_now};

/// The longest jitter of a renewal is this part of it.
const JITTER: u64 = 10;

const AS_MANY_AS_ALLOWED: &str = "the identity has as many connections as its grant allows";

impl Machine {
    /// Goes on with an admission: after the grant, after an answer about the will, after another connection left.
    pub(super) fn admit(&mut self, s: &mut Scratch) -> Step {
        let Phase::Admitting(mut connecting) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Step::More;
        };
        let Some(grant) = connecting.grant.clone() else { return Step::More };
        let assigned = connecting.client_id.is_empty().then(random_client_id);
        let renamed = grant.client_id().filter(|_| !self.handle.is_http());
        let client_id = match (renamed, &assigned) {
            (Some(id), _) => id.into_owned(),
            // What an HTTP client calls its session is its own business: another's of that name is another session.
            (None, None) if self.handle.is_http() => grant.identity.http_session(&connecting.client_id),
            (None, Some(id)) => id.clone(),
            (None, None) => connecting.client_id.clone(),
        };
        if let Some(refused) = self.check_admission(&mut connecting, &grant, &client_id) {
            self.phase = Phase::Admitting(connecting);
            return match refused {
                Refused::Ask(action) => Step::Authorize(action),
                Refused::Filter(passage) => Step::Filter(passage),
                Refused::Reason(reason, detail) => self.refuse_reason(reason, detail),
            };
        }
        let named = assigned.as_ref().map(|_| client_id.as_str());
        // Before it takes a session over: a client that cannot be told of its own would have it for nothing.
        let Some(greeting) = self.greeting(&connecting, &grant, false, named) else {
            self.phase = Phase::Admitting(connecting);
            return self.refuse_reason(
                ReasonCode::PACKET_TOO_LARGE,
                "the client takes no packet as large as the CONNACK that it needs",
            );
        };
        let limits = mailbox_limits(&self.rules, &grant);
        let login = Opening {
            client_id: &client_id,
            clean_start: connecting.clean_start,
            grant: &grant,
            asked: &connecting.asked,
            limits,
            handle: &self.handle,
        };
        match self.broker.open(&login, s) {
            Opened::Ask(action) => {
                self.phase = Phase::Admitting(connecting);
                Step::Authorize(action)
            }
            Opened::Wait => {
                self.phase = Phase::Admitting(connecting);
                Step::Wait
            }
            Opened::OfAnother => {
                self.phase = Phase::Admitting(connecting);
                self.refuse_reason(
                    ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                    "a session with this client identifier belongs to another identity",
                )
            }
            Opened::Full => {
                self.phase = Phase::Admitting(connecting);
                self.refuse_reason(ReasonCode::QUOTA_EXCEEDED, AS_MANY_AS_ALLOWED)
            }
            Opened::Yes { entry, mailbox, state, present } => {
                let greeting = if present { self.greeting(&connecting, &grant, true, named) } else { Some(greeting) };
                self.begin(connecting, grant, entry, mailbox, state, present, greeting.unwrap_or_default(), s)
            }
        }
    }

    pub(super) fn check_admission(
        &mut self,
        connecting: &mut Connecting,
        grant: &Arc<Grant>,
        client_id: &str,
    ) -> Option<Refused> {
        if !self.handle.is_http() && client_id.starts_with(HTTP_SESSION) {
            return Some(Refused::Reason(
                ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                "client identifiers that begin with `http:` are those of sessions over HTTP",
            ));
        }
        if grant.expires_at().is_some_and(|at| at <= unix_now()) {
            return Some(Refused::Reason(ReasonCode::NOT_AUTHORIZED, "the grant has expired already"));
        }
        let lasts = self.session_expiry(connecting, grant) > 0 || connecting.will.is_some();
        if lasts && self.broker.durable.as_ref().is_some_and(|durable| durable.has_stopped()) {
            return Some(Refused::Reason(
                ReasonCode::SERVER_UNAVAILABLE,
                "the store has failed, so that no session or will can be kept until it is back",
            ));
        }
        if let Some(will) = &connecting.will {
            let m = &will.message;
            if !self.rules.takes_topic(m.topic(), grant.limits()) {
                return Some(Refused::Reason(
                    ReasonCode::TOPIC_NAME_INVALID,
                    "the topic of the will is longer or deeper than the listener or the grant allows",
                ));
            }
            let permission = match connecting.will_allowed {
                Some(true) => Permission::Allow,
                Some(false) => Permission::Deny,
                None if m.topic().starts_with(sys::ROOT) => Permission::Deny,
                None => grant.will(m.topic(), m.qos, m.retain),
            };
            match permission {
                Permission::Allow if !connecting.will_filtered && self.rules.filters(m.topic()) => {
                    return self.filter_will(connecting, grant, client_id);
                }
                Permission::Allow => {}
                Permission::Ask => {
                    return Some(Refused::Ask(Action::Publish(Publication {
                        topic: m.topic().to_owned(),
                        qos: m.qos,
                        retain: m.retain,
                        will: true,
                        size: m.payload().len() as u32,
                    })));
                }
                Permission::Deny => {
                    self.broker.observer.action_refused(&self.facts(), &connecting.client_id, grant, "will", m.topic());
                    return Some(Refused::Reason(ReasonCode::NOT_AUTHORIZED, "the grant does not permit its will"));
                }
            }
        }
        // Before it takes a session over. Whether there is room for one is seen then.
        if grant.limits().connections == Some(0) {
            return Some(Refused::Reason(ReasonCode::QUOTA_EXCEEDED, AS_MANY_AS_ALLOWED));
        }
        None
    }

    /// Seconds that the session lives on after its connection.
    fn session_expiry(&self, connecting: &Connecting, grant: &Grant) -> u32 {
        let most = u64::from(self.rules.session_expiry_max).min(grant.limits().session_expiry.unwrap_or(u64::MAX));
        u64::from(connecting.session_expiry).min(most) as u32
    }

    /// Octets of the largest packet that is taken from the client.
    fn packet_size(&self, grant: &Grant) -> u32 {
        let mut most = self.rules.max_packet;
        most = lower(most, grant.limits().packet_size);
        most
    }

    /// The CONNACK that lets the client in. None: it takes no packet as large as that (MQTT 5 §3.1.2.11.4).
    fn greeting(
        &self,
        connecting: &Connecting,
        grant: &Grant,
        session_present: bool,
        assigned: Option<&str>,
    ) -> Option<Vec<u8>> {
        let session_expiry = self.session_expiry(connecting, grant);
        let keep_alive = keep_alive(connecting, self.rules.keep_alive_max, grant.limits().keep_alive);
        let mut out = Vec::new();
        // Aliases are an offer, which may be left out; the rest is what a client has to know.
        for topic_alias_maximum in [self.rules.topic_alias_maximum, 0] {
            let properties = ConnAckProperties {
                session_expiry: (session_expiry != connecting.session_expiry).then_some(session_expiry),
                receive_maximum: NonZeroU16::new(self.rules.receive_maximum).filter(|n| n.get() != u16::MAX),
                maximum_packet_size: NonZeroU32::new(self.packet_size(grant)),
                assigned_client_id: assigned,
                topic_alias_maximum,
                server_keep_alive: (keep_alive != connecting.keep_alive).then_some(keep_alive),
                authentication_method: connecting.method.as_deref(),
                authentication_data: grant.data().filter(|_| connecting.method.is_some()),
                ..ConnAckProperties::default()
            };
            let connack = Packet::ConnAck(ConnAck { session_present, code: 0, properties });
            if append(&mut out, &connack, connecting.version, connecting.most()) {
                return Some(out);
            }
        }
        None
    }

    #[expect(clippy::too_many_arguments, reason = "what an admission has gathered")]
    fn begin(
        &mut self,
        mut connecting: Box<Connecting>,
        grant: Arc<Grant>,
        entry: Arc<crate::registry::Entry>,
        mailbox: Arc<portcullis_router::Mailbox>,
        mut state: crate::state::SessionState,
        present: bool,
        greeting: Vec<u8>,
        s: &mut Scratch,
    ) -> Step {
        state.expiry = self.session_expiry(&connecting, &grant);
        let rules = &self.rules;
        let now = now_ms();
        let keep_alive = keep_alive(&connecting, rules.keep_alive_max, grant.limits().keep_alive);
        let max_packet = self.packet_size(&grant);
        let client_max_packet = connecting.most();
        let mut window = connecting.window.min(rules.max_in_flight);
        window = lower(window, grant.limits().receive_maximum);
        // A window of nothing would hold every message for ever.
        window = window.max(1);
        let before = self.before.take().map(|before| *before).unwrap_or_default();
        // Behind a challenge that the client has not been sent yet.
        let mut early = before.early;
        early.extend(greeting);
        // A session that was there comes with the bounds of its last connection, or with none of its own from the store.
        mailbox.set_limits(mailbox_limits(rules, &grant));
        mailbox.set_persistent(state.expiry > 0);
        if let Some(will) = &mut connecting.will {
            will.limits = self.rules.retained_by(grant.limits());
        }
        let number = self.broker.store_session(&entry, &state, connecting.will.as_ref(), s);
        // A session that is stored for its will alone has no messages to keep.
        mailbox.set_session(if state.expiry > 0 { number } else { 0 });
        let expires = expiry_time(&grant, now);
        let rate = Rate::of(&self.rules, grant.limits(), now);
        self.broker.observer.admitted(&self.facts(), &entry.client_id, &grant, connecting.account);
        let mut open = Box::new(Open {
            entry,
            mailbox: Arc::clone(&mailbox),
            state,
            version: connecting.version,
            will: connecting.will.take().map(Box::new),
            max_packet,
            client_max_packet,
            keep_alive,
            expires,
            renew: renewal_time(&grant, now),
            seldom: rate.map(|rate| Box::new(Seldom { rate: Some(rate), ..Seldom::default() })),
            counted: grant.limits().connections.is_some(),
            grant,
            routes: RouteCache::default(),
            judge_again: false,
            problem_information: connecting.problem_information,
            number,
            expiry_was_zero: connecting.session_expiry == 0,
        });
        if let Some(method) = connecting.method.take() {
            let exchange = Exchange { method: method.into(), challenge: None, reply_by: u64::MAX };
            open.seldom().exchange = Some(Box::new(exchange));
        }
        if present {
            open.apply_grant(&self.broker, &self.handle, &connecting.asked, s);
        }
        let owner: Arc<dyn Wake> = Arc::clone(&self.handle) as _;
        let topic_aliases = connecting.topic_alias_maximum;
        let link = Link { owner, writer: before.writer, wire: open.wire(), max_packet: client_max_packet, window };
        self.phase = Phase::Open(open);
        mailbox.attach(link, topic_aliases, &early, &mut s.batch);
        s.replies.clear();
        self.send_replies(s);
        self.look_again_if_changed();
        Step::More
    }

    /// What the grant depends on may have changed while its policy was asked, and the policy itself may have been replaced or
    /// have left the listener, before anybody found this connection among those to be looked at again.
    pub(super) fn look_again_if_changed(&mut self) {
        let Phase::Open(open) = &self.phase else { return };
        let (changes, asked_at) = (&self.broker.changes, self.asked_at);
        if changes.may_have_touched(&open.grant, asked_at)
            || changes.has_left(&open.grant.policy.name, &self.handle.listener(), asked_at)
        {
            self.handle.request(Control::Reevaluate);
        }
        if let Some(control) = changes.wish_about(&open.grant.policy, asked_at) {
            self.handle.request(control);
        }
    }

    /// The answer to [`Step::Authorize`].
    pub fn on_authorization(&mut self, action: Action, answer: Authorization, s: &mut Scratch) -> Step {
        match &mut self.phase {
            Phase::Admitting(connecting) => {
                let allowed = answer.denied.is_none();
                match action {
                    Action::Publish(_) => connecting.will_allowed = Some(allowed),
                    Action::Subscribe(_) => connecting.asked.insert(action, allowed),
                }
                self.admit(s)
            }
            Phase::Open(open) if open.regranting().is_some() => self.on_regranting(action, answer.denied.is_none(), s),
            Phase::Open(open) => {
                open.seldom().at_hand.get_or_insert_default().answers.insert(action, answer.denied.is_none());
                Step::More
            }
            _ => Step::More,
        }
    }

    /// Tries again after [`Step::Wait`].
    pub fn retry(&mut self, s: &mut Scratch) -> Step {
        match self.phase {
            Phase::Admitting(_) => self.admit(s),
            _ => Step::More,
        }
    }

    /// Refuses the login with a reason of the gateway's own.
    pub(super) fn refuse_reason(&mut self, reason: ReasonCode, detail: &str) -> Step {
        let deny = match reason {
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => DenyReason::ClientIdNotValid,
            ReasonCode::QUOTA_EXCEEDED => DenyReason::QuotaExceeded,
            ReasonCode::NOT_AUTHORIZED => DenyReason::NotAuthorized,
            ReasonCode::SERVER_UNAVAILABLE => DenyReason::Unavailable,
            _ => DenyReason::Malformed,
        };
        let denial = portcullis_grant::Denial::new(deny, detail);
        self.refuse_as(reason, &Refusal::new(denial, None))
    }

    /// Refuses the login as a policy, or the chain, worded it.
    pub(super) fn refuse(&mut self, refusal: &Refusal) -> Step {
        self.refuse_as(refusal.denial.reason.reason_code(), refusal)
    }

    fn refuse_as(&mut self, reason: ReasonCode, refusal: &Refusal) -> Step {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let (Phase::Deciding(connecting) | Phase::Challenged(connecting) | Phase::Admitting(connecting)) = phase else {
            return Step::End(End::ours(reason, refusal.denial.detail.clone()));
        };
        self.broker.stats.logins_refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.broker.observer.refused(&self.facts(), &connecting.client_id, connecting.username.as_deref(), refusal);
        if connecting.version == ProtocolVersion::V5 {
            let denial = &refusal.denial;
            let message = denial.message.as_deref().filter(|_| connecting.problem_information);
            let server = denial.reason.sends_elsewhere().then_some(denial.server_reference.as_deref()).flatten();
            self.write_connack(connecting.version, reason, connecting.most(), message, server);
        } else {
            let code = if refusal.policy.is_some() || reason == refusal.denial.reason.reason_code() {
                refusal.denial.reason.return_code()
            } else {
                reason.connect_return_code()
            };
            self.early().extend_from_slice(&[0x20, 2, 0, code]);
        }
        Step::End(End::ours(reason, refusal.denial.detail.clone()))
    }
}

pub(super) enum Refused {
    Ask(Action),
    /// Filters have to look at the will first.
    Filter(Box<Passage>),
    Reason(ReasonCode, &'static str),
}

/// Bounds on what waits for the client.
pub(super) fn mailbox_limits(rules: &ListenerRules, grant: &Grant) -> MailboxLimits {
    let mut limits = rules.mailbox;
    limits.queued_messages = lower(limits.queued_messages, grant.limits().queued_messages);
    limits.queued_bytes = lower(limits.queued_bytes, grant.limits().queued_bytes);
    limits
}

/// Subscriptions that the session may have.
pub(super) fn max_subscriptions(rules: &ListenerRules, grant: &Grant) -> usize {
    lower(rules.max_subscriptions, grant.limits().subscriptions)
}

/// The keep-alive in force. Before MQTT 5 a client cannot be told another than its own.
fn keep_alive(connecting: &Connecting, listener: u16, granted: Option<u64>) -> u16 {
    if connecting.version != ProtocolVersion::V5 {
        return connecting.keep_alive;
    }
    let most = lower(if listener == 0 { u16::MAX } else { listener }, granted);
    match connecting.keep_alive {
        0 if most == u16::MAX => 0,
        0 => most,
        asked => asked.min(most),
    }
}

/// When the grant ends, in [`now_ms`]; `u64::MAX`: never, or later than can be told.
pub(super) fn expiry_time(grant: &Grant, now: u64) -> u64 {
    let left = |at: u64| at.saturating_sub(unix_now()).saturating_mul(1000);
    grant.expires_at().map_or(u64::MAX, |at| now.saturating_add(left(at)))
}

/// When to look at the grant again, a little earlier for some than for others.
pub(super) fn renewal_time(grant: &Grant, now: u64) -> u64 {
    let Some(after) = grant.renew_after else { return u64::MAX };
    jittered(u64::from(after), now)
}

pub(super) fn jittered(seconds: u64, now: u64) -> u64 {
    let span = seconds.saturating_mul(1000);
    let jitter = u64::from(getrandom::u32().unwrap_or_default()) % (span / JITTER).max(1);
    now.saturating_add(span - jitter.min(span))
}

/// A client identifier for a client that left the naming to us (MQTT 5 §3.1.3.1).
fn random_client_id() -> String {
    let mut octets = [0; 12];
    // Without randomness identifiers repeat, and a session is taken over: rather a name that is refused.
    if getrandom::fill(&mut octets).is_err() {
        return String::from("portcullis-without-randomness");
    }
    let mut id = String::from("auto-");
    for octet in octets {
        id.push_str(&format!("{octet:02x}"));
    }
    id
}
