//! Documents about what there is: catalog, projects, domains, versions.

use policy_support::SchemeGateway;
use policy_support::digest::sha256;
use policy_support::wit::directory::{DomainSelector, ProjectSelector, Scope as Held};
use serde_json::{Value, json};

use crate::config::{CatalogEntry, Endpoint, Local};
use crate::refusal::Refusal;
use crate::token::Token;

/// The version of the API that is served.
const VERSION: &str = "v3.14";

/// The catalog for a token: what the operator configured, or this service alone. `root` is the URL up to and without `/v3`.
#[must_use]
pub fn catalog(local: &Local, token: &Token, root: &str) -> Value {
    let own;
    let entries = match &local.catalog {
        Some(entries) => entries,
        None => {
            let endpoint = Endpoint {
                id: None,
                interface: "public".into(),
                region: "RegionOne".into(),
                url: format!("{root}/v3"),
            };
            let endpoints = vec![endpoint];
            own = vec![CatalogEntry { id: None, kind: "identity".into(), name: "keystone".into(), endpoints }];
            &own
        }
    };
    let project = token.project().map_or("", |project| &project.id);
    let url = |url: &str| url.replace("$(project_id)s", project).replace("$(user_id)s", &token.user.id);
    entries
        .iter()
        .map(|entry| {
            let id = entry.id.clone().unwrap_or_else(|| made_up(&["service", &entry.kind, &entry.name]));
            let endpoint = |endpoint: &Endpoint| {
                let made = || made_up(&["endpoint", &id, &endpoint.interface, &endpoint.region, &endpoint.url]);
                json!({
                    "id": endpoint.id.clone().unwrap_or_else(made),
                    "interface": endpoint.interface,
                    "region": endpoint.region,
                    "region_id": endpoint.region,
                    "url": url(&endpoint.url),
                })
            };
            let endpoints: Value = entry.endpoints.iter().map(endpoint).collect();
            json!({ "endpoints": endpoints, "id": id, "type": entry.kind, "name": entry.name })
        })
        .collect()
}

fn made_up(parts: &[&str]) -> String {
    let mut id = sha256(parts);
    id.truncate(32);
    id
}

/// The projects that a user can have a token for.
///
/// # Errors
/// The directory does not answer.
pub fn projects(gateway: &impl SchemeGateway, user_id: &str, root: &str) -> Result<Value, Refusal> {
    let mut seen = Vec::new();
    let mut items = Vec::new();
    for role in gateway.list_roles(user_id)? {
        let Held::Project(id) = role.scope else { continue };
        if seen.contains(&id) {
            continue;
        }
        seen.push(id.clone());
        let found = gateway.find_project(&ProjectSelector::Id(id))?.filter(|project| project.enabled);
        let Some(project) = found else { continue };
        items.push(json!({
            "id": project.id,
            "name": project.name,
            "domain_id": project.domain_id,
            "description": "",
            "enabled": true,
            "parent_id": project.parent_id.as_ref().unwrap_or(&project.domain_id),
            "is_domain": false,
            "tags": [],
            "options": {},
            "links": { "self": format!("{root}/v3/projects/{}", project.id) },
        }));
    }
    Ok(json!({ "projects": items, "links": links(root, "projects") }))
}

/// The domains that a user can have a token for.
///
/// # Errors
/// The directory does not answer.
pub fn domains(gateway: &impl SchemeGateway, user_id: &str, root: &str) -> Result<Value, Refusal> {
    let mut seen = Vec::new();
    let mut items = Vec::new();
    for role in gateway.list_roles(user_id)? {
        let Held::Domain(id) = role.scope else { continue };
        if seen.contains(&id) {
            continue;
        }
        seen.push(id.clone());
        let found = gateway.find_domain(&DomainSelector::Id(id))?.filter(|domain| domain.enabled);
        let Some(domain) = found else { continue };
        items.push(json!({
            "id": domain.id,
            "name": domain.name,
            "description": "",
            "enabled": true,
            "tags": [],
            "options": {},
            "links": { "self": format!("{root}/v3/domains/{}", domain.id) },
        }));
    }
    Ok(json!({ "domains": items, "links": links(root, "domains") }))
}

/// Whether a user can have a token for the whole installation.
///
/// # Errors
/// The directory does not answer.
pub fn system(gateway: &impl SchemeGateway, user_id: &str, root: &str) -> Result<Value, Refusal> {
    let held = gateway.list_roles(user_id)?.iter().any(|role| role.scope == Held::System);
    let system = if held { json!([{ "all": true }]) } else { json!([]) };
    Ok(json!({ "system": system, "links": { "self": format!("{root}/v3/auth/system") } }))
}

fn links(root: &str, what: &str) -> Value {
    json!({ "next": null, "self": format!("{root}/v3/auth/{what}"), "previous": null })
}

/// What is served at `/v3`: what clients look for first.
#[must_use]
pub fn version(root: &str) -> Value {
    json!({
        "id": VERSION,
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{root}/v3/") }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}
