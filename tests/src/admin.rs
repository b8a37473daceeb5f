//! Plain HTTP/1.1 to the gateway: the admin API, and the public endpoints.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::within;

/// A client of one HTTP server. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    token: Option<String>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {:?}", self.body))
    }

    /// The body as JSON, of a request that must have succeeded.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn good(&self) -> Value {
        assert!((200..300).contains(&self.status), "expected success, got {}: {}", self.status, self.body);
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

impl Admin {
    /// A client of the server at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// With a bearer token in each request.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.token = Some(token.trim().to_owned());
        self
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    /// Any request.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        within("an HTTP response", async {
            let stream = TcpStream::connect(self.address).await.expect("the HTTP port accepts");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("an HTTP connection");
            let driver = tokio::spawn(connection);
            let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let payload = match body {
                Some(json) => {
                    request = request.header("content-type", "application/json");
                    Bytes::from(json.to_string())
                }
                None => Bytes::new(),
            };
            let request = request.body(Full::new(payload)).expect("a request");
            let response = sender.send_request(request).await.expect("a response");
            let status = response.status().as_u16();
            let headers = response
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            driver.abort();
            Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
        })
        .await
    }
}
