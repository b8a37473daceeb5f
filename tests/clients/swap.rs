//! A policy is swapped a hundred times while clients of others talk, and while mosquitto_pub comes and goes.

use std::process::Stdio;

use portcullis_tests::{Transport, config, policies, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::scripts::{Library, told};
use crate::{Stand, run};

const SWAPS: u32 = 100;
/// So many of them are compiled; after that each comes from the cache of compiled code.
const VARIANTS: u32 = 20;

/// A script that talks to itself until its input ends.
struct Resident {
    name: String,
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Resident {
    async fn start(stand: &Stand, library: Library, transport: Transport, version: u8) -> Self {
        let name = format!("{library:?}-{}-{version}", transport.name());
        let mut command = library.command(&told(stand, "load", transport, version, &name));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("a client");
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        within("a client under load", said.read_line(&mut line)).await.unwrap();
        assert!(line.contains("ready"), "{name}: {line}");
        Self { name, child, said }
    }

    async fn stop(mut self) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        within("the report of a client", self.said.read_to_string(&mut rest)).await.unwrap();
        let status = within("the end of a client", self.child.wait()).await.unwrap();
        assert!(status.success(), "{}: {status}", self.name);
        let report: Value = serde_json::from_str(&rest).unwrap();
        assert_eq!(report["lost"], 0, "{} was disconnected", self.name);
        assert!(report["count"].as_u64().unwrap() > 0, "{} said nothing", self.name);
    }
}

#[tokio::test]
async fn a_hundred_swaps_hurt_no_real_client() {
    let stand = Stand::new().await;
    let mut residents = Vec::new();
    for (index, transport) in Transport::ALL.into_iter().enumerate() {
        for library in Library::BOTH {
            let version = [3, 4, 5, 5][index];
            residents.push(Resident::start(&stand, library, transport, version).await);
        }
    }
    let component = policies::bundled("jwt");
    for number in 1..=SWAPS {
        config::replace(&stand.gateway.directory().join("jwt.wasm"), &policies::variant(&component, number % VARIANTS));
        // A right and a wrong login are on their way while the policy changes.
        let (right, wrong, swap) = (pub_with(&stand, &stand.token), pub_with(&stand, "forged"), reload(&stand));
        let (right, wrong, swap) = tokio::join!(run(right), run(wrong), run(swap));
        assert!(right.status.success(), "wrongly refused: {}", String::from_utf8_lossy(&right.stderr));
        assert!(!wrong.status.success(), "wrongly admitted");
        assert!(swap.status.success(), "not swapped: {}", String::from_utf8_lossy(&swap.stderr));
    }
    for resident in residents {
        resident.stop().await;
    }
}

fn pub_with(stand: &Stand, password: &str) -> Command {
    let port = stand.gateway.address("tcp").port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-p", &port, "-q", "1", "-u", "client", "-P", password, "-t", "clients/visitor", "-m", "x"]);
    command
}

fn reload(stand: &Stand) -> Command {
    let arguments = ["policy", "reload", "tokens", "--data", "data"];
    portcullis_tests::gateway::command(stand.gateway.directory(), &arguments).into()
}
