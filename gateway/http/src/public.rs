//! What `http` listeners serve to everybody: health, version, public keys, and the schemes' own interfaces.
//!
//! | path | answer |
//! | --- | --- |
//! | `/healthz`, `/health`, `/healthz/live` | 200 as long as the gateway answers |
//! | `/healthz/ready` | 200, or 503 with the reason |
//! | `/version` | what runs here |
//! | `/.well-known/jwks.json` | the gateway's public keys (RFC 7517) |
//! | `/publish`, `/subscribe`, `/retained`, `/verify` | [`crate::messages`], where the listener names a chain |
//!
//! These paths are the gateway's own and win over mounts. Everything else goes to the mounted policies, or is 404.

use std::fmt;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use portcullis_grant::{BoxFuture, HttpCall};
use serde_json::{Value, json};
use tracing::warn;

use crate::answer::{self, Answer, error};
use crate::inbound::Inbound;
use crate::messages::{Messages, Silent, Witness, ask};
use crate::mounts::{Mount, MountTable};
use crate::server::{Site, not_found};

/// What the gateway tells everybody.
pub trait PublicFacts: Send + Sync + 'static {
    /// Why the gateway should get no traffic now: it starts or drains. None: it is ready.
    fn not_ready(&self) -> Option<String>;
    /// The document at `/version`.
    fn version(&self) -> Value;
    /// The JWK set at `/.well-known/jwks.json`: public keys only.
    fn jwks(&self) -> Value;
}

/// The site of `http` listeners.
pub struct PublicSite {
    facts: Arc<dyn PublicFacts>,
    mounts: MountTable,
    messages: Option<Arc<Messages>>,
    witness: Arc<dyn Witness>,
}

impl fmt::Debug for PublicSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicSite").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

impl PublicSite {
    /// A site with these facts and mounts.
    #[must_use]
    pub fn new(facts: Arc<dyn PublicFacts>, mounts: MountTable) -> Self {
        Self { facts, mounts, messages: None, witness: Arc::new(Silent) }
    }

    /// With messages, where their settings name a chain.
    #[must_use]
    pub fn with_messages(mut self, messages: Arc<Messages>) -> Self {
        self.messages = Some(messages);
        self
    }

    /// Tells `witness` what the guards of mounts decide.
    #[must_use]
    pub fn witnessed_by(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = witness;
        self
    }

    /// The gateway's own paths. None: not one of them.
    fn own(&self, path: &str, method: &str) -> Option<Answer> {
        let document = match path {
            "/healthz" | "/health" | "/healthz/live" => answer::json(StatusCode::OK, &json!({ "status": "ok" })),
            "/healthz/ready" => match self.facts.not_ready() {
                None => answer::json(StatusCode::OK, &json!({ "status": "ready" })),
                Some(why) => {
                    answer::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "error": why }))
                }
            },
            "/version" => answer::json(StatusCode::OK, &self.facts.version()),
            "/.well-known/jwks.json" => {
                let keys = format!("{}\n", self.facts.jwks());
                let mut answer = answer::body(StatusCode::OK, "application/jwk-set+json", keys);
                // Keys rotate with an overlap of hours; minutes of caching are safe.
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
                answer
            }
            _ => return None,
        };
        Some(if matches!(method, "GET" | "HEAD") { document } else { answer::not_allowed("GET, HEAD") })
    }
}

impl Site for PublicSite {
    fn respond(&self, request: Inbound) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            if let Some(answer) = self.own(&request.head.path, &request.head.method) {
                return answer;
            }
            if let Some(messages) = self.messages.as_ref().filter(|messages| messages.serves(&request.head.path)) {
                return messages.respond(request).await;
            }
            let mount = self.mounts.current().find(&request.head.path).cloned();
            match mount {
                Some(mount) => call(mount, request, &*self.witness).await,
                None => not_found(),
            }
        })
    }
}

/// Asks the guard, then the endpoint.
async fn call(mount: Mount, request: Inbound, witness: &dyn Witness) -> Answer {
    let Inbound { mut connection, head, body, .. } = request;
    if let Some(guard) = &mount.guard {
        match ask(&**guard, &connection, witness).await {
            Ok(grant) => connection.identity = Some(Arc::clone(&grant.identity)),
            Err(denial) => return answer::denied(denial),
        }
    }
    // Only now: who is refused has sent no body for nothing.
    let body = match body.read().await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let head = Arc::unwrap_or_clone(head);
    let answered = mount.endpoint.handle(connection, HttpCall { head, body }).await;
    answer::from_policy(answered).unwrap_or_else(|why| {
        warn!(mount = %mount.prefix, %why, "a policy's answer cannot be sent");
        error(StatusCode::INTERNAL_SERVER_ERROR, "the policy's answer cannot be sent")
    })
}
