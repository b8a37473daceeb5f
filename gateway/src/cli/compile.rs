//! `portcullis compile-policy`, which the gateway runs as a child: a component on standard input, machine code on
//! standard output. A process of its own, because a compiler's memory does not come back.

use std::io::{Read, Write};

use super::{Exit, out};

/// Octets of the largest component that is read.
const LARGEST: u64 = 64 << 20;

/// Compiles for a target, or for this very processor.
pub(super) fn run(target: Option<&str>) -> Exit {
    let mut component = Vec::new();
    let compiled = std::io::stdin()
        .lock()
        .take(LARGEST)
        .read_to_end(&mut component)
        .map_err(|error| crate::plain(&error))
        .and_then(|_| portcullis_policy::compile_to_vec(&component, target))
        .and_then(|code| std::io::stdout().lock().write_all(&code).map_err(|error| crate::plain(&error)));
    match compiled {
        Ok(()) => Exit::Success,
        Err(why) => {
            out::error(why);
            Exit::Failure
        }
    }
}
