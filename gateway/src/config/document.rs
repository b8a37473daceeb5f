//! A file of TOML on its way into what it means: read strictly, with all that is wrong in one report.

use std::path::Path;

use toml::de::DeTable;

use super::problem::{Problem, Problems, Report};
use super::reader::Section;

/// Reads text as if it stood in `file`. `read` makes something of the whole and says what is wrong through the section.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read<T>(
    file: &Path,
    source: &str,
    title: &'static str,
    read: impl FnOnce(Section<'_>) -> T,
) -> Result<T, Report> {
    let problems = Problems::default();
    let (document, errors) = DeTable::parse_recoverable(source);
    for error in errors {
        problems.add(Problem::new(error.span().unwrap_or(0..0), format!("this is not TOML: {}", error.message())));
    }
    // What a broken line was meant to say is anybody's guess: nothing is made of the rest.
    if !problems.is_empty() {
        return Err(problems.into_report(file, source));
    }
    let made = read(Section::new(title, 0..0, document.get_ref(), &problems));
    if problems.is_empty() { Ok(made) } else { Err(problems.into_report(file, source)) }
}
