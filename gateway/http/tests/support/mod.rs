//! What the tests with real sockets share: a site on a loopback port, and a client.

#![allow(dead_code, unreachable_pub)] // Each test binary uses its part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use portcullis_http::{HttpHandler, HttpSettings, Site};
use portcullis_net::{Bound, ListenerSpec, Listening, TlsHandle, Transport};
use serde_json::Value;
use tokio::net::TcpStream;

/// Longer than anything here takes; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for what must come.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

/// Serves `site` on a loopback port.
pub fn serve(site: Arc<dyn Site>, settings: HttpSettings, tls: Option<TlsHandle>) -> Listening {
    let mut spec = ListenerSpec::new("web", vec!["127.0.0.1:0".parse::<SocketAddr>().unwrap()], Transport::Tcp);
    if let Some(tls) = tls {
        spec = spec.with_tls(tls);
        spec.transport = Transport::Tls;
    }
    let count = AtomicU64::new(0);
    let ids = move || Arc::from(format!("c{}", count.fetch_add(1, Ordering::Relaxed)));
    let handler = HttpHandler::new(site, settings, Arc::new(ids));
    Bound::bind(spec).unwrap().serve(Arc::new(handler)).unwrap()
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Reply {
    pub head: Response<()>,
    pub body: Bytes,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.head.status().as_u16()
    }
    pub fn header(&self, name: &str) -> &str {
        self.head.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }
    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    soon(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        whole(sender.send_request(request).await.unwrap()).await
    })
    .await
}

pub async fn whole(response: Response<hyper::body::Incoming>) -> Reply {
    let (parts, body) = response.into_parts();
    Reply { head: Response::from_parts(parts, ()), body: body.collect().await.unwrap().to_bytes() }
}

/// A request with a Host header.
pub fn request(method: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header("Host", "localhost")
}

pub fn empty() -> Full<Bytes> {
    Full::new(Bytes::new())
}
