//! Which gateway a command means: the one of a data directory.

use std::path::PathBuf;

use clap::Args;

use super::serve::DATA;
use crate::config::Config;

/// Where the gateway's data is.
#[derive(Args, Clone, Debug)]
pub(super) struct Place {
    /// The data directory of the gateway. Default: the configuration's `data`, or ./portcullis-data.
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_DATA", global = true)]
    data: Option<PathBuf>,
    /// The configuration of the gateway, for its `data`.
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl Place {
    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        let configured = || Config::load(self.config.as_deref()?).ok()?.data;
        self.data.clone().or_else(configured).unwrap_or_else(|| PathBuf::from(DATA))
    }
}
