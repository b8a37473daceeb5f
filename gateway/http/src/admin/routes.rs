//! From a method and a path to what is meant.

use hyper::StatusCode;

use crate::admin::seams::{DecisionQuery, Kind, Page, ShadowTerms};
use crate::answer::{Answer, error, not_allowed};
use crate::query::{decode, parameters};
use crate::server::not_found;

/// What an admin request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Status,
    Reload,
    Policies,
    Record(String),
    Recording(String),
    EndRecording(String),
    ReloadPolicy { name: String, insist: bool },
    Versions(String),
    RollBack(String),
    Promote(String),
    Shadow(String),
    BeginShadow(String, ShadowTerms),
    EndShadow(String),
    Connections(Page),
    Disconnect(String),
    Decisions(DecisionQuery),
    List(Kind, Page),
    Add(Kind),
    Get(Kind, String),
    Change(Kind, String),
    Remove(Kind, String),
    RotateKey(String),
    Export { secrets: bool },
    Import,
}

/// Reads a request. The path is taken apart before it is decoded, so that names may hold slashes and dots.
pub(super) fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, Answer> {
    let Some(rest) = path.strip_prefix("/api/v1/") else { return Err(not_found()) };
    let bad = |words: &str| Err(error(StatusCode::BAD_REQUEST, words));
    let Some(segments) = rest.split('/').map(decode).collect::<Option<Vec<_>>>() else {
        return bad("the path is not percent-encoded UTF-8");
    };
    let Some(parameters) = parameters(query) else { return bad("the query is not percent-encoded UTF-8") };
    let reads = matches!(method, "GET" | "HEAD");
    let kind = |name: &str| Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(not_found());
    }
    let known: &[&str] = match segments[..] {
        ["connections"] => &["limit", "after"],
        ["decisions"] => &["client", "limit", "after"],
        ["directory"] => &["secrets"],
        ["policies", _, "reload"] => &["source"],
        ["policies", _, "shadow"] if method == "PUT" => &["share", "http", "signature"],
        [name] if kind(name).is_some() => &["limit", "after"],
        _ => &[],
    };
    for (position, (name, _)) in parameters.iter().enumerate() {
        if !known.contains(&name.as_str()) || parameters.iter().take(position).any(|(other, _)| other == name) {
            return bad(&format!("the parameter `{name}` is unknown here, or there twice"));
        }
    }
    let value = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let limit = || match value("limit").map_or(Ok(100), |text| text.parse()) {
        Ok(limit @ 1..=1000) => Ok(limit),
        _ => Err(error(StatusCode::BAD_REQUEST, "`limit` is a number from 1 to 1000")),
    };
    let page = || Ok::<_, Answer>(Page { limit: limit()?, after: value("after") });
    let flag = |name: &str| match value(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(error(StatusCode::BAD_REQUEST, &format!("`{name}` is true or false"))),
    };
    Ok(match (&segments[..], method) {
        (["status"], _) if reads => Route::Status,
        (["policies"], _) if reads => Route::Policies,
        (["connections"], _) if reads => Route::Connections(page()?),
        (["decisions"], _) if reads => Route::Decisions(DecisionQuery {
            client: value("client"),
            limit: limit()?,
            after: match value("after").map(|text| text.parse()) {
                None => None,
                Some(Ok(number)) => Some(number),
                Some(Err(_)) => return bad("`after` is the number of a decision"),
            },
        }),
        (["status" | "policies" | "connections" | "decisions"], _) => return Err(not_allowed("GET, HEAD")),
        (["reload"], "POST") => Route::Reload,
        (["policies", name, "recording"], "POST") => Route::Record((*name).to_owned()),
        (["policies", name, "recording"], "GET") => Route::Recording((*name).to_owned()),
        (["policies", name, "recording"], "DELETE") => Route::EndRecording((*name).to_owned()),
        (["policies", _, "recording"], _) => return Err(not_allowed("GET, POST, DELETE")),
        (["policies", name, "reload"], "POST") => {
            Route::ReloadPolicy { name: (*name).to_owned(), insist: flag("source")? }
        }
        (["policies", name, "versions"], _) if reads => Route::Versions((*name).to_owned()),
        (["policies", _, "versions"], _) => return Err(not_allowed("GET, HEAD")),
        (["policies", name, "promote"], "POST") => Route::Promote((*name).to_owned()),
        (["policies", name, "shadow"], _) if reads => Route::Shadow((*name).to_owned()),
        (["policies", name, "shadow"], "PUT") => {
            let terms = ShadowTerms { share: value("share"), http: flag("http")?, signature: value("signature") };
            Route::BeginShadow((*name).to_owned(), terms)
        }
        (["policies", name, "shadow"], "DELETE") => Route::EndShadow((*name).to_owned()),
        (["policies", _, "shadow"], _) => return Err(not_allowed("GET, HEAD, PUT, DELETE")),
        (["policies", name, "rollback"], "POST") => Route::RollBack((*name).to_owned()),
        (["keys", name, "rotate"], "POST") => Route::RotateKey((*name).to_owned()),
        (["reload"] | ["policies", _, "reload" | "rollback" | "promote"] | ["keys", _, "rotate"], _) => {
            return Err(not_allowed("POST"));
        }
        (["directory"], _) if reads => Route::Export { secrets: flag("secrets")? },
        (["directory"], "POST") => Route::Import,
        (["directory"], _) => return Err(not_allowed("GET, HEAD, POST")),
        (["connections", client], "DELETE") => Route::Disconnect((*client).to_owned()),
        (["connections", _], _) => return Err(not_allowed("DELETE")),
        ([name], _) => match (kind(name), method) {
            (Some(kind), _) if reads => Route::List(kind, page()?),
            (Some(kind), "POST") => Route::Add(kind),
            (Some(_), _) => return Err(not_allowed("GET, HEAD, POST")),
            (None, _) => return Err(not_found()),
        },
        ([name, id], _) => match (kind(name), method) {
            (Some(kind), _) if reads => Route::Get(kind, (*id).to_owned()),
            (Some(kind), "DELETE") => Route::Remove(kind, (*id).to_owned()),
            (Some(kind), "PATCH") => Route::Change(kind, (*id).to_owned()),
            (Some(_), _) => return Err(not_allowed("GET, HEAD, PATCH, DELETE")),
            (None, _) => return Err(not_found()),
        },
        _ => return Err(not_found()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(method: &str, target: &str) -> Result<Route, u16> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        route(method, &format!("/api/v1/{path}"), query).map_err(|answer| answer.status().as_u16())
    }

    #[test]
    fn every_route_is_found() {
        let page = |limit, after: Option<&str>| Page { limit, after: after.map(str::to_owned) };
        assert_eq!(ask("GET", "status"), Ok(Route::Status));
        assert_eq!(ask("POST", "reload"), Ok(Route::Reload));
        assert_eq!(ask("HEAD", "policies"), Ok(Route::Policies));
        let reload = |insist| Route::ReloadPolicy { name: "api-key".to_owned(), insist };
        assert_eq!(ask("POST", "policies/api-key/reload"), Ok(reload(false)));
        assert_eq!(ask("POST", "policies/api-key/reload?source=true"), Ok(reload(true)));
        assert_eq!(ask("GET", "policies/jwt/versions"), Ok(Route::Versions("jwt".to_owned())));
        assert_eq!(ask("POST", "policies/jwt/promote"), Ok(Route::Promote("jwt".to_owned())));
        assert_eq!(ask("GET", "policies/jwt/shadow"), Ok(Route::Shadow("jwt".to_owned())));
        assert_eq!(ask("DELETE", "policies/jwt/shadow"), Ok(Route::EndShadow("jwt".to_owned())));
        let terms = ShadowTerms { share: Some("10%".to_owned()), http: true, signature: None };
        let begin = Route::BeginShadow("jwt".to_owned(), terms);
        assert_eq!(ask("PUT", "policies/jwt/shadow?share=10%25&http=true"), Ok(begin));
        assert_eq!(ask("GET", "policies/jwt/shadow?share=1%25"), Err(400));
        assert_eq!(ask("POST", "policies/jwt/rollback"), Ok(Route::RollBack("jwt".to_owned())));
        assert_eq!(ask("GET", "connections?limit=5&after=a%20b"), Ok(Route::Connections(page(5, Some("a b")))));
        assert_eq!(ask("DELETE", "connections/a%2Fb"), Ok(Route::Disconnect("a/b".to_owned())));
        assert_eq!(ask("DELETE", "connections/%2e%2e"), Ok(Route::Disconnect("..".to_owned())));
        let query = DecisionQuery { client: Some("pump".to_owned()), limit: 100, after: None };
        assert_eq!(ask("GET", "decisions?client=pump"), Ok(Route::Decisions(query)));
        assert_eq!(ask("GET", "users"), Ok(Route::List(Kind::Users, page(100, None))));
        assert_eq!(ask("POST", "keys"), Ok(Route::Add(Kind::Keys)));
        assert_eq!(ask("GET", "devices/7"), Ok(Route::Get(Kind::Devices, "7".to_owned())));
        assert_eq!(ask("DELETE", "apps/7"), Ok(Route::Remove(Kind::Apps, "7".to_owned())));
        assert_eq!(ask("PATCH", "users/7"), Ok(Route::Change(Kind::Users, "7".to_owned())));
        assert_eq!(ask("GET", "directory?secrets=true"), Ok(Route::Export { secrets: true }));
        assert_eq!(ask("POST", "directory"), Ok(Route::Import));
        assert_eq!(ask("POST", "keys/gateway-rs256/rotate"), Ok(Route::RotateKey("gateway-rs256".to_owned())));
    }

    #[test]
    fn what_is_not_there_is_said() {
        for target in ["", "nothing", "users/", "users/1/2", "/status", "status/"] {
            assert_eq!(ask("GET", target), Err(404), "{target}");
        }
        for (method, target) in [("DELETE", "users"), ("PUT", "users/1"), ("GET", "reload"), ("POST", "status")] {
            assert_eq!(ask(method, target), Err(405), "{method} {target}");
        }
        for target in
            ["users?limit=0", "users?limit=1001", "users?limit=x", "users?page=1", "users?limit=1&limit=2", "users/%ff"]
        {
            assert_eq!(ask("GET", target), Err(400), "{target}");
        }
    }

    proptest! {
        #[test]
        fn any_client_identifier_can_be_named(client in ".{1,40}") {
            let encoded: String = client.bytes().map(|octet| format!("%{octet:02x}")).collect();
            prop_assert_eq!(ask("DELETE", &format!("connections/{encoded}")), Ok(Route::Disconnect(client)));
        }
    }
}
