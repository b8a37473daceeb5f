//! The component's exports: a thin shell around [`crate::decision`] and [`crate::route`].
#![allow(unsafe_code, unused_qualifications, missing_docs, unreachable_pub)]

use std::sync::OnceLock;

use policy_support::wit::types::{Connection, Credentials, HttpRequest, HttpResponse, Verdict};
use policy_support::{ConfigError, Live, answer, wit};

use crate::config::Config;
use crate::{decision, fields, grant, offer, route};

wit_bindgen::generate!({
    inline: "
        package portcullis:bundled-layer;
        world layer {
            export portcullis:policy/authentication@0.1.0;
            export portcullis:policy/enhanced-authentication@0.1.0;
            export portcullis:policy/renewal@0.1.0;
            export portcullis:policy/descriptor@0.1.0;
            export portcullis:policy/http-endpoint@0.1.0;
        }
    ",
    path: "../../wit",
    with: { "portcullis:policy/types@0.1.0": policy_support::wit::types },
});

use exports::portcullis::policy::{authentication, descriptor, enhanced_authentication, http_endpoint, renewal};

/// Read once for each instance: the configuration does not change while it lives.
static CONFIG: OnceLock<Result<Config, ConfigError>> = OnceLock::new();

fn config() -> Result<&'static Config, &'static ConfigError> {
    CONFIG.get_or_init(|| Config::parse(&wit::config::json())).as_ref()
}

struct Policy;

impl authentication::Guest for Policy {
    fn authenticate(connection: Connection, credentials: Credentials) -> Verdict {
        match config() {
            Ok(config) => decision::authenticate(&Live, config, &connection, &credentials),
            Err(error) => Verdict::Deny(answer::misconfigured(error)),
        }
    }
}

impl enhanced_authentication::Guest for Policy {
    fn continue_authentication(_: Connection, reply: enhanced_authentication::Reply) -> Verdict {
        match config() {
            Ok(config) => {
                decision::continue_authentication(&Live, config, &reply.client_id, &reply.state, reply.data.as_deref())
            }
            Err(error) => Verdict::Deny(answer::misconfigured(error)),
        }
    }
}

impl renewal::Guest for Policy {
    fn renew(connection: Connection, state: Vec<u8>) -> renewal::Decision {
        let renewed = match config() {
            Ok(config) => decision::renew(&Live, config, &connection, &state),
            Err(error) => Err(answer::misconfigured(error)),
        };
        renewed.map_or_else(renewal::Decision::Revoke, renewal::Decision::Replace)
    }
}

impl http_endpoint::Guest for Policy {
    fn handle(connection: Connection, request: HttpRequest) -> HttpResponse {
        match config() {
            Ok(config) => route::handle(&Live, config, &connection, &request),
            Err(_) => fields::detail(503, "Service temporarily unavailable, try again later."),
        }
    }
}

impl descriptor::Guest for Policy {
    fn describe() -> descriptor::Description {
        descriptor::Description {
            name: "layer".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: env!("CARGO_PKG_DESCRIPTION").into(),
            schemes: vec![grant::SCHEME.into()],
            methods: vec![offer::METHOD.into()],
            config_schema: crate::config::SCHEMA.into(),
        }
    }

    fn self_test() -> Result<(), String> {
        let config = config().map_err(ToString::to_string)?;
        decision::probe(&Live, config)
    }
}

#[cfg(target_family = "wasm")]
export!(Policy);
