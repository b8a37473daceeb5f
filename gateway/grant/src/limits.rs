//! The bounds that a grant may have of its own.

use crate::draft::GrantError;

/// Bounds of a grant that are tighter than the listener's. None: the listener's holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// PUBLISH packets a second.
    pub publish_per_second: Option<u64>,
    /// Octets of PUBLISH packets a second.
    pub publish_bytes_per_second: Option<u64>,
    /// Octets of one packet.
    pub packet_size: Option<u64>,
    /// Subscriptions of the session.
    pub subscriptions: Option<u64>,
    /// Messages that wait for the client.
    pub queued_messages: Option<u64>,
    /// Octets of them.
    pub queued_bytes: Option<u64>,
    /// QoS 1 and 2 messages in flight to the client.
    pub receive_maximum: Option<u64>,
    /// Seconds.
    pub keep_alive: Option<u64>,
    /// Seconds.
    pub session_expiry: Option<u64>,
    /// Connections of this identity at one time.
    pub connections: Option<u64>,
    /// Octets of a topic or filter.
    pub topic_length: Option<u64>,
    /// Levels of a topic or filter.
    pub topic_levels: Option<u64>,
    /// Retained messages that this identity holds: those of topics where it was the last to retain one.
    pub retained_messages: Option<u64>,
    /// Octets of them: topics, properties and payloads.
    pub retained_bytes: Option<u64>,
}

impl Limits {
    /// None at all.
    pub(crate) const NONE: Self = Self {
        publish_per_second: None,
        publish_bytes_per_second: None,
        packet_size: None,
        subscriptions: None,
        queued_messages: None,
        queued_bytes: None,
        receive_maximum: None,
        keep_alive: None,
        session_expiry: None,
        connections: None,
        topic_length: None,
        topic_levels: None,
        retained_messages: None,
        retained_bytes: None,
    };

    /// Takes over what a policy set, by the contract's name.
    pub(crate) fn set(&mut self, name: &str, value: u64) -> Result<(), GrantError> {
        let field = match name {
            "publish-per-second" => &mut self.publish_per_second,
            "publish-bytes-per-second" => &mut self.publish_bytes_per_second,
            "packet-size" => &mut self.packet_size,
            "subscriptions" => &mut self.subscriptions,
            "queued-messages" => &mut self.queued_messages,
            "queued-bytes" => &mut self.queued_bytes,
            "receive-maximum" => &mut self.receive_maximum,
            "keep-alive" => &mut self.keep_alive,
            "session-expiry" => &mut self.session_expiry,
            "connections" => &mut self.connections,
            "topic-length" => &mut self.topic_length,
            "topic-levels" => &mut self.topic_levels,
            "retained-messages" => &mut self.retained_messages,
            "retained-bytes" => &mut self.retained_bytes,
            _ => return Err(GrantError::UnknownLimit(name.to_owned())),
        };
        // Named twice, the tighter one counts.
        *field = Some(field.map_or(value, |old| old.min(value)));
        Ok(())
    }
}
