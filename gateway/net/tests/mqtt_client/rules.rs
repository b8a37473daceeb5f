//! Rules in few words.

use portcullis_grant::{Actions, Effect, Rule};
use portcullis_mqtt::QoS;

pub fn rule(effect: Effect, actions: Actions, filter: &str, max_qos: QoS) -> Rule {
    Rule { effect, actions, filter: filter.to_owned(), max_qos }
}

pub fn publish(effect: Effect, filter: &str, max_qos: QoS) -> Rule {
    rule(effect, Actions::PUBLISH, filter, max_qos)
}

pub fn subscribe(effect: Effect, filter: &str, max_qos: QoS) -> Rule {
    rule(effect, Actions::SUBSCRIBE, filter, max_qos)
}
