//! `portcullis check FILE`: what `serve` would say, without serving.

use std::path::Path;

use super::{Exit, Failure, desk, out};
use crate::config::Config;
use crate::listeners;
use crate::policies::{self, Policies};
use crate::supply::Supply;

/// Validates a configuration: the file itself, then certificates, keys and policies, each with its own configuration and
/// its own self-test.
pub(super) fn run(file: &Path) -> Result<Exit, Failure> {
    let config = Config::load(file).map_err(|report| Failure { words: report.to_string(), exit: Exit::Config })?;
    let mut wrong = Vec::new();
    for listener in &config.listeners {
        if let Err(why) = listeners::load_tls(listener) {
            wrong.push(format!("error: listener `{}`: {why}", listener.name.value));
        }
    }
    let host = desk::host(Some(&config))?;
    let entries: Vec<_> = policies::used(&config).iter().filter_map(|name| policies::entry(&config, name)).collect();
    let count = entries.len();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let loaded = runtime.block_on(Policies::load(&host, &Supply::new(&config, None), entries));
    wrong.extend(loaded.into_iter().filter_map(|loaded| loaded.err().map(|error| format!("error: {error}"))));
    if !wrong.is_empty() {
        return Err(Failure { words: wrong.join("\n"), exit: Exit::Config });
    }
    let number = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    out::line(format_args!(
        "{}: sound ({}, {}, {})",
        file.display(),
        number(config.listeners.len(), "listener", "listeners"),
        number(count, "policy", "policies"),
        number(config.keys.len(), "key", "keys"),
    ));
    Ok(Exit::Success)
}
