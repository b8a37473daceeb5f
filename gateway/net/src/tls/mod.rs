//! TLS: certificates from PEM files, a configuration that can be replaced under running listeners, and what a
//! handshake told about the client.

mod certificate;
mod error;
mod load;
mod name;
mod revoked;
mod session;
mod wire;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub use certificate::read_certificate;
pub use error::TlsError;
pub use load::{ClientAuth, Tls, TlsPurpose, TlsSpec};
pub use revoked::Revoked;
pub(crate) use session::describe;
pub(crate) use wire::Wire;

/// A TLS configuration that listeners share and that is replaced in one step: handshakes that begin later use the new
/// one, connections that are established keep what they have. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsHandle {
    config: Arc<ArcSwap<ServerConfig>>,
}

impl TlsHandle {
    /// A handle that begins with `tls`.
    #[must_use]
    pub fn new(tls: &Tls) -> Self {
        Self { config: Arc::new(ArcSwap::new(tls.config())) }
    }

    /// Puts `tls` in place. Session tickets of the old configuration are no longer accepted, so that nobody resumes past
    /// a certificate authority that was withdrawn.
    pub fn replace(&self, tls: &Tls) {
        self.config.store(tls.config());
    }

    /// What the next handshake uses.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}
