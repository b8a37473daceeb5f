//! Races between a test and a clock of the gateway: a token that ends, a session that expires, keys that become too old.

use crate::PATIENCE;

/// Does what must be done before so many seconds are over, and gives a slow machine more of them: `attempt` is told how many
/// there are, and gives None if they were over before it was done. Then it is tried anew with three times as many.
///
/// Whether they were over is for `attempt` to look up: what ends before its time is a fault, and never a reason to try again.
///
/// # Panics
/// When there is no end to it.
pub async fn in_time<T>(what: &str, mut seconds: u32, mut attempt: impl AsyncFnMut(u32) -> Option<T>) -> T {
    loop {
        if let Some(done) = attempt(seconds).await {
            return done;
        }
        assert!(u64::from(seconds) < PATIENCE.as_secs(), "{seconds} s are not enough for this: {what}");
        seconds *= 3;
    }
}
