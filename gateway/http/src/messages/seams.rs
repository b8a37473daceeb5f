//! What the messages over HTTP ask of the rest of the gateway, and how they are configured. The answers come from rooms
//! that this one does not know.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_grant::{Account, ConnectionFacts, Gatekeeper, Grant, Refusal};
use portcullis_mqtt::QoS;
use portcullis_net::{AsyncStream, StopSignal};

/// The way from an HTTP listener to the sessions and what is retained.
pub trait Exchange: Send + Sync + 'static {
    /// Opens an MQTT connection from within, on whose stream this room speaks MQTT 5 for the HTTP client `from`.
    /// `gatekeeper` decides about its CONNECT and all that follows. `stop` tells it to end.
    fn connect(
        &self,
        from: &ConnectionFacts,
        gatekeeper: Arc<dyn Gatekeeper>,
        stop: StopSignal,
    ) -> Box<dyn AsyncStream>;

    /// The session of a client identifier. None: there is none.
    fn session(&self, client_id: &str) -> Option<SessionMark>;

    /// What is retained for `filter`, in the order of the topics, after the one named `after`: at most `most` of those
    /// that `keep` wants.
    fn retained(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
        keep: &dyn Fn(&str) -> bool,
    ) -> Vec<RetainedMessage>;

    /// The listener's bounds.
    fn bounds(&self) -> Bounds;
}

/// A listener's bounds, as far as they are looked at before MQTT does.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// QoS 1 and 2 messages in flight to a client.
    pub in_flight: u16,
    /// Octets that wait for a client.
    pub queued_bytes: usize,
    /// Octets of a topic or filter.
    pub topic_length: usize,
    /// Levels of a topic or filter.
    pub topic_levels: usize,
    /// Whether a filter that reaches into what is denied is refused whole.
    pub strict: bool,
}

/// Which session of a client identifier this is, and how far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionMark {
    /// No other session of this client identifier has the same. 0: it ends with its connection.
    pub number: u64,
    /// The last number that one of its QoS 1 and 2 messages was given. Number `n` goes by the packet identifier
    /// `(n - 1) mod 65,535 + 1`.
    pub sequence: u64,
}

/// A retained message.
#[derive(Clone, Debug)]
pub struct RetainedMessage {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// As published.
    pub qos: QoS,
    /// The MQTT 5 properties that go with it, encoded, without the length in front (§3.3.2.3).
    pub properties: Bytes,
    /// Seconds that it has left. None: it does not expire.
    pub expires_in: Option<u32>,
}

/// Told of decisions that no MQTT connection has part in, for audit and metrics. Called on connections' threads: be quick.
pub trait Witness: Send + Sync + 'static {
    /// A request was let in.
    fn admitted(&self, connection: &ConnectionFacts, grant: &Grant, account: Account);
    /// A request was refused.
    fn refused(&self, connection: &ConnectionFacts, refusal: &Refusal);
    /// An action was refused: `publish`, `subscribe` or `receive` on `topic`.
    fn action_refused(&self, connection: &ConnectionFacts, grant: &Grant, what: &'static str, topic: &str);
}

/// A witness that says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Witness for Silent {
    fn admitted(&self, _: &ConnectionFacts, _: &Grant, _: Account) {}
    fn refused(&self, _: &ConnectionFacts, _: &Refusal) {}
    fn action_refused(&self, _: &ConnectionFacts, _: &Grant, _: &str, _: &str) {}
}

/// What a listener says about messages. Replaced whole when the configuration is reloaded.
#[derive(Clone, Default)]
pub struct MessageSettings {
    /// The chain of policies. None: the paths of this directory do not exist.
    pub gatekeeper: Option<Arc<dyn Gatekeeper>>,
    /// The origins (RFC 6454) of the pages that may use them, beside the listener's own. Compared as text.
    pub origins: Vec<String>,
}

impl std::fmt::Debug for MessageSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageSettings")
            .field("open", &self.gatekeeper.is_some())
            .field("origins", &self.origins)
            .finish()
    }
}
