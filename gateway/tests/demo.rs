//! The real binary without a configuration: the demo, the commands that reach it, and what it says when it cannot start.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Generous: a debug build compiles the policies on its first start.
const PATIENCE: Duration = Duration::from_secs(120);

fn portcullis(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).args(["--data", data.to_str().unwrap()]).stdin(Stdio::null());
    for name in ["PORTCULLIS_CONFIG", "PORTCULLIS_DATA", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn ask(data: &Path, arguments: &[&str]) -> Output {
    portcullis(data, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command that must succeed says.
fn good(data: &Path, arguments: &[&str]) -> String {
    let output = ask(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A running demo on any free ports. Killed when dropped.
struct Demo {
    child: Child,
    ready: String,
    lines: mpsc::Receiver<String>,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut child =
            portcullis(data, &["serve", "--any-port"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let ready = lines.recv_timeout(PATIENCE).expect("a first line");
        Self { child, ready, lines }
    }

    /// The rest of what it shows, up to the line with this text.
    fn shown_until(&self, last: &str) -> String {
        let mut shown = String::new();
        while !shown.contains(last) {
            shown += &self.lines.recv_timeout(PATIENCE).expect("more to show");
            shown.push('\n');
        }
        shown
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        // The end of its output is the event; it is not polled.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_shows_what_listens_and_answers_commands() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let demo = Demo::start(&data);
    let names: Vec<_> = demo.ready.split_whitespace().skip(1).map(|pair| pair.split('=').next().unwrap()).collect();
    assert!(demo.ready.starts_with("ready "), "{}", demo.ready);
    assert_eq!(names, ["mqtt", "mqtts", "ws", "wss", "http", "admin"]);
    assert_eq!(demo.ready.matches("=127.0.0.1:").count(), 6, "nothing listens beyond loopback: {}", demo.ready);

    let shown = demo.shown_until("Ctrl-C");
    for part in ["device, jwt, api-key", "mosquitto_sub", "consumer.jwt", "api-key)", "--cafile", "portcullis why"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    for secret in ["admin.json", "tls/ca.key", "tls/server.key", "demo/owner.key", "demo/consumer.jwt", "demo/api-key"]
    {
        let mode = std::fs::metadata(data.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }

    let policies = good(&data, &["policy", "list"]);
    assert!(["device", "jwt", "api-key"].iter().all(|name| policies.contains(name)), "{policies}");
    assert!(good(&data, &["policy", "reload", "jwt"]).contains("policy `jwt` is live"));
    assert_eq!(ask(&data, &["policy", "reload", "nobody"]).status.code(), Some(4));
    assert_eq!(ask(&data, &["why", "nobody"]).status.code(), Some(4));

    let second = ask(&data, &["serve", "--any-port"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("in use"), "{}", text(&second.stderr));
    demo.stop();
    assert!(!data.join("admin.json").exists(), "the token is gone with the gateway");
}

#[test]
fn the_directory_is_reached_through_the_gateway_and_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    assert_eq!(ask(&data, &["device", "list"]).status.code(), Some(4), "there is no data directory yet");

    let demo = Demo::start(&data);
    let through = good(&data, &["device", "add", "pump", "--app", "demo", "--owner", "bob", "--json"]);
    demo.stop();
    let device: serde_json::Value = serde_json::from_str(&through).unwrap();
    let client = device["client_id"].as_str().unwrap();
    let without = good(&data, &["device", "list"]);
    assert!(without.contains(client), "what was added through the gateway is on disk:\n{without}");
    good(&data, &["device", "remove", client]);

    let demo = Demo::start(&data);
    let again = good(&data, &["device", "list"]);
    assert!(!again.contains(client) && again.contains("thermometer_"), "{again}");
    demo.stop();
    // Nobody runs, and a command that needs a gateway says so.
    let output = ask(&data, &["policy", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no gateway runs"), "{}", text(&output.stderr));
}

#[test]
fn a_component_is_inspected_without_a_gateway() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/prebuilt/device.wasm");
    let inspect =
        |file: &str| Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["policy", "inspect", file]).output().unwrap();
    let output = inspect(file);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("authentication") && said.contains("directory"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("module.wasm");
    std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
    let output = inspect(path.to_str().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("core WebAssembly module"), "{}", text(&output.stderr));
}
