//! `[world]`: what a case says is there when the policy is asked.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::read::{Moment, Octets, Text, Whole, members, object};
use crate::config::problem::Problem;
use crate::config::reader::{Located, Section, words};

/// The world of a case, as it is written. That of a case is laid over that of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    time: Option<u64>,
    seed: Option<u64>,
    /// Keys that `jose` knows by name.
    pub(super) keys: Vec<SceneKey>,
    /// Entries of the directory by the name of their list in an export.
    pub(super) entries: Vec<(&'static str, Entry)>,
    /// Identifiers of tokens that were revoked.
    pub(super) revoked: Vec<String>,
    /// What the policy has stored.
    pub(super) store: Vec<(String, Octets)>,
    /// What other servers answer.
    pub(super) answers: Vec<SceneAnswer>,
}

/// An entry of the directory, in the words of an export.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its members; times are written when it is made.
    pub(super) members: Map<String, Value>,
    /// Members that are times.
    pub(super) times: Vec<(&'static str, Moment)>,
    /// A user's password.
    pub(super) password: Option<String>,
    /// The keys of the world whose public halves an app has registered.
    pub(super) public: Vec<String>,
}

words! {
    /// What a key is for.
    Algorithm {
        /// RSA, 2048 bits.
        Rs256 = "RS256",
        /// P-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// A key of the world.
#[derive(Clone, Debug)]
pub(super) struct SceneKey {
    /// What policies call it.
    pub(super) name: String,
    /// Where it comes from.
    pub(super) origin: KeyOrigin,
}

/// Where a key comes from.
#[derive(Clone, Debug)]
pub(super) enum KeyOrigin {
    /// It is made anew.
    Generate(Algorithm),
    /// A file.
    Pem(PathBuf),
    /// An HMAC secret.
    Secret(String),
}

/// An answer of another server.
#[derive(Clone, Debug)]
pub(super) struct SceneAnswer {
    /// `GET http://…`; an asterisk at the end stands for anything.
    pub(super) request: String,
    /// Header fields that the request must have.
    pub(super) with: Vec<(String, Text)>,
    /// How often it is given. None: always.
    pub(super) times: Option<u64>,
    /// None: the status.
    pub(super) fails: Option<Fails>,
    /// The response.
    pub(super) status: u16,
    /// Its header fields.
    pub(super) headers: Vec<(String, Text)>,
    /// Its body.
    pub(super) body: Octets,
}

words! {
    /// How a server does not answer.
    Fails {
        /// There is no connection.
        Unreachable = "unreachable",
        /// It takes too long.
        Timeout = "timeout",
    }
}

/// The time of a case that says none: 2026-01-01T00:00:00Z.
const TIME: u64 = 1_767_225_600;

impl Scene {
    /// Seconds since 1970.
    pub(super) fn time(&self) -> u64 {
        self.time.unwrap_or(TIME)
    }

    /// What all randomness follows from.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// This one, and where it says nothing the other.
    pub(super) fn over(self, below: &Self) -> Self {
        fn both<T: Clone>(below: &[T], own: Vec<T>) -> Vec<T> {
            below.iter().cloned().chain(own).collect()
        }
        Self {
            time: self.time.or(below.time),
            seed: self.seed.or(below.seed),
            keys: both(&below.keys, self.keys),
            entries: both(&below.entries, self.entries),
            revoked: both(&below.revoked, self.revoked),
            store: both(&below.store, self.store),
            // Those of the case are looked at first.
            answers: both(&self.answers, below.answers.clone()),
        }
    }

    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Self {
        let time = section.optional::<Moment>("time").map(|moment| moment.at(TIME));
        let mut scene = Self {
            time,
            seed: section.optional::<Whole>("seed").map(|seed| seed.0),
            keys: section.sections("key", "[[world.key]]").into_iter().filter_map(|s| key(s, base)).collect(),
            entries: Vec::new(),
            revoked: section.optional("revoked-tokens").unwrap_or_default(),
            store: members(&mut section, "store"),
            answers: section.sections("http", "[[world.http]]").into_iter().filter_map(answer).collect(),
        };
        type Reader = fn(&mut Section<'_>) -> Option<Entry>;
        let kinds: [(&'static str, &'static str, &'static str, Reader); 7] = [
            ("domain", "[[world.domain]]", "domains", domain),
            ("project", "[[world.project]]", "projects", project),
            ("user", "[[world.user]]", "users", user),
            ("role", "[[world.role]]", "roles", role),
            ("app", "[[world.app]]", "apps", app),
            ("device", "[[world.device]]", "devices", device),
            ("api-key", "[[world.api-key]]", "keys", api_key),
        ];
        for (key, title, list, read) in kinds {
            for mut entry in section.sections(key, title) {
                scene.entries.extend(read(&mut entry).map(|read| (list, read)));
                entry.finish();
            }
        }
        section.finish();
        scene
    }
}

fn key(mut section: Section<'_>, base: &Path) -> Option<SceneKey> {
    let name = section.required("name", "what policies call it");
    let generate = section.optional("generate").map(KeyOrigin::Generate);
    let pem = section.optional::<String>("pem").map(|file| KeyOrigin::Pem(base.join(file)));
    let secret = section.optional("secret").map(KeyOrigin::Secret);
    let origin = generate.or(pem).or(secret);
    if origin.is_none() {
        let problem = Problem::new(section.span(), "[[world.key]] has no key");
        section.problems().add(problem.help("it has `generate` (RS256, ES256, EdDSA), `pem` (a file) or `secret`"));
    }
    section.finish();
    Some(SceneKey { name: name?, origin: origin? })
}

fn answer(mut section: Section<'_>) -> Option<SceneAnswer> {
    let request =
        section.required::<Located<String>>("request", "a method and a URL, such as \"GET http://host/path\"");
    if let Some(text) = &request
        && !text.contains(' ')
    {
        let problem = Problem::new(Located::span(text), "this is not a method and a URL");
        section.problems().add(problem.help("write it as in \"GET http://host/path\""));
    }
    let problems = section.problems();
    let json = section.raw("json").and_then(|value| crate::config::policy::json(value, problems));
    let body = section.optional::<Octets>("body");
    let read = SceneAnswer {
        request: request.map(|text| text.value).unwrap_or_default(),
        with: members(&mut section, "with-headers"),
        times: section.optional::<Whole>("times").map(|times| times.0),
        fails: section.optional("fails"),
        status: section.optional("status").unwrap_or(200),
        headers: members(&mut section, "headers"),
        body: json.map(|json| Octets::text(&json.to_string())).or(body).unwrap_or(Octets::Plain(Vec::new())),
    };
    section.finish();
    Some(read)
}

/// An entry with what every kind has.
fn entry(section: &mut Section<'_>, members: Value) -> Entry {
    let mut members = match members {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let attributes: Vec<Value> =
        object(section, "attributes").into_iter().map(|(name, value)| json!([name, plain(&value)])).collect();
    members.insert("attributes".to_owned(), attributes.into());
    Entry { members, times: vec![("created_at", Moment::From(-86_400))], password: None, public: Vec::new() }
}

/// A value as the directory keeps it: a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.optional(key)
}

/// An identifier that looks like the directory's own and follows from a name.
fn made_up(name: &str) -> String {
    Sha256::digest(name).iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}

fn yes(section: &mut Section<'_>, key: &'static str) -> bool {
    section.optional(key).unwrap_or(true)
}

fn domain(section: &mut Section<'_>) -> Option<Entry> {
    let id: String = section.required("id", "an identifier")?;
    let name = text(section, "name").unwrap_or_else(|| id.clone());
    let enabled = yes(section, "enabled");
    let mut entry = entry(section, json!({ "id": id, "name": name, "enabled": enabled }));
    entry.times.clear();
    Some(entry)
}

fn project(section: &mut Section<'_>) -> Option<Entry> {
    let name: String = section.required("name", "a name")?;
    let id = text(section, "id").unwrap_or_else(|| made_up(&name));
    let domain = text(section, "domain-id").unwrap_or_else(|| "default".to_owned());
    let (parent, enabled) = (text(section, "parent-id"), yes(section, "enabled"));
    let members = json!({ "id": id, "name": name, "domain_id": domain, "parent_id": parent, "enabled": enabled });
    let mut entry = entry(section, members);
    entry.times.clear();
    Some(entry)
}

fn user(section: &mut Section<'_>) -> Option<Entry> {
    let name: String = section.required("name", "a name")?;
    let id = text(section, "id").unwrap_or_else(|| made_up(&name));
    let domain = text(section, "domain-id").unwrap_or_else(|| "default".to_owned());
    let (email, verified, enabled) = (text(section, "email"), yes(section, "verified"), yes(section, "enabled"));
    let members = json!({
        "id": id, "name": name, "domain_id": domain, "email": email, "verified": verified, "enabled": enabled,
        "password_expires_at": null,
    });
    let mut entry = entry(section, members);
    entry.times.push(("updated_at", Moment::From(-86_400)));
    entry.password = text(section, "password");
    if let Some(at) = section.optional("password-expires-at") {
        entry.times.push(("password_expires_at", at));
    }
    Some(entry)
}

fn role(section: &mut Section<'_>) -> Option<Entry> {
    let user: String = section.required("user", "the identifier of a user")?;
    let role: String = section.required("role", "the name of a role")?;
    let scope = match text(section, "scope").as_deref().map(|scope| scope.split_once(':').ok_or(scope)) {
        Some(Ok((kind, id))) => json!({ kind: id }),
        Some(Err(word)) => json!(word),
        None => json!("system"),
    };
    let members = json!({ "user": user, "roles": [{ "role": role, "scope": scope }] });
    let Value::Object(members) = members else { return None };
    Some(Entry { members, times: Vec::new(), password: None, public: Vec::new() })
}

fn app(section: &mut Section<'_>) -> Option<Entry> {
    let id: String = section.required("id", "an identifier")?;
    let name = text(section, "name").unwrap_or_else(|| id.clone());
    let (owner, enabled, url) = (text(section, "owner-id"), yes(section, "enabled"), text(section, "jwks-url"));
    let members = json!({ "id": id, "name": name, "owner_id": owner, "enabled": enabled, "keys": [], "jwks_url": url });
    let mut entry = entry(section, members);
    entry.public = section.optional("keys").unwrap_or_default();
    Some(entry)
}

fn device(section: &mut Section<'_>) -> Option<Entry> {
    let client: String = section.required("client-id", "its client identifier")?;
    let id = text(section, "id").unwrap_or_else(|| made_up(&client));
    let namespace = text(section, "namespace").unwrap_or_else(|| client.clone());
    let credential = text(section, "credential").unwrap_or_else(|| "username".to_owned());
    let members = json!({
        "id": id, "client_id": client, "namespace": namespace, "credential": credential,
        "app_id": text(section, "app-id"), "owner_id": text(section, "owner-id"), "enabled": yes(section, "enabled"),
        "fingerprint": text(section, "fingerprint"), "certificate_subject": text(section, "certificate-subject"),
    });
    Some(entry(section, members))
}

fn api_key(section: &mut Section<'_>) -> Option<Entry> {
    let secret: String = section.required("secret", "the secret that clients send")?;
    let owner: String = section.required("owner", "its owner, such as \"consumer:alice\"")?;
    let hash: String = Sha256::digest(&secret).iter().map(|octet| format!("{octet:02x}")).collect();
    let id = text(section, "id").unwrap_or_else(|| hash[..32].to_owned());
    let kind = text(section, "kind").unwrap_or_else(|| "secret".to_owned());
    let members = json!({ "id": id, "kind": kind, "owner": owner, "expires_at": null, "hash": hash });
    let mut entry = entry(section, members);
    if let Some(at) = section.optional("expires-at") {
        entry.times.push(("expires_at", at));
    }
    Some(entry)
}
