//! Everything that was measured, in one file: tables and plots can be drawn again without measuring again.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::outcome::{Outcome, median};
use crate::suite::Figure;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The row, or the series with its place: `payload/64`.
    pub(crate) what: String,
    pub(crate) subject: String,
    pub(crate) round: usize,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    /// When and on what.
    pub(crate) conditions: String,
    pub(crate) runs: Vec<Run>,
}

impl Results {
    pub(crate) fn add(&mut self, what: &str, subject: &str, round: usize, outcome: Outcome) {
        self.runs.push(Run { what: what.to_owned(), subject: subject.to_owned(), round, outcome });
    }

    fn of<'a>(&'a self, what: &'a str, subject: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.what == what && run.subject == subject)
    }

    /// The median of a figure.
    pub(crate) fn median(&self, what: &str, subject: &str, figure: Figure) -> Option<f64> {
        median(self.of(what, subject).filter_map(|run| value(&run.outcome, figure)))
    }

    pub(crate) fn median_rate(&self, what: &str, subject: &str) -> Option<f64> {
        median(self.of(what, subject).map(|run| run.outcome.rate))
    }

    /// The median of the ratios of two figures, round by round: what disturbs a round disturbs both.
    pub(crate) fn ratio(&self, of: (&str, &str), to: (&str, &str), figure: Figure) -> Option<f64> {
        let ratios = self.of(of.0, of.1).filter_map(|run| {
            let other = self.of(to.0, to.1).find(|other| other.round == run.round)?;
            Some(value(&run.outcome, figure)? / value(&other.outcome, figure)?)
        });
        median(ratios)
    }

    /// Who was measured, in the order in which they appear.
    pub(crate) fn subjects(&self) -> Vec<&str> {
        let mut subjects = Vec::new();
        for run in &self.runs {
            if !subjects.contains(&run.subject.as_str()) {
                subjects.push(&run.subject);
            }
        }
        subjects
    }

    /// Adds what another file has, in place of what is here of the same things.
    pub(crate) fn replace_with(&mut self, newer: Self) {
        let is_newer = |run: &Run| newer.runs.iter().any(|new| new.what == run.what && new.subject == run.subject);
        self.runs.retain(|run| !is_newer(run));
        self.runs.extend(newer.runs);
        self.conditions = newer.conditions;
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let run = |run: &Run| {
            let Run { what, subject, round, outcome } = run;
            json!({ "what": what, "subject": subject, "round": round, "figures": outcome.to_json() })
        };
        let mut text = format!("{{\"conditions\": {}, \"runs\": [\n", json!(self.conditions));
        // A run a line, so that differences can be read.
        text += &self.runs.iter().map(|one| run(one).to_string()).collect::<Vec<_>>().join(",\n");
        text += "\n]}\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let value: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let run = |value: &Value| {
            Some(Run {
                what: value["what"].as_str()?.to_owned(),
                subject: value["subject"].as_str()?.to_owned(),
                round: value["round"].as_u64()? as usize,
                outcome: Outcome::from_json(&value["figures"])?,
            })
        };
        let runs: Option<Vec<Run>> = value["runs"].as_array().and_then(|runs| runs.iter().map(run).collect());
        let conditions = value["conditions"].as_str().unwrap_or_default().to_owned();
        Ok(Self { conditions, runs: runs.context("no results of this tool")? })
    }
}

fn value(outcome: &Outcome, figure: Figure) -> Option<f64> {
    match figure {
        Figure::Cost => Some(outcome.cost),
        Figure::Rate => Some(outcome.rate),
        Figure::P50 => outcome.latency.map(|times| times[0]),
        Figure::P99 => outcome.latency.map(|times| times[1]),
    }
}
