//! The bytes that a connection begins with, as a PROXY header, whole and in pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The parser alone: its room would bring TLS, and a C compiler, into every fuzz build.
#[path = "../../../gateway/net/src/proxy/header.rs"]
mod header;
use header::{MAX_HEADER, Parsed, parse};

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    match whole {
        Parsed::Done(header) => {
            assert!(header.length <= input.len().min(MAX_HEADER));
            assert_eq!(parse(&input[..header.length]), whole, "what follows plays no part");
            assert_eq!(parse(&input[..header.length - 1]), Parsed::Incomplete, "no octet too many");
            if let Some(source) = header.source {
                assert_eq!(source.ip(), source.ip().to_canonical());
            }
        }
        Parsed::Incomplete => assert!(input.len() < MAX_HEADER),
        Parsed::Malformed(_) => {}
    }
    // The verdict is final as soon as there is one.
    for end in 0..input.len().min(MAX_HEADER) {
        match parse(&input[..end]) {
            Parsed::Incomplete => {}
            verdict @ Parsed::Done(_) => return assert_eq!(verdict, whole),
            Parsed::Malformed(_) => return assert!(matches!(whole, Parsed::Malformed(_))),
        }
    }
});
