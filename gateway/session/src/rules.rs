//! How a listener treats its clients: bounds, and choices where MQTT leaves one.

use std::sync::Arc;

use portcullis_grant::Limits;
use portcullis_mqtt::matches;
use portcullis_router::{MailboxLimits, RetainedLimits};
use portcullis_store::Durability;

/// What a PUBLISH that the grant does not permit gets before MQTT 5, where no acknowledgement can say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RefusedPublish {
    /// It is acknowledged and dropped (3.1.1 §3.3.5).
    #[default]
    AcknowledgeAndDrop,
    /// The connection is closed.
    Disconnect,
}

/// Bounds and choices of one listener. A grant may tighten the bounds.
#[derive(Clone, Debug)]
pub struct ListenerRules {
    /// Octets of the largest packet taken.
    pub max_packet: u32,
    /// Milliseconds from accept until CONNECT is whole and decided.
    pub connect_timeout_ms: u64,
    /// Seconds; the longest keep-alive. 0: any, none included.
    pub keep_alive_max: u16,
    /// Seconds; the longest session expiry. `u32::MAX`: never expires.
    pub session_expiry_max: u32,
    /// QoS 2 messages that a client may have unreleased (MQTT 5 §3.2.2.3.3).
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages in flight to a client, whatever it offers.
    pub max_in_flight: u16,
    /// Topic aliases that a client may set (MQTT 5 §3.2.2.3.8).
    pub topic_alias_maximum: u16,
    /// PUBLISH packets a second from one connection; as many may come at once after a pause. None: any number.
    pub publish_per_second: Option<u64>,
    /// Octets of PUBLISH packets a second from one connection. A packet larger than this is never taken.
    pub publish_bytes_per_second: Option<u64>,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Levels of a topic or filter.
    pub max_topic_levels: usize,
    /// Octets of a topic or filter.
    pub max_topic_length: usize,
    /// Retained messages that one identity may hold through this listener: of topics where it was the last to retain one.
    pub retained: RetainedLimits,
    /// Octets of a client identifier.
    pub max_client_id_length: usize,
    /// Refuse a subscription whole when it reaches into a deny rule, instead of leaving the denied topics out.
    pub strict_subscriptions: bool,
    /// Before MQTT 5.
    pub refused_publish: RefusedPublish,
    /// Answer a refused MQTT 5 subscription with 0x80 rather than the precise code.
    pub plain_subscribe_failure: bool,
    /// Bounds on what waits for a client.
    pub mailbox: MailboxLimits,
    /// When what its clients send counts as stored, where somebody's session has to keep it.
    pub durability: Durability,
    /// Topics (as topic filters) of messages that the gatekeeper has to be asked about before they are published. None:
    /// of none.
    pub filters: Option<Arc<[String]>>,
}

impl ListenerRules {
    /// Whether a topic or filter is within the bounds of length and depth, the grant's included.
    #[must_use]
    pub fn takes_topic(&self, topic: &str, granted: &Limits) -> bool {
        topic.len() <= lower(self.max_topic_length, granted.topic_length)
            && topic.split('/').count() <= lower(self.max_topic_levels, granted.topic_levels)
    }

    /// Whether messages to this topic are filtered.
    pub(crate) fn filters(&self, topic: &str) -> bool {
        self.filters.as_ref().is_some_and(|filters| filters.iter().any(|filter| matches(filter, topic)))
    }

    /// What an identity with this grant may hold of what is retained.
    pub(crate) fn retained_by(&self, granted: &Limits) -> RetainedLimits {
        RetainedLimits {
            messages: lower(self.retained.messages, granted.retained_messages),
            bytes: lower(self.retained.bytes, granted.retained_bytes),
        }
    }
}

/// A bound, or what a grant says if that is less.
pub(crate) fn lower<T: TryFrom<u64> + Ord + Copy>(bound: T, granted: Option<u64>) -> T {
    granted.and_then(|granted| T::try_from(granted).ok()).map_or(bound, |granted| granted.min(bound))
}

impl Default for ListenerRules {
    fn default() -> Self {
        Self {
            max_packet: 1024 * 1024,
            connect_timeout_ms: 10_000,
            keep_alive_max: 0,
            session_expiry_max: 7 * 24 * 3600,
            receive_maximum: 1024,
            max_in_flight: 1024,
            topic_alias_maximum: 64,
            publish_per_second: None,
            publish_bytes_per_second: None,
            max_subscriptions: 10_000,
            max_topic_levels: 128,
            max_topic_length: 4096,
            retained: RetainedLimits::NONE,
            max_client_id_length: 1024,
            strict_subscriptions: false,
            refused_publish: RefusedPublish::AcknowledgeAndDrop,
            plain_subscribe_failure: false,
            mailbox: MailboxLimits::default(),
            durability: Durability::Ack,
            filters: None,
        }
    }
}
