//! What a listener is told to be.

use std::sync::Arc;
use std::time::Duration;

use crate::listener::endpoint::Endpoint;
use crate::listener::rate::Rate;
use crate::listener::unix;
use crate::proxy::ProxySpec;
use crate::tls::TlsHandle;
use crate::transport::Transport;
use crate::ws::WebSocketSpec;

/// One listener: several addresses, one transport, one set of limits.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The `name` of the `[[listener]]`.
    pub name: Arc<str>,
    /// Where to listen. Port 0 lets the system choose, for each address its own.
    ///
    /// `[::]` takes IPv4 as well, unless `0.0.0.0` with the same port is in the list; every other IPv6 address takes
    /// IPv6 only. The system's own default (`net.ipv6.bindv6only`) plays no part.
    pub bind: Vec<Endpoint>,
    /// How the bytes arrive.
    pub transport: Transport,
    /// Connections that the kernel completes and keeps until they are accepted. The system caps it
    /// (`net.core.somaxconn`).
    pub backlog: u32,
    /// What may change while the listener runs.
    pub live: Live,
}

/// The part of a listener that [`crate::Listening::update`] replaces. It holds for connections that come later.
#[derive(Clone, Debug)]
pub struct Live {
    /// The certificate. Needed for `tls` and `wss`. Its content can also be replaced in place
    /// ([`TlsHandle::replace`]).
    pub tls: Option<TlsHandle>,
    /// Path, sub-protocols and origins of `ws` and `wss`.
    pub websocket: WebSocketSpec,
    /// Whose connections begin with a PROXY header that says whose they are. Nobody else is served then. None: every
    /// connection is its peer's own.
    pub proxy: Option<ProxySpec>,
    /// For the PROXY header, TLS and the WebSocket upgrade together. Who needs longer is disconnected.
    pub handshake_timeout: Duration,
    /// Connections at one time, those in their handshake included. Those beyond are refused.
    pub max_connections: usize,
    /// Connections a second in total. None: no limit.
    pub connect_rate: Option<Rate>,
    /// Connections a second from one address, behind a proxy the one that its header names; an IPv6 /64 counts as one
    /// address, and so does a user of this machine on a Unix socket. None: no limit.
    pub connect_rate_per_address: Option<Rate>,
    /// Who may connect to its Unix sockets: the mode of their files.
    pub socket_mode: u32,
}

impl ListenerSpec {
    /// A listener with the default limits.
    #[must_use]
    pub fn new(name: &str, bind: impl IntoIterator<Item = impl Into<Endpoint>>, transport: Transport) -> Self {
        let bind = bind.into_iter().map(Into::into).collect();
        Self { name: name.into(), bind, transport, backlog: 1024, live: Live::default() }
    }

    /// The same with a certificate.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsHandle) -> Self {
        self.live.tls = Some(tls);
        self
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            tls: None,
            websocket: WebSocketSpec::default(),
            proxy: None,
            handshake_timeout: Duration::from_secs(10),
            max_connections: 100_000,
            connect_rate: None,
            connect_rate_per_address: None,
            socket_mode: unix::DEFAULT_MODE,
        }
    }
}
