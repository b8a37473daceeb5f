//! WASI 0.2 in its empty form, for language runtimes that import it: no files, no sockets, no environment, no
//! arguments, nothing on standard input; what is written to standard output and error goes to the log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxBuilder};

use crate::bindings::portcullis::policy::log::Level;
use crate::capability::Capabilities;
use crate::outside::{Outside, Randomness};
use crate::trap::Notes;

/// The most octets that wait for the end of their line.
const LINE: usize = 2048;

/// The context of one instance.
pub(crate) fn empty(with: &Arc<Capabilities>, notes: &Arc<Notes>) -> WasiCtx {
    let to_log = |level| Log { with: Arc::clone(with), notes: Arc::clone(notes), level, line: Vec::new() };
    let mut wasi = WasiCtxBuilder::new();
    if with.shared.outside.clock.is_some() {
        wasi.wall_clock(Played(with.shared.outside.clone()));
    }
    if let Randomness::Seeded(_) = with.shared.outside.randomness {
        // What a language's runtime seeds its own generator with; a failure of ours leaves zeroes.
        let mut octets = [0; 48];
        let _ = with.shared.outside.randomness.fill(&mut octets);
        let (octets, seed) = octets.split_at(32);
        let seed = seed.iter().fold(0, |seed, octet| seed << 8 | u128::from(*octet));
        wasi.secure_random(Deterministic::new(octets.to_vec()))
            .insecure_random(Deterministic::new(octets.to_vec()))
            .insecure_random_seed(seed);
    }
    wasi.stdout(to_log(Level::Info))
        .stderr(to_log(Level::Warn))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(4096)
        .build()
}

/// The time of day that a case says.
struct Played(Outside);

impl HostWallClock for Played {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0.since_epoch()
    }
}

/// A stream whose lines go to the log.
#[derive(Clone)]
struct Log {
    with: Arc<Capabilities>,
    notes: Arc<Notes>,
    level: Level,
    line: Vec<u8>,
}

impl Log {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || self.line.len() >= LINE {
                self.end_line();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let line = String::from_utf8_lossy(&self.line);
            if matches!(self.level, Level::Warn) {
                self.notes.says(&line);
            }
            self.with.log.write(self.level, &line);
            self.line.clear();
        }
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Log {
    async fn ready(&mut self) {}
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.end_line();
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE)
    }
}

impl AsyncWrite for Log {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_line();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
