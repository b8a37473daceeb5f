//! Changes of the directory that commands make while no gateway runs: noted beside the database, and told to the audit by
//! the gateway that starts next, with the time at which they were made.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_identity::{Change, Directory, Subscription};

use super::{Audit, Decision};

/// In whose name they stand.
const BY: &str = "the command line, while no gateway ran";

fn file(data: &Path) -> PathBuf {
    data.join("audit.pending")
}

/// Notes what is changed from now on, for as long as the subscription lives. That a note cannot be written is said, and the
/// change is made all the same: a disk that is full must not keep a lost key alive.
pub(crate) fn note(
    directory: &Directory,
    data: &Path,
    cannot: impl Fn(String) + Send + Sync + 'static,
) -> Subscription {
    let file = file(data);
    directory.subscribe(move |change| {
        if let Some(decision) = decision(change)
            && let Err(error) = append(&file, &decision)
        {
            let why = crate::plain(&error);
            cannot(format!("the audit will not have this change: {} cannot be written: {why}", file.display()));
        }
    })
}

fn decision(change: &Change) -> Option<Decision> {
    Audit::of_change(change).map(|decision| decision.done_by(BY))
}

fn append(file: &Path, decision: &Decision) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    file.write_all(format!("{}\n", decision.line()).as_bytes())?;
    file.sync_all()
}

/// Tells the audit what was noted, and forgets it. A crash in between tells it once more.
pub(crate) fn take_up(audit: &Audit, data: &Path) {
    let file = file(data);
    let open = match OpenOptions::new().read(true).open(&file) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return tracing::warn!("{} cannot be read: {}", file.display(), crate::plain(&error)),
    };
    // Half a line is the end of what a crash has left.
    let lines = io::BufReader::new(open).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str::<Decision>(&line).ok()).for_each(|decision| audit.record(decision));
    if let Err(error) = std::fs::remove_file(&file) {
        tracing::warn!("{} cannot be removed: {}", file.display(), crate::plain(&error));
    }
}
