//! The load as a command, in small: every kind of work, and nothing is lost, twice, out of order or misdelivered; and it
//! knows its command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

use std::process::{Command, Output};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis-load")).args(arguments).output().expect("the tool can be run")
}

#[test]
fn every_kind_of_work_is_done_without_a_loss() {
    let output = load(&["quick"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("nothing lost, twice, out of order or misdelivered"), "{said}");
    for row in [
        "QoS 2",
        "shared subscription",
        "sessions that are kept",
        "retained",
        "WebSocket over TLS",
        "TLS 1.3",
        "idle",
        "with another credential",
    ] {
        assert!(said.contains(row), "{row} is missing in\n{said}");
    }
}

#[test]
fn a_wrong_command_line_is_told() {
    for arguments in
        [&[][..], &["measure"], &["one"], &["one", "pairs", "--with", "nobody"], &["compare", "--rounds", "x"]]
    {
        assert_eq!(load(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = load(&["one", "everything"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are: fan-in, pairs"), "{output:?}");
}
