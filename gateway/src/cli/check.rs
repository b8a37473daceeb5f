//! `portcullis check FILE`.

use std::path::Path;

use super::{Exit, out};
use crate::config::Config;

/// Validates a configuration.
pub(super) fn run(file: &Path) -> Exit {
    match Config::load(file) {
        Ok(config) => {
            let count =
                |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
            out::line(format_args!(
                "{}: sound ({}, {}, {})",
                file.display(),
                count(config.listeners.len(), "listener", "listeners"),
                count(config.policies.len(), "configured policy", "configured policies"),
                count(config.keys.len(), "key", "keys"),
            ));
            Exit::Success
        }
        Err(report) => {
            out::error(report);
            Exit::Config
        }
    }
}
