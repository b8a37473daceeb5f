//! The component's exports.
#![allow(unsafe_code, unused_qualifications, missing_docs, unreachable_pub)]

use policy_support::http;
use policy_support::wit::types::{Connection, Credentials, HttpRequest, HttpResponse, Verdict};

wit_bindgen::generate!({
    inline: "
        package portcullis:bundled-layer;
        world layer {
            export portcullis:policy/authentication@0.1.0;
            export portcullis:policy/enhanced-authentication@0.1.0;
            export portcullis:policy/descriptor@0.1.0;
            export portcullis:policy/http-endpoint@0.1.0;
        }
    ",
    path: "../../wit",
    with: { "portcullis:policy/types@0.1.0": policy_support::wit::types },
});

use exports::portcullis::policy::{authentication, descriptor, enhanced_authentication, http_endpoint};

struct Policy;

impl authentication::Guest for Policy {
    fn authenticate(_: Connection, _: Credentials) -> Verdict {
        Verdict::Pass
    }
}

impl enhanced_authentication::Guest for Policy {
    fn continue_authentication(_: Connection, _: enhanced_authentication::Reply) -> Verdict {
        Verdict::Pass
    }
}

impl http_endpoint::Guest for Policy {
    fn handle(_: Connection, _: HttpRequest) -> HttpResponse {
        http::empty(404)
    }
}

impl descriptor::Guest for Policy {
    fn describe() -> descriptor::Description {
        descriptor::Description {
            name: "layer".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: env!("CARGO_PKG_DESCRIPTION").into(),
            schemes: vec!["layer".into()],
            methods: vec![],
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn self_test() -> Result<(), String> {
        Ok(())
    }
}

#[cfg(target_family = "wasm")]
export!(Policy);
