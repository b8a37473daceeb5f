//! The `portcullis` program.
//!
//! `cli` reads the command line, `config` the configuration, `assemble` puts the rooms together, `reload` changes a
//! running gateway. Everything else lives in the rooms' own crates.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod administration;
mod assemble;
mod audit;
mod builtin;
mod cli;
mod config;
mod demo;
mod files;
mod inside;
mod listeners;
mod logging;
mod memory;
mod metrics;
mod percent;
mod policies;
mod probation;
mod reload;
mod runtime_file;
mod shadows;
mod supply;
mod versions;
mod watch;

use std::process::ExitCode;

/// Small, quick under many threads, and frugal where thousands of connections come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run().into()
}

/// An operating system's error in words, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
