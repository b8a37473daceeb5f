//! From an accepted socket to what is handed over: the PROXY header, TLS, then the WebSocket upgrade, within one time
//! limit.

use std::io;
use std::sync::Arc;

use portcullis_grant::{Peer, PeerDetails};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::handler::{AsyncStream, ConnectionHandler, Facts};
use crate::listener::admission::Refused;
use crate::listener::refuse::refuse;
use crate::listener::serve::{Shared, hand_over};
use crate::listener::spec::Live;
use crate::proxy;
use crate::tls;
use crate::transport::Transport;
use crate::ws;

/// What a handshake comes to.
enum Established {
    /// Plain TCP: the socket itself.
    Socket(TcpStream),
    /// Everything else.
    Stream(Box<dyn AsyncStream>, Arc<PeerDetails>),
    /// The client that a PROXY header names is over its rate.
    Refused(TcpStream, Refused),
}

/// Shakes hands and hands over, or closes.
pub(crate) async fn shake_hands(
    stream: std::net::TcpStream,
    mut facts: Facts,
    live: Arc<Live>,
    shared: Arc<Shared>,
    handler: Arc<dyn ConnectionHandler>,
) {
    let stopped = facts.stop.stopped();
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(live.handshake_timeout, establish(stream, &mut facts, &live, &shared)) => outcome,
        () = stopped => return,
    };
    let why = match outcome {
        Ok(Ok(Established::Socket(stream))) => return hand_over(stream, facts, &*handler),
        Ok(Ok(Established::Stream(stream, details))) => {
            facts.details = Some(details);
            return handler.stream(stream, facts);
        }
        Ok(Ok(Established::Refused(stream, refused))) => return refuse(stream, facts.peer, refused, false, &shared),
        Ok(Err(error)) => error,
        Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"),
    };
    shared.admission.handshake_failed();
    debug!(listener = %shared.name, transport = %shared.transport, peer = %facts.peer, error = %why, "handshake failed");
}

/// The handshakes that the listener asks for, one after the other.
async fn establish(
    mut stream: std::net::TcpStream,
    facts: &mut Facts,
    live: &Live,
    shared: &Shared,
) -> io::Result<Established> {
    if live.proxy.is_some() {
        let mut registered = TcpStream::from_std(stream)?;
        let source = proxy::receive(&mut registered).await?.map(Peer::from);
        facts.peer = source.unwrap_or(facts.peer);
        if let Err(refused) = shared.admission.admit_known(source, live) {
            return Ok(Established::Refused(registered, refused));
        }
        if facts.transport == Transport::Tcp {
            return Ok(Established::Socket(registered));
        }
        stream = registered.into_std()?;
    }
    let mut details = PeerDetails::default();
    let stream: Box<dyn AsyncStream> = match facts.transport {
        Transport::Tcp => return Ok(Established::Socket(TcpStream::from_std(stream)?)),
        Transport::Ws => Box::new(ws::accept(TcpStream::from_std(stream)?, &live.websocket, &mut details).await?),
        Transport::Tls | Transport::Wss => {
            let config = live.tls.as_ref().ok_or_else(|| io::Error::other("the listener has no certificate"))?;
            let mut stream = TlsAcceptor::from(config.current()).accept(tls::Wire::new(stream)).await?;
            let tickets = stream.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
            stream.get_mut().0.establish(tickets);
            if !tickets {
                // The client waits for the server's last word, whether or not anybody reads what it says next.
                stream.get_mut().0.flush().await?;
            }
            tls::describe(stream.get_ref().1, &mut details)?;
            if facts.transport.is_websocket() {
                Box::new(ws::accept(stream, &live.websocket, &mut details).await?)
            } else {
                Box::new(stream)
            }
        }
    };
    Ok(Established::Stream(stream, Arc::new(details)))
}
