//! Compiling components to machine code, preferably in a process of its own.
//!
//! A compiler's memory does not come back: a component of a scripting language leaves the process that compiled it
//! 400 MB larger. And a compiler reads untrusted input. So the gateway starts itself again with a hidden subcommand
//! that reads a component on standard input and writes machine code to standard output ([`compile_to_vec`] is all that
//! it needs), and goes away. Without such a program, [`InProcess`] compiles on a blocking thread.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use portcullis_grant::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::code::MachineCode;

/// The largest result that is read from a child.
const MAX_COMPILED: usize = 512 << 20;
/// The most of a child's complaint that is kept.
const MAX_COMPLAINT: u64 = 16 << 10;

/// Whether this build has a compiler. Without, it runs what was [precompiled](crate::Precompiled).
pub const COMPILES: bool = cfg!(feature = "compiler");

/// Turns a component into machine code for this build of the gateway.
pub trait Compiler: Send + Sync + 'static {
    /// Compiles for a target, or for this very processor. The error is a phrase that follows "it does not compile:".
    fn compile(&self, component: Bytes, target: Option<&'static str>) -> BoxFuture<'_, Result<MachineCode, String>>;
}

/// Compiles a component to what [`crate::Host`] can load, with the settings of this build: for a target, or for this very
/// processor. Takes tens of milliseconds for a small component and ten seconds for a large one.
///
/// # Errors
/// What is wrong with the component, in wasmtime's words, or that there is no code generator for the target.
#[cfg(feature = "compiler")]
pub fn compile_to_vec(component: &[u8], target: Option<&str>) -> Result<Vec<u8>, String> {
    engine_for(target)?.precompile_component(component).map_err(|why| format!("{why:#}"))
}

/// The engine that compiles for a target.
#[cfg(feature = "compiler")]
pub(crate) fn engine_for(target: Option<&str>) -> Result<wasmtime::Engine, String> {
    let made = crate::engine::compile_settings(target)
        .and_then(|settings| wasmtime::Engine::new(&settings).map_err(|why| format!("{why:#}")));
    made.map_err(|why| match target {
        Some(target) if cfg!(feature = "cross") => format!("nothing can be compiled for {target}: {why}"),
        Some(target) => format!(
            "this build of the gateway does not compile for {target}: {why}; one with the feature `cross` does for x86_64 and aarch64"
        ),
        None => why,
    })
}

/// # Errors
/// This build has no compiler.
#[cfg(not(feature = "compiler"))]
pub fn compile_to_vec(_: &[u8], _: Option<&str>) -> Result<Vec<u8>, String> {
    Err("this build of the gateway has no compiler; a full build has one".to_owned())
}

/// Compiles on a blocking thread of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

impl Compiler for InProcess {
    fn compile(&self, component: Bytes, target: Option<&'static str>) -> BoxFuture<'_, Result<MachineCode, String>> {
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || compile_to_vec(&component, target)).await {
                Ok(result) => result.map(|code| MachineCode::from(code.as_slice())),
                Err(_) => Err("the compiler stopped".to_owned()),
            }
        })
    }
}

/// Compiles in a child process: `program args… [--target TARGET] < component > machine code`. Exit code 0 is success;
/// otherwise what it wrote to standard error is the reason.
#[derive(Clone, Debug)]
pub struct ChildProcess {
    /// Usually the gateway's own binary.
    pub program: PathBuf,
    /// Usually one hidden subcommand.
    pub args: Vec<OsString>,
    /// After this time the child is killed.
    pub timeout: Duration,
}

impl Compiler for ChildProcess {
    fn compile(&self, component: Bytes, target: Option<&'static str>) -> BoxFuture<'_, Result<MachineCode, String>> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.run(component, target)).await {
                Ok(result) => result,
                // Dropping the child has killed it.
                Err(_) => Err(format!("compiling took longer than {} s", self.timeout.as_secs())),
            }
        })
    }
}

impl ChildProcess {
    async fn run(&self, component: Bytes, target: Option<&str>) -> Result<MachineCode, String> {
        let cannot = |what: &str, why: std::io::Error| format!("the compiler {} {what}: {why}", self.program.display());
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.args)
            .args(target.map(|target| format!("--target={target}")))
            // Nothing in the gateway's environment concerns it, and some of it may be secret.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| cannot("cannot be started", why))?;
        let (Some(mut input), Some(output), Some(complaint)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the compiler has no pipes".to_owned());
        };
        let write = async move {
            // A child that gives up early closes its end; its own words tell more than this error.
            let _ = input.write_all(&component).await;
            let _ = input.shutdown().await;
        };
        let mut words = Vec::new();
        let read = MachineCode::from_stream(output, MAX_COMPILED);
        let mut complaint = complaint.take(MAX_COMPLAINT);
        let listen = async {
            let _ = complaint.read_to_end(&mut words).await;
            // What exceeds the bound is dropped, so that the child is not stuck on a full pipe.
            let _ = tokio::io::copy(&mut complaint.into_inner(), &mut tokio::io::sink()).await;
        };
        let ((), read, ()) = tokio::join!(write, read, listen);
        let compiled = read.map_err(|why| cannot("cannot be read from", why))?;
        if compiled.len() > MAX_COMPILED {
            return Err(format!("the machine code is larger than {} MiB", MAX_COMPILED >> 20));
        }
        let status = child.wait().await.map_err(|why| cannot("cannot be waited for", why))?;
        if !status.success() {
            let words = String::from_utf8_lossy(&words);
            let words = words.trim();
            return Err(if words.is_empty() { format!("the compiler ended with {status}") } else { words.to_owned() });
        }
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> ChildProcess {
        ChildProcess { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()], timeout }
    }

    #[tokio::test]
    async fn a_child_reads_and_writes_through_pipes() {
        let echo = shell("exec cat", Duration::from_secs(120));
        let big = Bytes::from(vec![7u8; 1 << 20]);
        assert_eq!(*echo.compile(big.clone(), None).await.expect("compiled"), *big);
    }

    #[tokio::test]
    async fn a_childs_own_words_are_the_reason() {
        let fails = shell("echo 'unexpected end' >&2; exit 3", Duration::from_secs(120));
        assert_eq!(fails.compile(Bytes::new(), None).await, Err("unexpected end".to_owned()));
        let silent = shell("exit 3", Duration::from_secs(120));
        assert!(silent.compile(Bytes::new(), None).await.is_err_and(|why| why.contains("exit status: 3")));
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_ended() {
        let hangs = shell("exec sleep 3600", Duration::from_millis(50));
        assert!(hangs.compile(Bytes::new(), None).await.is_err_and(|why| why.contains("longer than")));
    }

    #[tokio::test]
    async fn a_missing_compiler_is_named() {
        let none =
            ChildProcess { program: "/nonexistent/compiler".into(), args: vec![], timeout: Duration::from_secs(120) };
        assert!(none.compile(Bytes::new(), None).await.is_err_and(|why| why.contains("/nonexistent/compiler")));
    }
}
