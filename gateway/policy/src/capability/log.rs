//! `log`: lines of a policy in the gateway's log, at a bounded rate.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tracing::Level as TracingLevel;

use crate::bindings::portcullis::policy::log::{Host, Level};
use crate::outside::Ear;
use crate::state::State;
use crate::uses::{Limit, Uses};

/// The most octets of one line.
const LINE: usize = 2048;

/// The log of one policy.
#[derive(Debug)]
pub(crate) struct Lines {
    policy: Arc<str>,
    /// Lines a second on average; as many may come at once.
    rate: f64,
    bucket: Mutex<Bucket>,
    ear: Option<Arc<dyn Ear>>,
    uses: Arc<Uses>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
    dropped: u64,
}

impl Lines {
    pub(crate) fn new(policy: Arc<str>, rate: u32, ear: Option<Arc<dyn Ear>>, uses: Arc<Uses>) -> Self {
        let rate = f64::from(rate.max(1));
        let bucket = Mutex::new(Bucket { left: rate, filled: Instant::now(), dropped: 0 });
        Self { policy, rate, bucket, ear, uses }
    }

    /// Writes one line, unless there are too many.
    pub(crate) fn write(&self, level: Level, message: &str) {
        if !self.enabled(level) {
            return;
        }
        let Some(dropped) = self.admit(Instant::now()) else {
            self.uses.dropped_line();
            self.uses.hit(Limit::LogLines, format_args!("{}/s", self.rate));
            return;
        };
        let policy = &*self.policy;
        if dropped > 0 {
            tracing::warn!(target: "portcullis::policy", policy, "{dropped} lines of this policy were dropped: it logs too much");
        }
        let line = escaped(message);
        if let Some(ear) = &self.ear {
            ear.line(word(level), &line);
            return;
        }
        match level {
            Level::Error => tracing::error!(target: "portcullis::policy", policy, "{line}"),
            Level::Warn => tracing::warn!(target: "portcullis::policy", policy, "{line}"),
            Level::Info => tracing::info!(target: "portcullis::policy", policy, "{line}"),
            Level::Debug => tracing::debug!(target: "portcullis::policy", policy, "{line}"),
            Level::Trace => tracing::trace!(target: "portcullis::policy", policy, "{line}"),
        }
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        if self.ear.is_some() {
            return true;
        }
        match level {
            Level::Error => tracing::enabled!(target: "portcullis::policy", TracingLevel::ERROR),
            Level::Warn => tracing::enabled!(target: "portcullis::policy", TracingLevel::WARN),
            Level::Info => tracing::enabled!(target: "portcullis::policy", TracingLevel::INFO),
            Level::Debug => tracing::enabled!(target: "portcullis::policy", TracingLevel::DEBUG),
            Level::Trace => tracing::enabled!(target: "portcullis::policy", TracingLevel::TRACE),
        }
    }

    /// Whether a line may be written now, and how many were not since the last one.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock();
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.left = (bucket.left + since * self.rate).min(self.rate);
        bucket.filled = now;
        if bucket.left < 1.0 {
            bucket.dropped += 1;
            return None;
        }
        bucket.left -= 1.0;
        Some(std::mem::take(&mut bucket.dropped))
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// One line without control characters, cut to [`LINE`] octets: what a policy logs may come from a stranger, and must
/// not forge lines or drive a terminal.
pub(crate) fn escaped(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(LINE));
    for c in message.chars() {
        if line.len() >= LINE {
            line.push('…');
            break;
        }
        // Line and paragraph separators, and the marks that turn the direction of text.
        let hidden = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hidden { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

impl Host for State {
    fn write(&mut self, level: Level, message: String) {
        if matches!(level, Level::Error) {
            self.notes.says(&message);
        }
        self.with.log.write(level, &message);
    }

    fn enabled(&mut self, level: Level) -> bool {
        self.with.log.enabled(level)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_cannot_be_forged() {
        assert_eq!(escaped("a\nb\u{1b}[31m\u{202e}é"), "a\\nb\\u{1b}[31m\\u{202e}é");
        assert!(escaped(&"x".repeat(10_000)).len() < LINE + 16);
    }

    #[test]
    fn a_flood_is_dropped_counted_and_ends() {
        let lines = Lines::new("p".into(), 10, None, Arc::new(Uses::new("p".into())));
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| lines.admit(start).is_some()).count(), 10);
        assert_eq!(lines.admit(start + Duration::from_secs(1)), Some(90));
        assert_eq!(lines.admit(start + Duration::from_secs(1)), Some(0));
    }
}
