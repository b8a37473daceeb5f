//! Curves as SVG, for a page that is light or dark: cost over what grows, which grows by factors; or bars, of things that
//! have names.

use std::fmt::Write;

use crate::growth::Place;
use crate::report::number;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 24.0, 20.0, 48.0);

/// One curve, or bars. `None`: there is nothing to be drawn.
pub(crate) fn picture(axis: &str, cost: &str, points: &[(Place, f64)]) -> Option<String> {
    let number_of = |(place, _): &(Place, f64)| match place {
        Place::Number(number) => Some(*number as f64),
        Place::Name(_) => None,
    };
    let numbers: Option<Vec<f64>> = points.iter().map(number_of).collect();
    let (left, _, right, _) = MARGIN;
    let wide = WIDTH - left - right;
    match numbers {
        Some(numbers) => {
            let (first, last) = (*numbers.first()?, *numbers.last()?);
            if first <= 0.0 || last <= first {
                return None;
            }
            let across = |x: &f64| left + (x / first).ln() / (last / first).ln() * wide;
            draw(axis, cost, points, &numbers.iter().map(across).collect::<Vec<_>>(), curve)
        }
        None => {
            let step = wide / points.len() as f64;
            let across = (0..points.len()).map(|index| left + (index as f64 + 0.5) * step);
            draw(axis, cost, points, &across.collect::<Vec<_>>(), bars)
        }
    }
}

/// What a place is called below the axis.
fn label(place: Place) -> String {
    match place {
        Place::Number(x) => number(x as f64).replace(".00", "").replace(".0", ""),
        Place::Name(name) => name.to_owned(),
    }
}

/// Half as wide as a bar.
const HALF: f64 = 24.0;

/// Where a point is drawn: across, down, and what it says of itself.
type Spot = (f64, f64, String);

fn bars(svg: &mut String, spots: &[Spot]) {
    for (x, y, title) in spots {
        let (from, high) = (x - HALF, HEIGHT - MARGIN.3 - y);
        let wide = 2.0 * HALF;
        let _ = writeln!(
            svg,
            "<rect class=\"dot\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide}\" height=\"{high:.1}\">{title}</rect>"
        );
    }
}

fn curve(svg: &mut String, spots: &[Spot]) {
    let line: Vec<String> = spots.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline class=\"curve\" points=\"{}\"/>", line.join(" "));
    for (x, y, title) in spots {
        let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\">{title}</circle>");
    }
}

/// Axes and labels, and between them what `shape` makes of the places.
fn draw(
    axis: &str,
    cost: &str,
    points: &[(Place, f64)],
    across: &[f64],
    shape: impl Fn(&mut String, &[Spot]),
) -> Option<String> {
    let most = points.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let top = nice(most);
    let (left, above, right, below) = MARGIN;
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
    let titled = |place: Place, cost: f64| format!("<title>{}: {}</title>", escaped(&place.to_string()), number(cost));
    let spot = |(x, (place, cost)): (&f64, &(Place, f64))| (*x, up(*cost), titled(*place, *cost));
    let spots: Vec<Spot> = across.iter().zip(points).map(spot).collect();
    shape(&mut svg, &spots);
    for ((at, y, _), (place, cost)) in spots.iter().zip(points) {
        let text =
            |y: f64, text: &str| format!("<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>");
        let _ = writeln!(svg, "{}", text(HEIGHT - below + 18.0, &escaped(&label(*place))));
        if matches!(place, Place::Name(_)) {
            let _ = writeln!(svg, "{}", text(y - 6.0, &number(*cost)));
        }
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
        let place = |(x, cost)| (Place::Number(x), cost);
        let points = [(1, 0.5), (100, 3.0), (10_000, 7.9)].map(place);
        let svg = picture("things & more", "µs", &points).expect("a picture");
        assert!(svg.contains("things &amp; more"));
        for circle in svg.lines().filter(|line| line.starts_with("<circle")) {
            let value = |name: &str| {
                let rest = circle.split_once(&format!("{name}=\"")).expect("an attribute").1;
                rest.split('"').next().and_then(|text| text.parse::<f64>().ok()).expect("a number")
            };
            assert!((0.0..=WIDTH).contains(&value("cx")) && (0.0..=HEIGHT).contains(&value("cy")), "{circle}");
        }
        assert_eq!(picture("nothing", "µs", &[]), None);
        assert_eq!(picture("one", "µs", &[place((1, 1.0))]), None);
        let svg = picture("languages", "µs", &[(Place::Name("C"), 1.0), (Place::Name("Go"), 2.0)]).expect("bars");
        assert_eq!((svg.matches("<rect").count(), svg.matches(">Go<").count()), (2, 1), "{svg}");
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.11, 7.9, 8.1, 100.0].map(nice), [0.2, 8.0, 10.0, 100.0]);
    }
}
