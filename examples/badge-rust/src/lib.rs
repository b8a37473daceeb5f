//! The badge policy in Rust. What it does is written in `../README.md`; `config.rs` reads the configuration, `service.rs` asks
//! the badge service and remembers its answers, and this file decides.

mod config;
mod service;

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use config::Config;
use exports::portcullis::policy::{authentication, descriptor};
use portcullis::policy::types::{
    Connection, Credentials, Denial, DenyReason, Effect, Grant, Identity, Limit, Rule, Verdict,
};
use portcullis::policy::{clock, store};
use service::{Badge, Lookup};

wit_bindgen::generate!({ path: "../wit", world: "badge", generate_all });

struct Policy;
export!(Policy);

/// The configuration does not change while an instance lives: it is read once.
fn config() -> Result<&'static Config, &'static String> {
    static CONFIG: OnceLock<Result<Config, String>> = OnceLock::new();
    CONFIG.get_or_init(|| Config::parse(&portcullis::policy::config::json())).as_ref()
}

impl descriptor::Guest for Policy {
    fn describe() -> descriptor::Description {
        descriptor::Description {
            name: "badge".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: env!("CARGO_PKG_DESCRIPTION").into(),
            schemes: vec!["badge".into()],
            methods: vec![],
            config_schema: include_str!("../../config.schema.json").into(),
        }
    }

    fn self_test() -> Result<(), String> {
        config().map(|_| ()).map_err(Clone::clone)
    }
}

impl authentication::Guest for Policy {
    fn authenticate(_: Connection, credentials: Credentials) -> Verdict {
        match decide(&credentials) {
            Ok(Some(grant)) => Verdict::Allow(grant),
            Ok(None) => Verdict::Pass,
            Err(denial) => Verdict::Deny(denial),
        }
    }
}

fn decide(credentials: &Credentials) -> Result<Option<Grant>, Denial> {
    // Not ours: no badge number, no secret, or an authentication method of MQTT 5.
    let (None, Some(number), Some(secret)) = (&credentials.method, &credentials.username, &credentials.password) else {
        return Ok(None);
    };
    if !is_number(number) {
        return Ok(None);
    }
    let config = config().map_err(|why| deny(DenyReason::Unavailable, format!("the configuration is wrong: {why}")))?;
    let Some((tenant, site)) = place(&credentials.client_id, number) else {
        let detail = format!("badge {number}: the client identifier is not <tenant>-<site>-{number}");
        let denial = deny(DenyReason::ClientIdNotValid, detail);
        return Err(Denial { message: Some("the client identifier must be <tenant>-<site>-<badge>".into()), ..denial });
    };

    let now = clock::now();
    let (badge, source) = match service::look_up(config, number, now) {
        Lookup::Found(badge, source) => (badge, source),
        Lookup::Unknown => return Err(deny(DenyReason::BadCredentials, format!("badge {number} is unknown"))),
        Lookup::Away(why) => {
            let detail = format!("badge {number}: the badge service cannot be asked: {why}");
            return Err(Denial { retry_after: Some(5), ..deny(DenyReason::Unavailable, detail) });
        }
    };
    count_login(config, number, now)?;
    if !badge.opens_with(secret) {
        return Err(deny(DenyReason::BadCredentials, format!("badge {number}: wrong PIN or token")));
    }
    if badge.blocked {
        let denial = deny(DenyReason::Banned, format!("badge {number} is blocked"));
        return Err(Denial { message: Some("this badge is blocked".into()), ..denial });
    }
    if (badge.tenant.as_str(), badge.site.as_str()) != (tenant, site) {
        let detail = format!("badge {number} belongs to {}-{}, not to {tenant}-{site}", badge.tenant, badge.site);
        return Err(deny(DenyReason::ClientIdNotValid, detail));
    }
    let ends = end_of_shift(&badge, number, now)?;
    let rules: Vec<Rule> = config
        .rules
        .iter()
        .filter(|rule| rule.role.as_ref().is_none_or(|role| badge.roles.contains(role)))
        .map(|rule| rule.resolved(tenant, site, number))
        .collect();
    if rules.iter().all(|rule| rule.effect == Effect::Deny) {
        let detail = format!("badge {number} has no role that may do anything here");
        return Err(deny(DenyReason::NotAuthorized, detail));
    }
    Ok(Some(Grant {
        identity: Identity {
            scheme: "badge".into(),
            subject: number.clone(),
            tenant: Some(tenant.into()),
            acting_for: None,
            roles: badge.roles,
            attributes: vec![("site".into(), site.into()), ("lookup".into(), source.into())],
        },
        expires_at: Some(ends),
        renew_after: None,
        client_id: None,
        rules,
        limits: vec![Limit { name: "publish-per-second".into(), value: config.publish_per_second }],
        depends_on: vec![],
        state: vec![],
        data: None,
        attributes: vec![],
    }))
}

fn deny(reason: DenyReason, detail: String) -> Denial {
    Denial { reason, detail, message: None, retry_after: None, server_reference: None, http: None }
}

/// 1 to 12 digits.
fn is_number(text: &str) -> bool {
    (1..=12).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Tenant and site of `<tenant>-<site>-<badge>`. What is no word of lower-case letters and digits never reaches a rule.
fn place<'a>(client_id: &'a str, number: &str) -> Option<(&'a str, &'a str)> {
    let word = |text: &str| {
        (1..=32).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit())
    };
    let (tenant, rest) = client_id.split_once('-')?;
    let (site, badge) = rest.split_once('-')?;
    (word(tenant) && word(site) && badge == number).then_some((tenant, site))
}

/// One login more in this hour. Attempts with a wrong PIN count as well: there are only ten thousand PINs.
fn count_login(config: &Config, number: &str, now: u64) -> Result<(), Denial> {
    let hour = now / 3600;
    let count = store::increment(&format!("logins:{number}:{hour}"), 1, Some(3600)).map_err(|error| {
        deny(DenyReason::Unavailable, format!("badge {number}: logins cannot be counted: {}", service::words(&error)))
    })?;
    if count.cast_unsigned() > config.logins_per_hour {
        let detail = format!("badge {number}: more than {} logins in this hour", config.logins_per_hour);
        let wait = (hour + 1) * 3600 - now;
        return Err(Denial {
            message: Some("too many logins with this badge".into()),
            retry_after: u32::try_from(wait).ok(),
            ..deny(DenyReason::QuotaExceeded, detail)
        });
    }
    Ok(())
}

/// When the shift ends that goes on now.
fn end_of_shift(badge: &Badge, number: &str, now: u64) -> Result<u64, Denial> {
    if let Some(ends) =
        badge.shifts.iter().filter(|shift| (shift.from..shift.to).contains(&now)).map(|shift| shift.to).max()
    {
        return Ok(ends);
    }
    let next = badge.shifts.iter().map(|shift| shift.from).filter(|from| *from > now).min();
    Err(Denial {
        message: Some("outside of the shift".into()),
        retry_after: next.and_then(|from| u32::try_from(from - now).ok()),
        ..deny(DenyReason::NotAuthorized, format!("badge {number} has no shift now"))
    })
}

impl Badge {
    /// Whether the PIN or the badge's token is right. The service gives `salt$SHA-256(salt, secret)`, in hexadecimal.
    fn opens_with(&self, secret: &[u8]) -> bool {
        let mut right = false;
        for known in &self.secrets {
            let Some((salt, digest)) = known.split_once('$') else { continue };
            let made = Sha256::new().chain_update(salt).chain_update(secret).finalize();
            let made: String = made.iter().map(|octet| format!("{octet:02x}")).collect();
            right |= same(made.as_bytes(), digest.as_bytes());
        }
        right
    }
}

/// Compares in a time that does not tell where the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}
