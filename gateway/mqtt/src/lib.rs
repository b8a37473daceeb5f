//! The MQTT wire: frames, packets, properties, topics. No tokio, no policy.

mod error;
mod frame;
mod packet_id;
mod qos;
mod read;
mod reason;
pub mod topic;
mod utf8;
mod version;
mod write;

pub use error::{ConnectError, EncodeError, Error};
pub use frame::{Frame, MAX_REMAINING_LENGTH, PacketType, frame, frame_need};
pub use packet_id::PacketId;
pub use qos::QoS;
pub use reason::ReasonCode;
pub use topic::{
    MAX_TOPIC_LEN, SharedFilter, TopicError, TopicFilter, TopicName, covers, levels, matches, overlaps,
    valid_topic_filter, valid_topic_name,
};
pub use version::ProtocolVersion;
pub use write::{varint_len, write_bin, write_puback, write_str, write_varint};
