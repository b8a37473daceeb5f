//! A gateway as a Keystone: its directory filled as an operator fills it, and requests to it.

use serde_json::{Value, json};

use crate::admin::Answer;
use crate::gateway::Gateway;
use crate::http::Http;

/// The password of everybody.
pub const PASSWORD: &str = "correct horse";

/// Fills the directory: the domain `smart` with the projects `gardens` and `other`; `ann`, who is an operator in the domain
/// and in her default project `gardens`, and a reader of the system; `bob`, a reader in `other`; an application credential of
/// hers. Gives their identifiers by these names, the credential's as `credential` with its `secret`, and the `url`.
///
/// # Panics
/// When something is refused.
pub async fn fill(gateway: &Gateway) -> Value {
    let admin = gateway.admin();
    let make = async |kind: &str, entry: Value| {
        let made = admin.post(&format!("/api/v1/{kind}"), &entry).await.good();
        made["id"].as_str().unwrap_or_else(|| panic!("no identifier: {made}")).to_owned()
    };
    let smart = make("domains", json!({ "name": "smart" })).await;
    let gardens = make("projects", json!({ "name": "gardens", "domain_id": smart })).await;
    let other = make("projects", json!({ "name": "other", "domain_id": smart })).await;
    let user = async |name: &str, attributes: Value| {
        let user = json!({ "name": name, "domain_id": smart, "password": PASSWORD, "attributes": attributes });
        make("users", user).await
    };
    let ann = user("ann", json!({ "default-project-id": gardens })).await;
    let bob = user("bob", json!({})).await;
    for role in [
        json!({ "user_id": ann, "role": "operator", "project_id": gardens }),
        json!({ "user_id": ann, "role": "operator", "domain_id": smart }),
        json!({ "user_id": ann, "role": "reader", "system": true }),
        json!({ "user_id": bob, "role": "reader", "project_id": other }),
    ] {
        make("roles", role).await;
    }
    let attributes = json!({ "name": "pump", "project-id": gardens, "roles": "operator" });
    let key = json!({ "owner": format!("user:{ann}"), "kind": "application-credential", "attributes": attributes });
    let key = admin.post("/api/v1/keys", &key).await.good();
    json!({
        "url": format!("http://{}/v3", gateway.address("http")),
        "smart": smart, "gardens": gardens, "other": other, "ann": ann, "bob": bob,
        // A user that is disabled is to a stranger as one that is not there.
        "cem": "0123456789abcdef0123456789abcdef",
        "credential": key["id"], "secret": key["secret"],
    })
}

/// A request to `/v3/auth/tokens`.
pub async fn tokens(gateway: &Gateway, method: &str, own: Option<&str>, subject: Option<&str>, body: &Value) -> Answer {
    let mut http = Http::connect(gateway.address("http")).await;
    let headers: Vec<_> = [("x-auth-token", own), ("x-subject-token", subject)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    http.send(method, "/v3/auth/tokens", &headers, body).await
}

/// The token that a user gets for a password, for this scope (or null).
///
/// # Panics
/// When there is none.
pub async fn token(gateway: &Gateway, user: &str, scope: Value) -> String {
    let user = json!({ "name": user, "domain": { "name": "smart" }, "password": PASSWORD });
    let mut auth = json!({ "identity": { "methods": ["password"], "password": { "user": user } } });
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    issued(&tokens(gateway, "POST", None, None, &json!({ "auth": auth })).await)
}

/// The token that was issued.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn issued(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.body);
    header(answer, "x-subject-token").expect("a token").to_owned()
}

/// A header of an answer.
#[must_use]
pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
