//! The admin site with real sockets: who gets in, and what the routes do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use parking_lot::Mutex;
use portcullis_grant::BoxFuture;
use portcullis_http::{
    AdminError, AdminResult, AdminSettings, AdminSite, AdminToken, Administration, DecisionQuery, DirectoryAdmin,
    HttpSettings, Kind, Page, ShadowTerms,
};
use portcullis_net::Listening;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use support::{Reply, ask, request, serve};

const TOKEN: &str = "correct-horse-battery-staple";

/// Writes down what it is asked, and answers with it.
#[derive(Default)]
struct Gateway(Mutex<Vec<String>>);

impl Gateway {
    fn note(&self, what: String) -> BoxFuture<'_, AdminResult> {
        self.0.lock().push(what.clone());
        Box::pin(async move {
            match what.as_str() {
                "disconnect nobody" => Err(AdminError::NotFound("no client `nobody` is connected".to_owned())),
                "reload policy broken" => Err(AdminError::Refused("it does not compile; the old one stays".to_owned())),
                _ => Ok(json!({ "did": what })),
            }
        })
    }
}

impl Administration for Gateway {
    fn status(&self) -> BoxFuture<'_, AdminResult> {
        self.note("status".to_owned())
    }
    fn reload(&self) -> BoxFuture<'_, AdminResult> {
        self.note("reload".to_owned())
    }
    fn policies(&self) -> BoxFuture<'_, AdminResult> {
        self.note("policies".to_owned())
    }
    fn reload_policy(&self, name: String, insist: bool) -> BoxFuture<'_, AdminResult> {
        self.note(format!("reload policy {name}{}", if insist { " from its source" } else { "" }))
    }
    fn promote(&self, name: String, digest: Option<String>) -> BoxFuture<'_, AdminResult> {
        self.note(format!("promote {name} if it is {digest:?}"))
    }
    fn shadow(&self, name: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("shadow of {name}"))
    }
    fn begin_shadow(&self, name: String, component: Vec<u8>, terms: ShadowTerms) -> BoxFuture<'_, AdminResult> {
        self.note(format!("begin shadow of {name} with {} octets: {:?}", component.len(), terms.share))
    }
    fn end_shadow(&self, name: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("end shadow of {name}"))
    }
    fn versions(&self, name: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("versions of {name}"))
    }
    fn roll_back(&self, name: String, digest: Option<String>) -> BoxFuture<'_, AdminResult> {
        self.note(format!("roll back {name} to {digest:?}"))
    }
    fn record_policy(&self, name: String, _: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        self.note(format!("record {name}"))
    }
    fn recording(&self, name: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("recording {name}"))
    }
    fn end_recording(&self, name: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("end recording {name}"))
    }
    fn rotate_key(&self, name: String, overlap: u64) -> BoxFuture<'_, AdminResult> {
        self.note(format!("rotate {name} {overlap}"))
    }
    fn connections(&self, page: Page) -> BoxFuture<'_, AdminResult> {
        self.note(format!("connections {} after {:?}", page.limit, page.after))
    }
    fn disconnect(&self, client: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("disconnect {client}"))
    }
    fn decisions(&self, query: DecisionQuery) -> BoxFuture<'_, AdminResult> {
        self.note(format!("decisions {:?} {}", query.client, query.limit))
    }
}

impl DirectoryAdmin for Gateway {
    fn list(&self, kind: Kind, page: Page) -> BoxFuture<'_, AdminResult> {
        self.note(format!("list {} {}", kind.as_str(), page.limit))
    }
    fn get(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("get {} {id}", kind.as_str()))
    }
    fn add(&self, kind: Kind, entry: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        self.note(format!("add {} {}", kind.as_str(), Value::Object(entry)))
    }
    fn change(&self, kind: Kind, id: String, members: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        self.note(format!("change {} {id} {}", kind.as_str(), Value::Object(members)))
    }
    fn export(&self, secrets: bool) -> BoxFuture<'_, AdminResult> {
        self.note(format!("export {secrets}"))
    }
    fn import(&self, document: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        self.note(format!("import {}", Value::Object(document)))
    }
    fn remove(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult> {
        self.note(format!("remove {} {id}", kind.as_str()))
    }
}

struct Running {
    listening: Listening,
    gateway: Arc<Gateway>,
}

impl Running {
    fn start(open_metrics: bool) -> Self {
        let gateway = Arc::new(Gateway::default());
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc_by(7);
        registry.register("portcullis_logins", "Logins", counter);
        let token = AdminToken::new(TOKEN).unwrap();
        let site = AdminSite::new(
            AdminSettings { token, open_metrics, hosts: vec!["admin.example".to_owned()] },
            Arc::clone(&gateway) as Arc<dyn Administration>,
            Arc::clone(&gateway) as Arc<dyn DirectoryAdmin>,
            Arc::new(registry),
        );
        Self { listening: serve(Arc::new(site), HttpSettings::default(), None), gateway }
    }

    fn address(&self) -> SocketAddr {
        self.listening.local_addrs()[0]
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut builder = request(method, path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        ask(self.address(), builder.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await
    }

    async fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = [("authorization", "Bearer correct-horse-battery-staple"), ("content-type", "application/json")];
        self.send(method, path, &headers, body).await
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_told_and_nothing_is_done() {
    let running = Running::start(true);
    for path in ["/", "/api/v1/status", "/api/v1/nothing", "/console"] {
        for headers in
            [&[][..], &[("authorization", "Bearer wrong-wrong-wrong-wrong")], &[("authorization", "Basic YTpi")]]
        {
            let reply = running.send("GET", path, headers, "").await;
            assert_eq!((reply.status(), reply.header("www-authenticate").is_empty()), (401, false), "{path}");
        }
    }
    assert_eq!(running.send("DELETE", "/api/v1/users/1", &[], "").await.status(), 401);
    assert_eq!(running.send("GET", "/healthz", &[], "").await.status(), 200);
    assert!(running.gateway.0.lock().is_empty());
}

#[tokio::test]
async fn metrics_are_open_or_not() {
    let open = Running::start(true);
    let reply = open.send("GET", "/metrics", &[], "").await;
    assert_eq!(reply.status(), 200);
    assert!(reply.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert!(text.contains("portcullis_logins_total 7\n") && text.ends_with("# EOF\n"), "{text}");
    let closed = Running::start(false);
    assert_eq!(closed.send("GET", "/metrics", &[], "").await.status(), 401);
    assert_eq!(closed.admin("GET", "/metrics", "").await.status(), 200);
}

#[tokio::test]
async fn the_routes_reach_the_gateway() {
    let running = Running::start(false);
    for (method, path, body, status, did) in [
        ("GET", "/api/v1/status", "", 200, "status"),
        ("POST", "/api/v1/reload", "", 200, "reload"),
        ("GET", "/api/v1/policies", "", 200, "policies"),
        ("POST", "/api/v1/policies/jwt/reload", "", 200, "reload policy jwt"),
        ("GET", "/api/v1/connections?limit=2&after=p%2F1", "", 200, "connections 2 after Some(\"p/1\")"),
        ("DELETE", "/api/v1/connections/p%2F1", "", 200, "disconnect p/1"),
        ("GET", "/api/v1/decisions?client=p", "", 200, "decisions Some(\"p\") 100"),
        ("GET", "/api/v1/keys", "", 200, "list keys 100"),
        ("POST", "/api/v1/users", "{\"name\":\"ada\"}", 201, "add users {\"name\":\"ada\"}"),
        ("GET", "/api/v1/users/ada", "", 200, "get users ada"),
        ("DELETE", "/api/v1/devices/7", "", 200, "remove devices 7"),
    ] {
        let reply = running.admin(method, path, body).await;
        assert_eq!((reply.status(), reply.json()["did"].as_str()), (status, Some(did)), "{method} {path}");
    }
}

#[tokio::test]
async fn failures_keep_their_words_and_get_their_status() {
    let running = Running::start(false);
    let reply = running.admin("DELETE", "/api/v1/connections/nobody", "").await;
    assert_eq!((reply.status(), reply.error().as_str()), (404, "no client `nobody` is connected"));
    let reply = running.admin("POST", "/api/v1/policies/broken/reload", "").await;
    assert_eq!((reply.status(), reply.error().as_str()), (422, "it does not compile; the old one stays"));
    assert_eq!(running.admin("GET", "/api/v2/status", "").await.status(), 404);
    let reply = running.admin("PUT", "/api/v1/users", "{}").await;
    assert_eq!((reply.status(), reply.header("allow")), (405, "GET, HEAD, POST"));
    for body in ["", "[]", "{\"a\":", "\"x\""] {
        assert_eq!(running.admin("POST", "/api/v1/users", body).await.status(), 400, "{body}");
    }
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(running.admin("POST", "/api/v1/users", &big).await.status(), 413);
    assert_eq!(running.gateway.0.lock().len(), 2, "nothing else reached the gateway");
}

#[tokio::test]
async fn foreign_pages_get_nowhere() {
    let running = Running::start(true);
    let bearer = ("authorization", "Bearer correct-horse-battery-staple");
    // A name that was made to point here (DNS rebinding), even for what needs no token.
    for path in ["/metrics", "/healthz", "/api/v1/status"] {
        let request = hyper::Request::get(path).header("host", "evil.example").header(bearer.0, bearer.1);
        assert_eq!(ask(running.address(), request.body(support::empty()).unwrap()).await.status(), 421, "{path}");
    }
    let proxied = hyper::Request::get("/healthz").header("host", "admin.example:443");
    assert_eq!(ask(running.address(), proxied.body(support::empty()).unwrap()).await.status(), 200);
    // A form that is posted from elsewhere.
    let form = [bearer, ("content-type", "text/plain"), ("origin", "https://evil.example")];
    assert_eq!(running.send("POST", "/api/v1/users", &form, "{}").await.status(), 415);
    // A question whether another origin may ask: no CORS, no answer.
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "DELETE")];
    let reply = running.send("OPTIONS", "/api/v1/users/1", &preflight, "").await;
    assert_eq!((reply.status(), reply.header("access-control-allow-origin")), (401, ""));
    assert!(running.gateway.0.lock().is_empty());
}
