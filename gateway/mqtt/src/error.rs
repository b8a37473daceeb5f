//! Everything that can be wrong with a packet, said so that a person finds the mistake and a server finds its answer.
//!
//! Decoding is total: any input gives a packet or one of these. Each maps to the reason code that MQTT 5 wants the
//! connection to be closed with; for 3.1 and 3.1.1 the connection is closed without a word.

use crate::{PacketType, ProtocolVersion, ReasonCode};

/// Why a packet is refused. Small and `Copy`; `what` names the field in the words of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The remaining length has a continuation bit in its fourth octet (MQTT 5 §1.5.5).
    #[error("the remaining length takes more than four octets")]
    RemainingLengthTooLong,
    /// The remaining length could have been said in fewer octets ([MQTT-1.5.5-1]).
    #[error("the remaining length is not in its shortest form")]
    RemainingLengthNotMinimal,
    /// The whole packet, fixed header included, is larger than the receiver takes.
    #[error("a packet of {size} octets, but at most {max} are taken")]
    PacketTooLarge {
        /// Octets of the whole packet, fixed header included.
        size: u32,
        /// The limit that was given.
        max: u32,
    },
    /// Packet type 0, or 15 before MQTT 5.
    #[error("packet type {0} is reserved")]
    ReservedPacketType(u8),
    /// The four flags of the first octet are not what this packet type must have (MQTT 5 §2.1.3).
    #[error("{packet} with the flags {flags:#06b} in its first octet")]
    FixedHeaderFlags {
        /// The packet type of the first octet.
        packet: PacketType,
        /// The low four bits of the first octet.
        flags: u8,
    },
    /// A PUBLISH with QoS 0 and the DUP flag ([MQTT-3.3.1-2]).
    #[error("PUBLISH with QoS 0 and DUP")]
    DupWithoutQos,
    /// The packet ends inside this field.
    #[error("the packet ends inside the {what}")]
    Truncated {
        /// The field.
        what: &'static str,
    },
    /// There is something after the last field.
    #[error("{extra} octets after the end of {packet}")]
    TrailingBytes {
        /// The packet.
        packet: PacketType,
        /// How many octets too many.
        extra: usize,
    },
    /// A variable byte integer of more than four octets inside a packet.
    #[error("the {what} takes more than four octets")]
    VarintTooLong {
        /// The field.
        what: &'static str,
    },
    /// A variable byte integer inside a packet that is not in its shortest form ([MQTT-1.5.5-1]).
    #[error("the {what} is not in its shortest form")]
    VarintNotMinimal {
        /// The field.
        what: &'static str,
    },
    /// A string is not well formed UTF-8; surrogates are not either ([MQTT-1.5.4-1]).
    #[error("the {what} is not valid UTF-8")]
    InvalidUtf8 {
        /// The field.
        what: &'static str,
    },
    /// A string contains U+0000 ([MQTT-1.5.4-2]).
    #[error("the {what} contains U+0000")]
    NullCharacter {
        /// The field.
        what: &'static str,
    },
    /// A topic name contains `+` or `#` ([MQTT-3.3.2-2]).
    #[error("the {what} contains a wildcard")]
    WildcardInTopicName {
        /// The field.
        what: &'static str,
    },
    /// A topic name is empty ([MQTT-4.7.3-1]), and no topic alias stands for it.
    #[error("the {what} is empty")]
    EmptyTopicName {
        /// The field.
        what: &'static str,
    },
    /// A topic filter is empty ([MQTT-4.7.3-1]).
    #[error("a topic filter is empty")]
    EmptyTopicFilter,
    /// SUBSCRIBE, UNSUBSCRIBE or SUBACK with nothing in it ([MQTT-3.8.3-2], [MQTT-3.10.3-2]).
    #[error("{0} with nothing in its payload")]
    EmptyPayload(PacketType),
    /// A packet identifier of zero (MQTT 5 §2.2.1).
    #[error("the packet identifier is zero")]
    ZeroPacketId,
    /// A quality of service of 3.
    #[error("the {what} is 3")]
    InvalidQos {
        /// The field.
        what: &'static str,
    },
    /// Bits that must be zero are not.
    #[error("reserved bits are set in the {what}: {value:#010b}")]
    ReservedBits {
        /// The field.
        what: &'static str,
        /// The whole octet.
        value: u8,
    },
    /// A subscription's retain handling of 3 (MQTT 5 §3.8.3.1).
    #[error("the retain handling is 3")]
    InvalidRetainHandling,
    /// No-local on a shared subscription ([MQTT-3.8.3-4]).
    #[error("no-local on a shared subscription")]
    NoLocalOnSharedSubscription,
    /// A property identifier that the specification does not know.
    #[error("unknown property {0:#04x}")]
    UnknownProperty(u32),
    /// A property that this packet may not have (MQTT 5 §2.2.2.2).
    #[error("the {property} may not stand in {place}")]
    PropertyNotAllowed {
        /// The name of the property.
        property: &'static str,
        /// Where it was found.
        place: &'static str,
    },
    /// A property that may stand only once stands twice.
    #[error("the {property} stands twice")]
    DuplicateProperty {
        /// The name of the property.
        property: &'static str,
    },
    /// A property has a value outside its range.
    #[error("the {property} may not be {value}")]
    PropertyValue {
        /// The name of the property.
        property: &'static str,
        /// The value that was found.
        value: u32,
    },
    /// A topic alias of zero ([MQTT-3.3.2-8]).
    #[error("the topic alias is zero")]
    ZeroTopicAlias,
    /// Authentication data without an authentication method (MQTT 5 §3.1.2.11.10).
    #[error("authentication data without an authentication method")]
    AuthenticationDataWithoutMethod,
    /// AUTH that does not say its authentication method (MQTT 5 §3.15.2.2.2).
    #[error("AUTH without an authentication method")]
    MissingAuthenticationMethod,
    /// A reason code, or a return code, that this packet may not carry (from this side).
    #[error("{packet} may not carry the code {code:#04x}")]
    ReasonCodeNotAllowed {
        /// The packet.
        packet: PacketType,
        /// The code that was found.
        code: u8,
    },
    /// CONNACK says "session present" and refuses at the same time ([MQTT-3.2.2-6]).
    #[error("a refusing CONNACK says that a session is present")]
    SessionPresentOnRefusal,
    /// CONNECT has a will QoS or will retain flag without a will flag ([MQTT-3.1.2-11], [MQTT-3.1.2-13]).
    #[error("will QoS or will retain without a will")]
    WillFlagsWithoutWill,
    /// CONNECT before MQTT 5 has a password flag without a user name flag ([MQTT-3.1.2-22] of 3.1.1).
    #[error("a password without a user name")]
    PasswordWithoutUserName,
    /// The protocol name of CONNECT is neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is neither MQTT nor MQIsdp")]
    UnknownProtocolName,
    /// The protocol level of CONNECT is not one that its protocol name has.
    #[error("protocol level {0} is not supported")]
    UnsupportedProtocolVersion(u8),
    /// A packet that only a server may send came from a client.
    #[error("{0} may not come from a client")]
    ServerOnlyPacket(PacketType),
    /// A property that only a server may send came from a client.
    #[error("the {property} of {packet} may not come from a client")]
    ServerOnlyProperty {
        /// The packet.
        packet: PacketType,
        /// The name of the property.
        property: &'static str,
    },
}

impl Error {
    /// The reason code to close an MQTT 5 connection with (MQTT 5 §4.13).
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::PacketTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::WildcardInTopicName { .. } => ReasonCode::TOPIC_NAME_INVALID,
            Self::ZeroTopicAlias => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::UnsupportedProtocolVersion(_) | Self::UnknownProtocolName => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::EmptyTopicName { .. }
            | Self::EmptyPayload(_)
            | Self::InvalidRetainHandling
            | Self::NoLocalOnSharedSubscription
            | Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::AuthenticationDataWithoutMethod
            | Self::MissingAuthenticationMethod
            | Self::ReasonCodeNotAllowed { .. }
            | Self::SessionPresentOnRefusal
            | Self::ServerOnlyPacket(_)
            | Self::ServerOnlyProperty { .. } => ReasonCode::PROTOCOL_ERROR,
            _ => ReasonCode::MALFORMED_PACKET,
        }
    }
}

/// Why a CONNECT is refused: apart from [`Error`], because the answer's form depends on how far the reader came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The protocol name is known, the level is not: answer, then close ([MQTT-3.1.2-2]).
    #[error("protocol level {0} is not supported")]
    UnsupportedProtocolVersion(u8),
    /// This is not MQTT: close without an answer ([MQTT-3.1.2-1]).
    #[error("the protocol name is neither MQTT nor MQIsdp")]
    UnknownProtocolName,
    /// The CONNECT is malformed.
    #[error("{error}")]
    Malformed {
        /// The version, when the reader came far enough to know it.
        version: Option<ProtocolVersion>,
        /// What is wrong.
        error: Error,
    },
}

impl ConnectError {
    /// The version to answer in; `None` when nothing is known, and so nothing should be said.
    ///
    /// An unknown level is answered in the nearest version: above 5 as MQTT 5, else as 3.1.1.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        match self {
            Self::UnsupportedProtocolVersion(level) if *level > 5 => Some(ProtocolVersion::V5),
            Self::UnsupportedProtocolVersion(_) => Some(ProtocolVersion::V311),
            Self::UnknownProtocolName => None,
            Self::Malformed { version, .. } => *version,
        }
    }

    /// The reason code for a CONNACK of MQTT 5; [`ReasonCode::connect_return_code`] gives the older one.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::UnsupportedProtocolVersion(_) | Self::UnknownProtocolName => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::Malformed { error, .. } => error.reason_code(),
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::UnsupportedProtocolVersion(level) => Self::UnsupportedProtocolVersion(level),
            ConnectError::UnknownProtocolName => Self::UnknownProtocolName,
            ConnectError::Malformed { error, .. } => error,
        }
    }
}

/// Why a packet cannot be written. The output buffer is then as it was before.
///
/// What [`crate::decode`] would refuse is not written, with one exception: which side sends is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary value of more than 65,535 octets.
    #[error("the {what} has {len} octets, more than 65535")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its octets.
        len: usize,
    },
    /// The remaining length would be above 268,435,455, or the property length above it.
    #[error("the packet would have {0} octets")]
    PacketTooLarge(usize),
    /// The packet does not exist in this version.
    #[error("{packet} does not exist in MQTT {version}")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
        /// The version that was asked for.
        version: ProtocolVersion,
    },
    /// A CONNECT says its version itself, and it is another than the one asked for.
    #[error("a CONNECT of MQTT {connect}, written as {asked}")]
    VersionMismatch {
        /// The version in the CONNECT.
        connect: ProtocolVersion,
        /// The version that was asked for.
        asked: ProtocolVersion,
    },
    /// A packet identifier on QoS 0, or none on QoS 1 or 2.
    #[error("a packet identifier goes with QoS 1 and 2, and with nothing else")]
    PacketId,
    /// The value breaks a rule that the receiver checks.
    #[error(transparent)]
    Invalid(#[from] Error),
}
