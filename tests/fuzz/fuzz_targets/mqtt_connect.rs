//! The body of a CONNECT: the first thing that a stranger sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mqtt::{Packet, decode_connect, frame};

fuzz_target!(|body: &[u8]| match decode_connect(body) {
    Err(error) => assert!(error.reason_code().is_error() && !error.to_string().is_empty()),
    Ok(connect) => {
        let _ = connect.client_id_allowed();
        let mut written = Vec::new();
        Packet::Connect(connect).encode(connect.version, &mut written).expect("what was read can be written");
        let found = frame(&written, 0, u32::MAX).expect("well formed").expect("whole");
        assert_eq!(decode_connect(&written[found.body..]), Ok(connect));
    }
});
