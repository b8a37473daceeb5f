//! mqttbytes' packets in our words, so that fields can be compared.

pub(crate) mod v4;
pub(crate) mod v5;

use portcullis_mqtt::{PacketId, QoS, UserProperties};

use crate::common::leak;

fn qos(theirs: mqttbytes::QoS) -> QoS {
    QoS::from_u8(theirs as u8).unwrap()
}

fn id(theirs: u16) -> PacketId {
    PacketId::new(theirs).unwrap()
}

/// What they hold as an empty string and we as nothing.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn user(theirs: &[(String, String)]) -> UserProperties<'_> {
    UserProperties::from_owned(theirs)
}

fn strs(theirs: &[String]) -> &'static [&'static str] {
    leak(theirs.iter().map(|text| leak::<str>(text.as_str())).collect::<Vec<_>>())
}
