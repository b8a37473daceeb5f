//! A message's MQTT 5 properties, told as header fields or JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use portcullis_mqtt::PublishProperties;
use serde_json::{Map, Value, json};

/// Text as a header's value: visible ASCII as it is, all else, `%` and what is in `also` percent-encoded (RFC 3986 §2.1).
/// No value of a stranger's ends a header or begins another.
pub(super) fn safe(text: &str, also: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        let plain = octet.is_ascii_graphic() && octet != b'%' && !also.as_bytes().contains(&octet);
        if plain {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
}

/// Adds the properties as headers: the same names that [`super::parameters`] reads.
pub(super) fn add_headers(headers: &mut HeaderMap, properties: &PublishProperties<'_>) {
    let declared = properties.content_type.and_then(|text| HeaderValue::try_from(text).ok());
    let assumed = match properties.payload_format {
        Some(true) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    headers.insert(CONTENT_TYPE, declared.unwrap_or(HeaderValue::from_static(assumed)));
    if let Some(text) = properties.payload_format {
        let word = if text { "text" } else { "bytes" };
        headers.insert(HeaderName::from_static("mqtt-payload-format"), HeaderValue::from_static(word));
    }
    if let Some(topic) = properties.response_topic {
        headers.insert(HeaderName::from_static("mqtt-response-topic"), safe(topic, ""));
    }
    if let Some(data) = properties.correlation_data {
        headers.insert(HeaderName::from_static("mqtt-correlation-data"), safe(&STANDARD.encode(data), ""));
    }
    for (name, value) in properties.user.iter() {
        headers.append(HeaderName::from_static("mqtt-user"), safe(&format!("{name}={value}"), ""));
    }
}

/// A message as JSON: the payload as `payload` where it is UTF-8, else as `payload_base64`; a property only where there
/// is one.
pub(super) fn document(
    topic: &str,
    payload: &[u8],
    properties: &PublishProperties<'_>,
    expires_in: Option<u32>,
) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    put("topic", topic.into());
    match std::str::from_utf8(payload) {
        Ok(text) => put("payload", text.into()),
        Err(_) => put("payload_base64", STANDARD.encode(payload).into()),
    }
    if let Some(seconds) = expires_in {
        put("message_expiry", seconds.into());
    }
    if let Some(text) = properties.payload_format {
        put("payload_format", if text { "text" } else { "bytes" }.into());
    }
    if let Some(text) = properties.content_type {
        put("content_type", text.into());
    }
    if let Some(topic) = properties.response_topic {
        put("response_topic", topic.into());
    }
    if let Some(data) = properties.correlation_data {
        put("correlation_data", STANDARD.encode(data).into());
    }
    if !properties.user.is_empty() {
        let pairs: Vec<_> = properties.user.iter().map(|(name, value)| json!([name, value])).collect();
        put("user", pairs.into());
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_becomes_a_second_header(text in any::<String>()) {
            let value = safe(&text, ",");
            prop_assert!(value.as_bytes().iter().all(|octet| octet.is_ascii_graphic() && *octet != b','));
            prop_assert_eq!(crate::query::decode(value.to_str().unwrap()), Some(text));
        }
    }

    #[test]
    fn octets_that_are_no_text_are_told_as_base64() {
        let properties = PublishProperties::default();
        assert_eq!(document("a", b"\xff", &properties, None)["payload_base64"], "/w==");
        assert_eq!(document("a", "ü".as_bytes(), &properties, Some(7))["payload"], "ü");
    }
}
