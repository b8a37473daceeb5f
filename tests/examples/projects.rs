//! `portcullis policy new`: each project builds with the real tools of its language and passes its own cases, as it stands.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use portcullis_tests::binary::root;
use portcullis_tests::gateway;

use crate::language::path_with_compilers;

/// A shell that has the compilers which `tests/run` installs, and a Rust that compiles for the target.
fn shell(directory: &Path, script: &str) -> Output {
    let mut command = Command::new("bash");
    command
        .args(["-euc", script])
        .current_dir(directory)
        .env("PATH", path_with_compilers())
        .env("root", root())
        .stdin(Stdio::null());
    command.output().expect("bash")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn builds_and_passes(language: &str) {
    let directory = tempfile::tempdir().unwrap();
    let made = gateway::run(directory.path(), &["policy", "new", "--lang", language, "sites"]);
    assert!(made.status.success(), "{}", said(&made));
    let again = gateway::run(directory.path(), &["policy", "new", "--lang", language, "sites"]);
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));
    let project = directory.path().join("sites");
    // On a machine without the target in rustup, Debian's compiler stands in; the project's own script stays as it is.
    let prepare = if language == "rust" {
        "say() { :; }; fail() { echo \"$*\" >&2; exit 1; }; . $root/policies/toolchain.sh; export RUSTC=${guest_rustc-rustc}; "
    } else {
        ""
    };
    let built = shell(&project, &format!("{prepare}./build"));
    assert!(built.status.success(), "{language}: {}", said(&built));
    let tested = gateway::run(&project, &["policy", "test", "sites.wasm", "cases.toml"]);
    assert!(tested.status.success() && said(&tested).contains("5 hold, 0 do not"), "{language}: {}", said(&tested));
    let shown = gateway::run(&project, &["policy", "inspect", "sites.wasm", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["name"], &shown["exports"][0]), (&"sites".into(), &"authentication".into()), "{language}");
    // What it is granted is what its snippet says: no more than the base.
    assert_eq!(shown["needs"].as_array().map(Vec::len), Some(0), "{language}: {shown}");
}

#[test]
fn a_project_in_rust_passes_its_own_cases() {
    builds_and_passes("rust");
}

#[test]
fn a_project_in_javascript_passes_its_own_cases() {
    builds_and_passes("js");
}

#[test]
fn a_project_in_typescript_passes_its_own_cases() {
    builds_and_passes("ts");
}

#[test]
fn a_project_in_python_passes_its_own_cases() {
    builds_and_passes("python");
}

#[test]
fn a_project_in_c_passes_its_own_cases() {
    builds_and_passes("c");
}

#[test]
fn a_project_in_go_passes_its_own_cases() {
    builds_and_passes("go");
}
