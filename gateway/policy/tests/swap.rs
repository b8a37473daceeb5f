//! Swapping a policy while it is called, and finding it compiled.

#![allow(clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use portcullis_grant::BoxFuture;
use portcullis_policy::{
    Chain, Compiler, EngineOptions, Host, HostOptions, InProcess, MachineCode, Policy, compile_to_vec,
};
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_a_policy_is_swapped() {
    let host = host();
    let one = load(&host, spec("p", guest_with(&TestGrant { subject: "one", ..TestGrant::default() }))).await;
    let two = load(&host, spec("p", guest_with(&TestGrant { subject: "two", ..TestGrant::default() }))).await;
    let policy = Policy::new(Arc::clone(&one));
    let chain = Chain::new(vec![Arc::clone(&policy)]);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (chain, stop, one, two) = (chain.clone(), Arc::clone(&stop), Arc::clone(&one), Arc::clone(&two));
            tokio::spawn(async move {
                let mut seen = [0u32; 2];
                while !stop.load(Ordering::Relaxed) || seen.contains(&0) {
                    let grant = granted(ask(&chain, "a").await);
                    // Grant and stamp are of one and the same generation.
                    let (which, generation) = if grant.identity.subject() == "one" { (0, &one) } else { (1, &two) };
                    assert_eq!(&grant.policy, generation.stamp());
                    seen[which] += 1;
                    tokio::task::yield_now().await;
                }
                seen
            })
        })
        .collect();
    for _ in 0..100 {
        policy.swap(Arc::clone(&two));
        tokio::task::yield_now().await;
        policy.swap(Arc::clone(&one));
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    // Until every caller has seen both.
    let swapping = tokio::spawn(async move {
        loop {
            policy.swap(Arc::clone(&two));
            tokio::task::yield_now().await;
            policy.swap(Arc::clone(&one));
            tokio::task::yield_now().await;
        }
    });
    for caller in callers {
        let seen = tokio::time::timeout(std::time::Duration::from_secs(120), caller)
            .await
            .expect("an end")
            .expect("no failure");
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }
    swapping.abort();
}

/// Counts what it compiles.
#[derive(Default)]
struct Counting(AtomicU64);

impl Compiler for Counting {
    fn compile(&self, component: Bytes, target: Option<&'static str>) -> BoxFuture<'_, Result<MachineCode, String>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        InProcess.compile(component, target)
    }
}

fn cached_host(data: &std::path::Path, compiler: &Arc<Counting>) -> Host {
    let compiler: Option<Arc<dyn Compiler>> = Some(Arc::clone(compiler) as _);
    Host::new(HostOptions { data: Some(data.to_owned()), compiler, ..HostOptions::default() }).expect("a host")
}

#[tokio::test]
async fn a_restart_compiles_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let compiler = Arc::new(Counting::default());
    let first = load(&cached_host(data.path(), &compiler), spec("p", guest())).await;
    assert!(!first.from_cache());
    let second = load(&cached_host(data.path(), &compiler), spec("p", guest())).await;
    assert!(second.from_cache());
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);
    let chain = Chain::new(vec![Policy::new(second)]);
    granted(ask(&chain, "a").await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_in_the_cache_is_mapped_and_not_copied() {
    let data = tempfile::tempdir().expect("a directory");
    let host = cached_host(data.path(), &Arc::default());
    let executable = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the maps of this process");
        let directory = data.path().join("cache/policies");
        maps.lines().any(|line| line.contains("r-xp") && line.contains(&*directory.to_string_lossy()))
    };
    for from_cache in [false, true] {
        let generation = load(&host, spec("p", guest())).await;
        assert_eq!((generation.from_cache(), executable()), (from_cache, true), "pages of the file");
        drop(generation);
        assert!(!executable(), "what is gone is unmapped");
    }
}

#[tokio::test]
async fn a_corrupt_or_planted_file_is_refused_and_made_again() {
    let data = tempfile::tempdir().expect("a directory");
    let compiler = Arc::new(Counting::default());
    let host = cached_host(data.path(), &compiler);
    load(&host, spec("p", guest())).await;
    let file = std::fs::read_dir(data.path().join("cache/policies"))
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .next()
        .expect("a file");
    let good = std::fs::read(&file).expect("the file");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    // What somebody else compiled, as good as it may be, is not ours.
    let planted = compile_to_vec(&guest(), None).expect("compiled");
    let compiled = || compiler.0.load(Ordering::Relaxed);
    for bad in [flipped, planted, Vec::new(), good[..100].to_vec()] {
        // Files of the cache are read-only.
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, bad).expect("written");
        let before = compiled();
        assert!(!load(&host, spec("p", guest())).await.from_cache());
        assert_eq!(compiled(), before + 1);
        assert!(load(&host, spec("p", guest())).await.from_cache(), "and is good again");
    }
}

#[tokio::test]
async fn without_a_pool_everything_works_the_same() {
    let engine = EngineOptions { pooling: false, ..EngineOptions::default() };
    let host = Host::new(HostOptions { engine, ..HostOptions::default() }).expect("a host");
    assert!(!host.pools_instances());
    let (_, chain) = alone(&host, spec("p", guest())).await;
    granted(ask(&chain, "a").await);
    denied(ask(&chain, "t").await);
    let memory = denied(ask(&chain, "m").await);
    assert!(memory.detail.contains("memory limit"), "{}", memory.detail);
}

#[tokio::test]
async fn code_of_a_pooling_engine_suits_one_without_a_pool() {
    let data = tempfile::tempdir().expect("a directory");
    let compiler = Arc::new(Counting::default());
    load(&cached_host(data.path(), &compiler), spec("p", guest())).await;
    let engine = EngineOptions { pooling: false, ..EngineOptions::default() };
    let options = HostOptions { engine, data: Some(data.path().to_owned()), ..HostOptions::default() };
    assert!(load(&Host::new(options).expect("a host"), spec("p", guest())).await.from_cache());
}
