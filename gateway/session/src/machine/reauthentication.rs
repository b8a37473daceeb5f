//! A grant that changes while the connection lives: MQTT 5 re-authentication (§4.12.1) and renewal.

use std::sync::Arc;

use portcullis_grant::{Action, Credentials, Grant, Login, Outcome, Renewal};
use portcullis_mqtt::{Auth, Packet, ProtocolVersion, ReasonCode};
use portcullis_router::now_ms;

use super::admission::{expiry_time, jittered, mailbox_limits, renewal_time};
use super::asked::Asked;
use super::connect::{MOST_STEPS, challenge_packet, pairs};
use super::open::Open;
use super::pace::Rate;
use super::reply::append;
use super::{End, Fault, Machine, Phase, Step};
use crate::scratch::Scratch;
use crate::unix_now;

/// Why a connection ends whose AUTH cannot be sent.
const UNTOLD: &str = "the client takes no packet as large as the AUTH that it needs";

/// A grant that is to take the place of the one in force.
pub(super) struct Regranting {
    pub grant: Arc<Grant>,
    /// What its policy has answered so far about subscriptions of the session.
    asked: Asked,
    /// The client has asked for it by AUTH.
    told: bool,
    /// It is the one in force, which is judged again and not given anew. A new one may be the same in memory.
    stays: bool,
}

impl Machine {
    /// AUTH on an open connection.
    pub(super) fn on_open_auth(&mut self, auth: &Auth<'_>) -> Result<Step, Fault> {
        let violation = |detail: &'static str| Fault::new(ReasonCode::PROTOCOL_ERROR, detail);
        let mut connection = self.facts();
        let Phase::Open(open) = &mut self.phase else { return Ok(Step::More) };
        let client_id = open.entry.client_id.to_string();
        let identity = Arc::clone(&open.grant.identity);
        let Some(exchange) = open.exchange_mut() else {
            return Err(violation("AUTH without an authentication method in CONNECT"));
        };
        if auth.method != Some(&*exchange.method) {
            return Err(violation("AUTH with another method than CONNECT's"));
        }
        connection.identity = Some(identity);
        if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION {
            let challenge = exchange.challenge.take().ok_or_else(|| violation("AUTH continues what was not begun"))?;
            exchange.reply_by = u64::MAX;
            return Ok(Step::Reply(self.reply(connection, &client_id, auth, challenge)));
        }
        if auth.reason != ReasonCode::RE_AUTHENTICATE || exchange.challenge.is_some() {
            return Err(violation("AUTH out of turn"));
        }
        self.asked_at = self.broker.changes.so_far();
        Ok(Step::Login(Box::new(Login {
            connection,
            credentials: Credentials {
                client_id,
                method: auth.method.map(str::to_owned),
                data: auth.data.map(<[u8]>::to_vec),
                user_properties: pairs(auth.user),
                ..Credentials::default()
            },
        })))
    }

    pub(super) fn on_reauthentication(&mut self, outcome: Outcome, s: &mut Scratch) -> Step {
        s.replies.clear();
        let most = self.open().map_or(u32::MAX, |open| open.client_max_packet);
        let step = match outcome {
            Outcome::Allow(grant, _) => {
                return self.replace_grant(grant, true, false, s);
            }
            Outcome::Deny(refusal) => {
                let client_id = self.open().map(|o| o.entry.client_id.to_string()).unwrap_or_default();
                self.broker.observer.refused(&self.facts(), &client_id, None, &refusal);
                self.end_refused(&refusal, s)
            }
            Outcome::Challenge(challenge) if challenge.step > MOST_STEPS => {
                self.end_open(End::ours(ReasonCode::NOT_AUTHORIZED, "the exchange took too many steps"), s)
            }
            Outcome::Challenge(challenge) => {
                let method = self.method();
                if !challenge_packet(&mut s.replies, &method, &challenge.data, most) {
                    let step = self.end_open(End::ours(ReasonCode::PACKET_TOO_LARGE, UNTOLD), s);
                    self.send_replies(s);
                    return step;
                }
                // As at CONNECT, the listener's bound holds whatever the policy says.
                let most = self.rules.connect_timeout_ms;
                if let Some(exchange) = self.open().and_then(Open::exchange_mut) {
                    let within = challenge.reply_within.map_or(most, |s| most.min(u64::from(s) * 1000));
                    exchange.reply_by = now_ms() + within;
                    exchange.challenge = Some(challenge);
                }
                Step::More
            }
        };
        self.send_replies(s);
        step
    }

    fn method(&mut self) -> Box<str> {
        self.open().and_then(|open| open.exchange()).map(|e| e.method.clone()).unwrap_or_default()
    }

    /// The answer to [`Step::Renew`].
    pub fn on_renewal(&mut self, renewal: Renewal, s: &mut Scratch) -> Step {
        let now = now_ms();
        let judge_again = self.open().is_some_and(|open| std::mem::take(&mut open.judge_again));
        match renewal {
            Renewal::Keep(seconds) => {
                if let (Some(open), true) = (self.open(), seconds > 0) {
                    open.renew = jittered(u64::from(seconds), now);
                }
                if judge_again { self.recheck(s) } else { Step::More }
            }
            Renewal::Replace(grant) => self.replace_grant(grant, false, false, s),
            Renewal::Revoke(refusal) => {
                let client_id = self.open().map(|o| o.entry.client_id.to_string()).unwrap_or_default();
                self.broker.observer.refused(&self.facts(), &client_id, None, &refusal);
                s.replies.clear();
                let step = self.end_refused(&refusal, s);
                self.send_replies(s);
                step
            }
        }
    }

    /// Puts another grant in force, once its policy was asked about the subscriptions that it is to be asked about: until
    /// then the old one holds. It must be about the same principal. `told`: the client asked for it, and is answered.
    fn replace_grant(&mut self, grant: Arc<Grant>, told: bool, stays: bool, s: &mut Scratch) -> Step {
        if let Some(open) = self.open() {
            open.seldom().regranting = Some(Box::new(Regranting { grant, asked: Asked::default(), told, stays }));
        }
        self.go_on_regranting(s)
    }

    /// Judges again what lives under the grant in force: what its policy says today counts, and not what is remembered. The
    /// grant itself stays, with its rules and its end.
    fn recheck(&mut self, s: &mut Scratch) -> Step {
        let Some(open) = self.open() else { return Step::More };
        if open.regranting().is_some() {
            // Another grant is about to be put in force, and all of this with it.
            return Step::More;
        }
        open.grant.forget_answers();
        let grant = Arc::clone(&open.grant);
        self.replace_grant(grant, false, true, s)
    }

    /// The policy of the grant that is to be put in force has answered about a subscription.
    pub(super) fn on_regranting(&mut self, action: Action, allowed: bool, s: &mut Scratch) -> Step {
        if let Some(regranting) = self.open().and_then(|open| open.seldom.as_mut()?.regranting.as_mut()) {
            regranting.asked.insert(action, allowed);
        }
        self.go_on_regranting(s)
    }

    fn go_on_regranting(&mut self, s: &mut Scratch) -> Step {
        let Some(open) = self.open() else { return Step::More };
        let Some(regranting) = open.seldom.as_mut().and_then(|seldom| seldom.regranting.take()) else {
            return Step::More;
        };
        if open.entry.belongs_to(&regranting.grant.identity)
            && let Some(action) = open.unanswered(&regranting.grant, &regranting.asked)
        {
            open.seldom().regranting = Some(regranting);
            return Step::Authorize(action);
        }
        let (method, most) = (self.method(), self.open().map_or(u32::MAX, |open| open.client_max_packet));
        s.replies.clear();
        let step = match self.put_in_force(&regranting, s) {
            Ok(()) if regranting.told => {
                let auth = Auth {
                    reason: ReasonCode::SUCCESS,
                    method: Some(&method),
                    data: regranting.grant.data(),
                    ..Auth::default()
                };
                match append(&mut s.replies, &Packet::Auth(auth), ProtocolVersion::V5, most) {
                    true => Step::More,
                    false => self.end_open(End::ours(ReasonCode::PACKET_TOO_LARGE, UNTOLD), s),
                }
            }
            Ok(()) => Step::More,
            Err(end) => self.end_open(end, s),
        };
        self.send_replies(s);
        self.look_again_if_changed();
        step
    }

    fn put_in_force(&mut self, regranting: &Regranting, s: &mut Scratch) -> Result<(), End> {
        let (broker, handle, rules) = (Arc::clone(&self.broker), Arc::clone(&self.handle), Arc::clone(&self.rules));
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        let grant = Arc::clone(&regranting.grant);
        if !open.entry.belongs_to(&grant.identity) {
            return Err(End::ours(ReasonCode::NOT_AUTHORIZED, "the new grant is about somebody else"));
        }
        let now = now_ms();
        if grant.expires_at().is_some_and(|at| at <= unix_now()) {
            return Err(End::ours(ReasonCode::NOT_AUTHORIZED, "the new grant has expired already"));
        }
        if !regranting.stays {
            open.expires = expiry_time(&grant, now);
            open.renew = renewal_time(&grant, now);
        }
        // What CONNACK told the client (packet size, receive maximum, keep-alive, session expiry) holds until it connects
        // again, and connections are counted when they come; the other bounds are the new ones from now on.
        let rate = Rate::of(&rules, grant.limits(), now);
        if rate.is_some() || open.seldom.is_some() {
            let seldom = open.seldom();
            seldom.rate = rate.map(|new| new.renewed(seldom.rate.as_deref()));
        }
        open.mailbox.set_limits(mailbox_limits(&rules, &grant));
        if let Some(will) = &mut open.will {
            will.limits = rules.retained_by(grant.limits());
        }
        open.grant = grant;
        // What an earlier grant was asked about a packet that is not processed yet.
        if let Some(seldom) = &mut open.seldom {
            seldom.at_hand = None;
        }
        open.apply_grant(&broker, &handle, &regranting.asked, s);
        Ok(())
    }
}
