//! The MQTT connections that an HTTP connection publishes through.
//!
//! A request with the credentials of the one before goes the same way: its login was decided, its grant is in force, and
//! what ends an MQTT client's connection (expiry, a changed directory, a swapped policy) has ended this one. Other
//! credentials have a connection of their own; there are few of them a connection, but for a proxy that mixes its clients.

use std::sync::Arc;

use parking_lot::Mutex;
use portcullis_grant::HttpHead;
use tokio::time::Instant;

use super::hearing::Hearing;
use super::peer::Peer;

/// Logins that one HTTP connection keeps at a time.
const MOST: usize = 4;

/// Headers that no credential is in. What is not among them takes part in the comparison, or somebody might publish as
/// the one before.
const NOT_CREDENTIALS: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "content-length",
    "content-type",
    "date",
    "expect",
    "mqtt-content-type",
    "mqtt-correlation-data",
    "mqtt-message-expiry",
    "mqtt-payload-format",
    "mqtt-qos",
    "mqtt-response-topic",
    "mqtt-retain",
    "mqtt-user",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-request-id",
];

/// A login that publishes.
pub(super) struct Publisher {
    pub peer: Peer,
    pub hearing: Arc<Hearing>,
}

/// Where a publisher stays between requests.
#[derive(Default)]
pub(super) struct Place {
    /// None: nobody has logged in, or whoever did is at work, or was given up.
    pub publisher: Option<Publisher>,
    /// It was too fast: nothing is taken before.
    pub not_before: Option<Instant>,
}

/// A place, for one request at a time: what one connection sends is in order.
pub(super) type SharedPlace = Arc<tokio::sync::Mutex<Place>>;

/// The headers that a login may have been decided by.
type Credentials = Vec<(String, String)>;

/// Those of one HTTP connection, the one that was used last at the end.
#[derive(Default)]
pub(crate) struct Publishers(Mutex<Vec<(Credentials, SharedPlace)>>);

impl Publishers {
    /// The place of these credentials. The one that was used longest ago makes room for a new one.
    pub(super) fn place(&self, head: &HttpHead) -> SharedPlace {
        let key = credentials(head);
        let mut places = self.0.lock();
        let found = places.iter().position(|(known, _)| *known == key);
        let entry = match found {
            Some(at) => places.remove(at),
            None => (key, SharedPlace::default()),
        };
        let place = Arc::clone(&entry.1);
        if places.len() == MOST {
            places.remove(0);
        }
        places.push(entry);
        place
    }
}

fn credentials(head: &HttpHead) -> Credentials {
    head.headers.iter().filter(|(name, _)| !NOT_CREDENTIALS.contains(&name.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> HttpHead {
        HttpHead {
            method: "POST".into(),
            authority: "a".into(),
            path: "/publish/a".into(),
            query: None,
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    #[test]
    fn nobody_publishes_as_the_one_before() {
        let publishers = Publishers::default();
        let of = |headers: &[(&str, &str)]| publishers.place(&head(headers));
        let alice = of(&[("authorization", "Bearer a"), ("content-length", "1")]);
        assert!(Arc::ptr_eq(&alice, &of(&[("authorization", "Bearer a"), ("content-length", "2")])));
        for other in [&[("authorization", "Bearer b")][..], &[], &[("x-api-key", "k"), ("authorization", "Bearer a")]] {
            assert!(!Arc::ptr_eq(&alice, &of(other)), "{other:?}");
        }
    }

    #[test]
    fn a_connection_keeps_few_logins() {
        let publishers = Publishers::default();
        for number in 0..100 {
            publishers.place(&head(&[("authorization", &number.to_string())]));
        }
        assert_eq!(publishers.0.lock().len(), MOST);
    }
}
