//! Admits the devices of a site: the user name is the site, the password its code.

wit_bindgen::generate!({ path: "wit", world: "policy", generate_all });

use exports::portcullis::policy::{authentication, descriptor};
use portcullis::policy::types::{
    Actions, Connection, Credentials, Denial, DenyReason, Effect, Grant, Identity, Qos, Rule, Verdict,
};
use portcullis::policy::{config, log};

struct Policy;
export!(Policy);

impl authentication::Guest for Policy {
    fn authenticate(_: Connection, credentials: Credentials) -> Verdict {
        // The gateway shows what was logged last when a policy traps.
        std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string())));
        match decide(&credentials) {
            Ok(Some(grant)) => Verdict::Allow(grant),
            Ok(None) => Verdict::Pass,
            Err(denial) => Verdict::Deny(denial),
        }
    }
}

/// None: the credentials are of another scheme.
fn decide(credentials: &Credentials) -> Result<Option<Grant>, Denial> {
    let (None, Some(site)) = (&credentials.method, &credentials.username) else { return Ok(None) };
    let Some(code) = config::get(&format!("sites.{site}")) else { return Ok(None) };
    if !same(code.as_bytes(), credentials.password.as_deref().unwrap_or_default()) {
        return Err(deny(DenyReason::BadCredentials, format!("not the code of the site {site}")));
    }
    let device = &credentials.client_id;
    // What a client chose goes into a rule only if it is one level of a topic.
    if device.is_empty() || device.contains(['+', '#', '/', '\0']) || device.starts_with('$') {
        return Err(deny(DenyReason::ClientIdNotValid, format!("the client identifier {device:?} is no level of a topic")));
    }
    Ok(Some(Grant {
        identity: Identity {
            scheme: "site".into(),
            subject: device.clone(),
            tenant: Some(site.clone()),
            acting_for: None,
            roles: vec![],
            attributes: vec![],
        },
        rules: vec![Rule {
            effect: Effect::Allow,
            actions: Actions::PUBLISH | Actions::SUBSCRIBE,
            filter: format!("{site}/{device}/#"),
            max_qos: Qos::ExactlyOnce,
        }],
        expires_at: None,
        renew_after: None,
        client_id: None,
        limits: vec![],
        depends_on: vec![],
        state: vec![],
        data: None,
        attributes: vec![],
    }))
}

/// Takes as long whether they differ early or late.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn deny(reason: DenyReason, detail: String) -> Denial {
    Denial { reason, detail, message: None, retry_after: None, server_reference: None, http: None }
}

impl descriptor::Guest for Policy {
    fn describe() -> descriptor::Description {
        descriptor::Description {
            name: "NAME".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: env!("CARGO_PKG_DESCRIPTION").into(),
            schemes: vec!["site".into()],
            methods: vec![],
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    /// Called with the real configuration before the policy goes live.
    fn self_test() -> Result<(), String> {
        if config::list_values("sites.").is_empty() {
            return Err("the configuration names no `sites`".into());
        }
        Ok(())
    }
}
