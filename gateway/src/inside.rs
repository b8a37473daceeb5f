//! The way from an HTTP listener to the broker: MQTT connections from within, sessions, what is retained.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::body::Bytes;
use portcullis_grant::{ConnectionFacts, Gatekeeper};
use portcullis_http::{Bounds, Exchange, RetainedMessage, SessionMark};
use portcullis_net::{AsyncStream, MqttHandler, MqttSettings, StopSignal, Wheel, Within};
use portcullis_router::now_ms;
use portcullis_session::{Broker, ListenerRules};

/// What one HTTP listener has of the broker.
pub(crate) struct Inside {
    broker: Arc<Broker>,
    wheel: Arc<Wheel>,
    rules: ArcSwap<ListenerRules>,
}

impl Inside {
    /// For a listener with these rules.
    pub(crate) fn new(broker: Arc<Broker>, wheel: Arc<Wheel>, rules: ListenerRules) -> Arc<Self> {
        Arc::new(Self { broker, wheel, rules: ArcSwap::from_pointee(rules) })
    }

    /// Other rules, for connections from now on.
    pub(crate) fn replace(&self, rules: ListenerRules) {
        self.rules.store(Arc::new(rules));
    }
}

impl Exchange for Inside {
    fn connect(
        &self,
        from: &ConnectionFacts,
        gatekeeper: Arc<dyn Gatekeeper>,
        stop: StopSignal,
    ) -> Box<dyn AsyncStream> {
        let settings = MqttSettings { rules: self.rules.load_full(), gatekeeper };
        let handler = MqttHandler::new(Arc::clone(&self.broker), Arc::clone(&self.wheel), settings);
        handler.within(Within {
            listener: Arc::clone(&from.listener),
            transport: from.transport,
            peer: from.peer,
            details: from.details.clone(),
            http: from.protocol_version,
            stop,
        })
    }

    fn session(&self, client_id: &str) -> Option<SessionMark> {
        let session = self.broker.session(client_id)?;
        Some(SessionMark { number: session.number, sequence: session.sequence })
    }

    fn retained(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
        keep: &dyn Fn(&str) -> bool,
    ) -> Vec<RetainedMessage> {
        let now = now_ms();
        let told = |message: &Arc<portcullis_router::Message>| RetainedMessage {
            topic: message.topic().to_owned(),
            payload: Bytes::copy_from_slice(message.payload()),
            qos: message.qos,
            properties: Bytes::copy_from_slice(message.forward()),
            expires_in: message.remaining_seconds(now),
        };
        self.broker.retained_for(filter, after, most, keep).iter().map(told).collect()
    }

    fn bounds(&self) -> Bounds {
        let rules = self.rules.load();
        Bounds {
            in_flight: rules.max_in_flight,
            queued_bytes: rules.mailbox.queued_bytes,
            topic_length: rules.max_topic_length,
            topic_levels: rules.max_topic_levels,
            strict: rules.strict_subscriptions,
        }
    }
}
