//! A host that compiles nothing: what was made elsewhere runs as what is compiled here, and nothing else gets in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

mod support;

use std::path::Path;

use portcullis_policy::{
    Chain, EngineOptions, Host, HostOptions, INTERPRETED, Made, Policy, Precompiled, add, compile_to_vec, digest_of,
    engine_digest,
};
use support::{ask, denied, granted, guest, refused, spec};

/// A host without a compiler that looks into a directory.
fn bare(directory: &Path, interpret: bool) -> Host {
    let engine = EngineOptions { interpret, ..EngineOptions::default() };
    let host = Host::new(HostOptions { engine, compiler: None, ..HostOptions::default() }).expect("a host");
    host.use_precompiled(Some(Precompiled::new(directory.to_owned(), Box::new(|_, _| Ok(())))));
    host
}

/// The test guest, compiled for a target into a directory.
fn precompile(directory: &Path, target: Option<&str>) {
    let code = compile_to_vec(&guest(), target).expect("compiled");
    let made = Made { component: digest_of(&guest()), origin: "a guest".to_owned(), code };
    let engine = engine_digest(target).expect("a target");
    add(directory, "a test", target.unwrap_or(std::env::consts::ARCH), &engine, &[made]).expect("added");
}

/// It decides, within its bounds.
async fn works(host: &Host) {
    let generation = host.load(spec("p", guest())).await.expect("loaded");
    assert!(generation.from_cache());
    let chain = Chain::new(vec![Policy::new(generation)]);
    granted(ask(&chain, "a").await);
    denied(ask(&chain, "t").await);
    let memory = denied(ask(&chain, "m").await);
    assert!(memory.detail.contains("memory limit"), "{}", memory.detail);
    granted(ask(&chain, "a").await);
}

async fn refusal(host: &Host) -> String {
    refused(host, spec("p", guest())).await
}

#[tokio::test]
async fn what_was_made_elsewhere_runs_like_what_is_compiled_here() {
    let directory = tempfile::tempdir().unwrap();
    precompile(directory.path(), None);
    works(&bare(directory.path(), false)).await;
    // For every processor of this kind, not only this very one.
    let directory = tempfile::tempdir().unwrap();
    precompile(directory.path(), Some(&portcullis_policy::full_name(std::env::consts::ARCH)));
    works(&bare(directory.path(), false)).await;
}

#[tokio::test]
async fn the_interpreter_runs_its_own_code() {
    let directory = tempfile::tempdir().unwrap();
    precompile(directory.path(), Some(INTERPRETED));
    works(&bare(directory.path(), true)).await;
    let why = refusal(&bare(directory.path(), false)).await;
    assert!(why.contains(INTERPRETED) && why.contains(std::env::consts::ARCH), "{why}");
    // And a host with a compiler makes it.
    let engine = EngineOptions { interpret: true, ..EngineOptions::default() };
    let host = Host::new(HostOptions { engine, ..HostOptions::default() }).expect("a host");
    let chain = Chain::new(vec![Policy::new(host.load(spec("p", guest())).await.expect("loaded"))]);
    granted(ask(&chain, "a").await);
}

#[tokio::test]
async fn an_interpreted_guest_that_computes_without_end_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    precompile(directory.path(), Some(INTERPRETED));
    let host = bare(directory.path(), true);
    let chain = Chain::new(vec![Policy::new(host.load(spec("p", guest())).await.expect("loaded"))]);
    for (client, words) in [("l", "did not answer within"), ("r", "stack")] {
        let denial = denied(ask(&chain, client).await);
        assert!(denial.detail.contains(words), "{}", denial.detail);
        granted(ask(&chain, "a").await);
    }
}

#[tokio::test]
async fn what_is_lacking_is_said_with_the_command_that_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    for said in [refusal(&bare(directory.path(), false)).await, {
        let host = Host::new(HostOptions { compiler: None, ..HostOptions::default() }).expect("a host");
        refusal(&host).await
    }] {
        let command = format!("portcullis policy precompile --target {}", std::env::consts::ARCH);
        assert!(said.contains(&command), "{said}");
    }
}

#[tokio::test]
async fn code_of_another_engine_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let mut code = compile_to_vec(&guest(), None).expect("compiled");
    // wasmtime writes its version with its length before it, after an octet for the format.
    let ours = b"\0\x0248";
    let at = code.windows(ours.len()).position(|window| window == ours).expect("the version of the engine");
    code[at + 3] = b'7';
    let made = Made { component: digest_of(&guest()), origin: "a guest".to_owned(), code };
    add(directory.path(), "portcullis 0.0.9", std::env::consts::ARCH, "another", &[made]).expect("added");
    let why = refusal(&bare(directory.path(), false)).await;
    assert!(why.contains("portcullis 0.0.9") && why.contains("47"), "{why}");
}

#[tokio::test]
async fn octets_that_are_no_code_are_refused_even_if_the_index_has_them() {
    let directory = tempfile::tempdir().unwrap();
    for code in [Vec::new(), b"\x7fELF".to_vec(), guest()] {
        let made = Made { component: digest_of(&guest()), origin: "a guest".to_owned(), code };
        add(directory.path(), "a test", std::env::consts::ARCH, "e", &[made]).expect("added");
        let why = refusal(&bare(directory.path(), false)).await;
        assert!(why.contains("is of no use here"), "{why}");
    }
}

#[tokio::test]
async fn with_a_compiler_what_is_of_no_use_is_compiled() {
    let directory = tempfile::tempdir().unwrap();
    precompile(directory.path(), Some(INTERPRETED));
    let host = Host::new(HostOptions::default()).expect("a host");
    host.use_precompiled(Some(Precompiled::new(directory.path().to_owned(), Box::new(|_, _| Ok(())))));
    assert!(!host.load(spec("p", guest())).await.expect("loaded").from_cache());
}

/// Wherever the desk is, there is code for both kinds of processor that gateways have most.
#[cfg(feature = "cross")]
#[tokio::test]
async fn there_is_code_for_other_processors() {
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let directory = tempfile::tempdir().unwrap();
        precompile(directory.path(), Some(target));
        let host = bare(directory.path(), false);
        if target.starts_with(std::env::consts::ARCH) {
            works(&host).await;
        } else {
            let why = refusal(&host).await;
            assert!(why.contains(target) && why.contains(std::env::consts::ARCH), "{why}");
        }
    }
}
