//! The accept loops.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_grant::Peer;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::handler::{ConnectionHandler, Facts, Protocol};
use crate::listener::admission::{Admission, ListenerStats};
use crate::listener::bind::{BindError, Bound};
use crate::listener::endpoint::Endpoint;
use crate::listener::handshake::shake_hands;
use crate::listener::refuse::{AT_A_TIME, refuse};
use crate::listener::socket::Accepts;
use crate::listener::spec::Live;
use crate::listener::unix::FileKey;
use crate::stop::{StopSignal, StopSource};
use crate::transport::Transport;

/// Connections accepted before others get the worker's attention.
const BATCH: u32 = 64;
/// First and longest pause when the system has no descriptor or memory left for another connection.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A listener at work.
#[derive(Debug)]
pub struct Listening {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    /// Of its Unix sockets.
    files: Vec<FileKey>,
    accepting: StopSource,
    connections: StopSource,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the accept loops and the handshakes of one listener have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) transport: Transport,
    pub(crate) speaks: Protocol,
    pub(crate) live: ArcSwap<Live>,
    pub(crate) admission: Arc<Admission>,
    /// Places of refusals that are being told.
    pub(crate) refusals: Arc<Semaphore>,
    pub(crate) stop: StopSignal,
}

impl Bound {
    /// Accepts connections and hands them to `handler`, in tasks of the current tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch one of the sockets.
    pub fn serve(self, handler: Arc<dyn ConnectionHandler>) -> Result<Listening, BindError> {
        let accepting = StopSource::new();
        let connections = StopSource::new();
        let endpoints = self.endpoints();
        let files =
            self.sockets.iter().filter_map(|(_, socket)| socket.file().map(|file| file.key().clone())).collect();
        let shared = Arc::new(Shared {
            name: self.spec.name,
            transport: self.spec.transport,
            speaks: handler.speaks(),
            live: ArcSwap::from_pointee(self.spec.live),
            admission: Admission::new(),
            refusals: Arc::new(Semaphore::new(AT_A_TIME)),
            stop: connections.signal(),
        });
        let mut tasks = Vec::with_capacity(self.sockets.len());
        for (endpoint, socket) in self.sockets {
            let socket = socket.register().map_err(|source| BindError::Io {
                listener: shared.name.to_string(),
                address: endpoint.clone(),
                source,
            })?;
            let (shared, handler) = (Arc::clone(&shared), Arc::clone(&handler));
            let acceptor = Acceptor { shared, handler, local: endpoint, short_of: None };
            tasks.push(tokio::spawn(acceptor.run(socket, accepting.signal())));
        }
        Ok(Listening { shared, endpoints, files, accepting, connections, tasks: Mutex::new(tasks) })
    }
}

impl Listening {
    /// The `name` of the `[[listener]]`.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// How the bytes arrive.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.shared.transport
    }

    /// Where it listens, with real ports.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The addresses among its [`Self::endpoints`].
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().filter_map(Endpoint::ip).collect()
    }

    /// Replaces the live settings; they hold for connections that come from now on.
    ///
    /// # Errors
    /// A TLS listener is left without a certificate, or the mode of a Unix socket cannot be changed. Connections are
    /// treated as before then.
    pub fn update(&self, live: Live) -> Result<(), BindError> {
        if self.shared.transport.is_tls() && live.tls.is_none() {
            return Err(BindError::NoCertificate { listener: self.shared.name.to_string() });
        }
        for file in &self.files {
            file.set_mode(live.socket_mode).map_err(|source| BindError::Io {
                listener: self.shared.name.to_string(),
                address: file.endpoint(),
                source,
            })?;
        }
        self.shared.live.store(Arc::new(live));
        Ok(())
    }

    /// The live settings in force.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.shared.live.load_full()
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        self.shared.admission.stats()
    }

    /// Gives the addresses back: nobody new comes in, who is in stays. Returns when the sockets are closed.
    pub async fn stop_accepting(&self) {
        self.accepting.stop();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // An accept loop never panics; if it were cancelled with its runtime, its socket is closed as well.
            let _ = task.await;
        }
    }

    /// Tells every connection of this listener to say good-bye and end. Does not wait for them.
    pub fn stop_connections(&self) {
        self.connections.stop();
    }

    /// Waits until no connection is open, or until `patience` is over. Returns how many are still open.
    pub async fn wait_until_idle(&self, patience: Duration) -> usize {
        // Too late is not an error: the caller is told how many are left.
        let _ = tokio::time::timeout(patience, self.shared.admission.idle()).await;
        self.stats().open
    }
}

/// One accept loop.
struct Acceptor {
    shared: Arc<Shared>,
    handler: Arc<dyn ConnectionHandler>,
    local: Endpoint,
    /// How long the loop pauses for want of descriptors. None: all is well.
    short_of: Option<Duration>,
}

impl Acceptor {
    async fn run(mut self, socket: Accepts, accepting: StopSignal) {
        let stopped = accepting.stopped();
        tokio::pin!(stopped);
        let mut batch = 0_u32;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => break,
                accepted = socket.accept() => accepted,
            };
            let pause = match accepted {
                Ok((stream, peer)) => {
                    self.recovered();
                    self.take(stream, peer);
                    None
                }
                Err(error) => self.failed(&error),
            };
            batch = batch.wrapping_add(1);
            if let Some(pause) = pause {
                tokio::select! {
                    () = &mut stopped => break,
                    () = tokio::time::sleep(pause) => {}
                }
            } else if batch.is_multiple_of(BATCH) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// How long to pause after an error of accept(2). Most belong to the one connection that is already gone.
    fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        use rustix::io::Errno;
        let exhausted = Errno::from_io_error(error)
            .is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM));
        if !exhausted {
            debug!(listener = %self.shared.name, %error, "a connection was gone before it was accepted");
            return None;
        }
        // Nobody is refused: clients wait in the kernel's queue. Said once, since it lasts and a log would fill.
        if self.short_of.is_none() {
            warn!(
                listener = %self.shared.name, address = %self.local, %error,
                "cannot accept connections for now; raise the limit of open files (`ulimit -n`, `LimitNOFILE=`) or lower \
                 `max-connections`"
            );
        }
        let pause = self.short_of.map_or(BACK_OFF.0, |last| (last * 2).min(BACK_OFF.1));
        self.short_of = Some(pause);
        Some(pause)
    }

    fn recovered(&mut self) {
        if self.short_of.take().is_some() {
            info!(listener = %self.shared.name, address = %self.local, "accepting connections again");
        }
    }

    /// Admits a connection and passes it on.
    fn take(&self, stream: TcpStream, peer: Peer) {
        let live = self.shared.live.load();
        let admission = &self.shared.admission;
        if live.proxy.as_ref().is_some_and(|proxy| !proxy.trusts(peer)) {
            admission.peer_refused();
            debug!(
                listener = %self.shared.name, %peer,
                "connection refused: this listener serves the peers in `proxy-protocol.from`, and this is none of them"
            );
            return;
        }
        let proxied = live.proxy.is_some();
        let admitted = if proxied { admission.admit_unknown(&live) } else { admission.admit(peer, &live) };
        let guard = match admitted {
            Ok(guard) => guard,
            Err(refused) => {
                if let Some(stream) = registered(stream, &self.shared.name, peer) {
                    refuse(stream, peer, refused, proxied, &self.shared);
                }
                return;
            }
        };
        // On Linux it is inherited from the listening socket.
        if !cfg!(target_os = "linux")
            && let (Peer::Ip(_), Err(error)) = (peer, stream.set_nodelay(true))
        {
            debug!(listener = %self.shared.name, %peer, %error, "connection lost");
            return;
        }
        let facts = Facts {
            listener: Arc::clone(&self.shared.name),
            transport: self.shared.transport,
            peer,
            local: self.local.ip(),
            details: None,
            stop: self.shared.stop.clone(),
            guard,
        };
        if self.shared.transport == Transport::Tcp && !proxied {
            return self.handler.tcp(stream, facts);
        }
        // A task of its own, which ends with the handshake: its future, which is large, does not stay in memory.
        let (live, shared, handler) = (Arc::clone(&live), Arc::clone(&self.shared), Arc::clone(&self.handler));
        tokio::spawn(shake_hands(stream, facts, live, shared, handler));
    }
}

/// The connection, registered with the runtime of the calling task.
fn registered(stream: TcpStream, listener: &str, peer: Peer) -> Option<tokio::net::TcpStream> {
    tokio::net::TcpStream::from_std(stream)
        .inspect_err(|error| debug!(%listener, %peer, %error, "connection lost"))
        .ok()
}

/// Gives a plain TCP connection away.
pub(crate) fn hand_over(stream: tokio::net::TcpStream, facts: Facts, handler: &dyn ConnectionHandler) {
    match stream.into_std() {
        Ok(stream) => handler.tcp(stream, facts),
        Err(error) => debug!(listener = %facts.listener, peer = %facts.peer, %error, "connection lost"),
    }
}
