//! What went wrong in a call, in words that teach: what the trap was, what the guest said before it, where it happened,
//! which bound was met, and the line of the configuration that moves it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::{Trap, WasmBacktrace};

use crate::capability::escaped;

/// The most lines that are kept of what a guest says before it fails.
const LAST_LINES: usize = 4;
/// The most frames that are named.
const FRAMES: usize = 8;

/// What is noted of one call while it runs, for the case that it fails. Apart from the instance, which is dropped with the
/// call that its deadline ends.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: Mutex<Option<(&'static str, Instant)>>,
    last_lines: Mutex<Vec<String>>,
    wanted: AtomicUsize,
}

impl Notes {
    /// Another call begins.
    pub(crate) fn clear(&self) {
        *self.waiting.lock() = None;
        self.last_lines.lock().clear();
        self.wanted.store(0, Ordering::Relaxed);
    }

    /// The guest waits for what a host function does. What is given up in the middle stays noted as being waited for.
    pub(crate) async fn waits<T>(&self, function: &'static str, work: impl Future<Output = T>) -> T {
        *self.waiting.lock() = Some((function, Instant::now()));
        let done = work.await;
        *self.waiting.lock() = None;
        done
    }

    /// The guest says something that may be why it fails: a panic, an error.
    pub(crate) fn says(&self, line: &str) {
        if line.trim().is_empty() || line.starts_with("note: ") {
            return;
        }
        let mut lines = self.last_lines.lock();
        if lines.len() == LAST_LINES {
            lines.remove(0);
        }
        lines.push(line.trim().chars().take(512).collect());
    }

    /// The guest asked for so many octets of memory in all, and they are more than it may have.
    pub(crate) fn wants(&self, octets: usize) {
        self.wanted.store(octets, Ordering::Relaxed);
    }

    /// Whether it asked for more than this.
    pub(crate) fn wanted_more_than(&self, octets: usize) -> bool {
        self.wanted.load(Ordering::Relaxed) > octets
    }

    /// How late an answer is, and what it waits for.
    pub(crate) fn late(&self, allowed: Duration) -> Late {
        Late { allowed, waiting: self.waiting.lock().map(|(function, since)| (function, since.elapsed())) }
    }
}

/// How late an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The time that the call had.
    pub allowed: Duration,
    /// The host function that it waited for when the time was over, and for how long it had.
    pub waiting: Option<(&'static str, Duration)>,
}

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { allowed, waiting } = self;
        let wider = whole(allowed.saturating_mul(4));
        match waiting {
            Some((function, since)) => write!(
                f,
                "it did not answer within {} ms: it had waited {} ms for `{function}`; give it longer with `limits = {{ deadline = \"{wider}\" }}` if that is how long it takes",
                allowed.as_millis(),
                since.as_millis()
            ),
            None => write!(
                f,
                "it did not answer within {} ms: it was computing, without end or for too long; give it longer with `limits = {{ deadline = \"{wider}\" }}` if it needs it",
                allowed.as_millis()
            ),
        }
    }
}

/// A time as a configuration writes it.
fn whole(time: Duration) -> String {
    if time.as_millis().is_multiple_of(1000) {
        format!("{}s", time.as_secs().min(60))
    } else {
        format!("{}ms", time.as_millis())
    }
}

/// A trap or another error of a guest, in one line.
pub(crate) fn words(error: &wasmtime::Error, notes: &Notes, memory: usize) -> String {
    let wanted = notes.wanted.load(Ordering::Relaxed);
    let mut text = if wanted > memory {
        // The least that is enough, as people write it.
        let enough = wanted.div_ceil(1 << 20).next_power_of_two();
        format!(
            "it ran out of memory: it asked for {} KiB in all, beyond its memory limit of {} KiB; raise it with `limits = {{ memory = \"{enough}MiB\" }}` if it needs as much ({})",
            wanted >> 10,
            memory >> 10,
            plain(error)
        )
    } else {
        plain(error)
    };
    let lines = std::mem::take(&mut *notes.last_lines.lock());
    if !lines.is_empty() {
        text.push_str(&format!("; it said: {}", lines.join(" / ")));
    }
    let frames = frames(error);
    if !frames.is_empty() {
        text.push_str(&format!(" (in {})", frames.join(" ← ")));
    }
    escaped(&text)
}

fn plain(error: &wasmtime::Error) -> String {
    let Some(trap) = error.downcast_ref::<Trap>() else { return error.root_cause().to_string() };
    match trap {
        Trap::UnreachableCodeReached => {
            "it gave up: a trap at an `unreachable` instruction, which is how a panic or a failed assertion ends"
                .to_owned()
        }
        Trap::StackOverflow => "call stack exhausted: a recursion without end, or one that is too deep".to_owned(),
        Trap::MemoryOutOfBounds => {
            "it used memory that it does not have: a bad pointer or index (out of bounds)".to_owned()
        }
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => {
            format!("it called through a bad function pointer ({trap})")
        }
        Trap::CannotEnterComponent => "it was called again after it had failed".to_owned(),
        Trap::InvalidChar => "it handed over a text that is none (invalid `char`)".to_owned(),
        other => format!("it did what WebAssembly does not do: {other}"),
    }
}

/// The functions that were running, innermost first; as their names were before a compiler mangled them.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let named = trace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => Some(format!("{:#}", rustc_demangle::demangle(name))),
        None => frame.module_offset().map(|offset| format!("{offset:#x}")),
    });
    let mut names: Vec<String> = named.flatten().take(FRAMES).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_says_what_it_waited_for() {
        let late =
            Late { allowed: Duration::from_millis(50), waiting: Some(("http-client.send", Duration::from_millis(40))) };
        let said = late.to_string();
        assert!(
            said.starts_with("it did not answer within 50 ms: it had waited 40 ms for `http-client.send`"),
            "{said}"
        );
        assert!(said.contains("limits = { deadline = \"200ms\" }"), "{said}");
        assert!(Late { waiting: None, ..late }.to_string().contains("computing"));
    }

    #[test]
    fn memory_that_was_refused_is_named_with_the_line_that_gives_it() {
        let notes = Notes::default();
        notes.wants(20 << 20);
        notes.says("thread panicked at src/lib.rs:3:");
        notes.says("note: run with a backtrace");
        let said = words(&wasmtime::Error::from(Trap::UnreachableCodeReached), &notes, 16 << 20);
        assert!(said.contains("asked for 20480 KiB") && said.contains("memory = \"32MiB\""), "{said}");
        assert!(said.contains("it said: thread panicked at src/lib.rs:3:") && !said.contains("note:"), "{said}");
        notes.clear();
        let said = words(&wasmtime::Error::from(Trap::StackOverflow), &notes, 16 << 20);
        assert!(said.contains("stack") && !said.contains("memory") && !said.contains("it said"), "{said}");
    }
}
