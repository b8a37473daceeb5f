//! Sessions: the octets are events, played to machines on one broker and to a model of what they ought to do. The driver
//! and the model are those of the property test in `gateway/session/tests/model.rs`. Each input is played twice: in memory,
//! and with a store and a gateway that is restarted.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../gateway/session/tests/desk/mod.rs"]
mod desk;
#[path = "../../../gateway/session/tests/model/mod.rs"]
mod played;

fuzz_target!(|input: &[u8]| {
    played::play(input);
    played::play_stored(input);
});
