//! `portcullis policy record NAME`: the decisions of a running gateway's policy, in a file for `policy replay`.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::cli::remote::{Remote, encoded};
use crate::cli::{Exit, Failure, out};

/// Between two looks at what has come.
const PACE: Duration = Duration::from_millis(500);

/// What the command line says.
pub(in crate::cli) struct Options<'o> {
    /// The policy's configured name.
    pub(in crate::cli) name: &'o str,
    /// How long.
    pub(in crate::cli) time: Duration,
    /// Which share of the logins.
    pub(in crate::cli) share: f64,
    /// Whether secrets stay.
    pub(in crate::cli) with_secrets: bool,
    /// Where to; none: standard output.
    pub(in crate::cli) file: Option<&'o Path>,
}

/// Records.
pub(in crate::cli) fn run(remote: &Remote, options: &Options<'_>) -> Result<Exit, Failure> {
    let path = format!("/api/v1/policies/{}/recording", encoded(options.name));
    let wanted = json!({
        "seconds": options.time.as_secs().max(1),
        "share": options.share,
        "with_secrets": options.with_secrets,
    });
    // The file first: a recording that cannot be written should not begin.
    let mut sink: Box<dyn Write> = match options.file {
        Some(file) => Box::new(std::io::BufWriter::new(private(file).map_err(|error| {
            Failure::new(format!("{} cannot be written: {}", file.display(), crate::plain(&error)), Exit::Failure)
        })?)),
        None => Box::new(std::io::stdout()),
    };
    let begun = remote.must(Method::POST, &path, Some(&wanted))?;
    let head = json!({
        "portcullis-recording": 1,
        "policy": begun["policy"],
        "digest": begun["digest"],
        "masked": !options.with_secrets,
        "share": options.share,
    });
    writeln!(sink, "{head}")?;
    let mut count = 0_u64;
    let dropped = loop {
        let came = remote.must(Method::GET, &path, None)?;
        let decisions = came["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        for decision in decisions {
            writeln!(sink, "{decision}")?;
            count += 1;
        }
        sink.flush()?;
        if came["ended"] == Value::Bool(true) {
            break came["dropped"].as_u64().unwrap_or(0);
        }
        if decisions.is_empty() {
            std::thread::sleep(PACE);
        }
    };
    out::error(format_args!("{count} logins recorded, {dropped} dropped for want of room"));
    Ok(Exit::Success)
}

/// A file that only its owner reads: masked or not, it says who logs in.
fn private(file: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}
