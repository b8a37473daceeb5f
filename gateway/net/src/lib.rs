//! Listeners and the connection loop: TCP, TLS, WebSocket, secure WebSocket.
//!
//! A [`ListenerSpec`] says where to listen and for whom; [`Bound::bind`] takes the addresses, [`Bound::serve`] accepts.
//! What comes out of a handshake goes to a [`ConnectionHandler`]: plain TCP as the socket itself, everything else as a
//! stream of bytes ([`AsyncStream`]), with the [`Facts`] that the handshake told. Admission (how many, how fast) is
//! decided here, before a stranger has cost a TLS handshake; who is kept out is told so in the protocol's own words,
//! as long as that costs little.
//!
//! This room holds sockets and knows no scheme, no WebAssembly and no configuration file.

// A test that meets what it does not expect should panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod conn;
pub mod handler;
pub mod listener;
pub mod proxy;
mod refusal;
pub mod request;
mod socket;
pub mod stop;
pub mod tls;
pub mod transport;
pub mod ws;

pub use conn::{MqttHandler, MqttSettings, Wheel, Within};
pub use handler::{AsyncStream, ConnectionGuard, ConnectionHandler, Facts, Protocol};
pub use listener::{BindError, Bound, Endpoint, ListenerSpec, ListenerStats, Listening, Live, MAX_SOCKET_PATH, Rate};
pub use proxy::{Balancer, Network, NetworkError, ProxySpec};
pub use stop::{StopSignal, StopSource};
pub use tls::{ClientAuth, Tls, TlsError, TlsHandle, TlsPurpose, TlsSpec};
pub use transport::Transport;
pub use ws::WebSocketSpec;
