//! Notices changed files: the configuration, certificates and their keys, policies.
//!
//! Directories are watched and not files, since careful programs write aside and rename: the file that was watched would
//! be gone then.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecursiveMode, Watcher};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::assemble::Gateway;
use crate::config::{Config, Source};
use crate::supply;

/// Nothing may have changed for so long before files are read: a certificate and its key are two files.
const QUIET: Duration = Duration::from_millis(300);
/// However busy the directory, files are read after so long.
const LATEST: Duration = Duration::from_secs(3);

/// Reloads whenever a file changes, for as long as it is polled. `begun` is sent, or dropped, as soon as no further
/// change is missed.
pub(crate) async fn run(gateway: Arc<Gateway>, begun: oneshot::Sender<()>) {
    let mut begun = Some(begun);
    let wanted = Arc::new(ArcSwap::from_pointee(files(&gateway.file, &gateway.config.load())));
    let (sender, mut changes) = mpsc::channel(1);
    let concerned = Arc::clone(&wanted);
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let ours = match &event {
            Ok(event) => is_change(event.kind) && event.paths.iter().any(|path| concerns(path, &concerned.load())),
            // Events were lost: look.
            Err(_) => true,
        };
        if ours {
            // One that waits already says the same.
            let _ = sender.try_send(());
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!("changed files are not noticed ({error}); reload with SIGHUP or `portcullis policy reload`");
            return;
        }
    };
    let mut watched = BTreeSet::new();
    loop {
        let files = files(&gateway.file, &gateway.config.load());
        let directories: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        wanted.store(Arc::new(files));
        for gone in watched.difference(&directories) {
            // It may have been removed: then nothing is watched any more, which is what is wanted.
            let _ = watcher.unwatch(gone);
        }
        for new in directories.difference(&watched) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!("changes in {} are not noticed: {error}", new.display());
            }
        }
        watched = directories;
        if let Some(begun) = begun.take() {
            let _ = begun.send(());
        }
        if changes.recv().await.is_none() {
            return;
        }
        settle(&mut changes).await;
        gateway.reload_and_log("a file has changed").await;
    }
}

/// Waits until it is quiet.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + LATEST;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        if timeout_at(quiet, changes.recv()).await.is_err() {
            return;
        }
    }
}

/// Every file that a reload reads.
fn files(file: &Path, config: &Config) -> BTreeSet<PathBuf> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let tls = tls.flat_map(|tls| [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca).chain(&tls.client_crl));
    let policies = config.policies.iter().flat_map(|policy| match &policy.source.value {
        // A signature may come after what it signs.
        Source::File(path) => vec![path.clone(), supply::beside(path)],
        Source::Builtin(_) | Source::Oci(_) => Vec::new(),
    });
    let signatures =
        config.policies.iter().filter_map(|policy| policy.signature.as_ref().map(|path| path.value.clone()));
    let all =
        std::iter::once(file.to_owned()).chain(tls.map(|path| path.value.clone())).chain(policies).chain(signatures);
    // Events name files in full, whatever the name was under which their directory is watched.
    all.map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
}

/// Whether something was written, not only read: a reload reads, and must not cause another.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// Whether the file is one of ours, or what a directory of symbolic links is switched by (Kubernetes: `..data`).
fn concerns(path: &Path, wanted: &BTreeSet<PathBuf>) -> bool {
    wanted.contains(path) || path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
}
