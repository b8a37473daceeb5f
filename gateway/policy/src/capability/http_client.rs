//! `http-client`: requests to the hosts that the policy's entry names, and to no other.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::sync::watch;
use url::Url;

use crate::bindings::portcullis::policy::http_client::{Error, Host, HttpResponse, Request as WitRequest};
use crate::capability::http_gate::HttpGate;
use crate::outside::{Asked, NoAnswer, Servers};
use crate::state::State;
use crate::uses::{HttpOutcome, Limit};

const MAX_URL: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_OCTETS: usize = 32 << 10;
const MAX_BODY: usize = 1 << 20;
/// Fields that the client itself writes; set by a policy they could split or smuggle a request (RFC 9112 §11).
const OWN_FIELDS: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// How long a shared request may take. Whoever waits for it has a deadline of its own; this one ends it when nobody does.
const LONGEST_FLIGHT: Duration = Duration::from_secs(30);

type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The client that all policies share, so that connections are kept between calls.
pub(crate) struct HttpClient {
    /// Made when it is first needed: the system's authorities are some hundred files, and most gateways ask nobody.
    client: OnceLock<Connections>,
    tls: ConfigBuilder<ClientConfig, WantsVerifier>,
    /// Authorities beside the system's.
    authorities: Vec<CertificateDer<'static>>,
    /// Requests under way that others may share.
    flights: Arc<Mutex<HashMap<Flight, watch::Receiver<Option<Answer>>>>>,
    /// Who answers in the place of all servers, on a desk.
    played: Option<Arc<dyn Servers>>,
}

type Answer = Result<HttpResponse, Error>;

/// What makes two requests one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    policy: Arc<str>,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
}

impl HttpClient {
    /// Trusts the system's authorities and those given.
    pub(crate) fn new(
        authorities: &[CertificateDer<'static>],
        played: Option<Arc<dyn Servers>>,
    ) -> Result<Self, String> {
        // What the operator named is looked at now.
        let mut looked_at = RootCertStore::empty();
        for authority in authorities {
            looked_at
                .add(authority.clone())
                .map_err(|why| format!("a configured authority for `http-client` is of no use: {why}"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| why.to_string())?;
        Ok(Self { client: OnceLock::new(), tls, authorities: authorities.to_vec(), flights: Arc::default(), played })
    }

    /// Reads the system's authorities. Takes milliseconds, at the first call.
    pub(crate) fn connections(&self) -> &Connections {
        self.client.get_or_init(|| {
            let native = rustls_native_certs::load_native_certs();
            for why in native.errors {
                tracing::debug!("a certificate of the system cannot be read: {why}");
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(native.certs);
            roots.add_parsable_certificates(self.authorities.iter().cloned());
            let tls = self.tls.clone().with_root_certificates(roots).with_no_client_auth();
            let connector =
                HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().enable_http2().build();
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(4)
                .http1_max_buf_size(64 << 10)
                .http1_max_headers(128)
                .http2_max_header_list_size(64 << 10)
                .pool_timer(hyper_util::rt::TokioTimer::new())
                .build(connector)
        })
    }

    /// Sends a request to a host that `allowed` names, and reads the whole response of at most `limit` octets.
    pub(crate) async fn send(&self, request: WitRequest, allowed: &[String], limit: u64) -> Answer {
        let url = check_url(&request.url, allowed)?;
        match &self.played {
            Some(played) => play(&**played, request, &url, limit),
            None => Self::exchange(self.connections(), build(request, &url)?, limit).await,
        }
    }

    /// As [`HttpClient::send`], but a `GET` or `HEAD` of a policy that is under way already is not sent again: a crowd of
    /// clients that bring one token asks the server behind once.
    pub(crate) async fn send_shared(
        &self,
        policy: &Arc<str>,
        request: WitRequest,
        allowed: &[String],
        limit: u64,
        gate: &HttpGate,
    ) -> Result<(HttpResponse, bool), Error> {
        if self.played.is_some() || !matches!(request.method.as_str(), "GET" | "HEAD") || !request.body.is_empty() {
            let _place = gate.go()?;
            return self.send(request, allowed, limit).await.map(|response| (response, false));
        }
        let url = check_url(&request.url, allowed)?;
        let flight = Flight {
            policy: Arc::clone(policy),
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
        };
        let request = build(request, &url)?;
        let (mut landing, shared) = {
            let mut flights = self.flights.lock();
            match flights.get(&flight) {
                Some(under_way) => (under_way.clone(), true),
                None => {
                    let place = gate.go()?;
                    let (landed, landing) = watch::channel(None);
                    flights.insert(flight.clone(), landing.clone());
                    let (client, flights) = (self.connections().clone(), Arc::clone(&self.flights));
                    // A task of its own: the call that began it may be given up while others wait.
                    tokio::spawn(async move {
                        let _place = place;
                        let exchange = Self::exchange(&client, request, limit);
                        let answer = tokio::time::timeout(LONGEST_FLIGHT, exchange).await;
                        // Taken out first: whoever comes after the answer wants a newer one.
                        flights.lock().remove(&flight);
                        landed.send_replace(Some(answer.unwrap_or(Err(Error::Timeout))));
                    });
                    (landing, false)
                }
            }
        };
        match landing.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(Error::Timeout)).map(|response| (response, shared)),
            Err(_) => Err(Error::Other("the request was given up".to_owned())),
        }
    }

    async fn exchange(client: &Connections, request: Request<Full<Bytes>>, limit: u64) -> Answer {
        let response = client.request(request).await.map_err(|why| {
            if why.is_connect() { Error::Unreachable(chain(&why)) } else { Error::Other(chain(&why)) }
        })?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|why| Error::Other(chain(&why)))?;
            if let Ok(data) = frame.into_data() {
                if (body.len() + data.len()) as u64 > limit {
                    return Err(Error::TooLarge(limit));
                }
                body.extend_from_slice(&data);
            }
        }
        Ok(HttpResponse { status, headers, body })
    }
}

/// An error with its causes: "client error (Connect)" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Parses a URL and checks its host and port against the policy's list.
pub(crate) fn check_url(url: &str, allowed: &[String]) -> Result<Url, Error> {
    if url.len() > MAX_URL {
        return Err(Error::InvalidRequest(format!("the URL has more than {MAX_URL} octets")));
    }
    let url = Url::parse(url).map_err(|why| Error::InvalidRequest(format!("the URL does not parse: {why}")))?;
    let (Some(host), Some(port), "http" | "https") = (url.host_str(), url.port_or_known_default(), url.scheme()) else {
        return Err(Error::InvalidRequest("the URL is not an absolute http or https URL".to_owned()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::InvalidRequest("the URL contains user information".to_owned()));
    }
    let with_port = format!("{host}:{port}");
    let own_port = url.port().is_none();
    if allowed
        .iter()
        .any(|entry| entry.eq_ignore_ascii_case(&with_port) || own_port && entry.eq_ignore_ascii_case(host))
    {
        Ok(url)
    } else {
        Err(Error::NotAllowed(with_port))
    }
}

fn build(request: WitRequest, url: &Url) -> Result<Request<Full<Bytes>>, Error> {
    let invalid = |why: &str| Error::InvalidRequest(why.to_owned());
    if request.body.len() > MAX_BODY {
        return Err(invalid("the body is larger than 1 MiB"));
    }
    let octets: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if request.headers.len() > MAX_HEADERS || octets > MAX_HEADER_OCTETS {
        return Err(invalid("there are more than 64 header fields or 32 KiB of them"));
    }
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("the method is not a token"))?;
    if method == Method::CONNECT {
        return Err(invalid("CONNECT is not a request for a resource"));
    }
    let uri: Uri =
        url.as_str().split('#').next().unwrap_or_default().parse().map_err(|_| invalid("the URL cannot be sent"))?;
    let mut built = Request::builder().method(method).uri(uri);
    for (name, value) in request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header name is not a token"))?;
        if OWN_FIELDS.contains(&name.as_str()) {
            return Err(Error::InvalidRequest(format!("the field `{name}` is the gateway's to write")));
        }
        let value = HeaderValue::from_str(&value)
            .map_err(|_| Error::InvalidRequest(format!("the value of `{name}` contains control characters")))?;
        built = built.header(name, value);
    }
    built.body(Full::new(request.body.into())).map_err(|why| Error::InvalidRequest(why.to_string()))
}

/// Puts a request that could be sent to whoever plays the servers.
fn play(played: &dyn Servers, request: WitRequest, url: &Url, limit: u64) -> Answer {
    let headers = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    let asked = Asked { method: request.method.clone(), url: url.to_string(), headers, body: request.body.clone() };
    build(request, url)?;
    match played.answer(asked) {
        Ok(answer) if answer.body.len() as u64 > limit => Err(Error::TooLarge(limit)),
        Ok(answer) => Ok(HttpResponse { status: answer.status, headers: answer.headers, body: answer.body }),
        Err(NoAnswer::Unreachable(why)) => Err(Error::Unreachable(why)),
        Err(NoAnswer::Timeout) => Err(Error::Timeout),
    }
}

impl Host for State {
    async fn send(&mut self, request: WitRequest) -> Result<HttpResponse, Error> {
        self.barred().map_err(Error::Other)?;
        if let Some(effects) = self.with.effects.as_ref().filter(|effects| !effects.http) {
            effects.note(super::Effect::Http);
            return Err(Error::NotAllowed("a shadow sends no requests, unless it was begun with --http".to_owned()));
        }
        let wanted = request.timeout_ms.map_or(Duration::MAX, |ms| Duration::from_millis(u64::from(ms)));
        let patience = wanted.min(self.remaining());
        let with = Arc::clone(&self.with);
        with.http.ask(&mut self.call.http, &request)?;
        let sent = request.body.len();
        let exchange =
            with.shared.http.send_shared(&with.policy, request, with.allow.hosts(), with.http_response, &with.http);
        let exchange = tokio::time::timeout(patience, exchange);
        match self.notes.waits("http-client.send", exchange).await.unwrap_or(Err(Error::Timeout)) {
            Ok((response, shared)) => {
                with.uses.requested(if shared { HttpOutcome::Shared } else { HttpOutcome::Answered });
                with.uses.moved(sent, response.body.len());
                with.http.answered(&mut self.call.http, &response)?;
                Ok(response)
            }
            Err(why) => {
                match &why {
                    Error::TooLarge(limit) => {
                        with.uses.hit(Limit::HttpResponse, format_args!("{limit} octets"));
                        with.uses.requested(HttpOutcome::Failed);
                    }
                    Error::Unreachable(_) | Error::Timeout => with.uses.requested(HttpOutcome::Failed),
                    // What a limit refused is counted where that is known.
                    _ => {}
                }
                Err(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn verdict(url: &str, allowed: &[&str]) -> Result<String, Error> {
        let allowed: Vec<String> = allowed.iter().map(|a| (*a).to_owned()).collect();
        check_url(url, &allowed).map(|url| url.to_string())
    }

    #[test]
    fn only_listed_hosts_and_ports() {
        assert!(verdict("https://a.example/x", &["a.example"]).is_ok());
        assert!(verdict("https://a.example:443/x", &["a.example"]).is_ok(), "the scheme's own port");
        assert!(verdict("https://A.EXAMPLE/x", &["a.example:443"]).is_ok());
        assert!(verdict("http://127.0.0.1:5000/v3", &["127.0.0.1:5000"]).is_ok());
        assert!(verdict("http://[::1]:5000/", &["[::1]:5000"]).is_ok());
        for refused in [
            "https://a.example:8443/",
            "https://b.example/",
            "https://a.example.evil/",
            "https://evil/a.example",
            "http://0x7f000001:5001/",
        ] {
            assert!(
                matches!(verdict(refused, &["a.example", "127.0.0.1:5000"]), Err(Error::NotAllowed(_))),
                "{refused}"
            );
        }
    }

    #[test]
    fn nonsense_is_an_invalid_request() {
        for bad in ["", "a.example", "/x", "ftp://a.example/", "https://user:pw@a.example/", "https://a.example@evil/"]
        {
            assert!(matches!(verdict(bad, &["a.example"]), Err(Error::InvalidRequest(_))), "{bad}");
        }
    }

    fn request(headers: &[(&str, &str)]) -> Result<Request<Full<Bytes>>, Error> {
        let url = Url::parse("https://a.example/x?y#z").expect("url");
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        build(WitRequest { method: "GET".into(), url: url.to_string(), headers, body: vec![], timeout_ms: None }, &url)
    }

    #[test]
    fn a_request_cannot_be_split_or_smuggled() {
        assert_eq!(request(&[("accept", "*/*")]).expect("fine").uri(), "https://a.example/x?y");
        for bad in [("x", "a\r\nhost: evil"), ("a b", "c"), ("Transfer-Encoding", "chunked"), ("host", "evil")] {
            assert!(matches!(request(&[bad]), Err(Error::InvalidRequest(_))), "{bad:?}");
        }
        assert!(request(&[("x", "y"); 65]).is_err());
    }

    /// A server that answers nobody before it is told to, and tells how many requests came.
    async fn slow_server(release: Arc<tokio::sync::Notify>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, count) = (listener.local_addr().expect("bound"), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (release, counter) = (Arc::clone(&release), Arc::clone(&counter));
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    counter.fetch_add(1, Ordering::Relaxed);
                    release.notified().await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
                    let _ = stream.read(&mut [0; 1]).await;
                });
            }
        });
        (address, count)
    }

    #[tokio::test]
    async fn a_crowd_with_one_question_asks_once_and_other_questions_go_their_own_way() {
        let release = Arc::new(tokio::sync::Notify::new());
        let (address, count) = slow_server(Arc::clone(&release)).await;
        let client = Arc::new(HttpClient::new(&[], None).expect("a client"));
        let uses = Arc::new(crate::uses::Uses::new("p".into()));
        let gate = Arc::new(HttpGate::new(&crate::spec::PolicyLimits::default(), uses));
        let ask = |policy: &str, token: &str| {
            let (client, policy, gate) = (Arc::clone(&client), Arc::from(policy), Arc::clone(&gate));
            let request = WitRequest {
                method: "GET".into(),
                url: format!("http://{address}/v3/auth/tokens"),
                headers: vec![("x-subject-token".into(), token.into())],
                body: vec![],
                timeout_ms: None,
            };
            tokio::spawn(async move {
                client
                    .send_shared(&policy, request, &[address.to_string()], 100, &gate)
                    .await
                    .map(|(response, _)| response)
            })
        };
        let crowd: Vec<_> = (0..20).map(|_| ask("keystone", "one")).collect();
        let others = [ask("keystone", "two"), ask("another", "one")];
        // Everybody has asked once each has been polled; the three requests have arrived when the server has counted.
        tokio::time::timeout(Duration::from_secs(120), async {
            while count.load(Ordering::Relaxed) < 3 || client.flights.lock().len() < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("three requests arrive");
        for _ in 0..3 {
            release.notify_one();
        }
        for answer in crowd.into_iter().chain(others) {
            let answer =
                tokio::time::timeout(Duration::from_secs(120), answer).await.expect("in time").expect("a task");
            assert_eq!(answer.expect("an answer").body, b"hi");
        }
        assert_eq!(count.load(Ordering::Relaxed), 3);
        assert!(client.flights.lock().is_empty(), "nothing is kept of what has landed");
    }
}
