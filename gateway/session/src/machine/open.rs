//! An admitted connection: the loop over its packets.

use std::collections::VecDeque;
use std::sync::Arc;

use portcullis_grant::{Challenge, Filtered, Grant};
use portcullis_mqtt::{Frame, Packet, ProtocolVersion, ReasonCode, decode_from_client, frame};
use portcullis_router::{Mailbox, Wire};

use portcullis_store::Durability;

use super::asked::AtHand;
use super::offering::Offering;
use super::pace::Rate;
use super::reauthentication::Regranting;
use super::route_cache::RouteCache;
use super::{End, Fault, Machine, Phase, Step, Stop};
use crate::durable::{Held, Recipient};
use crate::registry::{Entry, Will};
use crate::scratch::Scratch;
use crate::state::SessionState;

/// State of a connection that has a session.
pub(super) struct Open {
    pub entry: Arc<Entry>,
    pub mailbox: Arc<Mailbox>,
    pub state: SessionState,
    pub grant: Arc<Grant>,
    pub version: ProtocolVersion,
    pub will: Option<Box<Will>>,
    pub max_packet: u32,
    /// Octets of the largest packet that the client takes (MQTT 5 §3.1.2.11.4); `u32::MAX`: any.
    pub client_max_packet: u32,
    /// Seconds of keep-alive (MQTT 5 §3.1.2.10). 0: silence does not end the connection.
    pub keep_alive: u16,
    /// When the grant ends, in [`portcullis_router::now_ms`]. `u64::MAX`: never.
    pub expires: u64,
    /// When to have it looked at again.
    pub renew: u64,
    pub routes: RouteCache,
    /// What few connections have, or not for long.
    pub seldom: Option<Box<Seldom>>,
    /// What was remembered does not count any more once the grant was looked at.
    pub judge_again: bool,
    /// Whether this connection counts against the identity's limit.
    pub counted: bool,
    /// Whether the client wants reason strings (MQTT 5 §3.1.2.11.7).
    pub problem_information: bool,
    /// The session's number in the store; 0: it is not stored.
    pub number: u64,
    /// CONNECT asked for an expiry of 0: DISCONNECT may not raise it (MQTT 5 §3.14.2.2.2).
    pub expiry_was_zero: bool,
}

// A size class of the allocator's.
const _: () = assert!(size_of::<Open>() <= 112);

/// See [`Open::seldom`].
#[derive(Default)]
pub(super) struct Seldom {
    /// Publish rate, where the listener or the grant bounds it.
    pub rate: Option<Box<Rate>>,
    /// Replies that wait for the store.
    pub held: Option<Arc<Held>>,
    /// Topics by alias, from 1 (MQTT 5 §3.3.2.3.4).
    pub aliases: Option<Box<[Option<Arc<str>>]>>,
    /// Enhanced authentication: its method, and the question that awaits an answer.
    pub exchange: Option<Box<Exchange>>,
    /// Another grant, while its policy is asked about the session's subscriptions.
    pub regranting: Option<Box<Regranting>>,
    /// What was asked about the packet at hand.
    pub at_hand: Option<Box<AtHand>>,
    /// What filters made of the packet at hand.
    pub filtered: Option<Box<Filtered>>,
    /// What is retained for new subscriptions and was not sent yet.
    pub offerings: VecDeque<Offering>,
}

// Who has a stored session, or a bound on what it publishes, has one for good.
const _: () = assert!(size_of::<Seldom>() <= 112);

/// Enhanced authentication of an open connection.
pub(super) struct Exchange {
    pub method: Box<str>,
    /// While the client re-authenticates: what it was asked.
    pub challenge: Option<Challenge>,
    /// When it must have answered.
    pub reply_by: u64,
}

impl Open {
    /// Whether what belongs to the session is stored: not where only its will is.
    pub(super) fn is_stored(&self) -> bool {
        self.number != 0 && self.state.expiry > 0
    }

    /// Keeps replies back where others wait for the store already. False: none do, and they may go at once.
    pub(super) fn holds_back(&self, replies: &[u8]) -> bool {
        self.seldom.as_ref().and_then(|seldom| seldom.held.as_ref()).is_some_and(|held| held.behind(replies))
    }

    pub(super) fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    pub(super) fn exchange(&self) -> Option<&Exchange> {
        self.seldom.as_ref()?.exchange.as_deref()
    }

    pub(super) fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.seldom.as_mut()?.exchange.as_deref_mut()
    }

    pub(super) fn regranting(&self) -> Option<&Regranting> {
        self.seldom.as_ref()?.regranting.as_deref()
    }

    pub(super) fn has_offerings(&self) -> bool {
        self.seldom.as_ref().is_some_and(|seldom| !seldom.offerings.is_empty())
    }

    pub(super) fn wire(&self) -> Wire {
        self.version.into()
    }

    /// When it has been silent for too long, if nothing is heard until then: one and a half times the keep-alive.
    pub(super) fn silent_at(&self, heard_at: u64) -> u64 {
        if self.keep_alive == 0 { u64::MAX } else { heard_at + u64::from(self.keep_alive) * 1500 }
    }

    pub(super) fn next_time(&self, heard_at: u64) -> Option<u64> {
        let silence = self.silent_at(heard_at);
        let reply = self.exchange().map_or(u64::MAX, |e| e.reply_by);
        let next = silence.min(self.expires).min(self.renew).min(reply);
        (next != u64::MAX).then_some(next)
    }
}

impl Machine {
    /// The open state; the callers are reached only from [`Phase::Open`].
    pub(super) fn open(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            _ => None,
        }
    }

    pub(super) fn process_open(&mut self, bytes: &[u8], s: &mut Scratch) -> (usize, Step) {
        s.replies.clear();
        let mut at = 0;
        let mut step = Step::More;
        loop {
            let next = match self.packet(bytes, at, s) {
                Ok(Some(end)) => {
                    at = end;
                    if let Some(seldom) = self.open().and_then(|open| open.seldom.as_mut()) {
                        // Answers that hold only once have had their packet.
                        seldom.at_hand = None;
                        seldom.filtered = None;
                    }
                    continue;
                }
                Ok(None) => break,
                Err(stop) => stop,
            };
            match next {
                Stop::Fault(fault) => {
                    self.broker.stats.malformed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    step = self.end_open(End::ours(fault.reason, fault.detail), s);
                    at = bytes.len();
                }
                Stop::Ask(action) => step = Step::Authorize(action),
                Stop::Filter(passage) => step = Step::Filter(passage),
                Stop::Step(Step::End(end)) => {
                    step = Step::End(end);
                    at = bytes.len();
                }
                Stop::Step(other) => {
                    // The packet that led to it is used up.
                    if let Ok(Some(f)) = frame(bytes, at, u32::MAX) {
                        at = f.end;
                    }
                    step = other;
                }
            }
            break;
        }
        self.on_room(s);
        self.send_replies(s);
        (at, step)
    }

    /// Hands the replies of this batch to the mailbox: at once, or when what they confirm is on disk.
    pub(super) fn send_replies(&mut self, s: &mut Scratch) {
        let durability = self.rules.durability;
        let Phase::Open(open) = &mut self.phase else {
            s.replies.clear();
            return;
        };
        let changed = !s.journal.is_empty() || !s.batch.changes.is_empty();
        if let (true, Some(durable)) = (changed, &self.broker.durable) {
            let held = open.seldom.get_or_insert_default().held.get_or_insert_default();
            let to = Recipient { mailbox: &open.mailbox, handle: &self.handle, held };
            if durability == Durability::Ack {
                durable.submit_with_replies(s, durability, &to);
                return;
            }
            durable.submit(s, durability);
            durable.slow_down(&self.handle);
        }
        if s.replies.is_empty() {
            return;
        }
        if !open.holds_back(&s.replies) {
            open.mailbox.push(&s.replies, &mut s.batch);
        }
        s.replies.clear();
    }

    /// Processes the packet at `at`, and with it those that make a run with it. Returns where the next begins; none when
    /// the packet is not whole yet.
    fn packet(&mut self, bytes: &[u8], at: usize, s: &mut Scratch) -> Result<Option<usize>, Stop> {
        let Self { broker, rules, handle, phase, .. } = self;
        let Phase::Open(open) = phase else { return Ok(None) };
        let Some(f) = frame(bytes, at, open.max_packet)? else { return Ok(None) };
        match f.first >> 4 {
            3 => return open.publish(broker, rules, handle, bytes, at, f, s).map(Some),
            4..=7 if matches!(f.first, 0x40 | 0x50 | 0x62 | 0x70) && f.end - f.body == 2 => {
                return Ok(Some(open.acknowledgements(bytes, at, f, s)?));
            }
            _ => {}
        }
        self.other_packet(bytes, f, s)?;
        Ok(Some(f.end))
    }

    fn other_packet(&mut self, bytes: &[u8], f: Frame, s: &mut Scratch) -> Result<(), Stop> {
        let Self { broker, rules, handle, phase, .. } = self;
        let Phase::Open(open) = phase else { return Ok(()) };
        let body = bytes.get(f.body..f.end).unwrap_or_default();
        match decode_from_client(open.version, f.first, body)? {
            Packet::PubAck(ack) => open.puback(ack.packet_id, s),
            Packet::PubRec(ack) => open.pubrec(ack.packet_id, ack.reason, s),
            Packet::PubRel(ack) => open.pubrel(ack.packet_id, s),
            Packet::PubComp(ack) => open.pubcomp(ack.packet_id, s),
            Packet::Subscribe(subscribe) => open.subscribe(broker, rules, handle, &subscribe, s)?,
            Packet::Unsubscribe(unsubscribe) => open.unsubscribe(broker, &unsubscribe, s)?,
            Packet::PingReq => s.replies.extend_from_slice(&[0xD0, 0]),
            Packet::Disconnect(disconnect) => return Err(Stop::Step(self.on_disconnect(&disconnect)?)),
            Packet::Auth(auth) => return Err(Stop::Step(self.on_open_auth(&auth)?)),
            Packet::Connect(_) => {
                return Err(Fault::new(ReasonCode::PROTOCOL_ERROR, "a second CONNECT").into());
            }
            _ => return Err(Fault::new(ReasonCode::PROTOCOL_ERROR, "a packet that only a server may send").into()),
        }
        Ok(())
    }
}
