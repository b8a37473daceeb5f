//! The `rules` of a bundled policy's configuration, and how they become the rules of a grant.
//!
//! A rule whose placeholder has no value is left out; a value that cannot stand in a topic filter refuses the login, so
//! that neither a permission grows nor a restriction is lost.

use crate::config::{ConfigError, Table};
use crate::template::{Template, Unfit, Values, Vocabulary};
use crate::wit::types::{Actions, Effect, Qos, Rule};

/// The most rules of a grant.
pub const LIMIT: usize = 1024;

/// The most rules of a configuration.
pub const CONFIGURED_LIMIT: usize = 256;

/// A rule with placeholders.
#[derive(Clone, Debug)]
pub struct RuleTemplate {
    effect: Effect,
    actions: Actions,
    filter: Template,
    max_qos: Qos,
    /// Only for those who have this role.
    role: Option<String>,
}

/// How the words of a rule are read.
#[derive(Clone, Copy, Debug)]
pub struct Grammar {
    /// The placeholders that its filter may have.
    pub vocabulary: Vocabulary,
    /// Whether it may have a `role`.
    pub roles: bool,
}

/// Reads an array of rules, or the default if the key is absent.
///
/// # Errors
/// What is wrong with one of them.
pub fn read(
    config: &Table<'_>,
    key: &'static str,
    grammar: &Grammar,
    default: &str,
) -> Result<Vec<RuleTemplate>, ConfigError> {
    match config.tables(key, CONFIGURED_LIMIT, |table| one(table, grammar))? {
        Some(rules) => Ok(rules),
        None => crate::config::parse(default, |table| {
            Ok(table.tables(key, CONFIGURED_LIMIT, |table| one(table, grammar))?.unwrap_or_default())
        }),
    }
}

fn one(table: &Table<'_>, grammar: &Grammar) -> Result<RuleTemplate, ConfigError> {
    let (effect, actions, max_qos) = terms(table)?;
    let filter =
        Template::parse(table.needed_text("filter")?, &grammar.vocabulary).map_err(|why| table.error("filter", why))?;
    let role = if grammar.roles { table.text("role")?.map(str::to_owned) } else { None };
    Ok(RuleTemplate { effect, actions, filter, max_qos, role })
}

/// Reads `effect`, `actions` and `max-qos` of a rule: what does not depend on placeholders.
///
/// # Errors
/// What is wrong with one of them.
pub fn terms(table: &Table<'_>) -> Result<(Effect, Actions, Qos), ConfigError> {
    let effect = table.word("effect", Effect::Allow, &[("allow", Effect::Allow), ("deny", Effect::Deny)])?;
    let mut actions = Actions::empty();
    for word in table.texts("actions")?.ok_or_else(|| table.error("actions", "it is missing"))? {
        actions |= match word.as_str() {
            "publish" => Actions::PUBLISH,
            "subscribe" => Actions::SUBSCRIBE,
            "retain" => Actions::RETAIN,
            "will" => Actions::WILL,
            other => {
                let expected = "expected `publish`, `subscribe`, `retain` or `will`";
                return Err(table.error("actions", format!("{expected}, found {other:?}")));
            }
        };
    }
    if actions.is_empty() {
        return Err(table.error("actions", "it is empty"));
    }
    let max_qos = match table.number("max-qos", 0..=2)? {
        Some(0) => Qos::AtMostOnce,
        Some(1) => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    };
    Ok((effect, actions, max_qos))
}

/// Whether one of the rules uses this placeholder.
#[must_use]
pub fn use_placeholder(rules: &[RuleTemplate], name: &str) -> bool {
    rules.iter().any(|rule| rule.filter.uses(name))
}

/// The placeholders that the rules use, with repetitions.
pub fn placeholders(rules: &[RuleTemplate]) -> impl Iterator<Item = &str> {
    rules.iter().flat_map(|rule| rule.filter.placeholders())
}

/// The rules of a grant.
///
/// # Errors
/// A value cannot stand in a filter, or there would be more than [`LIMIT`] rules.
pub fn expand(rules: &[RuleTemplate], values: &dyn Values, roles: &[String]) -> Result<Vec<Rule>, Unfit> {
    let mut out = Vec::with_capacity(rules.len());
    for rule in rules {
        if rule.role.as_ref().is_some_and(|role| !roles.contains(role)) {
            continue;
        }
        for filter in rule.filter.expand(values, LIMIT - out.len())? {
            out.push(Rule { effect: rule.effect, actions: rule.actions, filter, max_qos: rule.max_qos });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Grammar, expand, read};
    use crate::config::parse;
    use crate::template::{Unfit, Value, Values, Vocabulary};
    use crate::wit::types::{Actions, Effect, Qos, Rule};

    const GRAMMAR: Grammar =
        Grammar { vocabulary: Vocabulary { names: &["sub", "many", "none"], families: &[] }, roles: true };

    struct Sample;

    impl Values for Sample {
        fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
            Ok(match name {
                "sub" => Value::one("me"),
                "many" => Value::Many((0..600).map(|n| n.to_string().into()).collect()),
                _ => Value::Missing,
            })
        }
    }

    fn grant(rules: &str, roles: &[&str]) -> Result<Vec<Rule>, String> {
        let json = format!(r#"{{"rules":{rules}}}"#);
        let rules = parse(&json, |t| read(t, "rules", &GRAMMAR, "{}")).map_err(|e| e.to_string())?;
        let roles: Vec<_> = roles.iter().map(|&role| role.to_owned()).collect();
        expand(&rules, &Sample, &roles).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn words_become_rules() {
        let rules = grant(
            r#"[{"actions":["publish","retain"],"filter":"{sub}/a"},
                {"effect":"deny","actions":"subscribe","filter":"{sub}/b/#","max-qos":0}]"#,
            &[],
        );
        let expected = vec![
            Rule {
                effect: Effect::Allow,
                actions: Actions::PUBLISH | Actions::RETAIN,
                filter: "me/a".into(),
                max_qos: Qos::ExactlyOnce,
            },
            Rule {
                effect: Effect::Deny,
                actions: Actions::SUBSCRIBE,
                filter: "me/b/#".into(),
                max_qos: Qos::AtMostOnce,
            },
        ];
        assert_eq!(rules, Ok(expected));
    }

    #[test]
    fn a_role_decides_whether_a_rule_counts() {
        let rules = r#"[{"actions":"publish","filter":"a","role":"admin"}]"#;
        assert_eq!(grant(rules, &[]).unwrap().len(), 0);
        assert_eq!(grant(rules, &["user", "admin"]).unwrap().len(), 1);
    }

    #[test]
    fn what_has_no_value_is_left_out_and_too_many_are_refused() {
        assert_eq!(grant(r#"[{"actions":"publish","filter":"{none}/a"}]"#, &[]).unwrap().len(), 0);
        let many = r#"[{"actions":"publish","filter":"{many}/a"},{"actions":"publish","filter":"{many}/b"}]"#;
        assert!(grant(many, &[]).unwrap_err().contains("more rules than a grant may have"));
    }

    #[test]
    fn mistakes_are_named() {
        for (rules, part) in [
            (r#"[{"filter":"a"}]"#, "`rules.0.actions`: it is missing"),
            (r#"[{"actions":[],"filter":"a"}]"#, "`rules.0.actions`: it is empty"),
            (r#"[{"actions":"read","filter":"a"}]"#, "found \"read\""),
            (r#"[{"actions":"publish"}]"#, "`rules.0.filter`: it is missing"),
            (r#"[{"actions":"publish","filter":"{x}"}]"#, "`rules.0.filter`: there is no placeholder `{x}`"),
            (r#"[{"actions":"publish","filter":"a","max-qos":3}]"#, "`rules.0.max-qos`: 3 is not between 0 and 2"),
            (r#"[{"actions":"publish","filter":"a","effect":"ask"}]"#, "expected `allow` or `deny`"),
            (r#"[{"actions":"publish","filter":"a","qos":1}]"#, "`rules.0.qos`: there is no such key"),
        ] {
            let error = grant(rules, &[]).unwrap_err();
            assert!(error.contains(part), "{rules}: {error}");
        }
    }
}
