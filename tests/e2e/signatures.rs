//! Where keys are named, policies come in with a good signature or not at all.

use std::io::Cursor;

use minisign::KeyPair;
use portcullis_tests::{Config, Gateway, config, policies};

use crate::versions::{closed, is_open, open, replace, versions};

/// Makes signatures as the tool does.
pub(crate) struct Signer(KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().unwrap())
    }

    pub(crate) fn key(&self) -> String {
        self.0.pk.to_base64()
    }

    pub(crate) fn sign(&self, component: &[u8]) -> Vec<u8> {
        let signature = minisign::sign(None, &self.0.sk, Cursor::new(component), Some("a test"), None).unwrap();
        signature.into_string().into_bytes()
    }
}

fn signed(component: Vec<u8>, signature: Option<Vec<u8>>, keys: &[String], more: &str) -> Config {
    let config = Config::tcp(&["doorman"])
        .toml(&format!("[[policy]]\nname = \"doorman\"\nsource = \"doorman.wasm\"\n{more}"))
        .toml(&format!("[trust]\nkeys = {keys:?}"))
        .file("doorman.wasm", component);
    match signature {
        Some(signature) => config.file("doorman.wasm.minisig", signature),
        None => config,
    }
}

async fn refusal(config: &Config) -> String {
    match Gateway::attempt(config).await {
        Ok(_) => panic!("it came up"),
        Err(failure) => failure.err,
    }
}

#[tokio::test]
async fn only_what_somebody_trusted_has_signed_comes_in() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let keys = [Signer::new().key(), ours.key()];
    let good = ours.sign(&open());
    let gateway = Gateway::start(&signed(open(), Some(good.clone()), &keys, "")).await;
    assert!(is_open(&gateway).await);
    for (signature, words) in [
        (None, "it is not signed"),
        (Some(theirs.sign(&open())), "which is not among the keys of [trust]"),
        (Some(ours.sign(&closed())), "was changed after it was signed"),
        (Some(b"nonsense".to_vec()), "is not one of minisign"),
    ] {
        let said = refusal(&signed(open(), signature, &keys, "")).await;
        assert!(said.contains("policy `doorman`") && said.contains(words), "{said}");
    }
    // Another place for the signature.
    let elsewhere = signed(open(), None, &keys, "signature = \"sent/good.sig\"");
    let said = refusal(&elsewhere).await;
    assert!(said.contains("cannot be read"), "{said}");
    let gateway = Gateway::start(&signed(open(), None, &keys, "signature = \"good.sig\"").file("good.sig", good)).await;
    assert!(is_open(&gateway).await);
}

#[tokio::test]
async fn a_running_gateway_takes_nothing_up_that_is_not_signed() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let config = signed(open(), Some(ours.sign(&open())), &[ours.key()], "");
    let mut gateway = Gateway::start(&config).await;
    let file = gateway.directory().join("doorman.wasm");
    let from = gateway.log().len();
    config::replace(&file, &closed());
    gateway.logged(from, "was changed after it was signed").await;
    assert!(is_open(&gateway).await, "the one before stays live");
    // The signature may come after the component.
    let from = gateway.log().len();
    config::replace(&gateway.directory().join("doorman.wasm.minisig"), &ours.sign(&closed()));
    gateway.logged(from, "policy `doorman` was replaced").await;
    assert!(!is_open(&gateway).await);

    // Uploads for a shadow are no way around it.
    let candidate = gateway.directory().join("candidate.wasm");
    config::replace(&candidate, &policies::denying());
    let beside = gateway.directory().join("candidate.wasm.minisig");
    for (signature, words) in [(None, "it is not signed"), (Some(theirs.sign(&policies::denying())), "not among")] {
        if let Some(signature) = signature {
            config::replace(&beside, &signature);
        }
        let refused = gateway.command(&["policy", "shadow", "doorman", "candidate.wasm"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(words), "{said}");
    }
    config::replace(&beside, &ours.sign(&policies::denying()));
    let _ = gateway.ask(&["policy", "shadow", "doorman", "candidate.wasm"]);
    let _ = gateway.ask(&["policy", "promote", "doorman"]);
    let live = versions(&gateway)["live"].as_str().unwrap().to_owned();
    // What was promoted is verified at each start.
    let gateway = gateway.restart().await;
    assert_eq!(versions(&gateway)["live"].as_str(), Some(live.as_str()));
    // A key that is no longer trusted takes its versions with it.
    let mut gateway = gateway;
    assert!(gateway.stop().await.success());
    let directory = gateway.into_directory();
    signed(open(), Some(theirs.sign(&open())), &[theirs.key()], "").write(directory.path());
    let gateway = Gateway::spawn(directory, &["serve", "--config", "portcullis.toml", "--data", "data"]).await.unwrap();
    assert!(is_open(&gateway).await);
    let refused = gateway.command(&["policy", "rollback", "doorman", &live[..12]]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("not among the keys of [trust]"), "{said}");
}

#[tokio::test]
async fn a_pinned_digest_is_the_only_one_that_goes_live() {
    let pin = format!("digest = \"sha256:{}\"", policies::digest(&open()));
    let config = |component: Vec<u8>, pin: &str| crate::versions::doorman_with(component, pin);
    let mut gateway = Gateway::start(&config(open(), &pin)).await;
    let from = gateway.log().len();
    config::replace(&gateway.directory().join("doorman.wasm"), &closed());
    gateway.logged(from, "its entry pins the digest").await;
    assert!(is_open(&gateway).await);
    config::replace(&gateway.directory().join("candidate.wasm"), &policies::denying());
    let _ = gateway.ask(&["policy", "shadow", "doorman", "candidate.wasm"]);
    let refused = gateway.command(&["policy", "promote", "doorman"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("its entry pins the digest"), "{refused:?}");
    let said = refusal(&config(closed(), &pin)).await;
    assert!(said.contains("its entry pins the digest"), "{said}");
    // With the pin the version changes.
    let from = gateway.log().len();
    config(closed(), &format!("digest = \"sha256:{}\"", policies::digest(&closed()))).write(gateway.directory());
    gateway.logged(from, "policy `doorman` was replaced").await;
}

#[tokio::test]
async fn check_and_inspect_tell_as_much() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = portcullis_tests::gateway::run(folder.path(), arguments);
        let both = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&both).into_owned())
    };
    signed(open(), Some(ours.sign(&open())), &[ours.key()], "").write(folder.path());
    assert_eq!(run(&["check", "portcullis.toml"]).0, Some(0));
    let (exit, said) = run(&["policy", "inspect", "doorman.wasm", "--key", &ours.key()]);
    assert!(exit == Some(0) && said.contains("good, by the key"), "{said}");
    let (_, said) = run(&["policy", "inspect", "doorman.wasm"]);
    assert!(said.contains("says to be by the key") && said.contains(&policies::digest(&open())), "{said}");
    let (exit, said) = run(&["policy", "inspect", "doorman.wasm", "--key", &theirs.key()]);
    assert!(exit == Some(1) && said.contains("not among"), "{said}");

    signed(open(), Some(theirs.sign(&open())), &[ours.key()], "").write(folder.path());
    let (exit, said) = run(&["check", "portcullis.toml"]);
    assert!(exit == Some(3) && said.contains("not among the keys of [trust]"), "{said}");
    for (trust, words) in [
        ("[trust]\nkeys = [\"RWQnonsense\"]", "is not a public key of minisign"),
        ("[trust]\nkeys = []", "an empty list trusts nobody"),
        ("[trust]", "has no `keys`"),
    ] {
        let bare = Config::tcp(&["anonymous"]).toml(trust);
        bare.write(folder.path());
        let (exit, said) = run(&["check", "portcullis.toml"]);
        assert!(exit == Some(3) && said.contains(words), "{trust}: {said}");
    }
}

#[tokio::test]
async fn versions_are_kept_with_their_signatures() {
    let ours = Signer::new();
    let config = signed(open(), Some(ours.sign(&open())), &[ours.key()], "");
    let mut gateway = Gateway::start(&config).await;
    config::replace(&gateway.directory().join("doorman.wasm.minisig"), &ours.sign(&closed()));
    replace(&mut gateway, &closed()).await;
    let _ = gateway.ask(&["policy", "rollback", "doorman"]);
    assert!(is_open(&gateway).await);
}
