//! The rooms behind a policy in one case: made of what the case says, in memory, and gone with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_grant::{GrantDraft, HttpAnswer};
use portcullis_identity::{Directory, DirectoryOptions, KeySource, Keyring, NamedKey, PasswordCost};
use portcullis_policy::{
    Asked, Ear, EngineOptions, Host, HostOptions, NoAnswer, Outside, Randomness, Servers, Services,
};
use portcullis_store::{Clock, Options, Store};
use rcgen::KeyPair;
use serde_json::{Map, Value, json};

use super::read::{Moment, Octets, Token};
use super::scene::{Algorithm, Entry, Fails, KeyOrigin, Scene, SceneAnswer};
use super::subject::Subject;

/// What the policy is called in logs and in the store.
pub(super) const NAME: &str = "desk";
/// What its storage is called.
const NAMESPACE: &str = "policy:desk";

/// A world.
pub(super) struct World {
    pub(super) host: Host,
    pub(super) stage: Arc<Stage>,
    store: Store,
    directory: Directory,
    keyring: Keyring,
    hand: Arc<AtomicU64>,
}

/// What is played, and what was seen of it.
#[derive(Debug, Default)]
pub(super) struct Stage {
    answers: Mutex<Vec<(Line, u64)>>,
    /// Requests to other servers.
    pub(super) asked: Mutex<Vec<Asked>>,
    /// Those of them that the case has no answer to.
    pub(super) unanswered: Mutex<Vec<String>>,
    /// Lines of the log.
    pub(super) lines: Mutex<Vec<String>>,
    /// The last grant, as the policy worded it.
    pub(super) draft: Mutex<Option<GrantDraft>>,
}

/// An answer with its body made.
#[derive(Debug)]
struct Line {
    written: SceneAnswer,
    body: Vec<u8>,
}

impl World {
    /// Makes the rooms.
    ///
    /// # Errors
    /// What the case says cannot be: a sentence.
    pub(super) fn build(scene: &Scene, subject: &Subject) -> Result<Self, String> {
        // Everything was made a day ago, one thing a second: what follows from a new password or a revocation holds from
        // the next second on, and nothing should wait for it.
        let hand = Arc::new(AtomicU64::new((scene.time().saturating_sub(86_400)) * 1000));
        let (shown, step) = (Arc::clone(&hand), Arc::new(AtomicU64::new(1000)));
        let paces = Arc::clone(&step);
        let clock = Clock::new(move || shown.fetch_add(paces.load(Ordering::SeqCst), Ordering::SeqCst));
        let store = Store::in_memory(Options { clock: clock.clone(), ..Options::default() }).map_err(words)?;
        let options = DirectoryOptions {
            clock: clock.clone(),
            // What a hash costs is not what is tested.
            password_cost: PasswordCost { memory_kib: 64, passes: 1 },
            ..DirectoryOptions::default()
        };
        let directory = Directory::open(store.clone(), options).map_err(words)?;
        let keyring = Keyring::open(store.clone(), clock.clone(), &keys(scene)?)
            .map_err(|error| format!("a key of the world cannot be used: {error}"))?;
        let stage = Arc::new(Stage::default());
        let outside = Outside {
            clock: Some(clock),
            randomness: Randomness::seeded(scene.seed()),
            servers: Some(Arc::clone(&stage) as Arc<dyn Servers>),
            ear: Some(Arc::clone(&stage) as Arc<dyn Ear>),
        };
        let services = Services {
            store: Some(store.clone()),
            directory: Some(directory.clone()),
            keyring: Some(keyring.clone()),
            outside,
            ..Services::default()
        };
        let host = Host::new(HostOptions {
            engine: EngineOptions { pooling: false, ..EngineOptions::default() },
            compiler: Some(Arc::clone(&subject.compiler) as _),
            data: None,
            services,
        });
        let world = Self { host: host.map_err(words)?, stage, store, directory, keyring, hand };
        world.fill(scene)?;
        step.store(0, Ordering::SeqCst);
        world.hand.store(scene.time() * 1000, Ordering::SeqCst);
        for (key, value) in &scene.store {
            let stored = world.store.key_value(NAMESPACE, u64::MAX >> 1).map_err(words)?;
            stored.set(key, &world.octets(value)?, None).wait().map_err(words)?;
        }
        for answer in &scene.answers {
            let body = world.octets(&answer.body)?;
            let times = answer.times.unwrap_or(u64::MAX);
            world.stage.answers.lock().push((Line { written: answer.clone(), body }, times));
        }
        Ok(world)
    }

    /// Seconds since 1970, in this world.
    pub(super) fn now(&self) -> u64 {
        self.hand.load(Ordering::SeqCst) / 1000
    }

    /// Time passes.
    pub(super) fn wait(&self, time: std::time::Duration) {
        self.hand.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 1), Ordering::SeqCst);
    }

    /// Octets as they are in this world: tokens are signed here.
    pub(super) fn octets(&self, of: &Octets) -> Result<Vec<u8>, String> {
        match of {
            Octets::Plain(octets) => Ok(octets.clone()),
            Octets::Token(token) => Ok(format!("{}{}", token.prefix, self.token(token)?).into_bytes()),
        }
    }

    /// As [`World::octets`], of what must be text.
    pub(super) fn text(&self, of: &Octets) -> Result<String, String> {
        String::from_utf8(self.octets(of)?).map_err(|_| "a text is not UTF-8".to_owned())
    }

    fn token(&self, token: &Token) -> Result<String, String> {
        let mut claims = token.claims.clone();
        for name in ["exp", "nbf", "iat"] {
            if let Some(moment) = claims.get(name).and_then(Value::as_str).and_then(Moment::parse) {
                claims.insert(name.to_owned(), moment.at(self.now()).into());
            }
        }
        let header =
            if token.header.is_empty() { String::new() } else { Value::from(token.header.clone()).to_string() };
        self.keyring
            .sign(&token.key, &header, &Value::from(claims).to_string())
            .map_err(|error| format!("no token can be made with the key {:?}: {error}", token.key))
    }

    /// What the policy has stored under a key.
    pub(super) fn stored(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.store.key_value(NAMESPACE, u64::MAX >> 1).map_err(words)?.get(key).map_err(words)
    }

    /// The directory, in the words of an export.
    pub(super) fn directory(&self) -> Result<Value, String> {
        serde_json::from_str(&self.directory.export(false).map_err(words)?).map_err(words)
    }

    fn fill(&self, scene: &Scene) -> Result<(), String> {
        let now = scene.time();
        let mut document = Map::from_iter([("version".to_owned(), Value::from(1))]);
        for (list, entry) in &scene.entries {
            let list = document.entry(*list).or_insert_with(|| json!([]));
            if let Value::Array(entries) = list {
                entries.push(members(entry, now));
            }
        }
        self.directory
            .import(&Value::from(document).to_string())
            .map_err(|error| format!("the directory of the world cannot be: {error}"))?;
        for (_, entry) in &scene.entries {
            let id = entry.members.get("id").and_then(Value::as_str).unwrap_or_default();
            if let Some(password) = &entry.password {
                self.directory
                    .set_password(id, password.as_bytes())
                    .map_err(|error| format!("the password of the user {id:?} cannot be set: {error}"))?;
                let expires = entry.times.iter().find(|(name, _)| *name == "password_expires_at");
                if let Some((_, at)) = expires {
                    self.directory.set_password_expiry(id, Some(at.at(now))).map_err(words)?;
                }
            }
            for key in &entry.public {
                let jwks = self
                    .keyring
                    .public_jwks(key)
                    .map_err(|error| format!("the app {id:?} cannot have the key {key:?}: {error}"))?;
                self.directory
                    .add_app_key(id, &jwks)
                    .map_err(|error| format!("the app {id:?} cannot have the key {key:?}: {error}"))?;
            }
        }
        for token in &scene.revoked {
            self.directory.revoke_token(token, now + 10 * 365 * 86_400).map_err(words)?;
        }
        Ok(())
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn members(entry: &Entry, now: u64) -> Value {
    let mut members = entry.members.clone();
    for (name, moment) in &entry.times {
        members.insert((*name).to_owned(), moment.at(now).into());
    }
    members.into()
}

fn keys(scene: &Scene) -> Result<Vec<NamedKey>, String> {
    let make = |algorithm| {
        let made = match algorithm {
            Algorithm::Rs256 => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
            Algorithm::Es256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::EdDsa => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        made.map(|pair| KeySource::Text(pair.serialize_pem())).map_err(words)
    };
    let mut named: Vec<NamedKey> = Vec::new();
    for key in &scene.keys {
        let source = match &key.origin {
            KeyOrigin::Generate(algorithm) => make(*algorithm)?,
            KeyOrigin::Pem(file) => KeySource::Pem(file.clone()),
            KeyOrigin::Secret(secret) => KeySource::Octets(secret.clone().into_bytes()),
        };
        // A key of the case takes the place of one of the file.
        named.retain(|other| other.name != key.name);
        named.push(NamedKey { name: key.name.clone(), source });
    }
    Ok(named)
}

impl Line {
    fn answers(&self, asked: &Asked, shown: &str) -> bool {
        let request = &self.written.request;
        let fits = request.strip_suffix('*').map_or(shown == request, |begin| shown.starts_with(begin));
        let has = |(name, value): &(String, super::read::Text)| {
            asked.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && *v == value.0)
        };
        fits && self.written.with.iter().all(has)
    }
}

impl Servers for Stage {
    fn answer(&self, request: Asked) -> Result<HttpAnswer, NoAnswer> {
        let shown = format!("{} {}", request.method, request.url);
        self.asked.lock().push(request.clone());
        let mut answers = self.answers.lock();
        let Some((line, left)) = answers.iter_mut().find(|(line, left)| *left > 0 && line.answers(&request, &shown))
        else {
            self.unanswered.lock().push(shown.clone());
            return Err(NoAnswer::Unreachable(format!("the case has no answer to {shown}")));
        };
        *left -= 1;
        match line.written.fails {
            Some(Fails::Unreachable) => Err(NoAnswer::Unreachable("the case says so".to_owned())),
            Some(Fails::Timeout) => Err(NoAnswer::Timeout),
            None => Ok(HttpAnswer {
                status: line.written.status,
                headers: line.written.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.0.clone())).collect(),
                body: line.body.clone(),
            }),
        }
    }
}

impl Ear for Stage {
    fn line(&self, level: &str, line: &str) {
        self.lines.lock().push(format!("{level}: {line}"));
    }

    fn granted(&self, draft: &GrantDraft) {
        *self.draft.lock() = Some(draft.clone());
    }
}
