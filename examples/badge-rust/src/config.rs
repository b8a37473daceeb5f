//! The configuration: read strictly, so that a typing error is an error of the self-test and not a hole.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::portcullis::policy::types::{Actions, Effect, Qos, Rule};

type Table = Map<String, Value>;

pub struct Config {
    /// The badge's number is appended to it.
    pub lookup_url: String,
    /// Seconds for which an answer of the service is used without asking again.
    pub fresh: u64,
    /// Seconds for which it may be used while the service is away.
    pub stale: u64,
    /// Seconds for which an unknown badge is not asked for again.
    pub unknown: u64,
    pub logins_per_hour: u64,
    pub publish_per_second: u64,
    pub rules: Vec<RuleTemplate>,
}

/// A rule whose filter has places for the badge.
pub struct RuleTemplate {
    /// None: for every badge.
    pub role: Option<String>,
    effect: Effect,
    actions: Actions,
    filter: String,
    max_qos: Qos,
}

impl Config {
    /// The error names the key.
    pub fn parse(json: &str) -> Result<Self, String> {
        let Ok(Value::Object(table)) = serde_json::from_str(json) else { return Err("it is no table".into()) };
        only(
            &table,
            "",
            &["lookup-url", "fresh", "stale", "unknown", "logins-per-hour", "publish-per-second", "rules"],
        )?;
        let lookup_url = text(&table, "", "lookup-url")?.ok_or("lookup-url: needed")?;
        if !(lookup_url.starts_with("http://") || lookup_url.starts_with("https://")) || !lookup_url.ends_with('/') {
            return Err("lookup-url: not an http or https URL that ends with /".into());
        }
        let rules = match table.get("rules") {
            None => &[][..],
            Some(Value::Array(rules)) => rules,
            Some(_) => return Err("rules: not a list".into()),
        };
        if rules.is_empty() || rules.len() > 64 {
            return Err("rules: 1 to 64 are needed".into());
        }
        Ok(Self {
            lookup_url,
            fresh: number(&table, "", "fresh", 60, 0, 86_400)?,
            stale: number(&table, "", "stale", 28_800, 0, 604_800)?,
            unknown: number(&table, "", "unknown", 30, 0, 3_600)?,
            logins_per_hour: number(&table, "", "logins-per-hour", 20, 1, 1_000_000)?,
            publish_per_second: number(&table, "", "publish-per-second", 10, 1, 1_000_000)?,
            rules: rules
                .iter()
                .enumerate()
                .map(|(index, rule)| RuleTemplate::parse(index, rule))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl RuleTemplate {
    fn parse(index: usize, rule: &Value) -> Result<Self, String> {
        let at = format!("rules.{index}.");
        let Value::Object(table) = rule else { return Err(format!("rules.{index}: not a table")) };
        only(table, &at, &["role", "effect", "actions", "filter", "max-qos"])?;
        let effect = match text(table, &at, "effect")?.as_deref() {
            None | Some("allow") => Effect::Allow,
            Some("deny") => Effect::Deny,
            Some(_) => return Err(format!("{at}effect: neither allow nor deny")),
        };
        let mut actions = Actions::empty();
        let listed = table.get("actions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for action in listed {
            actions |= match action.as_str() {
                Some("publish") => Actions::PUBLISH,
                Some("subscribe") => Actions::SUBSCRIBE,
                Some("retain") => Actions::RETAIN,
                Some("will") => Actions::WILL,
                _ => Actions::empty(),
            };
        }
        if listed.is_empty() || actions.bits().count_ones() as usize != listed.len() {
            return Err(format!("{at}actions: not a list of publish, subscribe, retain and will"));
        }
        let filter = text(table, &at, "filter")?.ok_or_else(|| format!("{at}filter: needed"))?;
        let left = ["{tenant}", "{site}", "{badge}"].iter().fold(filter.clone(), |left, known| left.replace(known, ""));
        if filter.is_empty() || left.contains(['{', '}']) {
            return Err(format!(
                "{at}filter: empty, or with a placeholder that is not {{tenant}}, {{site}} or {{badge}}"
            ));
        }
        let max_qos = match number(table, &at, "max-qos", 1, 0, 2)? {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        };
        Ok(Self { role: text(table, &at, "role")?, effect, actions, filter, max_qos })
    }

    /// The rule for one badge. The values are words of letters and digits: none can widen a filter.
    pub fn resolved(&self, tenant: &str, site: &str, badge: &str) -> Rule {
        Rule {
            effect: self.effect,
            actions: self.actions,
            filter: self.filter.replace("{tenant}", tenant).replace("{site}", site).replace("{badge}", badge),
            max_qos: self.max_qos,
        }
    }
}

fn only(table: &Table, at: &str, known: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{at}{key}: there is no such key")),
        None => Ok(()),
    }
}

fn text(table: &Table, at: &str, key: impl AsRef<str> + Display) -> Result<Option<String>, String> {
    match table.get(key.as_ref()) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{at}{key}: not a text")),
    }
}

fn number(table: &Table, at: &str, key: &str, otherwise: u64, least: u64, most: u64) -> Result<u64, String> {
    match table.get(key).map(Value::as_u64) {
        None => Ok(otherwise),
        Some(Some(number)) if (least..=most).contains(&number) => Ok(number),
        Some(_) => Err(format!("{at}{key}: not a whole number from {least} to {most}")),
    }
}
