//! Which device a client is, and whether it proved it.

use policy_support::wit::directory::{Device, DeviceSelector};
use policy_support::wit::peer::Certificate;
use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason, Grant, Identity};
use policy_support::{Gateway, Outcome, bearer, deny};

use crate::config::Config;
use crate::grant::{Proof, Remembered, grant, grant_derived};
use crate::naming;

/// Decides about a login.
///
/// # Errors
/// The client is a device, or claims to be one, and may not come in.
pub fn authenticate(
    gateway: &impl Gateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Outcome {
    // An authentication method is another scheme's.
    if credentials.method.is_some() {
        return Ok(None);
    }
    if credentials.password.as_ref().is_some_and(|password| !password.is_empty()) {
        return with_password(gateway, config, credentials);
    }
    let unknown = match by_certificate(gateway, config, connection, credentials)? {
        Certified::As(device, proof) => {
            check_names(connection, credentials, &device)?;
            return grant(gateway, config, *device, &credentials.client_id, Some(proof)).map(Some);
        }
        Certified::Derived(device, proof) => {
            check_names(connection, credentials, &device)?;
            return grant_derived(config, *device, &credentials.client_id, proof).map(Some);
        }
        Certified::ByNobody => None,
        Certified::Unknown(fingerprint) => Some(fingerprint),
    };
    if let Some(username) = credentials.username.as_deref().filter(|name| config.username && !name.is_empty()) {
        return by_username(gateway, config, connection, credentials, username);
    }
    match unknown {
        Some(fingerprint) if !config.pass_unknown_certificates && !offers_header(gateway, connection) => {
            Err(deny(DenyReason::BadCredentials, format!("no device has the certificate {fingerprint}")))
        }
        _ => Ok(None),
    }
}

/// A password belongs to another scheme, unless the client is a device that must not have one.
fn with_password(gateway: &impl Gateway, config: &Config, credentials: &Credentials) -> Outcome {
    let Some(username) = credentials.username.as_ref() else { return Ok(None) };
    // Devices log in with their name as both; asking the directory about everybody else would only cost.
    if !config.username || username.is_empty() || *username != credentials.client_id {
        return Ok(None);
    }
    match gateway.find_device(&DeviceSelector::Username(username.clone()))? {
        Some(device) if device.credential == "username" => {
            let detail = format!("the device {} logs in with its user name alone, and sent a password", device.id);
            Err(deny(DenyReason::BadCredentials, detail))
        }
        _ => Ok(None),
    }
}

fn by_username(
    gateway: &impl Gateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
    username: &str,
) -> Outcome {
    let Some(device) = gateway.find_device(&DeviceSelector::Username(username.to_owned()))? else {
        if offers_header(gateway, connection) {
            return Ok(None);
        }
        return Err(deny(DenyReason::BadCredentials, format!("there is no device with the user name {username:?}")));
    };
    match device.credential.as_str() {
        "username" => {}
        "x509" => {
            let detail = format!("the device {} proves itself by a certificate, and showed none of its own", device.id);
            return Err(deny(DenyReason::BadCredentials, detail));
        }
        _ => return Ok(None),
    }
    check_names(connection, credentials, &device)?;
    grant(gateway, config, device, &credentials.client_id, None).map(Some)
}

/// Whose certificate a client has.
enum Certified {
    /// A device's.
    As(Box<Device>, Proof),
    /// That of a device which it alone tells of.
    Derived(Box<Device>, Proof),
    /// There is none, or it is not to be looked at.
    ByNobody,
    /// No device's. The fingerprint.
    Unknown(String),
}

fn by_certificate(
    gateway: &impl Gateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Certified, Denial> {
    if !config.x509 || !matches!(connection.transport.as_str(), "tls" | "wss") {
        return Ok(Certified::ByNobody);
    }
    let Some(certificate) = gateway.certificate() else { return Ok(Certified::ByNobody) };
    let names = naming::names(&certificate);
    let Certificate { fingerprint, subject, common_name, issuer, not_after_at, .. } = certificate;
    let mut proof = Proof { fingerprint, subject, common_name, not_after_at, issuer, names };
    match owner(gateway, config, &mut proof, &credentials.client_id)? {
        None => Ok(Certified::Unknown(proof.fingerprint)),
        // Whoever sends a bearer token says that it, and not the certificate, is who they are.
        Some(_) if offers_header(gateway, connection) => Ok(Certified::ByNobody),
        Some(Owner::Derived(device)) => Ok(Certified::Derived(device, proof)),
        Some(Owner::Registered(device)) if device.credential == "x509" => Ok(Certified::As(device, proof)),
        Some(Owner::Registered(device)) => Err(deny(
            DenyReason::BadCredentials,
            format!("the device {} has a certificate, but logs in by {}", device.id, device.credential),
        )),
    }
}

/// Whose a certificate is.
enum Owner {
    /// A device of the directory.
    Registered(Box<Device>),
    /// A device that is in no directory and need not be.
    Derived(Box<Device>),
}

/// The device that a certificate belongs to: the one with its fingerprint; else the one with this client identifier
/// (or, without one, with the common name for it), if its entry says so by the attribute `certificate-subject` or
/// `certificate-common-name`; else the one that the configuration finds named in it. Of the names in the certificate the
/// proof keeps the one that said so.
fn owner(gateway: &impl Gateway, config: &Config, proof: &mut Proof, client_id: &str) -> Result<Option<Owner>, Denial> {
    let names = std::mem::take(&mut proof.names);
    let found = gateway.find_device(&DeviceSelector::Fingerprint(proof.fingerprint.clone()))?;
    let found = match found {
        None => by_attribute(gateway, proof, client_id)?,
        found => found,
    };
    if let Some(device) = found {
        return Ok(Some(Owner::Registered(Box::new(device))));
    }
    let Some(named) = naming::find(&config.namings, &proof.issuer, &names)? else { return Ok(None) };
    proof.names.push(named.name);
    // What is registered is what its entry says, whatever else is permitted: it may be disabled there.
    match (gateway.find_device(&DeviceSelector::ClientId(named.client_id))?, named.derived) {
        (Some(device), _) => Ok(Some(Owner::Registered(Box::new(device)))),
        (None, Some(device)) => Ok(Some(Owner::Derived(Box::new(device)))),
        (None, None) => Ok(None),
    }
}

fn by_attribute(gateway: &impl Gateway, proof: &Proof, client_id: &str) -> Result<Option<Device>, Denial> {
    let name = if client_id.is_empty() { proof.common_name.as_deref().unwrap_or_default() } else { client_id };
    if name.is_empty() {
        return Ok(None);
    }
    let device = gateway.find_device(&DeviceSelector::ClientId(name.to_owned()))?;
    Ok(device.filter(|device| is_named(device, proof)))
}

fn is_named(device: &Device, proof: &Proof) -> bool {
    let named = |wanted: &str, value: &str| {
        !value.is_empty() && device.attributes.iter().any(|(name, known)| name == wanted && known == value)
    };
    named("certificate-subject", &proof.subject)
        || proof.common_name.as_ref().is_some_and(|name| named("certificate-common-name", name))
}

/// On MQTT the client identifier must be the device's, and so must the user name if there is one.
fn check_names(connection: &Connection, credentials: &Credentials, device: &Device) -> Result<(), Denial> {
    if connection.protocol == "http" {
        return Ok(());
    }
    if credentials.client_id != device.client_id {
        let detail = format!("the device {} must use its own client id {:?}", device.id, device.client_id);
        return Err(deny(DenyReason::ClientIdNotValid, detail));
    }
    match credentials.username.as_deref() {
        None | Some("") => Ok(()),
        Some(name) if name == device.client_id || name == device.namespace => Ok(()),
        Some(_) => {
            let detail = format!("the user name is not that of the device {}, whose certificate it is", device.id);
            Err(deny(DenyReason::BadCredentials, detail))
        }
    }
}

/// Whether the request or the WebSocket upgrade carries a credential for another policy.
fn offers_header(gateway: &impl Gateway, connection: &Connection) -> bool {
    bearer::has_request(connection)
        && ["authorization", "x-api-key"].iter().any(|name| !gateway.header(name).is_empty())
}

/// Looks at a device's login again. `identity` is what it was then.
///
/// # Errors
/// It would not be admitted now.
pub fn renew(
    gateway: &impl Gateway,
    config: &Config,
    identity: Option<&Identity>,
    state: &[u8],
) -> Result<Grant, Denial> {
    let Some(Remembered { device: id, client_id, mut proof }) = Remembered::read(state, identity) else {
        return Err(deny(DenyReason::NotAuthorized, "what was remembered of the login cannot be read: log in again"));
    };
    if let Some(proof) = proof.as_mut().filter(|_| id.is_empty()) {
        return renew_derived(gateway, config, client_id, proof);
    }
    let Some(device) = gateway.find_device(&DeviceSelector::Id(id.clone()))? else {
        return Err(deny(DenyReason::BadCredentials, format!("the device {id} is no longer registered")));
    };
    let (served, credential) = match proof {
        None => (config.username, "username"),
        Some(_) => (config.x509, "x509"),
    };
    if !served || device.credential != credential {
        return Err(deny(DenyReason::BadCredentials, format!("the device {id} no longer logs in by {credential}")));
    }
    if !client_id.is_empty() && client_id != device.client_id {
        return Err(deny(DenyReason::ClientIdNotValid, format!("the device {id} has another client id now")));
    }
    if let Some(proof) = &mut proof
        && !matches!(owner(gateway, config, proof, &device.client_id)?, Some(Owner::Registered(owner)) if owner.id == device.id)
    {
        let detail = format!("the certificate {} is no longer that of the device {id}", proof.fingerprint);
        return Err(deny(DenyReason::BadCredentials, detail));
    }
    grant(gateway, config, device, &client_id, proof)
}

/// The same for a device that only its certificate tells of.
fn renew_derived(
    gateway: &impl Gateway,
    config: &Config,
    client_id: String,
    proof: &mut Proof,
) -> Result<Grant, Denial> {
    match owner(gateway, config, proof, &client_id)? {
        Some(Owner::Derived(device)) if client_id.is_empty() || client_id == device.client_id => {
            grant_derived(config, *device, &client_id, proof.clone())
        }
        _ => {
            let detail = format!("the certificate {} no longer names a device that may come in", proof.fingerprint);
            Err(deny(DenyReason::BadCredentials, detail))
        }
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
