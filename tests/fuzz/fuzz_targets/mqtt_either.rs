//! Packets of either direction. Input: an octet that picks the version, the first octet, the body.
//!
//! What is read can be written, and is then read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mqtt::{Packet, ProtocolVersion, decode, frame};

fuzz_target!(|input: &[u8]| {
    let [version, first, body @ ..] = input else { return };
    let version = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5][usize::from(version % 3)];
    match decode(version, *first, body) {
        Err(error) => assert!(error.reason_code().is_error() && !error.to_string().is_empty()),
        Ok(packet) => {
            let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
            let mut written = Vec::new();
            packet.encode(version, &mut written).expect("what was read can be written");
            let found = frame(&written, 0, u32::MAX).expect("well formed").expect("whole");
            assert_eq!(found.end, written.len());
            assert_eq!(decode(version, found.first, &written[found.body..]), Ok(packet));
        }
    }
});
