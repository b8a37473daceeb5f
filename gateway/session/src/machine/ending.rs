//! How a connection ends, and what becomes of its session.

use std::sync::Arc;

use portcullis_grant::Refusal;
use portcullis_mqtt::{Disconnect, Packet, ProtocolVersion, ReasonCode};

use super::{End, Fault, Machine, Phase, Step};
use crate::handle::Control;
use crate::scratch::Scratch;

impl Machine {
    /// DISCONNECT from the client.
    pub(super) fn on_disconnect(&mut self, packet: &Disconnect<'_>) -> Result<Step, Fault> {
        let most = self.rules.session_expiry_max;
        let Phase::Open(open) = &mut self.phase else { return Ok(Step::More) };
        if let Some(expiry) = packet.session_expiry {
            if expiry != 0 && open.expiry_was_zero {
                return Err(Fault::new(ReasonCode::PROTOCOL_ERROR, "DISCONNECT raises a session expiry of zero"));
            }
            let granted = open.grant.limits().session_expiry.unwrap_or(u64::MAX);
            open.state.expiry = u64::from(expiry.min(most)).min(granted) as u32;
            open.mailbox.set_persistent(open.state.expiry > 0);
        }
        if packet.reason == ReasonCode::SUCCESS {
            // The will is for those who leave without a word (MQTT 5 §3.14.4).
            open.will = None;
        }
        Ok(Step::End(End::theirs(packet.reason, "the client sent DISCONNECT")))
    }

    /// Ends an open connection with a word to the client, where its version has one.
    pub(super) fn end_open(&mut self, end: End, s: &mut Scratch) -> Step {
        let text = end.detail.clone();
        self.write_disconnect(end.reason, Some(&text), None, s);
        Step::End(end)
    }

    /// Ends an open connection because a policy says no. Its detail is for the log; the client is told its message.
    pub(super) fn end_refused(&mut self, refusal: &Refusal, s: &mut Scratch) -> Step {
        let denial = &refusal.denial;
        let end = End::ours(denial.reason.reason_code(), denial.detail.clone());
        let server = denial.reason.sends_elsewhere().then_some(denial.server_reference.as_deref()).flatten();
        self.write_disconnect(end.reason, denial.message.as_deref(), server, s);
        Step::End(end)
    }

    fn write_disconnect(&self, reason: ReasonCode, text: Option<&str>, server: Option<&str>, s: &mut Scratch) {
        let Phase::Open(open) = &self.phase else { return };
        if open.version != ProtocolVersion::V5 {
            return;
        }
        // Texts go only where they fit (§3.14.2.2.3). Around them: the fixed header with a length of up to two octets, the
        // reason, the length of the properties, of up to two octets, and three octets of each property.
        let room = (open.client_max_packet as usize).saturating_sub(6).min(512);
        let server = server.filter(|server| server.len() + 3 <= room);
        let room = room - server.map_or(0, |server| server.len() + 3);
        let text = text.filter(|text| open.problem_information && text.len() <= 256 && text.len() + 3 <= room);
        let packet = Disconnect {
            reason: for_disconnect(reason),
            reason_string: text,
            server_reference: server,
            ..Disconnect::default()
        };
        let _: Result<(), _> = Packet::Disconnect(packet).encode(ProtocolVersion::V5, &mut s.replies);
    }

    /// The same, from outside of a batch: the packet goes to the mailbox at once.
    fn end_now(&mut self, end: End, s: &mut Scratch) -> Step {
        s.replies.clear();
        let step = self.end_open(end, s);
        self.send_replies(s);
        step
    }

    /// What somebody else wants of this connection.
    pub fn on_control(&mut self, control: Control, s: &mut Scratch) -> Step {
        match control {
            Control::Reevaluate | Control::Recheck => {
                let Some(open) = self.open() else { return Step::More };
                open.judge_again = true;
                self.asked_at = self.broker.changes.so_far();
                if control == Control::Recheck { Step::Recheck } else { Step::Renew }
            }
            Control::Filter(filters) => {
                let mut rules = (*self.rules).clone();
                rules.filters = filters;
                self.rules = Arc::new(rules);
                if let Some(open) = self.open() {
                    open.routes.clear();
                }
                Step::More
            }
            Control::TakenOver => {
                let end = End::ours(ReasonCode::SESSION_TAKEN_OVER, "the client connected elsewhere");
                self.end_now(end, s)
            }
            Control::Disconnect { reason, detail } => {
                // The detail is for the log alone: it may tell of disks and of other people.
                s.replies.clear();
                self.write_disconnect(reason, None, None, s);
                self.send_replies(s);
                Step::End(End::ours(reason, detail))
            }
        }
    }

    /// The read side ended: the client closed without DISCONNECT, or the network failed.
    pub fn on_closed(&mut self, detail: String) -> End {
        End::theirs(ReasonCode::UNSPECIFIED_ERROR, detail)
    }

    pub(super) fn on_open_time(&mut self, now: u64, s: &mut Scratch) -> Step {
        let heard_at = self.heard.at();
        let Phase::Open(open) = &mut self.phase else { return Step::More };
        if open.expires <= now {
            return self.end_now(End::ours(ReasonCode::NOT_AUTHORIZED, "the grant has expired"), s);
        }
        if open.silent_at(heard_at) <= now {
            let end = End::ours(ReasonCode::KEEP_ALIVE_TIMEOUT, "nothing was heard for one and a half keep-alives");
            return self.end_now(end, s);
        }
        if open.exchange().is_some_and(|e| e.reply_by <= now) {
            let end = End::ours(ReasonCode::NOT_AUTHORIZED, "the client did not answer the challenge in time");
            return self.end_now(end, s);
        }
        if open.renew <= now {
            open.renew = u64::MAX;
            self.asked_at = self.broker.changes.so_far();
            return Step::Renew;
        }
        Step::More
    }

    /// Whether something that it owes the client, its last words behind it, waits for the store; the owner is woken when that can
    /// be written. Ask before the mailbox is written for the last time.
    #[must_use]
    pub fn awaits_store(&self) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        let held = open.seldom.as_ref().and_then(|seldom| seldom.held.as_ref());
        held.is_some_and(|held| held.owes(&self.handle))
    }

    /// Leaves the session, once everything that can be written is. None: somebody is writing at this moment; try again
    /// shortly. The caller flushes the batch.
    pub fn close(&mut self, end: &End, s: &mut Scratch) -> Option<()> {
        match &self.phase {
            Phase::Open(open) => {
                open.mailbox.detach(open.state.expiry > 0)?;
            }
            Phase::Admitting(_) | Phase::Deciding(_) | Phase::Challenged(_) | Phase::AwaitConnect | Phase::Ended => {}
        }
        if let Phase::Open(open) = std::mem::replace(&mut self.phase, Phase::Ended) {
            if open.counted {
                self.broker.registry.release(&open.grant.identity);
            }
            self.broker.observer.ended(&self.facts(), &open.entry.client_id, end);
            let open = *open;
            let held = open.seldom.and_then(|seldom| seldom.held);
            self.broker.leave(&open.entry, open.state, open.will.map(|w| *w), held, s);
        }
        Some(())
    }
}

/// The nearest reason that DISCONNECT may carry (MQTT 5 §3.14.2.1): those of a refused CONNECT are not among them.
fn for_disconnect(reason: ReasonCode) -> ReasonCode {
    match reason {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD
        | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
        | ReasonCode::BANNED
        | ReasonCode::BAD_AUTHENTICATION_METHOD => ReasonCode::NOT_AUTHORIZED,
        ReasonCode::SERVER_UNAVAILABLE => ReasonCode::SERVER_BUSY,
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => ReasonCode::PROTOCOL_ERROR,
        other => other,
    }
}
