//! The badge service, and what is remembered of its answers.
//!
//! An entry of the store is `<seconds>\n<answer>`: when the service said it, and the JSON that it said; nothing after the
//! line's end for a badge that it does not know. All languages write it alike, so that a swap keeps what is remembered.

use serde::Deserialize;

use crate::config::Config;
use crate::portcullis::policy::clock;
use crate::portcullis::policy::http_client::{self, Error as HttpError, Request};
use crate::portcullis::policy::log::{self, Level};
use crate::portcullis::policy::store::{self, Error as StoreError};

/// What the service knows of a badge. It may say more, which is not for us.
#[derive(Deserialize)]
pub struct Badge {
    pub tenant: String,
    pub site: String,
    pub roles: Vec<String>,
    pub secrets: Vec<String>,
    pub shifts: Vec<Shift>,
    #[serde(default)]
    pub blocked: bool,
}

/// Working hours, in seconds since 1970.
#[derive(Deserialize)]
pub struct Shift {
    pub from: u64,
    pub to: u64,
}

/// What came of a look-up.
pub enum Lookup {
    /// The badge, and where its entry came from: `service`, `cache` or `stale`.
    Found(Badge, &'static str),
    Unknown,
    Away(String),
}

/// Asks the store, then the service, then the store again if the service is away.
pub fn look_up(config: &Config, number: &str, now: u64) -> Lookup {
    let key = format!("badge:{number}");
    let remembered = store::get(&key).ok().flatten().and_then(|entry| {
        let (said_at, answer) = std::str::from_utf8(&entry).ok()?.split_once('\n')?;
        // A clock that was set back makes an entry old, not young.
        let age = now.checked_sub(said_at.parse().ok()?).unwrap_or(u64::MAX);
        Some((age, answer.to_owned()))
    });
    match &remembered {
        Some((age, answer)) if answer.is_empty() && *age < config.unknown => return Lookup::Unknown,
        Some((age, answer)) if *age < config.fresh => {
            if let Ok(badge) = serde_json::from_str(answer) {
                return Lookup::Found(badge, "cache");
            }
        }
        _ => {}
    }
    match ask(config, number) {
        Ok(None) => {
            remember(&key, format!("{now}\n"), config.unknown);
            Lookup::Unknown
        }
        Ok(Some((badge, answer))) => {
            remember(&key, format!("{now}\n{answer}"), config.stale.max(config.fresh));
            Lookup::Found(badge, "service")
        }
        Err(why) => {
            let stale = remembered
                .filter(|(age, _)| *age < config.stale)
                .and_then(|(_, answer)| serde_json::from_str(&answer).ok());
            match stale {
                Some(badge) => {
                    log::write(
                        Level::Warn,
                        &format!("badge {number}: from memory, the badge service cannot be asked: {why}"),
                    );
                    Lookup::Found(badge, "stale")
                }
                None => Lookup::Away(why),
            }
        }
    }
}

/// One request. None: the service does not know the badge.
fn ask(config: &Config, number: &str) -> Result<Option<(Badge, String)>, String> {
    let request = Request {
        method: "GET".into(),
        url: format!("{}{number}", config.lookup_url),
        headers: vec![("accept".into(), "application/json".into())],
        body: vec![],
        // Half of what is left, so that there is time for an answer from memory.
        timeout_ms: Some(clock::remaining_ms() / 2),
    };
    let response = http_client::send(&request).map_err(|error| match error {
        HttpError::NotAllowed(host) => format!("{host} is not among `allow.http`"),
        HttpError::InvalidRequest(_) => "the request is invalid".into(),
        HttpError::Unreachable(_) => "no connection".into(),
        HttpError::Timeout => "no answer in time".into(),
        HttpError::TooLarge(_) => "its answer is too large".into(),
        HttpError::Other(_) => "the request failed".into(),
    })?;
    match response.status {
        200 => {
            let no_sense = "its answer makes no sense";
            let answer = String::from_utf8(response.body).map_err(|_| no_sense)?;
            let badge = serde_json::from_str(&answer).map_err(|_| no_sense)?;
            Ok(Some((badge, answer)))
        }
        404 => Ok(None),
        status => Err(format!("it answers {status}")),
    }
}

/// What cannot be remembered is asked again: no reason to refuse anybody.
fn remember(key: &str, entry: String, seconds: u64) {
    // A time to live of 0 is none; nothing is remembered then.
    let Ok(ttl @ 1..) = u32::try_from(seconds) else { return };
    if let Err(error) = store::set(key, entry.as_bytes(), Some(ttl)) {
        log::write(Level::Warn, &format!("{key} is not remembered: {}", words(&error)));
    }
}

pub fn words(error: &StoreError) -> String {
    match error {
        StoreError::Full => "the storage is full".into(),
        StoreError::Invalid(why) | StoreError::Other(why) => why.clone(),
    }
}
