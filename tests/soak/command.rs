//! The soak as a command, in short: it runs, says its figures, and finds nothing wrong; and it knows its command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

use std::process::{Command, Output};

fn soak(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis-soak")).args(arguments).output().expect("the soak can be run")
}

#[test]
fn a_short_soak_finds_nothing_wrong_and_says_its_figures() {
    let output = soak(&["--seconds", "20"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    for figure in ["rounds in", "resident memory", "file descriptors", "store", "nothing was lost"] {
        assert!(said.contains(figure), "{figure} is missing in\n{said}");
    }
}

#[test]
fn a_wrong_command_line_is_told() {
    for arguments in [&[][..], &["--minutes"], &["--minutes", "0"], &["--hours", "1"]] {
        let output = soak(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--minutes N"));
    }
}
