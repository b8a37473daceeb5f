//! What clients send, whole, torn and wrong.

use proptest::prelude::*;

use super::*;

/// A masked frame of a client.
fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let (header, size) = binary_header(payload.len());
    let mut bytes = header[..usize::from(size)].to_vec();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, key)| octet ^ key));
    bytes
}

/// All payload that comes out when the bytes arrive in pieces.
fn decode(decoder: &mut Decoder, bytes: &[u8], pieces: &[usize]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut rest = bytes.to_vec();
    let mut sizes = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
    while !rest.is_empty() {
        let size = sizes.next().unwrap().clamp(1, rest.len());
        let mut piece: Vec<u8> = rest.drain(..size).collect();
        let kept = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..kept]);
    }
    payload
}

fn end_of(bytes: &[u8]) -> Option<End> {
    let mut decoder = Decoder::new();
    decode(&mut decoder, bytes, &[]);
    decoder.end()
}

proptest! {
    #[test]
    fn payload_survives_any_framing_and_any_tearing(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<bool>()), 0..12),
        pings in any::<bool>(),
        pieces in prop::collection::vec(1_usize..40, 0..200),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        let mut open = false;
        for (payload, mask, last) in &messages {
            let opcode = if open { opcode::CONTINUATION } else { opcode::BINARY };
            bytes.extend(frame(if *last { 0x80 } else { 0 } | opcode, payload, *mask));
            open = !last;
            if pings {
                bytes.extend(frame(0x89, b"are you there", *mask));
            }
            expected.extend_from_slice(payload);
        }
        let mut decoder = Decoder::new();
        prop_assert_eq!(decode(&mut decoder, &bytes, &pieces), expected);
        prop_assert_eq!(decoder.end(), None);
        prop_assert_eq!(decoder.take_ping().is_some(), pings && !messages.is_empty());
    }

    #[test]
    fn any_bytes_are_survived_and_never_grow(bytes in prop::collection::vec(any::<u8>(), 0..600), pieces in prop::collection::vec(1_usize..20, 0..50)) {
        let mut decoder = Decoder::new();
        let payload = decode(&mut decoder, &bytes, &pieces);
        prop_assert!(payload.len() <= bytes.len());
        prop_assert!(decoder.take_ping().is_none_or(|ping| ping.len() <= MAX_CONTROL));
    }
}

#[test]
fn long_frames_have_long_headers() {
    for length in [125, 126, 0xffff, 0x1_0000] {
        let payload = vec![7; length];
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &frame(0x82, &payload, [1, 2, 3, 4]), &[]), payload, "{length}");
    }
}

#[test]
fn a_frame_that_announces_much_costs_nothing() {
    let mut decoder = Decoder::new();
    let mut bytes = vec![0x82, 0xff];
    bytes.extend((u64::MAX >> 1).to_be_bytes());
    bytes.extend([0, 0, 0, 0, b'x']);
    assert_eq!(decode(&mut decoder, &bytes, &[]), b"x");
    assert_eq!(decoder.end(), None);
    assert!(size_of::<Decoder>() <= 96, "{}", size_of::<Decoder>());
}

#[test]
fn violations_close_with_their_code() {
    let error = |bytes: &[u8]| match end_of(bytes) {
        Some(End::Violation(code, _)) => code,
        other => panic!("{bytes:02x?} ends with {other:?}"),
    };
    assert_eq!(error(&frame(0x81, b"text", [0; 4])), close::UNSUPPORTED_DATA);
    for wrong in [
        vec![0x82, 0x01, b'x'],                                          // not masked
        frame(0xc2, b"x", [0; 4]),                                       // reserved bit
        frame(0x83, b"x", [0; 4]),                                       // unknown opcode
        frame(0x80, b"x", [0; 4]),                                       // continuation of nothing
        [frame(0x02, b"x", [0; 4]), frame(0x82, b"y", [0; 4])].concat(), // a message within a message
        frame(0x09, b"x", [0; 4]),                                       // fragmented ping
        frame(0x89, &[0; 126], [0; 4]),                                  // ping too long
        vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0],                            // length not shortest
        vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],      // length not shortest
        vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],         // sign bit
        frame(0x88, &[3], [0; 4]),                                       // half a close code
        frame(0x88, &1005_u16.to_be_bytes(), [0; 4]),                    // a code that is never sent
        frame(0x88, &[0x03, 0xe8, 0xff], [0; 4]),                        // a reason that is not UTF-8
    ] {
        assert_eq!(error(&wrong), close::PROTOCOL_ERROR);
    }
}

#[test]
fn what_comes_before_the_end_counts_and_what_comes_after_does_not() {
    let bytes = [
        frame(0x82, b"before", [9, 8, 7, 6]),
        frame(0x88, &1000_u16.to_be_bytes(), [1, 1, 1, 1]),
        frame(0x82, b"after", [0; 4]),
    ]
    .concat();
    let mut decoder = Decoder::new();
    assert_eq!(decode(&mut decoder, &bytes, &[]), b"before");
    assert_eq!(decoder.end(), Some(End::Closed(1000)));
    assert_eq!(end_of(&frame(0x88, &[], [0; 4])), Some(End::Closed(close::NO_STATUS)));
}

#[test]
fn only_the_latest_ping_is_kept() {
    let mut decoder = Decoder::new();
    decode(&mut decoder, &[frame(0x89, b"one", [5; 4]), frame(0x89, b"two", [6; 4])].concat(), &[]);
    assert_eq!(decoder.take_ping().as_deref(), Some(&b"two"[..]));
    assert_eq!(decoder.take_ping(), None);
    assert_eq!(pong(b"two"), b"\x8a\x03two");
    assert_eq!(close_frame(close::NORMAL), [0x88, 2, 0x03, 0xe8]);
    assert_eq!(close_frame(close::NO_STATUS), [0x88, 0]);
}
