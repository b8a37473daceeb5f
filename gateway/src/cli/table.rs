//! Columns for people.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::out;

/// Seconds since 1970 as people write a time.
pub(super) fn time(at: &Value) -> String {
    let time = at.as_i64().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "-".to_owned())
}

/// Prints rows with aligned columns. Nothing is cut: whoever wants less asks for JSON.
pub(super) fn print<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        out::line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
