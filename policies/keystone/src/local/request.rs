//! What a client asks for at `POST /v3/auth/tokens`, read strictly.

use serde_json::{Map, Value};

/// The most methods of one request.
const METHODS: usize = 8;

/// A domain, by name or identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainRef {
    /// By identifier.
    Id(String),
    /// By name.
    Name(String),
}

/// A user or a project, by identifier, or by name within a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By identifier.
    Id(String),
    /// By name.
    Name(String, DomainRef),
}

/// Which application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialRef {
    /// By identifier.
    Id(String),
    /// By its name and whose it is.
    Name(String, Reference),
}

/// One proof of who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A password. None: it was left out, which is never right.
    Password(Reference, Option<String>),
    /// An earlier token.
    Token(String),
    /// An application credential with its secret.
    Credential(CredentialRef, Option<String>),
}

/// What the token is to be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The user's default project, if there is one.
    Default,
    /// Nothing.
    Unscoped,
    /// The whole installation.
    System,
    /// A domain.
    Domain(DomainRef),
    /// A project.
    Project(Reference),
}

/// A request that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Each at most once.
    pub methods: Vec<Method>,
    /// What for.
    pub scope: Wanted,
}

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// What is wrong, in one sentence.
    Malformed(String),
    /// It names a method that is not served.
    UnknownMethod,
    /// An application credential is for one project; a scope cannot be asked for beside it.
    ScopedCredential,
}

type Read<T> = Result<T, Problem>;

fn malformed<T>(text: impl Into<String>) -> Read<T> {
    Err(Problem::Malformed(text.into()))
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &[u8]) -> Read<Self> {
        let document = match serde_json::from_slice(body) {
            Ok(Value::Object(document)) => document,
            _ if body.is_empty() => return malformed("the request has no body"),
            _ => return malformed("the body is not a JSON object"),
        };
        let auth = object(&document, "auth", "")?;
        let identity = object(auth, "identity", "auth.")?;
        let Some(Value::Array(names)) = identity.get("methods") else {
            return malformed("auth.identity.methods must be an array of strings");
        };
        if names.len() > METHODS {
            return malformed("auth.identity.methods has too many elements");
        }
        let mut methods = Vec::new();
        for name in names {
            let Some(name) = name.as_str() else {
                return malformed("auth.identity.methods must be an array of strings");
            };
            let method = match name {
                "password" => password(identity)?,
                "token" => Method::Token(needed(object(identity, name, PLACE)?, "id", "auth.identity.token.")?),
                "application_credential" => credential(identity)?,
                _ if identity.contains_key(name) => return Err(Problem::UnknownMethod),
                _ => return malformed(format!("auth.identity has no member for the method {:?}", short(name))),
            };
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        let scope = scope(auth.get("scope"))?;
        if methods.iter().any(|method| matches!(method, Method::Credential(..))) && scope != Wanted::Default {
            return Err(Problem::ScopedCredential);
        }
        Ok(Self { methods, scope })
    }
}

const PLACE: &str = "auth.identity.";

fn password(identity: &Map<String, Value>) -> Read<Method> {
    const USER: &str = "auth.identity.password.user.";
    let user = object(object(identity, "password", PLACE)?, "user", "auth.identity.password.")?;
    Ok(Method::Password(reference(user, USER)?, text(user, "password", USER)?))
}

fn credential(identity: &Map<String, Value>) -> Read<Method> {
    const AT: &str = "auth.identity.application_credential.";
    let given = object(identity, "application_credential", PLACE)?;
    let secret = text(given, "secret", AT)?;
    let by = match (text(given, "id", AT)?, text(given, "name", AT)?) {
        (Some(id), _) => CredentialRef::Id(id),
        (None, Some(name)) => {
            const USER: &str = "auth.identity.application_credential.user.";
            CredentialRef::Name(name, reference(object(given, "user", AT)?, USER)?)
        }
        (None, None) => return malformed(format!("{AT}id or {AT}name must be there")),
    };
    Ok(Method::Credential(by, secret))
}

fn scope(value: Option<&Value>) -> Read<Wanted> {
    const ONE: &str = "auth.scope must be one of project, domain, system and unscoped";
    let scope = match value {
        None | Some(Value::Null) => return Ok(Wanted::Default),
        Some(Value::String(word)) if word == "unscoped" => return Ok(Wanted::Unscoped),
        Some(Value::Object(scope)) => scope,
        Some(_) => return malformed(ONE),
    };
    let known: Vec<_> =
        ["project", "domain", "system", "unscoped"].into_iter().filter(|name| scope.contains_key(*name)).collect();
    match known[..] {
        ["unscoped"] => Ok(Wanted::Unscoped),
        ["system"] => object(scope, "system", "auth.scope.").map(|_| Wanted::System),
        ["domain"] => {
            let domain = object(scope, "domain", "auth.scope.")?;
            Ok(Wanted::Domain(domain_ref(domain, "auth.scope.domain.")?))
        }
        ["project"] => {
            let project = object(scope, "project", "auth.scope.")?;
            Ok(Wanted::Project(reference(project, "auth.scope.project.")?))
        }
        _ => malformed(ONE),
    }
}

/// A name counts before an identifier, as with any Keystone.
fn reference(members: &Map<String, Value>, at: &str) -> Read<Reference> {
    let id = text(members, "id", at)?;
    match (text(members, "name", at)?, id) {
        (Some(name), _) => {
            let domain = object(members, "domain", at)?;
            Ok(Reference::Name(name, domain_ref(domain, &format!("{at}domain."))?))
        }
        (None, Some(id)) => Ok(Reference::Id(id)),
        (None, None) => malformed(format!("{at}id or {at}name must be there")),
    }
}

fn domain_ref(members: &Map<String, Value>, at: &str) -> Read<DomainRef> {
    let id = text(members, "id", at)?;
    match (text(members, "name", at)?, id) {
        (Some(name), _) => Ok(DomainRef::Name(name)),
        (None, Some(id)) => Ok(DomainRef::Id(id)),
        (None, None) => malformed(format!("{at}id or {at}name must be there")),
    }
}

fn object<'v>(members: &'v Map<String, Value>, name: &str, at: &str) -> Read<&'v Map<String, Value>> {
    match members.get(name) {
        Some(Value::Object(object)) => Ok(object),
        None | Some(Value::Null) => malformed(format!("{at}{name} is missing")),
        Some(_) => malformed(format!("{at}{name} must be an object")),
    }
}

fn needed(members: &Map<String, Value>, name: &str, at: &str) -> Read<String> {
    text(members, name, at)?.map_or_else(|| malformed(format!("{at}{name} is missing")), Ok)
}

/// A text that is not empty: an empty one is as good as none.
fn text(members: &Map<String, Value>, name: &str, at: &str) -> Read<Option<String>> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => malformed(format!("{at}{name} must be a string")),
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::{DomainRef, Method, Problem, Reference, Request, Wanted};
    use proptest::prelude::*;

    fn parse(identity: &str, scope: &str) -> Result<Request, Problem> {
        let scope = if scope.is_empty() { String::new() } else { format!(r#","scope":{scope}"#) };
        Request::parse(format!(r#"{{"auth":{{"identity":{identity}{scope}}}}}"#).as_bytes())
    }

    const ANN: &str = r#"{"methods":["password"],"password":{"user":{"id":"u1","password":"pw"}}}"#;

    #[test]
    fn scopes_are_read() {
        let domain = || DomainRef::Name("smart".into());
        for (scope, wanted) in [
            ("", Wanted::Default),
            ("null", Wanted::Default),
            (r#""unscoped""#, Wanted::Unscoped),
            (r#"{"unscoped":{}}"#, Wanted::Unscoped),
            (r#"{"system":{"all":true}}"#, Wanted::System),
            (r#"{"domain":{"id":"d1"}}"#, Wanted::Domain(DomainRef::Id("d1".into()))),
            (r#"{"domain":{"name":"smart"}}"#, Wanted::Domain(domain())),
            (r#"{"project":{"id":"p1"}}"#, Wanted::Project(Reference::Id("p1".into()))),
            (
                r#"{"project":{"name":"g","domain":{"name":"smart"}}}"#,
                Wanted::Project(Reference::Name("g".into(), domain())),
            ),
        ] {
            let request = parse(ANN, scope).unwrap();
            assert_eq!(request.scope, wanted, "{scope}");
            assert_eq!(request.methods, [Method::Password(Reference::Id("u1".into()), Some("pw".into()))]);
        }
        for scope in [r#""system""#, "7", "{}", r#"{"galaxy":{}}"#, r#"{"system":{},"domain":{"id":"d"}}"#] {
            assert!(matches!(parse(ANN, scope), Err(Problem::Malformed(_))), "{scope}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (identity, part) in [
            ("[]", "auth.identity must be an object"),
            ("{}", "auth.identity.methods must be an array"),
            (r#"{"methods":["password"]}"#, "auth.identity.password is missing"),
            (r#"{"methods":["password"],"password":{}}"#, "auth.identity.password.user is missing"),
            (r#"{"methods":["password"],"password":{"user":{"name":"a"}}}"#, "user.domain is missing"),
            (r#"{"methods":["password"],"password":{"user":{"id":1}}}"#, "user.id must be a string"),
            (r#"{"methods":["token"],"token":{}}"#, "auth.identity.token.id is missing"),
            (r#"{"methods":["application_credential"],"application_credential":{}}"#, "application_credential.id or"),
        ] {
            let Err(Problem::Malformed(why)) = parse(identity, "") else { panic!("{identity}") };
            assert!(why.contains(part), "{identity}: {why}");
        }
        assert_eq!(parse(r#"{"methods":["magic"],"magic":{}}"#, ""), Err(Problem::UnknownMethod));
        let credential = r#"{"methods":["application_credential"],"application_credential":{"id":"c","secret":"s"}}"#;
        assert_eq!(parse(credential, r#""unscoped""#), Err(Problem::ScopedCredential));
    }

    proptest! {
        #[test]
        fn any_body_is_survived(body in ".{0,80}") {
            let _ = Request::parse(body.as_bytes());
        }
    }
}
