//! The `portcullis` program.
//!
//! `cli` reads the command line, `config` the configuration, `assemble` puts the rooms together, `reload` changes a
//! running gateway. Everything else lives in the rooms' own crates.

mod audit;
mod builtin;
mod cli;
mod config;
mod demo;
mod files;
mod logging;
mod runtime_file;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run().into()
}

/// An operating system's error in words, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
