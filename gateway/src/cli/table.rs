//! Columns for people.

use super::out;

/// Prints rows with aligned columns. Nothing is cut: whoever wants less asks for JSON.
pub(super) fn print<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        out::line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
