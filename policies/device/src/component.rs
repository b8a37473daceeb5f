//! The component's exports: a thin shell around [`crate::decision`].
#![allow(unsafe_code, unused_qualifications, missing_docs, unreachable_pub)]

use std::sync::OnceLock;

use policy_support::wit::types::{Connection, Credentials, Verdict};
use policy_support::{ConfigError, Live, answer, verdict, wit};

use crate::config::Config;
use crate::{decision, grant};

wit_bindgen::generate!({
    inline: "
        package portcullis:bundled-device;
        world device {
            export portcullis:policy/authentication@0.1.0;
            export portcullis:policy/renewal@0.1.0;
            export portcullis:policy/descriptor@0.1.0;
        }
    ",
    path: "../../wit",
    with: { "portcullis:policy/types@0.1.0": policy_support::wit::types },
});

use exports::portcullis::policy::{authentication, descriptor, renewal};

/// Read once for each instance: the configuration does not change while it lives.
static CONFIG: OnceLock<Result<Config, ConfigError>> = OnceLock::new();

fn config() -> Result<&'static Config, &'static ConfigError> {
    CONFIG.get_or_init(|| Config::parse(&wit::config::json())).as_ref()
}

struct Policy;

impl authentication::Guest for Policy {
    fn authenticate(connection: Connection, credentials: Credentials) -> Verdict {
        verdict(match config() {
            Ok(config) => decision::authenticate(&Live, config, &connection, &credentials),
            Err(error) => Err(answer::misconfigured(error)),
        })
    }
}

impl renewal::Guest for Policy {
    fn renew(connection: Connection, state: Vec<u8>) -> renewal::Decision {
        let renewed = match config() {
            Ok(config) => decision::renew(&Live, config, connection.identity.as_ref(), &state),
            Err(error) => Err(answer::misconfigured(error)),
        };
        renewed.map_or_else(renewal::Decision::Revoke, renewal::Decision::Replace)
    }
}

impl descriptor::Guest for Policy {
    fn describe() -> descriptor::Description {
        descriptor::Description {
            name: "device".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: env!("CARGO_PKG_DESCRIPTION").into(),
            schemes: vec![grant::SCHEME.into()],
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
