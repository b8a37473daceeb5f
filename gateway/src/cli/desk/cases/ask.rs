//! What a step asks: a login, a request, a message, and what comes after them.

use std::time::Duration;

use portcullis_grant::Identity;
use portcullis_mqtt::QoS;
use toml::Spanned;
use toml::de::DeValue;

use super::super::read::{Octets, Text, members};
use super::Deed;
use crate::config::Time;
use crate::config::problem::{Problem, Problems};
use crate::config::reader::{Located, Read, Section, mismatch};

/// A question.
pub(in crate::cli::desk) enum Ask {
    /// A login by MQTT.
    Connect(Connect),
    /// A login by an HTTP request, as a listener with a chain sees it.
    Request(Request),
    /// A request to the policy's own HTTP interface.
    Http(Request),
    /// The client's answer to a challenge.
    Reply(Option<Octets>, Vec<(String, Text)>),
    /// What a rule with the effect `ask` asks.
    Authorize(Deed),
    /// The grant is looked at again.
    Renew,
    /// A message, before it is published.
    Publish(Publish),
    /// Time passes.
    Wait(Duration),
}

/// What a client offers.
#[derive(Default)]
pub(in crate::cli::desk) struct Connect {
    pub(in crate::cli::desk) client_id: String,
    pub(in crate::cli::desk) username: Option<String>,
    pub(in crate::cli::desk) password: Option<Octets>,
    pub(in crate::cli::desk) method: Option<String>,
    pub(in crate::cli::desk) data: Option<Octets>,
    pub(in crate::cli::desk) user_properties: Vec<(String, Text)>,
}

/// An HTTP request.
pub(in crate::cli::desk) struct Request {
    pub(in crate::cli::desk) method: String,
    pub(in crate::cli::desk) authority: String,
    pub(in crate::cli::desk) path: String,
    pub(in crate::cli::desk) query: Option<String>,
    pub(in crate::cli::desk) headers: Vec<(String, Octets)>,
    pub(in crate::cli::desk) body: Option<Octets>,
}

/// A message that a filter looks at.
pub(in crate::cli::desk) struct Publish {
    pub(in crate::cli::desk) topic: String,
    pub(in crate::cli::desk) payload: Option<Octets>,
    pub(in crate::cli::desk) qos: QoS,
    pub(in crate::cli::desk) retain: bool,
    pub(in crate::cli::desk) will: bool,
    pub(in crate::cli::desk) content_type: Option<String>,
    pub(in crate::cli::desk) user_properties: Vec<(String, Text)>,
    /// Who publishes. None: the client that was let in before, or somebody.
    pub(in crate::cli::desk) by: Option<Publisher>,
}

/// Who publishes a message.
#[derive(Clone)]
pub(in crate::cli::desk) struct Publisher {
    pub(in crate::cli::desk) client_id: String,
    pub(in crate::cli::desk) identity: Identity,
}

impl Default for Publisher {
    fn default() -> Self {
        let identity = Identity { scheme: "desk".to_owned(), subject: "somebody".to_owned(), ..Identity::default() };
        Self { client_id: "somebody".to_owned(), identity }
    }
}

impl Ask {
    /// Reads what a step asks. None: nothing.
    pub(in crate::cli::desk) fn read(section: &mut Section<'_>) -> Option<Self> {
        let mut asks = Vec::new();
        asks.extend(section.section("connect", "connect").map(|section| Self::Connect(connect(section))));
        asks.extend(section.section("request", "request").map(|section| Self::Request(request(section))));
        asks.extend(section.section("http", "http").map(|section| Self::Http(request(section))));
        asks.extend(section.section("publish", "publish").and_then(publish).map(Self::Publish));
        asks.extend(section.section("reply", "reply").map(|mut section| {
            let reply = Self::Reply(section.optional("data"), members(&mut section, "user-properties"));
            section.finish();
            reply
        }));
        asks.extend(section.optional("authorize").map(Self::Authorize));
        asks.extend(section.optional::<bool>("renew").map(|_| Self::Renew));
        asks.extend(section.optional::<Time>("wait").map(|time| Self::Wait(time.0)));
        if asks.len() > 1 {
            let problem = Problem::new(section.span(), "this step asks two things");
            section.problems().add(problem.help("put the second into a [[case.then]]"));
        }
        asks.pop()
    }

    /// Whether the client speaks HTTP.
    pub(in crate::cli::desk) fn is_http(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Http(_))
    }
}

fn connect(mut section: Section<'_>) -> Connect {
    let text = |text: Option<Text>| text.map(|text| text.0);
    let connect = Connect {
        client_id: text(section.optional("client-id")).unwrap_or_default(),
        username: text(section.optional("username")),
        password: section.optional("password"),
        method: text(section.optional("method")),
        data: section.optional("data"),
        user_properties: members(&mut section, "user-properties"),
    };
    section.finish();
    connect
}

fn request(mut section: Section<'_>) -> Request {
    let path: String = section.optional("path").unwrap_or_else(|| "/".to_owned());
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (path, None),
    };
    let request = Request {
        method: section.optional("method").unwrap_or_else(|| "GET".to_owned()),
        authority: section.optional("authority").unwrap_or_else(|| "gateway.test".to_owned()),
        path,
        query,
        headers: members(&mut section, "headers"),
        body: section.optional("body"),
    };
    section.finish();
    request
}

fn publish(mut section: Section<'_>) -> Option<Publish> {
    let topic = section.required::<Located<String>>("topic", "the topic of the message");
    if let Some(topic) = &topic
        && let Err(why) = portcullis_mqtt::topic::valid_topic_name(topic)
    {
        let problem = Problem::new(topic.span.clone(), format!("{:?} is no topic of a message: {why}", topic.value));
        section.problems().add(problem);
    }
    let publish = Publish {
        topic: topic.map(|topic| topic.value).unwrap_or_default(),
        payload: section.optional("payload"),
        qos: section.optional::<Quality>("qos").map_or(QoS::AtMostOnce, |quality| quality.0),
        retain: section.optional("retain").unwrap_or(false),
        will: section.optional("will").unwrap_or(false),
        content_type: section.optional("content-type"),
        user_properties: members(&mut section, "user-properties"),
        by: section.section("by", "by").map(publisher),
    };
    section.finish();
    (!publish.topic.is_empty()).then_some(publish)
}

fn publisher(mut section: Section<'_>) -> Publisher {
    let anybody = Publisher::default();
    let subject = section.optional("subject").unwrap_or(anybody.identity.subject);
    let attributes: Vec<(String, Text)> = members(&mut section, "attributes");
    let publisher = Publisher {
        client_id: section.optional("client-id").unwrap_or_else(|| subject.clone()),
        identity: Identity {
            scheme: section.optional("scheme").unwrap_or(anybody.identity.scheme),
            subject,
            tenant: section.optional("tenant"),
            acting_for: section.optional("acting-for"),
            roles: section.optional("roles").unwrap_or_default(),
            attributes: attributes.into_iter().map(|(name, value)| (name, value.0)).collect(),
        },
    };
    section.finish();
    publisher
}

/// 0, 1 or 2.
struct Quality(QoS);

impl Read for Quality {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let read = match value.get_ref().as_integer().map(|number| number.as_str()) {
            Some("0") => Some(QoS::AtMostOnce),
            Some("1") => Some(QoS::AtLeastOnce),
            Some("2") => Some(QoS::ExactlyOnce),
            _ => None,
        };
        if read.is_none() {
            problems.add(mismatch(value, "0, 1 or 2"));
        }
        read.map(Self)
    }
}
