//! The MQTT wire: frames, packets, properties, topics, for MQTT 3.1, 3.1.1 and 5.0.
//!
//! - [`frame`] finds a packet in a stream; [`decode_connect`] reads the first one, [`decode_from_client`] those that
//!   follow, [`decode`] those of either side. Everything borrows from the buffer; nothing is allocated.
//! - [`publish_head`] is the fast path for PUBLISH: the same checks, but offsets instead of fields.
//! - [`Packet::encode`] writes; `write_*` do for the few packets that a hot path writes without a [`Packet`].
//! - [`topic`] has names, filters and how they match.
//!
//! Strict and total: every input gives a packet that obeys the specification, or an [`Error`] that says what is wrong and
//! maps to a reason code of MQTT 5. Never a panic, and nothing grows with what a stranger claims: no length is believed
//! before its octets are there.
//!
//! Three places are wider than the letter: 3.1 client identifiers may be longer than 23 characters, 3.1 clients may set
//! DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL (that version lets them), and control characters other than U+0000 pass (a
//! receiver may refuse them, and they are in use).
//!
//! This room knows nothing of sockets, of sessions (what depends on an earlier packet) or of who may do what.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod error;
mod frame;
mod packet;
mod packet_id;
mod property;
mod publish;
mod publish_head;
mod qos;
mod read;
mod reason;
mod suback;
mod subscribe;
pub mod topic;
mod unsubscribe;
mod utf8;
mod version;
mod will;
mod write;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, decode_connect};
pub use disconnect::Disconnect;
pub use error::{ConnectError, EncodeError, Error};
pub use frame::{Frame, MAX_REMAINING_LENGTH, PacketType, frame, frame_need};
pub use packet::{Packet, decode, decode_from_client};
pub use packet_id::PacketId;
pub use property::{SubscriptionIds, UserProperties};
pub use publish::{Publish, PublishFlags, PublishProperties};
pub use publish_head::{PublishHead, publish_head};
pub use qos::QoS;
pub use reason::ReasonCode;
pub use suback::{SubAck, UnsubAck};
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscribeOptions};
pub use topic::{
    MAX_TOPIC_LEN, SharedFilter, TopicError, TopicFilter, TopicName, covers, levels, matches, overlaps,
    valid_topic_filter, valid_topic_name,
};
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};
pub use version::ProtocolVersion;
pub use will::{Will, WillProperties};
pub use write::{varint_len, write_bin, write_puback, write_str, write_varint};
