//! paho-mqtt (Python) and MQTT.js (Node.js): the scenarios of `paho_client.py` and `mqttjs_client.mjs`.

use portcullis_tests::Transport;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{Stand, folder, succeed};

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {
    Paho,
    MqttJs,
}

impl Library {
    pub(crate) const BOTH: [Self; 2] = [Self::Paho, Self::MqttJs];

    /// The command for a scenario, described to the script by a JSON object.
    pub(crate) fn command(self, told: &Value) -> Command {
        let (program, script) = match self {
            Self::Paho => (folder().join(".venv/bin/python"), "paho_client.py"),
            Self::MqttJs => ("node".into(), "mqttjs_client.mjs"),
        };
        let mut command = Command::new(program);
        command.arg(folder().join(script)).arg(told.to_string());
        command
    }
}

/// Where a script connects, and as whom.
pub(crate) fn told(stand: &Stand, scenario: &str, transport: Transport, version: u8, name: &str) -> Value {
    json!({
        "scenario": scenario,
        "transport": transport.name(),
        "host": "127.0.0.1",
        "port": stand.gateway.address(transport.name()).port(),
        "ca": stand.authority(),
        "version": version,
        "clientId": name,
        "username": "client",
        "password": stand.token,
        "topic": format!("clients/{name}"),
    })
}

#[tokio::test]
async fn everything_that_a_client_does_works_on_every_transport_and_version() {
    let stand = Stand::new().await;
    for library in Library::BOTH {
        for transport in Transport::ALL {
            for version in [3, 4, 5] {
                let name = format!("{library:?}-{}-{version}", transport.name());
                succeed(library.command(&told(&stand, "roundtrip", transport, version, &name))).await;
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_has_the_code_of_its_version() {
    let stand = Stand::new().await;
    for library in Library::BOTH {
        for transport in Transport::ALL {
            for version in [3, 4, 5] {
                let mut told = told(&stand, "refused", transport, version, "stranger");
                // Three parts, and nobody signed it.
                told["password"] = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ0ZXN0cyIsInN1YiI6ImEifQ.AAAA".into();
                let said = succeed(library.command(&told)).await;
                let code = serde_json::from_str::<Value>(&said).unwrap()["code"].as_u64().unwrap();
                // paho tells the codes of MQTT 3 in those of MQTT 5.
                let expected: &[u64] = if version == 5 { &[134] } else { &[4, 134] };
                assert!(expected.contains(&code), "{library:?} {transport:?} {version}: {code}");
            }
        }
    }
}
