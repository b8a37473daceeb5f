//! Gateways that compile nothing: policies come with machine code that was made elsewhere, and nothing else gets in.
//!
//! The binary has a compiler here and is forbidden to use it; `tests/edge` does the same with a binary that has none.

use std::path::Path;

use portcullis_tests::gateway::run;
use portcullis_tests::{Config, Gateway, Version, config, policies};

use crate::signatures::Signer;

/// The bundled policies, in front of a listener each.
const BUNDLED: [&str; 6] = ["anonymous", "device", "jwt", "api-key", "keystone", "layer"];

/// A directory with a configuration, whose policies were compiled for `target` into `code`.
fn desk(config: &Config, target: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    config.write(directory.path());
    precompile(directory.path(), &[&["--config", "portcullis.toml"], target].concat());
    directory
}

fn precompile(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, &[&["policy", "precompile", "--out", "code"], arguments].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

async fn serve(directory: tempfile::TempDir) -> Result<Gateway, String> {
    let started = Gateway::spawn(directory, &["serve", "--config", "portcullis.toml", "--data", "data"]).await;
    started.map_err(|failure| failure.err)
}

fn doorman(component: Vec<u8>, engine: &str) -> Config {
    Config::tcp(&["doorman"])
        .toml("[[policy]]\nname = \"doorman\"\nsource = \"doorman.wasm\"")
        .toml(&format!("[engine]\n{engine}"))
        .file("doorman.wasm", component)
}

const ONLY: &str = "precompiled = \"code\"\ncompile = false";

#[tokio::test]
async fn every_bundled_policy_goes_live_from_machine_code_alone() {
    let interpreted = format!("{ONLY}\ninterpret = true");
    let own = ["--target", std::env::consts::ARCH];
    for (engine, target) in [(ONLY, &[][..]), (ONLY, &own), (&interpreted, &["--target", "pulley64"])] {
        let config = Config::new().toml(&format!("[engine]\n{engine}"));
        let each = |config: Config, name: &str| config.mqtt(name, portcullis_tests::Transport::Tcp, &[name]);
        let gateway = serve(desk(&BUNDLED.into_iter().fold(config, each), target)).await.unwrap();
        let route = gateway.route_to("anonymous", portcullis_tests::Transport::Tcp);
        portcullis_tests::Dial::new(route, Version::V5, "visitor").connect().await.ping().await;
        let listed = gateway.admin().get("/api/v1/policies").await.good();
        for policy in listed["items"].as_array().unwrap() {
            assert_eq!(policy["from_cache"], true, "{policy}");
        }
        assert!(!gateway.data().join("cache/policies").exists(), "nothing was compiled");
    }
}

#[tokio::test]
async fn what_has_no_machine_code_is_refused_with_the_command_that_makes_it() {
    let config = doorman(policies::bundled("anonymous"), ONLY);
    let directory = tempfile::tempdir().unwrap();
    config.write(directory.path());
    precompile(directory.path(), &["builtin:layer"]);
    let check = run(directory.path(), &["check", "portcullis.toml"]);
    let said = serve(directory).await.err().expect("refused");
    for said in [said, String::from_utf8_lossy(&check.stderr).into_owned()] {
        assert!(said.contains("policy `doorman`") && said.contains("portcullis policy precompile"), "{said}");
    }
}

#[tokio::test]
async fn a_new_version_goes_live_when_its_machine_code_has_come() {
    let closed = policies::passing();
    let gateway = serve(desk(&doorman(policies::bundled("anonymous"), ONLY), &[])).await.unwrap();
    let mut resident = gateway.tcp(Version::V5, "resident").connect().await;
    let from = gateway.log().len();
    let mut gateway = gateway;
    config::replace(&gateway.directory().join("doorman.wasm"), &closed);
    gateway.logged(from, "has no machine code for it").await;
    gateway.tcp(Version::V5, "second").connect().await.ping().await;
    precompile(gateway.directory(), &["--config", "portcullis.toml"]);
    let _ = gateway.ask(&["policy", "reload", "doorman"]);
    assert!(gateway.tcp(Version::V5, "third").attempt().await.is_err());
    resident.ping().await;
    // The version before has its code still.
    let _ = gateway.ask(&["policy", "rollback", "doorman"]);
    gateway.tcp(Version::V5, "fourth").connect().await.ping().await;
}

#[tokio::test]
async fn where_policies_must_be_signed_machine_code_must_be_too() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let component = policies::bundled("anonymous");
    let config = doorman(component.clone(), ONLY)
        .toml(&format!("[trust]\nkeys = [{:?}]", ours.key()))
        .file("doorman.wasm.minisig", ours.sign(&component));
    let signed_by = |signer: Option<&Signer>| {
        let directory = desk(&config, &[]);
        let index = directory.path().join("code/index.json");
        if let Some(signer) = signer {
            std::fs::write(
                directory.path().join("code/index.json.minisig"),
                signer.sign(&std::fs::read(index).unwrap()),
            )
            .unwrap();
        }
        directory
    };
    let gateway = serve(signed_by(Some(&ours))).await.unwrap();
    gateway.tcp(Version::V5, "visitor").connect().await.ping().await;
    for (signer, words) in [(None, "it is not signed"), (Some(&theirs), "not among the keys of [trust]")] {
        let said = serve(signed_by(signer)).await.err().expect("refused");
        assert!(said.contains("index.json") && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn an_index_may_be_pinned() {
    let directory = desk(&doorman(policies::bundled("anonymous"), ONLY), &[]);
    let index = std::fs::read(directory.path().join("code/index.json")).unwrap();
    let pinned = |digest: &str| {
        let engine = format!("{ONLY}\nprecompiled-digest = \"sha256:{digest}\"");
        doorman(policies::bundled("anonymous"), &engine).write(directory.path());
    };
    pinned(&policies::digest(b"another"));
    let check = run(directory.path(), &["check", "portcullis.toml"]);
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && said.contains("pins the digest"), "{said}");
    pinned(&policies::digest(&index));
    serve(directory).await.unwrap().tcp(Version::V5, "visitor").connect().await.ping().await;
}

#[tokio::test]
async fn machine_code_is_nowhere_taken_for_a_policy() {
    let directory = desk(&doorman(policies::bundled("anonymous"), ONLY), &[]);
    let code = std::fs::read_dir(directory.path().join("code")).unwrap().map(|entry| entry.unwrap().path());
    let code = code.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "cwasm")).unwrap();
    doorman(std::fs::read(code).unwrap(), ONLY).write(directory.path());
    let said = serve(directory).await.err().expect("refused");
    assert!(said.contains("it is not WebAssembly"), "{said}");
}

#[tokio::test]
async fn an_interpreting_gateway_compiles_for_its_interpreter() {
    let config = doorman(policies::bundled("anonymous"), "interpret = true");
    let gateway = Gateway::start(&config).await;
    gateway.tcp(Version::V5, "visitor").connect().await.ping().await;
    let gateway = gateway.restart().await;
    gateway.tcp(Version::V5, "visitor").connect().await.ping().await;
}
