//! `GET /retained/<topic or filter>`: what is retained, under the same permission as a subscription.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue};
use portcullis_mqtt::{PublishProperties, QoS, ReasonCode};
use serde_json::{Value, json};

use super::Messages;
use super::parameters::{Parameters, check_filter, in_path};
use super::properties::{add_headers, document};
use super::refusal::{bad, denied, refused};
use super::seams::RetainedMessage;
use crate::answer::{self, Answer};
use crate::inbound::Inbound;

/// Messages of a page, unless the client says otherwise, and at most.
const PAGE: (usize, usize) = (100, 1000);
/// Octets of payload in a page; one message more may be in it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

impl Messages {
    pub(super) async fn retained(&self, request: Inbound) -> Answer {
        if !matches!(request.head.method.as_str(), "GET" | "HEAD") {
            return answer::not_allowed("GET, HEAD");
        }
        let (filter, after, limit) = match self.wanted(&request) {
            Ok(wanted) => wanted,
            Err(answer) => return answer,
        };
        let admitted = match self.admit(&request.connection).await {
            Ok(admitted) => admitted,
            Err(denial) => return denied(&denial),
        };
        let grant = &admitted.0;
        let filtered = match self.may_subscribe(&admitted, &filter, QoS::AtMostOnce).await {
            Ok(filtered) => filtered,
            Err(denial) => {
                self.witness.action_refused(&request.connection, grant, "subscribe", &filter);
                let words = "the grant does not permit to subscribe to this";
                return denial.map_or_else(|| refused(ReasonCode::NOT_AUTHORIZED, words), |denial| denied(&denial));
            }
        };
        let keep = |topic: &str| !filtered || grant.may_receive(topic);
        if filter.contains(['+', '#']) {
            // One more than is asked for says whether there are more.
            page(self.exchange.retained(&filter, after.as_deref(), limit + 1, &keep), limit)
        } else {
            match self.exchange.retained(&filter, None, 1, &keep).pop() {
                Some(message) => one(&message),
                None => answer::error(StatusCode::NOT_FOUND, "nothing is retained on this topic"),
            }
        }
    }

    fn wanted(&self, request: &Inbound) -> Result<(String, Option<String>, usize), Answer> {
        let mut parameters = Parameters::of(&request.head)?;
        let filter = match (in_path(request, "/retained")?, parameters.every("filter").as_mut_slice()) {
            (Some(filter), []) => filter,
            (None, [filter]) => std::mem::take(filter),
            _ => {
                return Err(bad("say one topic or filter: in the path after /retained/, or as the parameter `filter`"));
            }
        };
        check_filter(&filter, &self.exchange.bounds())?;
        if filter.starts_with("$share/") {
            let words = "nothing is retained for shared subscriptions (MQTT 5 §4.8.2)";
            return Err(refused(ReasonCode::TOPIC_FILTER_INVALID, words));
        }
        let after = parameters.every("after").pop();
        let within = |value: &str| value.parse().ok().filter(|limit| (1..=PAGE.1).contains(limit));
        let limit = parameters.read("limit", &format!("a number from 1 to {}", PAGE.1), within)?.unwrap_or(PAGE.0);
        parameters.finish()?;
        Ok((filter, after, limit))
    }
}

/// One message: its payload as the body, its properties as headers.
fn one(message: &RetainedMessage) -> Answer {
    let mut answer = answer::body(StatusCode::OK, "application/octet-stream", message.payload.clone());
    let headers = answer.headers_mut();
    // What was decoded when it was published can be decoded again.
    add_headers(headers, &PublishProperties::decode(&message.properties).unwrap_or_default());
    headers.insert(HeaderName::from_static("mqtt-qos"), HeaderValue::from(message.qos as u16));
    if let Some(seconds) = message.expires_in {
        headers.insert(HeaderName::from_static("mqtt-message-expiry"), HeaderValue::from(seconds));
    }
    // Whoever may publish chooses payload and type: it is never a page of this origin.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    answer
}

/// `{"items": […], "next": topic or null}`.
fn page(found: Vec<RetainedMessage>, limit: usize) -> Answer {
    let all = found.len();
    let mut items = Vec::new();
    let mut octets = 0;
    let mut last = None;
    for message in found.into_iter().take(limit) {
        if octets > PAGE_BYTES {
            break;
        }
        octets += message.payload.len();
        let properties = PublishProperties::decode(&message.properties).unwrap_or_default();
        let mut item = document(&message.topic, &message.payload, &properties, message.expires_in);
        item.insert("qos".to_owned(), (message.qos as u8).into());
        items.push(Value::Object(item));
        last = Some(message.topic);
    }
    let next = if items.len() < all { last } else { None };
    let text = format!("{}\n", json!({ "items": items, "next": next }));
    answer::body(StatusCode::OK, "application/json", Bytes::from(text))
}
