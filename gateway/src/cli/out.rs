//! The only place that writes to standard output and standard error on purpose: answers for people and scripts go to
//! the one, what went wrong to the other. A pipe that was closed is not an error: nobody listens any more.

use std::fmt::Display;
use std::io::Write;

/// One line for whoever asked.
pub(crate) fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// What went wrong.
pub(crate) fn error(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
