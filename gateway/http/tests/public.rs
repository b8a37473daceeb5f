//! The public site with real sockets: its own paths, mounted policies, bounds, shutdown.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use portcullis_grant::gatekeeper::{Action, Authorization, Login, Outcome, Refusal, Renewal, Reply as AuthReply};
use portcullis_grant::{
    BoxFuture, ConnectionFacts, Denial, DenyReason, Gatekeeper, Grant, HttpAnswer, HttpCall, HttpEndpoint,
};
use portcullis_http::{HttpSettings, Mount, MountTable, Mounts, PublicFacts, PublicSite};
use portcullis_net::{ClientAuth, Listening, Tls, TlsHandle, TlsPurpose};
use serde_json::{Value, json};
use support::{PATIENCE, ask, empty, request, serve, soon, whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A gateway that may be draining.
#[derive(Default)]
struct Gateway(Mutex<Option<String>>);

impl PublicFacts for Gateway {
    fn not_ready(&self) -> Option<String> {
        self.0.lock().clone()
    }
    fn version(&self) -> Value {
        json!({ "name": "portcullis", "version": "1.2.3" })
    }
    fn jwks(&self) -> Value {
        json!({ "keys": [] })
    }
}

/// Tells what it was asked, or answers as told.
#[derive(Default)]
struct Endpoint {
    answer: Option<HttpAnswer>,
    /// Waits for the second before it answers; tells the first that it waits.
    hold: Option<(Arc<Notify>, Arc<Notify>)>,
}

impl HttpEndpoint for Endpoint {
    fn handle(&self, connection: ConnectionFacts, call: HttpCall) -> BoxFuture<'_, HttpAnswer> {
        Box::pin(async move {
            if let Some((waiting, go)) = &self.hold {
                waiting.notify_one();
                go.notified().await;
            }
            if let Some(answer) = &self.answer {
                return answer.clone();
            }
            let told = json!({
                "id": &*connection.id, "listener": &*connection.listener, "protocol": connection.protocol,
                "version": connection.protocol_version, "transport": connection.transport,
                "sni": connection.details.as_ref().and_then(|details| details.server_name.clone()),
                "same head": connection.details.as_ref().unwrap().http.as_ref().unwrap().path == call.head.path,
                "identity": connection.identity.is_some(),
                "method": call.head.method, "authority": call.head.authority, "path": call.head.path,
                "query": call.head.query, "body": String::from_utf8_lossy(&call.body),
            });
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            HttpAnswer { status: 200, headers, body: told.to_string().into_bytes() }
        })
    }
}

/// Lets nobody in.
struct Closed;

impl Gatekeeper for Closed {
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            assert!(login.connection.details.unwrap().http.is_some());
            let denial = Denial::new(DenyReason::BadCredentials, "not for the client");
            Outcome::Deny(Refusal::new(denial, None))
        })
    }
    fn continue_authentication(&self, _: AuthReply) -> BoxFuture<'_, Outcome> {
        unreachable!("HTTP has no challenges")
    }
    fn authorize(&self, _: Arc<Grant>, _: Action) -> BoxFuture<'_, Authorization> {
        unreachable!("HTTP does not publish")
    }
    fn renew(&self, _: ConnectionFacts, _: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        unreachable!("HTTP holds no grant")
    }
}

fn mount(prefix: &str, endpoint: Endpoint) -> Mount {
    Mount { prefix: prefix.to_owned(), endpoint: Arc::new(endpoint), guard: None }
}

fn start(mounts: Vec<Mount>, settings: HttpSettings) -> (Listening, Arc<Gateway>, MountTable) {
    let gateway = Arc::new(Gateway::default());
    let table = MountTable::new(Mounts::new(mounts).unwrap());
    let site = PublicSite::new(Arc::clone(&gateway) as Arc<dyn PublicFacts>, table.clone());
    (serve(Arc::new(site), settings, None), gateway, table)
}

#[tokio::test]
async fn the_gateways_own_paths() {
    let (listening, gateway, _) = start(vec![mount("/", Endpoint::default())], HttpSettings::default());
    let address = listening.local_addrs()[0];
    for path in ["/healthz", "/health", "/healthz/live", "/healthz/ready"] {
        assert_eq!(ask(address, request("GET", path).body(empty()).unwrap()).await.status(), 200, "{path}");
    }
    *gateway.0.lock() = Some("draining".to_owned());
    let reply = ask(address, request("GET", "/healthz/ready").body(empty()).unwrap()).await;
    assert_eq!((reply.status(), reply.error().as_str()), (503, "draining"));
    assert_eq!(ask(address, request("GET", "/healthz").body(empty()).unwrap()).await.status(), 200);
    let reply = ask(address, request("GET", "/version").body(empty()).unwrap()).await;
    assert_eq!(reply.json()["version"], "1.2.3");
    let reply = ask(address, request("GET", "/.well-known/jwks.json").body(empty()).unwrap()).await;
    assert_eq!(reply.header("content-type"), "application/jwk-set+json");
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), json!({ "keys": [] }));
    let reply = ask(address, request("POST", "/version").body(empty()).unwrap()).await;
    assert_eq!((reply.status(), reply.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn without_a_mount_everything_else_is_not_there() {
    let (listening, _, table) = start(vec![], HttpSettings::default());
    let address = listening.local_addrs()[0];
    let reply = ask(address, request("GET", "/v3").body(empty()).unwrap()).await;
    assert_eq!(reply.status(), 404);
    assert!(!reply.error().is_empty());
    table.replace(Mounts::new(vec![mount("/v3", Endpoint::default())]).unwrap());
    assert_eq!(ask(address, request("GET", "/v3").body(empty()).unwrap()).await.status(), 200);
}

#[tokio::test]
async fn a_mounted_policy_gets_the_request_in_the_words_of_the_contract() {
    let (listening, ..) = start(vec![mount("/v3", Endpoint::default())], HttpSettings::default());
    let address = listening.local_addrs()[0];
    let body = Full::new(Bytes::from_static(b"{}"));
    let reply = ask(address, request("POST", "/v3/x/../auth/tokens?nocatalog").body(body).unwrap()).await;
    let told = reply.json();
    for (name, expected) in [
        ("listener", json!("web")),
        ("protocol", json!("http")),
        ("version", json!(1)),
        ("transport", json!("tcp")),
        ("same head", json!(true)),
        ("identity", json!(false)),
        ("method", json!("POST")),
        ("authority", json!("localhost")),
        ("path", json!("/v3/auth/tokens")),
        ("query", json!("nocatalog")),
        ("body", json!("{}")),
    ] {
        assert_eq!(told[name], expected, "{name}");
    }
    assert!(told["id"].as_str().unwrap().starts_with('c'));
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let answer = HttpAnswer { status: 200, headers: vec![], body: b"four".to_vec() };
    let (listening, ..) =
        start(vec![mount("/", Endpoint { answer: Some(answer), hold: None })], HttpSettings::default());
    let reply = ask(listening.local_addrs()[0], request("HEAD", "/x").body(empty()).unwrap()).await;
    assert_eq!((reply.status(), reply.header("content-length"), reply.body.len()), (200, "4", 0));
}

#[tokio::test]
async fn a_guard_is_asked_before_the_body_is_read() {
    let mut guarded = mount("/admin", Endpoint::default());
    guarded.guard = Some(Arc::new(Closed));
    let (listening, ..) = start(vec![guarded, mount("/", Endpoint::default())], HttpSettings::default());
    let address = listening.local_addrs()[0];
    for path in ["/admin", "/admin/x", "/%61dmin/x", "/y/../admin", "/y/%2e%2e/admin"] {
        let reply = ask(address, request("GET", path).body(empty()).unwrap()).await;
        assert_eq!((reply.status(), reply.header("www-authenticate")), (401, "Bearer"), "{path}");
        assert_eq!(reply.error(), "bad-credentials", "the operator's detail stays here");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /admin HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    assert!(first_line(&mut stream).await.contains(" 401 "));
}

#[tokio::test]
async fn answers_that_cannot_be_sent_are_the_policys_failure() {
    let answer = HttpAnswer { status: 200, headers: vec![("a".into(), "b\r\nset-cookie: c".into())], body: vec![] };
    let (listening, ..) =
        start(vec![mount("/", Endpoint { answer: Some(answer), hold: None })], HttpSettings::default());
    let reply = ask(listening.local_addrs()[0], request("GET", "/").body(empty()).unwrap()).await;
    assert_eq!((reply.status(), reply.header("set-cookie")), (500, ""));
}

async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn requests_are_bounded() {
    let settings = HttpSettings { max_body: 1000, body_timeout: Duration::from_secs(5), ..HttpSettings::default() };
    let (listening, ..) = start(vec![mount("/", Endpoint::default())], settings);
    let address = listening.local_addrs()[0];
    let post = |length| request("POST", "/").body(Full::new(Bytes::from(vec![b'x'; length]))).unwrap();
    assert_eq!(ask(address, post(1000)).await.status(), 200);
    assert_eq!(ask(address, post(1001)).await.status(), 413);
    for (wire, status) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(20_000)), "431"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(150)), "431"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n".to_owned(), "413"),
        (format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{}", "z".repeat(2000)), "413"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab".to_owned(), "408"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: \u{e9}".replace('\u{e9}', "\0") + "\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "400"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(wire.as_bytes()).await.unwrap();
        let line = first_line(&mut stream).await;
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{line} for {:.60}", wire);
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: \xe9\r\n\r\n").await.unwrap();
    assert!(first_line(&mut stream).await.contains(" 400 "), "a header value that is not UTF-8");
}

#[tokio::test]
async fn who_sends_nothing_is_disconnected() {
    let settings = HttpSettings {
        head_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..HttpSettings::default()
    };
    let (listening, ..) = start(vec![], settings);
    for beginning in ["", "GET / HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(listening.local_addrs()[0]).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        // A reset is an end as well.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(listening.wait_until_idle(PATIENCE).await, 0);
}

#[tokio::test]
async fn requests_under_way_are_answered_before_a_stop() {
    let (waiting, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let endpoint = Endpoint { answer: None, hold: Some((Arc::clone(&waiting), Arc::clone(&go))) };
    let (listening, ..) = start(vec![mount("/", endpoint)], HttpSettings::default());
    let address = listening.local_addrs()[0];
    let idle = TcpStream::connect(address).await.unwrap();
    let asked = tokio::spawn(ask(address, request("GET", "/slow").body(empty()).unwrap()));
    soon(waiting.notified()).await;
    listening.stop_accepting().await;
    listening.stop_connections();
    assert!(TcpStream::connect(address).await.is_err());
    go.notify_one();
    assert_eq!(soon(asked).await.unwrap().status(), 200);
    assert_eq!(listening.wait_until_idle(PATIENCE).await, 0, "the idle connection is closed as well");
    drop(idle);
}

#[tokio::test]
async fn a_client_that_gives_up_leaves_nothing_behind() {
    let (waiting, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let endpoint = Endpoint { answer: None, hold: Some((Arc::clone(&waiting), go)) };
    let (listening, ..) = start(vec![mount("/", endpoint)], HttpSettings::default());
    let mut stream = TcpStream::connect(listening.local_addrs()[0]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    soon(waiting.notified()).await;
    drop(stream);
    assert_eq!(listening.wait_until_idle(PATIENCE).await, 0);
}

#[tokio::test]
async fn http_2_over_tls() {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = key.serialize_pem();
    let tls = Tls::from_pem(cert.pem().as_bytes(), pem.as_bytes(), None, ClientAuth::None, TlsPurpose::Http).unwrap();
    let site = PublicSite::new(
        Arc::new(Gateway::default()),
        MountTable::new(Mounts::new(vec![mount("/", Endpoint::default())]).unwrap()),
    );
    let listening = serve(Arc::new(site), HttpSettings::default(), Some(TlsHandle::new(&tls)));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(listening.local_addrs()[0]).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    let (mut sender, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://LocalHost/a/./b?c").body(empty()).unwrap();
    let told = whole(soon(sender.send_request(request)).await.unwrap()).await.json();
    assert_eq!(told["version"], 2);
    assert_eq!((&told["authority"], &told["path"]), (&json!("localhost"), &json!("/a/b")));
    assert_eq!((&told["transport"], &told["sni"]), (&json!("tls"), &json!("localhost")));
    let head = hyper::Request::head("https://localhost/version").body(empty()).unwrap();
    let reply = whole(soon(sender.send_request(head)).await.unwrap()).await;
    assert_eq!((reply.status(), reply.body.len()), (200, 0));
    assert_ne!(reply.header("content-length"), "");
    listening.stop_connections();
    assert_eq!(listening.wait_until_idle(PATIENCE).await, 0);
}
