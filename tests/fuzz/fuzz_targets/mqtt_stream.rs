//! A stream that arrives in two pieces. Input: where to cut, the limit, the stream.
//!
//! The frames are the same as in one piece, and so is the end: an error, or octets that wait for more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mqtt::{Error, Frame, frame, frame_need};

/// Finds frames from `at` on; gives where it stopped.
fn frames(stream: &[u8], mut at: usize, max: u32, found: &mut Vec<Frame>) -> Result<usize, Error> {
    while let Some(next) = frame(stream, at, max)? {
        assert!(at < next.body && next.body <= next.end && next.end <= stream.len());
        assert_eq!(frame_need(stream, at), Some(next.end - at));
        at = next.end;
        found.push(next);
    }
    assert!(frame_need(stream, at).is_none_or(|need| at + need > stream.len() && need <= max as usize));
    Ok(at)
}

fuzz_target!(|input: &[u8]| {
    let [cut, max, stream @ ..] = input else { return };
    let (cut, max) = (usize::from(*cut).min(stream.len()), u32::from(*max) * 8);
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let end = frames(stream, 0, max, &mut whole);
    let end_of_pieces = frames(&stream[..cut], 0, max, &mut pieces).and_then(|at| frames(stream, at, max, &mut pieces));
    assert_eq!((whole, end), (pieces, end_of_pieces));
});
