//! `[audit]`: where every decision is written.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::reader::{Located, Section};
use super::relative;
use super::units::Size;
use crate::audit::Turnover;

/// What every topic of the gateway's own begins with: clients may not publish there, so that nobody forges an entry.
const OWN: &str = "$SYS/";
/// Less would be turned over at every other line.
const LEAST: u64 = 64 << 10;

/// `[audit]`. Nothing named: decisions are kept in memory only, for `portcullis why`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    /// A file of JSON lines.
    pub(crate) file: Option<Located<PathBuf>>,
    /// When it is turned over.
    pub(crate) turnover: Turnover,
    /// JSON lines on standard output.
    pub(crate) stdout: bool,
    /// A message each on this topic.
    pub(crate) topic: Option<Located<String>>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, turnover: Turnover { size: 64 << 20, files: 5 }, stdout: false, topic: None }
    }
}

impl Audit {
    pub(super) fn read(mut section: Section<'_>, base: &Path) -> Self {
        let default = Self::default();
        let size = section.optional::<Located<Size>>("max-size");
        let files = section.optional::<Located<u16>>("max-files");
        let audit = Self {
            file: section.optional("file").map(|file| relative(file, base)),
            turnover: Turnover {
                size: size.as_ref().map_or(default.turnover.size, |size| size.0),
                files: files.as_ref().map_or(default.turnover.files, |files| files.value),
            },
            stdout: section.optional("stdout").unwrap_or_default(),
            topic: section.optional("topic"),
        };
        let problems = section.problems();
        if let Some(size) = size.as_ref().filter(|size| size.0 < LEAST) {
            problems.add(Problem::new(size.span.clone(), "a file of the audit has at least \"64KiB\""));
        }
        let unused = size.map(|size| size.span).or(files.map(|files| files.span));
        if let Some(span) = unused.filter(|_| audit.file.is_none() && !section.is_wrong("file")) {
            problems.add(Problem::new(span, "this says how a file is turned over, and [audit] names no `file`"));
        }
        if let Some(topic) = &audit.topic
            && (!topic.starts_with(OWN) || portcullis_mqtt::valid_topic_name(topic).is_err())
        {
            let message = format!("{:?} is not a topic of the gateway's own", topic.value);
            let help = "write one that begins with \"$SYS/\" and has no wildcards: clients cannot publish there";
            problems.add(Problem::new(topic.span.clone(), message).help(help));
        }
        section.finish();
        audit
    }
}
