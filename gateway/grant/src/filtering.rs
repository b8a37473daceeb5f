//! Messages that a policy looks at before they are published: those on the topics that a listener has `filters` for.

use std::sync::Arc;

use portcullis_mqtt::{QoS, ReasonCode};

use crate::gatekeeper::PolicyStamp;
use crate::principal::Principal;

/// A message on its way, as filters see it. The grant permits it.
#[derive(Clone, Debug)]
pub struct Passage {
    /// The `name` of the `[[listener]]`.
    pub listener: Arc<str>,
    /// The session's client identifier.
    pub client_id: Arc<str>,
    /// Who publishes.
    pub identity: Arc<Principal>,
    /// Topic name.
    pub topic: String,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Whether this is a will.
    pub will: bool,
    /// The payload.
    pub payload: Vec<u8>,
    /// MQTT 5 content type.
    pub content_type: Option<String>,
    /// MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
}

/// What filters made of a message.
#[derive(Clone, Debug)]
pub enum Filtered {
    /// It is published as it is.
    Pass,
    /// It is published with these parts in place of its own.
    Replace(Replacement),
    /// It is published to nobody; its client is told that all is well.
    Drop,
    /// It is published to nobody; its client is told so.
    Refuse(FilterRefusal),
}

/// What takes the place of parts of a message. None: as it was.
#[derive(Clone, Debug, Default)]
pub struct Replacement {
    /// A valid topic name.
    pub topic: Option<String>,
    /// The payload.
    pub payload: Option<Vec<u8>>,
    /// MQTT 5 content type.
    pub content_type: Option<String>,
}

/// Why a message is not published.
#[derive(Clone, Debug)]
pub struct FilterRefusal {
    /// For the acknowledgement.
    pub reason: ReasonCode,
    /// Nobody has judged the message: the filter failed. Who cannot be told so is better let go than told that all is
    /// well.
    pub failed: bool,
    /// For people who run the gateway.
    pub detail: String,
    /// Who says so.
    pub policy: Option<PolicyStamp>,
}

impl FilterRefusal {
    /// The filter failed.
    #[must_use]
    pub fn failed(detail: impl Into<String>, policy: Option<PolicyStamp>) -> Self {
        Self { reason: ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, failed: true, detail: detail.into(), policy }
    }
}
