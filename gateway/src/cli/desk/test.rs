//! `portcullis policy test FILE CASES`: which cases hold, and what differs in those that do not.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::{Value, json};

use super::cases::{Case, Cases};
use super::play::{Played, play};
use super::subject::Subject;
use crate::cli::{Exit, Failure, out};

/// What the command line says.
pub(in crate::cli) struct Options<'o> {
    /// `builtin:NAME` or a file.
    pub(in crate::cli) policy: &'o str,
    /// The cases.
    pub(in crate::cli) cases: &'o Path,
    /// Only those whose name contains this.
    pub(in crate::cli) filter: Option<&'o str>,
    /// No instance serves two calls.
    pub(in crate::cli) fresh: bool,
    /// Write JSON.
    pub(in crate::cli) json: bool,
}

/// Plays the cases.
pub(in crate::cli) fn run(options: &Options<'_>) -> Result<Exit, Failure> {
    let subject = Subject::read(options.policy)?;
    let cases = load(options.cases, options.filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let paint = Paint(!options.json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let (mut failed, mut all) = (0, Vec::new());
    for case in &cases {
        let played = runtime.block_on(play(&subject, case, options.fresh)).map_err(|why| {
            let place = format!("{}:{}", options.cases.display(), case.line);
            Failure::new(format!("{place}: the case {:?} cannot be played: {why}", case.name), Exit::Config)
        })?;
        failed += usize::from(!played.failures.is_empty());
        if options.json {
            all.push(document(case, &played));
        } else {
            show(case, &played, options.cases, &paint);
        }
    }
    if options.json {
        out::line(Value::from(all));
    } else {
        let count = cases.len();
        let good = count - failed;
        out::line(format_args!("{count} case{}: {good} hold, {failed} do not", if count == 1 { "" } else { "s" }));
    }
    Ok(if failed == 0 { Exit::Success } else { Exit::Failure })
}

/// The cases of a file, or those of them whose name contains the filter.
pub(super) fn load(file: &Path, filter: Option<&str>) -> Result<Vec<Case>, Failure> {
    let cases = Cases::load(file).map_err(|report| Failure { words: report.to_string(), exit: Exit::Config })?;
    let mut cases = cases.cases;
    if let Some(part) = filter {
        cases.retain(|case| case.name.contains(part));
        if cases.is_empty() {
            return Err(Failure::new(format!("no case of {} is called {part:?}", file.display()), Exit::NotFound));
        }
    }
    Ok(cases)
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn good(&self, text: &str) -> String {
        self.with("32", text)
    }
    fn bad(&self, text: &str) -> String {
        self.with("31", text)
    }
    fn faint(&self, text: &str) -> String {
        self.with("2", text)
    }
}

fn show(case: &Case, played: &Played, file: &Path, paint: &Paint) {
    let took = paint.faint(&format!("{:.1} ms", played.took.as_secs_f64() * 1000.0));
    if played.failures.is_empty() {
        out::line(format_args!("{}    {}  {took}", paint.good("ok"), case.name));
        return;
    }
    out::line(format_args!("{}  {}  {took}", paint.bad("FAIL"), case.name));
    for failed in &played.failures {
        out::line(format_args!("      {}", paint.faint(&format!("{}:{}", file.display(), failed.line))));
        for difference in &failed.differences {
            out::line(format_args!("        {}", difference.at));
            out::line(format_args!("          expected  {}", paint.good(&difference.expected)));
            out::line(format_args!("          got       {}", paint.bad(&difference.got)));
        }
        if failed.got.as_object().is_some_and(|got| got.contains_key("verdict")) {
            out::line("        the whole answer");
            let text = serde_json::to_string_pretty(&failed.got).unwrap_or_default();
            text.lines().for_each(|line| out::line(format_args!("          {line}")));
        }
    }
    for request in &played.unanswered {
        out::line(format_args!("        the case has no answer to {request}: write one as [[world.http]]"));
    }
    if !played.log.is_empty() {
        out::line("        its log");
        played.log.iter().for_each(|line| out::line(format_args!("          {line}")));
    }
}

fn document(case: &Case, played: &Played) -> Value {
    let failures: Vec<Value> = played
        .failures
        .iter()
        .map(|failed| {
            let differences: Vec<Value> = failed
                .differences
                .iter()
                .map(|d| json!({ "at": d.at, "expected": d.expected, "got": d.got }))
                .collect();
            json!({ "line": failed.line, "differences": differences, "answer": failed.got })
        })
        .collect();
    json!({
        "name": case.name,
        "line": case.line,
        "holds": played.failures.is_empty(),
        "microseconds": u64::try_from(played.took.as_micros()).unwrap_or(u64::MAX),
        "failures": failures,
        "unanswered": played.unanswered,
        "log": played.log,
    })
}
