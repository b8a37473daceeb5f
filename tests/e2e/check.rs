//! `portcullis check`: every problem with its line, a caret, what was expected, and an exit code.
//!
//! The texts are golden files in `tests/e2e/golden/`: `NAME.toml` is the input, `NAME.txt` what is said. Run with
//! `UPDATE_GOLDEN=1` to write the texts anew, and read the difference.

use std::path::{Path, PathBuf};

use portcullis_tests::{Config, config, gateway};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/golden")
}

#[test]
fn bad_configurations_are_explained() {
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        let name = input.file_name().unwrap().to_str().unwrap();
        let output = gateway::run(&golden(), &["check", name]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(3), "{name}: {said}");
        let expected = input.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        let known = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, known, "{name}: what is said has changed");
        assert!(said.contains(&format!("{name}:")) && said.contains('^'), "{name}: no place in\n{said}");
    }
}

#[test]
fn a_sound_configuration_is_said_to_be_sound() {
    let directory = tempfile::tempdir().unwrap();
    Config::everywhere(&["device", "jwt", "api-key"]).http().write(directory.path());
    let output = gateway::run(directory.path(), &["check", "portcullis.toml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("portcullis.toml"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = gateway::run(directory.path(), &["check", "nowhere.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nowhere.toml"), "{said}");
}

#[test]
fn serve_says_the_same_and_ends() {
    let output = gateway::run(&golden(), &["serve", "--config", "unknown-key.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("unknown-key.toml:") && said.contains('^'), "{said}");
}

#[test]
fn the_example_of_the_readme_is_sound() {
    let readme = std::fs::read_to_string(portcullis_tests::binary::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").expect("an example in the README");
    let (example, _) = rest.split_once("```").expect("the end of the example");
    let directory = tempfile::tempdir().unwrap();
    Config::bare().server_certificate().file("clients.pem", config::authority().pem()).write(directory.path());
    std::fs::write(directory.path().join("portcullis.toml"), example).unwrap();
    let output = gateway::run(directory.path(), &["check", "portcullis.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
