//! What `portcullis check` says about good and bad configurations, word for word: each `tests/config/*.toml` has a
//! `.stderr` beside it. Run with `BLESS=1` to write them anew, and read the difference.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn check(file: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", file])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config"))
        .output()
        .unwrap()
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

#[test]
fn a_configuration_with_everything_is_sound() {
    let output = check("good.toml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "good.toml: sound (3 listeners, 1 configured policy, 1 key)\n");
}

#[test]
fn a_file_that_is_not_there_is_one_sentence() {
    let output = check("no-such.toml");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "error: the configuration no-such.toml cannot be read: No such file or directory\n");
}
