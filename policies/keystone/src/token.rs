//! What is known of a token that is good, and the JSON in which Keystone says it.

use policy_support::digest::sha256;
use policy_support::time;
use serde_json::{Map, Value, json};

/// The most roles of one token that count.
const ROLES: usize = 256;

/// The most octets of an identifier or a name: they are written into logs and rules.
const NAME: usize = 512;

/// An identifier and a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Opaque.
    pub id: String,
    /// For people.
    pub name: String,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing but being exchanged for another.
    Unscoped,
    /// The whole installation.
    System,
    /// A domain.
    Domain(Named),
    /// A project of a domain.
    Project {
        /// The project.
        project: Named,
        /// Its domain.
        domain: Named,
    },
}

/// The application credential that a token was had for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Which one.
    pub named: Named,
    /// Whether it may not be used to manage credentials.
    pub restricted: bool,
}

/// A good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose.
    pub user: Named,
    /// The user's domain.
    pub user_domain: Named,
    /// When the user's password stops being good, in seconds since 1970.
    pub password_expires_at: Option<u64>,
    /// How the user proved who they are.
    pub methods: Vec<String>,
    /// The token's own, and that of the first of its chain if that is another one.
    pub audit_ids: Vec<String>,
    /// In microseconds since 1970.
    pub issued_at: u64,
    /// In seconds since 1970.
    pub expires_at: u64,
    /// What for.
    pub scope: Scope,
    /// Names of the roles that the user has there.
    pub roles: Vec<String>,
    /// What it was had for, if not a password.
    pub credential: Option<Credential>,
}

impl Token {
    /// The domain of the scope.
    #[must_use]
    pub fn domain(&self) -> Option<&Named> {
        match &self.scope {
            Scope::Domain(domain) | Scope::Project { domain, .. } => Some(domain),
            Scope::Unscoped | Scope::System => None,
        }
    }

    /// The project of the scope.
    #[must_use]
    pub fn project(&self) -> Option<&Named> {
        match &self.scope {
            Scope::Project { project, .. } => Some(project),
            _ => None,
        }
    }

    /// Whether one of the roles is one of these.
    #[must_use]
    pub fn has_role(&self, wanted: &[String]) -> bool {
        self.roles.iter().any(|role| wanted.contains(role))
    }

    /// The document of `POST` and `GET /v3/auth/tokens`. A catalog belongs to scoped tokens only.
    #[must_use]
    pub fn to_json(&self, catalog: Option<Value>) -> Value {
        let mut token = json!({
            "methods": self.methods,
            "user": {
                "domain": named(&self.user_domain),
                "id": self.user.id,
                "name": self.user.name,
                "password_expires_at": self.password_expires_at.map(|at| time::iso_micros(at * 1_000_000)),
            },
            "audit_ids": self.audit_ids,
            "expires_at": time::iso_micros(self.expires_at * 1_000_000),
            "issued_at": time::iso_micros(self.issued_at),
        });
        let mut add =
            |name: &str, value: Value| token.as_object_mut().map(|members| members.insert(name.into(), value));
        match &self.scope {
            Scope::Unscoped => {}
            Scope::System => {
                add("system", json!({ "all": true }));
            }
            Scope::Domain(domain) => {
                add("domain", named(domain));
            }
            Scope::Project { project, domain } => {
                let shown = json!({ "domain": named(domain), "id": project.id, "name": project.name });
                add("project", shown);
                add("is_domain", false.into());
            }
        }
        if self.scope != Scope::Unscoped {
            let roles = self.roles.iter().map(|role| json!({ "id": role_id(role), "name": role }));
            add("roles", roles.collect());
            if let Some(catalog) = catalog {
                add("catalog", catalog);
            }
        }
        if let Some(Credential { named, restricted }) = &self.credential {
            let shown = json!({ "id": named.id, "name": named.name, "restricted": restricted });
            add("application_credential", shown);
        }
        json!({ "token": token })
    }

    /// Reads the same document, of whichever Keystone. None: it is something else, or has what cannot be used.
    #[must_use]
    pub fn from_json(document: &Value) -> Option<Self> {
        let token = document.get("token")?.as_object()?;
        let user = token.get("user")?.as_object()?;
        let scope = match (token.get("project"), token.get("domain"), token.get("system")) {
            (Some(project), None, None) => {
                Scope::Project { project: read_named(project)?, domain: read_named(project.get("domain")?)? }
            }
            (None, Some(domain), None) => Scope::Domain(read_named(domain)?),
            (None, None, Some(_)) => Scope::System,
            (None, None, None) => Scope::Unscoped,
            _ => return None,
        };
        let credential = match token.get("application_credential") {
            None => None,
            Some(shown) => Some(Credential {
                named: read_named(shown)?,
                restricted: shown.get("restricted").and_then(Value::as_bool).unwrap_or(true),
            }),
        };
        let roles = match token.get("roles") {
            None => vec![],
            Some(roles) => {
                roles.as_array()?.iter().map(|role| text(role.as_object()?, "name")).collect::<Option<_>>()?
            }
        };
        let issued_at = time::parse_iso(token.get("issued_at")?.as_str()?)?.checked_mul(1_000_000)?;
        let token = Self {
            user: Named { id: text(user, "id")?, name: text(user, "name")? },
            user_domain: user.get("domain").and_then(read_named)?,
            password_expires_at: user.get("password_expires_at").and_then(Value::as_str).and_then(time::parse_iso),
            methods: texts(token, "methods")?,
            audit_ids: texts(token, "audit_ids")?,
            issued_at,
            expires_at: time::parse_iso(token.get("expires_at")?.as_str()?)?,
            scope,
            roles,
            credential,
        };
        (token.roles.len() <= ROLES && token.methods.len() <= 16 && (1..=2).contains(&token.audit_ids.len()))
            .then_some(token)
    }
}

/// A role has no identifier in the directory: its name has one here, always the same.
#[must_use]
pub fn role_id(name: &str) -> String {
    let mut id = sha256(&["role", name]);
    id.truncate(32);
    id
}

fn named(named: &Named) -> Value {
    json!({ "id": named.id, "name": named.name })
}

fn read_named(value: &Value) -> Option<Named> {
    let members = value.as_object()?;
    Some(Named { id: text(members, "id")?, name: text(members, "name")? })
}

fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    let text = members.get(name)?.as_str()?;
    (!text.is_empty() && text.len() <= NAME).then(|| text.to_owned())
}

fn texts(members: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let items = members.get(name)?.as_array()?;
    items.iter().map(|item| item.as_str().filter(|text| text.len() <= NAME).map(str::to_owned)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Credential, Named, Scope, Token, role_id};
    use serde_json::{Value, json};

    pub(crate) fn name(id: &str, name: &str) -> Named {
        Named { id: id.into(), name: name.into() }
    }

    pub(crate) fn token(scope: Scope) -> Token {
        let roles = if scope == Scope::Unscoped { vec![] } else { vec!["operator".to_owned()] };
        Token {
            user: name("u1", "ann"),
            user_domain: name("d1", "smart"),
            password_expires_at: Some(5_000),
            methods: vec!["password".into()],
            audit_ids: vec!["AAAAAAAAAAAAAAAAAAAAAA".into()],
            issued_at: 1_000_000_000,
            expires_at: 4_600,
            scope,
            roles,
            credential: None,
        }
    }

    fn project() -> Scope {
        Scope::Project { project: name("p1", "gardens"), domain: name("d1", "smart") }
    }

    #[test]
    fn what_is_said_is_understood() {
        let mut with_credential = token(project());
        with_credential.credential = Some(Credential { named: name("c1", "pump"), restricted: false });
        let scopes = [Scope::Unscoped, Scope::System, Scope::Domain(name("d1", "smart")), project()];
        for token in scopes.into_iter().map(token).chain([with_credential]) {
            assert_eq!(Token::from_json(&token.to_json(Some(json!([])))), Some(token));
        }
    }

    #[test]
    fn the_document_is_keystones() {
        assert_eq!(
            token(project()).to_json(None),
            json!({ "token": {
                "methods": ["password"],
                "user": {
                    "domain": { "id": "d1", "name": "smart" }, "id": "u1", "name": "ann",
                    "password_expires_at": "1970-01-01T01:23:20.000000Z",
                },
                "audit_ids": ["AAAAAAAAAAAAAAAAAAAAAA"],
                "expires_at": "1970-01-01T01:16:40.000000Z",
                "issued_at": "1970-01-01T00:16:40.000000Z",
                "project": { "domain": { "id": "d1", "name": "smart" }, "id": "p1", "name": "gardens" },
                "is_domain": false,
                "roles": [{ "id": role_id("operator"), "name": "operator" }],
            }})
        );
        let unscoped = token(Scope::Unscoped).to_json(Some(json!([])));
        assert!(unscoped["token"].get("catalog").is_none() && unscoped["token"].get("roles").is_none());
    }

    #[test]
    fn what_is_no_token_is_none() {
        let good = token(project()).to_json(None);
        for (pointer, value) in [
            ("/token/user/id", json!("")),
            ("/token/user/id", json!(7)),
            ("/token/user/name", json!("x".repeat(600))),
            ("/token/user/domain", Value::Null),
            ("/token/expires_at", json!("soon")),
            ("/token/audit_ids", json!([])),
            ("/token/roles", json!([{ "id": "x" }])),
            ("/token/roles", Value::Array(vec![json!({ "name": "x" }); 257])),
            ("/token/project/domain", Value::Null),
            ("/token", json!([])),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_eq!(Token::from_json(&bad), None, "{pointer}");
        }
    }
}
