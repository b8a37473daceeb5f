//! `limits = { … }` of a listener: what one connection, and all of them, may take.

use super::Protocol;
use crate::config::problem::Problem;
use crate::config::reader::{Located, Section};
use crate::config::units::{PerSecond, Size, Time};

/// The most that `topic-levels` may be: retained messages are kept in a tree that is walked by recursion.
const DEEPEST_TOPIC: u16 = 1024;

/// `limits = { … }` of a listener. None: the gateway's own bound. What a grant can tighten has the same name here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenerLimits {
    /// Connections at one time.
    pub(crate) max_connections: Option<u32>,
    /// New connections a second.
    pub(crate) connect_rate: Option<PerSecond>,
    /// New connections a second from one address.
    pub(crate) connect_rate_per_address: Option<PerSecond>,
    /// For the TLS handshake and the WebSocket upgrade together, and again from then to the decision about CONNECT.
    pub(crate) handshake: Option<Time>,
    /// The largest packet taken.
    pub(crate) packet_size: Option<Size>,
    /// The longest that a client may ask to be silent for.
    pub(crate) keep_alive: Option<Time>,
    /// QoS 1 and 2 messages in flight, each way.
    pub(crate) receive_maximum: Option<u16>,
    /// PUBLISH packets a second from one connection.
    pub(crate) publish_per_second: Option<u32>,
    /// Octets of them.
    pub(crate) publish_bytes_per_second: Option<Size>,
    /// Octets of a topic or filter.
    pub(crate) topic_length: Option<Size>,
    /// Levels of a topic or filter.
    pub(crate) topic_levels: Option<Located<u16>>,
    /// Subscriptions of one session.
    pub(crate) subscriptions: Option<u32>,
    /// Messages that wait for one session.
    pub(crate) queued_messages: Option<u32>,
    /// Octets of them.
    pub(crate) queued_bytes: Option<Size>,
    /// Retained messages that one identity may hold.
    pub(crate) retained_messages: Option<u32>,
    /// Octets of them.
    pub(crate) retained_bytes: Option<Size>,
    /// How long a session outlives its connection at most.
    pub(crate) session_expiry: Option<Time>,
    /// Octets of one HTTP request's body.
    pub(crate) body: Option<Size>,
}

impl ListenerLimits {
    /// `messages`: the listener has messages, by MQTT or HTTP.
    pub(super) fn read(mut section: Section<'_>, protocol: Protocol, messages: bool) -> Self {
        let mut limits = Self {
            max_connections: section.optional("max-connections"),
            connect_rate: section.optional("connect-rate"),
            connect_rate_per_address: section.optional("connect-rate-per-address"),
            handshake: section.optional("handshake"),
            ..Self::default()
        };
        // What the other protocol would understand is unknown here, so that no bound is believed that does not hold.
        match protocol {
            Protocol::Mqtt => {
                limits.packet_size = section.optional("packet-size");
                limits.keep_alive = section.optional("keep-alive");
            }
            Protocol::Http => limits.body = section.optional("body"),
        }
        if messages {
            limits.receive_maximum = section.optional("receive-maximum");
            limits.publish_per_second = section.optional("publish-per-second");
            limits.publish_bytes_per_second = section.optional("publish-bytes-per-second");
            limits.topic_length = section.optional("topic-length");
            limits.topic_levels = section.optional("topic-levels");
            if let Some(levels) = limits.topic_levels.take_if(|levels| levels.value > DEEPEST_TOPIC) {
                let message = format!("{} is not a whole number from 1 to {DEEPEST_TOPIC}", levels.value);
                section.problems().add(Problem::new(levels.span, message));
            }
            limits.subscriptions = section.optional("subscriptions");
            limits.queued_messages = section.optional("queued-messages");
            limits.queued_bytes = section.optional("queued-bytes");
            limits.retained_messages = section.optional("retained-messages");
            limits.retained_bytes = section.optional("retained-bytes");
            limits.session_expiry = section.optional("session-expiry");
        }
        section.finish();
        limits
    }
}
