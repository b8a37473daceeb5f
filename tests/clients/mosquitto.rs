//! mosquitto_pub and mosquitto_sub of Debian (2.0: TCP and TLS, no WebSocket).

use std::process::Stdio;

use portcullis_tests::{Config, Gateway, Transport, within};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::{Stand, run, succeed};

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Tls];
const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

fn client(program: &str, stand: &Stand, transport: Transport, version: &str, password: &str) -> Command {
    let address = stand.gateway.address(transport.name());
    // Its output is a pipe here, and would be kept back until it is full.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    command.args(["-h", "localhost", "-p", &address.port().to_string(), "-V", version, "-u", "client", "-P", password]);
    if transport == Transport::Tls {
        command.arg("--cafile").arg(stand.authority());
    }
    command
}

#[tokio::test]
async fn what_mosquitto_pub_says_mosquitto_sub_hears() {
    let stand = Stand::new().await;
    for transport in TRANSPORTS {
        for version in VERSIONS {
            let topic = format!("clients/{}/{version}", transport.name());
            let mut listener = client("mosquitto_sub", &stand, transport, version, &stand.token);
            // `-d` tells when the subscription stands; `-C` ends after so many messages.
            listener.args(["-d", "-v", "-q", "2", "-C", "3", "-t", &format!("{topic}/+")]);
            let mut listener =
                listener.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("mosquitto_sub");
            let mut said = BufReader::new(listener.stdout.take().unwrap());
            let mut line = String::new();
            within("the subscription of mosquitto_sub", async {
                while !line.contains("Subscribed") {
                    line.clear();
                    assert_ne!(said.read_line(&mut line).await.unwrap(), 0, "mosquitto_sub ended");
                }
            })
            .await;
            for qos in ["0", "1", "2"] {
                let mut speaker = client("mosquitto_pub", &stand, transport, version, &stand.token);
                speaker.args(["-q", qos, "-t", &format!("{topic}/{qos}"), "-m", &format!("with {qos}")]);
                succeed(speaker).await;
            }
            let mut rest = String::new();
            within("three messages", said.read_to_string(&mut rest)).await.unwrap();
            assert!(within("the end of mosquitto_sub", listener.wait()).await.unwrap().success());
            for qos in ["0", "1", "2"] {
                assert!(rest.contains(&format!("{topic}/{qos} with {qos}")), "{transport:?} {version}: {rest}");
            }
        }
    }
}

#[tokio::test]
async fn mosquitto_finds_a_retained_message_and_a_will() {
    let stand = Stand::new().await;
    for version in VERSIONS {
        let topic = format!("clients/kept/{version}");
        let mut speaker = client("mosquitto_pub", &stand, Transport::Tls, version, &stand.token);
        speaker.args(["-q", "1", "-r", "-t", &topic, "-m", "kept"]);
        succeed(speaker).await;
        let mut reader = client("mosquitto_sub", &stand, Transport::Tls, version, &stand.token);
        reader.args(["-q", "1", "-C", "1", "-F", "%r %p", "-t", &topic]);
        assert_eq!(succeed(reader).await.trim(), "1 kept", "{version}");

        // A client that is killed leaves its will.
        let mut mortal = client("mosquitto_sub", &stand, Transport::Tcp, version, &stand.token);
        let will = format!("clients/will/{version}");
        mortal.args(["-d", "-t", "clients/nothing", "--will-topic", &will, "--will-payload", "gone", "--will-retain"]);
        let mut mortal =
            mortal.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("mosquitto_sub");
        let mut said = BufReader::new(mortal.stdout.take().unwrap());
        let mut line = String::new();
        within("the subscription of mosquitto_sub", async {
            while !line.contains("Subscribed") {
                line.clear();
                assert_ne!(said.read_line(&mut line).await.unwrap(), 0, "mosquitto_sub ended");
            }
        })
        .await;
        mortal.kill().await.unwrap();
        let mut watcher = client("mosquitto_sub", &stand, Transport::Tcp, version, &stand.token);
        watcher.args(["-C", "1", "-t", &will]);
        assert_eq!(succeed(watcher).await.trim(), "gone", "{version}");
    }
}

#[tokio::test]
async fn mosquitto_is_told_why_it_is_refused() {
    let stand = Stand::new().await;
    for transport in TRANSPORTS {
        for version in VERSIONS {
            let mut stranger = client("mosquitto_pub", &stand, transport, version, "not-a-token");
            stranger.args(["-t", "clients/x", "-m", "x"]);
            let output = run(stranger).await;
            let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
            assert!(!output.status.success(), "{transport:?} {version}");
            assert!(said.contains("bad user") || said.contains("not authori"), "{transport:?} {version}: {said}");
        }
    }
}

#[tokio::test]
async fn they_meet_through_a_unix_socket() {
    let config =
        Config::new().toml("[[listener]]\nname = \"local\"\nbind = \"unix:mqtt.sock\"\npolicies = [\"anonymous\"]");
    let gateway = Gateway::start(&config).await;
    let socket = gateway.directory().join("mqtt.sock");
    let client = |program: &str, more: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--unix").arg(&socket).args(["-q", "1", "-t", "local"]).args(more);
        command
    };
    succeed(client("mosquitto_pub", &["-r", "-m", "kept"])).await;
    assert_eq!(succeed(client("mosquitto_sub", &["-C", "1", "-W", "110"])).await, "kept\n");
}
