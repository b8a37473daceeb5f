//! The keys that go by a name: the gateway's own, and those of the configuration.
//!
//! The gateway's own keys are made when they are first used and kept in the store, which only its owner can read. A key
//! that was rotated out keeps its public half until its overlap ends; its private half is erased at once. Nothing here
//! gives out a private half.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use portcullis_store::{Batch, Clock, Durability, Store};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::keys::{
    PublicEntry, PublicKey, SigningKey, VerificationKey, compact, entries_from_text, jwk, jwk_set, verification_key,
};

/// The gateway's own RSA key of 2048 bits: RS256.
pub const GATEWAY_RS256: &str = "gateway-rs256";
/// The gateway's own P-256 key: ES256.
pub const GATEWAY_ES256: &str = "gateway-es256";

const KIND: &str = "signing-key";
/// Octets of a key file.
const MAX_FILE: u64 = 256 * 1024;

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct NamedKey {
    /// What policies call it; does not begin with `gateway-`.
    pub name: String,
    /// Where it is.
    pub source: KeySource,
}

/// Where a configured key is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file of PEM (or of a JWK Set). One private key (PKCS#8, PKCS#1 or SEC 1) signs and verifies; public keys only
    /// verify.
    Pem(PathBuf),
    /// A file whose octets, a trailing line break left out, are an HMAC secret of at least 32 octets.
    Secret(PathBuf),
    /// As [`KeySource::Pem`], the text itself.
    Text(String),
    /// As [`KeySource::Secret`], the octets themselves.
    Octets(Vec<u8>),
}

/// The keys that the gateway signs with, and checks with by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    configured: HashMap<String, Configured>,
    rs256: Mutex<Own>,
    es256: Mutex<Own>,
}

#[derive(Debug)]
struct Configured {
    signing: Option<SigningKey>,
    kid: Option<String>,
    public: Vec<PublicEntry>,
    verification: Arc<[VerificationKey]>,
}

/// One of the gateway's own keys through its life.
#[derive(Debug, Default)]
struct Own {
    current: Option<Arc<Current>>,
    retired: Vec<Retired>,
}

#[derive(Debug)]
struct Current {
    signing: SigningKey,
    kid: String,
    public: PublicKey,
}

#[derive(Debug)]
struct Retired {
    kid: String,
    public: PublicKey,
    until: u64,
}

/// A key in the store, under its `kid`.
#[derive(Serialize, Deserialize)]
struct Record {
    name: String,
    created_at: u64,
    /// PKCS#8 in base64, while it signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<String>,
    /// The public half as a JWK.
    public: String,
    /// Until when it verifies, once it does not sign any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_until: Option<u64>,
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(private) = &mut self.private {
            zeroize::Zeroize::zeroize(private);
        }
    }
}

impl Keyring {
    /// Reads the configured keys from their files and the gateway's own from the store. None is made yet.
    ///
    /// # Errors
    /// A file that cannot be read, or what is in it; a name that is used twice or is the gateway's own.
    pub fn open(store: Store, clock: Clock, configured: &[NamedKey]) -> Result<Self, KeyError> {
        let mut named = HashMap::new();
        for key in configured {
            if key.name.is_empty() || key.name.starts_with("gateway-") {
                return Err(KeyError::Unsupported(format!("a key cannot be named {:?}", key.name)));
            }
            if named.insert(key.name.clone(), Configured::load(&key.source)?).is_some() {
                return Err(KeyError::Unsupported(format!("two keys are named {:?}", key.name)));
            }
        }
        let (mut rs256, mut es256) = (Own::default(), Own::default());
        let mut broken = None;
        store.visit_entries(KIND, |kid, bytes| {
            if let Err(why) = restore(kid, bytes, &mut rs256, &mut es256) {
                broken.get_or_insert(why);
            }
        })?;
        match broken {
            Some(why) => Err(why),
            None => {
                let (rs256, es256) = (Mutex::new(rs256), Mutex::new(es256));
                Ok(Self(Arc::new(Inner { store, clock, configured: named, rs256, es256 })))
            }
        }
    }

    /// Signs claims (a JSON object, taken byte for byte) and returns the JWS in compact form.
    ///
    /// `header` is empty for `{"alg", "kid", "typ":"JWT"}`, or a JSON object whose members are taken as they are, with
    /// the key's `alg` added. The first use of a gateway key makes it: that blocks for up to a second.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::CannotSign`], [`KeyError::BadToken`], or the key could not be made.
    pub fn sign(&self, name: &str, header: &str, claims: &str) -> Result<String, KeyError> {
        if let Some(own) = self.0.own(name) {
            let current = self.0.current(name, &mut own.lock())?;
            return compact(&current.signing, Some(&current.kid), header, claims);
        }
        let key = self.0.configured(name)?;
        let signing = key.signing.as_ref().ok_or_else(|| KeyError::CannotSign(name.to_owned()))?;
        compact(signing, key.kid.as_deref(), header, claims)
    }

    /// The public halves that tokens signed with this key are checked with, as a JWK Set: of a gateway key also those
    /// that were rotated out and whose overlap has not ended, of a secret none. May make a gateway key, as
    /// [`Keyring::sign`].
    ///
    /// # Errors
    /// [`KeyError::Unknown`], or the key could not be made.
    pub fn public_jwks(&self, name: &str) -> Result<String, KeyError> {
        if self.0.own(name).is_some() {
            return self.jwks_of(&[name]);
        }
        let key = self.0.configured(name)?;
        let algorithm = key.signing.as_ref().map(SigningKey::algorithm);
        let kids: Vec<String> =
            key.public.iter().map(|entry| entry.kid.clone().unwrap_or_else(|| entry.thumbprint())).collect();
        Ok(jwk_set(key.public.iter().zip(&kids).map(|(entry, kid)| (kid.as_str(), algorithm, &entry.key))))
    }

    /// The public halves of all the gateway's own keys as a JWK Set, to publish. May make them, as [`Keyring::sign`].
    ///
    /// # Errors
    /// A key could not be made.
    pub fn gateway_jwks(&self) -> Result<String, KeyError> {
        self.jwks_of(&[GATEWAY_ES256, GATEWAY_RS256])
    }

    /// What checks tokens that were signed with this key. Of a gateway key that was never used: nothing.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn verification_keys(&self, name: &str) -> Result<Arc<[VerificationKey]>, KeyError> {
        let Some(own) = self.0.own(name) else {
            return Ok(Arc::clone(&self.0.configured(name)?.verification));
        };
        let now = self.0.clock.now();
        let own = own.lock();
        let current = own.current.iter().map(|current| (&current.kid, &current.public));
        let retired = own.retired.iter().filter(|old| old.until > now).map(|old| (&old.kid, &old.public));
        Ok(current
            .chain(retired)
            .map(|(kid, key)| verification_key(&PublicEntry { kid: Some(kid.clone()), only: None, key: key.clone() }))
            .collect())
    }

    /// Whether there is a key of this name, and whether it can sign.
    #[must_use]
    pub fn can_sign(&self, name: &str) -> Option<bool> {
        match self.0.own(name) {
            Some(_) => Some(true),
            None => self.0.configured.get(name).map(|key| key.signing.is_some()),
        }
    }

    /// Makes a new gateway key, which signs from now on; the old one verifies for another `overlap` seconds. Choose an
    /// overlap longer than the longest life of a token, plus the time that others keep our JWK Set.
    ///
    /// # Errors
    /// Not the name of a gateway key, or the key could not be made or stored; the old one stays then.
    pub fn rotate(&self, name: &str, overlap: u32) -> Result<(), KeyError> {
        let own = self.0.own(name).ok_or_else(|| KeyError::Unknown(name.to_owned()))?;
        let mut own = own.lock();
        let now = self.0.clock.now();
        let (fresh, record) = generate(name, now)?;
        let mut batch = Batch::new();
        batch.put_entry(KIND, &fresh.kid, record);
        let until = now.saturating_add(u64::from(overlap));
        if let Some(old) = &own.current {
            let record = Record {
                name: name.to_owned(),
                created_at: now,
                private: None,
                public: jwk(&old.kid, None, &old.public),
                retired_until: Some(until),
            };
            batch.put_entry(KIND, &old.kid, encode(&record)?);
        }
        for old in own.retired.iter().filter(|old| old.until <= now) {
            batch.delete_entry(KIND, &old.kid);
        }
        self.0.store.submit_with(batch, Durability::Ack).wait()?;
        own.retired.retain(|old| old.until > now);
        if let Some(old) = own.current.replace(Arc::new(fresh)) {
            own.retired.push(Retired { kid: old.kid.clone(), public: old.public.clone(), until });
        }
        Ok(())
    }

    fn jwks_of(&self, names: &[&str]) -> Result<String, KeyError> {
        let now = self.0.clock.now();
        let mut keys = Vec::new();
        for name in names {
            let Some(own) = self.0.own(name) else { continue };
            let mut own = own.lock();
            let current = self.0.current(name, &mut own)?;
            let algorithm = current.signing.algorithm();
            keys.push((current.kid.clone(), algorithm, current.public.clone()));
            let retired = own.retired.iter().filter(|old| old.until > now);
            keys.extend(retired.map(|old| (old.kid.clone(), algorithm, old.public.clone())));
        }
        Ok(jwk_set(keys.iter().map(|(kid, algorithm, key)| (kid.as_str(), Some(*algorithm), key))))
    }
}

impl Inner {
    fn own(&self, name: &str) -> Option<&Mutex<Own>> {
        match name {
            GATEWAY_RS256 => Some(&self.rs256),
            GATEWAY_ES256 => Some(&self.es256),
            _ => None,
        }
    }

    fn configured(&self, name: &str) -> Result<&Configured, KeyError> {
        self.configured.get(name).ok_or_else(|| KeyError::Unknown(name.to_owned()))
    }

    fn current(&self, name: &str, own: &mut Own) -> Result<Arc<Current>, KeyError> {
        if let Some(current) = &own.current {
            return Ok(Arc::clone(current));
        }
        let (fresh, record) = generate(name, self.clock.now())?;
        let mut batch = Batch::new();
        batch.put_entry(KIND, &fresh.kid, record);
        // Before its first signature leaves: a token whose key a crash has lost could never be checked.
        self.store.submit_with(batch, Durability::Ack).wait()?;
        tracing::info!(key = name, kid = %fresh.kid, "made a signing key");
        Ok(Arc::clone(own.current.insert(Arc::new(fresh))))
    }
}

impl Configured {
    fn load(source: &KeySource) -> Result<Self, KeyError> {
        match source {
            KeySource::Secret(path) => {
                let octets = read(path)?;
                let octets = octets.strip_suffix(b"\n").unwrap_or(&octets);
                Self::of(Some(SigningKey::secret(octets.strip_suffix(b"\r").unwrap_or(octets))?), Vec::new())
            }
            KeySource::Pem(path) => {
                let octets = read(path)?;
                let text = std::str::from_utf8(&octets).map_err(|_| KeyError::Malformed("not text".to_owned()))?;
                Self::of_text(text)
            }
            KeySource::Text(text) => Self::of_text(text),
            KeySource::Octets(octets) => Self::of(Some(SigningKey::secret(octets)?), Vec::new()),
        }
    }

    fn of_text(text: &str) -> Result<Self, KeyError> {
        let json = text.trim_start().starts_with('{');
        match if json { None } else { SigningKey::from_pem(text)? } {
            None => Self::of(None, entries_from_text(text)?),
            Some(signing) => {
                let public = signing.public()?.map(|key| PublicEntry { kid: None, only: None, key });
                Self::of(Some(signing), public.into_iter().collect())
            }
        }
    }

    fn of(signing: Option<SigningKey>, public: Vec<PublicEntry>) -> Result<Self, KeyError> {
        let kid = signing.as_ref().and(public.first()).map(PublicEntry::thumbprint);
        let verification = match signing.as_ref().and_then(SigningKey::secret_verification) {
            Some(secret) => vec![secret],
            None => public.iter().map(verification_key).collect(),
        };
        Ok(Self { signing, kid, public, verification: verification.into() })
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    use std::io::Read;
    let failed = |why: String| KeyError::File { path: path.display().to_string(), why };
    let mut octets = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut octets).map_err(|error| failed(error.to_string()))?;
    if octets.len() as u64 > MAX_FILE {
        return Err(failed(format!("it is larger than {MAX_FILE} octets")));
    }
    Ok(octets)
}

fn generate(name: &str, now: u64) -> Result<(Current, Vec<u8>), KeyError> {
    let (signing, der) =
        if name == GATEWAY_RS256 { SigningKey::generate_rs256()? } else { SigningKey::generate_es256()? };
    let public = signing.public()?.ok_or(KeyError::Crypto("reading the public half"))?;
    let kid = PublicEntry { kid: None, only: None, key: public.clone() }.thumbprint();
    let record = Record {
        name: name.to_owned(),
        created_at: now,
        private: Some(STANDARD.encode(&*der)),
        public: jwk(&kid, None, &public),
        retired_until: None,
    };
    Ok((Current { signing, kid, public }, encode(&record)?))
}

fn encode(record: &Record) -> Result<Vec<u8>, KeyError> {
    serde_json::to_vec(record).map_err(|_| KeyError::Crypto("writing a key's record"))
}

fn restore(kid: &str, bytes: &[u8], rs256: &mut Own, es256: &mut Own) -> Result<(), KeyError> {
    let unreadable = || KeyError::Malformed(format!("the signing key {kid:?} in the store"));
    let record: Record = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    let own = match record.name.as_str() {
        GATEWAY_RS256 => rs256,
        GATEWAY_ES256 => es256,
        _ => return Err(unreadable()),
    };
    let public = entries_from_text(&record.public)?.into_iter().next().ok_or_else(unreadable)?.key;
    let kid = kid.to_owned();
    match (&record.private, record.retired_until) {
        (Some(private), None) => {
            let der = Zeroizing::new(STANDARD.decode(private.as_bytes()).map_err(|_| unreadable())?);
            own.current = Some(Arc::new(Current { signing: SigningKey::from_pkcs8(&der)?, kid, public }));
        }
        (None, Some(until)) => own.retired.push(Retired { kid, public, until }),
        _ => return Err(unreadable()),
    }
    Ok(())
}
