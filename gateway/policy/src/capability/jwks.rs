//! JWK Sets from other servers: fetched when first needed, kept in the store, and refreshed aside before they are needed.
//!
//! A fetch belongs to nobody's call: it goes on when the call that wanted it is given up, so that a server slower than a
//! policy's deadline still is learnt from. There is one fetch of a URL at a time, and a `kid` that nobody knows cannot
//! make the gateway hammer somebody else's server.
//!
//! While a server cannot be reached its keys are used until they are [`JwksCache::stale`] old, and no longer: a key that
//! its owner withdrew meanwhile must not open doors for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use portcullis_grant::{Freshness, Sources};
use portcullis_identity::{VerificationKey, keys_from_jwks};
use portcullis_store::Store;
use tokio::sync::Mutex as Flight;

use super::jwks_shelf::{Fetched, Shelf};
use crate::bindings::portcullis::policy::http_client::{Error as HttpError, Request};
use crate::bindings::portcullis::policy::jose::Error;
use crate::capability::SharedServices;
use crate::capability::http_client::check_url;

/// Younger than this is used as it is; older is refreshed aside.
const FRESH: Duration = Duration::from_secs(300);
/// Younger than this is used while it cannot be fetched anew, unless the operator says otherwise.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Between two attempts on one URL.
const PAUSE: Duration = Duration::from_secs(10);
/// A set that nobody has needed for so long is no longer refreshed.
const IDLE: Duration = Duration::from_secs(24 * 3600);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_OCTETS: u64 = 256 << 10;
/// URLs that are remembered.
const MAX_URLS: usize = 64;

/// The sets of all policies.
pub(crate) struct JwksCache {
    sets: Mutex<HashMap<String, Arc<Set>>>,
    shelf: Shelf,
    stale: Duration,
}

struct Set {
    url: String,
    flight: Arc<Flight<()>>,
    known: Mutex<Known>,
    /// When it was needed last, and the hosts that the policy which needed it may reach.
    needed: Mutex<(Instant, Arc<[String]>)>,
    /// Whether somebody keeps it fresh.
    tended: AtomicBool,
}

#[derive(Clone, Default)]
struct Known {
    held: Option<Held>,
    /// When it was last tried to fetch it.
    tried: Option<Instant>,
    failure: String,
}

/// Keys that are known.
#[derive(Clone)]
struct Held {
    fetched: Arc<Fetched>,
    keys: Arc<[VerificationKey]>,
    /// The `at` that the store has.
    stored: u64,
}

impl JwksCache {
    /// With what an earlier run has stored. `stale`: how old keys may become while they cannot be fetched anew; zero: a
    /// day.
    pub(crate) fn open(store: Option<Store>, stale: Duration) -> Self {
        let stale = if stale.is_zero() { STALE } else { stale };
        let shelf = Shelf::new(store);
        let mut sets = HashMap::new();
        for (url, fetched) in shelf.load().into_iter().take(MAX_URLS) {
            if let Ok(keys) = keys_from_jwks(&fetched.text) {
                let held = Held { stored: fetched.at, fetched: Arc::new(fetched), keys: keys.into() };
                let known = Known { held: Some(held), ..Known::default() };
                sets.insert(url.clone(), Arc::new(Set::new(url, known)));
            }
        }
        Self { sets: Mutex::new(sets), shelf, stale }
    }

    /// From which age on keys are fetched anew: well before they are too old.
    fn fresh(&self) -> Duration {
        FRESH.min(self.stale / 4)
    }

    fn pause(&self) -> Duration {
        PAUSE.min(self.fresh())
    }

    fn age(&self, held: &Held) -> Duration {
        self.shelf.age(held.fetched.at, self.fresh())
    }

    /// The keys at a URL that the policy may reach. With a `kid`, keys that do not know it are fetched anew. Waits for a
    /// fetch for as long as `patience`, and notes how new the keys are.
    pub(crate) async fn keys(
        services: &Arc<SharedServices>,
        url: &str,
        allowed: &[String],
        kid: Option<&str>,
        patience: Duration,
        sources: &Sources,
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
        let cache = &services.jwks;
        let set = cache.set(parsed.as_str());
        set.tend(services, allowed);
        let knows = |keys: &[VerificationKey]| kid.is_none_or(|kid| keys.iter().any(|k| k.kid.as_deref() == Some(kid)));
        let known = set.known.lock().clone();
        if let Some(held) = &known.held {
            let age = cache.age(held);
            if knows(&held.keys) && age < cache.stale {
                if age >= cache.fresh() {
                    set.refresh(services);
                }
                let overdue = age >= cache.fresh() && !known.failure.is_empty();
                sources.note(if overdue { Freshness::Stale } else { Freshness::Cached });
                return Ok(Arc::clone(&held.keys));
            }
            // Whoever makes up names of keys must not have logins wait for a server that is known to be away.
            if age < cache.stale && !known.failure.is_empty() {
                set.refresh(services);
                sources.note(Freshness::Stale);
                return Ok(Arc::clone(&held.keys));
            }
        }
        let before = known.tried;
        if known.tried.is_none_or(|tried| tried.elapsed() >= cache.pause()) {
            let landing = async {
                let guard = Arc::clone(&set.flight).lock_owned().await;
                // Somebody may have come back with it while we waited.
                if set.known.lock().tried == known.tried {
                    let _ = tokio::spawn(fetch(Arc::clone(services), Arc::clone(&set), guard)).await;
                }
            };
            // Given up or not, the fetch goes on.
            let _ = tokio::time::timeout(patience, landing).await;
        }
        let known = set.known.lock().clone();
        let why = if known.failure.is_empty() { "no answer yet" } else { &known.failure };
        match known.held {
            Some(held) if cache.age(&held) < cache.stale => {
                sources.note(match (known.failure.is_empty(), known.tried == before) {
                    (true, false) => Freshness::Fresh,
                    (true, true) => Freshness::Cached,
                    (false, _) => Freshness::Stale,
                });
                Ok(held.keys)
            }
            Some(held) => Err(Error::KeysUnavailable(format!(
                "those of {url} are {} s old, may be {} s old at most, and cannot be fetched anew: {why}",
                cache.age(&held).as_secs(),
                cache.stale.as_secs()
            ))),
            None => Err(Error::KeysUnavailable(format!("those of {url} cannot be fetched: {why}"))),
        }
    }

    fn set(&self, url: &str) -> Arc<Set> {
        let mut sets = self.sets.lock();
        if let Some(set) = sets.get(url) {
            return Arc::clone(set);
        }
        if sets.len() >= MAX_URLS {
            let longest_unused = sets.iter().min_by_key(|(_, set)| set.needed.lock().0).map(|(url, _)| url.clone());
            if let Some(url) = longest_unused {
                sets.remove(&url);
                self.shelf.forget(&url);
            }
        }
        let made = || Arc::new(Set::new(url.to_owned(), Known::default()));
        Arc::clone(sets.entry(url.to_owned()).or_insert_with(made))
    }
}

impl Set {
    fn new(url: String, known: Known) -> Self {
        Self {
            url,
            flight: Arc::default(),
            known: Mutex::new(known),
            needed: Mutex::new((Instant::now(), Arc::default())),
            tended: AtomicBool::new(false),
        }
    }

    /// Notes that somebody needs it, and has it kept fresh from now on.
    fn tend(self: &Arc<Self>, services: &Arc<SharedServices>, allowed: &[String]) {
        {
            let mut needed = self.needed.lock();
            needed.0 = Instant::now();
            if *needed.1 != *allowed {
                needed.1 = allowed.into();
            }
        }
        if !self.tended.swap(true, Ordering::Relaxed) {
            tokio::spawn(tending(Arc::downgrade(services), Arc::downgrade(self), services.jwks.fresh()));
        }
    }

    /// Fetches aside, unless somebody does already.
    fn refresh(self: &Arc<Self>, services: &Arc<SharedServices>) {
        let due = self.known.lock().tried.is_none_or(|tried| tried.elapsed() >= services.jwks.pause());
        if let (true, Ok(guard)) = (due, Arc::clone(&self.flight).try_lock_owned()) {
            tokio::spawn(fetch(Arc::clone(services), Arc::clone(self), guard));
        }
    }
}

/// Fetches a set again and again before it is old, for as long as somebody has needed it within a day: the first login
/// after an outage began must find keys that are as young as can be.
async fn tending(services: Weak<SharedServices>, set: Weak<Set>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let (Some(services), Some(set)) = (services.upgrade(), set.upgrade()) else { return };
        if set.needed.lock().0.elapsed() > IDLE {
            set.tended.store(false, Ordering::Relaxed);
            return;
        }
        set.refresh(&services);
    }
}

async fn fetch(services: Arc<SharedServices>, set: Arc<Set>, _flight: tokio::sync::OwnedMutexGuard<()>) {
    let request = Request {
        method: "GET".to_owned(),
        url: set.url.clone(),
        headers: vec![("accept".to_owned(), "application/jwk-set+json, application/json".to_owned())],
        body: Vec::new(),
        timeout_ms: None,
    };
    let allowed = Arc::clone(&set.needed.lock().1);
    let answer = match tokio::time::timeout(TIMEOUT, services.http.send(request, &allowed, MAX_OCTETS)).await {
        Err(_) => Err("no answer within 5 s".to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
        Ok(Ok(response)) if response.status != 200 => Err(format!("the server answered {}", response.status)),
        Ok(Ok(response)) => match String::from_utf8(response.body) {
            Ok(text) => keys_from_jwks(&text).map(|keys| (text, keys.into())).map_err(|why| why.to_string()),
            Err(_) => Err("the answer is not UTF-8".to_owned()),
        },
    };
    let mut known = set.known.lock();
    known.tried = Some(Instant::now());
    match answer {
        Ok((text, keys)) => {
            known.failure.clear();
            known.held = Some(take_in(&services.jwks, &set.url, known.held.take(), text, keys));
        }
        Err(why) => {
            tracing::warn!(target: "portcullis::policy", url = set.url, "a JWK Set cannot be fetched: {why}");
            known.failure = why;
        }
    }
}

/// Stores what is new. Of a set that has not changed only the time is, so that is written seldom: flash wears, and keys that
/// seem a little older than they are do no harm.
fn take_in(cache: &JwksCache, url: &str, before: Option<Held>, text: String, keys: Arc<[VerificationKey]>) -> Held {
    let fetched = Fetched { at: cache.shelf.now(), text };
    let seldom = u64::try_from((cache.stale / 24).as_millis()).unwrap_or(u64::MAX);
    let same = before.filter(|before| before.fetched.text == fetched.text);
    let stored = match same.map(|before| before.stored) {
        Some(stored) if fetched.at.saturating_sub(stored) < seldom => stored,
        _ => {
            cache.shelf.keep(url, &fetched);
            fetched.at
        }
    };
    Held { fetched: Arc::new(fetched), keys, stored }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
