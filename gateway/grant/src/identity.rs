//! Who a client is: what every scheme is reduced to.

/// The principal that a policy established. It holds no secret: audit, `portcullis why` and other policies see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The scheme that established it: `jwt`, `api-key`, `device`, …
    pub scheme: String,
    /// The stable identifier of the principal, unique within `scheme` and `tenant`. Never empty.
    pub subject: String,
    /// The app, account, domain or project within which the subject is meant.
    pub tenant: Option<String>,
    /// The principal on whose behalf the subject acts (RFC 8693 §4.1), the owner of what is done.
    pub acting_for: Option<String>,
    /// Names of roles, without order.
    pub roles: Vec<String>,
    /// Anything else worth knowing, such as `email`. At most 32.
    pub attributes: Vec<(String, String)>,
}

/// What the names of HTTP clients' sessions begin with. MQTT clients cannot have such a name.
pub const HTTP_SESSION: &str = "http:";

impl Identity {
    /// The name of a session that this identity has over HTTP, by what it calls it: one's own among all identities, so that
    /// nobody can take or find out another's.
    #[must_use]
    pub fn http_session(&self, called: &str) -> String {
        let mut name = HTTP_SESSION.to_owned();
        let whose = [Some(self.subject.as_str()), self.tenant.as_deref(), self.acting_for.as_deref()];
        for part in whose {
            // None is not the same as empty.
            name.push_str(if part.is_some() { "=" } else { "-" });
            for letter in part.unwrap_or_default().chars() {
                match letter {
                    '/' => name.push_str("%2F"),
                    '%' => name.push_str("%25"),
                    other => name.push(other),
                }
            }
            name.push('/');
        }
        name + called
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(subject: &str, tenant: Option<&str>, acting_for: Option<&str>, called: &str) -> String {
        let (tenant, acting_for) = (tenant.map(str::to_owned), acting_for.map(str::to_owned));
        Identity { subject: subject.to_owned(), tenant, acting_for, ..Identity::default() }.http_session(called)
    }

    #[test]
    fn no_two_identities_have_a_session_of_one_name() {
        assert_eq!(named("alice", Some("shop"), None, "reader"), "http:=alice/=shop/-/reader");
        let names = [
            named("a", None, None, "r"),
            named("a", Some(""), None, "r"),
            named("a", Some("b"), None, "r"),
            named("a/=b", None, None, "r"),
            named("a%2F=b", None, None, "r"),
            named("a", None, Some("b"), "r"),
            named("a", None, None, "/r"),
            named("a", None, None, "-/r"),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
