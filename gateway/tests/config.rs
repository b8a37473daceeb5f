//! What `portcullis check` says about good and bad configurations, word for word: each `tests/config/*.toml` has a
//! `.stderr` beside it. Run with `BLESS=1` to write them anew, and read the difference.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn check(file: &str) -> Output {
    check_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config")), file)
}

fn check_in(directory: &Path, file: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["check", file]).current_dir(directory).output().unwrap()
}

#[test]
fn every_bad_configuration_is_explained() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config"));
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "toml") || name == "good.toml" {
            continue;
        }
        seen += 1;
        let output = check(&name);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
        let golden = path.with_extension("stderr");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        assert_eq!(said, std::fs::read_to_string(&golden).unwrap_or_default(), "{name}");
    }
    assert_eq!(seen, 7, "a configuration was added or lost");
}

/// A directory with `good.toml`, and the files that it names made for this machine.
fn good() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.path().join("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.path().join("good.toml"), include_str!("config/good.toml")).unwrap();
    directory
}

#[test]
fn a_configuration_with_everything_is_sound() {
    let output = check_in(good().path(), "good.toml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "good.toml: sound (3 listeners, 3 policies, 1 key)\n");
}

#[test]
fn certificates_and_policies_are_tried() {
    let directory = good();
    let other = rcgen::KeyPair::generate().unwrap();
    std::fs::write(directory.path().join("server.key"), other.serialize_pem()).unwrap();
    let text = include_str!("config/good.toml").replace("leeway = 60", "leeway = \"long\"");
    std::fs::write(directory.path().join("good.toml"), text).unwrap();
    let output = check_in(directory.path(), "good.toml");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("listener `wss`") && said.contains("server.key"), "{said}");
    assert!(said.contains("policy `gate`") && said.contains("leeway"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_one_sentence() {
    let output = check("no-such.toml");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "error: no-such.toml cannot be read: No such file or directory\n");
}
