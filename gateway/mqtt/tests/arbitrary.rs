//! Whatever comes in: no panic, no disagreement between the readers, and the same frames however the stream is cut.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod common;

use common::{VERSIONS, encode, packet, version};
use portcullis_mqtt::*;
use proptest::prelude::*;

/// A valid packet in which some octets are changed, taken out or put in.
fn mutated() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    let mutation = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
    version().prop_flat_map(|v| (Just(v), packet(v))).prop_flat_map(move |(version, packet)| {
        let bytes = encode(version, &packet);
        prop::collection::vec(mutation.clone(), 1..4).prop_map(move |mutations| {
            let mut bytes = bytes.clone();
            for (at, octet, kind) in mutations {
                if bytes.is_empty() {
                    break;
                }
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = octet,
                    1 => bytes[at] ^= 1 << (octet & 7),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, octet),
                }
            }
            (version, bytes)
        })
    })
}

/// Reads in every way that there is, and checks what must hold between the ways.
fn read_in_all_ways(version: ProtocolVersion, first: u8, body: &[u8]) -> Result<(), TestCaseError> {
    let either = decode(version, first, body);
    let client = decode_from_client(version, first, body);
    // A client is refused more, and for reasons that do not need the rest of the packet to be read.
    let for_clients = |error: &Error| {
        matches!(
            error,
            Error::ServerOnlyPacket(_) | Error::ServerOnlyProperty { .. } | Error::ReasonCodeNotAllowed { .. }
        )
    };
    match (&either, &client) {
        (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
        (Err(a), Err(b)) => prop_assert!(a == b || for_clients(b), "{:?} {:?}", a, b),
        (Ok(_), Err(error)) => prop_assert!(for_clients(error), "{:?}", error),
        (Err(error), Ok(_)) => prop_assert!(false, "only from a client: {:?}", error),
    }
    if let Err(error) = either {
        prop_assert!(error.reason_code().is_error());
        prop_assert!(!error.to_string().is_empty());
    }
    if let Ok(packet) = either {
        // Whatever is read can be written, and is then read as the same.
        let written_as = if let Packet::Connect(connect) = &packet { connect.version } else { version };
        let bytes = encode(written_as, &packet);
        let frame = frame(&bytes, 0, u32::MAX).unwrap().unwrap();
        prop_assert_eq!(decode(written_as, frame.first, &bytes[frame.body..]), Ok(packet));
        let shown = format!("{packet:?}");
        prop_assert!(!shown.is_empty());
    }
    if PacketType::from_first(first) == Some(PacketType::Publish)
        && let Ok(flags) = PublishFlags::read(first)
    {
        match (client, publish_head(version, body, flags.qos as u8)) {
            (Ok(Packet::Publish(publish)), Ok(head)) => {
                prop_assert_eq!(head.topic(body), publish.topic);
                prop_assert_eq!(&body[head.payload_at..], publish.payload);
                prop_assert_eq!(PublishProperties::decode(&body[head.properties]), Ok(publish.properties));
            }
            (Err(a), Err(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert!(false, "{:?} {:?}", a, b),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn arbitrary_octets(version in version(), first: u8, body in prop::collection::vec(any::<u8>(), 0..64)) {
        read_in_all_ways(version, first, &body)?;
        let _ = decode_connect(&body);
        let _ = PublishProperties::decode(&body);
    }

    #[test]
    fn nearly_valid_packets((version, bytes) in mutated()) {
        // As the frame says, and as if the length had been mended.
        if let Ok(Some(frame)) = frame(&bytes, 0, u32::MAX) {
            read_in_all_ways(version, frame.first, &bytes[frame.body..frame.end])?;
        }
        if let [first, _, body @ ..] = &bytes[..] {
            for version in VERSIONS {
                read_in_all_ways(version, *first, body)?;
            }
        }
    }

    #[test]
    fn frames_of_octets_that_nobody_meant(bytes in prop::collection::vec(any::<u8>(), 0..16), at in 0..20usize, max: u32) {
        let need = frame_need(&bytes, at);
        match frame(&bytes, at, max) {
            Ok(Some(frame)) => {
                prop_assert!(at < frame.body && frame.body <= frame.end && frame.end <= bytes.len());
                prop_assert_eq!(need, Some(frame.end - at));
            }
            Ok(None) => prop_assert!(need.is_none_or(|need| at + need > bytes.len() && need <= max as usize)),
            Err(Error::PacketTooLarge { size, .. }) => prop_assert_eq!(need, Some(size as usize)),
            Err(_) => prop_assert_eq!(need, None),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A reader that is given a stream piece by piece finds the packets that went in, wherever the cut is.
    #[test]
    fn every_cut_of_a_stream_gives_the_same_frames(
        (version, packets) in version().prop_flat_map(|v| (Just(v), prop::collection::vec(packet(v), 1..4)))
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for packet in &packets {
            let body_of = encode(version, packet);
            expected.push((stream.len(), stream.len() + body_of.len()));
            stream.extend_from_slice(&body_of);
        }
        for cut in 0..=stream.len() {
            let mut found = Vec::new();
            let mut at = 0;
            for end in [cut, stream.len()] {
                while let Some(frame) = frame(&stream[..end], at, u32::MAX).unwrap() {
                    found.push((at, frame.end));
                    at = frame.end;
                }
                if let Some(need) = frame_need(&stream[..end], at) {
                    prop_assert!(at + need > end, "it said that it needed no more");
                }
            }
            prop_assert_eq!(&found, &expected, "cut at {}", cut);
        }
        for ((start, _), packet) in expected.iter().zip(&packets) {
            let frame = frame(&stream, *start, u32::MAX).unwrap().unwrap();
            prop_assert_eq!(decode(version, frame.first, &stream[frame.body..frame.end]), Ok(*packet));
        }
    }
}

proptest! {
    /// Matching, covering and overlapping take any strings.
    #[test]
    fn topics_of_any_form(a: String, b: String, levels in prop::collection::vec("[ab+#$]{0,2}", 0..4)) {
        let filter = levels.join("/");
        for (x, y) in [(&a, &b), (&filter, &a), (&a, &filter), (&filter, &filter)] {
            let _ = matches(x, y);
            let _ = covers(x, y);
            prop_assert_eq!(overlaps(x, y), overlaps(y, x));
            let _ = SharedFilter::parse(x);
            if valid_topic_name(y).is_ok() && valid_topic_filter(x).is_ok() {
                // A name is a filter that matches itself alone.
                prop_assert!(matches(y, y));
                prop_assert_eq!(matches(x, y), covers(x, y));
                prop_assert_eq!(matches(x, y), overlaps(x, y));
            }
        }
    }
}
