//! The admin interface: status, policies, connections, decisions, the directory, reload, metrics.
//!
//! All of it needs the bearer token, except `/healthz` and, where configured, `/metrics`. There is no CORS, no cookie
//! and no other ambient credential, so a page in an administrator's browser cannot act in their name; and on a loopback
//! address only loopback names are served, so it cannot read anything by DNS rebinding either.
//!
//! | method and path | answer |
//! | --- | --- |
//! | GET `/healthz` | 200 |
//! | GET `/metrics` | OpenMetrics text |
//! | GET `/api/v1/status` | version, uptime, listeners, figures |
//! | POST `/api/v1/reload` | configuration, certificates and policies are read again |
//! | GET `/api/v1/policies` | policies with their digests and state |
//! | POST, GET, DELETE `/api/v1/policies/{name}/recording` | its logins are recorded: begun, fetched, ended |
//! | POST `/api/v1/policies/{name}/reload?source=` | one policy is read again; `true`: whatever stands in for its source |
//! | GET `/api/v1/policies/{name}/versions` | its versions that were live |
//! | PUT `/api/v1/policies/{name}/shadow?share=&http=&signature=` | the component in the body (`application/wasm`) decides in shadow |
//! | GET, DELETE `/api/v1/policies/{name}/shadow` | what came of it; it ends |
//! | POST `/api/v1/policies/{name}/promote` | it goes live; with a `digest`, only if it is that one |
//! | POST `/api/v1/policies/{name}/rollback` | back to the version before, or to the one with the `digest` |
//! | GET `/api/v1/connections?limit=&after=` | a page of connections |
//! | DELETE `/api/v1/connections/{client}` | the client is disconnected |
//! | GET `/api/v1/decisions?client=&limit=&after=` | the latest decisions, for `portcullis why`; `after`: those with a higher number, waiting up to 25 s for the first |
//! | GET `/api/v1/{kind}?limit=&after=` | a page of `apps`, `users`, `devices`, `keys`, `domains`, `projects` or `roles` |
//! | POST `/api/v1/{kind}` | an entry is added |
//! | GET, PATCH, DELETE `/api/v1/{kind}/{id}` | one entry is shown, changed or removed |
//! | POST `/api/v1/keys/{name}/rotate` | a key of the gateway's own is replaced; `overlap`: seconds that the old one verifies |
//! | GET `/api/v1/directory?secrets=` | the whole directory, with hashes of secrets if `true` |
//! | POST `/api/v1/directory` | what was exported is taken in |
//!
//! Names in paths are percent-encoded. Bodies are JSON objects. Errors are `{"error": "…"}`.

mod access;
mod routes;
mod seams;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::StatusCode;
use portcullis_grant::{BoxFuture, Peer};
use prometheus_client::registry::Registry;
use serde_json::json;
use tracing::info;

use crate::answer::{self, Answer, error};
use crate::inbound::Inbound;
use crate::server::{Site, not_found};

pub use access::{AdminToken, WeakToken};
pub use seams::{
    AdminError, AdminResult, AdminWitness, Administration, DecisionQuery, DirectoryAdmin, Kind, Page, ShadowTerms,
};

tokio::task_local! {
    /// Who the task at hand works for.
    static CALLER: Peer;
}

/// The address of the administrator whose request is being answered, for what is done on their behalf. None: this is no
/// request.
#[must_use]
pub fn caller() -> Option<Peer> {
    CALLER.try_with(|caller| *caller).ok()
}

/// How the admin interface is protected.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// What opens it.
    pub token: AdminToken,
    /// Whether `/metrics` needs no token.
    pub open_metrics: bool,
    /// Further host names that are served on a loopback address, such as that of a reverse proxy. Lower case, without
    /// ports.
    pub hosts: Vec<String>,
}

/// The site of the admin listener.
pub struct AdminSite {
    settings: ArcSwap<AdminSettings>,
    administration: Arc<dyn Administration>,
    directory: Arc<dyn DirectoryAdmin>,
    metrics: Arc<Registry>,
    witness: Option<Arc<dyn AdminWitness>>,
}

impl fmt::Debug for AdminSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminSite").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl AdminSite {
    /// A site that shows and changes what it is given.
    #[must_use]
    pub fn new(
        settings: AdminSettings,
        administration: Arc<dyn Administration>,
        directory: Arc<dyn DirectoryAdmin>,
        metrics: Arc<Registry>,
    ) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), administration, directory, metrics, witness: None }
    }

    /// With somebody who is told what is done.
    #[must_use]
    pub fn witnessed_by(mut self, witness: Arc<dyn AdminWitness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Puts other settings in place, for requests that come from now on.
    pub fn update(&self, settings: AdminSettings) {
        self.settings.store(Arc::new(settings));
    }

    async fn answer(&self, request: Inbound) -> Answer {
        let settings = self.settings.load_full();
        if !access::host_is_served(&request.head.authority, request.local, &settings.hosts) {
            return error(
                StatusCode::MISDIRECTED_REQUEST,
                "the admin interface is served under its own address only; see `hosts` of [admin]",
            );
        }
        let (method, path) = (request.head.method.as_str(), request.raw_path.as_str());
        let reads = matches!(method, "GET" | "HEAD");
        if path == "/healthz" {
            let healthy = || answer::json(StatusCode::OK, &json!({ "status": "ok" }));
            return if reads { healthy() } else { answer::not_allowed("GET, HEAD") };
        }
        let open = path == "/metrics" && settings.open_metrics;
        if !open && !settings.token.opens(&request.head) {
            return access::unauthorized();
        }
        if path == "/metrics" {
            return if reads { self.metrics() } else { answer::not_allowed("GET, HEAD") };
        }
        let route = match routes::route(method, path, request.head.query.as_deref()) {
            Ok(route) => route,
            Err(answer) => return answer,
        };
        let audited =
            (!reads).then(|| (request.head.method.clone(), request.raw_path.clone(), request.connection.peer));
        let peer = request.connection.peer;
        let answer = CALLER.scope(peer, self.act(route, request)).await;
        if let Some((method, path, peer)) = audited {
            if let Some(witness) = &self.witness {
                witness.acted(peer, &method, &path, answer.status().as_u16());
            }
            info!(%method, %path, %peer, status = answer.status().as_u16(), "admin request");
        }
        answer
    }

    fn metrics(&self) -> Answer {
        let mut text = String::with_capacity(4096);
        match prometheus_client::encoding::text::encode(&mut text, &self.metrics) {
            Ok(()) => answer::body(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
            Err(why) => {
                tracing::error!(error = %why, "the metrics cannot be written");
                error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written")
            }
        }
    }

    async fn act(&self, route: routes::Route, request: Inbound) -> Answer {
        use routes::Route;
        let result = match route {
            Route::Status => self.administration.status().await,
            Route::Reload => self.administration.reload().await,
            Route::Policies => self.administration.policies().await,
            Route::Record(name) => match access::read_object(request).await {
                Ok(wanted) => self.administration.record_policy(name, wanted).await,
                Err(answer) => return answer,
            },
            Route::Recording(name) => self.administration.recording(name).await,
            Route::EndRecording(name) => self.administration.end_recording(name).await,
            Route::ReloadPolicy { name, insist } => self.administration.reload_policy(name, insist).await,
            Route::Versions(name) => self.administration.versions(name).await,
            Route::Shadow(name) => self.administration.shadow(name).await,
            Route::EndShadow(name) => self.administration.end_shadow(name).await,
            Route::BeginShadow(name, terms) => match access::read_component(request).await {
                Ok(component) => self.administration.begin_shadow(name, component, terms).await,
                Err(answer) => return answer,
            },
            Route::Promote(name) => match access::read_digest(request).await {
                Ok(digest) => self.administration.promote(name, digest).await,
                Err(answer) => return answer,
            },
            Route::RollBack(name) => match access::read_digest(request).await {
                Ok(digest) => self.administration.roll_back(name, digest).await,
                Err(answer) => return answer,
            },
            Route::Connections(page) => self.administration.connections(page).await,
            Route::Disconnect(client) => self.administration.disconnect(client).await,
            Route::Decisions(query) => self.administration.decisions(query).await,
            Route::List(kind, page) => self.directory.list(kind, page).await,
            Route::Get(kind, id) => self.directory.get(kind, id).await,
            Route::Remove(kind, id) => self.directory.remove(kind, id).await,
            Route::RotateKey(name) => match access::read_object(request).await {
                Ok(members) => match members.get("overlap").map(serde_json::Value::as_u64) {
                    Some(Some(seconds)) if members.len() == 1 => self.administration.rotate_key(name, seconds).await,
                    _ => Err(AdminError::Invalid("expected `{\"overlap\": seconds}`".to_owned())),
                },
                Err(answer) => return answer,
            },
            Route::Export { secrets } => self.directory.export(secrets).await,
            Route::Import => match access::read_object(request).await {
                Ok(document) => self.directory.import(document).await,
                Err(answer) => return answer,
            },
            Route::Change(kind, id) => match access::read_object(request).await {
                Ok(members) => self.directory.change(kind, id, members).await,
                Err(answer) => return answer,
            },
            Route::Add(kind) => match access::read_object(request).await {
                Ok(entry) => match self.directory.add(kind, entry).await {
                    Ok(added) => return answer::json(StatusCode::CREATED, &added),
                    Err(error) => Err(error),
                },
                Err(answer) => return answer,
            },
        };
        match result {
            Ok(value) => answer::json(StatusCode::OK, &value),
            Err(AdminError::NoSuchPath) => not_found(),
            Err(failed) => error(failed.status(), &failed.to_string()),
        }
    }
}

impl Site for AdminSite {
    fn respond(&self, request: Inbound) -> BoxFuture<'_, Answer> {
        Box::pin(self.answer(request))
    }
}
