//! Who a client is, as its grant and its session keep it: names in one piece, and terms that it has in common with others.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use crate::grant::Terms;
use crate::identity::Identity;
use crate::names::{Names, Words};

/// An [`Identity`] in little memory: all clients have one for as long as they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    // Compared first: it is shorter.
    pub(crate) names: Names,
    pub(crate) terms: Arc<Terms>,
}

// With its counts a size class of the allocator's.
const _: () = assert!(size_of::<Principal>() <= 32);

/// What the names of HTTP clients' sessions begin with. MQTT clients cannot have such a name.
pub const HTTP_SESSION: &str = "http:";

impl Principal {
    /// Somebody of whom nothing is known but this: whose a stored session is.
    #[must_use]
    pub fn named(subject: &str, tenant: Option<&str>, acting_for: Option<&str>) -> Self {
        /// All of them have it in common.
        static NONE: LazyLock<Arc<Terms>> = LazyLock::new(Arc::default);
        Self { terms: Arc::clone(&NONE), names: Words::new(subject, tenant, acting_for).names() }
    }

    /// The scheme that established it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.terms.scheme
    }

    /// The stable identifier, unique within scheme and tenant.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.names.get(Names::SUBJECT).unwrap_or_default()
    }

    /// The app, account, domain or project within which the subject is meant.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.names.get(Names::TENANT)
    }

    /// The principal on whose behalf the subject acts.
    #[must_use]
    pub fn acting_for(&self) -> Option<&str> {
        self.names.get(Names::ACTING_FOR)
    }

    /// Names of roles, without order.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &str> {
        self.terms.roles.iter().map(|role| &**role)
    }

    /// Anything else worth knowing.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&str, Cow<'_, str>)> {
        self.terms.attributes.iter().map(|(name, value)| (&**name, value.with_names(&self.names)))
    }

    /// All its names, those that only its grant has as well.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten()
    }

    /// The name of a session that this principal has over HTTP, by what it calls it: one's own among all, so that nobody can
    /// take or find out another's.
    #[must_use]
    pub fn http_session(&self, called: &str) -> String {
        let mut name = HTTP_SESSION.to_owned();
        for part in [Some(self.subject()), self.tenant(), self.acting_for()] {
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

impl From<&Identity> for Principal {
    fn from(identity: &Identity) -> Self {
        let words = identity.words();
        Self { terms: Arc::new(Terms::about(identity, &words)), names: words.names() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_as_it_is() {
        let text = str::to_owned;
        let identity = Identity {
            scheme: text("s"),
            subject: text("ada"),
            tenant: Some(text("shop")),
            acting_for: Some(String::new()),
            roles: vec![text("ada"), text("b\0")],
            attributes: vec![(text("mail"), text("ada@shop")), (text("void"), text("")), (text("raw"), text("\0A"))],
        };
        let kept = Principal::from(&identity);
        assert_eq!(
            (kept.scheme(), kept.subject(), kept.tenant(), kept.acting_for()),
            ("s", "ada", Some("shop"), Some(""))
        );
        assert_eq!(kept.roles().collect::<Vec<_>>(), identity.roles);
        let attributes: Vec<_> = kept.attributes().map(|(name, value)| (text(name), value.into_owned())).collect();
        assert_eq!(attributes, identity.attributes);
    }

    #[test]
    fn no_two_identities_have_a_session_of_one_name() {
        let named =
            |subject, tenant, acting_for, called| Principal::named(subject, tenant, acting_for).http_session(called);
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
