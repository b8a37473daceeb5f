//! Keys that others publish at a URL: fetched once for a crowd, kept over outages and restarts, and not for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, Header};
use portcullis_tests::directory;
use portcullis_tests::relay::Relay;
use portcullis_tests::tokens::{SigningKey, now};
use portcullis_tests::{Config, Gateway, Refused, Version, in_time, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server of one JWK Set.
struct Publisher {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Publisher {
    async fn start(set: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                count.fetch_add(1, Ordering::SeqCst);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", set.len());
                let _ = stream.write_all((head + &set).as_bytes()).await;
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }
}

fn token(key: &SigningKey, kid: &str) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    key.token_with(&header, &json!({ "sub": "alice", "exp": now() + 600 }))
}

#[tokio::test]
async fn a_crowd_of_clients_costs_their_owners_server_one_request() {
    let gateway = Gateway::start(&Config::tcp(&["jwt"])).await;
    let key = SigningKey::new("ES256");
    let publisher = Publisher::start(key.jwks("k1")).await;
    directory::app_at(&gateway, "shop", &publisher.url());
    let token = token(&key, "k1");
    let clients = (0..40).map(|n| {
        let dial = gateway.tcp(Version::V5, &format!("client-{n}")).login("shop", &token);
        async move { dial.connect().await.disconnect().await }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(publisher.asked.load(Ordering::SeqCst), 1);

    // Names of keys that nobody has, one after the other, cost it no more than one further request each ten seconds.
    let stranger = SigningKey::new("ES256");
    let begun = std::time::Instant::now();
    for n in 0..20 {
        let made_up = self::token(&stranger, &format!("made-up-{n}"));
        assert_eq!(gateway.tcp(Version::V5, "stranger").login("shop", &made_up).refusal().await, 0x86);
    }
    let asked = publisher.asked.load(Ordering::SeqCst);
    let most = 2 + begun.elapsed().as_secs() / 10;
    assert!(asked as u64 <= most, "asked {asked} times in {:?}: at most every ten seconds", begun.elapsed());
}

#[tokio::test]
async fn keys_outlive_an_outage_and_a_restart_until_their_bound_and_come_back() {
    let key = SigningKey::new("ES256");
    let token = token(&key, "k1");
    let dial = |gateway: &Gateway| gateway.tcp(Version::V5, "phone").login("shop", &token);
    let (gateway, publisher, uplink, stale) = in_time("a restart", 15, async |stale| {
        let config = Config::tcp(&["jwt"]).toml(&format!("[limits]\nkeys-stale = \"{stale}s\""));
        let gateway = Gateway::start(&config).await;
        let publisher = Publisher::start(key.jwks("k1")).await;
        let uplink = Relay::to(publisher.address).await;
        directory::app_at(&gateway, "shop", &format!("http://{}/keys", uplink.address()));
        let fetched = std::time::Instant::now();
        dial(&gateway).connect().await.disconnect().await;

        uplink.switch(false);
        let gateway = gateway.restart().await;
        match dial(&gateway).attempt().await {
            Ok(client) => client.disconnect().await,
            Err(_) if fetched.elapsed().as_secs() >= u64::from(stale) => return None,
            Err(refused) => panic!("the stored keys are {:?} old at most: {refused:?}", fetched.elapsed()),
        }
        Some((gateway, publisher, uplink, stale))
    })
    .await;
    let dial = || dial(&gateway);

    let refused = within("keys that are too old", async {
        loop {
            match dial().attempt().await {
                Ok(client) => client.disconnect().await,
                Err(refused) => return refused,
            }
        }
    })
    .await;
    assert!(matches!(refused, Refused::Code(0x88, _)), "unavailable, not a wrong credential: {refused:?}");
    let said = gateway.ask(&["why", "phone"]);
    assert!(said.contains(&format!("{stale} s old at most, and cannot be fetched anew")), "{said}");

    let before = publisher.asked.load(Ordering::SeqCst);
    uplink.switch(true);
    let client = within("the keys to be fetched again", async {
        loop {
            if let Ok(client) = dial().attempt().await {
                return client;
            }
        }
    })
    .await;
    client.disconnect().await;
    assert!(publisher.asked.load(Ordering::SeqCst) <= before + 2);
}

#[tokio::test]
async fn an_app_may_have_registered_keys_and_published_ones() {
    let gateway = Gateway::start(&Config::tcp(&["jwt"])).await;
    let (registered, published) = (SigningKey::new("ES256"), SigningKey::new("ES256"));
    let publisher = Publisher::start(published.jwks("k1")).await;
    directory::app(&gateway, "shop", &registered.public_pem());
    let _ = gateway.ask(&["app", "set", "shop", &format!("jwks_url={}", publisher.url())]);
    let dial = |token: &str| gateway.tcp(Version::V5, "phone").login("shop", token);
    let by_registered = registered.token(&json!({ "sub": "alice", "exp": now() + 600 }));
    dial(&by_registered).connect().await.disconnect().await;
    dial(&token(&published, "k1")).connect().await.disconnect().await;
    assert_eq!(dial(&token(&SigningKey::new("ES256"), "k1")).refusal().await, 0x86, "a stranger's key of that name");

    let _ = gateway.ask(&["app", "set", "shop", "jwks_url=null"]);
    assert_eq!(dial(&token(&published, "k1")).refusal().await, 0x86, "no longer published for this app");
    dial(&by_registered).connect().await.disconnect().await;
    let unsafe_url = gateway.command(&["app", "set", "shop", "jwks_url=http://keys.example/"]);
    assert!(!unsafe_url.status.success(), "keys do not come over http");
    assert!(String::from_utf8_lossy(&unsafe_url.stderr).contains("must begin with https://"));
}
