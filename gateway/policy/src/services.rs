//! What stands behind the host interfaces: given to [`crate::Host`] once, shared by all policies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portcullis_grant::PolicyStamp;
use portcullis_identity::{Directory, Keyring};
use portcullis_store::Store;
use rustls::pki_types::CertificateDer;

use crate::outside::Outside;

type Told = dyn Fn(&PolicyStamp, bool, &str) + Send + Sync;

/// Told when a policy is put into quarantine (true) and when it is out again, with the reason.
#[derive(Clone)]
pub struct QuarantineWitness(Arc<Told>);

impl QuarantineWitness {
    /// Calls this. Be quick: the call of a client waits for it.
    pub fn new(told: impl Fn(&PolicyStamp, bool, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, stamp: &PolicyStamp, entered: bool, why: &str) {
        (self.0)(stamp, entered, why);
    }
}

impl fmt::Debug for QuarantineWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuarantineWitness")
    }
}

/// The gateway's own rooms that policies may be let into. What is missing is refused when a policy is granted it.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// For `store`, and for keys that were fetched, so that they outlive a restart.
    pub store: Option<Store>,
    /// For `directory`, `directory-admin` and the `app` keys of `jose`.
    pub directory: Option<Directory>,
    /// For the `named` keys of `jose`.
    pub keyring: Option<Keyring>,
    /// Certificates of authorities that `http-client` trusts beside the system's own.
    pub http_authorities: Arc<[CertificateDer<'static>]>,
    /// How old the keys of a JWK Set may become while they cannot be fetched anew. Zero: a day.
    pub keys_stale: Duration,
    /// Who is told of quarantines.
    pub quarantine: Option<QuarantineWitness>,
    /// The world outside: the real one, unless somebody plays it.
    pub outside: Outside,
}
