//! The component's exports: a thin shell around [`crate::decision`].
#![allow(unsafe_code, unused_qualifications, missing_docs, unreachable_pub)]

use std::sync::OnceLock;

use policy_support::wit::types::{Connection, Credentials, Verdict};
use policy_support::{ConfigError, answer, verdict, wit};

use crate::config::Config;
use crate::decision;

wit_bindgen::generate!({
    inline: "
        package portcullis:bundled-anonymous;
        world anonymous {
            export portcullis:policy/authentication@0.1.0;
            export portcullis:policy/descriptor@0.1.0;
        }
    ",
    path: "../../wit",
    with: { "portcullis:policy/types@0.1.0": policy_support::wit::types },
});

use exports::portcullis::policy::{authentication, descriptor};

/// Read once for each instance: the configuration does not change while it lives.
static CONFIG: OnceLock<Result<Config, ConfigError>> = OnceLock::new();

fn config() -> Result<&'static Config, &'static ConfigError> {
    CONFIG.get_or_init(|| Config::parse(&wit::config::json())).as_ref()
}

struct Policy;

impl authentication::Guest for Policy {
    fn authenticate(_: Connection, credentials: Credentials) -> Verdict {
        verdict(match config() {
            Ok(config) => decision::authenticate(config, &credentials),
            Err(error) => Err(answer::misconfigured(error)),
        })
    }
}

impl descriptor::Guest for Policy {
    fn describe() -> descriptor::Description {
        descriptor::Description {
            name: "anonymous".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: env!("CARGO_PKG_DESCRIPTION").into(),
            schemes: vec![decision::SCHEME.into()],
            methods: vec![],
            config_schema: crate::config::SCHEMA.into(),
        }
    }

    fn self_test() -> Result<(), String> {
        config().map(|_| ()).map_err(ToString::to_string)
    }
}

#[cfg(target_family = "wasm")]
export!(Policy);
