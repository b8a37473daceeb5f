//! An HTTP/1.1 client that keeps its connection, and a reader of server-sent events.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::admin::Answer;
use crate::within;

/// One connection.
pub struct Http {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Http {
    fn drop(&mut self) {
        // As a client does that is gone.
        self.driver.abort();
    }
}

impl Http {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the HTTP port accepts");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("an HTTP connection");
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender, address, driver }
    }

    async fn head(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        within("an HTTP response", async {
            self.sender.ready().await.expect("the connection is open");
            self.sender.send_request(request).await.expect("a response")
        })
        .await
    }

    /// A request, and its whole answer.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let response = self.head(method, path, headers, body).await;
        let (status, headers) = told(&response);
        let body = within("a body", response.into_body().collect()).await.expect("a whole body").to_bytes();
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// POST with a body and no further header.
    pub async fn post(&mut self, path: &str, body: &'static str) -> Answer {
        self.send("POST", path, &[], body).await
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// GET of a stream of events; the connection serves nothing else from then on.
    ///
    /// # Panics
    /// When the answer is no such stream.
    pub async fn events(self, path: &str, headers: &[(&str, &str)]) -> Events {
        match self.try_events(path, headers).await {
            Ok(events) => events,
            Err(Answer { status, headers, body }) => panic!("{path}: {status} {headers:?}: {body}"),
        }
    }

    /// The same, or the answer that is no such stream.
    ///
    /// # Errors
    /// The answer, whole.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn try_events(mut self, path: &str, headers: &[(&str, &str)]) -> Result<Events, Answer> {
        let response = self.head("GET", path, headers, "").await;
        let (status, headers) = told(&response);
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        if (status, kind) != (200, Some("text/event-stream")) {
            let body = within("a body", response.into_body().collect()).await.expect("a whole body").to_bytes();
            return Err(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() });
        }
        Ok(Events { headers, body: response.into_body(), buffer: String::new(), _connection: self })
    }
}

fn told(response: &Response<Incoming>) -> (u16, Vec<(String, String)>) {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    (response.status().as_u16(), headers)
}

/// A stream of server-sent events.
pub struct Events {
    /// Of the response.
    pub headers: Vec<(String, String)>,
    body: Incoming,
    buffer: String,
    _connection: Http,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `id:`, empty if there is none.
    pub id: String,
    /// `event:`.
    pub kind: String,
    /// `data:`, which is JSON here.
    pub data: Value,
}

impl Event {
    /// The payload of a message.
    ///
    /// # Panics
    /// When the event is no message with a text.
    #[must_use]
    pub fn payload(&self) -> &str {
        assert_eq!(self.kind, "message", "{self:?}");
        self.data["payload"].as_str().unwrap_or_else(|| panic!("no text: {self:?}"))
    }
}

impl Events {
    /// The next event. None: the stream is over.
    ///
    /// # Panics
    /// When there is neither in time.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(at) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..at + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) {
                    let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
                    return Some(Event { id: field("id: ").to_owned(), kind: field("event: ").to_owned(), data });
                }
            }
            let frame = within("an event", self.body.frame()).await?;
            // A connection that breaks off ends the stream as well.
            let data = frame.ok()?.into_data().ok()?;
            self.buffer += std::str::from_utf8(&data).expect("a piece is whole text");
        }
    }

    /// The next event, which must come.
    ///
    /// # Panics
    /// When the stream is over.
    pub async fn event(&mut self) -> Event {
        self.next().await.expect("one event more")
    }
}
