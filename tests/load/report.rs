//! The tables, in Markdown: what was measured, and what it was to be.

use std::fmt::Write;

use crate::broker::{Front, Subject};
use crate::growth::{Place, Series};
use crate::results::Results;
use crate::suite::{Base, Figure, Row, Target, Unit};

/// Rows that make a column, if others have more.
const FEWEST: usize = 5;

/// All brokers beside each other.
pub(crate) fn comparison(results: &Results, rows: &[Row]) -> String {
    let subjects = results.subjects();
    // Fronts that only some rows have would make mostly empty columns.
    let measured = |subject: &str| rows.iter().filter(|row| has(results, row, subject)).count();
    let most = subjects.iter().map(|subject| measured(subject)).max().unwrap_or(0);
    let wide: Vec<&str> =
        subjects.iter().copied().filter(|subject| measured(subject) >= most.clamp(1, FEWEST)).collect();
    let mut text = String::from("| work | figure |");
    for subject in &wide {
        let _ = write!(text, " {subject} |");
    }
    text += "\n| --- | --- |";
    text += &" ---: |".repeat(wide.len());
    text.push('\n');
    for row in rows.iter().filter(|row| wide.iter().any(|subject| has(results, row, subject))) {
        let _ = write!(text, "| {} | {} |", row.name, row.unit.words());
        for subject in &wide {
            let cost = results.median(row.key, subject, Figure::Cost);
            let rate = results.median_rate(row.key, subject);
            let cell = match (cost, rate) {
                (Some(cost), Some(rate)) if shows_rate(row) => format!("{} ({}/s)", number(cost), short(rate)),
                (Some(cost), _) => number(cost),
                _ => "–".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
        if row.key == "rate" || row.key == "beside" {
            let _ = write!(text, "| – latency | p50 / p99 µs |");
            for subject in &wide {
                let time = |figure| results.median(row.key, subject, figure).map_or_else(|| "–".into(), number);
                let _ = write!(text, " {} / {} |", time(Figure::P50), time(Figure::P99));
            }
            text.push('\n');
        }
    }
    text += &fronts(results, rows, &subjects, &wide);
    text
}

fn has(results: &Results, row: &Row, subject: &str) -> bool {
    results.median(row.key, subject, Figure::Cost).is_some()
}

fn shows_rate(row: &Row) -> bool {
    row.unit != Unit::Octets && !matches!(row.key, "rate" | "beside")
}

/// What connections cost with credentials that have no column of their own.
fn fronts(results: &Results, rows: &[Row], subjects: &[&str], wide: &[&str]) -> String {
    let mut text = String::new();
    for subject in subjects.iter().filter(|subject| !wide.contains(subject)) {
        for row in rows {
            if let Some(cost) = results.median(row.key, subject, Figure::Cost) {
                let _ = writeln!(text, "| {} | {} | {subject}: {} |", row.name, row.unit.words(), number(cost));
            }
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\n| work | figure | with another credential |\n| --- | --- | ---: |\n{text}")
    }
}

/// Each target, and whether it was met. False: one was missed.
pub(crate) fn targets(results: &Results, rows: &[Row]) -> (String, bool) {
    let mut text = String::from("| work | measured | wanted | |\n| --- | ---: | ---: | --- |\n");
    let mut met = true;
    for row in rows {
        for target in &row.targets {
            let Some((measured, of)) = measure(results, row, target) else { continue };
            let (good, sign) = match target.figure {
                Figure::Rate => (measured >= target.bound, "≥"),
                _ => (measured <= target.bound, "≤"),
            };
            met &= good;
            let figure = match target.figure {
                Figure::Cost => row.unit.words(),
                Figure::Rate => "a second",
                Figure::P50 => "p50",
                Figure::P99 => "p99 µs",
            };
            let unit = if matches!(target.of, Base::Absolute) { "" } else { "×" };
            let _ = writeln!(
                text,
                "| {}, {figure}{of} | {}{unit} | {sign} {}{unit} | {} |",
                row.name,
                number(measured),
                number(target.bound),
                if good { "met" } else { "**missed**" }
            );
        }
    }
    (text, met)
}

/// Whose figures are judged: `jwt`, and of connections `device`, since to check one signature takes longer than all that
/// other brokers do for a connection.
fn judged(row: &Row) -> String {
    match row.unit {
        _ if row.key == "ask" => Subject::Gateway(Front::Ask).name(),
        Unit::Connection => Subject::Gateway(Front::Device).name(),
        Unit::Message | Unit::Octets => Subject::gateway().name(),
    }
}

fn measure(results: &Results, row: &Row, target: &Target) -> Option<(f64, String)> {
    let ours = judged(row);
    let anonymous = Subject::Gateway(Front::Anonymous).name();
    let ratio = |to| results.ratio((row.key, &ours), to, target.figure);
    Some(match target.of {
        Base::Broker(name) => (ratio((row.key, name))?, format!(" against {name}")),
        Base::Row(key) => (ratio((key, &ours))?, format!(" against our own `{key}`")),
        Base::Anonymous => (ratio((row.key, &anonymous))?, " against `anonymous`".to_owned()),
        Base::Absolute => (results.median(row.key, &ours, target.figure)?, String::new()),
    })
}

/// The curves as numbers.
pub(crate) fn growth(results: &Results, all: &[Series]) -> String {
    let mut text = String::new();
    for series in all {
        let points = points(results, series);
        if points.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n![{}]({}.svg)\n", series.key, series.key);
        let _ =
            writeln!(text, "| {} |{}", series.axis, points.iter().map(|(x, _)| format!(" {x} |")).collect::<String>());
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(points.len()));
        let costs: String = points.iter().map(|(_, cost)| format!(" {} |", number(*cost))).collect();
        let _ = writeln!(text, "| {} |{costs}", series.cost);
    }
    text
}

/// The points of a curve that were measured.
pub(crate) fn points(results: &Results, series: &Series) -> Vec<(Place, f64)> {
    let cost = |x: Place, subject: &str| results.median(&series.name(x), subject, Figure::Cost);
    series.points.iter().filter_map(|point| Some((point.x, cost(point.x, &point.subject.name())?))).collect()
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        zero if zero < 0.001 => format!("{value:.4}"),
        small if small < 1.0 => format!("{value:.3}"),
        middle if middle < 10.0 => format!("{value:.2}"),
        large if large < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}

/// Thousands as `k`, millions as `M`.
fn short(value: f64) -> String {
    match value {
        small if small < 1e3 => format!("{small:.0}"),
        middle if middle < 1e6 => format!("{:.0}k", middle / 1e3),
        large => format!("{:.1}M", large / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::suite;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let told = [0.1234, 1.236, 12.34, 123.4, 1234.0, 1_234_567.0].map(number);
        assert_eq!(told, ["0.123", "1.24", "12.3", "123", "1,234", "1,234,567"]);
        assert_eq!([999.0, 12_345.0, 2_500_000.0].map(short), ["999", "12k", "2.5M"]);
    }

    #[test]
    fn a_missed_target_is_told_and_ratios_are_of_one_round() {
        let mut results = Results::default();
        let ours = Subject::gateway().name();
        // The second round is disturbed: both cost ten times as much.
        for (round, factor) in [1.0, 10.0, 1.0].into_iter().enumerate() {
            for (subject, cost) in [(ours.as_str(), 0.2), ("rumqttd", 1.0)] {
                results.add("pairs", subject, round, Outcome { cost: cost * factor, ..Outcome::default() });
            }
        }
        let (text, met) = targets(&results, &suite::rows(1));
        assert!(
            text.contains("| QoS 0, 50 pairs, CPU µs a message against rumqttd | 0.200× | ≤ 0.090× | **missed** |"),
            "{text}"
        );
        assert!(!met);
    }
}
