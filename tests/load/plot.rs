//! Curves as SVG, for a page that is light or dark: cost over what grows, which grows by factors.

use std::fmt::Write;

use crate::report::number;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 24.0, 20.0, 48.0);

/// One curve. `None`: there is nothing to be drawn.
pub(crate) fn curve(axis: &str, cost: &str, points: &[(usize, f64)]) -> Option<String> {
    let (first, last) = (points.first()?.0 as f64, points.last()?.0 as f64);
    let most = points.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
    if first <= 0.0 || most <= 0.0 || last <= first {
        return None;
    }
    let top = nice(most);
    let (left, above, right, below) = MARGIN;
    let across = |x: f64| left + (x / first).ln() / (last / first).ln() * (WIDTH - left - right);
    let up = |y: f64| HEIGHT - below - y / top * (HEIGHT - above - below);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<title>{0} by {1}</title>\n\
         <style>text{{fill:#555}}.grid{{stroke:#8884}}.curve{{stroke:#2a78c8;fill:none;stroke-width:2}}.dot{{fill:#2a78c8}}\
         @media(prefers-color-scheme:dark){{text{{fill:#aaa}}}}</style>\n",
        escaped(cost),
        escaped(axis)
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let y = up(value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            WIDTH - right
        );
        let label = if step == 0 { "0".to_owned() } else { number(value) };
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 8.0, y + 4.0);
    }
    let place = |(x, cost): &(usize, f64)| format!("{:.1},{:.1}", across(*x as f64), up(*cost));
    let line: Vec<String> = points.iter().map(place).collect();
    let _ = writeln!(svg, "<polyline class=\"curve\" points=\"{}\"/>", line.join(" "));
    for (x, cost) in points {
        let (at, y) = (across(*x as f64), up(*cost));
        let _ = writeln!(
            svg,
            "<circle class=\"dot\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{x}: {}</title></circle>",
            number(*cost)
        );
        let label = number(*x as f64).replace(".00", "").replace(".0", "");
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - below + 18.0
        );
    }
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"14\">{}</text>", escaped(cost));
    let middle = (left + WIDTH - right) / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n</svg>",
        HEIGHT - 10.0,
        escaped(axis)
    );
    Some(svg)
}

/// A round number that is not smaller.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(10.0 * power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_within_the_picture() {
        let svg = curve("things & more", "µs", &[(1, 0.5), (100, 3.0), (10_000, 7.9)]).expect("a picture");
        assert!(svg.contains("things &amp; more"));
        for circle in svg.lines().filter(|line| line.starts_with("<circle")) {
            let value = |name: &str| {
                let rest = circle.split_once(&format!("{name}=\"")).expect("an attribute").1;
                rest.split('"').next().and_then(|text| text.parse::<f64>().ok()).expect("a number")
            };
            assert!((0.0..=WIDTH).contains(&value("cx")) && (0.0..=HEIGHT).contains(&value("cy")), "{circle}");
        }
        assert_eq!(curve("nothing", "µs", &[]), None);
        assert_eq!(curve("one", "µs", &[(1, 1.0)]), None);
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.11, 7.9, 8.1, 100.0].map(nice), [0.2, 8.0, 10.0, 100.0]);
    }
}
