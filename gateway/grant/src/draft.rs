//! A grant as a policy words it, and what may be wrong with it.

use crate::identity::Identity;
use crate::names::Words;
use crate::rules::Rule;
use crate::rules::own::SEARCHED;

/// A grant as a policy words it, before it is compiled.
#[derive(Clone, Debug, Default)]
pub struct GrantDraft {
    /// Who it is.
    pub identity: Identity,
    /// Seconds since 1970 at which it ends.
    pub expires_at: Option<u64>,
    /// Seconds after which to look again.
    pub renew_after: Option<u32>,
    /// Client identifier to use instead.
    pub client_id: Option<String>,
    /// At most 1,024.
    pub rules: Vec<Rule>,
    /// `(name, value)` of the contract's `limit`.
    pub limits: Vec<(String, u64)>,
    /// At most 16.
    pub depends_on: Vec<String>,
    /// At most 4 KiB.
    pub state: Vec<u8>,
    /// Authentication data for CONNACK.
    pub data: Option<Vec<u8>>,
    /// None are defined: any name makes the grant void.
    pub attributes: Vec<(String, String)>,
}

impl GrantDraft {
    /// The client's own names: its identity's, what the grant was derived from, and what else is known of it where a filter has it.
    pub(crate) fn words(&self, known: &[&str]) -> Words<'_> {
        let mut words = self.identity.words();
        for entry in &self.depends_on {
            words.add(entry.split_once(':').map_or(entry.as_str(), |(_, id)| id));
        }
        self.client_id.iter().for_each(|id| words.add(id));
        if self.rules.len() <= SEARCHED {
            for name in known {
                let found = self.rules.iter().find_map(|rule| words.occurrence(name, &rule.filter));
                found.into_iter().for_each(|name| words.add(name));
            }
        }
        words
    }
}

/// Why a draft cannot become a grant: the policy's mistake, which refuses the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// `identity.scheme` or `identity.subject` is empty.
    #[error("the grant's identity has an empty {0}")]
    EmptyIdentity(&'static str),
    /// A list or text is longer than the contract allows.
    #[error("the grant has {count} {what}, more than the {limit} that the contract allows")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A rule's filter is not an MQTT topic filter.
    #[error("rule {index} of the grant has the filter {filter:?}, which is not a topic filter: {why}")]
    BadFilter {
        /// Position among the rules, from 0.
        index: usize,
        /// The filter.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client identifier cannot be used.
    #[error("the grant's client-id {0:?} is not a valid client identifier")]
    BadClientId(String),
    /// A limit that this gateway does not know: a restriction must not be lost silently.
    #[error("the grant sets the limit {0:?}, which this gateway does not know")]
    UnknownLimit(String),
    /// An attribute that this gateway does not know.
    #[error("the grant has the attribute {0:?}, which this gateway does not know")]
    UnknownAttribute(String),
}
