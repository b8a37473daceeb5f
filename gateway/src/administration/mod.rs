//! What the HTTP room asks of the gateway: health and keys for everybody, everything for administrators.

pub(crate) mod change;
pub(crate) mod directory;
mod recording;
mod tenancy;

use std::sync::{Arc, Weak};

use portcullis_grant::BoxFuture;
use portcullis_http::{
    AdminError, AdminResult, Administration, DecisionQuery, DirectoryAdmin, Kind, Page, PublicFacts, ShadowTerms,
};
use portcullis_identity::{GATEWAY_ES256, GATEWAY_RS256, KeyError, Keyring};
use portcullis_mqtt::ReasonCode;
use portcullis_policy::{CallOutcome, Policy, Share};
use portcullis_session::Control;
use serde_json::{Map, Value, json};

use crate::assemble::Gateway;
use crate::audit::administrator;
use crate::policies::{PolicyError, Standing, Swapped};
use crate::reload;
use crate::shadows;
use crate::supply::Record;

/// The gateway as seen through its HTTP doors. It holds the gateway weakly: the gateway holds the doors.
pub(crate) struct Office {
    gateway: Weak<Gateway>,
}

impl Office {
    /// The office of a gateway.
    pub(crate) fn of(gateway: &Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self { gateway: Arc::downgrade(gateway) })
    }

    fn gateway(&self) -> Result<Arc<Gateway>, AdminError> {
        self.gateway.upgrade().ok_or_else(|| AdminError::Unavailable("the gateway stops".to_owned()))
    }

    fn policy(&self, name: &str) -> Result<Arc<Policy>, AdminError> {
        let policies = self.gateway()?.policies.load_full();
        let found = policies.get(name).cloned();
        found.ok_or_else(|| AdminError::NotFound(PolicyError::Unknown(name.to_owned()).to_string()))
    }

    /// Does something with the directory where blocking is allowed.
    async fn with_directory(
        &self,
        work: impl FnOnce(&portcullis_identity::Directory) -> AdminResult + Send + 'static,
    ) -> AdminResult {
        let directory = self.gateway()?.ground.directory.clone();
        let by = portcullis_http::caller().map_or_else(|| "an administrator".to_owned(), administrator);
        let work = move || portcullis_identity::acting(&by, || work(&directory));
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(AdminError::Unavailable("the gateway stops".to_owned())))
    }
}

impl PublicFacts for Office {
    fn not_ready(&self) -> Option<String> {
        match self.gateway.upgrade() {
            // The public gets no details of the disk; the log and the admin interface have them.
            Some(gateway) if !gateway.is_stopping() => {
                gateway.ground.store.stopped().map(|_| "the store has failed".to_owned())
            }
            _ => Some("the gateway stops".to_owned()),
        }
    }

    fn version(&self) -> Value {
        json!({ "name": "portcullis", "version": env!("CARGO_PKG_VERSION") })
    }

    fn jwks(&self) -> Value {
        let keys = self.gateway.upgrade().and_then(|gateway| match gateway.public_keys() {
            Ok(keys) => serde_json::from_str(&keys).ok(),
            Err(error) => {
                tracing::error!("the public keys cannot be shown: {error}");
                None
            }
        });
        keys.unwrap_or_else(|| json!({ "keys": [] }))
    }
}

impl Administration for Office {
    fn status(&self) -> BoxFuture<'_, AdminResult> {
        Box::pin(async { Ok(status(&*self.gateway()?)) })
    }

    fn reload(&self) -> BoxFuture<'_, AdminResult> {
        Box::pin(async {
            let report = self.gateway()?.reload().await.map_err(AdminError::Refused)?;
            tracing::info!(done = ?report.done, kept = ?report.kept, "reloaded through the admin interface");
            Ok(json!({ "done": report.done, "kept": report.kept }))
        })
    }

    fn policies(&self) -> BoxFuture<'_, AdminResult> {
        Box::pin(async {
            let gateway = self.gateway()?;
            let policies = gateway.policies.load_full();
            let mut items = Vec::new();
            for policy in policies.all() {
                let record = gateway.archive.record(policy.name()).await;
                items.extend(
                    policies.standing(policy.name()).map(|(_, standing)| described(&policy, &standing, &record)),
                );
            }
            Ok(json!({ "items": items, "next": null }))
        })
    }

    fn reload_policy(&self, name: String, insist: bool) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { answer(self.gateway()?.reload_policy(&name, insist).await) })
    }

    fn versions(&self, name: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { self.gateway()?.versions(&name).await.map_err(refused) })
    }

    fn promote(&self, name: String, digest: Option<String>) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { answer(self.gateway()?.promote(&name, digest.as_deref()).await) })
    }

    fn shadow(&self, name: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { self.gateway()?.shadow(&name).map_err(refused) })
    }

    fn begin_shadow(&self, name: String, component: Vec<u8>, terms: ShadowTerms) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move {
            let share = match terms.share.as_deref() {
                None => Share::ALL,
                Some(text) => Share::parse(text).ok_or_else(|| {
                    AdminError::Invalid(format!("{text:?} is not a share of the clients, such as 10% or 0.5%"))
                })?,
            };
            let with = shadows::Terms { share, http: terms.http };
            let begun = self.gateway()?.begin_shadow(&name, component.into(), terms.signature, with).await;
            begun.map_err(refused)
        })
    }

    fn record_policy(&self, name: String, wanted: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { recording::begin(&*self.policy(&name)?, wanted) })
    }

    fn recording(&self, name: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { recording::fetch(&*self.policy(&name)?) })
    }

    fn end_recording(&self, name: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { recording::end(&*self.policy(&name)?) })
    }

    fn end_shadow(&self, name: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { self.gateway()?.end_shadow(&name).await.map_err(refused) })
    }

    fn roll_back(&self, name: String, digest: Option<String>) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move { answer(self.gateway()?.roll_back(&name, digest.as_deref()).await) })
    }

    fn rotate_key(&self, name: String, overlap: u64) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move {
            let keyring = self.gateway()?.keyring.clone();
            let done = tokio::task::spawn_blocking(move || rotate(&keyring, &name, overlap)).await;
            done.unwrap_or_else(|_| Err(AdminError::Unavailable("the gateway stops".to_owned())))
        })
    }

    fn connections(&self, page: Page) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move {
            let found = self.gateway()?.broker.connections(page.after.as_deref(), page.limit);
            let next =
                if found.len() < page.limit { None } else { found.last().map(|last| last.client_id.to_string()) };
            let items: Vec<_> = found
                .iter()
                .map(|connection| {
                    json!({
                        "client_id": &*connection.client_id,
                        "listener": &*connection.facts.listener,
                        "transport": connection.facts.transport,
                        "protocol_version": connection.facts.protocol_version,
                        "peer": connection.facts.peer.to_string(),
                        "since": connection.since,
                        "identity": format!("{}:{}", connection.grant.identity.scheme(), connection.grant.identity.subject()),
                        "policy": &*connection.grant.policy.name,
                        "digest": &*connection.grant.policy.digest,
                        "expires_at": connection.grant.expires_at(),
                    })
                })
                .collect();
            Ok(json!({ "items": items, "next": next }))
        })
    }

    fn disconnect(&self, client: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move {
            let control = Control::Disconnect {
                reason: ReasonCode::ADMINISTRATIVE_ACTION,
                detail: "an administrator disconnected it".to_owned(),
            };
            if self.gateway()?.broker.request(&client, control) {
                Ok(json!({ "disconnected": client }))
            } else {
                Err(AdminError::NotFound(format!("no client {client:?} is connected")))
            }
        })
    }

    fn decisions(&self, query: DecisionQuery) -> BoxFuture<'_, AdminResult> {
        Box::pin(async move {
            // Not the gateway itself: who waits must not keep it from stopping.
            let audit = self.gateway()?.audit.clone();
            let client = query.client.as_deref();
            let latest = audit.last();
            let mut items = match query.after {
                None => audit.about(client, 0),
                Some(after) => audit.follow(client, after).await,
            };
            items.truncate(query.limit);
            let latest = items.first().map_or(latest, |decision| decision.seq.max(latest));
            let items: Vec<_> = items.iter().map(|decision| &**decision).collect();
            Ok(json!({ "items": items, "next": null, "latest": latest }))
        })
    }
}

impl DirectoryAdmin for Office {
    fn list(&self, kind: Kind, page: Page) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| directory::list(entries, kind, &page)))
    }

    fn get(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| directory::get(entries, kind, &id)))
    }

    fn add(&self, kind: Kind, entry: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| directory::add(entries, kind, entry)))
    }

    fn change(&self, kind: Kind, id: String, members: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| change::change(entries, kind, &id, members)))
    }

    fn export(&self, secrets: bool) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| directory::export(entries, secrets)))
    }

    fn import(&self, document: Map<String, Value>) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| directory::import(entries, document)))
    }

    fn remove(&self, kind: Kind, id: String) -> BoxFuture<'_, AdminResult> {
        Box::pin(self.with_directory(move |entries| directory::remove(entries, kind, &id)))
    }
}

/// Makes a new key of the gateway's own; the old one verifies for another `overlap` seconds. Blocks for up to a second.
pub(crate) fn rotate(keyring: &Keyring, name: &str, overlap: u64) -> AdminResult {
    let overlap =
        u32::try_from(overlap).map_err(|_| AdminError::Invalid("the overlap is longer than 136 years".to_owned()))?;
    match keyring.rotate(name, overlap) {
        Ok(()) => {
            tracing::info!(key = name, overlap, "a signing key was rotated");
            Ok(json!({ "rotated": name, "overlap": overlap }))
        }
        Err(KeyError::Unknown(_)) => Err(AdminError::NotFound(format!(
            "the gateway has no key {name:?} of its own to rotate; there are {GATEWAY_RS256} and {GATEWAY_ES256}"
        ))),
        Err(error) => Err(AdminError::Failed(format!("the key was not rotated: {error}"))),
    }
}

/// What a swap did.
fn answer(swapped: Result<Swapped, PolicyError>) -> AdminResult {
    let swapped = swapped.map_err(refused)?;
    Ok(json!({
        "name": swapped.name,
        "digest": &*swapped.now,
        "before": swapped.before.as_deref(),
        "message": reload::words(&swapped),
    }))
}

/// Why nothing was done.
fn refused(error: PolicyError) -> AdminError {
    match error {
        PolicyError::Unknown(_) | PolicyError::NoShadow(_) | PolicyError::Version { .. } => {
            AdminError::NotFound(error.to_string())
        }
        PolicyError::Refused { .. } => AdminError::Conflict(error.to_string()),
        _ => AdminError::Refused(error.to_string()),
    }
}

fn status(gateway: &Gateway) -> Value {
    let totals = gateway.broker.totals();
    let (retained, retained_bytes) = gateway.broker.retained();
    let listeners: Vec<_> = gateway
        .addresses()
        .into_iter()
        .map(|(name, address)| json!({ "name": name, "address": address.to_string() }))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": gateway.uptime().as_secs(),
        "listeners": listeners,
        "instances_pooled": gateway.host.pools_instances(),
        "connections": totals.connections,
        "sessions": gateway.broker.sessions(),
        "subscriptions": gateway.broker.subscriptions(),
        "retained_messages": retained,
        "retained_bytes": retained_bytes,
        "logins_admitted": totals.connected,
        "logins_refused": totals.logins_refused,
        "messages_received": totals.received,
        "messages_delivered": totals.delivered,
        "store_failure": gateway.ground.store.stopped().map(|why| why.to_string()),
    })
}

fn described(policy: &Policy, standing: &Standing, record: &Record) -> Value {
    let live = policy.current();
    let figures = policy.stats().figures();
    let calls: Map<String, Value> = CallOutcome::ALL
        .iter()
        .map(|outcome| (outcome.as_str().to_owned(), figures.outcomes[*outcome as usize].into()))
        .collect();
    let says = live.description();
    let reached = live.uses().figures().limits.into_iter().filter(|(_, times)| *times > 0);
    let limits: Map<String, Value> = reached.map(|(limit, times)| (limit.to_owned(), times.into())).collect();
    json!({
        "name": &**policy.name(),
        "digest": &*live.stamp().digest,
        "source": live.origin(),
        "version": says.map(|says| says.version.as_str()),
        "summary": says.map(|says| says.summary.as_str()),
        "loaded_at": live.loaded_at(),
        "since": standing.since,
        "how": standing.how,
        "stands_in_for": (standing.source != live.stamp().digest).then_some(&*standing.source),
        "taken_back": record.taken_back.first(),
        "shadow": policy.shadow().map(|shadow| shadow.candidate().stamp().digest.to_string()),
        "from_cache": live.from_cache(),
        "loading": { "code_ms": live.loading().code.as_secs_f64() * 1e3, "test_ms": live.loading().test.as_secs_f64() * 1e3 },
        "quarantined": live.is_quarantined(),
        "quarantined_for_http_alone": live.is_quarantined_for_http_alone(),
        "quarantined_for_ms": live.quarantined_for().map(|rest| rest.as_millis() as u64),
        "limits_reached": limits,
        "instances": { "running": live.running(), "idle": live.idle_instances(), "waiting": live.waiting() },
        "swaps": figures.swaps,
        "calls": calls,
        "last_error": figures.last_error.map(|error| json!({ "at": error.at, "digest": &*error.digest, "what": error.what })),
    })
}
