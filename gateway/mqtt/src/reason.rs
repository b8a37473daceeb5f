//! Reason codes (MQTT 5 §2.4): one octet that says how an operation ended.
//!
//! Which code a packet of which direction may carry is the business of that packet's file.

/// A reason code. Codes from 0x80 are failures. The octet is public: a code that is not in the table can be held and
/// printed, but `decode` lets none in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReasonCode(pub u8);

impl ReasonCode {
    /// The operation succeeded; in DISCONNECT a normal disconnection, in SUBACK granted QoS 0.
    pub const SUCCESS: Self = Self(0x00);
    /// SUBACK: granted, with QoS 1 at most.
    pub const GRANTED_QOS_1: Self = Self(0x01);
    /// SUBACK: granted, with QoS 2 at most.
    pub const GRANTED_QOS_2: Self = Self(0x02);
    /// DISCONNECT from a client that wants its will published nevertheless.
    pub const DISCONNECT_WITH_WILL: Self = Self(0x04);
    /// PUBACK, PUBREC from a server: accepted, but nobody subscribed.
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// UNSUBACK: there was nothing to remove.
    pub const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    /// AUTH: the next step of an exchange.
    pub const CONTINUE_AUTHENTICATION: Self = Self(0x18);
    /// AUTH from a client: begin a new exchange on a live connection.
    pub const RE_AUTHENTICATE: Self = Self(0x19);
    /// The sender will not say, or no other code applies.
    pub const UNSPECIFIED_ERROR: Self = Self(0x80);
    /// The packet could not be parsed.
    pub const MALFORMED_PACKET: Self = Self(0x81);
    /// The packet could be parsed, but breaks a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    /// Valid, but refused by this implementation.
    pub const IMPLEMENTATION_SPECIFIC_ERROR: Self = Self(0x83);
    /// CONNACK: the level of the CONNECT is not spoken here.
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(0x84);
    /// CONNACK: the client identifier is refused.
    pub const CLIENT_IDENTIFIER_NOT_VALID: Self = Self(0x85);
    /// CONNACK: the credentials are refused.
    pub const BAD_USER_NAME_OR_PASSWORD: Self = Self(0x86);
    /// The client may not do this.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// CONNACK: not available.
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    /// Try again later.
    pub const SERVER_BUSY: Self = Self(0x89);
    /// CONNACK: this client was banned by an administrator.
    pub const BANNED: Self = Self(0x8A);
    /// DISCONNECT: the server is about to stop.
    pub const SERVER_SHUTTING_DOWN: Self = Self(0x8B);
    /// The authentication method is not supported, or not the one in use.
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8C);
    /// DISCONNECT: nothing arrived for one and a half keep-alive intervals.
    pub const KEEP_ALIVE_TIMEOUT: Self = Self(0x8D);
    /// DISCONNECT: another connection uses the same client identifier.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    /// The topic filter is well formed UTF-8, but not one that is accepted.
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8F);
    /// The topic name is well formed UTF-8, but not one that is accepted.
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    /// The packet identifier is already in use.
    pub const PACKET_IDENTIFIER_IN_USE: Self = Self(0x91);
    /// PUBREL, PUBCOMP: the packet identifier is not known.
    pub const PACKET_IDENTIFIER_NOT_FOUND: Self = Self(0x92);
    /// DISCONNECT: more unacknowledged messages than the receive maximum.
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    /// DISCONNECT: the alias is zero, above the maximum, or was never set.
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    /// The packet is larger than the receiver takes.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    /// DISCONNECT: too many messages in too little time.
    pub const MESSAGE_RATE_TOO_HIGH: Self = Self(0x96);
    /// A limit set for this client was reached.
    pub const QUOTA_EXCEEDED: Self = Self(0x97);
    /// DISCONNECT: an administrator closed the connection.
    pub const ADMINISTRATIVE_ACTION: Self = Self(0x98);
    /// The payload is not in the format that its indicator says.
    pub const PAYLOAD_FORMAT_INVALID: Self = Self(0x99);
    /// The server keeps no retained messages.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    /// The quality of service is above the server's maximum.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    /// Go to the server in the server reference, for now.
    pub const USE_ANOTHER_SERVER: Self = Self(0x9C);
    /// Go to the server in the server reference, for good.
    pub const SERVER_MOVED: Self = Self(0x9D);
    /// The server has no shared subscriptions.
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0x9E);
    /// Too many connections in too little time.
    pub const CONNECTION_RATE_EXCEEDED: Self = Self(0x9F);
    /// DISCONNECT: the time that this connection was granted is over.
    pub const MAXIMUM_CONNECT_TIME: Self = Self(0xA0);
    /// The server has no subscription identifiers.
    pub const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: Self = Self(0xA1);
    /// The server has no wildcard subscriptions.
    pub const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0xA2);

    /// Whether the operation failed: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The name in the specification's table, in lower case; "unknown reason code" for an octet that is not there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SUCCESS => "success",
            Self::GRANTED_QOS_1 => "granted QoS 1",
            Self::GRANTED_QOS_2 => "granted QoS 2",
            Self::DISCONNECT_WITH_WILL => "disconnect with will message",
            Self::NO_MATCHING_SUBSCRIBERS => "no matching subscribers",
            Self::NO_SUBSCRIPTION_EXISTED => "no subscription existed",
            Self::CONTINUE_AUTHENTICATION => "continue authentication",
            Self::RE_AUTHENTICATE => "re-authenticate",
            Self::UNSPECIFIED_ERROR => "unspecified error",
            Self::MALFORMED_PACKET => "malformed packet",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::IMPLEMENTATION_SPECIFIC_ERROR => "implementation specific error",
            Self::UNSUPPORTED_PROTOCOL_VERSION => "unsupported protocol version",
            Self::CLIENT_IDENTIFIER_NOT_VALID => "client identifier not valid",
            Self::BAD_USER_NAME_OR_PASSWORD => "bad user name or password",
            Self::NOT_AUTHORIZED => "not authorized",
            Self::SERVER_UNAVAILABLE => "server unavailable",
            Self::SERVER_BUSY => "server busy",
            Self::BANNED => "banned",
            Self::SERVER_SHUTTING_DOWN => "server shutting down",
            Self::BAD_AUTHENTICATION_METHOD => "bad authentication method",
            Self::KEEP_ALIVE_TIMEOUT => "keep alive timeout",
            Self::SESSION_TAKEN_OVER => "session taken over",
            Self::TOPIC_FILTER_INVALID => "topic filter invalid",
            Self::TOPIC_NAME_INVALID => "topic name invalid",
            Self::PACKET_IDENTIFIER_IN_USE => "packet identifier in use",
            Self::PACKET_IDENTIFIER_NOT_FOUND => "packet identifier not found",
            Self::RECEIVE_MAXIMUM_EXCEEDED => "receive maximum exceeded",
            Self::TOPIC_ALIAS_INVALID => "topic alias invalid",
            Self::PACKET_TOO_LARGE => "packet too large",
            Self::MESSAGE_RATE_TOO_HIGH => "message rate too high",
            Self::QUOTA_EXCEEDED => "quota exceeded",
            Self::ADMINISTRATIVE_ACTION => "administrative action",
            Self::PAYLOAD_FORMAT_INVALID => "payload format invalid",
            Self::RETAIN_NOT_SUPPORTED => "retain not supported",
            Self::QOS_NOT_SUPPORTED => "QoS not supported",
            Self::USE_ANOTHER_SERVER => "use another server",
            Self::SERVER_MOVED => "server moved",
            Self::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => "shared subscriptions not supported",
            Self::CONNECTION_RATE_EXCEEDED => "connection rate exceeded",
            Self::MAXIMUM_CONNECT_TIME => "maximum connect time",
            Self::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED => "subscription identifiers not supported",
            Self::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => "wildcard subscriptions not supported",
            _ => "unknown reason code",
        }
    }

    /// The return code of a 3.1 or 3.1.1 CONNACK (0 to 5) that comes nearest (MQTT 3.1.1 §3.2.2.3). What those versions
    /// cannot say is told as 3, "server unavailable", unless it is a refusal of this client: then 5, "not authorized".
    pub const fn connect_return_code(self) -> u8 {
        match self {
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::BAD_USER_NAME_OR_PASSWORD => 4,
            Self::NOT_AUTHORIZED
            | Self::BANNED
            | Self::BAD_AUTHENTICATION_METHOD
            | Self::TOPIC_NAME_INVALID
            | Self::PACKET_TOO_LARGE
            | Self::PAYLOAD_FORMAT_INVALID
            | Self::RETAIN_NOT_SUPPORTED
            | Self::QOS_NOT_SUPPORTED => 5,
            code if code.is_error() => 3,
            _ => 0,
        }
    }
}

impl From<ReasonCode> for u8 {
    fn from(code: ReasonCode) -> u8 {
        code.0
    }
}

impl std::fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#04x} {}", self.0, self.name())
    }
}

/// The name and the octet, as in `not authorized (0x87)`.
impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), self.0)
    }
}
