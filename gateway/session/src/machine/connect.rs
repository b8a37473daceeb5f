//! CONNECT: read, remembered, put to the gatekeeper.

use std::num::NonZeroU32;
use std::sync::Arc;

use portcullis_grant::{Account, Challenge, ConnectionFacts, Credentials, Filtered, Grant, Login, Outcome, Reply};
use portcullis_mqtt::{
    Auth, ConnAck, ConnAckProperties, Connect, Frame, Packet, PacketType, ProtocolVersion, PublishProperties,
    ReasonCode, SubscriptionIds, decode_connect, decode_from_client, frame,
};
use portcullis_router::{Message, RetainedLimits, now_ms};

use super::asked::Asked;
use super::publish::encode_forward;
use super::reply::append;
use super::{End, Fault, Machine, Phase, Step};
use crate::registry::Will;
use crate::scratch::Scratch;

/// A challenge may be asked again so many times in one exchange.
pub(super) const MOST_STEPS: u8 = 8;

/// Octets of the largest packet that is taken from somebody who has not been let in, whatever the listener takes from
/// others. A CONNECT has room in it for a password and a will of 64 KiB each.
const MOST_FROM_STRANGERS: u32 = 256 * 1024;

/// What CONNECT said, kept until it is decided.
pub(super) struct Connecting {
    pub version: ProtocolVersion,
    pub clean_start: bool,
    pub keep_alive: u16,
    pub client_id: String,
    pub username: Option<String>,
    pub will: Option<Will>,
    /// Seconds.
    pub session_expiry: u32,
    /// Receive maximum; 65,535 where the client names none.
    pub window: u16,
    pub max_packet: Option<NonZeroU32>,
    /// How many topic aliases the client takes; 0: none.
    pub topic_alias_maximum: u16,
    pub problem_information: bool,
    pub method: Option<String>,
    /// Once allowed.
    pub grant: Option<Arc<Grant>>,
    /// How that was decided.
    pub account: Account,
    /// While the client is challenged.
    pub challenge: Option<Challenge>,
    /// When it must have answered, in [`now_ms`].
    pub reply_by: Option<u64>,
    /// What was answered about the will.
    pub will_allowed: Option<bool>,
    /// Whether filters have looked at the will, or need not.
    pub will_filtered: bool,
    /// What they made of it.
    pub filtered: Option<Box<Filtered>>,
    /// What the gatekeeper answered about the subscriptions of the session that is resumed.
    pub asked: Asked,
}

impl Connecting {
    /// Octets of the largest packet that the client takes; `u32::MAX`: any.
    pub(super) fn most(&self) -> u32 {
        self.max_packet.map_or(u32::MAX, NonZeroU32::get)
    }

    fn new(connect: &Connect<'_>) -> Self {
        let p = &connect.properties;
        // Before MQTT 5 a session that is not clean lives until somebody says otherwise (3.1.1 §3.1.2.4).
        let session_expiry = match connect.version {
            ProtocolVersion::V5 => p.session_expiry.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id.to_owned(),
            // Without a password it may be the credential, which nobody is told.
            username: connect.username.filter(|_| connect.password.is_some_and(|p| !p.is_empty())).map(str::to_owned),
            will: connect.will.as_ref().map(will),
            session_expiry,
            window: p.receive_maximum.map_or(u16::MAX, std::num::NonZero::get),
            max_packet: p.maximum_packet_size,
            topic_alias_maximum: p.topic_alias_maximum,
            problem_information: p.request_problem_information,
            method: p.authentication_method.map(str::to_owned),
            grant: None,
            account: Account::default(),
            challenge: None,
            reply_by: None,
            will_allowed: None,
            will_filtered: false,
            filtered: None,
            asked: Asked::default(),
        }
    }
}

fn will(will: &portcullis_mqtt::Will<'_>) -> Will {
    let p = &will.properties;
    let mut forward = Vec::new();
    let properties = PublishProperties {
        payload_format: p.payload_format,
        message_expiry: None,
        topic_alias: None,
        response_topic: p.response_topic,
        correlation_data: p.correlation_data,
        user: p.user,
        subscription_ids: SubscriptionIds::EMPTY,
        content_type: p.content_type,
    };
    if properties != PublishProperties::default() {
        encode_forward(&properties, &mut forward);
    }
    let message = Message::new(will.topic, &forward, will.payload, will.qos, will.retain, None, 0);
    // Its life begins when it is published, not now (MQTT 5 §3.1.3.2.4).
    // Its bounds follow from the grant.
    let limits = RetainedLimits::NONE;
    Will { message: Arc::new(message.with_lifetime(p.message_expiry)), delay: p.delay, limits }
}

impl Machine {
    pub(super) fn process_connect(&mut self, bytes: &[u8]) -> (usize, Step) {
        match bytes.first() {
            None => return (0, Step::More),
            // Anything else before CONNECT is no MQTT client (MQTT 5 §3.1): not a byte more is read for it.
            Some(0x10) => {}
            Some(first) => {
                return (bytes.len(), self.reject_bytes(format!("the first octet is {first:#04x}, not a CONNECT")));
            }
        }
        let f = match frame(bytes, 0, self.rules.max_packet.min(MOST_FROM_STRANGERS)) {
            Ok(Some(f)) => f,
            Ok(None) => return (0, Step::More),
            Err(e) => return (bytes.len(), self.reject_bytes(e.to_string())),
        };
        let connect = match decode_connect(bytes.get(f.body..f.end).unwrap_or_default()) {
            Ok(connect) => connect,
            Err(e) => {
                let code = e.reason_code();
                // Before MQTT 5 a malformed CONNECT gets no answer (3.1.1 §3.1.4); an unknown version does.
                let answered =
                    |version| version == ProtocolVersion::V5 || code == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
                if let Some(version) = e.version().filter(|v| answered(*v)) {
                    self.write_connack(version, code, u32::MAX, None, None);
                }
                return (bytes.len(), self.reject_bytes(format!("CONNECT: {e}")));
            }
        };
        if !self.handle.is_http() {
            self.handle.set_version(connect.version.level());
        }
        let connecting = Box::new(Connecting::new(&connect));
        self.asked_at = self.broker.changes.so_far();
        let login = Box::new(Login {
            connection: self.facts(),
            credentials: Credentials {
                client_id: connect.client_id.to_owned(),
                username: connect.username.map(str::to_owned),
                password: connect.password.map(<[u8]>::to_vec),
                method: connect.properties.authentication_method.map(str::to_owned),
                data: connect.properties.authentication_data.map(<[u8]>::to_vec),
                user_properties: pairs(connect.properties.user),
            },
        });
        // Before MQTT 5 only a clean session may leave the naming to the server (3.1.1 §3.1.3.1), and 3.1 none.
        let nameless = connect.client_id.is_empty()
            && (connect.version == ProtocolVersion::V31
                || (connect.version == ProtocolVersion::V311 && !connect.clean_start));
        self.phase = Phase::Deciding(connecting);
        if nameless || connect.client_id.len() > self.rules.max_client_id_length {
            return (
                f.end,
                self.refuse_reason(
                    ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                    "the client identifier is empty or too long",
                ),
            );
        }
        (f.end, Step::Login(login))
    }

    /// The gatekeeper's answer to [`Step::Login`] or [`Step::Reply`].
    pub fn on_outcome(&mut self, outcome: Outcome, s: &mut Scratch) -> Step {
        if matches!(self.phase, Phase::Open(_)) {
            return self.on_reauthentication(outcome, s);
        }
        let Phase::Deciding(mut connecting) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Step::End(End::theirs(
                ReasonCode::UNSPECIFIED_ERROR,
                "the connection ended while it was decided about",
            ));
        };
        match outcome {
            Outcome::Allow(grant, account) => {
                connecting.grant = Some(grant);
                connecting.account = account;
                connecting.challenge = None;
                self.phase = Phase::Admitting(connecting);
                self.admit(s)
            }
            Outcome::Deny(refusal) => {
                self.phase = Phase::Deciding(connecting);
                self.refuse(&refusal)
            }
            Outcome::Challenge(challenge) => {
                let Some(method) = connecting.method.clone() else {
                    self.phase = Phase::Deciding(connecting);
                    return self.refuse_reason(
                        ReasonCode::NOT_AUTHORIZED,
                        "the policy challenged a client that named no method",
                    );
                };
                if challenge.step > MOST_STEPS {
                    self.phase = Phase::Deciding(connecting);
                    return self.refuse_reason(ReasonCode::NOT_AUTHORIZED, "the exchange took too many steps");
                }
                if !challenge_packet(self.early(), &method, &challenge.data, connecting.most()) {
                    self.phase = Phase::Deciding(connecting);
                    return self.refuse_reason(
                        ReasonCode::PACKET_TOO_LARGE,
                        "the client takes no packet as large as the challenge",
                    );
                }
                connecting.reply_by = challenge.reply_within.map(|s| now_ms() + u64::from(s) * 1000);
                connecting.challenge = Some(challenge);
                self.phase = Phase::Challenged(connecting);
                Step::More
            }
        }
    }

    /// What a challenged client may send: AUTH, or DISCONNECT (MQTT 5 §4.12).
    pub(super) fn process_challenged(&mut self, bytes: &[u8]) -> (usize, Step) {
        let read = self.read_answer(bytes);
        let (f, auth) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return (0, Step::More),
            Err(fault) => return (bytes.len(), self.refuse_reason(fault.reason, &fault.detail)),
        };
        let Some(auth) = auth else {
            self.phase = Phase::Ended;
            let end = End::theirs(ReasonCode::SUCCESS, "DISCONNECT instead of an answer to the challenge");
            return (bytes.len(), Step::End(end));
        };
        let Phase::Challenged(mut connecting) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return (bytes.len(), Step::More);
        };
        let same = auth.method.is_some() && auth.method == connecting.method.as_deref();
        let Some(challenge) = connecting.challenge.take().filter(|_| same) else {
            self.phase = Phase::Deciding(connecting);
            let step = self.refuse_reason(ReasonCode::PROTOCOL_ERROR, "AUTH with another method than CONNECT's");
            return (bytes.len(), step);
        };
        let reply = self.reply(self.facts(), &connecting.client_id, &auth, challenge);
        connecting.reply_by = None;
        self.phase = Phase::Deciding(connecting);
        (f.end, Step::Reply(reply))
    }

    /// The packet that follows a challenge: the AUTH; within, none for DISCONNECT. None: it is not whole yet.
    fn read_answer<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Frame, Option<Auth<'a>>)>, Fault> {
        let violation = |detail: &'static str| Fault::new(ReasonCode::PROTOCOL_ERROR, detail);
        let Some(first) = bytes.first() else { return Ok(None) };
        // Nothing else is waited for.
        if !matches!(PacketType::from_first(*first), Some(PacketType::Auth | PacketType::Disconnect)) {
            return Err(violation("only AUTH or DISCONNECT may follow a challenge"));
        }
        let Some(f) = frame(bytes, 0, self.rules.max_packet.min(MOST_FROM_STRANGERS))? else { return Ok(None) };
        let body = bytes.get(f.body..f.end).unwrap_or_default();
        match decode_from_client(ProtocolVersion::V5, f.first, body)? {
            Packet::Auth(auth) if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION => Ok(Some((f, Some(auth)))),
            Packet::Disconnect(_) => Ok(Some((f, None))),
            _ => Err(violation("AUTH that does not answer the challenge")),
        }
    }

    pub(super) fn reply(
        &self,
        connection: ConnectionFacts,
        client_id: &str,
        auth: &Auth<'_>,
        challenge: Challenge,
    ) -> Box<Reply> {
        Box::new(Reply {
            connection,
            client_id: client_id.to_owned(),
            method: auth.method.unwrap_or_default().to_owned(),
            data: auth.data.map(<[u8]>::to_vec),
            user_properties: pairs(auth.user),
            challenge,
        })
    }

    /// Something that no CONNACK can be sent for.
    fn reject_bytes(&mut self, detail: String) -> Step {
        self.broker.stats.malformed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.phase = Phase::Ended;
        Step::End(End::ours(ReasonCode::MALFORMED_PACKET, detail))
    }

    /// Writes a CONNACK that refuses, with as much of the rest as fits into `most` octets (MQTT 5 §3.2.2.3.9). A client
    /// that takes not even the bare one is told nothing.
    pub(super) fn write_connack(
        &mut self,
        version: ProtocolVersion,
        code: ReasonCode,
        most: u32,
        message: Option<&str>,
        server_reference: Option<&str>,
    ) {
        let code = if version == ProtocolVersion::V5 { code.0 } else { code.connect_return_code() };
        // What is for people goes first. What cannot be said at all does not keep the client from its answer either.
        for (reason_string, server_reference) in [(message, server_reference), (None, server_reference), (None, None)] {
            let properties = ConnAckProperties { reason_string, server_reference, ..ConnAckProperties::default() };
            let connack = Packet::ConnAck(ConnAck { session_present: false, code, properties });
            if append(self.early(), &connack, version, most) {
                return;
            }
        }
    }
}

/// Appends an AUTH that asks for more. False: it is larger than `most` octets.
pub(super) fn challenge_packet(out: &mut Vec<u8>, method: &str, data: &[u8], most: u32) -> bool {
    let auth = Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        method: Some(method),
        data: (!data.is_empty()).then_some(data),
        ..Auth::default()
    };
    append(out, &Packet::Auth(auth), ProtocolVersion::V5, most)
}

pub(super) fn pairs(user: portcullis_mqtt::UserProperties<'_>) -> Vec<(String, String)> {
    user.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
