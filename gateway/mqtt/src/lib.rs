//! The MQTT wire: frames, packets, properties, topics. No tokio, no policy.

mod packet_id;
mod qos;
mod reason;
mod version;

pub use packet_id::PacketId;
pub use qos::QoS;
pub use reason::ReasonCode;
pub use version::ProtocolVersion;
