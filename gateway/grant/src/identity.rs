//! Who a client is: what every scheme is reduced to.

use crate::names::Words;

/// The principal that a policy established, as it words it; grants keep it as [`crate::Principal`]. It holds no secret: audit,
/// `portcullis why` and other policies see it.
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

impl Identity {
    /// Its names. What attributes say is mostly of this one.
    pub(crate) fn words(&self) -> Words<'_> {
        let mut words = Words::new(&self.subject, self.tenant.as_deref(), self.acting_for.as_deref());
        self.attributes.iter().for_each(|(_, value)| words.add(value));
        words
    }
}
