//! From what the configuration says about listeners to what the rooms want to know, and the listeners that run.

use std::sync::Arc;
use std::time::Duration;

use portcullis_grant::Gatekeeper;
use portcullis_http::{HttpHandler, HttpSettings, MessageSettings, Messages};
use portcullis_net::{
    BindError, Bound, ClientAuth, ConnectionHandler, ListenerSpec, Listening, Live, MqttHandler, MqttSettings,
    ProxySpec, Rate, Tls, TlsError, TlsHandle, TlsPurpose, TlsSpec, Transport, WebSocketSpec,
};
use portcullis_session::{ListenerRules, RefusedPublish};
use portcullis_store::Durability;

use crate::config::{self, Listener, PerSecond, Protocol};
use crate::inside::Inside;

/// `durability = "interval"`: the most that a crash can cost.
const STORED_WITHIN: Duration = Duration::from_millis(200);

/// How long the connections of a listener that is gone may take to say good-bye.
const DRAIN: Duration = Duration::from_secs(5);

/// Reads the certificate of a listener.
///
/// # Errors
/// What is wrong with the files.
pub(crate) fn load_tls(listener: &Listener) -> Result<Option<Tls>, TlsError> {
    let Some(files) = &listener.tls else { return Ok(None) };
    let purpose = match (listener.protocol, listener.transport.is_websocket()) {
        (Protocol::Http, _) => TlsPurpose::Http,
        (Protocol::Mqtt, true) => TlsPurpose::WebSocket,
        (Protocol::Mqtt, false) => TlsPurpose::Mqtt,
    };
    let spec = TlsSpec {
        cert: files.cert.value.clone(),
        key: files.key.value.clone(),
        client_ca: files.client_ca.as_ref().map(|path| path.value.clone()),
        client_crl: files.client_crl.iter().map(|path| path.value.clone()).collect(),
        client_auth: match files.client_auth {
            config::ClientAuth::None => ClientAuth::None,
            config::ClientAuth::Optional => ClientAuth::Optional,
            config::ClientAuth::Required => ClientAuth::Required,
        },
        purpose,
    };
    spec.load().map(Some)
}

/// The addresses and the transport of a listener, with what may change while it runs.
pub(crate) fn spec(listener: &Listener, tls: Option<TlsHandle>) -> ListenerSpec {
    let bind = listener.bind.iter().map(|endpoint| endpoint.value.clone());
    let mut spec = ListenerSpec::new(&listener.name, bind, transport(listener.transport));
    spec.live = live(listener, tls);
    spec
}

/// What may change while a listener runs.
pub(crate) fn live(listener: &Listener, tls: Option<TlsHandle>) -> Live {
    let limits = &listener.limits;
    let default = Live::default();
    let rate = |rate: PerSecond| Rate { per_second: rate.0, burst: rate.0 };
    Live {
        tls,
        websocket: WebSocketSpec {
            path: listener.path.clone(),
            origins: listener.origins.clone(),
            subprotocols: listener.subprotocols.clone().unwrap_or(default.websocket.subprotocols),
        },
        proxy: listener.proxy_protocol.clone().map(|from| ProxySpec { from }),
        handshake_timeout: limits.handshake.map_or(default.handshake_timeout, |time| time.0),
        max_connections: limits.max_connections.map_or(default.max_connections, |number| number as usize),
        connect_rate: limits.connect_rate.map(rate),
        connect_rate_per_address: limits.connect_rate_per_address.map(rate),
        socket_mode: listener.socket_mode.map_or(default.socket_mode, |mode| mode.0),
    }
}

fn transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
        config::Transport::Ws => Transport::Ws,
        config::Transport::Wss => Transport::Wss,
    }
}

/// How the sessions of a listener are bounded.
fn rules(listener: &Listener) -> ListenerRules {
    let limits = &listener.limits;
    let mut rules = ListenerRules::default();
    let octets = |size: config::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    if let Some(time) = limits.handshake {
        rules.connect_timeout_ms = u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX);
    }
    if let Some(size) = limits.packet_size {
        rules.max_packet = u32::try_from(size.0).unwrap_or(u32::MAX);
    }
    if let Some(time) = limits.keep_alive {
        rules.keep_alive_max = u16::try_from(time.0.as_secs()).unwrap_or(u16::MAX);
    }
    if let Some(time) = limits.session_expiry {
        rules.session_expiry_max = u32::try_from(time.0.as_secs()).unwrap_or(u32::MAX);
    }
    if let Some(number) = limits.receive_maximum {
        rules.receive_maximum = number;
        rules.max_in_flight = number;
    }
    if let Some(number) = limits.publish_per_second {
        rules.publish_per_second = Some(u64::from(number));
    }
    if let Some(size) = limits.publish_bytes_per_second {
        rules.publish_bytes_per_second = Some(size.0);
    }
    if let Some(size) = limits.topic_length {
        rules.max_topic_length = octets(size);
    }
    if let Some(levels) = &limits.topic_levels {
        rules.max_topic_levels = usize::from(levels.value);
    }
    if let Some(number) = limits.subscriptions {
        rules.max_subscriptions = number as usize;
    }
    if let Some(number) = limits.queued_messages {
        rules.mailbox.queued_messages = number as usize;
    }
    if let Some(size) = limits.queued_bytes {
        rules.mailbox.queued_bytes = octets(size);
    }
    if let Some(number) = limits.retained_messages {
        rules.retained.messages = number as usize;
    }
    if let Some(size) = limits.retained_bytes {
        rules.retained.bytes = octets(size);
    }
    rules.durability = match listener.durability {
        config::Durability::Ack => Durability::Ack,
        config::Durability::Interval => Durability::Interval(STORED_WITHIN),
        config::Durability::None => Durability::None,
    };
    rules.filters = filtered_topics(listener);
    rules.strict_subscriptions = listener.strict;
    rules.plain_subscribe_failure = listener.refused_subscribe == config::RefusedSubscribe::Plain;
    rules.refused_publish = match listener.refused_publish {
        config::RefusedPublish::Drop => RefusedPublish::AcknowledgeAndDrop,
        config::RefusedPublish::Disconnect => RefusedPublish::Disconnect,
    };
    rules
}

/// The topics of messages that a listener's policies look at. None: there are none.
pub(crate) fn filtered_topics(listener: &Listener) -> Option<Arc<[String]>> {
    let topics = listener.filters.iter().flat_map(|filter| &filter.topics).map(|topic| topic.value.clone());
    Some(topics.collect::<Arc<[_]>>()).filter(|topics| !topics.is_empty())
}

/// What an MQTT listener's connections are judged by.
pub(crate) fn mqtt_settings(listener: &Listener, gatekeeper: Arc<dyn Gatekeeper>) -> MqttSettings {
    MqttSettings { rules: Arc::new(rules(listener)), gatekeeper }
}

/// What the connections from within of an HTTP listener are judged by.
pub(crate) fn inner_rules(listener: &Listener) -> ListenerRules {
    let mut rules = rules(listener);
    // The body is bounded already; topic and properties come with the head of the request.
    let body = http_settings(listener).max_body.saturating_add(128 * 1024);
    rules.max_packet = u32::try_from(body).unwrap_or(u32::MAX);
    rules
}

/// What an HTTP listener says about messages.
pub(crate) fn message_settings(listener: &Listener, gatekeeper: Arc<dyn Gatekeeper>) -> MessageSettings {
    MessageSettings {
        gatekeeper: (!listener.policies.is_empty()).then_some(gatekeeper),
        origins: listener.origins.clone().unwrap_or_default(),
    }
}

/// What an HTTP listener's clients may hold.
pub(crate) fn http_settings(listener: &Listener) -> HttpSettings {
    let default = HttpSettings::default();
    let body = listener.limits.body.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
    HttpSettings { max_body: body.unwrap_or(default.max_body), ..default }
}

/// Whether a listener that runs as `old` can become `new` without closing its door.
pub(crate) fn same_place(old: &Listener, new: &Listener) -> bool {
    old.bind == new.bind
        && old.transport == new.transport
        && old.protocol == new.protocol
        && (new.protocol == Protocol::Mqtt || old.limits.body == new.limits.body)
}

/// A listener at work.
pub(crate) struct Door {
    /// Of an MQTT listener.
    mqtt: Option<Arc<MqttHandler>>,
    /// Of an HTTP listener for everybody.
    messages: Option<(Arc<Messages>, Arc<Inside>)>,
    tls: Option<TlsHandle>,
    listening: Listening,
}

impl Door {
    /// Begins to accept MQTT clients on addresses that were taken.
    ///
    /// # Errors
    /// The runtime cannot watch a socket.
    pub(crate) fn mqtt(bound: Bound, tls: Option<TlsHandle>, handler: Arc<MqttHandler>) -> Result<Self, BindError> {
        let speaks: Arc<dyn ConnectionHandler> = Arc::new(Arc::clone(&handler));
        Ok(Self { listening: bound.serve(speaks)?, tls, mqtt: Some(handler), messages: None })
    }

    /// Begins to accept HTTP clients on addresses that were taken.
    ///
    /// # Errors
    /// The runtime cannot watch a socket.
    pub(crate) fn http(bound: Bound, tls: Option<TlsHandle>, handler: HttpHandler) -> Result<Self, BindError> {
        Ok(Self { listening: bound.serve(Arc::new(handler))?, tls, mqtt: None, messages: None })
    }

    /// With the messages of its HTTP listener.
    pub(crate) fn with_messages(mut self, messages: Arc<Messages>, inside: Arc<Inside>) -> Self {
        self.messages = Some((messages, inside));
        self
    }

    /// The listener itself, for its addresses and counters.
    pub(crate) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Another certificate, other bounds, another chain: for connections that are made from now on, and for decisions
    /// about those that live.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub(crate) fn update(
        &self,
        listener: &Listener,
        tls: Option<&Tls>,
        gatekeeper: Arc<dyn Gatekeeper>,
    ) -> Result<(), BindError> {
        self.listening.update(live(listener, self.tls.clone()))?;
        if let (Some(handle), Some(tls)) = (&self.tls, tls) {
            handle.replace(tls);
        }
        if let Some(handler) = &self.mqtt {
            handler.replace(mqtt_settings(listener, gatekeeper));
        } else if let Some((messages, inside)) = &self.messages {
            inside.replace(inner_rules(listener));
            messages.replace(message_settings(listener, gatekeeper));
        }
        Ok(())
    }

    /// Gives the addresses back; connections live on.
    pub(crate) async fn stop_accepting(&self) {
        self.listening.stop_accepting().await;
    }

    /// Tells the connections to end. MQTT sessions hear it from the broker, and are to be told after this: a session that
    /// comes about meanwhile is then told by one or the other.
    pub(crate) fn stop_connections(&self) {
        self.listening.stop_connections();
    }

    /// Has the connections say good-bye, and waits for them a little.
    pub(crate) async fn drain(&self) {
        self.listening.stop_accepting().await;
        self.listening.stop_connections();
        let left = self.listening.wait_until_idle(DRAIN).await;
        if left > 0 {
            tracing::warn!(listener = %self.listening.name(), left, "connections did not end in time and are cut");
        }
    }
}
