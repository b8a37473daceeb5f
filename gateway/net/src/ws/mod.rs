//! MQTT over WebSocket (RFC 6455; MQTT 5 §6): the upgrade, the frames, and a stream of bytes out of both.
//!
//! The frames are read here and not by a WebSocket library, for three reasons. MQTT needs a stream of bytes and no
//! messages, so a payload is passed on as it arrives, and a frame that announces gigabytes costs nothing. An idle
//! connection keeps no buffer. And what is read is unmasked in the reader's own buffer, copied nowhere. The tests run
//! an independent implementation against it.

mod frame;
mod stream;
mod upgrade;

pub use stream::WsStream;
pub(crate) use upgrade::accept;

/// Who may open a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketSpec {
    /// The only path that is served. Others are answered 404.
    pub path: String,
    /// The values of the Origin header (RFC 6454) that browsers may come with, such as `https://console.example.org`.
    /// None: any.
    ///
    /// Any is safe as long as credentials travel in CONNECT, since a foreign page has none. A listener that knows
    /// clients by their TLS certificates should name its origins: a browser shows its certificate for every page.
    /// Clients that are no browsers send no Origin and are not concerned.
    pub origins: Option<Vec<String>>,
    /// The sub-protocols that may be agreed on (RFC 6455 §1.9), the one that is liked best first. A client that offers
    /// none is let in without; one that offers only others is refused.
    pub subprotocols: Vec<String>,
}

/// `mqtt` as MQTT 5 §6 demands, and what MQTT 3.1 clients offer.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

impl Default for WebSocketSpec {
    fn default() -> Self {
        Self { path: "/mqtt".to_owned(), origins: None, subprotocols: SUBPROTOCOLS.map(str::to_owned).to_vec() }
    }
}
