//! `clock`: the time of day, and what is left of the call.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::bindings::portcullis::policy::clock::Host;
use crate::state::State;

/// Seconds since 1970, 0 if the machine's clock stands before that.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Host for State {
    fn now(&mut self) -> u64 {
        self.with.shared.outside.now()
    }

    fn now_us(&mut self) -> u64 {
        self.with.shared.outside.since_epoch().as_micros() as u64
    }

    fn remaining_ms(&mut self) -> u32 {
        u32::try_from(self.remaining().as_millis()).unwrap_or(u32::MAX)
    }
}
