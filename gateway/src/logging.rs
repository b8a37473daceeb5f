//! What the gateway writes of itself to standard error. Standard output belongs to answers and to the `ready` line.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Log, LogFormat};

/// Changes the level while the gateway runs. The format stays until a restart.
#[derive(Clone, Debug)]
pub(crate) struct Level(reload::Handle<Targets, Registry>);

/// Begins to log. `RUST_LOG`, if it is set and makes sense, goes before the configuration.
pub(crate) fn start(log: &Log) -> Level {
    let (filter, handle) = reload::Layer::new(filter(&log.level));
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match log.format {
        LogFormat::Text => text.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => text.json().boxed(),
    };
    // A second start, as in tests of one process, keeps the first.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Level(handle)
}

impl Level {
    /// Takes another level.
    pub(crate) fn set(&self, level: &str) {
        // It fails only when logging never began.
        let _ = self.0.reload(filter(level));
    }
}

/// Whether a text is a level, or a list of levels by target.
pub(crate) fn is_level(text: &str) -> bool {
    // The parser of `Targets` takes a misspelt level for a target that is to be logged whole.
    let word = |part: &str| part.rsplit('=').next().unwrap_or_default().to_owned();
    text.split(',').map(word).all(|level| !level.is_empty() && level.parse::<LevelFilter>().is_ok())
}

fn filter(level: &str) -> Targets {
    let environment = std::env::var("RUST_LOG").ok().filter(|text| is_level(text));
    let parse = |text: &str| text.parse::<Targets>().ok();
    environment
        .as_deref()
        .and_then(parse)
        .or_else(|| parse(level))
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        for good in ["info", "off", "warn,portcullis_net=debug", "portcullis_net=trace"] {
            assert!(is_level(good), "{good}");
        }
        for wrong in ["loud", "", "info,", "portcullis_net=loud", "info portcullis"] {
            assert!(!is_level(wrong), "{wrong}");
        }
    }
}
