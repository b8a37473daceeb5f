//! The few requests of the distribution specification that a pull needs, and the way to a token.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis_policy::digest_of;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use super::cache::Pulled;
use super::manifest::{self, Document};
use super::{Access, PullError, Reference};

/// A registry that does not take a connection in this time is away.
const CONNECT: Duration = Duration::from_secs(5);
/// For one answer that is not a component.
const ANSWER: Duration = Duration::from_secs(20);
/// Octets of a manifest or a token's answer.
const DOCUMENT: usize = 1 << 20;
/// Blobs often lie elsewhere.
const REDIRECTS: usize = 5;

/// A registry, as one pull sees it.
pub(super) struct Registry<'a> {
    reference: &'a Reference,
    plain: bool,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    /// `user:password` in base64.
    credentials: Option<String>,
    /// The Authorization of this pull, once it is known what the registry wants.
    authorization: Option<String>,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl<'a> Registry<'a> {
    /// Reads the files that it needs.
    pub(super) fn new(reference: &'a Reference, access: &Access) -> Result<Self, PullError> {
        // Who names an authority for a registry on this machine has one that speaks TLS.
        let plain = access.insecure || (reference.is_loopback() && access.ca.is_none());
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(access)?);
        // Without leave there is no way to speak plain HTTP, wherever a redirect or a challenge leads.
        let https = if plain { https.https_or_http() } else { https.https_only() };
        let client = Client::builder(TokioExecutor::new())
            .http1_max_buf_size(64 << 10)
            .build(https.enable_http1().wrap_connector(connector));
        let credentials = match &access.credentials {
            Some(file) => credentials(file, &reference.host)?,
            None => None,
        };
        Ok(Self { reference, plain, client, credentials, authorization: None })
    }

    /// Pulls. What was pulled before is used if the manifest is still the same.
    pub(super) async fn pull(mut self, before: Option<&Pulled>) -> Result<Pulled, PullError> {
        let (mut digest, mut document) = self.manifest(&self.reference.manifest()).await?;
        if let Some(leads_to) = document.manifest().map_err(|why| self.unusable(why))? {
            (digest, document) = self.manifest(&format!("sha256:{leads_to}")).await?;
        }
        if let Some(before) = before.filter(|before| before.manifest == digest) {
            return Ok(before.clone());
        }
        let layer = document.layer().map_err(|why| self.unusable(why))?;
        let blob = self.url(&format!("blobs/sha256:{}", layer.digest));
        let limit = usize::try_from(layer.size).unwrap_or(usize::MAX);
        let answer = self.get(&blob, None, limit, super::PATIENCE).await?;
        self.ok(&answer, "the component")?;
        if digest_of(&answer.body) != layer.digest {
            return Err(self.unusable(format!("what it sent for sha256:{} is something else", layer.digest)));
        }
        Ok(Pulled { bytes: answer.body, manifest: digest, signature: layer.signature })
    }

    async fn manifest(&mut self, name: &str) -> Result<(String, Document), PullError> {
        let url = self.url(&format!("manifests/{name}"));
        let answer = self.get(&url, Some(manifest::ACCEPT), DOCUMENT, ANSWER).await?;
        self.ok(&answer, &format!("the manifest {name}"))?;
        let digest = digest_of(&answer.body);
        if let Some(wanted) = name.strip_prefix("sha256:").filter(|wanted| *wanted != digest) {
            return Err(self.unusable(format!("what it sent for the manifest sha256:{wanted} is something else")));
        }
        let document = Document::read(&answer.body).map_err(|why| self.unusable(why))?;
        Ok((digest, document))
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{path}", self.reference.host, self.reference.repository)
    }

    /// Gets a document of the registry: answers its challenge once, and follows where it sends us.
    async fn get(
        &mut self,
        url: &str,
        accept: Option<&str>,
        limit: usize,
        patience: Duration,
    ) -> Result<Answer, PullError> {
        let mut answer = self.send(url, accept, self.authorization.clone(), limit, patience).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.authorization = Some(self.authorize(&answer.headers).await?);
            answer = self.send(url, accept, self.authorization.clone(), limit, patience).await?;
        }
        let mut at: Uri = url.parse().map_err(|_| self.unusable("its address is no URL".to_owned()))?;
        for _ in 0..REDIRECTS {
            if !answer.status.is_redirection() {
                break;
            }
            let next = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| resolve(&at, to));
            let next = next.ok_or_else(|| self.unusable("it sends us on, and does not say where".to_owned()))?;
            // Whoever keeps its blobs must not learn what opens the registry.
            let same = next.authority() == at.authority() && next.scheme() == at.scheme();
            let authorization = self.authorization.clone().filter(|_| same);
            at = next;
            answer = self.send(&at.to_string(), accept, authorization, limit, patience).await?;
        }
        Ok(answer)
    }

    /// What the registry wants to see (RFC 7235; distribution specification, token authentication).
    async fn authorize(&self, headers: &HeaderMap) -> Result<String, PullError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        for challenge in challenges {
            let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
            if scheme.eq_ignore_ascii_case("basic")
                && let Some(credentials) = &self.credentials
            {
                return Ok(format!("Basic {credentials}"));
            }
            if scheme.eq_ignore_ascii_case("bearer") {
                return self.token(parameters).await.map(|token| format!("Bearer {token}"));
            }
        }
        Err(PullError::Refused {
            host: self.reference.host.clone(),
            status: StatusCode::UNAUTHORIZED.as_u16(),
            what: "a pull without credentials; name a file of them with `registry = { credentials = … }`".to_owned(),
        })
    }

    async fn token(&self, parameters: &str) -> Result<String, PullError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let value = |name| parameter(parameters, name);
        let realm = value("realm").ok_or_else(|| self.unusable("its challenge names no realm".to_owned()))?;
        let mut query = vec![("scope", format!("repository:{}:pull", self.reference.repository))];
        query.extend(value("service").map(|service| ("service", service)));
        let query: Vec<_> =
            query.iter().map(|(name, value)| format!("{name}={}", crate::percent::encoded(value))).collect();
        let url = format!("{realm}{}{}", if realm.contains('?') { '&' } else { '?' }, query.join("&"));
        let basic = self.credentials.as_ref().map(|credentials| format!("Basic {credentials}"));
        let answer = self.send(&url, None, basic, DOCUMENT, ANSWER).await?;
        self.ok(&answer, "a token")?;
        let token: Token =
            serde_json::from_slice(&answer.body).map_err(|_| self.unusable("its token makes no sense".to_owned()))?;
        token.token.or(token.access_token).ok_or_else(|| self.unusable("its token is not there".to_owned()))
    }

    async fn send(
        &self,
        url: &str,
        accept: Option<&str>,
        authorization: Option<String>,
        limit: usize,
        patience: Duration,
    ) -> Result<Answer, PullError> {
        let mut request = Request::get(url).header("user-agent", concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new()).map_err(|why| self.unusable(format!("it cannot be asked: {why}")))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|why| self.unreachable(reason(&why)))?;
            let (head, body) = response.into_parts();
            // What a refusal says is not read to its end.
            let limit = if head.status.is_success() { limit } else { DOCUMENT };
            let body = Limited::new(body, limit)
                .collect()
                .await
                .map_err(|why| self.unusable(format!("its answer is longer than it may be, or broke off: {why}")))?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(patience, exchange)
            .await
            .unwrap_or_else(|_| Err(self.unreachable(format!("no answer within {} seconds", patience.as_secs()))))
    }

    fn ok(&self, answer: &Answer, what: &str) -> Result<(), PullError> {
        if answer.status == StatusCode::OK {
            return Ok(());
        }
        let (host, what) = (self.reference.host.clone(), format!("{what} of {}", self.reference));
        Err(PullError::Refused { host, status: answer.status.as_u16(), what })
    }

    fn unusable(&self, why: String) -> PullError {
        PullError::Unusable { host: self.reference.host.clone(), why }
    }

    fn unreachable(&self, why: String) -> PullError {
        PullError::Unreachable { host: self.reference.host.clone(), why }
    }
}

/// The innermost words, which say what is wrong.
fn reason(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn tls(access: &Access) -> Result<rustls::ClientConfig, PullError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &access.ca {
        let wrong = |why: String| PullError::File { file: file.display().to_string(), why };
        let pem = std::fs::read(file).map_err(|error| wrong(crate::plain(&error)))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|why| wrong(why.to_string()))?;
            roots.add(certificate).map_err(|why| wrong(why.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|why| PullError::File { file: "TLS".to_owned(), why: why.to_string() })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The credentials for a registry in a file of Docker's form: `{"auths": {"HOST": {"auth": "base64 of user:password"}}}`.
fn credentials(file: &std::path::Path, host: &str) -> Result<Option<String>, PullError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        auths: std::collections::HashMap<String, Auth>,
    }
    #[derive(Deserialize)]
    struct Auth {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
    }
    let wrong = |why: String| PullError::File { file: file.display().to_string(), why };
    let content = std::fs::read(file).map_err(|error| wrong(crate::plain(&error)))?;
    let read: File = serde_json::from_slice(&content)
        .map_err(|_| wrong("it is not of the form {\"auths\": {\"HOST\": {\"auth\": …}}}".to_owned()))?;
    let found = read.auths.get(host).or_else(|| read.auths.get(&format!("https://{host}")));
    Ok(found.and_then(|auth| match (&auth.auth, &auth.username, &auth.password) {
        (Some(auth), _, _) => Some(auth.clone()),
        (None, Some(name), Some(password)) => Some(STANDARD.encode(format!("{name}:{password}"))),
        _ => None,
    }))
}

/// A parameter of a challenge: `name="value"`.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_start_matches([',', ' ']).trim();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
    None
}

/// Where a redirect leads.
fn resolve(from: &Uri, to: &str) -> Option<Uri> {
    if to.starts_with('/') && !to.starts_with("//") {
        return format!("{}://{}{to}", from.scheme_str()?, from.authority()?).parse().ok();
    }
    to.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some() && uri.authority().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let challenge =
            "realm=\"https://auth.example/token\",service=\"registry, of example\", scope=\"repository:a:pull\"";
        assert_eq!(parameter(challenge, "realm").as_deref(), Some("https://auth.example/token"));
        assert_eq!(parameter(challenge, "service").as_deref(), Some("registry, of example"));
        assert_eq!(parameter(challenge, "scope").as_deref(), Some("repository:a:pull"));
        assert_eq!(parameter(challenge, "error"), None);
        assert_eq!(parameter("realm=bare, service=x", "service").as_deref(), Some("x"));
        assert_eq!(parameter("realm=\"open", "realm"), None);
    }

    #[test]
    fn redirects_are_resolved() {
        let from: Uri = "https://r.example/v2/a/blobs/x".parse().unwrap();
        let to = |to: &str| resolve(&from, to).map(|uri| uri.to_string());
        assert_eq!(to("/v2/b").as_deref(), Some("https://r.example/v2/b"));
        assert_eq!(to("https://cdn.example/x?y").as_deref(), Some("https://cdn.example/x?y"));
        assert_eq!((to("//cdn.example/x"), to("x"), to("")), (None, None, None));
    }

    #[test]
    fn credentials_are_those_of_the_registry() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let content =
            r#"{"auths": {"a.example": {"auth": "YTpi"}, "https://b.example": {"username": "a", "password": "b"}}}"#;
        std::fs::write(&file, content).unwrap();
        assert_eq!(credentials(&file, "a.example").unwrap().as_deref(), Some("YTpi"));
        assert_eq!(credentials(&file, "b.example").unwrap().as_deref(), Some("YTpi"));
        assert_eq!(credentials(&file, "c.example").unwrap(), None);
        std::fs::write(&file, "user:password").unwrap();
        assert!(credentials(&file, "a.example").is_err());
    }
}
