//! Sessions against a model: random events, played to machines without any I/O.
//!
//! When a case fails: `STORY=1 cargo test -p portcullis-session --test model` tells its events, the last ones printed
//! are those of the smallest case. `PROPTEST_CASES=20000` plays that many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod desk;
#[path = "model/mod.rs"]
mod played;

use played::{play, play_stored};
use proptest::prelude::*;

/// What the fuzzer, or a case of the property below, once found; the files are the fuzzer's seeds as well.
#[test]
fn what_was_found_once_stays_mended() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/session");
    let mut played = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let path = seed.unwrap().path();
        eprintln!("{}", path.display());
        let octets = std::fs::read(path).unwrap();
        play(&octets);
        play_stored(&octets);
        played += 1;
    }
    assert!(played > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sessions_do_what_the_model_says(octets in prop::collection::vec(any::<u8>(), 0..700)) {
        play(&octets);
    }

    #[test]
    fn sessions_that_outlive_the_gateway_do_what_the_model_says(octets in prop::collection::vec(any::<u8>(), 0..700)) {
        play_stored(&octets);
    }
}
