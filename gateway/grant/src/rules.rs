//! What a grant permits: rules as a policy words them, and the native matcher that they compile to.
//!
//! The order of rules has no meaning. Where several rules match, `deny` wins over `ask` and `ask` over `allow`; what no
//! rule matches is denied. This file owns the words; [`set`] compiles and matches them, `own` keeps
//! apart those with the client's names, [`ask`] remembers answers.
//! Nothing here knows where a rule came from.

pub mod ask;
pub(crate) mod own;
pub mod set;

pub use ask::{ActionRefusal, AskCache, now_ms};
use portcullis_mqtt::QoS;
pub use set::RuleSet;

/// What a rule does with the topics that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Permits.
    Allow,
    /// Forbids, at every quality of service.
    Deny,
    /// Has the policy asked about each action.
    Ask,
}

/// A set of the actions that a rule is about: the contract's `actions`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// No action: a rule of none never matches.
    pub const NONE: Self = Self(0);
    /// Publish to a topic.
    pub const PUBLISH: Self = Self(1);
    /// Subscribe with a filter, and receive what it matches.
    pub const SUBSCRIBE: Self = Self(1 << 1);
    /// Publish with the RETAIN flag (MQTT 5 §3.3.1.3), which needs [`Self::PUBLISH`] too; or have a will with it.
    pub const RETAIN: Self = Self(1 << 2);
    /// Have a will message on a topic (MQTT 5 §3.1.2.5).
    pub const WILL: Self = Self(1 << 3);
    /// Every action.
    pub const ALL: Self = Self(0b1111);

    /// Whether every action of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOr for Actions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::ops::BitOrAssign for Actions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl std::fmt::Debug for Actions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [
            (Self::PUBLISH, "publish"),
            (Self::SUBSCRIBE, "subscribe"),
            (Self::RETAIN, "retain"),
            (Self::WILL, "will"),
        ];
        f.debug_set().entries(named.iter().filter(|(action, _)| self.contains(*action)).map(|(_, name)| name)).finish()
    }
}

/// Permission for some actions on the topics that a filter matches: the contract's `rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// To which actions.
    pub actions: Actions,
    /// An MQTT topic filter (MQTT 5 §4.7), placeholders already resolved. Not `$share/…`.
    pub filter: String,
    /// The highest quality of service. Ignored in a rule that denies.
    pub max_qos: QoS,
}

/// Whether a publication or a will may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Allow,
    /// It may not.
    Deny,
    /// The policy must be asked.
    Ask,
}

/// Whether, and how, a subscription may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribePermission {
    /// It may.
    Allow {
        /// The quality of service to grant: the lower of what was asked for and what the rules permit.
        max_qos: QoS,
        /// Some of what the filter matches is denied: ask [`RuleSet::may_receive`] about each message.
        filtered: bool,
    },
    /// It may not.
    Deny,
    /// The policy must be asked; if it agrees, these are the terms.
    Ask {
        /// As in [`Self::Allow`].
        max_qos: QoS,
        /// As in [`Self::Allow`].
        filtered: bool,
    },
}

#[cfg(test)]
mod tests;
