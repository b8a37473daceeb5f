//! What `anonymous` answers.

use policy_support::template::{Unfit, Value, Values};
use policy_support::wit::types::{Credentials, Grant, Identity};
use policy_support::{Outcome, answer, client_id, rules};

use crate::config::Config;

/// The word in `identity.scheme`.
pub const SCHEME: &str = "anonymous";

/// The subject of everyone: the client identifier is whatever a client says, and so no part of who it is. A client that
/// was assigned an identifier finds its session again under it.
pub const NOBODY: &str = "anonymous";

struct Client<'a>(&'a str);

impl Values for Client<'_> {
    fn value(&self, _: &str) -> Result<Value<'_>, Unfit> {
        Ok(Value::maybe(Some(self.0)))
    }
}

/// Admits everyone; or, if configured so, everyone who offers no credentials.
///
/// # Errors
/// The client identifier cannot be written into a rule that asks for it.
pub fn authenticate(config: &Config, credentials: &Credentials) -> Outcome {
    let offers = credentials.username.is_some() || credentials.password.is_some() || credentials.method.is_some();
    if config.pass_credentials && offers {
        return Ok(None);
    }
    let id = credentials.client_id.as_str();
    let rules = rules::expand(&config.rules, &Client(id), &[]).map_err(|unfit| client_id::unfit(&unfit))?;
    let identity = Identity {
        scheme: SCHEME.into(),
        subject: NOBODY.into(),
        tenant: None,
        acting_for: None,
        roles: vec![],
        attributes: vec![],
    };
    Ok(Some(Grant { limits: config.limits.clone(), ..answer::grant(identity, rules) }))
}

#[cfg(test)]
mod tests {
    use super::authenticate;
    use crate::config::Config;
    use policy_support::fake::credentials;
    use policy_support::wit::types::{Actions, DenyReason, Qos};

    #[test]
    fn everyone_may_do_everything() {
        let config = Config::parse("{}").unwrap();
        let grant = authenticate(&config, &credentials("c", Some("u"), Some("p"))).unwrap().unwrap();
        assert_eq!((grant.identity.scheme.as_str(), grant.identity.subject.as_str()), ("anonymous", "anonymous"));
        let [rule] = grant.rules.as_slice() else { panic!("one rule") };
        assert_eq!((rule.filter.as_str(), rule.actions, rule.max_qos), ("#", Actions::all(), Qos::ExactlyOnce));
        let nameless = authenticate(&config, &credentials("", None, None)).unwrap().unwrap();
        assert_eq!(nameless.identity, grant.identity, "it comes back under the identifier it was assigned");
    }

    #[test]
    fn rules_may_be_narrower() {
        let config = Config::parse(
            r#"{"rules":[{"actions":"publish","filter":"in/{client-id}"}],"limits":{"packet-size":1024}}"#,
        )
        .unwrap();
        let grant = authenticate(&config, &credentials("c", None, None)).unwrap().unwrap();
        assert_eq!(grant.rules[0].filter, "in/c");
        assert_eq!((grant.limits[0].name.as_str(), grant.limits[0].value), ("packet-size", 1024));
        // The gateway will choose the identifier: there is none to write into a rule.
        assert!(authenticate(&config, &credentials("", None, None)).unwrap().unwrap().rules.is_empty());
        let refused = authenticate(&config, &credentials("+", None, None)).unwrap_err();
        assert_eq!(refused.reason, DenyReason::ClientIdNotValid);
    }

    #[test]
    fn credentials_may_be_left_to_others() {
        let config = Config::parse(r#"{"credentials":"pass"}"#).unwrap();
        assert_eq!(authenticate(&config, &credentials("c", Some("u"), None)), Ok(None));
        assert!(authenticate(&config, &credentials("c", None, None)).unwrap().is_some());
    }
}
