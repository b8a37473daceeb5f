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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, Semaphore};

    use super::*;
    use crate::capability::HttpClient;

    fn services() -> Arc<SharedServices> {
        Arc::new(SharedServices {
            directory: None,
            keyring: None,
            passwords: Arc::new(Semaphore::new(1)),
            http: HttpClient::new(&[]).expect("a client"),
            jwks: JwksCache::default(),
        })
    }

    /// A server of one answer, which it gives when it is told to.
    struct Server {
        url: String,
        allowed: Vec<String>,
        asked: Arc<AtomicUsize>,
        go: Arc<Notify>,
    }

    impl Server {
        async fn start(status: u16, body: String) -> Self {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let address = listener.local_addr().expect("an address").to_string();
            let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let (count, gate) = (Arc::clone(&asked), Arc::clone(&go));
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.expect("a connection");
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            Self { url: format!("http://{address}/jwks"), allowed: vec![address], asked, go }
        }

        async fn keys(&self, services: &Arc<SharedServices>, kid: Option<&str>) -> Result<usize, Error> {
            JwksCache::keys(services, &self.url, &self.allowed, kid).await.map(|keys| keys.len())
        }
    }

    fn set(kid: &str) -> String {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key pair");
        let point = pair.public_key_raw();
        let part = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let (x, y) = (part(&point[1..33]), part(&point[33..65]));
        serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y }] }).to_string()
    }

    #[tokio::test]
    async fn many_calls_share_one_fetch_and_the_set_is_kept() {
        let (services, server) = (services(), Server::start(200, set("a")).await);
        server.go.notify_one();
        let (one, two) = tokio::join!(server.keys(&services, Some("a")), server.keys(&services, None));
        assert_eq!((one.expect("keys"), two.expect("keys")), (1, 1));
        assert_eq!(server.keys(&services, Some("a")).await.expect("keys"), 1);
        // Nobody knows this one; the server was asked a moment ago and is not asked again.
        assert_eq!(server.keys(&services, Some("b")).await.expect("keys"), 1);
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_call_that_gives_up_does_not_end_the_fetch() {
        let (services, server) = (services(), Server::start(200, set("a")).await);
        let given_up = tokio::time::timeout(Duration::from_millis(50), server.keys(&services, None)).await;
        assert!(given_up.is_err(), "the server has not answered yet");
        server.go.notify_one();
        assert_eq!(server.keys(&services, None).await.expect("keys"), 1);
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_says_why_and_is_not_repeated_at_once() {
        for (status, body, why) in [(500, String::new(), "answered 500"), (200, "{}".to_owned(), "not a usable key")] {
            let (services, server) = (services(), Server::start(status, body).await);
            server.go.notify_one();
            for _ in 0..3 {
                match server.keys(&services, None).await {
                    Err(Error::KeysUnavailable(said)) => assert!(said.contains(why), "{said}"),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(server.asked.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn only_granted_hosts_and_only_over_https() {
        let services = services();
        let fetch = |url: &'static str, allowed: &str| {
            let (services, allowed) = (Arc::clone(&services), vec![allowed.to_owned()]);
            async move { JwksCache::keys(&services, url, &allowed, None).await }
        };
        assert!(matches!(fetch("https://a.example/", "b.example").await, Err(Error::NotAllowed(_))));
        assert!(matches!(fetch("http://a.example/", "a.example").await, Err(Error::KeysUnavailable(_))));
    }
}
