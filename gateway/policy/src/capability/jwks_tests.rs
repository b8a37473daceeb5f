//! JWK Sets against servers that are slow, wrong, or gone.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::capability::HttpClient;

const PATIENCE: Duration = Duration::from_secs(120);

fn services() -> Arc<SharedServices> {
    with(JwksCache::open(None, Duration::ZERO))
}

fn with(jwks: JwksCache) -> Arc<SharedServices> {
    Arc::new(SharedServices {
        directory: None,
        keyring: None,
        password_checks: 1,
        places: Arc::new(Semaphore::new(1)),
        place_count: 1,
        quarantine: None,
        passwords: Arc::new(Semaphore::new(1)),
        http: HttpClient::new(&[], None).expect("a client"),
        jwks,
        outside: Default::default(),
    })
}

/// A server of one answer, which it gives when it is told to.
struct Server {
    url: String,
    allowed: Vec<String>,
    asked: Arc<AtomicUsize>,
    go: Arc<Notify>,
    listens: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(status: u16, body: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let (asked, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, gate) = (Arc::clone(&asked), Arc::clone(&go));
        let listens = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                count.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                let answer =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url: format!("http://{address}/jwks"), allowed: vec![address], asked, go, listens }
    }

    async fn keys(&self, services: &Arc<SharedServices>, kid: Option<&str>) -> Result<usize, Error> {
        JwksCache::keys(services, &self.url, &self.allowed, kid, PATIENCE, &Sources::default())
            .await
            .map(|keys| keys.len())
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
        async move { JwksCache::keys(&services, url, &allowed, None, PATIENCE, &Sources::default()).await }
    };
    assert!(matches!(fetch("https://a.example/", "b.example").await, Err(Error::NotAllowed(_))));
    assert!(matches!(fetch("http://a.example/", "a.example").await, Err(Error::KeysUnavailable(_))));
}

/// Lets the server answer as often as it is asked, and waits until it was asked so often.
async fn asked(server: &Server, times: usize) {
    let enough = async {
        while server.asked.load(Ordering::SeqCst) < times {
            server.go.notify_one();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.expect("the server is asked");
}

#[tokio::test]
async fn keys_outlive_a_restart_and_an_outage_until_they_are_too_old() {
    let (clock, hand) = portcullis_store::Clock::manual(1_000_000);
    let options = portcullis_store::Options { clock, ..portcullis_store::Options::default() };
    let store = Store::in_memory(options).expect("a store");
    let stale = Duration::from_secs(7_200);
    let server = Server::start(200, set("a")).await;
    {
        let before = with(JwksCache::open(Some(store.clone()), stale));
        server.go.notify_one();
        assert_eq!(server.keys(&before, Some("a")).await.expect("keys"), 1);
        // What is written is on its way: this waits behind it.
        store.submit(portcullis_store::Batch::new()).wait().expect("it is stored");
    }
    server.listens.abort();
    let _ = (&mut { server.listens }).await;
    let (url, allowed) = (server.url, server.allowed);
    let after = with(JwksCache::open(Some(store), stale));
    let sources = Sources::default();
    let keys = || JwksCache::keys(&after, &url, &allowed, Some("a"), PATIENCE, &sources);
    assert_eq!(keys().await.expect("those of before the restart").len(), 1);
    hand.advance_ms(7_199_000);
    assert_eq!(keys().await.expect("not too old yet").len(), 1);
    hand.advance_ms(1_000);
    match keys().await {
        Err(Error::KeysUnavailable(why)) => {
            assert!(why.contains("are 7200 s old, may be 7200 s old at most, and cannot be fetched anew"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_made_up_kid_does_not_wait_for_a_server_that_is_away() {
    let (clock, hand) = portcullis_store::Clock::manual(1_000_000);
    let options = portcullis_store::Options { clock, ..portcullis_store::Options::default() };
    let store = Store::in_memory(options).expect("a store");
    let services = with(JwksCache::open(Some(store), Duration::ZERO));
    let server = Server::start(200, set("a")).await;
    server.go.notify_one();
    let how_new = async |kid: &str| {
        let sources = Sources::default();
        let keys = JwksCache::keys(&services, &server.url, &server.allowed, Some(kid), PATIENCE, &sources).await;
        assert_eq!(keys.expect("keys").len(), 1);
        sources.freshness()
    };
    assert_eq!(how_new("a").await, Freshness::Fresh);
    assert_eq!(how_new("a").await, Freshness::Cached);
    let cached = services.jwks.set(&server.url);
    cached.known.lock().failure = "away".to_owned();
    cached.known.lock().tried = None;
    hand.advance_ms(1_000);
    // The server would answer only when told to: this does not wait for it, and has it asked aside.
    assert_eq!(how_new("made up").await, Freshness::Stale);
    asked(&server, 2).await;
}

#[tokio::test]
async fn old_keys_are_refreshed_aside() {
    let (clock, hand) = portcullis_store::Clock::manual(1_000_000);
    let options = portcullis_store::Options { clock, ..portcullis_store::Options::default() };
    let services = with(JwksCache::open(Some(Store::in_memory(options).expect("a store")), Duration::ZERO));
    let server = Server::start(200, set("a")).await;
    server.go.notify_one();
    assert_eq!(server.keys(&services, Some("a")).await.expect("keys"), 1);
    hand.advance_ms(301_000);
    services.jwks.set(&server.url).known.lock().tried = None;
    assert_eq!(server.keys(&services, Some("a")).await.expect("at once: the server is not waited for"), 1);
    asked(&server, 2).await;
}
