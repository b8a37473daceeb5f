//! The four transports, as one byte stream.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use crate::certificates::Leaf;

/// How the octets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// The word of the configuration, which the tests also use as the listener's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// A duplex stream of any kind.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// An open connection that carries MQTT.
pub enum Link {
    /// TCP or TLS.
    Stream(Box<dyn Io>),
    /// Either under a WebSocket, in binary messages.
    WebSocket(Box<WebSocketStream<Box<dyn Io>>>),
}

/// What it takes to open a [`Link`].
#[derive(Clone)]
pub struct Route {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// A Unix socket, in place of the address.
    pub socket: Option<PathBuf>,
    /// PEM of the authorities that may sign the server's certificate.
    pub roots: String,
    /// The client's certificate and key.
    pub identity: Option<Arc<Leaf>>,
    /// WebSocket: the path.
    pub path: String,
    /// WebSocket: the sub-protocol offered.
    pub protocol: Option<String>,
    /// WebSocket: further headers of the upgrade.
    pub headers: Vec<(String, String)>,
    /// Octets ahead of everything else, such as a PROXY header.
    pub ahead: Vec<u8>,
}

impl Route {
    /// The plain case.
    #[must_use]
    pub fn new(transport: Transport, address: SocketAddr, roots: impl Into<String>) -> Self {
        Self {
            transport,
            address,
            socket: None,
            roots: roots.into(),
            identity: None,
            path: "/mqtt".into(),
            protocol: Some("mqtt".into()),
            headers: Vec::new(),
            ahead: Vec::new(),
        }
    }

    /// The same with octets ahead of everything else.
    #[must_use]
    pub fn ahead(mut self, octets: &[u8]) -> Self {
        self.ahead = octets.to_vec();
        self
    }

    /// Opens the connection.
    ///
    /// # Errors
    /// Whatever the network, TLS or the WebSocket upgrade says.
    pub async fn open(&self) -> io::Result<Link> {
        let mut stream: Box<dyn Io> = match &self.socket {
            Some(path) => Box::new(UnixStream::connect(path).await?),
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        stream.write_all(&self.ahead).await?;
        let secure = matches!(self.transport, Transport::Tls | Transport::Wss);
        let stream: Box<dyn Io> = if secure {
            let connector = tokio_rustls::TlsConnector::from(self.tls()?);
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            Box::new(connector.connect(name, stream).await?)
        } else {
            stream
        };
        match self.transport {
            Transport::Tcp | Transport::Tls => Ok(Link::Stream(stream)),
            Transport::Ws | Transport::Wss => self.upgrade(stream, secure).await,
        }
    }

    async fn upgrade(&self, stream: Box<dyn Io>, secure: bool) -> io::Result<Link> {
        let scheme = if secure { "wss" } else { "ws" };
        let url = format!("{scheme}://localhost:{}{}", self.address.port(), self.path);
        let mut request = url.into_client_request().map_err(io::Error::other)?;
        let own = self.protocol.iter().map(|protocol| ("sec-websocket-protocol", protocol));
        let mut said = Vec::new();
        for (name, value) in own.chain(self.headers.iter().map(|(name, value)| (name.as_str(), value))) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
            let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
            // What a test says takes the place of the library's own, and is sent twice if it is said twice.
            if said.contains(&name) {
                request.headers_mut().append(name, value);
            } else {
                said.push(name.clone());
                request.headers_mut().insert(name, value);
            }
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(io::Error::other)?;
        Ok(Link::WebSocket(Box::new(socket)))
    }

    fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).map_err(io::Error::other)?;
                builder.with_client_auth_cert(vec![leaf.der.clone()], key).map_err(io::Error::other)?
            }
        };
        Ok(Arc::new(config))
    }
}

impl Link {
    /// Sends these octets.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::WebSocket(socket) => {
                socket.send(Frame::Binary(Bytes::copy_from_slice(octets))).await.map_err(io::Error::other)
            }
        }
    }

    /// Appends what arrives next to `buffer`. False: the server has closed, cleanly or not.
    pub async fn receive(&mut self, buffer: &mut BytesMut) -> bool {
        match self {
            Self::Stream(stream) => matches!(stream.read_buf(buffer).await, Ok(1..)),
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Frame::Binary(octets))) => {
                        buffer.extend_from_slice(&octets);
                        return true;
                    }
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                    _ => return false,
                }
            },
        }
    }
}
