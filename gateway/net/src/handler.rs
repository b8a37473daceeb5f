//! The seam between a listener and whoever speaks the protocol behind it.

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_grant::{Peer, PeerDetails};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::listener::admission::Admission;
use crate::stop::StopSignal;
use crate::transport::Transport;

/// Bytes in, bytes out, whatever lies beneath.
pub trait AsyncStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> AsyncStream for T {}

/// What a listener knows of a connection when it hands it over.
#[derive(Debug)]
pub struct Facts {
    /// The `name` of the `[[listener]]`.
    pub listener: Arc<str>,
    /// How the bytes arrive.
    pub transport: Transport,
    /// The client. Behind a proxy the one that its PROXY header names.
    pub peer: Peer,
    /// The address that the listener is bound to. None: it is a Unix socket.
    pub local: Option<SocketAddr>,
    /// What the TLS handshake and the WebSocket upgrade told. None on plain TCP.
    pub details: Option<Arc<PeerDetails>>,
    /// Tells the connection to say good-bye and end.
    pub stop: StopSignal,
    /// Keep this as long as the connection lives: the listener counts it until it is dropped.
    pub guard: ConnectionGuard,
}

/// The place of one connection among its listener's `max_connections`, given back on drop.
#[derive(Debug)]
pub struct ConnectionGuard {
    admission: Arc<Admission>,
}

impl ConnectionGuard {
    /// Takes the place that [`Admission`] has already counted.
    pub(crate) fn new(admission: Arc<Admission>) -> Self {
        Self { admission }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.admission.leave();
    }
}

/// What is spoken over a connection: how to refuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT: refused with CONNACK, or on a WebSocket with the answer to its upgrade.
    Mqtt,
    /// HTTP: refused with a response.
    Http,
}

/// Takes connections over. The functions are called from a task of the listener and must only spawn, never block.
pub trait ConnectionHandler: Send + Sync + 'static {
    /// What it speaks.
    fn speaks(&self) -> Protocol;

    /// A plain TCP connection, or one over a Unix socket, which is the same to whoever reads and writes it but for its
    /// addresses ([`Facts`] has them): the socket itself, non-blocking and without Nagle's delay, not registered with any
    /// runtime, so that the owner may write to it from any task.
    fn tcp(&self, stream: std::net::TcpStream, facts: Facts);

    /// A TLS, WebSocket or secure WebSocket connection whose handshakes are complete. The stream is meant for one
    /// owner task: reading answers pings and may therefore write.
    fn stream(&self, stream: Box<dyn AsyncStream>, facts: Facts);
}
