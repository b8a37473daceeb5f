//! FIWARE's services and service paths, and Keystone's domains and projects behind them.
//!
//! A service is a domain, by name; a service path is a project of it, by name, or the whole domain (`/`). Projects made for
//! FIWARE often have a `/` before their name: it does not count.

use policy_support::deny;
use policy_support::wit::types::{Denial, DenyReason, HttpResponse};
use serde_json::json;

use crate::token::{Scope, Token};

/// Where in a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// Nothing was said.
    Any,
    /// The whole of it.
    Whole,
    /// One project, without a `/` before its name.
    Project(String),
}

/// The service that a client names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The domain's name.
    pub name: String,
    /// Where in it.
    pub path: Path,
}

impl Service {
    /// Reads `service`, `service/` or `service/subservice`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            None => Self { name: text.to_owned(), path: Path::Any },
            Some((name, path)) => Self::of(name, path),
        }
    }

    /// Reads the two headers.
    #[must_use]
    pub fn of(name: &str, path: &str) -> Self {
        let path = match project_name(path) {
            "" => Path::Whole,
            project => Path::Project(project.to_owned()),
        };
        Self { name: name.to_owned(), path }
    }

    /// Whether a token reaches it. One for the whole domain reaches every path of it.
    #[must_use]
    pub fn is_of(&self, token: &Token) -> bool {
        match &token.scope {
            Scope::Domain(domain) => domain.name == self.name,
            Scope::Project { project, domain } => {
                domain.name == self.name
                    && match &self.path {
                        Path::Any => true,
                        Path::Whole => false,
                        Path::Project(name) => name == project_name(&project.name),
                    }
            }
            Scope::Unscoped | Scope::System => false,
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        match &self.path {
            Path::Any => Ok(()),
            Path::Whole => f.write_str("/"),
            Path::Project(name) => write!(f, "/{name}"),
        }
    }
}

/// A project's name as a part of a topic.
#[must_use]
pub fn project_name(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// The refusal of a token for another service.
#[must_use]
pub fn mismatch(service: &Service) -> Denial {
    deny(DenyReason::BadCredentials, format!("the token is not for the service {:?}", service.to_string()))
}

/// The same refusal as FIWARE's own components say it on HTTP.
#[must_use]
pub fn in_fiwares_words(denial: Denial, mismatch: bool) -> Denial {
    let (status, name, message) = match denial.reason {
        DenyReason::BadCredentials if mismatch => {
            (401, "TOKEN_DOES_NOT_MATCH_SERVICE", "the token is not for the service that the request names")
        }
        DenyReason::NotAuthorized => (403, "ACCESS_DENIED", "the roles of the token permit nothing here"),
        _ => return denial,
    };
    Denial { http: Some(answer(status, name, message)), ..denial }
}

/// The refusal of a request that does not say which service it is about.
#[must_use]
pub fn missing(name: &str) -> Denial {
    let message = format!("the request has no {name}");
    let http = Some(answer(400, "MISSING_HEADERS", &message));
    Denial { http, ..deny(DenyReason::Malformed, message) }
}

fn answer(status: u16, name: &str, message: &str) -> HttpResponse {
    policy_support::http::json(status, &json!({ "name": name, "message": message }))
}

#[cfg(test)]
mod tests {
    use super::{Path, Service};
    use crate::token::Scope;
    use crate::token::tests::{name, token};

    #[test]
    fn names_are_read() {
        let service = |name: &str, path| Service { name: name.into(), path };
        assert_eq!(Service::parse("smart"), service("smart", Path::Any));
        assert_eq!(Service::parse("smart/"), service("smart", Path::Whole));
        assert_eq!(Service::parse("smart//"), service("smart", Path::Whole));
        assert_eq!(Service::parse("smart/gardens"), service("smart", Path::Project("gardens".into())));
        assert_eq!(Service::of("smart", "/gardens"), Service::parse("smart/gardens"));
        for text in ["smart", "smart/", "smart/gardens", "smart/a/b"] {
            assert_eq!(Service::parse(text).to_string(), text);
        }
    }

    #[test]
    fn a_token_reaches_its_own_service_only() {
        let project = |project: &str| Scope::Project { project: name("p", project), domain: name("d", "smart") };
        for (scope, reached, refused) in [
            (
                project("gardens"),
                &["smart", "smart/gardens"][..],
                &["smart/", "smart/other", "other", "", "smart/gardens/a"][..],
            ),
            (project("/gardens"), &["smart", "smart/gardens"], &["smart/", "other/gardens"]),
            (Scope::Domain(name("d", "smart")), &["smart", "smart/", "smart/gardens"], &["other", "Smart"]),
            (Scope::Unscoped, &[], &["smart", "smart/", ""]),
            (Scope::System, &[], &["smart", "smart/"]),
        ] {
            let token = token(scope);
            for text in reached {
                assert!(Service::parse(text).is_of(&token), "{text}");
            }
            for text in refused {
                assert!(!Service::parse(text).is_of(&token), "{text}");
            }
        }
    }
}
