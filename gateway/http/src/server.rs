//! The HTTP server: HTTP/1.1 and HTTP/2 on what a listener hands over, with bounds on everything a client may hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use portcullis_grant::{BoxFuture, ConnectionFacts, PeerDetails};
use portcullis_net::{AsyncStream, ConnectionHandler, Facts, Protocol};
use tokio::time::Instant;
use tracing::debug;

use crate::answer::{Answer, error};
use crate::content::Content;
use crate::inbound::{Inbound, InboundBody, read_head};
use crate::messages::Publishers;

/// What a client may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct HttpSettings {
    /// Octets of a request's body. Larger ones are answered 413.
    pub max_body: usize,
    /// Octets of a request's head. Larger ones are answered 431. At least 8 KiB.
    pub max_head: usize,
    /// Lines of a request's head.
    pub max_headers: usize,
    /// Requests at one time on one HTTP/2 connection.
    pub max_streams: u32,
    /// From the connection, or the end of the last request, to the end of the next head.
    pub head_timeout: Duration,
    /// For a whole body.
    pub body_timeout: Duration,
    /// A connection without requests is closed after so long.
    pub idle_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_body: 64 * 1024,
            max_head: 16 * 1024,
            max_headers: 100,
            max_streams: 64,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Answers requests.
pub trait Site: Send + Sync + 'static {
    /// Answers one request. Never panics. To `HEAD` it answers as to `GET`; the body is dropped later.
    fn respond(&self, request: Inbound) -> BoxFuture<'_, Answer>;
}

/// Serves a [`Site`] on connections.
pub struct HttpHandler {
    site: Arc<dyn Site>,
    settings: HttpSettings,
    connection_id: Arc<dyn Fn() -> Arc<str> + Send + Sync>,
}

impl fmt::Debug for HttpHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHandler").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl HttpHandler {
    /// A handler for `site`. `connection_id` gives each connection its name for logs ([`ConnectionFacts::id`]).
    #[must_use]
    pub fn new(
        site: Arc<dyn Site>,
        settings: HttpSettings,
        connection_id: Arc<dyn Fn() -> Arc<str> + Send + Sync>,
    ) -> Self {
        Self { site, settings, connection_id }
    }

    fn spawn<S: AsyncStream + 'static>(&self, stream: S, facts: Facts) {
        let connection = Arc::new(Connection {
            site: Arc::clone(&self.site),
            settings: self.settings,
            id: (self.connection_id)(),
            facts,
            activity: Mutex::new(Activity { running: 0, since: Instant::now(), first: true }),
            publishers: Arc::default(),
        });
        tokio::spawn(connection.serve(stream));
    }
}

impl ConnectionHandler for HttpHandler {
    fn speaks(&self) -> Protocol {
        Protocol::Http
    }

    fn tcp(&self, stream: std::net::TcpStream, facts: Facts) {
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => self.spawn(stream, facts),
            Err(error) => debug!(peer = %facts.peer, %error, "connection lost"),
        }
    }

    fn stream(&self, stream: Box<dyn AsyncStream>, facts: Facts) {
        self.spawn(stream, facts);
    }
}

/// Whether a connection is of use.
struct Activity {
    /// Requests under way.
    running: usize,
    /// When the last one ended, or the connection began.
    since: Instant,
    /// No request has come yet.
    first: bool,
}

/// One connection.
struct Connection {
    site: Arc<dyn Site>,
    settings: HttpSettings,
    id: Arc<str>,
    facts: Facts,
    activity: Mutex<Activity>,
    publishers: Arc<Publishers>,
}

impl Connection {
    async fn serve<S: AsyncStream + 'static>(self: Arc<Self>, stream: S) {
        let HttpSettings { max_head, max_headers, max_streams, head_timeout, idle_timeout, .. } = self.settings;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout.max(idle_timeout))
            .max_headers(max_headers)
            .max_buf_size(max_head.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(max_streams)
            .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
            .keep_alive_interval(idle_timeout)
            .keep_alive_timeout(head_timeout);
        let this = Arc::clone(&self);
        let service = service_fn(move |request| {
            let this = Arc::clone(&this);
            async move { Ok::<_, std::convert::Infallible>(this.answer(request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let stopped = self.facts.stop.stopped();
        tokio::pin!(stopped);
        let mut stopping = false;
        let mut asked_to_end = false;
        let look = tokio::time::sleep_until(self.deadline());
        tokio::pin!(look);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(connection = %self.id, peer = %self.facts.peer, %error, "HTTP connection failed");
                    }
                    return;
                }
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut look => {
                    let deadline = self.deadline();
                    if deadline > Instant::now() {
                        look.as_mut().reset(deadline);
                    } else if asked_to_end {
                        debug!(connection = %self.id, peer = %self.facts.peer, "idle HTTP connection closed");
                        return;
                    } else {
                        // Politely first: HTTP/2 clients learn which requests were not looked at.
                        asked_to_end = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(Instant::now() + head_timeout);
                    }
                }
            }
        }
    }

    /// When the connection is of no use any more, if nothing happens until then.
    fn deadline(&self) -> Instant {
        let activity = self.activity.lock();
        if activity.running > 0 {
            return Instant::now() + self.settings.idle_timeout;
        }
        activity.since + if activity.first { self.settings.head_timeout } else { self.settings.idle_timeout }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let running = Running::begin(Arc::clone(&self));
        let (parts, incoming) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let head = match read_head(&parts) {
            Ok(head) => Arc::new(head),
            Err(answer) => return answer,
        };
        let known = self.facts.details.as_deref();
        let details = PeerDetails {
            server_name: known.and_then(|details| details.server_name.clone()),
            tls: known.and_then(|details| details.tls.clone()),
            certificate: known.and_then(|details| details.certificate.clone()),
            http: Some((*head).clone()),
        };
        let connection = ConnectionFacts {
            id: Arc::clone(&self.id),
            listener: Arc::clone(&self.facts.listener),
            protocol: "http",
            protocol_version: if parts.version == Version::HTTP_2 { 2 } else { 1 },
            transport: self.facts.transport.as_str(),
            peer: self.facts.peer,
            details: Some(Arc::new(details)),
            identity: None,
        };
        let body = InboundBody::new(incoming, self.settings.max_body, self.settings.body_timeout);
        let raw_path = parts.uri.path().to_owned();
        let (stop, publishers) = (self.facts.stop.clone(), Arc::clone(&self.publishers));
        let inbound = Inbound { connection, local: self.facts.local, head, raw_path, body, stop, publishers };
        let answer = self.site.respond(inbound).await;
        let mut answer = if is_head { without_body(answer) } else { answer };
        // A stream is a request that runs: the connection is not idle while it does.
        answer.body_mut().hold(Box::new(running));
        answer
    }
}

/// RFC 9110 §9.3.2: the same header fields, and no content.
fn without_body(mut answer: Answer) -> Answer {
    use hyper::body::Body;
    if let Some(length) = answer.body().size_hint().exact() {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *answer.body_mut() = Content::whole(Vec::new());
    answer
}

/// Counts a request for as long as it runs, also when the client goes away in between.
struct Running(Arc<Connection>);

impl Running {
    fn begin(connection: Arc<Connection>) -> Self {
        let mut now = connection.activity.lock();
        now.running += 1;
        now.first = false;
        drop(now);
        Self(connection)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut activity = self.0.activity.lock();
        activity.running -= 1;
        activity.since = Instant::now();
    }
}

/// 404 for everybody.
pub(crate) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "there is nothing at this path")
}
