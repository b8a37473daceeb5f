//! km-api and Layer by clients that others wrote: registered over HTTP, then in with each credential, on each version.

use portcullis_tests::{Config, Gateway, Transport};
use serde_json::json;

use crate::scripts::Library;
use crate::succeed;

#[tokio::test]
async fn every_credential_of_km_api_and_layer_lets_in() {
    let config = Config::everywhere(&["layer"]).http().toml(
        "[[policy]]\nname = \"layer\"\nsource = \"builtin:layer\"\nmount = [\"/auth\", \"/nonces\", \"/sessions\"]\n\
         config = { registrations-per-hour = 0, nonces-per-minute = 1000 }",
    );
    let config = config.file("ca.pem", portcullis_tests::config::authority().pem());
    let gateway = Gateway::start(&config).await;
    for library in Library::BOTH {
        for (transport, version) in [(Transport::Tcp, 4), (Transport::Tcp, 5), (Transport::Wss, 4), (Transport::Wss, 5)]
        {
            let name = format!("{library:?}-{}-{version}", transport.name());
            let told = json!({
                "scenario": "layer",
                "transport": transport.name(),
                "host": "127.0.0.1",
                "port": gateway.address(transport.name()).port(),
                "http": gateway.address("http").port(),
                "ca": gateway.directory().join("ca.pem"),
                "version": version,
                "clientId": name,
                "email": format!("{name}@example.org"),
                "secret": "correct horse battery",
                "app": "layer:///apps/staging/e49e50aa-ffda-453f-adc8-404f68de84ae",
            });
            succeed(library.command(&told)).await;
        }
    }
}
