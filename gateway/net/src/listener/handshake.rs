//! From an accepted socket to a stream of bytes: TLS, then the WebSocket upgrade, within one time limit.

use std::io;
use std::sync::Arc;

use portcullis_grant::PeerDetails;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::handler::{AsyncStream, ConnectionHandler, Facts};
use crate::listener::serve::Shared;
use crate::listener::spec::Live;
use crate::tls;
use crate::ws;

/// Shakes hands and hands over, or closes.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    mut facts: Facts,
    shared: Arc<Shared>,
    handler: Arc<dyn ConnectionHandler>,
) {
    let live = shared.live.load_full();
    let stopped = facts.stop.stopped();
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(live.handshake_timeout, establish(stream, &facts, &live)) => outcome,
        () = stopped => return,
    };
    let why = match outcome {
        Ok(Ok((stream, details))) => {
            facts.details = Some(Arc::new(details));
            handler.stream(stream, facts);
            return;
        }
        Ok(Err(error)) => error,
        Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"),
    };
    shared.admission.handshake_failed();
    debug!(listener = %shared.name, transport = %shared.transport, peer = %facts.peer, error = %why, "handshake failed");
}

/// The handshakes that the transport asks for, one after the other.
async fn establish(stream: TcpStream, facts: &Facts, live: &Live) -> io::Result<(Box<dyn AsyncStream>, PeerDetails)> {
    let mut details = PeerDetails::default();
    if !facts.transport.is_tls() {
        let stream = ws::accept(stream, &live.websocket, &mut details).await?;
        return Ok((Box::new(stream), details));
    }
    let config = live.tls.as_ref().ok_or_else(|| io::Error::other("the listener has no certificate"))?.current();
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    tls::describe(stream.get_ref().1, &mut details)?;
    if facts.transport.is_websocket() {
        let stream = ws::accept(stream, &live.websocket, &mut details).await?;
        return Ok((Box::new(stream), details));
    }
    Ok((Box::new(stream), details))
}
