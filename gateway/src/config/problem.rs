//! What is wrong with a configuration file, and how it is shown: the line, a caret under the exact place, what was
//! expected, and the mend. Problems are gathered, so that one run shows all of them.
//!
//! Knows nothing of what the keys mean.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Octets of the file, from the first to behind the last.
pub(crate) type Span = Range<usize>;

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    message: String,
    span: Span,
    label: String,
    help: Option<String>,
}

impl Problem {
    /// A problem at a place. `message` is one sentence without a full stop.
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, label: String::new(), help: None }
    }

    /// What to write beside the caret, such as what was expected.
    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// How to mend it.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Gathers problems while a file is read. Shared by the readers of all sections, hence the cell.
#[derive(Debug, Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds one.
    pub(crate) fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// Whether nothing was wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// All of them, in the order of the file.
    pub(crate) fn into_report(self, file: &Path, source: &str) -> Report {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|p| (p.span.start, p.span.end));
        Report { file: file.to_owned(), source: source.to_owned(), problems, unreadable: None }
    }
}

/// Everything that is wrong with one file. Its `Display` is what the terminal shows.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    file: PathBuf,
    source: String,
    problems: Vec<Problem>,
    unreadable: Option<String>,
}

impl Report {
    /// The file could not be read at all.
    pub(crate) fn unreadable(file: &Path, why: impl Into<String>) -> Self {
        let unreadable = Some(why.into());
        Self { file: file.to_owned(), source: String::new(), problems: Vec::new(), unreadable }
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unreadable {
            return write!(f, "error: {} cannot be read: {why}", self.file.display());
        }
        for problem in &self.problems {
            self.show(problem, f)?;
            writeln!(f)?;
        }
        let count = self.problems.len();
        write!(f, "{count} problem{} in {}", if count == 1 { "" } else { "s" }, self.file.display())
    }
}

impl Report {
    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place::of(&self.source, &problem.span);
        let number = place.number.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "error: {}", problem.message)?;
        writeln!(f, "{gutter}--> {}:{}:{}", self.file.display(), place.number, place.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", place.line)?;
        write!(f, "{gutter} | {}{}", place.indent, "^".repeat(place.width))?;
        if !problem.label.is_empty() {
            write!(f, " {}", problem.label)?;
        }
        writeln!(f)?;
        if let Some(help) = &problem.help {
            writeln!(f, "{gutter} = {help}")?;
        }
        Ok(())
    }
}

/// The line in which a span begins; the first is 1.
pub(crate) fn line_of(source: &str, span: &Span) -> usize {
    Place::of(source, span).number
}

/// Where a span lies, for people. Lines and columns count from 1, columns in characters.
struct Place<'a> {
    number: usize,
    column: usize,
    line: &'a str,
    /// What stands before the caret: blanks, with the tabs of the line kept so that the caret stays under its place.
    indent: String,
    width: usize,
}

impl<'a> Place<'a> {
    fn of(source: &'a str, span: &Span) -> Self {
        let floor = |mut at: usize| {
            at = at.min(source.len());
            while !source.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (floor(span.start), floor(span.end.max(span.start)));
        let begin = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let line = source[begin..line_end].trim_end_matches('\r');
        let before = &source[begin..start];
        Self {
            number: source[..start].matches('\n').count() + 1,
            column: before.chars().count() + 1,
            line,
            indent: before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect(),
            // A span over several lines is marked on its first.
            width: source[start..end.min(line_end)].trim_end().chars().count().max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, span: Span) -> String {
        let problems = Problems::default();
        problems.add(Problem::new(span, "no").label("here"));
        problems.into_report(Path::new("f"), source).to_string()
    }

    #[test]
    fn the_caret_stands_under_the_span() {
        assert_eq!(
            shown("a = 1\nbé = 22\n", 12..14),
            "error: no\n --> f:2:6\n  |\n2 | bé = 22\n  |      ^^ here\n\n1 problem in f"
        );
    }

    #[test]
    fn no_span_panics_wherever_it_points() {
        let source = "a = \"é\"\r\n\tb";
        for start in 0..source.len() + 3 {
            for end in 0..source.len() + 3 {
                let _ = shown(source, Span { start, end });
            }
        }
        let _ = shown("", 0..0);
    }
}
