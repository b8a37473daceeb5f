//! The filters of a listener: policies that look at messages before they are published.
//!
//! They are asked one after the other, each about the topics that it is configured for and about the message as those
//! before it left it. What fails refuses: nothing passes that nobody has looked at.

use std::sync::Arc;

use portcullis_grant::{FilterRefusal, Filtered, Passage, PolicyStamp, Replacement};
use portcullis_mqtt::{ReasonCode, matches, valid_topic_name};

use crate::bindings::exports::portcullis::policy::message_filter as wit;
use crate::call::{Answer, Caller, Question};
use crate::convert;
use crate::policy::Policy;
use crate::stats::CallOutcome;

/// Octets of a detail; what is longer is cut.
const MAX_DETAIL: usize = 2048;
/// Octets of a content type, as of any MQTT string.
const MAX_CONTENT_TYPE: usize = 65_535;

/// A policy, and the topics that it looks at.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Topic filters.
    pub topics: Arc<[String]>,
}

impl Filter {
    fn concerns(&self, topic: &str) -> bool {
        self.topics.iter().any(|filter| matches(filter, topic))
    }
}

/// Puts a message to those that it concerns.
pub(crate) async fn pass(filters: &[Filter], mut passage: Passage) -> Filtered {
    let mut changed = None;
    for filter in filters {
        if !filter.concerns(&passage.topic) {
            continue;
        }
        match ask(&filter.policy, &passage).await {
            Filtered::Pass => {}
            Filtered::Replace(with) => {
                let all: &mut Replacement = changed.get_or_insert_default();
                if let Some(topic) = with.topic {
                    passage.topic.clone_from(&topic);
                    all.topic = Some(topic);
                }
                if let Some(payload) = with.payload {
                    passage.payload.clone_from(&payload);
                    all.payload = Some(payload);
                }
                if let Some(content_type) = with.content_type {
                    passage.content_type = Some(content_type.clone());
                    all.content_type = Some(content_type);
                }
            }
            decided @ (Filtered::Drop | Filtered::Refuse(_)) => return decided,
        }
    }
    changed.map_or(Filtered::Pass, Filtered::Replace)
}

async fn ask(policy: &Policy, passage: &Passage) -> Filtered {
    let generation = policy.current();
    let stamp = generation.stamp();
    let publisher = wit::Publisher {
        listener: (*passage.listener).to_owned(),
        client_id: (*passage.client_id).to_owned(),
        identity: convert::identity(&passage.identity),
    };
    let message = wit::Message {
        topic: passage.topic.clone(),
        qos: convert::to_qos(passage.qos),
        retain: passage.retain,
        will: passage.will,
        payload: passage.payload.clone(),
        content_type: passage.content_type.clone(),
        user_properties: passage.user_properties.clone(),
    };
    let question = Question::Filter(&publisher, &message);
    let answer = policy.ask(&generation, question, Caller::default(), |answer| match answer {
        Answer::Filtered(outcome) => read(stamp, outcome),
        _ => Err("an answer to another question".to_owned()),
    });
    answer.await.unwrap_or_else(|error| {
        let detail = format!("policy `{}`: {error}", stamp.name);
        Filtered::Refuse(FilterRefusal::failed(detail, Some(stamp.clone())))
    })
}

fn read(stamp: &PolicyStamp, outcome: wit::Outcome) -> Result<(Filtered, CallOutcome), String> {
    Ok(match outcome {
        wit::Outcome::Pass => (Filtered::Pass, CallOutcome::Pass),
        wit::Outcome::Drop => (Filtered::Drop, CallOutcome::Deny),
        wit::Outcome::Replace(with) => {
            if let Some(Err(why)) = with.topic.as_deref().map(valid_topic_name) {
                return Err(format!("a topic that is none: {why}"));
            }
            if let Some(content_type) = &with.content_type
                && (content_type.len() > MAX_CONTENT_TYPE || content_type.contains('\0'))
            {
                return Err("a content type that MQTT cannot carry".to_owned());
            }
            let wit::Replacement { topic, payload, content_type } = with;
            (Filtered::Replace(Replacement { topic, payload, content_type }), CallOutcome::Answer)
        }
        wit::Outcome::Refuse(refusal) => {
            let reason = match refusal.reason {
                wit::RefusalReason::PayloadFormatInvalid => ReasonCode::PAYLOAD_FORMAT_INVALID,
                wit::RefusalReason::TopicNameInvalid => ReasonCode::TOPIC_NAME_INVALID,
                wit::RefusalReason::NotAuthorized => ReasonCode::NOT_AUTHORIZED,
                wit::RefusalReason::QuotaExceeded => ReasonCode::QUOTA_EXCEEDED,
            };
            let mut detail = refusal.detail;
            detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
            let detail = crate::capability::escaped(&detail);
            let refusal = FilterRefusal { reason, failed: false, detail, policy: Some(stamp.clone()) };
            (Filtered::Refuse(refusal), CallOutcome::Deny)
        }
    })
}
