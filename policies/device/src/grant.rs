//! What a device is granted, once it is known which device it is.

use policy_support::template::{Unfit, Value, Values};
use policy_support::wit::directory::Device;
use policy_support::wit::types::{Denial, DenyReason, Grant, Identity};
use policy_support::{Gateway, answer, client_id, deny, rules, state};

use crate::config::Config;

/// The word in `identity.scheme`.
pub const SCHEME: &str = "device";

/// Version of what is kept in `grant.state` where the identity does not say it all.
const STATE: u8 = 2;
/// Version of what is kept where it does, which is the same for all such devices: whether there was a client identifier.
const STATE_OF_NAMED: u8 = 3;
/// The attribute with the topic prefix of a device.
const NAMESPACE: &str = "namespace";

/// The certificate that proved a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// The subject's distinguished name.
    pub subject: String,
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// When the certificate ends.
    pub not_after_at: u64,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The names in the certificate with their places; once it is known whose it is, the one that said so, if any.
    pub names: Vec<(String, String)>,
}

/// What is remembered of a login, to look at it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The device's identifier. Empty: it is in no directory.
    pub device: String,
    /// The client identifier that it logged in with; empty on HTTP.
    pub client_id: String,
    /// The certificate, if it was one.
    pub proof: Option<Proof>,
}

impl Remembered {
    /// For a device of this identity.
    fn write(&self, identity: &Identity) -> Option<Vec<u8>> {
        match &self.proof {
            None if self.device == identity.subject && self.client_id.is_empty() => Some(vec![STATE_OF_NAMED, 0]),
            None if self.device == identity.subject && namespace(identity) == Some(&self.client_id) => {
                Some(vec![STATE_OF_NAMED, 1])
            }
            None => state::write(STATE, &[&self.device, &self.client_id, "", "", "", "", "", "", ""]),
            Some(proof) => {
                let (place, name) = proof.names.first().map_or(("", ""), |(place, name)| (place, name));
                state::write(
                    STATE,
                    &[
                        &self.device,
                        &self.client_id,
                        &proof.fingerprint,
                        &proof.subject,
                        proof.common_name.as_deref().unwrap_or_default(),
                        &proof.not_after_at.to_string(),
                        &proof.issuer,
                        place,
                        name,
                    ],
                )
            }
        }
    }

    /// Reads what an earlier login of this identity left. None: it is of an unknown version.
    #[must_use]
    pub fn read(bytes: &[u8], identity: Option<&Identity>) -> Option<Self> {
        if let [STATE_OF_NAMED, named @ 0..=1] = bytes {
            let client_id = if *named == 0 { "" } else { namespace(identity?)? };
            return Some(Self { device: identity?.subject.clone(), client_id: client_id.to_owned(), proof: None });
        }
        let [device, client_id, fingerprint, subject, common_name, not_after_at, issuer, place, name] =
            state::read(STATE, bytes)?;
        let proof = if fingerprint.is_empty() {
            None
        } else {
            Some(Proof {
                fingerprint: fingerprint.to_owned(),
                subject: subject.to_owned(),
                common_name: Some(common_name.to_owned()).filter(|name| !name.is_empty()),
                not_after_at: not_after_at.parse().ok()?,
                issuer: issuer.to_owned(),
                names: if place.is_empty() { vec![] } else { vec![(place.to_owned(), name.to_owned())] },
            })
        };
        Some(Self { device: device.to_owned(), client_id: client_id.to_owned(), proof })
    }
}

fn namespace(identity: &Identity) -> Option<&str> {
    identity.attributes.iter().find(|(name, _)| name == NAMESPACE).map(|(_, value)| value.as_str())
}

/// What the placeholders of a device's rules stand for.
struct Of<'a>(&'a Device);

impl Values for Of<'_> {
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
        let Self(device) = self;
        let attribute = |name| device.attributes.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
        Ok(Value::maybe(match name {
            "device" => Some(&device.namespace),
            "device-id" => Some(&device.id),
            "client-id" => Some(&device.client_id),
            "app" => device.app_id.as_deref(),
            "owner" => device.owner_id.as_deref(),
            _ => name.strip_prefix("attribute.").and_then(attribute),
        }))
    }
}

/// The grant of a device that proved itself. `client_id` is the one on the wire, empty on HTTP.
///
/// # Errors
/// The device or its app is disabled, or something of it cannot be written into a rule.
pub fn grant(
    gateway: &impl Gateway,
    config: &Config,
    device: Device,
    client_id: &str,
    proof: Option<Proof>,
) -> Result<Grant, Denial> {
    if !device.enabled {
        return Err(deny(DenyReason::NotAuthorized, format!("the device {} is disabled", device.id)));
    }
    if let Some(app) = &device.app_id
        && !gateway.find_app(app)?.is_some_and(|app| app.enabled)
    {
        let detail = format!("the app {app} of the device {} is disabled", device.id);
        return Err(deny(DenyReason::NotAuthorized, detail));
    }
    admit(config, device, client_id, proof, true)
}

/// The grant of a device that only its certificate tells of.
///
/// # Errors
/// Something of it cannot be written into a rule.
pub fn grant_derived(config: &Config, device: Device, client_id: &str, proof: Proof) -> Result<Grant, Denial> {
    admit(config, device, client_id, Some(proof), false)
}

fn admit(
    config: &Config,
    device: Device,
    client_id: &str,
    proof: Option<Proof>,
    registered: bool,
) -> Result<Grant, Denial> {
    let rules = rules::expand(&config.rules, &Of(&device), &[]).map_err(|unfit| client_id::unfit(&unfit))?;

    let mut depends_on = Vec::new();
    if registered {
        depends_on.push(format!("device:{}", device.id));
        depends_on.extend(device.app_id.iter().map(|app| format!("app:{app}")));
    }
    depends_on.extend(proof.iter().map(|proof| format!("certificate:{}", proof.fingerprint)));
    let expires_at = proof.as_ref().map(|proof| proof.not_after_at);
    let known = if registered { device.id.clone() } else { String::new() };
    let remembered = Remembered { device: known, client_id: client_id.to_owned(), proof };

    let mut attributes = vec![(NAMESPACE.to_owned(), device.namespace)];
    attributes.extend(device.owner_id.map(|owner| ("owner".to_owned(), owner)));
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: device.id,
        tenant: device.app_id,
        acting_for: None,
        roles: vec![],
        attributes,
    };
    Ok(Grant {
        expires_at,
        limits: config.limits.clone(),
        depends_on,
        // What does not fit (a subject of kilobytes) is not remembered: a change then asks for a new login.
        state: remembered.write(&identity).unwrap_or_default(),
        ..answer::grant(identity, rules)
    })
}

#[cfg(test)]
mod tests {
    use policy_support::wit::types::Identity;

    use super::{Proof, Remembered};

    fn identity(subject: &str, namespace: &str) -> Identity {
        Identity {
            scheme: "device".into(),
            subject: subject.into(),
            tenant: None,
            acting_for: None,
            roles: vec![],
            attributes: vec![("namespace".into(), namespace.into())],
        }
    }

    #[test]
    fn what_is_remembered_is_read() {
        let plain = Remembered { device: "d".into(), client_id: "c".into(), proof: None };
        let proof = Proof {
            fingerprint: "ab".into(),
            subject: "CN=x".into(),
            common_name: None,
            not_after_at: 7,
            issuer: "CN=CA".into(),
            names: vec![("san.dns".into(), "x.example".into())],
        };
        let certified = Remembered { proof: Some(proof), ..plain.clone() };
        let on_http = Remembered { client_id: String::new(), ..plain.clone() };
        for remembered in [&plain, &certified, &on_http] {
            for identity in [identity("d", "c"), identity("d", "other"), identity("", "c")] {
                let state = remembered.write(&identity).unwrap();
                assert_eq!(Remembered::read(&state, Some(&identity)).as_ref(), Some(remembered));
            }
        }
        let other = Remembered { device: "e".into(), client_id: "f".into(), proof: None };
        assert_eq!(plain.write(&identity("d", "c")), other.write(&identity("e", "f")), "it is kept once for all");
        for unknown in [&[][..], &[1, 0, 0], &[3], &[3, 2], &[3, 1, 0]] {
            assert_eq!(Remembered::read(unknown, Some(&identity("d", "c"))), None);
        }
        assert_eq!(Remembered::read(&[3, 1], None), None);
    }
}
