//! What a request says beside its body: the topic or filter in its path, and parameters as headers or in the query.
//!
//! Nothing is guessed: a parameter that is unknown, there twice or no value of its kind is an error that names it.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use portcullis_grant::HttpHead;
use portcullis_mqtt::{QoS, ReasonCode, valid_topic_filter, valid_topic_name};
use portcullis_net::request::resolve_dot_segments;

use super::refusal::{bad, refused};
use super::seams::Bounds;
use crate::answer::{Answer, error};
use crate::inbound::Inbound;
use crate::query;

/// User properties of one message.
const MOST_USER_PROPERTIES: usize = 64;
/// Filters of one stream.
pub(super) const MOST_FILTERS: usize = 64;

/// The parameters of a request, taken one by one.
pub(super) struct Parameters<'a> {
    head: &'a HttpHead,
    query: VecDeque<(String, String)>,
}

impl<'a> Parameters<'a> {
    /// # Errors
    /// The query is no query.
    pub(super) fn of(head: &'a HttpHead) -> Result<Self, Answer> {
        let query = query::parameters(head.query.as_deref())
            .ok_or_else(|| bad("the query is not percent-encoded UTF-8"))?
            .into();
        Ok(Self { head, query })
    }

    /// All values of a query parameter, in their order.
    pub(super) fn every(&mut self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.query.retain_mut(|(key, value)| {
            let is = key == name;
            if is {
                found.push(std::mem::take(value));
            }
            !is
        });
        found
    }

    /// A query parameter, or else the header `mqtt-` with its name.
    ///
    /// # Errors
    /// It is there twice.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, Answer> {
        let header = format!("mqtt-{name}");
        let mut found = self.every(name);
        if found.is_empty() {
            found = headers(self.head, &header).map(str::to_owned).collect();
        }
        if found.len() > 1 {
            return Err(bad(&format!("`{name}` is there more than once")));
        }
        Ok(found.pop())
    }

    /// As [`Self::one`], read by `read`.
    ///
    /// # Errors
    /// It is there twice, or not `expected`.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Answer> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| bad(&format!("`{name}` is not {expected}")))
    }

    /// A quality of service.
    pub(super) fn qos(&mut self) -> Result<Option<QoS>, Answer> {
        self.read("qos", "0, 1 or 2", |value| value.parse().ok().and_then(QoS::from_u8))
    }

    /// `true` or `false`; false if it is not there.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Answer> {
        let read = |value: &str| match value {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        Ok(self.read(name, "true or false", read)?.unwrap_or(false))
    }

    /// Whatever was not asked for is unknown.
    ///
    /// # Errors
    /// The query has something that does nothing here.
    pub(super) fn finish(self) -> Result<(), Answer> {
        match self.query.front() {
            None => Ok(()),
            Some((name, _)) => Err(bad(&format!("`{}` is no parameter of this path", name.escape_debug()))),
        }
    }
}

/// All values of a header; `name` in lower case.
pub(super) fn headers<'h>(head: &'h HttpHead, name: &str) -> impl Iterator<Item = &'h str> {
    head.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The topic or filter that follows `prefix` (`/publish`) in the path. None: there is none, and it may be a parameter.
///
/// # Errors
/// It is not percent-encoded UTF-8, or has levels `.` or `..`, which no path can be relied on to keep.
pub(super) fn in_path(request: &Inbound, prefix: &str) -> Result<Option<String>, Answer> {
    after(&request.raw_path, prefix)
}

fn after(raw_path: &str, prefix: &str) -> Result<Option<String>, Answer> {
    if resolve_dot_segments(raw_path) != raw_path {
        let words =
            "a path cannot have the levels `.` and `..`; say the topic in the query instead (`topic`, `filter`)";
        return Err(bad(words));
    }
    let Some(encoded) = raw_path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) else {
        return Ok(None);
    };
    let decoded = query::decode(encoded).ok_or_else(|| bad("the topic in the path is not percent-encoded UTF-8"))?;
    Ok((!decoded.is_empty()).then_some(decoded))
}

/// What a message is published with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    pub message_expiry: Option<u32>,
    pub text: Option<bool>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    pub user: Vec<(String, String)>,
}

impl Post {
    /// Reads path, query and headers of `POST /publish/…`.
    ///
    /// # Errors
    /// What to answer instead.
    pub(super) fn read(request: &Inbound, bounds: &Bounds) -> Result<Self, Answer> {
        let head = &request.head;
        let mut parameters = Parameters::of(head)?;
        let topic = match (in_path(request, "/publish")?, parameters.every("topic").as_mut_slice()) {
            (Some(topic), []) => topic,
            (None, [topic]) => std::mem::take(topic),
            _ => return Err(bad("say one topic: in the path after /publish/, or as the parameter `topic`")),
        };
        check_topic(&topic, bounds)?;
        let mut user = Vec::new();
        let pairs = parameters.every("user");
        let pairs = pairs.iter().map(String::as_str).chain(headers(head, "mqtt-user"));
        for pair in pairs {
            let (name, value) = pair.split_once('=').ok_or_else(|| bad("`user` is not NAME=VALUE"))?;
            user.push((name.to_owned(), value.to_owned()));
        }
        if user.len() > MOST_USER_PROPERTIES {
            return Err(bad(&format!("there are more than {MOST_USER_PROPERTIES} `user` properties")));
        }
        let base64 = |value: &str| STANDARD.decode(value).ok();
        let post = Self {
            topic,
            qos: parameters.qos()?.unwrap_or(QoS::AtLeastOnce),
            retain: parameters.flag("retain")?,
            message_expiry: parameters.read("message-expiry", "a number of seconds", |value| value.parse().ok())?,
            text: parameters.read("payload-format", "`text` or `bytes`", |value| match value {
                "text" => Some(true),
                "bytes" => Some(false),
                _ => None,
            })?,
            content_type: parameters.one("content-type")?.or_else(|| of_the_body(head)),
            response_topic: parameters.one("response-topic")?,
            correlation_data: parameters.read("correlation-data", "base64 (RFC 4648 §4)", base64)?,
            user,
        };
        parameters.finish()?;
        if let Some(topic) = &post.response_topic {
            check_topic(topic, bounds)?;
        }
        Ok(post)
    }
}

/// The Content-Type of the request, unless it is the one that tools give to whatever they are told to send.
fn of_the_body(head: &HttpHead) -> Option<String> {
    let declared = headers(head, "content-type").next()?;
    (!declared.is_empty() && declared != "application/x-www-form-urlencoded").then(|| declared.to_owned())
}

/// # Errors
/// It is no topic name, or longer or deeper than the listener takes (MQTT 5: 0x90).
pub(super) fn check_topic(topic: &str, bounds: &Bounds) -> Result<(), Answer> {
    let refuse = |why: &str| Err(refused(ReasonCode::TOPIC_NAME_INVALID, &format!("the topic is not accepted: {why}")));
    match valid_topic_name(topic) {
        Err(why) => refuse(&why.to_string()),
        Ok(()) if !within(topic, bounds) => refuse("it is longer or deeper than this listener takes"),
        Ok(()) => Ok(()),
    }
}

/// # Errors
/// It is no topic filter, or longer or deeper than the listener takes (MQTT 5: 0x8F).
pub(super) fn check_filter(filter: &str, bounds: &Bounds) -> Result<(), Answer> {
    let refuse =
        |why: &str| Err(refused(ReasonCode::TOPIC_FILTER_INVALID, &format!("the filter is not accepted: {why}")));
    match valid_topic_filter(filter) {
        Err(why) => refuse(&why.to_string()),
        Ok(()) if !within(filter, bounds) => refuse("it is longer or deeper than this listener takes"),
        Ok(()) => Ok(()),
    }
}

fn within(topic: &str, bounds: &Bounds) -> bool {
    topic.len() <= bounds.topic_length && topic.split('/').count() <= bounds.topic_levels
}

/// 404 for what is no path of this room.
pub(super) fn nothing_here() -> Answer {
    error(StatusCode::NOT_FOUND, "there is nothing at this path")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds =
        Bounds { in_flight: 1, queued_bytes: 1, topic_length: 4096, topic_levels: 128, strict: false };

    #[test]
    fn levels_may_be_empty_and_names_may_be_anything() {
        for (path, topic) in [
            ("/publish/a/b", "a/b"),
            ("/publish//a", "/a"),
            ("/publish///", "//"),
            ("/publish/a%2Fb+c", "a/b+c"),
            ("/publish/%24SYS/x%23", "$SYS/x#"),
        ] {
            assert_eq!(after(path, "/publish").ok(), Some(Some(topic.to_owned())), "{path}");
        }
        assert_eq!(after("/publish", "/publish").ok(), Some(None));
        assert_eq!(after("/publish/", "/publish").ok(), Some(None));
        for bad in ["/publish/a/../b", "/publish/%2e/b", "/publish/%ff", "/publish/%"] {
            assert!(after(bad, "/publish").is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_topic_comes_through_a_path(topic in "[^\u{0}+#]{1,40}") {
            prop_assume!(topic.split('/').all(|level| level != "." && level != ".."));
            // All but the slashes, as the strictest of clients encodes it.
            let octet = |octet: u8| if octet == b'/' { "/".to_owned() } else { format!("%{octet:02X}") };
            let path: String = topic.bytes().map(octet).collect();
            let read = after(&format!("/publish/{path}"), "/publish").ok().flatten();
            prop_assert_eq!(read.as_deref(), Some(topic.as_str()));
            prop_assert!(check_topic(&topic, &BOUNDS).is_ok());
        }

        #[test]
        fn whatever_stands_in_a_path_or_query_is_survived(text in any::<String>(), query in any::<Option<String>>()) {
            if let Ok(Some(topic)) = after(&format!("/publish/{text}"), "/publish") {
                // What is let through is a topic within the bounds, and a name wherever it is one.
                let fine = check_topic(&topic, &BOUNDS).is_ok();
                prop_assert_eq!(fine, valid_topic_name(&topic).is_ok() && within(&topic, &BOUNDS));
                let _ = check_filter(&topic, &BOUNDS);
            }
            let head = HttpHead {
                method: "POST".into(),
                authority: String::new(),
                path: String::new(),
                query,
                headers: vec![("mqtt-qos".into(), text)],
            };
            if let Ok(mut parameters) = Parameters::of(&head) {
                let _ = parameters.qos();
                let _ = parameters.flag("retain");
                let _ = parameters.finish();
            }
        }
    }
}
