//! Machine code of the components, compiled once and given to every gateway of these tests: Python alone takes ten seconds.
//!
//! A gateway believes only what it compiled itself, under a key of its data directory. So one gateway compiles everything, and the others
//! begin with a copy of its key and its cache.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use portcullis_tests::gateway::{self, share_code};
use portcullis_tests::{Config, Transport};

use crate::language::{Language, kept};
use crate::plant;

/// Puts the machine code of every language into the data directory of a gateway that is about to start.
pub(crate) fn give(data: &Path) {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(compile);
    share_code(&kept().join("compiled"), data);
}

/// Has a gateway load one after the other: a machine that is busy with all at once may take longer than a compiler is given.
/// What is in the cache from an earlier run costs nothing.
fn compile() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let cache = kept().join("compiled");
    std::fs::create_dir_all(&cache).unwrap();
    share_code(&cache, &data);
    for language in Language::ALL {
        let name = language.folder();
        let config = Config::bare()
            .mqtt(name, Transport::Tcp, &[name])
            .file("badge.wasm", language.component())
            .toml(&plant::entry(name, "badge.wasm", "127.0.0.1:1", ""));
        config.write(directory.path());
        load(directory.path());
        share_code(&data, &cache);
    }
}

/// Has a gateway load the policies of `portcullis.toml` in this directory, into the cache of `data`, however long it takes: it gives up by
/// itself after three minutes.
pub(crate) fn load(directory: &Path) {
    let serve = ["serve", "--config", "portcullis.toml", "--data", "data"];
    let mut child = gateway::command(directory, &serve).stdout(Stdio::piped()).spawn().expect("the binary can be run");
    let ready =
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).any(|l| l.starts_with("ready"));
    let _ = child.kill();
    let _ = child.wait();
    assert!(ready, "the gateway did not load its policies; what it said is above");
}
