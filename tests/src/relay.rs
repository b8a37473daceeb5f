//! A relay on loopback that can be switched off and on: an uplink that goes away and comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to an address, while it is on.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    on: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    /// A relay to this address; it is on.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (on, state) = watch::channel(true);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                // What comes while it is off is closed at once.
                let mut state = state.clone();
                if !*state.borrow() {
                    continue;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|on| !on) => {}
                    }
                });
            }
        });
        Self { address, on, connections }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches it: off ends every connection.
    pub fn switch(&self, on: bool) {
        self.on.send_replace(on);
    }

    /// Connections that it has passed on so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
