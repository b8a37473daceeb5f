//! A file of cases: which policy, in which world, asked what, and what is expected of it.
//!
//! A case is a list of steps; the first stands in the case itself, the others in `[[case.then]]`. Everything that is not
//! known is an error with its line: a case that tests nothing by mistake is worse than none.

mod ask;
mod client;
mod deed;
mod expect;

use std::path::Path;

use serde_json::{Map, Value};

pub(super) use self::ask::{Ask, Connect, Publish, Publisher, Request};
pub(super) use self::client::{Certificate, From};
pub(super) use self::deed::Deed;
pub(super) use self::expect::Expected;
use super::read::{Text, members, object};
use super::scene::Scene;
use crate::config::problem::{Problem, Report, line_of};
use crate::config::reader::{Located, Section};
use crate::config::{Allow, PolicyLimits, document};

/// A file of cases.
pub(super) struct Cases {
    /// In the order of the file.
    pub(super) cases: Vec<Case>,
}

/// One case.
pub(super) struct Case {
    /// What it says of the policy.
    pub(super) name: String,
    /// Where it begins.
    pub(super) line: usize,
    /// The policy's `config`.
    pub(super) config: Map<String, Value>,
    /// What it may use. None: what a bundled one needs.
    pub(super) allow: Option<Allow>,
    /// Its bounds.
    pub(super) limits: PolicyLimits,
    /// Where it is asked.
    pub(super) scene: Scene,
    /// What happens, in order. Empty: no more than that the policy is loaded.
    pub(super) steps: Vec<Step>,
    /// What must be so in the end.
    pub(super) after: After,
}

/// One question, and what is expected of the answer.
pub(super) struct Step {
    /// Where it stands.
    pub(super) line: usize,
    /// The question.
    pub(super) ask: Option<Ask>,
    /// Where the client is.
    pub(super) from: From,
    /// What is expected of the answer.
    pub(super) expected: Expected,
}

/// What must be so when a case is over.
#[derive(Default)]
pub(super) struct After {
    /// Where it stands.
    pub(super) line: usize,
    /// Stored keys and their values.
    pub(super) store: Vec<(String, Text)>,
    /// Keys that must not be stored.
    pub(super) not_stored: Vec<String>,
    /// Requests to other servers, all of them, in order.
    pub(super) requests: Option<Vec<String>>,
    /// Texts that lines of the log contain.
    pub(super) log: Vec<String>,
    /// Entries of the directory, in the words of `portcullis directory export`.
    pub(super) directory: Map<String, Value>,
}

impl Cases {
    /// Reads a file.
    pub(super) fn load(file: &Path) -> Result<Self, Report> {
        let source = crate::files::read_text(file).map_err(|error| Report::unreadable(file, crate::plain(&error)))?;
        Self::parse(file, &source)
    }

    /// Reads text as if it stood in `file`.
    pub(super) fn parse(file: &Path, source: &str) -> Result<Self, Report> {
        document::read(file, source, "the cases", |root| {
            Reader { base: file.parent().unwrap_or(Path::new("")), source }.cases(root)
        })
    }
}

/// Reads with what every part of a file needs.
struct Reader<'s> {
    /// Paths are relative to this.
    base: &'s Path,
    source: &'s str,
}

impl Reader<'_> {
    fn line(&self, section: &Section<'_>) -> usize {
        line_of(self.source, &section.span())
    }

    fn cases(&self, mut root: Section<'_>) -> Cases {
        let config = object(&mut root, "config");
        let allow = root.section("allow", "allow").map(Allow::read);
        let limits = root.section("limits", "limits of a policy").map(PolicyLimits::read);
        let scene = root.section("world", "[world]").map(|section| Scene::read(section, self.base)).unwrap_or_default();
        let mut cases = Vec::new();
        for mut section in root.sections("case", "[[case]]") {
            let name: Option<Located<String>> = section.required("name", "what it says of the policy");
            let mut whole = config.clone();
            whole.extend(object(&mut section, "config"));
            let own = section.section("world", "[case.world]").map(|section| Scene::read(section, self.base));
            let own_allow = section.section("allow", "allow").map(Allow::read);
            let own_limits = section.section("limits", "limits of a policy").map(PolicyLimits::read);
            let then = section.sections("then", "[[case.then]]");
            let after = section.section("after", "[case.after]").map(|section| self.after(section)).unwrap_or_default();
            let line = self.line(&section);
            let mut steps = vec![self.step(section)];
            steps.extend(then.into_iter().map(|section| self.step(section)));
            if let Some(name) = name {
                cases.push(Case {
                    name: name.value,
                    line,
                    config: whole,
                    allow: own_allow.or_else(|| allow.clone()),
                    limits: own_limits.or_else(|| limits.clone()).unwrap_or_default(),
                    scene: own.unwrap_or_default().over(&scene),
                    steps,
                    after,
                });
            }
        }
        if cases.is_empty() && root.problems().is_empty() {
            root.problems().add(Problem::new(0..0, "there is no [[case]]"));
        }
        root.finish();
        Cases { cases }
    }

    fn step(&self, mut section: Section<'_>) -> Step {
        let line = self.line(&section);
        let ask = Ask::read(&mut section);
        let http = ask.as_ref().is_some_and(Ask::is_http);
        let from = section.section("from", "from");
        let from = from.map_or_else(|| From::anywhere(http), |from| From::read(from, self.base, http));
        let expected = section.section("expect", "expect").map(Expected::read).unwrap_or_default();
        section.finish();
        Step { line, ask, from, expected }
    }

    fn after(&self, mut section: Section<'_>) -> After {
        let after = After {
            line: self.line(&section),
            store: members(&mut section, "store"),
            not_stored: section.optional("not-stored").unwrap_or_default(),
            requests: section.optional("requests"),
            log: section.optional("log").unwrap_or_default(),
            directory: object(&mut section, "directory"),
        };
        section.finish();
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_shown_with_its_line() {
        let source =
            "[[case]]\nname = \"a\"\nconnect = { client = \"x\" }\nexpect = { verdict = \"alow\", subjct = \"x\" }\n";
        let report = Cases::parse(Path::new("cases.toml"), source).err().unwrap().to_string();
        for said in [
            "cases.toml:3:13",
            "`client` is not a key of connect",
            "did you mean \"allow\"?",
            "did you mean `subject`?",
        ] {
            assert!(report.contains(said), "{said} in\n{report}");
        }
    }
}
