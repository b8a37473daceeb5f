//! Packets of a client, as a server reads them. Input: an octet that picks the version, the first octet, the body.
//!
//! A client is never allowed more than either side together, and the fast path of PUBLISH agrees with the slow one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mqtt::{
    Packet, PacketType, ProtocolVersion, PublishFlags, PublishProperties, decode, decode_from_client, publish_head,
};

fuzz_target!(|input: &[u8]| {
    let [version, first, body @ ..] = input else { return };
    let version = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5][usize::from(version % 3)];
    let read = decode_from_client(version, *first, body);
    if let Ok(packet) = read {
        assert_eq!(decode(version, *first, body), Ok(packet));
        if let Packet::Subscribe(subscribe) = packet {
            assert!(subscribe.filters.iter().next().is_some());
            for filter in subscribe.filters.iter() {
                let _ = filter.valid_filter();
            }
        }
    }
    if PacketType::from_first(*first) == Some(PacketType::Publish)
        && let Ok(flags) = PublishFlags::read(*first)
    {
        match (read, publish_head(version, body, flags.qos as u8)) {
            (Ok(Packet::Publish(publish)), Ok(head)) => {
                assert_eq!(head.topic(body), publish.topic);
                assert_eq!(&body[head.payload_at..], publish.payload);
                assert_eq!(PublishProperties::decode(&body[head.properties]), Ok(publish.properties));
            }
            (Err(slow), Err(fast)) => assert_eq!(slow, fast),
            (slow, fast) => panic!("{slow:?} and {fast:?}"),
        }
    }
});
