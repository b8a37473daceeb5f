//! JWK Sets from other servers: fetched when first needed, kept, and refreshed aside.
//!
//! A fetch belongs to nobody's call: it goes on when the call that wanted it is given up, so that a server slower than a
//! policy's deadline still is learnt from. There is one fetch of a URL at a time, and a `kid` that nobody knows cannot
//! make the gateway hammer somebody else's server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use portcullis_identity::{VerificationKey, keys_from_jwks};
use tokio::sync::Mutex as Flight;

use crate::bindings::portcullis::policy::http_client::{Error as HttpError, Request};
use crate::bindings::portcullis::policy::jose::Error;
use crate::capability::SharedServices;
use crate::capability::http_client::check_url;

/// Younger than this is used as it is.
const FRESH: Duration = Duration::from_secs(300);
/// Younger than this is used while a new one is fetched, or while none can be.
const STALE: Duration = Duration::from_secs(3600);
/// Between two attempts on one URL.
const PAUSE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_OCTETS: u64 = 256 << 10;
/// URLs that are remembered.
const MAX_URLS: usize = 64;

/// The sets of all policies.
#[derive(Default)]
pub(crate) struct JwksCache {
    sets: Mutex<HashMap<String, Arc<Set>>>,
}

#[derive(Default)]
struct Set {
    flight: Arc<Flight<()>>,
    known: Mutex<Known>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Option<(Instant, Arc<[VerificationKey]>)>,
    tried: Option<Instant>,
    failure: String,
}

impl JwksCache {
    /// The keys at a URL that the policy may reach. With a `kid`, keys that do not know it are fetched anew.
    pub(crate) async fn keys(
        services: &Arc<SharedServices>,
        url: &str,
        allowed: &[String],
        kid: Option<&str>,
    ) -> Result<Arc<[VerificationKey]>, Error> {
        let parsed = check_url(url, allowed).map_err(|why| match why {
            HttpError::NotAllowed(host) => {
                Error::NotAllowed(format!("the host {host}: add it to `allow = {{ http = […] }}`"))
            }
            other => Error::KeysUnavailable(other.to_string()),
        })?;
        let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if parsed.scheme() != "https" && !loopback {
            return Err(Error::KeysUnavailable("a JWK Set must come over https".to_owned()));
        }
        let set = services.jwks.set(parsed.as_str());
        let knows = |keys: &[VerificationKey]| kid.is_none_or(|kid| keys.iter().any(|k| k.kid.as_deref() == Some(kid)));
        let known = set.known.lock().clone();
        if let Some((fetched, keys)) = &known.keys {
            let age = fetched.elapsed();
            if knows(keys) && age < STALE {
                if age >= FRESH {
                    set.refresh(services, parsed.as_str(), allowed);
                }
                return Ok(Arc::clone(keys));
            }
        }
        if known.tried.is_none_or(|tried| tried.elapsed() >= PAUSE) {
            let guard = Arc::clone(&set.flight).lock_owned().await;
            // Somebody may have come back with it while we waited.
            if set.known.lock().tried == known.tried {
                let fetch = fetch(Arc::clone(services), Arc::clone(&set), parsed.to_string(), allowed.to_vec(), guard);
                let _ = tokio::spawn(fetch).await;
            }
        }
        let known = set.known.lock().clone();
        match known.keys {
            Some((fetched, keys)) if fetched.elapsed() < STALE => Ok(keys),
            _ => Err(Error::KeysUnavailable(format!("the keys at {url} cannot be fetched: {}", known.failure))),
        }
    }

    fn set(&self, url: &str) -> Arc<Set> {
        let mut sets = self.sets.lock();
        if let Some(set) = sets.get(url) {
            return Arc::clone(set);
        }
        if sets.len() >= MAX_URLS {
            let oldest = sets.iter().min_by_key(|(_, set)| set.known.lock().tried).map(|(url, _)| url.clone());
            oldest.and_then(|url| sets.remove(&url));
        }
        Arc::clone(sets.entry(url.to_owned()).or_default())
    }
}

impl Set {
    /// Fetches aside, unless somebody does already.
    fn refresh(self: &Arc<Self>, services: &Arc<SharedServices>, url: &str, allowed: &[String]) {
        let due = self.known.lock().tried.is_none_or(|tried| tried.elapsed() >= PAUSE);
        if let (true, Ok(guard)) = (due, Arc::clone(&self.flight).try_lock_owned()) {
            tokio::spawn(fetch(Arc::clone(services), Arc::clone(self), url.to_owned(), allowed.to_vec(), guard));
        }
    }
}

async fn fetch(
    services: Arc<SharedServices>,
    set: Arc<Set>,
    url: String,
    allowed: Vec<String>,
    _flight: tokio::sync::OwnedMutexGuard<()>,
) {
    let request = Request {
        method: "GET".to_owned(),
        url: url.clone(),
        headers: vec![("accept".to_owned(), "application/jwk-set+json, application/json".to_owned())],
        body: Vec::new(),
        timeout_ms: None,
    };
    let answer = match tokio::time::timeout(TIMEOUT, services.http.send(request, &allowed, MAX_OCTETS)).await {
        Err(_) => Err("no answer within 5 s".to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
        Ok(Ok(response)) if response.status != 200 => Err(format!("the server answered {}", response.status)),
        Ok(Ok(response)) => match std::str::from_utf8(&response.body) {
            Ok(text) => keys_from_jwks(text).map_err(|why| why.to_string()),
            Err(_) => Err("the answer is not UTF-8".to_owned()),
        },
    };
    let mut known = set.known.lock();
    known.tried = Some(Instant::now());
    match answer {
        Ok(keys) => known.keys = Some((Instant::now(), keys.into())),
        Err(why) => {
            tracing::warn!(target: "portcullis::policy", url, "a JWK Set cannot be fetched: {why}");
            known.failure = why;
        }
    }
}
