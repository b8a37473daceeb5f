//! Two strings, separated by a line feed, as topic names and as filters.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mqtt::{SharedFilter, covers, matches, overlaps, valid_topic_filter, valid_topic_name};

fuzz_target!(|input: &str| {
    let Some((a, b)) = input.split_once('\n') else { return };
    assert_eq!(overlaps(a, b), overlaps(b, a));
    if valid_topic_filter(a).is_err() || valid_topic_filter(b).is_err() {
        // Anything is a valid answer but a panic.
        let _ = (matches(a, b), covers(a, b), SharedFilter::parse(a));
        return;
    }
    assert!(covers(a, a) && overlaps(a, a));
    assert!(!covers(a, b) || overlaps(a, b), "whoever covers overlaps");
    if valid_topic_name(b).is_ok() {
        // A name is a filter that matches itself alone.
        assert!(matches(b, b));
        assert_eq!(matches(a, b), covers(a, b));
        assert_eq!(matches(a, b), overlaps(a, b));
    }
    if let Ok(Some(shared)) = SharedFilter::parse(a) {
        assert_eq!(format!("$share/{}/{}", shared.share, shared.filter), a);
        assert_eq!(valid_topic_filter(shared.filter), Ok(()));
    }
});
